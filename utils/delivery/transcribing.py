"""Transcribe whole recordings: windows cut at pauses, decoded in batches, with the times of words.

The method is that of WhisperX (arXiv:2303.00747). If the text of a window looks wrong, the window is decoded
again, as in openai/whisper: first without the prompt, then at a higher temperature.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from utils.audio.flac import SAMPLE_RATE, num_samples_at
from utils.audio.levels import measure_levels
from utils.audio.voice_activity import SpeechSpan, find_speech
from utils.data.forced_alignment.word_timing import silent_positions
from utils.data.quality.speech_rates import count_characters, rate_problem, spoken_characters
from utils.delivery.cues import Layout, cut_cues, uncovered_speech
from utils.delivery.transcript import Cue, Transcript, Word, shift
from utils.delivery.word_times import time_words
from utils.evaluation.backends.transcriber import Transcriber, with_task
from utils.evaluation.recordings import pack_windows
from utils.model.languages import language_codes
from utils.model.transcription import WithinMemory, plan_decoding
from utils.text.loops import find_loop

WARMER = (0.4, 0.8)  # temperatures at which a doubtful window is decoded again


@dataclass(frozen=True)
class Request:
    """The settings for transcribing. They are the same for all recordings."""

    task: str  # of the transcriber, too
    audio_context: str  # full or dynamic
    batch_size: int  # windows decoded at once
    layout: Layout
    previous: Sequence[int] = ()  # tokens of a prompt that stands before each window
    seed: int = 0  # of the draws at a higher temperature


@dataclass(frozen=True)
class LoadedRecording:
    """A recording in memory, and the spans in which somebody speaks."""

    samples: np.ndarray  # (samples,) float32 at 16 kHz
    language: str | None  # None: the model detects it
    speech: Sequence[SpeechSpan]

    @property
    def duration(self) -> float:
        return len(self.samples) / SAMPLE_RATE


@dataclass(frozen=True)
class Window:
    """A part of a recording that is decoded at once."""

    recording: int  # its number
    start: float  # seconds in the recording
    end: float
    silent: np.ndarray  # (positions,) bool
    samples: np.ndarray  # (samples,) float32 at 16 kHz, a view


@dataclass(frozen=True)
class ReadWindow:
    """The text that the model wrote for a window. Its times are those of the recording."""

    language: str | None
    words: Sequence[Word]
    doubt: str | None


def load_recording(samples: np.ndarray, language: str | None) -> LoadedRecording:
    """Find the speech in (samples,) float32 at 16 kHz."""
    return LoadedRecording(samples, language, find_speech(samples))


class WindowReader:
    """A model that transcribes windows in batches. If memory ran out, later batches are smaller too."""

    def __init__(self, transcriber: Transcriber, request: Request) -> None:
        self._transcriber, self.request = transcriber, request
        self._temperature, self._previous = 0.0, request.previous
        self._read_batch = WithinMemory(self._decode)
        self.languages = language_codes(transcriber.loaded.model)  # none for an English-only model

    def for_task(self, task: str) -> "WindowReader":
        """Return a reader with the same model and another task."""
        return WindowReader(with_task(self._transcriber, task), replace(self.request, task=task))

    def read(
        self,
        windows: Sequence[Window],
        languages: Sequence[str | None],
        on_window: Callable[[int, float], None] = lambda recording, seconds: None,
        *,
        previous: Sequence[int] | None = None,
        temperature: float = 0.0,
    ) -> dict[int, ReadWindow]:
        """Transcribe windows, with the request's prompt unless another one is given.

        Return them by number.
        """
        self._temperature = temperature
        self._previous = self.request.previous if previous is None else previous
        durations = [window.end - window.start for window in windows]
        found: dict[int, ReadWindow] = {}
        with torch.random.fork_rng():
            torch.manual_seed(self.request.seed)
            for batch in plan_decoding(durations, self.request.audio_context, self.request.batch_size):
                own = [windows[number] for number in batch.indices]
                spoken = [languages[number] for number in batch.indices]
                found |= zip(batch.indices, self._read_batch(own, spoken, batch.contexts), strict=True)
                for window in own:
                    on_window(window.recording, window.end - window.start)
        return found

    def _decode(
        self, windows: Sequence[Window], languages: Sequence[str | None], contexts: Sequence[float]
    ) -> list[ReadWindow]:
        clips = [window.samples for window in windows]
        decoded = self._transcriber.decode(
            clips, languages, contexts, previous=self._previous, temperature=self._temperature
        )
        silences = [window.silent for window in windows]
        timed = time_words(self._transcriber, decoded, clips, silences, self.request.task)
        rows = zip(windows, decoded.languages, decoded.texts, timed, strict=True)
        return [
            ReadWindow(
                language,
                shift(words, window.start, window.end),
                find_doubt(text, window.end - window.start),
            )
            for window, language, text, words in rows
        ]


def transcribe_together(
    reader: WindowReader,
    recordings: Sequence[LoadedRecording],
    on_window: Callable[[int, float], None] = lambda recording, seconds: None,
) -> list[Transcript]:
    """Transcribe recordings, with windows of different recordings in one batch.

    Args:
        reader: The model and the request.
        recordings: Recordings in memory.
        on_window: Function that is called once for each window, with the number of its recording and its
            seconds.
    """
    windows = [window for number, of in enumerate(recordings) for window in cut_recording(number, of)]
    found = reader.read(windows, [recordings[window.recording].language for window in windows], on_window)
    found |= agree_on_languages(reader, windows, recordings, found)
    found |= read_doubtful_again(reader, windows, found)
    return [
        join_windows(number, of, windows, found, reader.request.layout)
        for number, of in enumerate(recordings)
    ]


def cut_recording(number: int, recording: LoadedRecording) -> Iterable[Window]:
    levels = measure_levels(recording.samples)
    for span in pack_windows(recording.speech, recording.samples):
        samples = recording.samples[num_samples_at(span.start) : num_samples_at(span.end)]
        silent = silent_positions(levels, span.start, span.end)
        yield Window(number, span.start, span.end, silent, samples)


def find_doubt(text: str, seconds: float) -> str | None:
    """Return why a text may not be what was said in a window of speech. None if it seems right.

    An empty text counts as right, because voice detection takes some music for speech.
    """
    if loop := find_loop(text):
        return f"loop: {loop.strip()!r} again and again"
    problem = rate_problem(count_characters(text), spoken_characters(text), seconds, None) if text else None
    return None if problem is None else str(problem)


def agree_on_languages(
    reader: WindowReader,
    windows: Sequence[Window],
    recordings: Sequence[LoadedRecording],
    found: dict[int, ReadWindow],
) -> dict[int, ReadWindow]:
    """Transcribe windows again if their detected language is not the main language of their recording."""
    agreed = {number: _main_language(number, windows, found) for number in range(len(recordings))}
    others = [n for n, read in found.items() if read.language != agreed[windows[n].recording]]
    again = [windows[number] for number in others]
    read = reader.read(again, [agreed[window.recording] for window in again])
    return {number: read[place] for place, number in enumerate(others)}


def _main_language(recording: int, windows: Sequence[Window], found: dict[int, ReadWindow]) -> str | None:
    """Return the language with the most seconds of speech in a recording.

    None if there is no speech, or for an English-only model.
    """
    seconds: Counter[str | None] = Counter()
    for number, read in found.items():
        if windows[number].recording == recording:
            seconds[read.language] += round(1000 * (windows[number].end - windows[number].start))
    return seconds.most_common(1)[0][0] if seconds else None


def read_doubtful_again(
    reader: WindowReader, windows: Sequence[Window], found: dict[int, ReadWindow]
) -> dict[int, ReadWindow]:
    """Transcribe doubtful windows again: without the prompt, then at a higher temperature.

    Return those that are better.
    """
    doubtful = [number for number, read in found.items() if read.doubt]
    better: dict[int, ReadWindow] = {}
    for temperature in (0.0, *WARMER) if reader.request.previous else WARMER:
        left = [number for number in doubtful if number not in better]
        if not left:
            break
        languages = [found[number].language for number in left]
        read = reader.read([windows[n] for n in left], languages, previous=(), temperature=temperature)
        better |= {number: read[place] for place, number in enumerate(left) if not read[place].doubt}
    return better


def join_windows(
    number: int,
    recording: LoadedRecording,
    windows: Sequence[Window],
    found: dict[int, ReadWindow],
    layout: Layout,
) -> Transcript:
    """Join the windows of one recording, which are in order of time."""
    own = [found[place] for place, window in enumerate(windows) if window.recording == number]
    runs: list[ReadWindow] = []
    for read in own:  # a cue may go on in the next window, unless only one of them is doubtful
        if runs and runs[-1].doubt == read.doubt:
            runs[-1] = replace(read, words=[*runs[-1].words, *read.words])
        else:
            runs.append(read)
    cues: list[Cue] = [cue for run in runs for cue in cut_cues(run.words, layout, run.doubt)]
    words = [word for run in runs for word in run.words]
    return Transcript(
        recording.language or _main_language(number, windows, found),
        recording.duration,
        cues,
        uncovered_speech(recording.speech, words),
    )
