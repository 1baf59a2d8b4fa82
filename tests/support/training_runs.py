"""A run of train.py as a process, and what its log says."""

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

ROOT = Path(__file__).parents[2]
LAUNCH = [sys.executable, "-m", "accelerate.commands.launch", "--quiet", "--config_file"]


def read_metrics(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def values_of(run: Path, name: str) -> list:
    """Those of one name in metrics.jsonl."""
    return [record[name] for record in read_metrics(run) if name in record]


def read_json(path: Path) -> dict:
    return json.loads(path.read_text())


def evaluated_steps(run: Path) -> list[int]:
    """Steps with an evaluation, in order."""
    return [record["step"] for record in read_metrics(run) if "eval_wer" in record]


def losses(run: Path) -> list[tuple]:
    """Step, loss and order of each record."""
    return [(record["step"], record.get("loss"), record.get("order")) for record in read_metrics(run)]


def run_script(
    command: list[str], *, timeout: float = 300, **environment: str
) -> subprocess.CompletedProcess:
    return subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def launch(config: str) -> list[str]:
    """The start of a command that runs train.py in a configuration of accelerate_configs/."""
    return [*LAUNCH, str(ROOT / f"accelerate_configs/{config}.yaml"), "train.py"]


def run_to_the_end(command: list[str], **environment: str) -> str:
    """Run a command that must succeed; returns what it printed."""
    done = run_script(command, timeout=900, **environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def steps_done(run: Path) -> int:
    """The last step in metrics.jsonl; a line that is being written is not counted."""
    path = run / "metrics.jsonl"
    whole = (
        [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
        if path.exists()
        else []
    )
    return json.loads(whole[-1])["step"] if whole else 0


def assert_same_course(straight: Path, resumed: Path) -> None:
    """The same losses to 1e-6, order of clips, epochs and error rates at every step."""
    for one, other in zip(read_metrics(straight), read_metrics(resumed), strict=True):
        for name in ("loss", "eval_loss"):
            assert other.get(name) == pytest.approx(one.get(name), abs=1e-6)
        for name in ("step", "epoch", "order", "eval_wer"):
            assert other.get(name) == one.get(name)


def plant_poison(model: Path, folder: Path, position: int) -> Path:
    """A copy of the model whose decoder has an infinity at one position: only longer texts ever meet it."""
    shutil.copytree(model, folder)
    weights = load_file(folder / "model.safetensors")
    weights["model.decoder.embed_positions.weight"][position] = math.inf
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder
