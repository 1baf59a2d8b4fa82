"""The text of a cue without its marks, and the times of its words."""

import html
import re
from collections.abc import Sequence

from utils.data.utterance import TimedText
from utils.text.cleaning import clean_text

CLOCK = r"(?:(\d{1,4}):)?(\d{1,2}):(\d{1,2})(?:[.,](\d{1,3}))?"  # hours, minutes, seconds, milliseconds

WORD_CLOCK = re.compile(rf"<{CLOCK}>")

_ANY_TAG = re.compile(r"<[^<>]*>")

_STYLE_TAG = re.compile(r"</?(?:[ibusvcp]|em|strong|font|span|lang|ruby|rt|br)\b[^<>]*>", re.IGNORECASE)

_OVERRIDE = re.compile(r"\{\\[^{}]*\}")  # of SubStation Alpha, {\an8}; players know it in SRT too

_ESCAPED_BREAK = re.compile(r"\\[Nnh]")  # of SubStation Alpha

_ENTITY = re.compile(r"&(?:amp|lt|gt|nbsp|lrm|rlm|quot|apos|#\d{1,7}|#x[0-9a-fA-F]{1,6});")

SPEAKER_SIGN = re.compile(r"\s*(?:[-‐–—]\s*(?=[^\W\d_]|[\"'«“„¿¡])|>{2,3}\s*)")

BRACKETS = re.compile(r"\[[^\[\]]*\]")


def seconds_of(clock: Sequence[str | None]) -> float:
    hours, minutes, seconds, fraction = clock
    whole = int(hours or 0) * 3600 + int(minutes or 0) * 60 + int(seconds or 0)
    return whole + (int((fraction or "0").ljust(3, "0")) / 1000)


def plain_text_of(line: str, is_vtt: bool) -> str:
    """A line of a cue without markup."""
    line = (_ANY_TAG if is_vtt else _STYLE_TAG).sub("", line)
    line = _ESCAPED_BREAK.sub(" ", _OVERRIDE.sub("", line))
    return clean_text(_ENTITY.sub(lambda match: html.unescape(match.group()), line))


def words_of(payload: Sequence[str], start: float, end: float) -> list[TimedText]:
    """The words of lines such as `so<00:00:01.200><c> the</c>`; each lasts until the next one."""
    marked: list[tuple[float, str]] = []
    for line in payload:
        begin = marked[-1][0] if marked else start
        place = 0
        for match in WORD_CLOCK.finditer(line):
            marked.append((begin, _plain_words(line[place : match.start()], place == 0)))
            begin, place = seconds_of(match.groups()), match.end()
        marked.append((begin, _plain_words(line[place:], place == 0)))
    if len(marked) == len(payload):
        return []
    ends = [begin for begin, _ in marked[1:]] + [end]
    return [TimedText(begin, finish, words) for (begin, words), finish in zip(marked, ends, strict=True)]


def _plain_words(raw: str, is_first: bool) -> str:
    """Words of a line without markup, with the spaces around them; a line begins with one."""
    words = _ENTITY.sub(lambda match: html.unescape(match.group()), _ANY_TAG.sub("", raw))
    return f" {SPEAKER_SIGN.sub('', words, count=1)}" if is_first else words
