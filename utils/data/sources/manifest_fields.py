"""Reads the fields of a manifest's line, and refuses values of the wrong kind."""

from collections.abc import Mapping

from utils.data.decimals import read_decimal
from utils.data.fields import is_utf8, shown, text_problem
from utils.data.segmentation.pieces import END_TOLERANCE, check_segment
from utils.data.sources.rows import manifest_seconds
from utils.data.utterance import TimedText
from utils.runtime.problems import BadItem
from utils.text.cleaning import clean_text


def read_string(row: Mapping[str, object], key: str) -> str | None:
    value = row.get(key)
    if value is None and key not in ("audio", "text"):
        return None
    if key in ("speaker", "group", "recording") and isinstance(value, int) and not isinstance(value, bool):
        return str(value)  # many corpora number their speakers
    if not isinstance(value, str):
        raise BadItem(f"wrong type of {key!r}", f"found {shown(value)}, expected text")
    if key != "text" and not is_utf8(value):
        raise BadItem(
            f"broken characters in {key!r}", "an incomplete character (lone surrogate); save it as UTF-8"
        )
    return value


def read_previous_text(row: Mapping[str, object]) -> str | None:
    """Return the cleaned text that was said right before.

    Raises:
        BadItem: It is not text, or cannot be used for training.
    """
    text = clean_text(read_string(row, "previous_text") or "")
    if problem := text_problem(text) if text else None:
        raise BadItem(problem.kind, f"{problem.details} (in 'previous_text')")
    return text or None


def read_times(row: Mapping[str, object]) -> tuple[float | None, float | None]:
    values = {key: _read_time(key, row[key]) for key in ("start", "end") if row.get(key) is not None}
    if not values:
        return None, None
    if len(values) == 1:
        there, lacking = ("start", "end") if "start" in values else ("end", "start")
        raise BadItem(f"{there} without {lacking}", "give both or neither")
    check_segment(values["start"], values["end"])
    return values["start"], values["end"]


def _read_time(key: str, value: object) -> float:
    number = read_decimal(value) if isinstance(value, str) else value
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise BadItem(f"wrong type of {key!r}", f"found {shown(value)}, expected seconds such as 12.4")
    return manifest_seconds(key, number)


def read_segments(row: Mapping[str, object], text: str, duration: float) -> tuple[TimedText, ...]:
    """Read the timed segments of an utterance of `duration` seconds.

    Raises:
        BadItem: They are not in order or not within the utterance, or their texts together are not its text.
    """
    value = row.get("segments")
    if value is None:
        return ()
    expected = 'expected a list of {"start": s, "end": s, "text": "..."}, seconds from the utterance\'s start'
    if not isinstance(value, list) or not all(isinstance(part, dict) for part in value):
        raise BadItem("wrong type of 'segments'", f"found {shown(value)}, {expected}")
    segments: list[TimedText] = []
    for part in value:
        start, end = read_times(part)
        if start is None or end is None or not isinstance(part.get("text"), str):
            raise BadItem("malformed segments", f"keys {', '.join(map(repr, part)) or 'none'}, {expected}")
        if not clean_text(part["text"]) or start >= duration or end > duration + END_TOLERANCE:
            raise BadItem(
                "malformed segments", f"no text, or not within the utterance at {start:g} s, {expected}"
            )
        if segments and start < segments[-1].start:
            raise BadItem("malformed segments", f"out of order at {start:g} s, {expected}")
        segments.append(TimedText(start, min(end, duration), clean_text(part["text"])))
    if "".join("".join(part.text for part in segments).split()) != "".join(text.split()):
        raise BadItem("segments without the text", "the texts of all segments together must be 'text'")
    return tuple(segments)
