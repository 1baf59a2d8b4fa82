"""Runs of both sides in turns, each in a process of its own, and the table that comes of them."""

import os
import platform
import shutil
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.table import Table

from utils.errors import UserError
from utils.files import write_json

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


def turns(sides: list[str], rounds: int) -> list[tuple[int, str]]:
    """(round, side), the order turned around every round, so that neither always finds the warmer machine."""
    return [(number, side) for number in range(rounds) for side in (sides, sides[::-1])[number % 2]]


def run_alone(command: list[str], folder: Path) -> None:
    """Run one side in an empty `folder`, with as many threads as the machine has processors.

    Raises:
        UserError: It failed; the end of its output is in the message.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
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


def peer_command(script: str, **options: str | int | None) -> list[str]:
    """A peer's script with its options; one of None is left out."""
    words = [sys.executable, f"benchmarks/{script}"]
    for name, value in options.items():
        if value is not None:
            words += [f"--{name}", str(value)]
    return words


def summarize(measurements: list[Measurement], targets: dict[tuple[str, str], float]) -> list[Summary]:
    """The peer first, then ours, at each precision; `targets` are ratios by (side, dtype)."""
    summaries = []
    for side, dtype in dict.fromkeys((item.side, item.dtype) for item in measurements):
        own = _by_round(measurements, side, dtype)
        peer = _by_round(measurements, PEER, dtype)
        median = _median_rate(own)
        memory = [item.peak_memory_bytes for item in own.values() if item.peak_memory_bytes is not None]
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
            )
        )
    return sorted(summaries, key=lambda item: (item.dtype != "float32", item.side != PEER))


def _by_round(measurements: list[Measurement], side: str, dtype: str) -> dict[int, Measurement]:
    return {item.round: item for item in measurements if (item.side, item.dtype) == (side, dtype)}


def _median_rate(measurements: dict[int, Measurement]) -> float:
    return statistics.median(item.audio_seconds_per_second for item in measurements.values())


def build_table(title: str, summaries: list[Summary]) -> Table:
    """The summaries with their targets."""
    table = Table(title=title)
    for name in ("precision", "side", "audio s/s", "ratio", "lowest", "target", "peak memory", "norm. WER"):
        table.add_column(name, justify="left" if name in ("precision", "side") else "right")
    for item in summaries:
        is_peer = item.side == PEER
        target = "" if item.target is None else f"≥ {item.target:g} ×"
        if item.target is not None:
            target += "  met" if item.ratio >= item.target else "  missed"
        table.add_row(
            item.dtype,
            item.side,
            f"{item.audio_seconds_per_second:.2f}",
            "" if is_peer else f"{item.ratio:.1f} ×",
            "" if is_peer else f"{item.lowest_ratio:.1f} ×",
            target,
            "" if item.peak_memory_bytes is None else f"{item.peak_memory_bytes / 1e9:.2f} GB",
            "" if item.normalized_wer is None else f"{100 * item.normalized_wer:.2f} %",
        )
    return table


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
