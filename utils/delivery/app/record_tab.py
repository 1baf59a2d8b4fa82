"""The Record tab: shows a sentence, records it, and keeps the take or says what is wrong with it."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from utils.audio.flac import SAMPLE_RATE, AudioError, to_int16
from utils.audio.reading import decode_audio
from utils.delivery.app.record_parts import RecordTab, build_components, render_part
from utils.delivery.app.recorder import Recordings
from utils.delivery.app.take_checks import DOUBTFUL, LONGEST_TAKE, check_take
from utils.delivery.app.takes import Speaker, read_speaker
from utils.runtime.problems import BadItem, Problem
from utils.text.scripts import is_right_to_left

if TYPE_CHECKING:
    import gradio as gr

Updates = dict[Any, Any]
"""New values by component, as Gradio takes them."""


@dataclass(frozen=True)
class Place:
    """Who records in a visitor's page, the sentence shown there, and a take that may still be kept."""

    speaker: Speaker
    index: int
    doubtful: str | None = None  # the file of the take


def build_record_tab(page: "gr.Blocks", recordings: Recordings) -> None:
    """Add the tab where Gradio builds now: in a `gr.Tab` of the page, or in the page itself.

    Args:
        page: Its load event brings a returning speaker to the first sentence without a take.
        recordings: Must stay open as long as the page is served.
    """
    tab = build_components(recordings.terms)
    welcome, booth = tab.welcome, tab.booth

    def on(event: Callable[..., object], handler: Callable[..., Updates], *inputs: object) -> None:
        event(
            partial(handler, tab, recordings),
            list(inputs),
            tab.components(),
            show_progress="hidden",
            api_visibility="private",
        )

    on(page.load, _welcome_back, tab.remembered)
    for event in (welcome.start.click, welcome.name.submit, welcome.accent.submit):
        on(event, _enter, welcome.name, welcome.accent, welcome.agreed)
    on(booth.microphone.stop_recording, _judge, tab.place, booth.microphone)
    on(booth.keep.click, _keep_doubtful, tab.place)
    on(booth.back.click, partial(_step, by=-1), tab.place)
    on(booth.forward.click, partial(_step, by=1), tab.place)
    on(booth.first_open.click, _go_to_first_open, tab.place)
    on(booth.leave.click, _leave, tab.place)


def _welcome_back(tab: RecordTab, recordings: Recordings, remembered: object) -> Updates:
    """Let in a speaker whom this browser knows, unless the terms have changed. The browser is not trusted."""
    import gradio as gr

    if not isinstance(remembered, dict) or remembered.get("terms") != recordings.terms:
        return gr.skip()
    return _enter(tab, recordings, remembered.get("name"), remembered.get("group"), True)


def _enter(tab: RecordTab, recordings: Recordings, name: object, accent: object, agreed: bool) -> Updates:
    import gradio as gr

    try:
        if recordings.terms and not agreed:
            raise BadItem("not agreed", "read the terms and agree to them, or do not record.")
        speaker = recordings.known_speaker(read_speaker(name, accent, recordings.terms))
    except BadItem as error:
        return {tab.welcome.message: gr.update(value=_message(error.problem, "bad"), visible=True)}
    place = Place(speaker, recordings.next_open(speaker) or 0)
    return _show(tab, recordings, place) | {
        tab.remembered: vars(speaker),
        tab.welcome.column: gr.update(visible=False),
        tab.booth.column: gr.update(visible=True),
    }


def _leave(tab: RecordTab, recordings: Recordings, place: Place) -> Updates:
    import gradio as gr

    return {
        tab.place: None,
        tab.remembered: None,
        tab.welcome.column: gr.update(visible=True),
        tab.welcome.name: "",
        tab.welcome.accent: place.speaker.group or "",
        tab.welcome.agreed: False,
        tab.welcome.message: gr.update(visible=False),
        tab.booth.column: gr.update(visible=False),
    }


def _step(tab: RecordTab, recordings: Recordings, place: Place, *, by: int) -> Updates:
    index = (place.index + by) % len(recordings.sentences)
    return _show(tab, recordings, Place(place.speaker, index))


def _go_to_first_open(tab: RecordTab, recordings: Recordings, place: Place) -> Updates:
    index = recordings.next_open(place.speaker)
    return _show(tab, recordings, Place(place.speaker, place.index if index is None else index))


def _judge(tab: RecordTab, recordings: Recordings, place: Place, file: str | None) -> Updates:
    """Keep a take that has just been recorded, or say why not."""
    import gradio as gr

    if file is None:
        return gr.skip()
    try:
        samples = _decode(file)
    except AudioError as error:
        return _refuse(tab, recordings, place, error.problem, None)
    if problem := check_take(samples, recordings.sentences[place.index].text):
        return _refuse(tab, recordings, place, problem, file)
    return _keep(tab, recordings, place, samples)


def _keep_doubtful(tab: RecordTab, recordings: Recordings, place: Place) -> Updates:
    import gradio as gr

    if place.doubtful is None:  # a second click
        return gr.skip()
    try:
        samples = _decode(place.doubtful)
    except AudioError as error:
        return _refuse(tab, recordings, place, error.problem, None)
    return _keep(tab, recordings, place, samples)


def _decode(file: str) -> np.ndarray:
    return decode_audio(Path(file), max_seconds=2 * LONGEST_TAKE)


def _keep(tab: RecordTab, recordings: Recordings, place: Place, samples: np.ndarray) -> Updates:
    """Write the take and go on to the next sentence without one. The player still has this take."""
    import gradio as gr

    try:
        recordings.keep(place.speaker, place.index, samples)
    except OSError as error:
        return _refuse(tab, recordings, place, Problem("not saved", f"{error.strerror or error}."), None)
    index = recordings.next_open(place.speaker, place.index)
    done = Problem("Kept", f"{len(samples) / SAMPLE_RATE:.1f} s.")
    if index is None:
        done = Problem("All sentences are recorded", "thank you!")
    shown = _show(tab, recordings, Place(place.speaker, place.index if index is None else index))
    label = f"Your recording of sentence {place.index + 1:,}"
    return shown | {
        tab.booth.message: gr.update(value=_message(done, "good"), visible=True),
        tab.booth.player: gr.update(value=_sound(samples), label=label, visible=True),
    }


def _refuse(
    tab: RecordTab, recordings: Recordings, place: Place, problem: Problem, file: str | None
) -> Updates:
    """Say why a take was not kept, let the speaker hear it, and let a doubtful one be kept."""
    import gradio as gr

    is_doubtful = file is not None and problem.kind in DOUBTFUL
    place = replace(place, doubtful=file if is_doubtful else None)
    shown = _show(tab, recordings, place) | {
        tab.booth.message: gr.update(value=_message(problem, "bad"), visible=True),
        tab.booth.keep: gr.update(visible=is_doubtful),
    }
    if file is not None:
        shown[tab.booth.player] = gr.update(value=file, label="The take that was not kept", visible=True)
    return shown


def _show(tab: RecordTab, recordings: Recordings, place: Place) -> Updates:
    """Show a sentence, how far the speaker is, and the take of this sentence if there is one."""
    import gradio as gr

    sentence, take = recordings.sentences[place.index], recordings.take_of(place.speaker, place.index)
    card = render_part(
        "sentence",
        text=sentence.text,
        number=place.index + 1,
        direction="rtl" if is_right_to_left(sentence.text) else "ltr",
        language=recordings.language,
        is_recorded=take is not None,
    )
    heading = render_part("heading", speaker=place.speaker.name, progress=recordings.progress(place.speaker))
    player = gr.update(value=None, visible=False)
    if take is not None:
        with contextlib.suppress(OSError, AudioError):  # somebody has deleted the file
            sound = _sound(recordings.read(take))
            player = gr.update(value=sound, label="Your recording: record again to replace it", visible=True)
    return {
        tab.place: place,
        tab.booth.heading: heading,
        tab.booth.sentence: card,
        tab.booth.microphone: gr.update(value=None),
        tab.booth.message: gr.update(visible=False),
        tab.booth.keep: gr.update(visible=False),
        tab.booth.player: player,
    }


def _sound(samples: np.ndarray) -> tuple[int, np.ndarray]:
    return SAMPLE_RATE, to_int16(samples)


def _message(problem: Problem, tone: str) -> str:
    kind = problem.kind[:1].upper() + problem.kind[1:]
    mark = "✓" if tone == "good" else "✗"
    return render_part("message", mark=mark, kind=kind, details=problem.details, tone=tone)
