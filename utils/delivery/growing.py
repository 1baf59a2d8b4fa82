"""Transcribe a recording step by step, so that a page can show the text while the rest is decoded."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from utils.delivery.transcribing import (
    LoadedRecording,
    ReadWindow,
    WindowReader,
    agree_on_languages,
    cut_recording,
    join_windows,
    read_doubtful_again,
)
from utils.delivery.transcript import Transcript


@dataclass(frozen=True)
class Growing:
    """The transcript of a recording up to a point in time."""

    transcript: Transcript
    until: float  # seconds of the recording that are done


def transcribe_in_steps(
    reader: WindowReader, recording: LoadedRecording, check: Callable[[], None] = lambda: None
) -> Iterator[Growing]:
    """Yield the transcript after each step. The last one is complete.

    The first step is one window, so that text appears soon. A later one has as many windows as are decoded at
    once. All follow the order of time. Languages and doubtful windows are treated as in
    `transcribe_together`, but the main language is that of the windows so far. `check` is called before each
    decoding. An error that it raises ends the work.
    """
    windows = list(cut_recording(0, recording))
    size, found = reader.request.batch_size, dict[int, ReadWindow]()
    edges = [0, *range(1, len(windows), size), len(windows)] if windows else [0, 0]
    for first, last in itertools.pairwise(edges):
        check()
        read = reader.read(windows[first:last], [recording.language] * (last - first))
        new = {first + number: window for number, window in read.items()}
        new |= agree_on_languages(reader, windows, [recording], found | new)
        check()
        found |= new | read_doubtful_again(reader, windows, new)
        done = windows[:last]
        transcript = join_windows(0, recording, done, found, reader.request.layout)
        yield Growing(transcript, recording.duration if last == len(windows) else done[-1].end)
