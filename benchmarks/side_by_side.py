"""What benchmarks share: runs in processes of their own, sides that take turns, and their table."""

import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from utils.runtime.errors import UserError
from utils.runtime.files import write_json

ROOT = Path(__file__).resolve().parent.parent
PEER = "peer"
MIXED_PRECISION = {"float32": "no", "bfloat16": "bf16"}  # what accelerate calls them
PACKAGES = ("torch", "transformers", "datasets", "ctranslate2", "faster-whisper", "openvino-genai")
Option = str | float | None  # the value of a command's option; None leaves it out


# ---- commands ----------------------------------------------------------------------------------------------


def option_words(**options: Option) -> list[str]:
    """`--name value` of every option that is not None."""
    given = {name: value for name, value in options.items() if value is not None}
    return [word for name, value in given.items() for word in (f"--{name}", str(value))]


def python_command(script: str, **options: Option) -> list[str]:
    return [sys.executable, script, *option_words(**options)]


def launch_command(config: str) -> list[str]:
    """`accelerate launch` with a file of accelerate_configs/, up to the script."""
    launch = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch"]
    return [*launch, "--config_file", f"accelerate_configs/{config}.yaml"]


def run_logged(command: list[str], folder: Path) -> None:
    """Run a command that works in `folder`, with as many threads as the machine has processors.

    Raises:
        UserError: It failed; the end of its output is in the message.
    """
    folder.mkdir(parents=True, exist_ok=True)
    environment = {"OMP_NUM_THREADS": str(os.cpu_count() or 1), **os.environ}
    log = folder.with_name(f"{folder.name}.log")
    with log.open("w", encoding="utf-8") as output:
        streams = {"stdout": output, "stderr": subprocess.STDOUT}
        code = subprocess.run(command, cwd=ROOT, env=environment, check=False, **streams).returncode
    if code != 0:
        end = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])
        raise UserError(f"{' '.join(command)}\n       ended with {code}: {end}")


def run_alone(command: list[str], folder: Path) -> None:
    """Run a command in an empty `folder`; see `run_logged`."""
    shutil.rmtree(folder, ignore_errors=True)
    run_logged(command, folder)


def run_evaluation(folder: Path, *, probe: bool = False, **options: Option) -> list[dict]:
    """Let evaluate.py write into `folder`; its results, row by row."""
    words = [] if probe else ["--no_probe_hallucination"]
    run_logged([*python_command("evaluate.py", output_dir=str(folder), **options), *words], folder)
    return json.loads((folder / "evaluation_results.json").read_text(encoding="utf-8"))["results"]


# ---- sides in turns ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measurement:
    """One run of one side."""

    side: str  # PEER, or one of ours
    dtype: str
    round: int
    audio_seconds_per_second: float
    peak_memory_bytes: int | None = None
    normalized_wer: float | None = None
    disk_bytes: int | None = None  # of the result


COLUMNS: dict[str, tuple[str, Callable[[Any], str]]] = {
    "dtype": ("precision", str),
    "side": ("side", str),
    "audio_seconds_per_second": ("audio s/s", "{:.2f}".format),
    "ratio": ("ratio", "{:.1f} ×".format),
    "lowest_ratio": ("lowest", "{:.1f} ×".format),
    "peak_memory_bytes": ("peak memory", lambda size: f"{size / 1e9:.2f} GB"),
    "normalized_wer": ("norm. WER", "{:.2%}".format),
    "disk_bytes": ("disk", lambda size: f"{size / 1e6:,.1f} MB"),
}


def turns(sides: list[str], rounds: int) -> list[tuple[int, str]]:
    """(round, side), the order turned around every round, so that neither always finds the warmer machine."""
    return [(number, side) for number in range(rounds) for side in (sides, sides[::-1])[number % 2]]


def measure_in_turns(
    sides: Mapping[str, Callable[[str, str, int], Measurement]], dtypes: Iterable[str], rounds: int
) -> list[Measurement]:
    """Measure every side in `turns`, called with its name, precision and round; tell each rate."""
    measurements = []
    for number, side in turns(list(sides), rounds):
        for dtype in dtypes:
            measurements.append(sides[side](side, dtype, number))
            rate = measurements[-1].audio_seconds_per_second
            print(f"round {number + 1}, {dtype}, {side}: {rate:.2f} audio s/s", flush=True)
    return measurements


def measure_peer(script: str, folder: Path, dtype: str, number: int, **options: Option) -> Measurement:
    """Run a peer, which leaves its part of a `Measurement` in result.json."""
    run_alone(python_command(script, output_dir=str(folder), dtype=dtype, **options), folder)
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return Measurement(PEER, dtype, number, **result)


def summarize(measurements: list[Measurement]) -> list[dict[str, Any]]:
    """The peer first, then ours, at each precision, over all rounds; the keys are those of COLUMNS.

    Rates and error rates are medians, sizes the highest. `ratio` is that of the medians to the peer's, the
    lowest that of the worst round to the peer's in the same round.
    """
    runs: dict[tuple[str, str], list[Measurement]] = defaultdict(list)
    for item in sorted(measurements, key=lambda item: (item.dtype != "float32", item.side != PEER)):
        runs[item.dtype, item.side].append(item)
    summaries = []
    for (dtype, side), own in runs.items():
        of_peer = {item.round: item.audio_seconds_per_second for item in runs[dtype, PEER]}
        rates = {item.round: item.audio_seconds_per_second for item in own}
        median = statistics.median(rates.values())
        summary = {"dtype": dtype, "side": side, "audio_seconds_per_second": median}
        summary["ratio"] = median / statistics.median(of_peer.values())
        summary["lowest_ratio"] = min(rate / of_peer[number] for number, rate in rates.items())
        for name, choose in (
            ("peak_memory_bytes", max),
            ("normalized_wer", statistics.median),
            ("disk_bytes", max),
        ):
            known = [value for item in own if (value := getattr(item, name)) is not None]
            summary[name] = choose(known) if known else None
        summaries.append(summary)
    return summaries


def report(title: str, measurements: list[Measurement], path: Path) -> Path:
    """Print the table; write every measurement, the summaries and the machine to `path`, and return it."""
    rows = summarize(measurements)
    values = {"title": title, **surroundings(), "summaries": rows}
    write_json(path, values | {"measurements": [asdict(item) for item in measurements]})
    measured = [name for name in COLUMNS if rows[0][name] is not None]
    table = Table(*(COLUMNS[name][0] for name in measured), title=title)
    for row in rows:
        table.add_row(*(COLUMNS[name][1](row[name]) for name in measured))
    console = Console(width=max(110, Console().width))
    console.print(table)
    console.print(f"Every measurement: {path}", highlight=False)
    return path


def surroundings() -> dict[str, Any]:
    """The day, the machine, and the versions of what is installed of PACKAGES."""
    found = {name: version(name) for name in PACKAGES if find_spec(name.replace("-", "_"))}
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": {"processor": _processor_name(), "processors": os.cpu_count()},
        "versions": found | {"python": platform.python_version()},
    }


def _processor_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text(encoding="utf-8", errors="replace") if cpuinfo.exists() else ""
    found = re.search(r"^model name\s*: (.*)$", text, re.MULTILINE)
    return found[1] if found else platform.processor()
