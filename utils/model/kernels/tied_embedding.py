"""The gradient of a token embedding that is the output projection as well, without a second dense one.

Looking up a hundred tokens has a gradient of a hundred rows. autograd makes a matrix of the whole vocabulary
of it, zero but for these, and adds that to the projection's: 106 MB written, and 318 MB moved, in every
backward pass of Whisper base.
"""

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from transformers import WhisperForConditionalGeneration


def is_tied_and_trained(whisper: WhisperForConditionalGeneration) -> bool:
    """Whether a model's token embedding is trained, and one with its projection."""
    embedding = whisper.model.decoder.embed_tokens
    is_plain = isinstance(embedding, nn.Embedding)  # an adapter for new tokens is not
    return is_plain and embedding.weight.requires_grad and whisper.proj_out.weight is embedding.weight


def add_rows_in_place(embedding: nn.Embedding) -> None:
    """Add the rows of each backward pass to the projection's gradient where it stands.

    For one embedding that is trained, whole on each process, and tied to a projection that takes part in
    every backward pass. Gradients are equal but for the order of sums.
    """
    rows = _Rows(embedding.padding_idx)
    embedding.register_forward_hook(rows.look_up)
    embedding.weight.register_hook(rows.add_to)


class _Rows:
    """The rows of a backward pass that is under way."""

    def __init__(self, padding_id: int | None) -> None:
        self._padding_id = padding_id
        self.waiting: list[tuple[Tensor, Tensor]] = []

    def look_up(self, module: nn.Module, inputs: tuple[Tensor], found: Tensor) -> Tensor | None:
        """A forward hook: the same embeddings, with a gradient of rows."""
        if not (torch.is_grad_enabled() and found.requires_grad):
            return None
        self.waiting.clear()  # of a backward pass that was left halfway
        rows: Tensor = _LookUp.apply(module.weight, found.detach(), inputs[0], self)  # type: ignore[no-untyped-call]
        return rows

    def add_to(self, gradient: Tensor) -> Tensor:
        """A hook of the weight, run once the projection's gradient and all rows are there."""
        for ids, rows in self.waiting:
            ids, rows = ids.flatten(), rows.flatten(0, -2)
            if self._padding_id is not None:
                kept = ids != self._padding_id  # what nn.Embedding leaves alone
                ids, rows = ids[kept], rows[kept]
            gradient.index_add_(0, ids, rows.to(gradient.dtype))
        self.waiting.clear()
        return gradient


class _LookUp(torch.autograd.Function):
    """Embeddings already looked up. The weight is an input so that its hook waits for the backward pass."""

    @staticmethod
    def forward(ctx: FunctionCtx, weight: Tensor, found: Tensor, ids: Tensor, rows: _Rows) -> Tensor:
        ctx.ids, ctx.rows = ids, rows  # type: ignore[attr-defined]
        return found.view_as(found)

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[None, ...]:  # type: ignore[override]
        ctx.rows.waiting.append((ctx.ids, gradient))  # type: ignore[attr-defined]
        return None, None, None, None
