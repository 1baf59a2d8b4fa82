"""Writes the data report: one HTML file with charts, and clips to listen to."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from utils.data.clips.block_files import Rejected
from utils.data.data_report import DataReport, Distribution, Statistics
from utils.data.prepared_dataset import read_split
from utils.model.context import FULL_CONTEXT
from utils.report.advice import advice_for
from utils.report.character_names import name_character
from utils.report.charts import draw_histogram
from utils.report.data_summary import REPORT_FILE, list_warnings, trimmed
from utils.report.drawing import Chart
from utils.report.page import write_page
from utils.report.players import AudioExample, load_players
from utils.runtime.messages import next_step_is_automatic

KEPT_EXAMPLES = 12  # shown at most

EXAMPLES_PER_REASON = 5  # the same, of each kind of reject

HISTOGRAMS = (
    ("duration", "Duration of clips", "Whisper reads 30 seconds at a time."),
    ("label_tokens", "Tokens of a label", "Whisper's decoder writes 448 tokens at most."),
    (
        "speech_rate",
        "Speech rate",
        "If the rate of a clip is far from the others, its text often does not belong to its sound.",
    ),
)


@dataclass(frozen=True)
class HistogramChart(Chart):
    """A histogram and its numbers."""

    unit: str
    bins: list[tuple[float, float, int]]  # from, to, clips


def write_data_page(
    folder: Path, report: DataReport, rejected: Sequence[Rejected], *, name: str, next_command: str
) -> None:
    """Write `data_report.html` beside the data of a prepared dataset, with clips to listen to."""
    by_kind: dict[str, list[AudioExample]] = {}
    for item in rejected:
        title = f"{item.reject.source}, {item.reject.position}"
        example = AudioExample(title, item.text, item.flac, str(item.reject.problem))
        by_kind.setdefault(item.reject.problem.kind, []).append(example)
    kept = [
        AudioExample(title=row["id"], text=row["text"], flac=row["audio"], detail=f"{row['duration']:.1f} s")
        for row in spread_rows(folder, report)
    ]
    write_html(folder / REPORT_FILE, report, kept, by_kind, name=name, next_command=next_command)


def spread_rows(folder: Path, report: DataReport) -> Iterable[dict]:
    """Return rows that are spread evenly over the whole split."""
    if "train" not in report.splits:
        return ()
    stride = max(1, report.splits["train"].utterances // KEPT_EXAMPLES)
    return itertools.islice(read_split(folder / "train"), 0, stride * KEPT_EXAMPLES, stride)


def write_html(
    path: Path,
    report: DataReport,
    kept: Sequence[AudioExample],
    rejected: Mapping[str, Sequence[AudioExample]],
    *,
    name: str,
    next_command: str,
) -> None:
    """Write the report as one file of about 3 MB at most.

    It needs no other files. It is written completely or not at all.

    Args:
        path: Path of the page.
        report: Report on the dataset.
        kept: Kept clips. The first `KEPT_EXAMPLES` are shown.
        rejected: Rejects by kind. The first `EXAMPLES_PER_REASON` of each kind are shown.
        name: Name of the dataset.
        next_command: Command that the page shows as the next one to run. Not shown if it runs by itself.
    """
    groups = [kept[:KEPT_EXAMPLES], *[examples[:EXAMPLES_PER_REASON] for examples in rejected.values()]]
    kept_players, *rejected_players = load_players(groups)
    context = {
        "name": name,
        "report": report,
        "warnings": list_warnings(report),
        "next_command": "" if next_step_is_automatic() else next_command,
        "charts": draw_histograms(report.statistics),
        "full_context": FULL_CONTEXT,
        "kept_players": kept_players,
        "rejected_players": dict(zip(rejected, rejected_players, strict=True)),
        "advice_for": advice_for,
        "name_character": name_character,
    }
    write_page(path, "data_report.html", context)


def draw_histograms(statistics: Statistics) -> list[HistogramChart]:
    """Draw histograms of the lengths of clips and labels, and of the rate of speech.

    One without counts is not drawn.
    """
    found = [(getattr(statistics, name), name, title, why) for name, title, why in HISTOGRAMS]
    return [
        _histogram_chart(counted, name, title, why, counted.median)
        for counted, name, title, why in found
        if counted.median is not None
    ]


def _histogram_chart(counted: Distribution, name: str, title: str, why: str, median: float) -> HistogramChart:
    edges, counts = trimmed(counted)
    words = (
        f"Nine of ten clips lie between {counted.p5:.1f} and {counted.p95:.1f} "
        f"{counted.unit}, half below {median:.1f} (dashed)."
    )
    if counted.above:
        words += f" {counted.above:,} above {edges[-1]:g} are not drawn."
    figure = draw_histogram(edges, counts, counted.unit, median)
    bins = list(zip(edges[:-1], edges[1:], counts, strict=True))
    return HistogramChart(name, title, f"{words} {why}", figure, counted.unit, bins)
