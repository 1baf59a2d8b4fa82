"""Cross-entropy over a large vocabulary, a few target tokens at a time."""

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from utils.text.label_tokens import IGNORED

MULTIPLE = 32  # of target tokens: fewer sizes, and those that matrix kernels are made for

CHUNK_TOKENS = 128  # with Whisper's 51,865 tokens 27 MB of logits in float32


def summed_cross_entropy(
    states: torch.Tensor,
    targets: torch.Tensor,
    projection: nn.Module,
    *,
    chunk_tokens: int | None = None,
) -> torch.Tensor:
    """Cross-entropy of the projected states, summed.

    In chunks the logits of all tokens never exist together: each chunk's are computed for the loss, thrown
    away, and computed again for the gradient, as torchtune's `CEWithChunkedOutputLoss` does without and
    Liger-Kernel (https://arxiv.org/abs/2410.10989) with a kernel of its own.

    Args:
        states: (N, d) of the decoder at the target tokens.
        targets: (N,) int64.
        projection: From d to the vocabulary.
        chunk_tokens: Tokens of a chunk; None for all at once.

    Returns:
        A float32 scalar; 0 for no tokens.
    """
    missing = -len(targets) % MULTIPLE
    states = nn.functional.pad(states, (0, 0, 0, missing))
    targets = nn.functional.pad(targets, (0, missing), value=IGNORED)
    if chunk_tokens is None or len(targets) <= chunk_tokens:
        return _cross_entropy(states, targets, projection)
    losses = [
        checkpoint(_cross_entropy, *chunk, projection, use_reentrant=False, preserve_rng_state=False)
        for chunk in zip(states.split(chunk_tokens), targets.split(chunk_tokens), strict=True)
    ]
    return torch.stack(losses).sum()


def _cross_entropy(states: torch.Tensor, targets: torch.Tensor, projection: nn.Module) -> torch.Tensor:
    logits = projection(states)  # (N, vocabulary)
    return nn.functional.cross_entropy(logits.float(), targets, ignore_index=IGNORED, reduction="sum")
