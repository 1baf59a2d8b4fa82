"""Compute attention in bfloat16 on CPUs by matrix products where torch's fused kernel is slow.

Also add masks to it. The fused kernel is made for long sequences. The encoder with a dynamic context has only
up to some hundred positions. There, the kernel's backward pass in bfloat16 takes two to six times as long as
batched matrix products. When a decoder computes one token at a time, the kernel's forward pass takes five
times as long.
"""

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME, NAME_IN_DECODING = "products_where_short", "products_for_tokens"

LONGEST = 512  # keys; with more, the scores take much memory and the fused kernel is as fast

FEW_QUERIES = 4  # queries of a decoder with a cache: one, or the prompt


def attend_by_products(model: PreTrainedModel) -> None:
    """Use matrix products for short sequences when this model is trained.

    All other sequences use torch's kernel. Scores are rounded to bfloat16, as in transformers' `eager`
    attention under autocast.
    """
    AttentionInterface.register(NAME, _attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    model.set_attn_implementation(NAME)


def _attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **options: float | None
) -> tuple[Tensor, None]:
    """Compute attention for transformers.

    The query is (B, heads, T, d), already scaled. Key and value are (B, heads, S, d). A mask of (1, 1, 1, S)
    is added to the scores.

    Returns:
        (B, T, heads, d)
    """
    is_plain = options.get("scaling") == 1.0 and not options.get("dropout")  # Whisper's queries are scaled
    is_short = query.dtype == torch.bfloat16 and key.shape[2] <= LONGEST
    is_by_key = mask is None or mask.shape[:3] == (1, 1, 1)
    if not (is_short and is_plain and is_by_key and module.training):
        return sdpa_attention_forward(module, query, key, value, mask, **options)  # type: ignore[arg-type]
    scores = query.flatten(0, 1) @ key.flatten(0, 1).transpose(1, 2)  # (B * heads, T, S)
    if mask is not None:
        scores = scores + mask[0, 0].to(scores.dtype)
    if getattr(module, "is_causal", False):
        later = torch.ones(scores.shape[1:], dtype=torch.bool, device=scores.device).triu(1)
        scores = scores.masked_fill(later, float("-inf"))
    attended = scores.softmax(-1) @ value.flatten(0, 1)
    return attended.unflatten(0, query.shape[:2]).transpose(1, 2).contiguous(), None


@contextlib.contextmanager
def attending_by_products(model: PreTrainedModel) -> Iterator[None]:
    """Use matrix products for the attention of a decoder on a CPU inside the block.

    In float32, nothing changes.
    """
    if model.device.type != "cpu":
        yield
        return
    AttentionInterface.register(NAME_IN_DECODING, _attend_to_few)
    AttentionMaskInterface.register(NAME_IN_DECODING, sdpa_mask)
    before = model.config._attn_implementation
    model.set_attn_implementation(NAME_IN_DECODING)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def _attend_to_few(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **options: float | None
) -> tuple[Tensor, None]:
    """Compute `_attend` for the few tokens of a decoder.

    A float mask is added to the scores. In a bool mask, False hides a key.
    """
    is_few = query.dtype == torch.bfloat16 and query.shape[2] <= FEW_QUERIES and options.get("scaling") == 1.0
    if not is_few or (query.shape[2] > 1 and mask is None):
        return sdpa_attention_forward(module, query, key, value, mask, **options)  # type: ignore[arg-type]
    scores = query @ key.transpose(2, 3)  # (B, heads, T, S)
    if mask is not None and mask.dtype == torch.bool:
        scores = scores.masked_fill(~mask, float("-inf"))
    elif mask is not None:
        scores = scores + mask.to(scores.dtype)
    return (scores.softmax(-1) @ value).transpose(1, 2).contiguous(), None


def mask_cross_attention(
    model: PreTrainedModel, find_mask: Callable[[nn.Module], Tensor | None]
) -> list[RemovableHandle]:
    """Add a mask to the decoder's cross-attention, because transformers' Whisper has no argument for it.

    Args:
        find_mask: Function that each layer calls in each pass. It returns None or a mask (B or 1, 1, 1, S).
            Keys with False or -inf are hidden; other values are added to the scores.

    Returns:
        Handles to remove the hooks. If several masks are registered, the last one is used.
    """

    def add_mask(attention: nn.Module, inputs: tuple, options: dict) -> tuple[tuple, dict]:
        return inputs, options | {"attention_mask": find_mask(attention)}

    attentions = [layer.encoder_attn for layer in model.model.decoder.layers]
    return [attention.register_forward_pre_hook(add_mask, with_kwargs=True) for attention in attentions]
