"""Subtitles: the cues of SRT and WebVTT files."""

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from utils.data.segmentation.pieces import BadPiece, Piece
from utils.data.transcripts.cue_text import (
    BRACKETS,
    CLOCK,
    SPEAKER_SIGN,
    WORD_CLOCK,
    plain_text_of,
    seconds_of,
    words_of,
)
from utils.data.transcripts.pieces import FEWEST_ECHOES, build_piece, is_same, is_sound_note, lines_of
from utils.runtime.problems import Problem
from utils.text.cleaning import clean_text

_TIME_LINE = re.compile(rf"\s*{CLOCK}\s*-->\s*{CLOCK}(?:\s.*)?")

_CLOCK_LIKE = r"(?:\d{1,4}:){1,2}\d{1,2}[.,]\d{1,3}"

_NO_ARROW = re.compile(rf"\s*{_CLOCK_LIKE}\s*\S{{1,3}}\s*{_CLOCK_LIKE}\s*")

_VOICE = re.compile(r"<v(?:\.[^\s<>]*)?[ \t]([^<>]*)>")

_COMMENT = re.compile(r"(?:NOTE|STYLE|REGION)(?:\s|$)")


@dataclass(frozen=True)
class _Cue:
    """A time line with its number, and the numbered lines from there up to the next one."""

    number: int
    time_line: str
    body: list[tuple[int, str]]


def read_subtitles(text: str) -> Iterator[Piece | BadPiece]:
    """Read SubRip (SRT) or WebVTT; which of them, the first line says. `position` is the line of the times.

    Markup is removed, and remarks in square brackets, and signs of a new speaker (`- `, `>>`); a voice tag
    `<v Anna>` names the speaker. Of YouTube's rolling captions, which show each line several times, each line
    is read once, with the times of its words; so too in SRT made of them, which has no times of words.
    Formats: https://www.w3.org/TR/webvtt1/, https://www.matroska.org/technical/subtitles.html#srt-subtitles.
    """
    lines = lines_of(text)
    is_vtt = lines[0].startswith("WEBVTT")
    head, cues = _split_cues(lines, is_vtt)
    is_rolling = (is_vtt and WORD_CLOCK.search(text) is not None) or _repeats_lines(cues, is_vtt)
    yield from _strays(_paragraphs(head)[1 if is_vtt else 0 :], is_vtt)
    last_line = ""
    for cue in cues:
        payload, rest = _payload(cue, is_vtt)
        echoes = is_rolling and any(is_same(line, last_line) for line in payload)
        if echoes:
            payload = _without_echo(payload, last_line)
        yield _read_cue(cue, payload, is_vtt, echoes)
        last_line = next((line for line in reversed(payload) if plain_text_of(line, is_vtt)), last_line)
        yield from _strays(rest, is_vtt)


def _split_cues(lines: Sequence[str], is_vtt: bool) -> tuple[list[tuple[int, str]], list[_Cue]]:
    """The lines before the first time line, and the cues; numbers and names above time lines are left out."""
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
    """Whether the last line is not blank and the one before it is: so stands the name of a WebVTT cue."""
    return len(body) > 1 and bool(body[-1][1]) and not body[-2][1]


def _paragraphs(body: Iterable[tuple[int, str]]) -> list[list[tuple[int, str]]]:
    """Numbered lines, parted at empty ones."""
    paragraphs: list[list[tuple[int, str]]] = [[]]
    for number, line in body:
        if line:
            paragraphs[-1].append((number, line))
        elif paragraphs[-1]:
            paragraphs.append([])
    return [paragraph for paragraph in paragraphs if paragraph]


def _payload(cue: _Cue, is_vtt: bool) -> tuple[list[str], list[list[tuple[int, str]]]]:
    """The lines of a cue's text, and paragraphs below them that do not belong to it.

    WebVTT ends a cue at an empty line; in SRT people leave empty lines within a text.
    """
    paragraphs = _paragraphs(cue.body)
    if not paragraphs:
        return [], []
    if is_vtt:
        # an empty line right below the times is a mistake of tools that strip YouTube's lines of one space
        detached = cue.body[0][1] == "" and _COMMENT.match(paragraphs[0][0][1])
        first, rest = ([], paragraphs) if detached else (paragraphs[0], paragraphs[1:])
        return [line for _, line in first], rest
    # the number of a cue that has no time line
    has_number = len(paragraphs) > 1 and _is_number(paragraphs[-1])
    kept = len(paragraphs) - has_number
    return [line for part in paragraphs[:kept] for _, line in part], paragraphs[kept:]


def _is_number(paragraph: Sequence[tuple[int, str]]) -> bool:
    return len(paragraph) == 1 and paragraph[0][1].strip().isdecimal()


def _strays(paragraphs: Iterable[Sequence[tuple[int, str]]], is_vtt: bool) -> Iterator[BadPiece]:
    """Paragraphs that belong to no cue become rejects; notes and styles of WebVTT are no items."""
    for paragraph in paragraphs:
        number, line = paragraph[0]
        if line.strip() and not (is_vtt and _COMMENT.match(line)):
            yield BadPiece(number, Problem("malformed cue", f"no line of times above {line[:60]!r}"))


def _repeats_lines(cues: Sequence[_Cue], is_vtt: bool) -> bool:
    """Whether most cues begin with the line that the one before ended with, as in captions that roll up.

    A few such cues are nothing of the kind: people say a word twice, and sing a line five times.
    """
    shown = ([plain_text_of(line, True) for line in _payload(cue, is_vtt)[0]] for cue in cues)
    spoken = [[line for line in lines if line] for lines in shown]
    echoes = [
        lines for before, lines in itertools.pairwise(spoken) if before and lines and before[-1] == lines[0]
    ]
    has_more = any(len(lines) > 1 for lines in echoes)
    return has_more and len(echoes) >= FEWEST_ECHOES and 2 * len(echoes) >= len(cues) - 1


def _without_echo(payload: Sequence[str], last_line: str) -> list[str]:
    """The lines without the first that only repeats what the cue before showed."""
    index = next(i for i, line in enumerate(payload) if is_same(line, last_line))
    return [line for i, line in enumerate(payload) if i != index or WORD_CLOCK.search(line)]


def _read_cue(cue: _Cue, payload: Sequence[str], is_vtt: bool, echoes: bool) -> Piece | BadPiece:
    match = _TIME_LINE.fullmatch(cue.time_line)
    if match is None:
        return BadPiece(
            cue.number,
            Problem("malformed line", f"{cue.time_line[:60]!r}, expected 00:00:01,000 --> 00:00:02,500"),
        )
    start, end = seconds_of(match.groups()[:4]), seconds_of(match.groups()[4:])
    spoken = [SPEAKER_SIGN.sub("", plain_text_of(line, is_vtt), count=1) for line in payload]
    if echoes and not any(spoken):
        problem = Problem("repeated text", f"{start:g} to {end:g} s shows the line above again")
        return BadPiece(cue.number, problem, start, end)
    text = clean_text(" ".join(spoken))
    without_remarks = clean_text(BRACKETS.sub(" ", text))
    voices = {clean_text(name) for line in payload for name in _VOICE.findall(line)}
    return build_piece(
        cue.number,
        start,
        end,
        text if is_sound_note(without_remarks) else without_remarks,
        voices.pop() if len(voices) == 1 else None,
        words_of(payload, start, end),
    )
