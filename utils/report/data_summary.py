"""Prints the summary at the end of preprocess.py."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from utils.data.data_report import DataReport, Distribution, Statistics
from utils.report.labels import share_in_percent, without_controls

REPORT_FILE = "data_report.html"

FEWEST_BINS, MOST_COLUMNS = 8, 40  # of a histogram that is cut behind its last value; of one in the terminal

BLOCKS, ASCII_BLOCKS = " ▁▂▃▄▅▆▇█", " .:-=+*#@"


def list_warnings(report: DataReport) -> list[str]:
    """Return warnings about the dataset, one or two sentences each."""
    warnings = []
    if report.shared_texts:
        warnings.append(
            f"Warning: sentences in more than one of the given splits: {report.shared_texts}; utterances "
            f"of validation and test whose sentence is in train: {report.leaked_utterances}; "
            "error rates will look better than they are."
        )
    for shared, what in ((report.shared_speakers, "speakers"), (report.shared_recordings, "recordings")):
        if shared:
            warnings.append(
                f"Warning: {what} in more than one split: {shared}; error rates will look better than "
                f"they are for new {what}."
            )
    return warnings


def print_summary(report: DataReport, output_dir: Path, console: Console) -> None:
    """Print how much was kept, how much was not kept and why, and the warnings.

    Args:
        report: Report on the dataset.
        output_dir: The prepared dataset.
        console: Console to print to.
    """
    console.print(build_splits_table(report, str(output_dir)))
    for line in summary_lines(report, output_dir, ascii_only=console.options.ascii_only):
        console.print(Text(without_controls(line)), soft_wrap=True, highlight=False)


def build_splits_table(report: DataReport, title: str) -> Table:
    """Build a table with one row for each split."""
    shown = Table("split", title=Text(title))
    for heading in ("utterances", "hours", "mean s", "longest s", "distinct texts"):
        shown.add_column(heading, justify="right")
    for name, split in report.splits.items():
        lengths = (f"{split.hours:.2f}", f"{split.mean_duration:.1f}", f"{split.longest:.1f}")
        shown.add_row(name, str(split.utterances), *lengths, str(split.distinct_texts))
    return shown


def summary_lines(report: DataReport, output_dir: Path, *, ascii_only: bool) -> Iterable[str]:
    """Return the lines below the table."""
    yield f"{report.seen} seen, {report.kept} kept ({report.hours:.2f} h), {report.rejected} rejected."
    for kind, count in report.reasons.items():
        yield f"  {count:>6} × {kind}"
    if report.rejected:
        yield f"Each reject and its reason: {output_dir / 'rejects.jsonl'}"
    yield from statistics_lines(report.statistics, ascii_only=ascii_only)
    if (output_dir / REPORT_FILE).is_file():
        yield f"To read and listen: {output_dir / REPORT_FILE}"
    yield from report.notes
    yield from list_warnings(report)
    if report.credit:
        yield report.credit


def statistics_lines(statistics: Statistics, *, ascii_only: bool) -> Iterable[str]:
    """Return small histograms, and the time that the dynamic context saves."""
    shown = (
        ("duration", statistics.duration),
        ("label", statistics.label_tokens),
        ("speech", statistics.speech_rate),
    )
    if any(counted.median is not None for _, counted in shown):
        yield "How the clips are distributed:"
    for label, counted in shown:
        if counted.median is None:
            continue
        edges, counts = trimmed(counted)
        drawn = text_histogram(counts, ASCII_BLOCKS if ascii_only else BLOCKS)
        yield (
            f"  {label:<9}{edges[0]:g} |{drawn}| {edges[-1]:g} {counted.unit}, "
            f"half below {counted.median:.1f}"
        )
    yield (
        f"Silence in the 30 s window: {share_in_percent(statistics.silence.share_of_window)}. Dynamic "
        f"context should make training about {statistics.dynamic_context.speed_up:.1f} times as fast "
        "(an estimate)."
    )


def text_histogram(counts: Sequence[int], blocks: str = BLOCKS) -> str:
    """Draw one character for each count, at most `MOST_COLUMNS`. Every count above 0 is visible."""
    width = -(-len(counts) // MOST_COLUMNS)
    columns = [sum(counts[start : start + width]) for start in range(0, len(counts), width)]
    highest = max(*columns, 1)
    return "".join(blocks[-(-count * (len(blocks) - 1) // highest)] for count in columns)


def trimmed(counted: Distribution) -> tuple[list[float], list[int]]:
    """Return edges and counts up to the last bin that is not empty, but at least a few bins."""
    used = [place for place, count in enumerate(counted.counts) if count]
    last = len(counted.counts) if counted.above or not used else max(used[-1] + 1, FEWEST_BINS)
    return counted.edges[: last + 1], counted.counts[:last]
