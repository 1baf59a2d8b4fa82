"""Search the attention heads that show best when a word is spoken, if training has moved them.

Runtimes find the times of words by dynamic time warping over the cross-attention of a few heads, which
openai/whisper lists for its models (`whisper/__init__.py`). Here each head is tried alone on recordings with
known edges, and the best few together.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import WhisperForConditionalGeneration, WhisperProcessor

from utils.data.forced_alignment.token_path import FRAME_SECONDS, cheapest_path, sharpen
from utils.data.forced_alignment.word_timing import lead_through
from utils.delivery.parity.sounds import ParitySound
from utils.model.alignment_heads import alignment_heads
from utils.model.context import FULL_CONTEXT
from utils.model.encoder import encode_clips
from utils.model.languages import language_codes
from utils.model.loading import LoadedModel
from utils.model.whisper import whisper_of
from utils.text.label_tokens import encode_texts, prompt_tokens

Heads = list[list[int]]
"""Layer and head of each, as in `generation_config.alignment_heads`."""

MOST_HEADS = 10

FAR = 1.0  # seconds: an edge that is further off counts as this far

WORTH_A_CHANGE = 0.9  # the error of new heads, as a share of that of the old ones


@dataclass(frozen=True)
class HeadSearch:
    """The heads that are best, and the mean errors of old and new ones in seconds, on other recordings."""

    heads: Heads
    before: float
    after: float

    @property
    def is_worth_it(self) -> bool:
        return self.after < WORTH_A_CHANGE * self.before


@dataclass(frozen=True)
class _Attended:
    """The attention of all heads for one window, and the known starts of clips."""

    weights: torch.Tensor  # (heads, N + 1, frames)
    edges: Sequence[tuple[int, float]]  # the first token of each clip, and when it starts


def search_alignment_heads(loaded: LoadedModel, windows: Sequence[ParitySound], task: str) -> HeadSearch:
    """Find the best heads on one half of the windows, and compare them with the model's on the other.

    Args:
        loaded: The model, in float32.
        windows: Recordings of at most 30 s with known edges, of training.
        task: Task of the model.
    """
    model, processor = whisper_of(loaded.model), loaded.processor
    current = alignment_heads(model)
    everyone = [
        [layer, head]
        for layer in range(model.config.decoder_layers)
        for head in range(model.config.decoder_attention_heads)
    ]
    set_alignment_heads(loaded, everyone)
    try:
        attended = [_attend(model, processor, window, task) for window in windows]
    finally:
        set_alignment_heads(loaded, current)
    chosen, other = attended[::2], attended[1::2]
    alone = [_mean_error(chosen, [number]) for number in range(len(everyone))]
    order = sorted(range(len(everyone)), key=alone.__getitem__)
    best = min(
        (order[:count] for count in range(1, MOST_HEADS + 1)), key=lambda some: _mean_error(chosen, some)
    )
    before = [everyone.index(list(head)) for head in current]
    return HeadSearch(
        sorted(everyone[number] for number in best), _mean_error(other, before), _mean_error(other, best)
    )


def set_alignment_heads(loaded: LoadedModel, heads: Heads) -> None:
    """Enter heads into the generation config of a model."""
    # `update` would ignore what the configuration does not have yet
    whisper_of(loaded.model).generation_config.alignment_heads = heads  # type: ignore[attr-defined]


@torch.inference_mode()
def _attend(
    model: WhisperForConditionalGeneration, processor: WhisperProcessor, window: ParitySound, task: str
) -> _Attended:
    states = encode_clips(model, processor.feature_extractor, [window.samples], FULL_CONTEXT)
    prompt = prompt_tokens(processor.tokenizer, window.language if language_codes(model) else None, task)
    texts = encode_texts(processor.tokenizer, [piece.text for piece in window.pieces])
    firsts = itertools.accumulate(map(len, texts[:-1]), initial=0)
    edges = [(first, piece.start) for first, piece in zip(firsts, window.pieces, strict=True)]
    tokens = list(itertools.chain.from_iterable(texts))
    frames = min(int(window.duration / FRAME_SECONDS), states.shape[1])
    (led,) = lead_through(model, states, [prompt], [tokens], [frames])
    return _Attended(led.weights, edges)


def _mean_error(windows: Sequence[_Attended], heads: Sequence[int]) -> float:
    """Return the mean distance of the edges, in seconds, if these heads give the times."""
    errors = []
    for window in windows:
        scores = sharpen(window.weights[heads])
        starts, _ = cheapest_path(-scores, np.zeros(len(scores), dtype=bool))
        errors += [min(abs(starts[token] * FRAME_SECONDS - seconds), FAR) for token, seconds in window.edges]
    return float(np.mean(errors))
