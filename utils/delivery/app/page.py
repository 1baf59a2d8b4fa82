"""Build the page: ways to give a recording, what to do with it, and the transcripts."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from transformers.models.whisper.tokenization_whisper import LANGUAGES

from utils.delivery.app.events import DETECTED, PageEvents
from utils.delivery.app.service import TranscriptionService
from utils.delivery.app.view import render_title

TASKS = [("Transcript", "transcribe"), ("English translation", "translate")]

READ_AT_ONCE = 4  # recordings that are fetched and decoded at once; only one is transcribed

CHECK_EVERY = 600  # seconds between two searches for uploads that nobody used

LONGEST_LINK = 2000  # characters

SCRIPT = Path(__file__).with_name("page.js")

TabBuilder = Callable[[], None]
"""A function that builds a `gr.Tab` in the `gr.Tabs` around the call."""


@dataclass(frozen=True)
class PageOptions:
    """How the page looks at first."""

    tabs: Sequence[str]  # of microphone, file, link
    language: str  # code, or auto
    kept: float  # seconds for which an upload that nobody used is kept


def build_page(
    service: TranscriptionService | None, options: PageOptions, more_tabs: Sequence[TabBuilder] = ()
) -> gr.Blocks:
    """Return the page. It is not served yet.

    Args:
        service: Answers what visitors ask. None: there is no tab for transcribing.
        options: How the page looks at first.
        more_tabs: Tabs for other work, beside that for transcribing.
    """
    title = "Transcribe" if service else "Record"
    delete_cache = (CHECK_EVERY, int(options.kept))
    with gr.Blocks(title=title, analytics_enabled=False, delete_cache=delete_cache) as page:
        gr.HTML(render_title(service.models.names if service else []), elem_id="title")
        with gr.Tabs() if more_tabs else contextlib.nullcontext():
            if service is not None:
                with gr.Tab("Transcribe") if more_tabs else contextlib.nullcontext():
                    _build_transcribing(page, service, options)
            for build_tab in more_tabs:
                build_tab()
    return page


def _build_transcribing(page: gr.Blocks, service: TranscriptionService, options: PageOptions) -> None:
    events = PageEvents(service, options.tabs)
    page.unload(events.leave)
    given = _build_inputs(options.tabs)
    chosen = _build_choices(service, options.language)
    with gr.Row(elem_id="buttons"):
        start = gr.Button("Transcribe", variant="primary", elem_id="start")
        stop = gr.Button("Stop", interactive=False, elem_id="stop")
    message = gr.HTML(elem_id="message")
    player = gr.HTML(elem_id="player")
    script = SCRIPT.read_text(encoding="utf-8")
    transcripts = gr.HTML(elem_id="transcripts", js_on_load=script)
    outputs = [message, player, transcripts, stop]
    hidden: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    queued = hidden | {"show_progress": "full", "show_progress_on": message}
    # not preprocessed: gr.File would leave an empty temporary file behind
    taking = start.click(
        events.take, given, outputs, preprocess=False, concurrency_limit=READ_AT_ONCE, **queued
    )
    reading = taking.then(events.transcribe, chosen, outputs, concurrency_limit=1, **queued)
    stop.click(events.stop, None, outputs, cancels=[taking, reading], queue=False, **hidden)


def _build_inputs(kinds: Sequence[str]) -> list[gr.components.Component | gr.State]:
    """Build a tab for each kind; none if there is only one. A kind that is left out is always empty."""
    made: dict[str, gr.components.Component] = {}
    if len(kinds) == 1:
        made[kinds[0]] = _build_input(kinds[0])
    else:
        with gr.Tabs():
            for kind in kinds:
                with gr.Tab(kind.capitalize()):
                    made[kind] = _build_input(kind)
    return [made.get(kind) or gr.State(None) for kind in ("microphone", "file", "link")]


def _build_input(kind: str) -> gr.components.Component:
    if kind == "microphone":
        return gr.Audio(
            sources=["microphone"], type="filepath", label="Recording", buttons=[], editable=False
        )
    if kind == "file":
        return gr.File(label="Audio or video file", height=160)
    return gr.Textbox(
        label="Link to audio or video",
        placeholder="https://…",
        max_length=LONGEST_LINK,
        elem_id="link",
    )


def _build_choices(service: TranscriptionService, language: str) -> list[gr.components.Component | gr.State]:
    """Build the choice of language and task. An English-only model has none."""
    codes = service.models.languages
    if not codes:
        return [gr.State(DETECTED), gr.State(service.models.task)]
    named = sorted((LANGUAGES.get(code, code).capitalize(), code) for code in codes)
    with gr.Row(elem_id="choices"):
        languages = gr.Dropdown(
            [("Detect the language", DETECTED), *named],
            value=language,
            label="Spoken language",
            min_width=260,
        )
        tasks = gr.Radio(TASKS, value=service.models.task, label="Result", min_width=260)
    return [languages, tasks]
