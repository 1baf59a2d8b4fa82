"""Reads timed transcripts of every format into pieces."""

import codecs
import json
import re
from collections.abc import Iterator, Mapping

from utils.data.decimals import has_decimal_commas, read_decimal
from utils.data.segmentation.pieces import BadPiece, Piece
from utils.data.transcripts.eaf import read_eaf
from utils.data.transcripts.pieces import LATEST_SECOND, build_piece, lines_of, read_seconds
from utils.data.transcripts.subtitles import read_subtitles
from utils.data.transcripts.textgrid import read_textgrid
from utils.data.utterance import TimedText
from utils.runtime.problems import BadItem, Problem

TRANSCRIPT_EXTENSIONS = (".textgrid", ".eaf", ".labels", ".srt", ".vtt", ".txt", ".json")
"""Extensions of transcripts.

The preferred ones come first: formats made by people are before formats made by programs.
"""


_TWO_DECIMALS = re.compile(r"\s*\d+[.,]\d+\s+\d+[.,]\d+(\s|$)")


def read_transcript(text: str, extension: str, *, tier: str | None = None) -> Iterator[Piece | BadPiece]:
    """Read a timed transcript into pieces, in the order of the file.

    Args:
        text: Content of the file, see `decode_transcript`.
        extension: `.srt`, `.vtt`, `.textgrid`, `.eaf`, `.json` (Whisper), `.labels` or `.txt` (with tabs).
        tier: Name or pattern (`tx@*`) of the tiers to read from TextGrid and EAF. If None, the tiers are
            chosen by rules.

    Raises:
        BadItem: The file does not have the format of its extension.
    """
    if extension in (".textgrid", ".eaf"):
        return (read_textgrid if extension == ".textgrid" else read_eaf)(text, tier)
    if extension in (".srt", ".vtt"):
        return read_subtitles(text)
    return (read_whisper_json if extension == ".json" else read_tab_lines)(text)


def decode_transcript(data: bytes) -> str:
    """Decode UTF-8, or UTF-16 with a byte order mark (Praat writes it), to text without the mark.

    Raises:
        BadItem: Another encoding, or a binary file.
    """
    if data.startswith(b"ooBinaryFile"):
        raise BadItem("unreadable transcript", "a binary TextGrid; save it as a text file in Praat")
    is_utf32 = data.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE))
    is_utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) and not is_utf32
    try:
        return data.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadItem("unreadable transcript", f"{error}; save it as UTF-8") from None


def is_timed(transcript: str) -> bool:
    """Check whether a .txt has times: a line has tabs, or begins with two decimal numbers.

    The second check finds files whose tabs became spaces. These must be rejected, because their lines are not
    plain text.
    """
    return any("\t" in line.strip() or _TWO_DECIMALS.match(line) for line in transcript.splitlines())


def read_tab_lines(text: str) -> Iterator[Piece | BadPiece]:
    """Read lines of `start<TAB>end<TAB>text` in seconds, the format of Audacity's label tracks.

    Further tabs belong to the text. Blank lines are skipped, and also the lines of frequencies that Audacity
    writes below labels (https://manual.audacityteam.org/man/importing_and_exporting_labels.html). Times may
    have decimal commas.
    """
    lines = [(n, line) for n, line in enumerate(lines_of(text), 1) if line.strip() and line[:2] != "\\\t"]
    times = [time for _, line in lines if line.count("\t") > 1 for time in line.split("\t")[:2]]
    decimal_commas = has_decimal_commas(times)
    for number, line in lines:
        yield _read_tab_line(number, line, decimal_commas)


def _read_tab_line(number: int, line: str, decimal_commas: bool) -> Piece | BadPiece:
    fields = line.split("\t", maxsplit=2)
    if len(fields) < 3:
        return BadPiece(
            number,
            Problem("malformed line", f"found {len(fields) - 1} tabs, expected start<TAB>end<TAB>text"),
        )
    start, end = (read_seconds(field, has_decimal_commas=decimal_commas) for field in fields[:2])
    if start is None or end is None:
        problem = Problem(
            "malformed line",
            f"times {fields[0]!r} and {fields[1]!r}, expected seconds with a point, such as 12.4",
        )
        return BadPiece(number, problem)
    return build_piece(number, start, end, fields[2])


def read_whisper_json(text: str) -> Iterator[Piece | BadPiece]:
    """Read JSON of Whisper programs: openai-whisper, faster-whisper, WhisperX, whisper.cpp, transformers.

    Times of words are used if the words give the text of their segment. `position` counts from 1.

    Raises:
        BadItem: It is not JSON, or not a transcript.
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
        raise BadItem("not a Whisper transcript", "it has no list of segments, transcription or chunks")
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
        problem = Problem(
            "malformed segment", f"keys {found}, expected numbers such as 12.4 for start and end, and text"
        )
        return BadPiece(position, problem)
    words = _whisper_words(segment.get("words"))
    return build_piece(position, start, end, text, speaker if isinstance(speaker, str) else None, words)


def _whisper_times(segment: Mapping[str, object]) -> tuple[float | None, float | None]:
    """Return start and end in seconds, from `start` and `end`, from whisper.cpp's `offsets` in ms, or from
    transformers' `timestamp`.
    """
    offsets, timestamp = segment.get("offsets"), segment.get("timestamp")
    if isinstance(offsets, dict):
        return _number(offsets.get("from"), unit=1000), _number(offsets.get("to"), unit=1000)
    if isinstance(timestamp, list) and len(timestamp) == 2:
        return _number(timestamp[0]), _number(timestamp[1])
    return _number(segment.get("start")), _number(segment.get("end"))


def _number(value: object, unit: int = 1) -> float | None:
    if isinstance(value, str):
        value = read_decimal(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < LATEST_SECOND:
        return None
    return value / unit


def _whisper_words(words: object) -> list[TimedText]:
    """Return the timed words.

    A word without times is added to the word before it. WhisperX writes numbers like this.
    """
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
