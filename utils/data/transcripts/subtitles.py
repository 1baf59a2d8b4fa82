"""Reads subtitles: the cues of SRT and WebVTT files."""

import html
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from utils.data.segmentation.pieces import BadPiece, Piece
from utils.data.transcripts.pieces import build_piece, is_sound_note, lines_of
from utils.data.utterance import TimedText
from utils.runtime.problems import Problem
from utils.text.cleaning import clean_text

_CLOCK = r"(?:(\d{1,4}):)?(\d{1,2}):(\d{1,2})(?:[.,](\d{1,3}))?"  # hours, minutes, seconds, milliseconds

_WORD_CLOCK = re.compile(rf"<{_CLOCK}>")

_ANY_TAG = re.compile(r"<[^<>]*>")

_STYLE_TAG = re.compile(r"</?(?:[ibusvcp]|em|strong|font|span|lang|ruby|rt|br)\b[^<>]*>", re.IGNORECASE)

_OVERRIDE = re.compile(r"\{\\[^{}]*\}")  # of SubStation Alpha, {\an8}; players accept it in SRT too

_ESCAPED_BREAK = re.compile(r"\\[Nnh]")  # of SubStation Alpha

_ENTITY = re.compile(r"&(?:amp|lt|gt|nbsp|lrm|rlm|quot|apos|#\d{1,7}|#x[0-9a-fA-F]{1,6});")

_SPEAKER_SIGN = re.compile(r"\s*(?:[-‐–—]\s*(?=[^\W\d_]|[\"'«“„¿¡])|>{2,3}\s*)")

_BRACKETS = re.compile(r"\[[^\[\]]*\]")

_TIME_LINE = re.compile(rf"\s*{_CLOCK}\s*-->\s*{_CLOCK}(?:\s.*)?")

_CLOCK_LIKE = r"(?:\d{1,4}:){1,2}\d{1,2}[.,]\d{1,3}"

_NO_ARROW = re.compile(rf"\s*{_CLOCK_LIKE}\s*\S{{1,3}}\s*{_CLOCK_LIKE}\s*")

_VOICE = re.compile(r"<v(?:\.[^\s<>]*)?[ \t]([^<>]*)>")

_COMMENT = re.compile(r"(?:NOTE|STYLE|REGION)(?:\s|$)")


_FEWEST_ECHOES = 3
"""If this number of cues repeat the line above, subtitles without times of words may be rolling captions."""


@dataclass(frozen=True)
class _Cue:
    """A line with times and its number, and the numbered lines after it up to the next line with times."""

    number: int
    time_line: str
    body: list[tuple[int, str]]


def read_subtitles(text: str) -> Iterator[Piece | BadPiece]:
    """Read SubRip (SRT) or WebVTT.

    The first line shows which it is. `position` is the number of the line with the times. Markup, remarks in
    square brackets and signs of a new speaker (`- `, `>>`) are removed. A voice tag `<v Anna>` names the
    speaker. YouTube's rolling captions show each line several times. Here, each line is read once, with the
    times of its words. SRT files made from such captions are read in the same way, but without times of
    words. Formats: https://www.w3.org/TR/webvtt1/,
    https://www.matroska.org/technical/subtitles.html#srt-subtitles.
    """
    lines = lines_of(text)
    is_vtt = lines[0].startswith("WEBVTT")
    head, cues = _split_cues(lines, is_vtt)
    is_rolling = (is_vtt and _WORD_CLOCK.search(text) is not None) or _repeats_lines(cues, is_vtt)
    yield from _strays(_paragraphs(head)[1 if is_vtt else 0 :], is_vtt)
    last_line = ""
    for cue in cues:
        payload, rest = _payload(cue, is_vtt)
        echoes = is_rolling and any(_is_same(line, last_line) for line in payload)
        if echoes:
            payload = _without_echo(payload, last_line)
        yield _read_cue(cue, payload, is_vtt, echoes)
        last_line = next((line for line in reversed(payload) if _plain_text_of(line, is_vtt)), last_line)
        yield from _strays(rest, is_vtt)


def _split_cues(lines: Sequence[str], is_vtt: bool) -> tuple[list[tuple[int, str]], list[_Cue]]:
    """Return the lines before the first time line, and the cues without their numbers and names."""
    head: list[tuple[int, str]] = []
    cues: list[_Cue] = []
    body = head
    for number, line in enumerate(lines, start=1):
        if "-->" not in line and not _NO_ARROW.fullmatch(line):
            body.append((number, line))
            continue
        if body and (body[-1][1].strip().isdecimal() or (is_vtt and _stands_alone(body))):
            body.pop()
        body = []
        cues.append(_Cue(number, line, body))
    return head, cues


def _stands_alone(body: Sequence[tuple[int, str]]) -> bool:
    """Check whether the last line comes after a blank line. Then it is the name of a WebVTT cue."""
    return len(body) > 1 and bool(body[-1][1]) and not body[-2][1]


def _paragraphs(body: Iterable[tuple[int, str]]) -> list[list[tuple[int, str]]]:
    """Divide numbered lines into paragraphs at empty lines."""
    parts = itertools.groupby(body, key=lambda numbered: bool(numbered[1]))
    return [list(part) for has_text, part in parts if has_text]


def _payload(cue: _Cue, is_vtt: bool) -> tuple[list[str], list[list[tuple[int, str]]]]:
    """Return the lines of a cue's text, and the paragraphs after it that do not belong to it.

    In WebVTT, an empty line ends a cue. In SRT, people leave empty lines within a text.
    """
    paragraphs = _paragraphs(cue.body)
    if not paragraphs:
        return [], []
    if is_vtt:
        # tools that delete YouTube's lines of one space leave an empty line right below the times
        detached = cue.body[0][1] == "" and _COMMENT.match(paragraphs[0][0][1])
        first, rest = ([], paragraphs) if detached else (paragraphs[0], paragraphs[1:])
        return [line for _, line in first], rest
    # the last paragraph may be the number of a cue without a time line
    has_number = len(paragraphs) > 1 and [line.strip().isdecimal() for _, line in paragraphs[-1]] == [True]
    kept = len(paragraphs) - has_number
    return [line for part in paragraphs[:kept] for _, line in part], paragraphs[kept:]


def _strays(paragraphs: Iterable[Sequence[tuple[int, str]]], is_vtt: bool) -> Iterator[BadPiece]:
    """Reject paragraphs that belong to no cue. Skip notes and styles of WebVTT."""
    for paragraph in paragraphs:
        number, line = paragraph[0]
        if line.strip() and not (is_vtt and _COMMENT.match(line)):
            yield BadPiece(number, Problem("malformed cue", f"no line of times above {line[:60]!r}"))


def _repeats_lines(cues: Sequence[_Cue], is_vtt: bool) -> bool:
    """Check whether most cues begin with the last line of the cue before, as in rolling captions.

    A few such cues are normal, because people say a word twice or sing a line five times.
    """
    shown = ([_plain_text_of(line, True) for line in _payload(cue, is_vtt)[0]] for cue in cues)
    spoken = [[line for line in lines if line] for lines in shown]
    echoes = [
        lines for before, lines in itertools.pairwise(spoken) if before and lines and before[-1] == lines[0]
    ]
    has_more = any(len(lines) > 1 for lines in echoes)
    return has_more and len(echoes) >= _FEWEST_ECHOES and 2 * len(echoes) >= len(cues) - 1


def _without_echo(payload: Sequence[str], last_line: str) -> list[str]:
    """Drop the first line of a cue if it only repeats the cue before."""
    index = next(i for i, line in enumerate(payload) if _is_same(line, last_line))
    return [line for i, line in enumerate(payload) if i != index or _WORD_CLOCK.search(line)]


def _read_cue(cue: _Cue, payload: Sequence[str], is_vtt: bool, echoes: bool) -> Piece | BadPiece:
    match = _TIME_LINE.fullmatch(cue.time_line)
    if match is None:
        return BadPiece(
            cue.number,
            Problem("malformed line", f"{cue.time_line[:60]!r}, expected 00:00:01,000 --> 00:00:02,500"),
        )
    start, end = _seconds_of(match.groups()[:4]), _seconds_of(match.groups()[4:])
    spoken = [_SPEAKER_SIGN.sub("", _plain_text_of(line, is_vtt), count=1) for line in payload]
    if echoes and not any(spoken):
        problem = Problem("repeated text", f"{start:g} to {end:g} s only repeats the line above")
        return BadPiece(cue.number, problem, start, end)
    text = clean_text(" ".join(spoken))
    without_remarks = clean_text(_BRACKETS.sub(" ", text))
    voices = {clean_text(name) for line in payload for name in _VOICE.findall(line)}
    return build_piece(
        cue.number,
        start,
        end,
        text if is_sound_note(without_remarks) else without_remarks,
        voices.pop() if len(voices) == 1 else None,
        _words_of(payload, start, end),
    )


def _is_same(line: str, other: str) -> bool:
    return bool(other) and _plain_text_of(line, True) == _plain_text_of(other, True)


def _seconds_of(clock: Sequence[str | None]) -> float:
    hours, minutes, seconds, fraction = clock
    whole = int(hours or 0) * 3600 + int(minutes or 0) * 60 + int(seconds or 0)
    return whole + (int((fraction or "0").ljust(3, "0")) / 1000)


def _plain_text_of(line: str, is_vtt: bool) -> str:
    """Remove the markup of a line."""
    line = (_ANY_TAG if is_vtt else _STYLE_TAG).sub("", line)
    line = _ESCAPED_BREAK.sub(" ", _OVERRIDE.sub("", line))
    return clean_text(_ENTITY.sub(lambda match: html.unescape(match.group()), line))


def _words_of(payload: Sequence[str], start: float, end: float) -> list[TimedText]:
    """Read the words of lines such as `so<00:00:01.200><c> the</c>`. Each word lasts until the next one."""
    marked: list[tuple[float, str]] = []
    for line in payload:
        begin = marked[-1][0] if marked else start
        place = 0
        for match in _WORD_CLOCK.finditer(line):
            marked.append((begin, _plain_words(line[place : match.start()], place == 0)))
            begin, place = _seconds_of(match.groups()), match.end()
        marked.append((begin, _plain_words(line[place:], place == 0)))
    if len(marked) == len(payload):
        return []
    ends = [begin for begin, _ in marked[1:]] + [end]
    return [TimedText(begin, finish, words) for (begin, words), finish in zip(marked, ends, strict=True)]


def _plain_words(raw: str, is_first: bool) -> str:
    """Return the words without markup but with the spaces around them. A line begins with a space."""
    words = _ENTITY.sub(lambda match: html.unescape(match.group()), _ANY_TAG.sub("", raw))
    return f" {_SPEAKER_SIGN.sub('', words, count=1)}" if is_first else words
