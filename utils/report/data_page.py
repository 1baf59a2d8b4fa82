"""The data report: one HTML file to read and listen to."""

from collections.abc import Sequence
from pathlib import Path

from utils.report.data_names import characters_section, names_section
from utils.report.data_sections import (
    example_list,
    histograms_section,
    percent,
    rejects_section,
    silence_section,
    splits_section,
)
from utils.report.data_summary import list_warnings, next_step
from utils.report.page import Html, isolated, join, tag, write_page
from utils.report.players import Example, Player, load_players

KEPT_EXAMPLES = 12  # shown at most

EXAMPLES_PER_REASON = 5  # the same, of each kind of reject


def write_html(
    path: Path,
    numbers: dict,
    kept: Sequence[Example],
    rejected: Sequence[Example],
    *,
    name: str | None = None,
    next_command: str | None = None,
) -> None:
    """Write the report as one file of about 3 MB at most that needs nothing else, whole or not at all.

    Args:
        path: Of the page.
        numbers: What `data_report.json` holds; keys that are lacking leave their part out.
        kept: Of these the first `KEPT_EXAMPLES` are shown.
        rejected: Of each kind the first `EXAMPLES_PER_REASON` are shown.
        name: Of the dataset; its folder's when not given.
        next_command: Shown as what to run next.
    """
    name = name or path.parent.name
    by_kind: dict[str, list[Example]] = {}
    for example in rejected:
        by_kind.setdefault(example.kind, []).append(example)
    groups = [kept[:KEPT_EXAMPLES], *[examples[:EXAMPLES_PER_REASON] for examples in by_kind.values()]]
    kept_players, *rejected_players = load_players(groups)
    players = dict(zip(by_kind, rejected_players, strict=True))
    statistics = numbers.get("statistics")
    sections = [
        ("summary", "Summary", summary_section(numbers, next_command)),
        ("splits", "Splits", splits_section(numbers)),
        ("lengths", "Lengths and pace", histograms_section(statistics)),
        ("silence", "Silence and speed", silence_section(statistics)),
        ("people", "Speakers and groups", names_section(statistics)),
        ("characters", "Characters", characters_section(statistics)),
        ("rejects", "Rejects", rejects_section(numbers, players)),
        ("listen", "Listen", kept_section(kept_players)),
    ]
    shown = [(key, title, content) for key, title, content in sections if content]
    links = [tag("a", title, href=f"#{key}") for key, title, _ in shown]
    parts = [
        tag("h1", "Data report: ", isolated(name)),
        tiles(numbers),
        tag("nav", *links, aria_label="Sections"),
    ]
    for key, title, content in shown:
        heading = tag("h2", title, id=f"{key}-heading")
        parts.append(tag("section", heading, content, id=key, aria_labelledby=f"{key}-heading"))
    parts.append(footer(numbers))
    write_page(path, f"Data report: {name}", tag("main", *parts))


def tiles(numbers: dict) -> Html:
    """The few figures to remember."""
    statistics = numbers.get("statistics") or {}
    figures = [
        ("hours of speech", f"{numbers['hours']:.2f}"),
        ("utterances", f"{numbers['kept']:,}"),
        ("kept of all seen", percent(numbers["kept"], numbers["seen"])),
    ]
    if speakers := statistics.get("speakers", {}).get("distinct"):
        figures.append(("speakers", f"{speakers:,}"))
    if dynamic := statistics.get("dynamic_context"):
        figures.append(("expected speed-up", f"× {dynamic['speed_up']:.1f}"))
    return tag(
        "dl", *[tag("div", tag("dt", label), tag("dd", value)) for label, value in figures], class_="tiles"
    )


def summary_section(numbers: dict, next_command: str | None) -> Html:
    """What is there in plain words, the warnings, and the next step."""
    parts = [tag("p", *summary_words(numbers))]
    parts += [tag("p", warning, class_="warning", role="note") for warning in list_warnings(numbers)]
    parts += [tag("p", isolated(str(note))) for note in numbers.get("notes", ())]
    parts.append(tag("h3", "Next step"))
    parts.append(tag("p", next_step(numbers)))
    if next_command:
        parts.append(tag("pre", tag("code", next_command), tabindex="0"))
    return join(parts)


def summary_words(numbers: dict) -> list[str]:
    """Sentences on what was kept, how long and how fast it is."""
    statistics = numbers.get("statistics") or {}
    words = [
        f"{numbers['seen']:,} items were seen and {numbers['kept']:,} of them are in the dataset: "
        f"{numbers['hours']:.2f} hours of speech. "
    ]
    if numbers["rejected"]:
        commonest, count = next(iter(numbers["reasons"].items()))
        words += [
            f"{numbers['rejected']:,} were rejected ({percent(numbers['rejected'], numbers['seen'])}), "
            "most often for this reason: ",
            isolated(commonest),
            f" ({count:,}). ",
        ]
    else:
        words.append("Nothing was rejected. ")
    if (median := statistics.get("duration", {}).get("median")) is not None:
        words.append(f"Half of the clips are shorter than {median:.1f} seconds. ")
    languages = [language["name"] for language in statistics.get("languages", {}).get("largest", ())]
    if languages:
        words += [f"Language{'s' if len(languages) > 1 else ''}: ", isolated(", ".join(languages)), ". "]
    if statistics.get("speakers") and not statistics["speakers"]["distinct"]:
        words.append("Speakers are not known, so the splits cannot keep them apart. ")
    return words


def kept_section(players: Sequence[Player]) -> Html:
    """Examples of what is in the dataset."""
    if not players:
        return Html("")
    words = "Some of the clips that were kept. What is written must be what is said, word by word."
    return join([tag("p", words), example_list(players)])


def footer(numbers: dict) -> Html:
    """Whose data it is, and where the numbers are."""
    parts = [tag("p", "The same numbers for programs: data_report.json beside this page.")]
    if numbers.get("credit"):
        parts.insert(0, tag("p", "Credit: ", isolated(numbers["credit"])))
    return tag("footer", *parts)
