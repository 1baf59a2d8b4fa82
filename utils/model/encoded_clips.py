"""Holds the encoder's output for clips of different audio contexts in one batch."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from transformers import DynamicCache, WhisperForConditionalGeneration, WhisperProcessor

from utils.model.encoder import condensed_silence, encode_clips
from utils.model.kernels.attention import mask_cross_attention
from utils.model.silence import encoder_positions


@dataclass
class EncodedClips:
    """Encoder states of clips, for the decoder's cross-attention.

    Clips with a shorter context are padded at the end. `mask` (B, 1, 1, positions) is added to the attention
    scores. It is -inf at padding. At positions that represent several positions of silence, it raises their
    weight. It is None if all values would be 0.
    """

    states: torch.Tensor  # (B, positions, d_model)
    mask: torch.Tensor | None = None
    # keys and values of the cross-attention; empty until a decoder has read the states
    cross_cache: DynamicCache = field(default_factory=DynamicCache)

    def rows(self, kept: Sequence[int] | torch.Tensor) -> "EncodedClips":
        """Return some of the clips, by number."""
        return EncodedClips(self.states[kept], None if self.mask is None else self.mask[kept])


def encode_in_contexts(
    model: WhisperForConditionalGeneration,
    processor: WhisperProcessor,
    clips: Sequence[np.ndarray],
    contexts: Sequence[float],
    silence_run: int,
) -> EncodedClips:
    """Encode clips, each (samples,) float32 at 16 kHz. Clips with the same context are encoded together."""
    states: dict[int, torch.Tensor] = {}
    masks: dict[int, torch.Tensor] = {}
    for context in dict.fromkeys(contexts):
        rows = [row for row, own in enumerate(contexts) if own == context]
        own_clips = [clips[row] for row in rows]
        encoded = encode_clips(model, processor.feature_extractor, own_clips, context, silence_run)
        silence = condensed_silence(model, encoder_positions(context), silence_run)
        bias = None if silence is None else silence.key_bias(encoded)
        mask = encoded.new_zeros(encoded.shape[1]) if bias is None else bias[0, 0, 0]
        states |= dict(zip(rows, encoded, strict=True))
        masks |= dict.fromkeys(rows, mask)
    return join_encoded(*([of[row] for row in range(len(clips))] for of in (states, masks)))


def join_encoded(states: list[torch.Tensor], masks: list[torch.Tensor] | None = None) -> EncodedClips:
    """Pad the states (positions, d_model) of each clip, and its mask (positions,), to the longest clip."""
    if masks is None:
        masks = [own.new_zeros(len(own)) for own in states]
    pad = torch.nn.utils.rnn.pad_sequence
    mask = pad(masks, batch_first=True, padding_value=-torch.inf)
    return EncodedClips(pad(states, batch_first=True), mask[:, None, None] if mask.any() else None)


@contextlib.contextmanager
def attending_to(model: WhisperForConditionalGeneration, encoded: EncodedClips) -> Iterator[None]:
    """In the block, the decoder attends to the clips with their mask.

    Each pass uses the mask as it is at that time.
    """
    hooks = mask_cross_attention(model, lambda _: encoded.mask)
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
