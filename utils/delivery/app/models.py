"""The models of the page: one, or a tuned one and its baseline, which transcribe the same recording."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np

from utils.audio.voice_activity import find_speech
from utils.delivery.growing import Growing, transcribe_in_steps
from utils.delivery.opening import open_window_reader
from utils.delivery.transcribing import LoadedRecording, WindowReader

SHOWN_PARTS = 3  # of the path of a model, such as runs/it/best


@dataclass(frozen=True)
class NamedReader:
    """A model in memory, with the name that the user gave."""

    name: str
    reader: WindowReader


@contextlib.contextmanager
def open_named_reader(name: str, *opening: Any, **settings: Any) -> Iterator[NamedReader]:
    """Open a model as `open_window_reader` does. Visitors see only the end of a path of this machine."""
    with open_window_reader(name, *opening, **settings) as reader:
        yield NamedReader("/".join(PurePath(name.strip("/")).parts[-SHOWN_PARTS:]), reader)


class PageModels:
    """Models that transcribe side by side. Only one step of one request is computed at a time.

    Args:
        readers: The tuned model, and perhaps a baseline.
    """

    def __init__(self, readers: Sequence[NamedReader]) -> None:
        self._readers = readers
        self._one_at_a_time = threading.Lock()
        self.names = [named.name for named in readers]
        self.languages = readers[0].reader.languages
        self.task = readers[0].reader.request.task

    def transcribe(
        self, samples: np.ndarray, language: str | None, task: str, check: Callable[[], None]
    ) -> Iterator[tuple[Growing, ...]]:
        """Yield the transcripts of all models after each step.

        The requests share nothing but the weights.

        Args:
            samples: (samples,) float32 at 16 kHz.
            language: Code of the spoken language. None: each model detects it. So does a model that does not
                know it.
            task: transcribe, or translate into English.
            check: Called before each decoding. An error that it raises ends the work.
        """
        with self._one_at_a_time:
            speech = find_speech(samples)
        steps = []
        for named in self._readers:
            spoken = language if language in named.reader.languages else None
            recording = LoadedRecording(samples, spoken, speech)
            steps.append(transcribe_in_steps(named.reader.for_task(task), recording, check))
        together = zip(*steps, strict=True)
        while True:
            with self._one_at_a_time:
                step = next(together, None)
            if step is None:
                return
            yield step
