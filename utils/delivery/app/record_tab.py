"""The Record tab: shows a sentence, records it, and keeps the take or says what is wrong with it."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from gradio.context import Context

from utils.audio.flac import SAMPLE_RATE, AudioError, to_int16
from utils.delivery.app.record_parts import RecordTab, build_components, render_part
from utils.delivery.app.recorder import Recordings
from utils.delivery.app.take_checks import DOUBTFUL, LONGEST_TAKE, check_take
from utils.delivery.app.takes import Speaker, read_speaker
from utils.delivery.intake.decoding import decode_in_child
from utils.delivery.intake.decoding_child import DecodingLimits
from utils.runtime.problems import BadItem, Problem
from utils.text.scripts import is_right_to_left

LIMITS = DecodingLimits(audio_seconds=2 * LONGEST_TAKE, seconds=30.0)

Updates = dict[Any, Any]
"""New values by component, as Gradio takes them."""


@dataclass(frozen=True)
class Place:
    """Who records in a visitor's page, the sentence shown there, and a take that may still be kept."""

    speaker: Speaker
    index: int
    reading: int | None = None  # the sentence that was shown when the microphone was started
    doubtful: str | None = None  # the file of the take


def build_record_tab(recordings: Recordings) -> None:
    """Build a `gr.Tab` in the `gr.Tabs` around the call.

    Args:
        recordings: Must stay open as long as the page is served.
    """
    with gr.Tab("Record"):
        tab = build_components(recordings.terms)
    events, welcome, booth = RecordEvents(tab, recordings), tab.welcome, tab.booth
    typed = [welcome.name, welcome.accent, welcome.agreed]
    for entering in (welcome.start.click, welcome.name.submit, welcome.accent.submit):
        _connect(entering, events.enter, typed, tab)
    if Context.root_block is not None:  # the page around the tab
        _connect(Context.root_block.load, events.welcome_back, [tab.remembered], tab)
    of_speakers: list[tuple[Callable[..., object], Callable[..., Updates]]] = [
        (booth.microphone.start_recording, events.begin),
        (booth.keep.click, events.keep_doubtful),
        (booth.back.click, partial(events.step, by=-1)),
        (booth.forward.click, partial(events.step, by=1)),
        (booth.first_open.click, events.go_to_first_open),
        (booth.leave.click, events.leave),
    ]
    for event, function in of_speakers:
        _connect(event, partial(events.call, function), [tab.place], tab)
    judge = partial(events.call, events.judge)
    _connect(booth.microphone.stop_recording, judge, [tab.place, booth.microphone], tab)


def _connect(
    event: Callable[..., object], function: Callable[..., Updates], inputs: list[Any], tab: RecordTab
) -> None:
    event(function, inputs, tab.components(), show_progress="hidden", api_visibility="private")


class RecordEvents:
    """The functions that the tab calls."""

    def __init__(self, tab: RecordTab, recordings: Recordings) -> None:
        self._tab, self._recordings = tab, recordings

    def welcome_back(self, remembered: object) -> Updates:
        """Let in a speaker whom the browser remembers, unless the terms have changed. It is not trusted."""
        if not isinstance(remembered, dict) or remembered.get("terms") != self._recordings.terms:
            return gr.skip()
        return self.enter(remembered.get("name"), remembered.get("group"), True)

    def enter(self, name: object, accent: object, agreed: bool) -> Updates:
        try:
            if self._recordings.terms and not agreed:
                raise BadItem("not agreed", "read the terms and agree to them, or do not record.")
            speaker = self._recordings.known_speaker(read_speaker(name, accent, self._recordings.terms))
        except BadItem as error:
            return {self._tab.welcome.message: gr.update(value=_message(error.problem, "bad"), visible=True)}
        place = Place(speaker, self._recordings.next_open(speaker) or 0)
        return self._show(place) | {
            self._tab.remembered: vars(speaker),
            self._tab.welcome.column: gr.update(visible=False),
            self._tab.booth.column: gr.update(visible=True),
        }

    def leave(self, place: Place) -> Updates:
        return {
            self._tab.place: None,
            self._tab.remembered: None,
            self._tab.welcome.column: gr.update(visible=True),
            self._tab.welcome.name: "",
            self._tab.welcome.accent: place.speaker.group or "",
            self._tab.welcome.agreed: False,
            self._tab.welcome.message: gr.update(visible=False),
            self._tab.booth.column: gr.update(visible=False),
        }

    def call(self, function: Callable[..., Updates], place: Place | None, *more: object) -> Updates:
        """Call a function of speakers. A restart of the program forgets who records in an open page."""
        if place is None:
            problem = Problem("not kept", "the program was started again. Load this page again.")
            return {self._tab.booth.message: gr.update(value=_message(problem, "bad"), visible=True)}
        return function(place, *more)

    def step(self, place: Place, *, by: int) -> Updates:
        index = (place.index + by) % len(self._recordings.sentences)
        return self._show(replace(place, index=index, doubtful=None))

    def go_to_first_open(self, place: Place) -> Updates:
        index = self._recordings.next_open(place.speaker)
        return self._show(replace(place, index=place.index if index is None else index, doubtful=None))

    def begin(self, place: Place) -> Updates:
        """Remember which sentence is read: the speaker may go on before the sound arrives here."""
        return {self._tab.place: replace(place, reading=place.index)}

    def judge(self, place: Place, file: str | None) -> Updates:
        """Keep a take that has just been recorded, or say why not."""
        if file is None:
            return gr.skip()
        place = Place(place.speaker, place.index if place.reading is None else place.reading)
        try:
            samples = _decode(file)
        except AudioError as error:
            return self._refuse(place, error.problem, None)
        if problem := check_take(samples, self._recordings.sentences[place.index].text):
            return self._refuse(place, problem, file)
        return self._keep(place, samples)

    def keep_doubtful(self, place: Place) -> Updates:
        if place.doubtful is None:  # a second click
            return gr.skip()
        try:
            samples = _decode(place.doubtful)
        except AudioError as error:
            return self._refuse(place, error.problem, None)
        return self._keep(place, samples)

    def _keep(self, place: Place, samples: np.ndarray) -> Updates:
        """Write the take and go on to the next sentence without one. The player still has this take."""
        try:
            self._recordings.keep(place.speaker, place.index, samples)
        except OSError as error:
            return self._refuse(place, Problem("not saved", f"{error.strerror or error}."), None)
        index = self._recordings.next_open(place.speaker, place.index)
        done = Problem("Kept", f"{len(samples) / SAMPLE_RATE:.1f} s.")
        if index is None:
            done = Problem("All sentences are recorded", "thank you!")
        shown = self._show(Place(place.speaker, place.index if index is None else index))
        label = f"Your recording of sentence {place.index + 1:,}"
        return shown | {
            self._tab.booth.message: gr.update(value=_message(done, "good"), visible=True),
            self._tab.booth.player: gr.update(value=_sound(samples), label=label, visible=True),
        }

    def _refuse(self, place: Place, problem: Problem, file: str | None) -> Updates:
        """Say why a take was not kept, let the speaker hear it, and let a doubtful one be kept."""
        is_doubtful = file is not None and problem.kind in DOUBTFUL
        place = replace(place, doubtful=file if is_doubtful else None)
        shown = self._show(place) | {
            self._tab.booth.message: gr.update(value=_message(problem, "bad"), visible=True),
            self._tab.booth.keep: gr.update(visible=is_doubtful),
        }
        if file is not None:
            shown[self._tab.booth.player] = gr.update(
                value=file, label="The take that was not kept", visible=True
            )
        return shown

    def _show(self, place: Place) -> Updates:
        """Show a sentence, how far the speaker is, and the take of this sentence if there is one."""
        sentence = self._recordings.sentences[place.index]
        take = self._recordings.take_of(place.speaker, place.index)
        card = render_part(
            "sentence",
            text=sentence.text,
            number=place.index + 1,
            direction="rtl" if is_right_to_left(sentence.text) else "ltr",
            language=self._recordings.language,
            is_recorded=take is not None,
        )
        heading = render_part(
            "heading", speaker=place.speaker.name, progress=self._recordings.progress(place.speaker)
        )
        player = gr.update(value=None, visible=False)
        if take is not None:
            with contextlib.suppress(OSError, AudioError):  # somebody has deleted the file
                sound = _sound(self._recordings.read(take))
                player = gr.update(
                    value=sound, label="Your recording: record again to replace it", visible=True
                )
        return {
            self._tab.place: place,
            self._tab.booth.heading: heading,
            self._tab.booth.sentence: card,
            self._tab.booth.microphone: gr.update(value=None),
            self._tab.booth.message: gr.update(visible=False),
            self._tab.booth.keep: gr.update(visible=False),
            self._tab.booth.player: player,
        }


def _decode(file: str) -> np.ndarray:
    return decode_in_child(Path(file), LIMITS)


def _sound(samples: np.ndarray) -> tuple[int, np.ndarray]:
    return SAMPLE_RATE, to_int16(samples)


def _message(problem: Problem, tone: str) -> str:
    kind = problem.kind[:1].upper() + problem.kind[1:]
    mark = "✓" if tone == "good" else "✗"
    return render_part("message", mark=mark, kind=kind, details=problem.details, tone=tone)
