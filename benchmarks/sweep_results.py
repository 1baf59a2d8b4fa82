"""Results of sweep.py: a record for each model, comparisons of ways, and the table of all."""

import json
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from utils.scoring.error_rates import ErrorCounts, total_counts
from utils.scoring.model_comparison import compare

BASELINE = "full-context"  # what every other way is compared with


@dataclass(frozen=True)
class Result:
    """One model; error rates as fractions.

    The keys of the error rates are the audio contexts, and what was scored besides: a language, a line.
    """

    way: str
    language: str
    seed: int
    config: str  # of accelerate_configs/, which tells the precision
    steps: int
    train_seconds: float  # from the first step to the last, without loading
    audio_seconds_per_second: float
    peak_memory_bytes: int
    trainable_parameters: int
    normalized_wer: dict[str, float]
    raw_wer: dict[str, float]
    utterances: dict[str, list[int]]  # fields of `ErrorCounts` by id: normalised words in the full context
    ci95: dict[str, tuple[float, float]] = field(default_factory=dict)  # of the normalised WER
    made_up: dict[str, float] = field(default_factory=dict)  # words a minute where nobody speaks, by context


def read_results(folder: Path) -> list[Result]:
    """Every result that is there."""
    return [Result(**json.loads(path.read_text(encoding="utf-8"))) for path in sorted(folder.glob("*.json"))]


def compare_with_baseline(
    results: list[Result], way: str, language: str
) -> tuple[float, float, float] | None:
    """How much higher a way's normalised WER is than the baseline's in the full context, and the interval.

    Fractions, over the seeds that both have; None where there are none.
    """
    runs = {(run.way, run.seed): run.utterances for run in results if run.language == language}
    shared = [seed for own, seed in runs if own == way and (BASELINE, seed) in runs]
    if way == BASELINE or not shared:
        return None
    sums = []
    for name in (BASELINE, way):
        of_seeds = [runs[name, seed] for seed in shared]
        sums.append([total_counts(ErrorCounts(*own[key]) for own in of_seeds) for key in of_seeds[0]])
    outcome = compare(sums[0], sums[1], samples=10_000, seed=0)
    low, high = outcome.ci95
    return -outcome.wer_reduction, -high, -low


def print_table(results: list[Result], order: list[str]) -> None:
    """Means over the seeds, ways in the given order, and the differences from the baseline."""
    scored = list(dict.fromkeys(name for result in results for name in result.normalized_wer))
    contexts = list(dict.fromkeys(name for result in results for name in result.made_up))
    columns = ["way", "language", "seeds", "seconds", "peak memory", "trained", *scored]
    columns += [*(f"made up, {name}" for name in contexts), f"full - {BASELINE}"]
    title = (
        "Normalised WER on test, percent, and words a minute made up where nobody speaks: means over seeds"
    )
    table = Table(*columns, title=title)
    groups = defaultdict(list)
    for result in sorted(results, key=lambda result: (result.language, order.index(result.way))):
        groups[result.way, result.language].append(result)
    for (way, language), group in groups.items():
        difference = compare_with_baseline(results, way, language)
        table.add_row(
            way,
            language,
            str(len(group)),
            seconds_by_config(group),
            f"{max(item.peak_memory_bytes for item in group) / 1e9:.2f} GB",
            f"{group[0].trainable_parameters:,}",
            *(mean_wer(group, name) for name in scored),
            *(mean_of([item.made_up[name] for item in group if name in item.made_up]) for name in contexts),
            "" if difference is None else with_interval(*difference, sign="+"),
        )
    Console(width=160).print(table)


def mean_wer(group: list[Result], name: str) -> str:
    """In percent; of a single seed with the interval of its test clips."""
    found = [item for item in group if name in item.normalized_wer]
    if len(found) == 1 and name in found[0].ci95:
        return with_interval(found[0].normalized_wer[name], *found[0].ci95[name])
    return mean_of([100 * item.normalized_wer[name] for item in found])


def mean_of(values: list[float]) -> str:
    return f"{sum(values) / len(values):.1f}" if values else ""


def with_interval(rate: float, low: float, high: float, sign: str = "") -> str:
    """In percent."""
    return f"{100 * rate:{sign}.1f} [{100 * low:{sign}.1f}, {100 * high:{sign}.1f}]"


def seconds_by_config(results: list[Result]) -> str:
    """Mean seconds of training: bf16 and fp32 are told apart."""
    seconds = defaultdict(list)
    for result in results:
        seconds[result.config].append(result.train_seconds)
    return ", ".join(f"{sum(own) / len(own):,.0f} ({config})" for config, own in sorted(seconds.items()))
