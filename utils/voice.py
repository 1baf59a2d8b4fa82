"""Where a recording has speech and where it is silent: Silero's voice detector, and levels of frames."""

import importlib.util
import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from utils.audio import SAMPLE_RATE
from utils.errors import UserError

if TYPE_CHECKING:
    import torch

CHUNK_SAMPLES = 512  # what Silero's detector takes at 16 kHz, 32 ms
CONTEXT_SAMPLES = 64  # of the chunk before, in front of each
BLOCK_CHUNKS = 1024  # 33 s of sound at once; bounds the memory, however long the recording
LEVEL_SAMPLES = 160  # 10 ms: the hop of `frame_levels`
LEVEL_BLOCK = 3000  # frames, 30 s: what is loud and what is silent is judged within so much
SHORTEST_SILENCE = 6  # frames: shorter dips are the closures of p, t and k
LEVEL_SECONDS = LEVEL_SAMPLES / SAMPLE_RATE
CUT_REACH = 0.1  # seconds before and after the gap between two words where their silence is looked for
SILENCE_REACH = 0.5  # seconds a silence found there is followed


@dataclass(frozen=True)
class SpeechSpan:
    """A stretch of speech, seconds within the recording."""

    start: float
    end: float


def find_speech(
    samples: np.ndarray,
    *,
    threshold: float = 0.5,
    min_silence: float = 0.3,
    min_speech: float = 0.1,
    padding: float = 0.1,
) -> list[SpeechSpan]:
    """Find the stretches of speech in a recording of any length.

    Args:
        samples: (samples,) float32 at 16 kHz.
        threshold: Speech begins where the detector is so sure, between 0 and 1.
        min_silence: Shorter silences belong to the speech around them, in seconds.
        min_speech: Shorter stretches are noise, in seconds.
        padding: Seconds added before and after each stretch.

    Returns:
        Spans in order that do not overlap, within the recording.
    """
    return spans_of_speech(
        speech_probabilities(samples),
        len(samples) / SAMPLE_RATE,
        threshold=threshold,
        min_silence=min_silence,
        min_speech=min_speech,
        padding=padding,
    )


def speech_extent(samples: np.ndarray) -> SpeechSpan | None:
    """From the beginning of the first speech to the end of the last, with 0.1 s around; None without any.

    Args:
        samples: (samples,) float32 at 16 kHz.
    """
    spans = find_speech(samples)
    return SpeechSpan(spans[0].start, spans[-1].end) if spans else None


def speech_probabilities(samples: np.ndarray) -> np.ndarray:
    """How sure Silero's detector (https://github.com/snakers4/silero-vad, MIT) is of speech, chunk by chunk.

    The numbers are those of the package's own model, but only the recurrent layer goes chunk by chunk: all
    before it is computed for half a minute at once, which makes it many times as fast.

    Args:
        samples: (samples,) float32 at 16 kHz.

    Returns:
        (chunks,) float32 between 0 and 1, a chunk being 32 ms; the last one is filled up with silence.
    """
    import torch

    network = _load_network()
    probabilities = [np.zeros(0, dtype=np.float32)]
    state = None
    with torch.inference_mode():
        for block in _blocks_of_chunks(samples):
            features = _encode_chunks(network, torch.from_numpy(block))
            hidden, state = network.recurrent(features, state)
            logits = hidden.relu() @ network.output_weight + network.output_bias
            probabilities.append(logits.sigmoid().numpy())
    return np.concatenate(probabilities)


def _blocks_of_chunks(samples: np.ndarray) -> Iterator[np.ndarray]:
    """(chunks, 576) blocks: each chunk of 512 samples has the last 64 of the one before it in front."""
    for start in range(0, len(samples), BLOCK_CHUNKS * CHUNK_SAMPLES):
        end = min(start + BLOCK_CHUNKS * CHUNK_SAMPLES, len(samples))
        num_chunks = math.ceil((end - start) / CHUNK_SAMPLES)
        block = np.zeros(CONTEXT_SAMPLES + num_chunks * CHUNK_SAMPLES, dtype=np.float32)
        begin = max(start - CONTEXT_SAMPLES, 0)
        offset = CONTEXT_SAMPLES - (start - begin)
        block[offset : offset + end - begin] = samples[begin:end]
        windows = np.lib.stride_tricks.sliding_window_view(block, CONTEXT_SAMPLES + CHUNK_SAMPLES)
        yield windows[::CHUNK_SAMPLES].copy()


@dataclass(frozen=True)
class _Network:
    """Silero's detector: a short Fourier transform, four convolutions, a recurrent layer, one number."""

    transform: "torch.Tensor"
    convolutions: "tuple[tuple[torch.Tensor, torch.Tensor, int], ...]"  # weight, bias, stride
    recurrent: "torch.nn.LSTM"
    output_weight: "torch.Tensor"
    output_bias: "torch.Tensor"


def _encode_chunks(network: _Network, chunks: "torch.Tensor") -> "torch.Tensor":
    """(chunks, 128) features of chunks (chunks, 576), each by itself."""
    import torch

    padded = torch.nn.functional.pad(chunks, (0, CONTEXT_SAMPLES), mode="reflect").unsqueeze(1)
    spectrum = torch.nn.functional.conv1d(padded, network.transform, stride=128)  # (chunks, 258, 4)
    real, imaginary = spectrum.chunk(2, dim=1)
    features = (real**2 + imaginary**2).sqrt()
    for weight, bias, stride in network.convolutions:
        features = torch.nn.functional.conv1d(features, weight, bias, stride=stride, padding=1).relu()
    return features.squeeze(-1)


@lru_cache(maxsize=1)
def _load_network() -> _Network:
    """The weights that stand in the package; importing it would change the number of threads of torch.

    Raises:
        UserError: The package is not installed.
    """
    import torch

    found = importlib.util.find_spec("silero_vad")
    if found is None or not found.submodule_search_locations:
        raise UserError("silero-vad is not installed. Run: pip install -r requirements.txt")
    file = Path(found.submodule_search_locations[0]) / "data" / "silero_vad.jit"
    with warnings.catch_warnings():
        # the package has these weights in no other form; its safetensors file is of an older version
        warnings.simplefilter("ignore", DeprecationWarning)
        weights = torch.jit.load(str(file), map_location="cpu").state_dict()
    recurrent = torch.nn.LSTM(128, 128)
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    recurrent.load_state_dict({f"{name}_l0": weights[f"_model.decoder.rnn.{name}"] for name in names})
    layers = [f"_model.encoder.{layer}.reparam_conv" for layer in range(4)]
    return _Network(
        weights["_model.stft.forward_basis_buffer"],
        tuple(
            (weights[f"{layer}.weight"], weights[f"{layer}.bias"], stride)
            for layer, stride in zip(layers, (1, 2, 2, 1), strict=True)
        ),
        recurrent.eval(),
        weights["_model.decoder.decoder.2.weight"].flatten(),
        weights["_model.decoder.decoder.2.bias"],
    )


def spans_of_speech(
    probabilities: np.ndarray,
    duration: float,
    *,
    threshold: float,
    min_silence: float,
    min_speech: float,
    padding: float,
) -> list[SpeechSpan]:
    """Turn chunk probabilities into spans; a span goes on until the detector is 0.15 below the threshold.

    The rules are those of Silero's own `get_speech_timestamps`; see `find_speech` for the arguments.
    """
    seconds = CHUNK_SAMPLES / SAMPLE_RATE
    merged: list[tuple[float, float]] = []
    for first, last in runs_of(probabilities >= max(threshold - 0.15, 0.01)):
        if probabilities[first:last].max() < threshold:
            continue
        start, end = first * seconds, min(last * seconds, duration)
        if merged and start - merged[-1][1] < min_silence:
            start = merged.pop()[0]
        merged.append((start, end))
    kept = [(start, end) for start, end in merged if end - start >= min_speech]
    return _pad_spans(kept, padding, duration)


def _pad_spans(spans: Sequence[tuple[float, float]], padding: float, duration: float) -> list[SpeechSpan]:
    """Widen the spans, each at most to the middle of the silence between it and its neighbour."""
    padded = []
    for index, (start, end) in enumerate(spans):
        before = (spans[index - 1][1] + start) / 2 if index else 0.0
        after = (end + spans[index + 1][0]) / 2 if index + 1 < len(spans) else duration
        padded.append(SpeechSpan(max(start - padding, before), min(end + padding, after)))
    return padded


def runs_of(mask: np.ndarray) -> list[tuple[int, int]]:
    """(first, last + 1) of each unbroken run of True in a (n,) mask."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    return [(int(first), int(last)) for first, last in edges.reshape(-1, 2)]


def frame_levels(samples: np.ndarray) -> np.ndarray:
    """(frames,) level of each 10 ms in dB, 0 being full scale; at least one frame."""
    num_frames = max(math.ceil(len(samples) / LEVEL_SAMPLES), 1)
    power = np.zeros(num_frames, dtype=np.float32)
    whole = len(samples) // LEVEL_SAMPLES
    blocks = samples[: whole * LEVEL_SAMPLES].reshape(whole, LEVEL_SAMPLES)
    power[:whole] = np.einsum("ij,ij->i", blocks, blocks) / LEVEL_SAMPLES
    if rest := samples[whole * LEVEL_SAMPLES :].astype(np.float32).tolist():
        power[-1] = sum(value * value for value in rest) / len(rest)
    return 10 * np.log10(power + 1e-10)


def silent_frames(levels: np.ndarray) -> np.ndarray:
    """Which frames are silence: well below the speech around them, for at least 60 ms.

    A frame counts as silent when it is 35 dB below the loud frames of its 30 s, or, where the background is
    noisier than that, in the lowest third between background and speech, but never less than 10 dB below.

    Args:
        levels: (frames,) dB, from `frame_levels`.

    Returns:
        (frames,) bool.
    """
    silent = np.zeros(len(levels), dtype=bool)
    quietest_speech = np.percentile(levels, 95) - 25.0
    for start in range(0, len(levels), LEVEL_BLOCK):
        block = levels[start : start + LEVEL_BLOCK]
        around = levels[max(start - LEVEL_BLOCK // 2, 0) : start + LEVEL_BLOCK * 3 // 2]
        floor, loud = np.percentile(around, [5, 95])
        loud = max(loud, quietest_speech)
        limit = min(max(floor + 0.3 * (loud - floor), loud - 35.0), loud - 10.0)
        silent[start : start + LEVEL_BLOCK] = block < limit
    for first, last in runs_of(silent):
        if last - first < SHORTEST_SILENCE:
            silent[first:last] = False
    return silent


@dataclass(frozen=True)
class Levels:
    """How loud a recording is in each frame of 10 ms, in dB, and which frames are silence; (frames,) each."""

    decibels: np.ndarray
    silent: np.ndarray

    def cut_point(self, end: float, start: float) -> float:
        """The best place to cut between a word that ends at `end` and one that begins at `start`, in seconds.

        The middle of the longest silence that is there, give or take 100 ms; without any, the quietest frame.
        """
        first, last = self._frames(end - CUT_REACH, start + CUT_REACH)
        runs = runs_of(self.silent[first:last])
        if not runs:
            first, last = self._frames(end - CUT_REACH / 2, start + CUT_REACH / 2)
            return (first + int(self.decibels[first:last].argmin()) + 0.5) * LEVEL_SECONDS
        begin, stop = max(runs, key=lambda run: run[1] - run[0])
        # a silence that goes on beyond: the times of words are not exact, but no word lies in silence
        lowest, highest = self._frames(end - SILENCE_REACH, start + SILENCE_REACH)
        outside = runs_of(self.silent[lowest:highest])
        begin, stop = next(run for run in outside if run[0] <= first + begin - lowest < run[1])
        return (lowest + (begin + stop) / 2) * LEVEL_SECONDS

    def _frames(self, start: float, end: float) -> tuple[int, int]:
        """First frame and last frame + 1 of a stretch of time, at least one frame within the recording."""
        first = min(max(math.floor(start / LEVEL_SECONDS), 0), len(self.silent) - 1)
        return first, min(max(math.ceil(end / LEVEL_SECONDS), first + 1), len(self.silent))


def measure_levels(samples: np.ndarray) -> Levels:
    """Measure a recording (samples,) float32 at 16 kHz."""
    decibels = frame_levels(samples)
    return Levels(decibels, silent_frames(decibels))
