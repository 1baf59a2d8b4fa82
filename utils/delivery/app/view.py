"""Turn transcripts and messages into the HTML of the page. The templates escape every text."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from utils.delivery.app.differences import differing_words
from utils.delivery.cues import Layout
from utils.delivery.formats import FORMATS
from utils.delivery.growing import Growing
from utils.delivery.transcript import Cue, Transcript, Word
from utils.runtime.templates import open_templates
from utils.text.scripts import is_right_to_left

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).with_name("templates")

DOWNLOADS = ("srt", "vtt", "txt", "json")


@dataclass(frozen=True)
class ShownWord:
    """A word, and the white space before it."""

    space: str
    text: str
    start: float  # seconds
    differs: bool


@dataclass(frozen=True)
class ShownCue:
    """A cue with its words."""

    start: float
    doubt: str | None
    words: Sequence[ShownWord]


@dataclass(frozen=True)
class Download:
    """A transcript as a file. It is part of the page, so the server keeps no file of it."""

    format: str
    name: str
    url: str


@dataclass(frozen=True)
class Column:
    """The transcript of one model."""

    name: str
    language: str | None
    direction: str  # ltr or rtl
    cues: Sequence[ShownCue]
    downloads: Sequence[Download]


def render_title(names: Sequence[str]) -> str:
    """Return the head of the page, with the names of the models."""
    return _render("title.html", names=names)


def render_transcripts(
    names: Sequence[str], steps: Sequence[Growing], layout: Layout, task: str, *, is_complete: bool
) -> str:
    """Return the transcripts of all models, side by side.

    Args:
        names: The names of the models.
        steps: The transcript of each model so far.
        layout: The limits of a subtitle, for the downloads.
        task: transcribe, or translate into English.
        is_complete: Offer the downloads.
    """
    transcripts = [step.transcript for step in steps]
    words = [[word.text for cue in transcript.cues for word in cue.words] for transcript in transcripts]
    differing = differing_words(*words) if len(words) == 2 else [set[int]()] * len(words)
    columns = [
        Column(
            name,
            transcript.language,
            "rtl" if is_right_to_left("".join(texts)) else "ltr",
            _shown_cues(transcript.cues, marked),
            _downloads(name, transcript, layout) if is_complete else [],
        )
        for name, transcript, texts, marked in zip(names, transcripts, words, differing, strict=True)
    ]
    is_translation = task == "translate"
    return _render(
        "transcripts.html", columns=columns, is_translation=is_translation, is_complete=is_complete
    )


def _shown_cues(cues: Sequence[Cue], marked: set[int]) -> list[ShownCue]:
    shown, number = [], 0
    for cue in cues:
        words = [_shown_word(word, number + place in marked) for place, word in enumerate(cue.words)]
        shown.append(ShownCue(cue.start, cue.doubt, words))
        number += len(words)
    return shown


def _shown_word(word: Word, differs: bool) -> ShownWord:
    text = word.text.strip()
    return ShownWord(" " if word.text.startswith(" ") else "", text, word.start, differs)


def _downloads(name: str, transcript: Transcript, layout: Layout) -> list[Download]:
    stem = "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name).strip("-.")
    files = [(kind, FORMATS[kind](transcript, layout).encode()) for kind in DOWNLOADS]
    return [
        Download(kind, f"{stem}.{kind}", f"data:text/plain;base64,{base64.b64encode(data).decode()}")
        for kind, data in files
    ]


def render_progress(done: float, duration: float) -> str:
    """Return how many seconds of a recording are transcribed."""
    return _render("progress.html", done=done, duration=duration)


def render_message(text: str, *, is_problem: bool = False) -> str:
    """Return a message to the visitor. A screen reader reads a problem at once."""
    return _render("message.html", text=text, is_problem=is_problem)


def render_player(sound: Path) -> str:
    """Return a player of a file that the server gives out."""
    return _render("player.html", url=f"gradio_api/file={quote(str(sound))}")


def _render(template: str, **values: object) -> str:
    return _environment().get_template(template).render(values)


@cache
def _environment() -> "Environment":
    return open_templates(TEMPLATES, is_html=True, as_time=as_time)


def as_time(seconds: float) -> str:
    """Return a time such as 1:02 or 1:00:02."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
