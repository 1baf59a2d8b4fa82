"""Update the weights. Clip gradients, and skip steps that are not finite. All processes decide the same."""

import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
from accelerate import Accelerator, DistributedType
from torch import nn


@contextmanager
def exchanging_gradients(accelerator: Accelerator, model: nn.Module, at_once: bool) -> Iterator[None]:
    """If `at_once`, average the gradients over the processes in the backward pass of the block.

    Otherwise do it later. This replaces `accelerator.accumulate`, because the number of micro-batches varies
    between steps.
    """
    accelerator.sync_gradients = at_once
    with nullcontext() if at_once else accelerator.no_sync(model):
        yield


def clip_gradients(accelerator: Accelerator, prepared: nn.Module, max_grad_norm: float) -> torch.Tensor:
    """Clip the gradients, and return their norm before clipping, a scalar equal on all processes.

    Under DeepSpeed, they are already clipped and the step is done. A `max_grad_norm` of 0 means no clipping,
    as in DeepSpeed and in transformers' Trainer.
    """
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        return torch.tensor(float(prepared.get_global_grad_norm() or 0.0))  # type: ignore[operator]
    norm = accelerator.clip_grad_norm_(prepared.parameters(), max_grad_norm or math.inf)
    return norm.full_tensor() if hasattr(norm, "full_tensor") else norm


@dataclass(frozen=True)
class Update:
    """The outcome of an optimiser step, equal on all processes."""

    loss_sum: float  # over the target tokens of the whole step
    grad_norm: float  # before clipping
    skipped: bool  # loss or gradient was not finite: weights and optimiser state did not change
    stop: bool  # some process was told to stop


def update_weights(
    accelerator: Accelerator,
    prepared: nn.Module,
    optimizer: torch.optim.Optimizer,
    own_loss_sum: torch.Tensor,
    max_grad_norm: float,
    *,
    stop: bool,
) -> Update:
    """Clip the gradients. If loss and gradient norm are finite, do the step. Then clear the gradients.

    The losses and stop requests of all processes are summed in one exchange, so that all processes decide the
    same. The sums and the norm are read from the device together, so that an update waits for the device only
    once.

    Args:
        accelerator: The accelerator of the run.
        prepared: The prepared model.
        optimizer: The prepared optimiser.
        own_loss_sum: This process's summed loss, a scalar.
        max_grad_norm: See `clip_gradients`.
        stop: Whether this process got a signal to stop.
    """
    own = torch.stack([own_loss_sum.float(), torch.full_like(own_loss_sum, float(stop), dtype=torch.float32)])
    shared = accelerator.reduce(own)
    norm = clip_gradients(accelerator, prepared, max_grad_norm).to(shared)
    loss_sum, stops, grad_norm = torch.cat([shared, norm.reshape(1)]).tolist()
    finite = math.isfinite(loss_sum) and math.isfinite(grad_norm)
    if finite or accelerator.scaler is not None:  # the scaler skips the step itself, and lowers its scale
        optimizer.step()
    optimizer.zero_grad()
    overflow = not finite or bool(getattr(optimizer, "step_was_skipped", False))
    skipped = overflow and not (math.isfinite(loss_sum) and _is_finding_its_scale(accelerator))
    return Update(loss_sum, grad_norm, skipped, stops > 0)


def _is_finding_its_scale(accelerator: Accelerator) -> bool:
    """Check whether fp16 is still lowering its loss scale. An overflow is normal until the scale is 1."""
    if accelerator.scaler is not None:
        return accelerator.scaler.get_scale() >= 1
    return accelerator.mixed_precision == "fp16"  # DeepSpeed raises an error itself at its smallest scale
