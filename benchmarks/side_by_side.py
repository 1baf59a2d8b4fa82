"""Runs of both sides in turns, each in a process of its own, and the table that comes of them."""

import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from rich.console import Console, JustifyMethod
from rich.table import Table

from utils.runtime.errors import UserError
from utils.runtime.files import write_json

ROOT = Path(__file__).resolve().parent.parent
PEER = "peer"


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
    limit_share: float | None = None  # of the rate of a large matrix product


@dataclass(frozen=True)
class Summary:
    """A side at one precision over all rounds, beside the peer at the same precision."""

    side: str
    dtype: str
    audio_seconds_per_second: float  # median
    ratio: float  # of that median to the peer's
    lowest_ratio: float  # of the rounds, each against the peer of the same round
    target: float | None
    peak_memory_bytes: int | None  # highest
    normalized_wer: float | None  # median
    disk_bytes: int | None  # highest
    limit_share: float | None  # median


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


def run_alone(command: list[str], folder: Path) -> None:
    """Run one side in an empty `folder`; see `run_logged`."""
    shutil.rmtree(folder, ignore_errors=True)
    run_logged(command, folder)


def measure_evaluation(command: list[str], folder: Path, side: str, dtype: str, number: int) -> Measurement:
    """Run evaluate.py, which writes into `folder`, and take its speed and error rate."""
    run_alone(command, folder)
    result = json.loads((folder / "evaluation_results.json").read_text(encoding="utf-8"))["results"][0]
    return Measurement(side, dtype, number, result["rtfx"], normalized_wer=result["normalized"]["wer"])


def run_logged(command: list[str], folder: Path) -> None:
    """Run a command that works in `folder`, with as many threads as the machine has processors.

    Raises:
        UserError: It failed; the end of its output is in the message.
    """
    folder.mkdir(parents=True, exist_ok=True)
    environment = {"OMP_NUM_THREADS": str(os.cpu_count() or 1), **os.environ}
    log = folder.with_name(f"{folder.name}.log")
    with log.open("w", encoding="utf-8") as output:
        result = subprocess.run(
            command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT, check=False
        )
    if result.returncode != 0:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        raise UserError(
            f"{' '.join(command)}\n       ended with {result.returncode}: " + "\n".join(lines[-15:])
        )


def python_command(script: str, **options: str | float | None) -> list[str]:
    """A script with its options; one of None is left out."""
    return [sys.executable, script, *option_words(**options)]


def evaluate_command(models: Iterable[str], **options: str | float | None) -> list[str]:
    """evaluate.py with its options, on speech alone: no silence, noise and music beside it."""
    return [*python_command("evaluate.py", **options), "--no_probe_hallucination", "--models", *models]


def launch_command(config: str) -> list[str]:
    """`accelerate launch` with a file of accelerate_configs/, up to the script."""
    launch = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch"]
    return [*launch, "--config_file", f"accelerate_configs/{config}.yaml"]


def train_model(folder: Path, *further: str, **options: str | float | None) -> str:
    """The model that train.py leaves in `folder` at its last step; a training that stopped goes on.

    `further` are words of the command line beyond `--name value`. Nothing is scored on the way.
    """
    from utils.runtime.devices import pick_accelerate_config

    quiet: dict[str, str | float] = {"eval_steps": 0, "save_total_limit": 1, "report_to": "none"}
    words = option_words(output_dir=str(folder), **quiet, **options)
    run_logged([*launch_command(pick_accelerate_config()), "train.py", *words, *further], folder)
    return str(folder / "final")


def option_words(**options: str | float | None) -> list[str]:
    """`--name value` of every option that is not None."""
    given = {name: value for name, value in options.items() if value is not None}
    return [word for name, value in given.items() for word in (f"--{name}", str(value))]


def summarize(measurements: list[Measurement], targets: dict[tuple[str, str], float]) -> list[Summary]:
    """The peer first, then ours, at each precision; `targets` are ratios by (side, dtype)."""
    summaries = []
    for side, dtype in dict.fromkeys((item.side, item.dtype) for item in measurements):
        own = _by_round(measurements, side, dtype)
        peer = _by_round(measurements, PEER, dtype)
        median = _median_rate(own)
        memory = [item.peak_memory_bytes for item in own.values() if item.peak_memory_bytes is not None]
        disk = [item.disk_bytes for item in own.values() if item.disk_bytes is not None]
        shares = [item.limit_share for item in own.values() if item.limit_share is not None]
        wers = [item.normalized_wer for item in own.values() if item.normalized_wer is not None]
        summaries.append(
            Summary(
                side,
                dtype,
                median,
                median / _median_rate(peer),
                min(
                    item.audio_seconds_per_second / peer[number].audio_seconds_per_second
                    for number, item in own.items()
                ),
                targets.get((side, dtype)),
                max(memory, default=None),
                statistics.median(wers) if wers else None,
                max(disk, default=None),
                statistics.median(shares) if shares else None,
            )
        )
    return sorted(summaries, key=lambda item: (item.dtype != "float32", item.side != PEER))


def _by_round(measurements: list[Measurement], side: str, dtype: str) -> dict[int, Measurement]:
    return {item.round: item for item in measurements if (item.side, item.dtype) == (side, dtype)}


def _median_rate(measurements: dict[int, Measurement]) -> float:
    return statistics.median(item.audio_seconds_per_second for item in measurements.values())


def build_table(title: str, summaries: list[Summary]) -> Table:
    """The summaries with their targets; what was not measured gets no column."""
    table = Table(title=title)
    rows = [_table_row(item) for item in summaries]
    shown = [name for name in rows[0] if any(row[name] for row in rows)]
    for name in shown:
        justify: JustifyMethod = "left" if name in ("precision", "side") else "right"
        table.add_column(name, justify=justify, no_wrap=True)
    for row in rows:
        table.add_row(*(row[name] for name in shown))
    return table


def _table_row(item: Summary) -> dict[str, str]:
    is_peer, memory, wer = item.side == PEER, item.peak_memory_bytes, item.normalized_wer
    target = ""
    if item.target is not None:
        target = f"≥ {item.target:g} ×  {'met' if item.ratio >= item.target else 'missed'}"
    return {
        "precision": item.dtype,
        "side": item.side,
        "audio s/s": f"{item.audio_seconds_per_second:.2f}",
        "ratio": "" if is_peer else f"{item.ratio:.1f} ×",
        "lowest": "" if is_peer else f"{item.lowest_ratio:.1f} ×",
        "target": target,
        "peak memory": "" if memory is None else f"{memory / 1e9:.2f} GB",
        "norm. WER": "" if wer is None else f"{100 * wer:.2f} %",
        "of limit": "" if item.limit_share is None else f"{100 * item.limit_share:.0f} %",
        "disk": "" if item.disk_bytes is None else f"{item.disk_bytes / 1e6:,.1f} MB",
    }


def print_wers(title: str, wers: Mapping[tuple[str, str], tuple[float, tuple[float, float]]]) -> None:
    """Print rates with their 95 % intervals in percent; keys are the model and what it was scored on."""
    models, columns = (list(dict.fromkeys(names)) for names in zip(*wers, strict=True))
    table = Table("model", *columns, title=title)
    for model in models:
        cells = [
            (100 * rate, 100 * low, 100 * high) for rate, (low, high) in (wers[model, c] for c in columns)
        ]
        table.add_row(model, *(f"{rate:.1f} [{low:.1f}, {high:.1f}]" for rate, low, high in cells))
    Console(width=110).print(table)


def report(
    title: str, measurements: list[Measurement], targets: dict[tuple[str, str], float], path: Path
) -> None:
    """Print the table and write every measurement, the summaries and the machine to `path`."""
    summaries = summarize(measurements, targets)
    packages = ("torch", "transformers", "accelerate")
    write_json(
        path,
        {
            "title": title,
            "machine": {"processor": _processor_name(), "processors": os.cpu_count()},
            "versions": {name: version(name) for name in packages} | {"python": platform.python_version()},
            "summaries": [asdict(item) for item in summaries],
            "measurements": [asdict(item) for item in measurements],
        },
    )
    console = Console(width=max(110, Console().width))
    console.print(build_table(title, summaries))
    console.print(f"Every measurement: {path}", highlight=False)


def _processor_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
