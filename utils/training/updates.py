"""One update of the weights: clipped, left out where it is not finite, agreed among the processes."""

import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
from accelerate import Accelerator, DistributedType
from torch import nn


@contextmanager
def exchanging_gradients(accelerator: Accelerator, model: nn.Module, at_once: bool) -> Iterator[None]:
    """Have the processes average their gradients in the backward pass of the block, or not yet.

    Not `accelerator.accumulate`, because the number of micro-batches changes from step to step.
    """
    accelerator.sync_gradients = at_once
    with nullcontext() if at_once else accelerator.no_sync(model):
        yield


def clip_gradients(accelerator: Accelerator, prepared: nn.Module, max_grad_norm: float) -> torch.Tensor:
    """Clip the gradients and return their norm before that, a scalar equal on all processes.

    DeepSpeed has clipped them itself, and has stepped. A `max_grad_norm` of 0 clips nothing, as in DeepSpeed
    and in transformers' Trainer.
    """
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        return torch.tensor(float(prepared.get_global_grad_norm() or 0.0))  # type: ignore[operator]
    norm = accelerator.clip_grad_norm_(prepared.parameters(), max_grad_norm or math.inf)
    return norm.full_tensor() if hasattr(norm, "full_tensor") else norm


@dataclass(frozen=True)
class Update:
    """What became of an optimiser step; equal on all processes."""

    loss_sum: float  # over the target tokens of the whole step
    grad_norm: float  # before clipping
    skipped: bool  # loss or gradient was not finite: weights and optimiser state are as before
    stop: bool  # some process was asked to stop


def update_weights(
    accelerator: Accelerator,
    prepared: nn.Module,
    optimizer: torch.optim.Optimizer,
    own_loss_sum: torch.Tensor,
    max_grad_norm: float,
    *,
    stop: bool,
) -> Update:
    """Clip and step, unless loss or gradient norm is not finite; forget the gradients.

    The processes' losses and their wishes to stop are added up in one exchange, and one read brings them and
    the norm from the device: all processes decide alike, and an update waits for the device once.

    Args:
        own_loss_sum: This process's summed loss, a scalar.
        stop: Whether this process was asked to stop.
    """
    own = torch.stack([own_loss_sum.float(), torch.full_like(own_loss_sum, float(stop), dtype=torch.float32)])
    shared = accelerator.reduce(own)
    norm = clip_gradients(accelerator, prepared, max_grad_norm).to(shared)
    loss_sum, stops, grad_norm = torch.cat([shared, norm.reshape(1)]).tolist()
    finite = math.isfinite(loss_sum) and math.isfinite(grad_norm)
    if finite or accelerator.scaler is not None:  # the scaler leaves the step out itself, and scales down
        optimizer.step()
    optimizer.zero_grad()
    overflow = not finite or bool(getattr(optimizer, "step_was_skipped", False))
    skipped = overflow and not (math.isfinite(loss_sum) and _is_finding_its_scale(accelerator))
    return Update(loss_sum, grad_norm, skipped, stops > 0)


def _is_finding_its_scale(accelerator: Accelerator) -> bool:
    """Whether a gradient overflow is how fp16 finds its loss scale; below a scale of 1 it is a fault."""
    if accelerator.scaler is not None:
        return accelerator.scaler.get_scale() >= 1
    return accelerator.mixed_precision == "fp16"  # DeepSpeed, which stops by itself at its smallest scale
