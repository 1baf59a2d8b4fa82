"""The data report: one HTML file to read and listen to."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from utils.data.clips.block_files import Rejected
from utils.data.data_report import DataReport
from utils.data.prepared_dataset import read_split
from utils.report.data_names import characters_section, names_section
from utils.report.data_sections import (
    example_list,
    histograms_section,
    rejects_section,
    silence_section,
    splits_section,
)
from utils.report.data_summary import REPORT_FILE, list_warnings, next_step
from utils.report.labels import share_in_percent
from utils.report.page import Html, isolated, join, tag, write_report_page
from utils.report.players import AudioExample, Player, load_players

KEPT_EXAMPLES = 12  # shown at most

EXAMPLES_PER_REASON = 5  # the same, of each kind of reject


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
    """Rows of train spread over the whole split."""
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
    """Write the report as one file of about 3 MB at most that needs nothing else, whole or not at all.

    Args:
        path: Of the page.
        report: On the dataset.
        kept: Of these the first `KEPT_EXAMPLES` are shown.
        rejected: By kind; of each the first `EXAMPLES_PER_REASON` are shown.
        name: Of the dataset.
        next_command: Shown as what to run next.
    """
    groups = [kept[:KEPT_EXAMPLES], *[examples[:EXAMPLES_PER_REASON] for examples in rejected.values()]]
    kept_players, *rejected_players = load_players(groups)
    players = dict(zip(rejected, rejected_players, strict=True))
    statistics = report.statistics
    sections = [
        ("summary", "Summary", data_summary_section(report, next_command)),
        ("splits", "Splits", splits_section(report)),
        ("lengths", "Lengths and pace", histograms_section(statistics)),
        ("silence", "Silence and speed", silence_section(statistics.silence, statistics.dynamic_context)),
        ("people", "Speakers and groups", names_section(statistics)),
        ("characters", "Characters", characters_section(statistics.characters)),
        ("rejects", "Rejects", rejects_section(report, players)),
        ("listen", "Listen", kept_section(kept_players)),
    ]
    write_report_page(path, "Data report", name, data_figures(report), sections, data_footer(report))


def data_figures(report: DataReport) -> list[tuple[str, str]]:
    """Labels and figures at the top of the page."""
    figures = [
        ("hours of speech", f"{report.hours:.2f}"),
        ("utterances", f"{report.kept:,}"),
        ("kept of all seen", share_in_percent(report.kept, report.seen)),
    ]
    if speakers := report.statistics.speakers.distinct:
        figures.append(("speakers", f"{speakers:,}"))
    return [*figures, ("expected speed-up", f"× {report.statistics.dynamic_context.speed_up:.1f}")]


def data_summary_section(report: DataReport, next_command: str) -> Html:
    """What is there in plain words, the warnings, and the next step."""
    parts = [tag("p", *summary_words(report))]
    parts += [tag("p", warning, class_="warning", role="note") for warning in list_warnings(report)]
    parts += [tag("p", isolated(note)) for note in report.notes]
    parts.append(tag("h3", "Next step"))
    parts.append(tag("p", next_step(report)))
    parts.append(tag("pre", tag("code", next_command), tabindex="0"))
    return join(parts)


def summary_words(report: DataReport) -> list[str]:
    """Sentences on what was kept, how long and how fast it is."""
    statistics = report.statistics
    words = [
        f"{report.seen:,} items were seen and {report.kept:,} of them are in the dataset: "
        f"{report.hours:.2f} hours of speech. "
    ]
    if report.rejected:
        commonest, count = next(iter(report.reasons.items()))
        words += [
            f"{report.rejected:,} were rejected ({share_in_percent(report.rejected, report.seen)}), "
            "most often for this reason: ",
            isolated(commonest),
            f" ({count:,}). ",
        ]
    else:
        words.append("Nothing was rejected. ")
    words.append(f"Half of the clips are shorter than {statistics.duration.median:.1f} seconds. ")
    languages = [language.name for language in statistics.languages.largest]
    if languages:
        words += [f"Language{'s' if len(languages) > 1 else ''}: ", isolated(", ".join(languages)), ". "]
    if not statistics.speakers.distinct:
        words.append("Speakers are not known, so the splits cannot keep them apart. ")
    return words


def kept_section(players: Sequence[Player]) -> Html:
    """Examples of what is in the dataset."""
    if not players:
        return Html("")
    words = "Some of the clips that were kept. What is written must be what is said, word by word."
    return join([tag("p", words), example_list(players)])


def data_footer(report: DataReport) -> Html:
    """Whose data it is, and where the numbers are."""
    parts = [tag("p", "The same numbers for programs: data_report.json beside this page.")]
    if report.credit:
        parts.insert(0, tag("p", "Credit: ", isolated(report.credit)))
    return join(parts)
