"""The components of the Record tab, and the HTML that they show."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import gradio as gr
from jinja2.environment import TemplateModule

from utils.report.page import make_environment

BESIDE = Path(__file__).parent  # the template, its style and its script

REMEMBERED_SPEAKER = "recorder-speaker"
"""Key under which the browser remembers what the speaker typed.

It is also the key of its encryption: with a random one, a restart of the program would forget the speaker.
"""


@dataclass(frozen=True)
class Welcome:
    """Asks once who reads."""

    column: gr.Column
    name: gr.Textbox
    accent: gr.Textbox
    agreed: gr.Checkbox
    message: gr.HTML
    start: gr.Button


@dataclass(frozen=True)
class Booth:
    """Shows a sentence and records it."""

    column: gr.Column
    heading: gr.HTML
    sentence: gr.HTML
    microphone: gr.Audio
    message: gr.HTML
    keep: gr.Button
    player: gr.Audio
    back: gr.Button
    forward: gr.Button
    first_open: gr.Button
    leave: gr.Button


@dataclass(frozen=True)
class RecordTab:
    """All components, and what the tab knows of one visitor."""

    place: gr.State
    remembered: gr.BrowserState
    welcome: Welcome
    booth: Booth

    def components(self) -> list[Any]:
        return [self.place, self.remembered, *vars(self.welcome).values(), *vars(self.booth).values()]


def build_components(terms: str | None) -> RecordTab:
    """Build the tab where Gradio builds now. Visitors must agree to the terms, if there are any."""
    remembered = gr.BrowserState(None, storage_key=REMEMBERED_SPEAKER, secret=REMEMBERED_SPEAKER)
    return RecordTab(gr.State(None), remembered, _build_welcome(terms), _build_booth())


def _build_welcome(terms: str | None) -> Welcome:
    with gr.Column() as column:
        gr.Markdown("### Who reads?\nA name, or a code such as s01. It is stored with the recordings.")
        with gr.Row():
            name = gr.Textbox(label="Speaker", max_lines=1)
            accent = gr.Textbox(label="Accent (optional)", max_lines=1)
        gr.HTML(render_part("terms", text=terms), css_template=_style(), visible=terms is not None)
        agreed = gr.Checkbox(label="I agree to these terms", visible=terms is not None)
        message = gr.HTML(css_template=_style(), visible=False)
        start = gr.Button("Start", variant="primary")
    return Welcome(column, name, accent, agreed, message, start)


def _build_booth() -> Booth:
    with gr.Column(visible=False) as column:
        heading = gr.HTML(css_template=_style(), js_on_load=_read_beside("record_tab.js"))
        sentence = gr.HTML(css_template=_style())
        microphone = gr.Audio(
            sources=["microphone"], type="filepath", editable=False, buttons=[], show_label=False
        )
        message = gr.HTML(css_template=_style(), visible=False)
        keep = gr.Button("Keep it anyway", visible=False)
        player = gr.Audio(interactive=False, buttons=[], visible=False)
        with gr.Row():
            back, forward = gr.Button("Previous", min_width=100), gr.Button("Next", min_width=100)
            first_open = gr.Button("First not recorded", min_width=180)
            leave = gr.Button("Another speaker", min_width=180)
    return Booth(
        column, heading, sentence, microphone, message, keep, player, back, forward, first_open, leave
    )


def render_part(name: str, **values: object) -> str:
    """Return the HTML of a part of the template, a macro with this name. It escapes every text."""
    return getattr(_load_template(), name)(**values)


@lru_cache(maxsize=1)
def _load_template() -> TemplateModule:
    return make_environment().from_string(_read_beside("templates/record_tab.html")).module


def _style() -> str:
    return _read_beside("record_tab.css")


def _read_beside(name: str) -> str:
    return (BESIDE / name).read_text(encoding="utf-8")
