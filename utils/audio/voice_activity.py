"""Where a recording has speech: Silero's voice detector."""

import importlib.util
import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from utils.audio.flac import SAMPLE_RATE
from utils.audio.levels import runs_of
from utils.runtime.errors import UserError

if TYPE_CHECKING:
    import torch


CHUNK_SAMPLES = 512  # what Silero's detector takes at 16 kHz, 32 ms

CONTEXT_SAMPLES = 64  # of the chunk before, in front of each

BLOCK_CHUNKS = 1024  # 33 s of sound at once; bounds the memory, however long the recording


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
