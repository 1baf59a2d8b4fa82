"""Write transcripts as text, subtitles, table or JSON, in the forms of openai/whisper's command line."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from html import escape

from utils.data.forced_alignment.segments import SENTENCE_END
from utils.delivery.cues import DOUBTFUL, PAUSE_BETWEEN_CUES, Layout, break_lines, stay_readable
from utils.delivery.transcript import Cue, Transcript, join_words


def as_txt(transcript: Transcript, layout: Layout) -> str:
    """Return one sentence per line. A line also ends at a long pause, and where a doubtful part ends."""
    lines: list[list[Cue]] = []
    for cue in transcript.cues:
        before = lines[-1][-1] if lines else None
        goes_on = before and before.doubt == cue.doubt and not SENTENCE_END.search(before.text)
        if before is None or not goes_on or cue.start - before.end > PAUSE_BETWEEN_CUES:
            lines.append([])
        lines[-1].append(cue)
    return "".join(f"{_mark(line[0])}{_joined(line)}\n" for line in lines)


def as_srt(transcript: Transcript, layout: Layout) -> str:
    """Return SubRip subtitles."""
    cues = stay_readable(transcript.cues, layout, transcript.duration)
    blocks = (
        f"{number}\n{_clock(cue.start, ',')} --> {_clock(cue.end, ',')}\n{_lines(cue, layout)}\n"
        for number, cue in enumerate(cues, 1)
    )
    return "\n".join(blocks)


def as_vtt(transcript: Transcript, layout: Layout) -> str:
    """Return WebVTT subtitles, as browsers show them."""
    cues = stay_readable(transcript.cues, layout, transcript.duration)
    blocks = (
        f"{_clock(cue.start, '.')} --> {_clock(cue.end, '.')}\n{escape(_lines(cue, layout), quote=False)}\n"
        for cue in cues
    )
    return "\n".join(("WEBVTT\n", *blocks))


def as_tsv(transcript: Transcript, layout: Layout) -> str:
    """Return a table with the columns start and end (in milliseconds) and text."""
    rows = (
        f"{round(cue.start * 1000)}\t{round(cue.end * 1000)}\t{_mark(cue)}{cue.text}"
        for cue in transcript.cues
    )
    return "".join(f"{row}\n" for row in ("start\tend\ttext", *rows))


def as_json(transcript: Transcript, layout: Layout) -> str:
    """Return everything that is known about the transcript as JSON. Times are in seconds."""
    segments = [
        {
            "id": number,
            "start": round(cue.start, 3),
            "end": round(cue.end, 3),
            "text": cue.text,
            "doubt": cue.doubt,
            "words": [
                {"word": word.text, **{k: _rounded(v) for k, v in asdict(word).items() if k != "text"}}
                for word in cue.words
            ],
        }
        for number, cue in enumerate(transcript.cues)
    ]
    value = {
        "text": _joined(transcript.cues),
        "language": transcript.language,
        "duration": round(transcript.duration, 3),
        "uncovered": round(transcript.uncovered, 3),
        "segments": segments,
    }
    return json.dumps(value, ensure_ascii=False, indent=1) + "\n"


FORMATS: dict[str, Callable[[Transcript, Layout], str]] = {
    "txt": as_txt,
    "srt": as_srt,
    "vtt": as_vtt,
    "tsv": as_tsv,
    "json": as_json,
}
"""The function that writes each format, by file name extension."""


def _joined(cues: Sequence[Cue]) -> str:
    return join_words([word for cue in cues for word in cue.words])


def _mark(cue: Cue) -> str:
    return DOUBTFUL if cue.doubt else ""


def _lines(cue: Cue, layout: Layout) -> str:
    """Return the lines of a cue. An arrow of ASCII would be read as times."""
    lines = break_lines(cue.words, layout.beside_mark(cue.doubt))
    return (_mark(cue) + "\n".join(lines)).replace("-->", "→")


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _clock(seconds: float, point: str) -> str:
    """Return a time such as 00:00:00,000, with the decimal separator of the format."""
    milliseconds = round(seconds * 1000)
    hours, minutes = milliseconds // 3_600_000, milliseconds // 60_000 % 60
    return f"{hours:02}:{minutes:02}:{milliseconds // 1000 % 60:02}{point}{milliseconds % 1000:03}"
