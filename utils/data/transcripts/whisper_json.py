"""What Whisper programs write as JSON."""

import json
from collections.abc import Iterator, Mapping

from utils.data.segmentation.pieces import BadPiece, Piece
from utils.data.transcripts.pieces import LATEST_SECOND, build_piece
from utils.data.utterance import TimedText
from utils.runtime.problems import BadItem, Problem


def read_whisper_json(text: str) -> Iterator[Piece | BadPiece]:
    """Read what Whisper programs write: openai-whisper, faster-whisper, WhisperX, whisper.cpp, transformers.

    Times of words are taken over where they spell the text of their segment. `position` counts from 1.

    Raises:
        BadItem: It is no JSON, or no transcript.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadItem("bad JSON", f"{error or 'nested too deeply'}") from None
    keys = ("segments", "transcription", "chunks")
    segments = document
    if isinstance(document, dict):
        segments = next((document[key] for key in keys if key in document), None)
    if not isinstance(segments, list):
        raise BadItem("not a Whisper transcript", "no list of segments, transcription or chunks")
    for number, segment in enumerate(segments, start=1):
        yield _read_whisper_segment(f"segment {number}", segment)


def _read_whisper_segment(position: str, segment: object) -> Piece | BadPiece:
    if not isinstance(segment, dict):
        kind = type(segment).__name__
        return BadPiece(position, Problem("malformed segment", f"found a {kind}, expected an object {{...}}"))
    start, end = _whisper_times(segment)
    text, speaker = segment.get("text"), segment.get("speaker")
    if start is None or end is None or not isinstance(text, str):
        found = ", ".join(map(repr, list(segment)[:9])) or "none"
        problem = Problem("malformed segment", f"keys {found}, expected numbers for start and end, and text")
        return BadPiece(position, problem)
    words = _whisper_words(segment.get("words"))
    return build_piece(position, start, end, text, speaker if isinstance(speaker, str) else None, words)


def _whisper_times(segment: Mapping[str, object]) -> tuple[float | None, float | None]:
    """Seconds of `start` and `end`, of whisper.cpp's `offsets` in ms, or of transformers' `timestamp`."""
    offsets, timestamp = segment.get("offsets"), segment.get("timestamp")
    if isinstance(offsets, dict):
        start, end = _number(offsets.get("from")), _number(offsets.get("to"))
        return None if start is None else start / 1000, None if end is None else end / 1000
    if isinstance(timestamp, list) and len(timestamp) == 2:
        return _number(timestamp[0]), _number(timestamp[1])
    return _number(segment.get("start")), _number(segment.get("end"))


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < LATEST_SECOND:
        return None
    return float(value)


def _whisper_words(words: object) -> list[TimedText]:
    """The timed words of a segment; one without times (WhisperX, of numbers) goes to the word before it."""
    timed: list[TimedText] = []
    for word in words if isinstance(words, list) else []:
        if not isinstance(word, dict) or not isinstance(spelling := word.get("word"), str):
            return []
        start, end = _number(word.get("start")), _number(word.get("end"))
        if start is not None and end is not None and start <= end:
            timed.append(TimedText(start, end, spelling))
        elif timed:
            before = timed.pop()
            gap = "" if spelling[:1].isspace() else " "
            timed.append(TimedText(before.start, before.end, f"{before.text}{gap}{spelling}"))
        else:
            return []
    return timed
