"""What preprocess.py says at its end in the terminal."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from utils.report.data_sections import MOST_COLUMNS, percent, trimmed
from utils.report.page import without_controls

REPORT_FILE = "data_report.html"

MANY_REJECTS = 0.1  # share of what was seen from which on the rejects are the next thing to look at

BLOCKS, ASCII_BLOCKS = " ▁▂▃▄▅▆▇█", " .:-=+*#@"


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
