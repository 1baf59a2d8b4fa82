"""Search the attention heads that show best when a word is spoken, if training has moved them.

Runtimes find the times of words by dynamic time warping over the cross-attention of a few heads, which
openai/whisper lists for its models (`whisper/__init__.py`). Here each head is tried alone on recordings with
known pauses.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import WhisperForConditionalGeneration, WhisperProcessor

from utils.audio.flac import num_samples_at
from utils.data.forced_alignment.token_path import FRAME_SECONDS, cheapest_path, sharpen
from utils.data.forced_alignment.word_timing import lead_through
from utils.delivery.parity.sounds import ParitySound
from utils.model.alignment_heads import alignment_heads
from utils.model.context import FULL_CONTEXT
from utils.model.decoding import detect_languages
from utils.model.encoder import encode_clips
from utils.model.languages import language_codes
from utils.model.loading import LoadedModel
from utils.model.whisper import eval_mode, whisper_of
from utils.text.label_tokens import encode_texts, prompt_tokens

Heads = list[list[int]]
"""Layer and head of each, as in `generation_config.alignment_heads`."""

MOST_HEADS = 10

LONGEST_PROMPT = 4  # tokens: start, language, task, no timestamps

FAR = 1.0  # seconds: an edge that is further off counts as this far

NEARLY = 0.05  # seconds by which a head may be worse than the best one

WORTH_A_CHANGE = 0.05  # seconds that the error must fall by; less changes nothing in faster-whisper


@dataclass(frozen=True)
class HeadSearch:
    """The heads that are best, and the mean errors of old and new ones in seconds, on other recordings.

    An error is the distance of the edge between two clips from the pause that is there.
    """

    heads: Heads
    before: float
    after: float

    @property
    def is_worth_it(self) -> bool:
        return self.after <= self.before - WORTH_A_CHANGE


@dataclass(frozen=True)
class _Window:
    """A recording for the decoder, and the pauses between its clips, in seconds."""

    states: torch.Tensor  # (1, positions, d_model)
    prompt: list[int]
    tokens: list[int]
    num_frames: int
    edges: Sequence[tuple[int, float, float]]  # first token of a clip; start and end of the pause before it

    def attend(self, model: WhisperForConditionalGeneration, heads: Heads) -> torch.Tensor:
        """Return the attention of sorted heads, (heads, N + 1, frames)."""
        given = self.states, [self.prompt], [self.tokens], [self.num_frames]
        return lead_through(model, *given, heads)[0].weights

    def errors(self, weights: torch.Tensor) -> list[float]:
        """Return how far outside its pause, in seconds, weights (heads, N + 1, frames) place each edge.

        Where within the pause does not count: the path gives every frame to a token, and runtimes shorten
        the words around a pause afterwards.
        """
        scores = sharpen(weights)
        starts, _ = cheapest_path(-scores, np.zeros(len(scores), dtype=bool))
        found = [(starts[token] * FRAME_SECONDS, *pause) for token, *pause in self.edges]
        return [min(max(first - edge, edge - last, 0.0), FAR) for edge, first, last in found]


def search_alignment_heads(
    loaded: LoadedModel, recordings: Sequence[ParitySound], task: str
) -> HeadSearch | None:
    """Find the best heads on one half of the recordings, and compare them with the model's on the other.

    Args:
        loaded: The model, in any precision, on any device.
        recordings: At most 30 s each, joined from clips of training.
        task: Task of the model.

    Returns:
        None if there are fewer than two recordings of several clips.
    """
    model = whisper_of(loaded.model)
    with eval_mode(model), torch.inference_mode():
        windows = [_read(model, loaded.processor, sound, task) for sound in recordings]
        windows = [window for window in windows if window.edges]
        if len(windows) < 2:
            return None
        chosen, other = windows[::2], windows[1::2]
        heads = _best_heads(model, chosen)
        before, after = (_mean_error(model, other, each) for each in (sorted(alignment_heads(model)), heads))
    return HeadSearch(heads, before, after)


def set_alignment_heads(loaded: LoadedModel, heads: Heads) -> None:
    """Enter heads into the generation config of a model."""
    # `update` would ignore what the configuration does not have yet
    whisper_of(loaded.model).generation_config.alignment_heads = heads  # type: ignore[attr-defined]


def _read(
    model: WhisperForConditionalGeneration, processor: WhisperProcessor, sound: ParitySound, task: str
) -> _Window:
    """Encode a recording, up to the last clip whose text the decoder can hold."""
    texts = encode_texts(processor.tokenizer, [piece.text for piece in sound.pieces])
    lasts = list(itertools.accumulate(map(len, texts)))
    count = sum(LONGEST_PROMPT + last <= model.config.max_target_positions for last in lasts)
    pieces = sound.pieces[:count]
    seconds = sound.duration if count == len(sound.pieces) else sound.pieces[count].start
    samples = sound.samples[: num_samples_at(seconds)]
    states = encode_clips(model, processor.feature_extractor, [samples], FULL_CONTEXT)
    known = sound.language in language_codes(model)
    language = sound.language if known else detect_languages(model, states)[0][0]
    prompt = prompt_tokens(processor.tokenizer, language, task)
    edges = [
        (first, before.end, piece.start)
        for first, (before, piece) in zip(lasts, itertools.pairwise(pieces), strict=False)
    ]
    frames = min(round(seconds / FRAME_SECONDS), states.shape[1])
    return _Window(states, prompt, list(itertools.chain.from_iterable(texts[:count])), frames, edges)


def _best_heads(model: WhisperForConditionalGeneration, windows: Sequence[_Window]) -> Heads:
    """Return, sorted, the head with the smallest error alone, and those that are nearly as good."""
    layers, heads_of_layer = range(model.config.decoder_layers), range(model.config.decoder_attention_heads)
    everyone = [list(head) for head in itertools.product(layers, heads_of_layer)]
    found: list[list[float]] = [[] for _ in everyone]
    for window in windows:
        weights = window.attend(model, everyone)  # of one window at a time: 0.8 GB for large-v3
        for number, errors in enumerate(found):
            errors += window.errors(weights[[number]])
    means = np.array([np.mean(errors) for errors in found])
    best = np.argsort(means, kind="stable")[:MOST_HEADS]
    return sorted(everyone[number] for number in best if means[number] <= means.min() + NEARLY)


def _mean_error(model: WhisperForConditionalGeneration, windows: Sequence[_Window], heads: Heads) -> float:
    found = [error for window in windows for error in window.errors(window.attend(model, heads))]
    return float(np.mean(found))
