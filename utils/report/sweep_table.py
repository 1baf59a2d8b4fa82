"""Ranks the runs of a sweep by their error rate on validation, as a table in the terminal and as CSV."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from utils.report.evaluation_tables import write_csv
from utils.report.labels import in_percent, interval_in_percent
from utils.report.terminal import DECIMALS, report_console
from utils.scoring.error_rates import METRIC_LABELS, ErrorCounts, bootstrap_interval, count_errors
from utils.scoring.model_comparison import compare
from utils.text.cleaning import clean_text
from utils.training.model_folders import read_training_results
from utils.training.run_log import PREDICTIONS

Interval = tuple[float, float]


@dataclass(frozen=True)
class RankedRun:
    """A finished run, with the metric of its best evaluation as a fraction."""

    values: Mapping[str, str]  # of the swept flags
    folder: str
    metric: str
    rate: float
    step: int | None  # of the best evaluation; None for an average of several
    epoch: float | None
    training_loss: float | None
    validation_loss: float | None
    ci95: Interval | None = None  # bootstrap over the utterances; None for an average
    above_first: float | None = None  # rate minus that of the first run
    above_first_ci95: Interval | None = None  # paired; None if the clips differ


def rank_runs(runs: Mapping[Path, Mapping[str, str]], samples: int, seed: int) -> list[RankedRun]:
    """Read the best evaluation of each run, and rank the runs. The lowest rate comes first.

    Args:
        runs: The swept values by run folder. All runs have finished.
        samples: Number of resamples for the intervals.
        seed: Seed of the resampling.
    """
    read = sorted((_read_run(folder, values) for folder, values in runs.items()), key=lambda run: run.rate)
    counts = {run.folder: _count_errors(run) for run in read}
    return [_compared(run, read[0], counts, samples, seed) for run in read]


def _compared(
    run: RankedRun, first: RankedRun, counts: dict[str, dict[str, ErrorCounts]], samples: int, seed: int
) -> RankedRun:
    """Add the intervals of a run, and its difference from the first run."""
    own, others = counts[run.folder], counts[first.folder]
    if own:
        run = replace(run, ci95=bootstrap_interval(list(own.values()), samples, seed))
    if run.folder == first.folder:
        return run
    run = replace(run, above_first=run.rate - first.rate)
    if not own or own.keys() != others.keys():
        return run
    found = compare(list(own.values()), [others[key] for key in own], samples, seed)
    return replace(run, above_first_ci95=found.ci95)


def _read_run(folder: Path, values: Mapping[str, str]) -> RankedRun:
    results = read_training_results(folder / "best")
    step = results["best_step"]
    logged: dict = next((each for each in results["evaluations"] if each["step"] == step), {})
    return RankedRun(
        values,
        str(folder),
        results["metric_for_best_model"],
        results["best_metric"],
        step,
        *(logged.get(name) for name in ("epoch", "training_loss", "validation_loss")),
    )


def _count_errors(run: RankedRun) -> dict[str, ErrorCounts]:
    """Return the errors of each utterance in the best evaluation, by id. None are known of an average."""
    path = Path(run.folder) / PREDICTIONS / f"step-{run.step}.jsonl"
    if run.step is None or not path.is_file():
        return {}
    form, measure = run.metric.split("_")
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    said, heard = (
        [clean_text(line[side]) if form == "raw" else line[f"normalized_{side}"] for line in lines]
        for side in ("reference", "hypothesis")
    )
    counts = count_errors(said, heard, "word" if measure == "wer" else "char")
    return dict(zip((line["id"] for line in lines), counts, strict=True))


def write_sweep(path: Path, runs: Sequence[RankedRun]) -> None:
    """Write the table as CSV. Rates are fractions."""
    intervals = ("ci95", "above_first_ci95")
    rows = []
    for run in runs:
        figures = {name: value for name, value in asdict(run).items() if name not in ("values", *intervals)}
        for name in intervals:
            low, high = getattr(run, name) or (None, None)
            figures |= {f"{name}_low": low, f"{name}_high": high}
        rows.append({**run.values, **figures})
    write_csv(path, rows)


def print_sweep(runs: Sequence[RankedRun], console: Console | None = None) -> None:
    """Print the table, rates in percent."""
    table = Table(
        title=f"{METRIC_LABELS[runs[0].metric]} of the best evaluation of each run, in percent",
        caption="All on validation, so the best one looks a little too good: test it. If the interval of the "
        "points above the first contains 0, the difference may be chance.",
        caption_justify="left",
    )
    for flag in runs[0].values:
        table.add_column(flag, overflow="fold")
    for name in ("rate", "95 % interval", "points above the first", "step", "epoch", "training loss"):
        table.add_column(name, justify="right")
    table.add_column("validation loss", justify="right")
    for run in runs:
        table.add_row(
            *(Text(value) for value in run.values.values()),
            in_percent(run.rate, DECIMALS),
            interval_in_percent(run.ci95, DECIMALS) if run.ci95 else "–",
            _points_above(run),
            "average" if run.step is None else f"{run.step:,}",
            *(
                "–" if value is None else f"{value:.{digits}f}"
                for value, digits in ((run.epoch, 2), (run.training_loss, 3), (run.validation_loss, 3))
            ),
        )
    (console or report_console()).print(table)


def _points_above(run: RankedRun) -> str:
    if run.above_first is None:
        return ""
    points = in_percent(run.above_first, DECIMALS)
    interval = f" ({interval_in_percent(run.above_first_ci95, DECIMALS)})" if run.above_first_ci95 else ""
    return f"{points}{interval}"
