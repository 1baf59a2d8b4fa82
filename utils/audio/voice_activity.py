"""Find speech in a recording with Silero's voice detector."""

import importlib.metadata
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from utils.audio.flac import SAMPLE_RATE
from utils.audio.levels import runs_of

if TYPE_CHECKING:
    import torch


CHUNK_SAMPLES = 512  # input size of Silero's detector at 16 kHz, 32 ms

CONTEXT_SAMPLES = 64  # from the end of the chunk before, in front of each chunk

THRESHOLD = 0.5  # probability, 0 to 1, at which speech begins

MIN_SPEECH = 0.1  # seconds; shorter stretches are noise

BLOCK_CHUNKS = 1024  # 33 s of sound at once; bounds the memory, however long the recording


@dataclass(frozen=True)
class SpeechSpan:
    """A span of speech, in seconds from the start of the recording."""

    start: float
    end: float


def find_speech(samples: np.ndarray) -> list[SpeechSpan]:
    """Find the spans of speech in a recording of any length, (samples,) float32 at 16 kHz.

    Returns:
        Spans in order that do not overlap, within the recording.
    """
    return spans_of_speech(speech_probabilities(samples), len(samples) / SAMPLE_RATE)


def speech_extent(samples: np.ndarray) -> SpeechSpan | None:
    """Return the span from the first to the last speech, and 0.1 s around it. None if there is no speech.

    Args:
        samples: (samples,) float32 at 16 kHz.
    """
    spans = find_speech(samples)
    return SpeechSpan(spans[0].start, spans[-1].end) if spans else None


def speech_probabilities(samples: np.ndarray) -> np.ndarray:
    """Return the probability of speech of each chunk, by Silero's detector
    (https://github.com/snakers4/silero-vad, MIT).

    The values are equal to those of the package's model. Only the recurrent layer runs on one chunk after
    another. The layers before it run on 33 s at once, which is many times faster.

    Args:
        samples: (samples,) float32 at 16 kHz.

    Returns:
        (chunks,) float32 between 0 and 1. A chunk is 32 ms; the last one is padded with silence.
    """
    import torch

    network, recurrent = _load_network()
    probabilities, state = [np.zeros(0, dtype=np.float32)], None
    with torch.inference_mode():
        for block in _blocks_of_chunks(samples):
            features = network.encoder(network.run_extractors(torch.from_numpy(block)))  # (chunks, 128, 1)
            hidden, state = recurrent(features.squeeze(-1), state)
            probabilities.append(network.decoder.decoder(hidden.unsqueeze(-1)).flatten().numpy())
    return np.concatenate(probabilities)


def _blocks_of_chunks(samples: np.ndarray) -> Iterator[np.ndarray]:
    """Yield blocks (chunks, 576).

    Each row has the last 64 samples of the chunk before, and the 512 samples of this chunk.
    """
    step = BLOCK_CHUNKS * CHUNK_SAMPLES
    for start in range(0, len(samples), step):
        block = samples[max(start - CONTEXT_SAMPLES, 0) : start + step]
        block = np.pad(block, (0 if start else CONTEXT_SAMPLES, -len(samples[start:]) % CHUNK_SAMPLES))
        windows = np.lib.stride_tricks.sliding_window_view(block, CONTEXT_SAMPLES + CHUNK_SAMPLES)
        yield windows[::CHUNK_SAMPLES].copy()


@lru_cache(maxsize=1)
def _load_network() -> "tuple[torch.jit.ScriptModule, torch.nn.LSTM]":
    """Return silero-vad's network for 16 kHz, and its recurrent layer as a module that accepts many chunks at
    once.

    The network is loaded from its file, because an import of the package would change torch's number of
    threads.
    """
    import torch

    file = importlib.metadata.distribution("silero-vad").locate_file("silero_vad/data/silero_vad.jit")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of torch.jit; the weights are in no other form
        network = torch.jit.load(str(file), map_location="cpu")._model
    recurrent = torch.nn.LSTM(128, 128)
    recurrent.load_state_dict(
        {f"{name}_l0": weight for name, weight in network.decoder.rnn.state_dict().items()}
    )
    return network.eval(), recurrent.eval()


def spans_of_speech(
    probabilities: np.ndarray, duration: float, *, min_silence: float = 0.3, padding: float = 0.1
) -> list[SpeechSpan]:
    """Turn the probabilities of chunks into spans.

    All probabilities of a span are above the threshold - 0.15, and one or more reach the threshold. The rules
    are those of Silero's own `get_speech_timestamps`.

    Args:
        probabilities: (chunks,) from `speech_probabilities`.
        duration: Seconds of the recording.
        min_silence: In seconds. Shorter silences belong to the speech around them.
        padding: Seconds that are added before and after each span.
    """
    seconds = CHUNK_SAMPLES / SAMPLE_RATE
    merged: list[tuple[float, float]] = []
    for first, last in runs_of(probabilities >= THRESHOLD - 0.15):
        if probabilities[first:last].max() < THRESHOLD:
            continue
        start, end = first * seconds, min(last * seconds, duration)
        if merged and start - merged[-1][1] < min_silence:
            start = merged.pop()[0]
        merged.append((start, end))
    kept = [(start, end) for start, end in merged if end - start >= MIN_SPEECH]
    return _pad_spans(kept, padding, duration)


def _pad_spans(spans: Sequence[tuple[float, float]], padding: float, duration: float) -> list[SpeechSpan]:
    """Widen the spans, each at most to the middle of the silence next to it."""
    padded = []
    for index, (start, end) in enumerate(spans):
        before = (spans[index - 1][1] + start) / 2 if index else 0.0
        after = (end + spans[index + 1][0]) / 2 if index + 1 < len(spans) else duration
        padded.append(SpeechSpan(max(start - padding, before), min(end + padding, after)))
    return padded
