"""The data report: one HTML file to read and listen to, and its summary in the terminal.

Both are made of the numbers in `data_report.json`; the page also plays some of what was kept and rejected.
"""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from utils.players import Example, Player, audio_element, load_players
from utils.web_page import (
    Html,
    histogram_chart,
    isolated,
    join,
    meter,
    table,
    tag,
    without_controls,
    write_page,
)

KEPT_EXAMPLES = 12  # shown at most
EXAMPLES_PER_REASON = 5  # the same, of each kind of reject
REPORT_FILE = "data_report.html"
OPEN_REASONS = 3  # the commonest kinds are shown unfolded
FULL_WINDOW = 30.0  # seconds Whisper pads every clip to

MANY_REJECTS = 0.1  # share of what was seen from which on the rejects are the next thing to look at
RARE_CHARACTER = 3  # times used at most, in a text of many thousand characters
MANY_CHARACTERS = 5000
FEWEST_BINS, MOST_COLUMNS = 8, 40  # of a histogram that is cut behind its last value; of one in the terminal
BLOCKS, ASCII_BLOCKS = " ▁▂▃▄▅▆▇█", " .:-=+*#@"

# What a reader can do about each kind of reject, by how the kind begins.
ADVICE: Mapping[str, str] = {
    "too long": "Whisper hears 30 seconds at a time: give start and end of each utterance, or subtitles.",
    "segment too long": "Whisper hears 30 seconds at a time: cut the segment in its transcript.",
    "too short": "Nothing can be learnt from so short a clip. Check the times if they should be longer.",
    "segment too short": "Lower --min_segment_duration if these are words; most are slips in the times.",
    "label too long": "The text has more tokens than the decoder can write: cut the utterance in two.",
    "empty text": "Nothing was left of the text after cleaning: transcribe the clip, or drop its line.",
    "control token": "Remove Whisper's own tokens, such as <|0.00|>, from the text.",
    "broken characters": "Save the text as UTF-8 again from its source.",
    "not UTF-8": "Save the file as UTF-8.",
    "unreadable transcript": "Save the file as UTF-8.",
    "no such file": "Check the paths: they are relative to the file that names them.",
    "empty file": "The file has no bytes: copy or download it again.",
    "not audio": "No decoder recognises the file: check what it is, convert it to WAV or FLAC.",
    "broken audio": "The file cannot be decoded to its end: copy or download it again.",
    "truncated": "The file ends before it should: copy or download it again.",
    "unreadable file": "Check the file's name and that you may read it.",
    "not a file": "Name a file of audio here.",
    "no samples": "The file is audio without sound in it: record it again, or drop its line.",
    "NaN or infinite": "Export the audio again as 16-bit WAV or FLAC.",
    "samples out of range": "The samples are not scaled to -1 … 1: export the audio again.",
    "segment beyond the end": "The times do not belong to this recording, or the recording was cut.",
    "end not after start": "Swap or correct the times.",
    "start without end": "Give both times or neither.",
    "end without start": "Give both times or neither.",
    "time out of range": "Give times in seconds from the start of the recording.",
    "malformed line": "Write start, end and text with a tab between each.",
    "no transcript": "Put a text beside the recording, or drop the recording.",
    "no recording": "Put the recording beside the text, or drop the text.",
    "two recordings of one stem": "Keep one of the recordings.",
    "faulty transcript": "Correct the transcript.",
    "no speech": "Nothing to do: there is nothing to transcribe in these.",
    "unknown language": "Use a code that Whisper knows, such as it, en or fa.",
    "unknown split": "Use train, validation or test.",
    "bad JSON": "Each line of a manifest must be one JSON object.",
    "missing key": "Each line of a manifest needs audio and text.",
    "wrong type": "Correct the value in the manifest.",
    "silent": "Nothing can be heard in these: check the microphone or the channel, or drop the clips.",
    "DC offset": "Take the offset out with a high-pass filter, or record with another sound card.",
    "clipped": "Recorded too loud: what is cut off is lost. Use a quieter take where there is one.",
    "steady sound": "Listen: if these are noise or tones, drop them; --skip_rules steady_sound keeps them.",
    "no words": "Transcribe the clip, or drop its line.",
    "text too long": "Nobody says that much in 30 seconds: the text belongs to a longer recording.",
    "markup": "Write only what is said: take tags, links and notes out of the text.",
    "digits": "Write numbers as they are spoken.",
    "wrong script": "Check that text and language belong together.",
    "lookalike letters": "Replace the letters of the other alphabet.",
    "repeated text": "A sign of machine transcripts: transcribe these by hand, or drop them.",
    "speech rate": "Far too much or too little text for the time: check that text and sound belong together.",
    "low alignment confidence": "The text hardly fits the sound here: check what is said.",
    "duplicate": "Nothing to do: the other one was kept.",
    "leak": "Nothing to do: left out so that scores on validation and test can be trusted.",
}
OTHER_ADVICE = "rejects.jsonl names each one and says what was found and what was expected."


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


# ---- examples ----------------------------------------------------------------------------------------------


def example_list(players: Sequence[Player]) -> Html:
    """Cards with text, sound and origin of each example."""
    cards = []
    for player in players:
        example, parts = player.example, []
        if example.text:
            parts.append(tag("p", example.text, dir="auto", class_="text"))
        parts.append(audio_element(player))
        parts.append(tag("p", isolated(example.title), class_="title"))
        parts += [tag("p", isolated(line), class_="detail") for line in (example.detail, player.note) if line]
        cards.append(tag("li", *parts))
    return tag("ul", *cards, class_="examples")


# ---- sections ----------------------------------------------------------------------------------------------


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


def list_warnings(numbers: dict) -> list[str]:
    """What the user should know before training on this, a sentence or two each."""
    warnings = []
    if numbers.get("shared_texts"):
        warnings.append(
            f"Warning: sentences in more than one of the given splits: {numbers['shared_texts']}; utterances "
            f"of validation and test whose sentence is in train: {numbers['leaked_utterances']}; "
            "error rates will look better than they are."
        )
    for key, what in (("shared_speakers", "speakers"), ("shared_recordings", "recordings")):
        if numbers.get(key):
            warnings.append(
                f"Warning: {what} in more than one split: {numbers[key]}; error rates will look better than "
                f"they are for new {what}."
            )
    if numbers.get("duplicates"):
        warnings.append(
            f"Warning: clips with the same sound as another one: {numbers['duplicates']}; they count twice."
        )
    return warnings


def next_step(numbers: dict) -> str:
    """What to do now, in a sentence or two."""
    if list_warnings(numbers):
        return (
            "Splits that share what is in them flatter the model. Where you made the splits yourself, make "
            "them anew or leave them out, so that preprocess.py cuts them; then train."
        )
    if numbers["rejected"] > MANY_REJECTS * numbers["seen"]:
        return (
            "More than a tenth was rejected. Go through the reasons below, repair what can be repaired and "
            "run preprocess.py again; what is kept can be trained on as it is."
        )
    return "Listen to a few of the clips below and read along: text and sound must match. Then train."


def splits_section(numbers: dict) -> Html:
    """A table of the splits."""
    counted = (numbers.get("statistics") or {}).get("splits", {})
    rows = []
    for name, split in numbers["splits"].items():
        more = counted.get(name, {})
        rows.append(
            [
                name,
                f"{split['utterances']:,}",
                f"{split['hours']:.2f}",
                f"{split['mean_duration']:.1f}",
                f"{split['longest']:.1f}",
                f"{split['distinct_texts']:,}",
                *[f"{more[key]:,}" if more.get(key) else "–" for key in ("speakers", "groups")],
            ]
        )
    headings = ("split", "utterances", "hours", "mean s", "longest s", "distinct texts", "speakers", "groups")
    caption = "Train is learnt from, validation chooses the best step, test is scored once at the end."
    parts = [table(caption, headings, rows, numeric=range(1, len(headings)))]
    if split_by := numbers.get("split_by"):
        parts.append(tag("p", f"The splits were cut so that no {split_by} is in two of them.", class_="soft"))
    return join(parts)


def histograms_section(statistics: dict | None) -> Html:
    """How long clips and labels are, and how fast people speak."""
    if not statistics:
        return Html("")
    charts = [
        ("duration", "Duration of clips", "Whisper hears 30 seconds at a time."),
        ("label_tokens", "Tokens of a label", "Whisper's decoder writes 448 tokens at most."),
        (
            "speech_rate",
            "Speech rate",
            "Clips far from the others often have a text that does not belong to their sound.",
        ),
    ]
    return join([histogram_figure(key, title, why, statistics[key]) for key, title, why in charts])


def histogram_figure(key: str, title: str, why: str, histogram: dict) -> Html:
    """A chart, its caption, and the same numbers as a table; nothing where nothing was counted."""
    edges, counts = trimmed(histogram)
    if histogram["median"] is None:
        return Html("")
    middle = (
        f"Nine of ten clips lie between {histogram['p5']:.1f} and {histogram['p95']:.1f} "
        f"{histogram['unit']}, half below {histogram['median']:.1f} (dashed)."
    )
    if histogram["above"]:
        middle += f" {histogram['above']:,} above {edges[-1]:g} are not drawn."
    chart = histogram_chart(
        key, edges, counts, title=title, description=middle, unit=histogram["unit"], mark=histogram["median"]
    )
    rows = [
        [f"{low:g} to {high:g}", f"{count:,}"]
        for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True)
        if count
    ]
    numbers = table(title, (histogram["unit"], "clips"), rows, numeric=(1,))
    caption = tag("figcaption", tag("strong", title), f"{middle} {why}")
    as_table = tag("details", tag("summary", "Numbers"), numbers, class_="numbers")
    return tag("figure", caption, chart, as_table)


def trimmed(histogram: dict) -> tuple[list[float], list[int]]:
    """Edges and counts up to the last bin that holds something, a few at least."""
    counts = histogram["counts"]
    used = [place for place, count in enumerate(counts) if count]
    last = len(counts) if histogram["above"] or not used else max(used[-1] + 1, FEWEST_BINS)
    return histogram["edges"][: last + 1], counts[:last]


def silence_section(statistics: dict | None) -> Html:
    """How much of Whisper's window is silence, and what the dynamic context saves of it."""
    dynamic = (statistics or {}).get("dynamic_context")
    if not statistics or not dynamic:
        return Html("")
    silence = statistics["silence"]
    speech = FULL_WINDOW * (1 - silence["share_of_window"])
    rows = [
        ("the clips themselves", speech, ""),
        ("padded to the longest of a batch", dynamic["mean_context"], ""),
        ("dynamic context: with the silence condensed", dynamic["mean_seconds_of_work"], dynamic["speed_up"]),
        ("full context", FULL_WINDOW, 1.0),
    ]
    cells = [
        [label, f"{seconds:.1f}", f"× {faster:.1f}" if faster else "–", meter(seconds / FULL_WINDOW)]
        for label, seconds, faster in rows
    ]
    words = (
        f"Padded to 30 seconds, {percent(silence['share_of_window'])} of what Whisper hears would be silence."
    )
    if silence["share_of_clips"] is not None:
        words += f" Of the clips themselves {percent(silence['share_of_clips'])} are pauses."
    note = (
        "The speed-up is an estimate for training Whisper base, from the durations of the clips: batches of "
        f"{dynamic['batch_size']} as the sampler makes them, the arithmetic of encoder and decoder, and a "
        "fixed part of every step. Larger models gain more, slow disks and busy machines less. Condensed: "
        f"after the first second of silence, {dynamic['silence_run']} positions of it are heard as one."
    )
    headings = ("seconds heard for a clip", "mean s", "training speed", "share of 30 s")
    bars = table("Mean context of a training step", headings, cells, numeric=(1, 2))
    return join([tag("p", words), bars, tag("p", note, class_="soft")])


def names_section(statistics: dict | None) -> Html:
    """Who speaks how much: speakers, groups and languages where there are any."""
    parts = []
    for key, what in (("speakers", "speaker"), ("groups", "group"), ("languages", "language")):
        counted = (statistics or {}).get(key, {"distinct": 0})
        if counted["distinct"] < (2 if key == "languages" else 1):
            continue
        parts.append(names_table(counted, what))
        if counted.get("clips_without"):
            parts.append(tag("p", f"{counted['clips_without']:,} clips name no {what}.", class_="soft"))
    return join(parts)


def names_table(counted: dict, what: str) -> Html:
    """Hours of each name, the largest first, with a bar for its share of all."""
    largest, others = counted["largest"], counted["hours_of_others"]
    total = sum(entry["hours"] for entry in largest) + others
    rows = [
        [isolated(entry["name"]), f"{entry['hours']:.2f}", meter(entry["hours"] / max(total, 1e-9))]
        for entry in largest
    ]
    if counted["distinct"] > len(largest):
        label = f"{counted['distinct'] - len(largest):,} others"
        rows.append([label, f"{others:.2f}", meter(others / max(total, 1e-9))])
    about = "" if counted["is_exact"] else "about "
    caption = f"{about}{counted['distinct']:,} {what}{'s' if counted['distinct'] > 1 else ''}".capitalize()
    return table(caption, (what, "hours", "share"), rows, numeric=(1,))


def characters_section(statistics: dict | None) -> Html:
    """Every character used, so that slips in the spelling and foreign letters are seen."""
    characters = (statistics or {}).get("characters")
    if not characters or not characters["counts"]:
        return Html("")
    marks_rare = characters["total"] >= MANY_CHARACTERS
    items = [
        character_item(entry["character"], entry["count"], marks_rare and entry["count"] <= RARE_CHARACTER)
        for entry in characters["counts"]
    ]
    about = "" if characters["is_exact"] else "about "
    words = (
        f"The transcripts use {about}{characters['distinct']:,} different characters, "
        f"{characters['total']:,} in all. Look for letters of other alphabets, symbols nobody says, and two "
        "forms of one sign."
    )
    if marks_rare:
        words += f" Those used {RARE_CHARACTER} times or less are marked."
    if characters["count_of_others"]:
        words += f" The rarest, used {characters['count_of_others']:,} times together, are not listed."
    return join([tag("p", words), tag("ul", *items, class_="characters")])


def character_item(character: str, count: int, is_rare: bool) -> Html:
    """A character with its count; one that cannot be seen is named."""
    name = unicodedata.name(character, "unnamed character")
    code = f"U+{ord(character):04X} {name}"
    category = unicodedata.category(character)
    if category[0] in "CZ":
        shown = tag("b", "␣") if character == " " else tag("b", code)
    else:
        # a mark is shown on a circle, as it has no place of its own
        shown = tag("b", isolated("◌" + character if category[0] == "M" else character))
    more = {"class_": "rare"} if is_rare else {}
    return tag("li", shown, tag("span", f"{count:,}"), title=code, **more)


def rejects_section(numbers: dict, players: Mapping[str, Sequence[Player]]) -> Html:
    """Each reason with its count, what to do about it, and examples."""
    if not numbers["rejected"]:
        return tag("p", "Nothing was rejected.")
    rows = [
        [isolated(kind), f"{count:,}", meter(count / numbers["rejected"]), advice_for(kind)]
        for kind, count in numbers["reasons"].items()
    ]
    caption = "Why items are not in the dataset. rejects.jsonl names every one of them with its reason."
    parts = [table(caption, ("reason", "count", "share", "what to do"), rows, numeric=(1,))]
    for place, kind in enumerate(kind for kind in numbers["reasons"] if players.get(kind)):
        heading = tag("summary", isolated(kind), f" · {numbers['reasons'][kind]:,}")
        unfolded = {"open": ""} if place < OPEN_REASONS else {}
        parts.append(tag("details", heading, example_list(players[kind]), class_="reason", **unfolded))
    return join(parts)


def advice_for(kind: str) -> str:
    """What to do about a kind of reject."""
    return next((advice for start, advice in ADVICE.items() if kind.startswith(start)), OTHER_ADVICE)


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


def percent(part: float, whole: float = 1.0) -> str:
    """A share in percent, with a decimal where it is close to none or all of it."""
    share = 100 * part / whole if whole else 0.0
    return f"{share:.1f} %" if share < 10 or share > 90 else f"{share:.0f} %"


# ---- terminal ----------------------------------------------------------------------------------------------


def print_summary(numbers: dict, output_dir: Path, console: Console) -> None:
    """Print what was kept, how long it is, what was not kept and why, and the warnings.

    Args:
        numbers: What `data_report.json` holds.
        output_dir: The prepared dataset.
        console: Where to print to.
    """
    console.print(build_splits_table(numbers, str(output_dir)))
    for line in summary_lines(numbers, output_dir, ascii_only=console.options.ascii_only):
        console.print(Text(without_controls(line)), soft_wrap=True, highlight=False)


def build_splits_table(numbers: dict, title: str) -> Table:
    """One row for each split."""
    shown = Table("split", title=Text(title))
    for heading in ("utterances", "hours", "mean s", "longest s", "distinct texts"):
        shown.add_column(heading, justify="right")
    for name, split in numbers["splits"].items():
        lengths = (f"{split['hours']:.2f}", f"{split['mean_duration']:.1f}", f"{split['longest']:.1f}")
        shown.add_row(name, str(split["utterances"]), *lengths, str(split["distinct_texts"]))
    return shown


def summary_lines(numbers: dict, output_dir: Path, *, ascii_only: bool) -> Iterable[str]:
    """What stands below the table, line by line."""
    yield (
        f"{numbers['seen']} seen, {numbers['kept']} kept ({numbers['hours']:.2f} h), "
        f"{numbers['rejected']} rejected."
    )
    for kind, count in numbers["reasons"].items():
        yield f"  {count:>6} × {kind}"
    if numbers["rejected"]:
        yield f"Each reject and its reason: {output_dir / 'rejects.jsonl'}"
    yield from statistics_lines(numbers.get("statistics"), ascii_only=ascii_only)
    if (output_dir / REPORT_FILE).is_file():
        yield f"To read and listen: {output_dir / REPORT_FILE}"
    yield from (str(note) for note in numbers.get("notes", ()))
    yield from list_warnings(numbers)
    if numbers.get("credit"):
        yield numbers["credit"]


def statistics_lines(statistics: dict | None, *, ascii_only: bool) -> Iterable[str]:
    """Small histograms, and what the dynamic context saves."""
    if not statistics:
        return
    for key, label in (("duration", "duration"), ("label_tokens", "label"), ("speech_rate", "speech")):
        histogram = statistics[key]
        if histogram["median"] is None:
            continue
        edges, counts = trimmed(histogram)
        drawn = text_histogram(counts, ASCII_BLOCKS if ascii_only else BLOCKS)
        yield (
            f"  {label:<9}{edges[0]:g} |{drawn}| {edges[-1]:g} {histogram['unit']}, "
            f"half below {histogram['median']:.1f}"
        )
    if dynamic := statistics.get("dynamic_context"):
        yield (
            f"Silence in the 30 s window: {percent(statistics['silence']['share_of_window'])}. Dynamic "
            f"context should make training about {dynamic['speed_up']:.1f} times as fast (an estimate)."
        )


def text_histogram(counts: Sequence[int], blocks: str = BLOCKS) -> str:
    """Counts as one character each, in `MOST_COLUMNS` or fewer; what is not 0 can be seen."""
    width = -(-len(counts) // MOST_COLUMNS)
    columns = [sum(counts[start : start + width]) for start in range(0, len(counts), width)]
    highest = max(*columns, 1)
    return "".join(blocks[-(-count * (len(blocks) - 1) // highest)] for count in columns)
