"""Timed transcripts as programs write them: subtitles, Praat, ELAN, Audacity and Whisper files, as pieces."""

import codecs
import html
import itertools
import json
import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import NoReturn
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from utils.segmentation import BadPiece, Piece, join_texts, segment_problem
from utils.text import clean_text
from utils.utterances import BadItem, TimedText, shown, text_problem

# The readers are our own because damage must show: pysubs2 takes a broken time line or a note for text of the
# cue above it, praatio ends a damaged tier without a word, pympi reads XML with entities.

LATEST_SECOND = 1e9
"""Times from here on are broken."""

TRANSCRIPT_EXTENSIONS = (".textgrid", ".eaf", ".labels", ".srt", ".vtt", ".txt", ".json")
"""Of transcripts, the preferred first: what people make by hand goes before what programs write."""

WORD_TOLERANCE = 0.5  # seconds a word may lie outside its piece before its times are not believed

FEWEST_ECHOES = 3
"""Cues that begin with the line above, from which subtitles without times of words may roll up."""

_SOUND_NOTE = re.compile(r"\[[^\[\]]*\]|\([^()]*\)|\*[^*]*\*")  # [Music], (laughter), *coughs*
_MUSIC_SIGN = re.compile(r"[♩♪♫♬]")


def read_transcript(text: str, extension: str, *, tier: str | None = None) -> Iterator[Piece | BadPiece]:
    """Read a timed transcript into pieces, in the order of the file.

    Args:
        text: Content of the file, see `decode_transcript`.
        extension: `.srt`, `.vtt`, `.textgrid`, `.eaf`, `.json` (Whisper), `.labels` or `.txt` (with tabs).
        tier: Name or pattern (`tx@*`) of the tiers to read from TextGrid and EAF; None chooses.

    Raises:
        BadItem: The file as a whole is not what its extension says.
    """
    if extension == ".textgrid":
        return read_textgrid(text, tier)
    if extension == ".eaf":
        return read_eaf(text, tier)
    readers: Mapping[str, Callable[[str], Iterator[Piece | BadPiece]]] = {
        ".srt": read_subtitles,
        ".vtt": read_subtitles,
        ".json": read_whisper_json,
        ".labels": read_tab_lines,
        ".txt": read_tab_lines,
    }
    return readers[extension](text)


def decode_transcript(data: bytes) -> str:
    """UTF-8, or UTF-16 where a byte order mark says so (Praat writes it), to text without the mark.

    Raises:
        BadItem: Another encoding, or a binary file.
    """
    if data.startswith(b"ooBinaryFile"):
        raise BadItem("unreadable transcript: a binary TextGrid; save it in Praat as a text file")
    is_utf32 = data.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE))
    is_utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) and not is_utf32
    try:
        return data.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadItem(f"unreadable transcript: {error}; save it as UTF-8") from None


def read_seconds(text: str) -> float | None:
    """A point in time written as a plain number of seconds, or None."""
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def is_sound_note(text: str) -> bool:
    """Whether a cleaned text tells of sounds or music, or has nothing in it that could be spoken."""
    if _MUSIC_SIGN.search(text):
        return True
    return not any(unicodedata.category(c)[0] in "LNS" for c in _SOUND_NOTE.sub("", text))


def fit_words(words: Sequence[TimedText], start: float, end: float, text: str) -> tuple[TimedText, ...]:
    """Timed words as a `Piece` holds them, or none where they do not agree with its text and times."""
    spoken = [word for word in words if clean_text(word.text)]
    gaps = ("", " ")  # Whisper's words begin with their space, those of other aligners do not
    gap = next((gap for gap in gaps if clean_text(gap.join(word.text for word in spoken)) == text), None)
    if gap is None or any(b.start < a.start for a, b in itertools.pairwise(spoken)):
        return ()
    if not start - WORD_TOLERANCE <= spoken[0].start <= spoken[-1].end <= end + WORD_TOLERANCE:
        return ()
    fitted = []
    for index, word in enumerate(spoken):
        following = spoken[index + 1].start if index + 1 < len(spoken) else end
        begin = min(max(word.start, start), end)
        finish = max(begin, min(word.end, following, end))
        fitted.append(TimedText(begin, finish, f"{gap if index else ''}{word.text}"))
    return tuple(fitted)


def _build_piece(
    position: int | str,
    start: float,
    end: float,
    text: str,
    speaker: str | None = None,
    words: Sequence[TimedText] = (),
) -> Piece | BadPiece:
    """A piece of text not yet cleaned, or the reject it becomes."""
    if not 0 <= start < LATEST_SECOND or not 0 <= end < LATEST_SECOND:  # also where one is NaN
        return BadPiece(position, f"time out of range: {start:g} to {end:g}, expected seconds from 0")
    if problem := segment_problem(start, end):
        return BadPiece(position, problem, start)
    cleaned = clean_text(text)
    if not cleaned:
        return BadPiece(position, f"empty text: segment {start:g} to {end:g} s", start, end)
    if is_sound_note(cleaned):
        return BadPiece(position, f"no speech: the text is {cleaned[:60]!r}", start, end)
    if problem := text_problem(cleaned):
        return BadPiece(position, problem, start, end)
    name = clean_text(speaker or "") or None
    return Piece(position, start, end, cleaned, name, fit_words(words, start, end, cleaned))


def _lines(text: str) -> list[str]:
    # not splitlines(): a form feed or a Unicode line separator is part of the text
    return re.split(r"\r\n|\n|\r", text)


# ---- lines of start, end, text -----------------------------------------------------------------------------

_TWO_DECIMALS = re.compile(r"\s*\d+\.\d+\s+\d+\.\d+(\s|$)")


def is_timed(transcript: str) -> bool:
    """Whether a .txt means to give times: a line has tabs, or begins with two decimal numbers.

    The second sign catches files whose tabs were turned into spaces: they must be rejected, not learnt.
    """
    return any("\t" in line.strip() or _TWO_DECIMALS.match(line) for line in transcript.splitlines())


def read_tab_lines(text: str) -> Iterator[Piece | BadPiece]:
    """Read lines of `start<TAB>end<TAB>text` in seconds, as Audacity exports its label tracks.

    Further tabs belong to the text; blank lines are passed over, and so are the lines of frequencies that
    Audacity writes below labels (https://manual.audacityteam.org/man/importing_and_exporting_labels.html).
    """
    for number, line in enumerate(_lines(text), start=1):
        if line.strip() and not line.startswith("\\\t"):
            yield _read_tab_line(number, line)


def _read_tab_line(number: int, line: str) -> Piece | BadPiece:
    fields = line.split("\t", maxsplit=2)
    if len(fields) < 3:
        return BadPiece(
            number, f"malformed line: found {len(fields) - 1} tabs, expected start<TAB>end<TAB>text"
        )
    start, end = read_seconds(fields[0]), read_seconds(fields[1])
    if start is None or end is None:
        return BadPiece(
            number, f"malformed line: times {fields[0]!r} and {fields[1]!r}, expected seconds from 0"
        )
    return _build_piece(number, start, end, fields[2])


# ---- subtitles ---------------------------------------------------------------------------------------------

_CLOCK = r"(?:(\d{1,4}):)?(\d{1,2}):(\d{1,2})(?:[.,](\d{1,3}))?"  # hours, minutes, seconds, milliseconds
_TIME_LINE = re.compile(rf"\s*{_CLOCK}\s*-->\s*{_CLOCK}(?:\s.*)?")
_CLOCK_LIKE = r"(?:\d{1,4}:){1,2}\d{1,2}[.,]\d{1,3}"
_NO_ARROW = re.compile(rf"\s*{_CLOCK_LIKE}\s*\S{{1,3}}\s*{_CLOCK_LIKE}\s*")
_WORD_CLOCK = re.compile(rf"<{_CLOCK}>")
_VOICE = re.compile(r"<v(?:\.[^\s<>]*)?[ \t]([^<>]*)>")
_ANY_TAG = re.compile(r"<[^<>]*>")
_STYLE_TAG = re.compile(r"</?(?:[ibusvcp]|em|strong|font|span|lang|ruby|rt|br)\b[^<>]*>", re.IGNORECASE)
_OVERRIDE = re.compile(r"\{\\[^{}]*\}")  # of SubStation Alpha, {\an8}; players know it in SRT too
_ESCAPED_BREAK = re.compile(r"\\[Nnh]")  # of SubStation Alpha
_ENTITY = re.compile(r"&(?:amp|lt|gt|nbsp|lrm|rlm|quot|apos|#\d{1,7}|#x[0-9a-fA-F]{1,6});")
_SPEAKER_SIGN = re.compile(r"\s*(?:[-‐–—]\s*(?=[^\W\d_]|[\"'«“„¿¡])|>{2,3}\s*)")
_BRACKETS = re.compile(r"\[[^\[\]]*\]")
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
    lines = _lines(text)
    is_vtt = lines[0].startswith("WEBVTT")
    head, cues = _split_cues(lines, is_vtt)
    is_rolling = (is_vtt and _WORD_CLOCK.search(text) is not None) or _repeats_lines(cues, is_vtt)
    yield from _strays(_paragraphs(head)[1 if is_vtt else 0 :], is_vtt)
    last_line = ""
    for cue in cues:
        payload, rest = _payload(cue, is_vtt)
        echoes = is_rolling and any(_same(line, last_line) for line in payload)
        if echoes:
            payload = _without_echo(payload, last_line)
        yield _read_cue(cue, payload, is_vtt, echoes)
        last_line = next((line for line in reversed(payload) if _plain(line, is_vtt)), last_line)
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
            yield BadPiece(number, f"malformed cue: no line of times above {line[:60]!r}")


def _repeats_lines(cues: Sequence[_Cue], is_vtt: bool) -> bool:
    """Whether most cues begin with the line that the one before ended with, as in captions that roll up.

    A few such cues are nothing of the kind: people say a word twice, and sing a line five times.
    """
    shown = ([_plain(line, True) for line in _payload(cue, is_vtt)[0]] for cue in cues)
    spoken = [[line for line in lines if line] for lines in shown]
    echoes = [
        lines for before, lines in itertools.pairwise(spoken) if before and lines and before[-1] == lines[0]
    ]
    has_more = any(len(lines) > 1 for lines in echoes)
    return has_more and len(echoes) >= FEWEST_ECHOES and 2 * len(echoes) >= len(cues) - 1


def _same(line: str, other: str) -> bool:
    return bool(other) and _plain(line, True) == _plain(other, True)


def _without_echo(payload: Sequence[str], last_line: str) -> list[str]:
    """The lines without the first that only repeats what the cue before showed."""
    index = next(i for i, line in enumerate(payload) if _same(line, last_line))
    return [line for i, line in enumerate(payload) if i != index or _WORD_CLOCK.search(line)]


def _read_cue(cue: _Cue, payload: Sequence[str], is_vtt: bool, echoes: bool) -> Piece | BadPiece:
    match = _TIME_LINE.fullmatch(cue.time_line)
    if match is None:
        return BadPiece(
            cue.number, f"malformed line: {cue.time_line[:60]!r}, expected 00:00:01,000 --> 00:00:02,500"
        )
    start, end = _seconds_of(match.groups()[:4]), _seconds_of(match.groups()[4:])
    spoken = [_SPEAKER_SIGN.sub("", _plain(line, is_vtt), count=1) for line in payload]
    if echoes and not any(spoken):
        reason = f"repeated text: {start:g} to {end:g} s shows the line above again"
        return BadPiece(cue.number, reason, start, end)
    text = clean_text(" ".join(spoken))
    without_remarks = clean_text(_BRACKETS.sub(" ", text))
    voices = {clean_text(name) for line in payload for name in _VOICE.findall(line)}
    return _build_piece(
        cue.number,
        start,
        end,
        text if is_sound_note(without_remarks) else without_remarks,
        voices.pop() if len(voices) == 1 else None,
        _words_of(payload, start, end),
    )


def _seconds_of(clock: Sequence[str | None]) -> float:
    hours, minutes, seconds, fraction = clock
    whole = int(hours or 0) * 3600 + int(minutes or 0) * 60 + int(seconds or 0)
    return whole + (int((fraction or "0").ljust(3, "0")) / 1000)


def _plain(line: str, is_vtt: bool) -> str:
    """A line of a cue without markup."""
    line = (_ANY_TAG if is_vtt else _STYLE_TAG).sub("", line)
    line = _ESCAPED_BREAK.sub(" ", _OVERRIDE.sub("", line))
    return clean_text(_ENTITY.sub(lambda match: html.unescape(match.group()), line))


def _words_of(payload: Sequence[str], start: float, end: float) -> list[TimedText]:
    """The words of lines such as `so<00:00:01.200><c> the</c>`; each lasts until the next one."""
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
    """Words of a line without markup, with the spaces around them; a line begins with one."""
    words = _ENTITY.sub(lambda match: html.unescape(match.group()), _ANY_TAG.sub("", raw))
    return f" {_SPEAKER_SIGN.sub('', words, count=1)}" if is_first else words


# ---- Praat -------------------------------------------------------------------------------------------------

# Praat reads strings, free-standing numbers and flags; all else in its long form is comment for people.
_PRAAT_TOKEN = re.compile(r'"([^"]*(?:""[^"]*)*)"|![^\r\n]*|<[^<>\s]*>|([^\s"!<]+)')
_PRAAT_NUMBER = re.compile(r"[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?")
# What aligners (MFA, WebMAUS) write into intervals without speech.
_PRAAT_SILENCE = frozenset(("", "sil", "sp", "spn", "<sil>", "<p:>", "<p>", "#", "_"))
_SOUND_TIER = re.compile(r"(?:.*[\W_])?(?:phones?|phonemes?|syllables?)|(?:KAN-)?MAU", re.IGNORECASE)


@dataclass(frozen=True)
class _Tier:
    """A tier of a TextGrid. An interval is its number, start, end and text; points have no intervals."""

    name: str
    intervals: list[tuple[int, float, float, str]]
    is_points: bool
    announced: int
    found: int


class _PraatTokens:
    """The strings and numbers of a Praat file, one after the other, with a look at the next one."""

    def __init__(self, text: str) -> None:
        self._tokens = self._read(text)
        self.next: str | float | None = next(self._tokens, None)

    @staticmethod
    def _read(text: str) -> Iterator[str | float]:
        for match in _PRAAT_TOKEN.finditer(text):
            string, word = match.groups()
            if string is not None:
                yield string.replace('""', '"')
            elif word and _PRAAT_NUMBER.fullmatch(word):
                yield float(word)

    def take(self, *kinds: type[str] | type[float]) -> list[str | float] | None:
        """The next values if they are of these kinds, else None."""
        values: list[str | float] = []
        for kind in kinds:
            if self.next is None or not isinstance(self.next, kind):
                return None
            values.append(self.next)
            self.next = next(self._tokens, None)
        return values


def read_textgrid(text: str, tier: str | None = None) -> Iterator[Piece | BadPiece]:
    """Read the interval tiers of a Praat TextGrid, in its long or short form.

    Empty intervals, and those that aligners mark as silence, are pauses. Without `tier`, all interval tiers
    are read but those that by their names hold sounds (`phones`); with several, the name is the speaker.
    Format: https://www.fon.hum.uva.nl/praat/manual/TextGrid_file_formats.html.

    Raises:
        BadItem: It is no TextGrid, or has no tier of that name.
    """
    tiers = [found for found in _parse_textgrid(text) if found.found or found.announced]
    if tier is not None:
        names = _choose_names([found.name for found in tiers], tier)
        chosen = [found for found in tiers if found.name in names]
    else:
        chosen = [found for found in tiers if _why_not(found) is None]
        for found in tiers:
            if reason := _why_not(found):
                yield BadPiece(f"tier {found.name!r}", reason)
    several = sum(bool(found.intervals) for found in chosen) > 1
    for found in chosen:
        yield from _read_tier(found, found.name if several else None)


def _why_not(tier: _Tier) -> str | None:
    """Why a tier that nobody named is not read, or None."""
    if tier.is_points:
        return "tier not read: it holds points, which have no length"
    if _SOUND_TIER.fullmatch(tier.name):
        return "tier not read: by its name it holds single sounds; name the tier to read it"
    return None


def _read_tier(tier: _Tier, speaker: str | None) -> Iterator[Piece | BadPiece]:
    for number, start, end, text in tier.intervals:
        yield _build_piece(f"tier {tier.name!r}, interval {number}", start, end, text, speaker)
    if tier.is_points:
        yield BadPiece(f"tier {tier.name!r}", "tier not read: it holds points, which have no length")
    elif tier.found < tier.announced:
        reason = f"damaged tier: it announces {tier.announced} intervals and has {tier.found}"
        yield BadPiece(f"tier {tier.name!r}", reason)


def _parse_textgrid(text: str) -> list[_Tier]:
    tokens = _PraatTokens(text)
    head = tokens.take(str, str)
    if head is None or not str(head[0]).startswith("ooTextFile") or head[1] != "TextGrid":
        raise BadItem(f"not a TextGrid: it begins with {shown(text[:40])}, expected a File type")
    tiers: list[_Tier] = []
    while tokens.next is not None:
        kind = tokens.next
        tokens.take(type(kind))
        if kind not in ("IntervalTier", "TextTier"):
            continue  # the times and the number of tiers
        name, sizes = tokens.take(str), tokens.take(float, float, float)
        if name is None or sizes is None:
            raise BadItem(f"damaged TextGrid: no name and times for tier {len(tiers) + 1}")
        announced = int(min(float(sizes[2]), LATEST_SECOND))
        tiers.append(_parse_tier(tokens, str(name[0]), kind == "TextTier", announced))
    return tiers


def _parse_tier(tokens: _PraatTokens, name: str, is_points: bool, announced: int) -> _Tier:
    intervals: list[tuple[int, float, float, str]] = []
    found = 0
    while found < announced:
        row = tokens.take(float, str) if is_points else tokens.take(float, float, str)
        if row is None:
            break
        found += 1
        label = clean_text(str(row[-1]))
        if not is_points and label.lower() not in _PRAAT_SILENCE:
            intervals.append((found, float(row[0]), float(row[1]), label))
    return _Tier(name, intervals, is_points, announced, found)


def _choose_names(names: Sequence[str], wanted: str) -> set[str]:
    """The tiers of that name, or else those that the pattern fits."""
    chosen = {name for name in names if name == wanted}
    chosen = chosen or {name for name in names if fnmatchcase(name, wanted)}
    if not chosen:
        raise BadItem(f"no such tier: {wanted!r}; found {', '.join(map(repr, names[:9])) or 'none'}")
    return chosen


# ---- ELAN --------------------------------------------------------------------------------------------------


def read_eaf(text: str, tier: str | None = None) -> Iterator[Piece | BadPiece]:
    """Read the tiers of an ELAN file. `position` is the id of the annotation.

    Without `tier`, the tiers that depend on no other are read; with several, the participant or else the name
    of a tier is the speaker. Annotations of a dependent tier without times of its own have
    those of the annotation they refer to; several of one annotation are read as one piece.
    Format: https://www.mpi.nl/tools/elan/EAF_Annotation_Format_3.0_and_ELAN.pdf.

    Raises:
        BadItem: It is no ELAN file, or has no tier of that name.
    """
    root = _parse_xml(text)
    if root.tag != "ANNOTATION_DOCUMENT":
        raise BadItem(f"not an ELAN file: found <{root.tag[:40]}>, expected <ANNOTATION_DOCUMENT>")
    tiers = [found for found in root.iterfind("TIER") if found.find("ANNOTATION") is not None]
    if tier is not None:
        names = _choose_names([_tier_name(found) for found in tiers], tier)
        chosen = [found for found in tiers if _tier_name(found) in names]
    else:
        chosen = [found for found in tiers if not found.get("PARENT_REF")]
        for found in tiers:
            if parent := found.get("PARENT_REF"):
                reason = f"tier not read: it depends on {parent!r}; name the tier to read it"
                yield BadPiece(f"tier {_tier_name(found)!r}", reason)
    document = _EafDocument(_eaf_slots(root), _eaf_annotations(tiers), _eaf_origin(root))
    for found in chosen:
        speaker = found.get("PARTICIPANT") or (_tier_name(found) if len(chosen) > 1 else None)
        yield from _read_eaf_tier(document, found, speaker)


@dataclass(frozen=True)
class _EafDocument:
    """What annotations refer to: seconds of time slots, annotations by id, and where the media begins."""

    slots: Mapping[str, float | None]
    annotations: Mapping[str, Element]
    origin: float


def _parse_xml(text: str) -> Element:
    """Parse XML that may be hostile: a document type, where entities are declared, is refused at once."""
    builder = TreeBuilder()
    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = _refuse_doctype
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(text, True)
    except expat.ExpatError as error:
        raise BadItem(f"bad XML: {error}") from None
    return builder.close()


def _refuse_doctype(*_: object) -> NoReturn:
    raise BadItem("bad XML: a document type declaration, which no ELAN file needs")


def _tier_name(tier: Element) -> str:
    return tier.get("TIER_ID", "")


def _eaf_slots(root: Element) -> dict[str, float | None]:
    """Seconds of each time slot; None where ELAN leaves the place between two others open.

    Raises:
        BadItem: The unit is not milliseconds.
    """
    header = root.find("HEADER")
    unit = "milliseconds" if header is None else header.get("TIME_UNITS", "milliseconds")
    if unit != "milliseconds":
        raise BadItem(f"unknown time unit: {unit!r}, expected milliseconds; save the file in ELAN again")
    slots: dict[str, float | None] = {}
    for slot in root.iterfind("TIME_ORDER/TIME_SLOT"):
        milliseconds = read_seconds(slot.get("TIME_VALUE", ""))
        slots[slot.get("TIME_SLOT_ID", "")] = None if milliseconds is None else milliseconds / 1000
    return slots


def _eaf_origin(root: Element) -> float:
    """Seconds of the recording at which the time of the document begins."""
    media = root.findall("HEADER/MEDIA_DESCRIPTOR")
    origins = {read_seconds(descriptor.get("TIME_ORIGIN", "0")) or 0.0 for descriptor in media}
    if len(origins) > 1:
        raise BadItem("several time origins: the linked media begin at different times; link the audio only")
    return origins.pop() / 1000 if origins else 0.0


def _eaf_annotations(tiers: Iterable[Element]) -> dict[str, Element]:
    """Annotations by their id.

    Raises:
        BadItem: Two have the same.
    """
    annotations: dict[str, Element] = {}
    for tier in tiers:
        for annotation in tier.iterfind("ANNOTATION/*"):
            if annotations.setdefault(_id_of(annotation), annotation) is not annotation:
                raise BadItem(f"damaged ELAN file: several annotations have the id {_id_of(annotation)!r}")
    return annotations


def _id_of(annotation: Element) -> str:
    return annotation.get("ANNOTATION_ID", "")


def _read_eaf_tier(document: _EafDocument, tier: Element, speaker: str | None) -> Iterator[Piece | BadPiece]:
    together: dict[str, list[Element]] = {}  # by the annotation that has the times
    for annotation in _in_chain_order(tier.findall("ANNOTATION/*")):
        together.setdefault(_id_of(_aligned(document, annotation)), []).append(annotation)
    for aligned_id, annotations in together.items():
        position = _id_of(annotations[0])
        aligned = document.annotations[aligned_id]
        slots = (aligned.get("TIME_SLOT_REF1", ""), aligned.get("TIME_SLOT_REF2", ""))
        start, end = (document.slots.get(slot) for slot in slots)
        text = join_texts(filter(None, (_value_of(annotation) for annotation in annotations)))
        if start is None or end is None:
            yield BadPiece(position, "no times: the annotation is not aligned; give it times in ELAN")
        else:
            yield _build_piece(position, start + document.origin, end + document.origin, text, speaker)


def _aligned(document: _EafDocument, annotation: Element) -> Element:
    """The annotation with times that this one refers to, itself perhaps; the last one found if none has."""
    seen = {_id_of(annotation)}
    while (parent_id := annotation.get("ANNOTATION_REF")) in document.annotations and parent_id not in seen:
        annotation = document.annotations[str(parent_id)]
        seen.add(str(parent_id))
    return annotation


def _in_chain_order(annotations: Sequence[Element]) -> list[Element]:
    """As people see them: each behind the one that its PREVIOUS_ANNOTATION names."""
    following = {annotation.get("PREVIOUS_ANNOTATION"): annotation for annotation in annotations}
    ordered: dict[str, Element] = {}
    own = {_id_of(annotation) for annotation in annotations}
    heads = [annotation for annotation in annotations if annotation.get("PREVIOUS_ANNOTATION") not in own]
    for annotation in [*heads, *annotations]:  # the second time, what only a broken chain reaches
        following_one: Element | None = annotation
        while following_one is not None and _id_of(following_one) not in ordered:
            ordered[_id_of(following_one)] = following_one
            following_one = following.get(_id_of(following_one))
    return list(ordered.values())


def _value_of(annotation: Element) -> str:
    return clean_text(annotation.findtext("ANNOTATION_VALUE") or "")


# ---- Whisper -----------------------------------------------------------------------------------------------


def read_whisper_json(text: str) -> Iterator[Piece | BadPiece]:
    """Read what Whisper programs write: openai-whisper, faster-whisper, WhisperX, whisper.cpp, transformers.

    Times of words are taken over where they spell the text of their segment. `position` counts from 1.

    Raises:
        BadItem: It is no JSON, or no transcript.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadItem(f"bad JSON: {error or 'nested too deeply'}") from None
    keys = ("segments", "transcription", "chunks")
    segments = document
    if isinstance(document, dict):
        segments = next((document[key] for key in keys if key in document), None)
    if not isinstance(segments, list):
        raise BadItem("not a Whisper transcript: no list of segments, transcription or chunks")
    for number, segment in enumerate(segments, start=1):
        yield _read_whisper_segment(f"segment {number}", segment)


def _read_whisper_segment(position: str, segment: object) -> Piece | BadPiece:
    if not isinstance(segment, dict):
        kind = type(segment).__name__
        return BadPiece(position, f"malformed segment: found a {kind}, expected an object {{...}}")
    start, end = _whisper_times(segment)
    text, speaker = segment.get("text"), segment.get("speaker")
    if start is None or end is None or not isinstance(text, str):
        found = ", ".join(map(repr, list(segment)[:9])) or "none"
        reason = f"malformed segment: keys {found}, expected numbers for start and end, and text"
        return BadPiece(position, reason)
    words = _whisper_words(segment.get("words"))
    return _build_piece(position, start, end, text, speaker if isinstance(speaker, str) else None, words)


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
