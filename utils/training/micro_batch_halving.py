"""If a step runs out of memory, repeat it with micro-batches of half the size."""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from accelerate import Accelerator
from torch import nn

from utils.runtime.errors import UserError
from utils.runtime.out_of_memory import is_out_of_memory, return_freed_memory
from utils.training.batches import Batch
from utils.training.run import Run
from utils.training.state import TrainingState
from utils.training.steps import Step

BUCKET_BYTES = 25 << 20  # gradients to exchange at once, as in DistributedDataParallel

# `compute_gradients` of train.py
ComputeGradients = Callable[..., torch.Tensor]


def within_memory(
    run: Run, step: Step, micro_batches: Sequence[Batch], compute_gradients: ComputeGradients
) -> torch.Tensor:
    """Compute the gradients of a step.

    With `auto_find_batch_size`, halve the micro-batches until they fit into memory. A repetition starts with
    the same random state, so that the result is the same as with small micro-batches from the start. The
    processes agree on a repetition before they exchange gradients. So none of them waits for a process that
    failed in the backward pass.

    Returns:
        This process's summed loss, a detached scalar.

    Raises:
        UserError: Not even one clip fits in memory.
    """
    if not run.args.auto_find_batch_size:
        return compute_gradients(run, micro_batches, step.num_targets)
    accelerator, model, state = run.accelerator, run.model, run.state
    backward = partial(compute_gradients, run, num_targets=step.num_targets, exchange=False)
    random_states = _random_states(accelerator.device)
    while True:
        pieces = [piece for batch in micro_batches for piece in batch.split(most_clips(state, step))]
        loss_sum = _backward_or_none(backward, pieces)
        largest = max(len(piece.durations) for piece in pieces)
        failed = _smallest_that_failed(accelerator, 0 if loss_sum is not None else largest)
        if not failed:
            break
        forget_gradients(model)
        if failed == 1:
            raise not_one_clip(step)
        _halve(accelerator, state, step, failed)
        _set_random_states(accelerator.device, random_states)
    accelerator.sync_gradients = True  # else Accelerate's optimiser would skip the step
    if accelerator.num_processes > 1:
        _average_gradients(accelerator, model)
    assert loss_sum is not None
    return loss_sum


def most_clips(state: TrainingState, step: Step) -> int:
    """Return the largest number of clips in a micro-batch that fits in memory, for the context of a step."""
    if state.micro_batch_seconds is None:
        return len(step.examples)
    return max(1, int(state.micro_batch_seconds / step.work + 1e-6))


def forget_gradients(model: nn.Module) -> None:
    """Free the gradients, and the memory that a failed pass left in the allocator."""
    for parameter in model.parameters():
        parameter.grad = None
    return_freed_memory()


def not_one_clip(step: Step) -> UserError:
    """Return the error for a step of which not even one clip fits in memory."""
    return UserError(
        f"auto_find_batch_size: not even one clip of {step.context:g} s fits in memory with the model. Use "
        "--memory low, --gradient_checkpointing, --use_peft or a smaller model. Or leave out long clips "
        "(--max_duration of preprocess.py)."
    )


def _backward_or_none(
    backward: Callable[[list[Batch]], torch.Tensor], pieces: list[Batch]
) -> torch.Tensor | None:
    """Return the summed loss, or None if memory ran out.

    The error is not kept, so that its tensors are freed.
    """
    try:
        return backward(pieces)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
    return None


def _smallest_that_failed(accelerator: Accelerator, own: int) -> int:
    """Return the number of clips of the smallest micro-batch that failed on any process. 0 if none failed."""
    if accelerator.num_processes == 1:
        return own
    of_all = accelerator.gather(torch.tensor([own], device=accelerator.device)).tolist()
    return min((failed for failed in of_all if failed), default=0)


def _halve(accelerator: Accelerator, state: TrainingState, step: Step, failed: int) -> None:
    half = math.ceil(failed / 2)
    state.micro_batch_seconds = half * step.work
    accelerator.print(
        f"step {step.number + 1}: memory ran out with {failed} clips of {step.context:g} s in a micro-batch. "
        f"Repeating with {half}. Later micro-batches will not be larger."
    )


def _average_gradients(accelerator: Accelerator, model: nn.Module) -> None:
    """Average the gradients over the processes, as DistributedDataParallel does in a backward pass."""
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    for bucket in _buckets(gradients):
        flat = accelerator.reduce(torch.cat([gradient.flatten() for gradient in bucket]), "mean")
        averaged = flat.split([gradient.numel() for gradient in bucket])
        for gradient, values in zip(bucket, averaged, strict=True):
            gradient.copy_(values.view_as(gradient))


def _buckets(gradients: list[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    """Group consecutive gradients of one dtype up to `BUCKET_BYTES`.

    A larger gradient is a group by itself.
    """
    bucket: list[torch.Tensor] = []
    size = 0
    for gradient in gradients:
        if bucket and (gradient.dtype != bucket[0].dtype or size + gradient.nbytes > BUCKET_BYTES):
            yield bucket
            bucket, size = [], 0
        bucket.append(gradient)
        size += gradient.nbytes
    yield bucket


def _random_states(device: torch.device) -> tuple[torch.Tensor, torch.Tensor | None]:
    on_device = None if device.type == "cpu" else torch.get_device_module(device).get_rng_state()
    return torch.get_rng_state(), on_device


def _set_random_states(device: torch.device, states: tuple[torch.Tensor, torch.Tensor | None]) -> None:
    on_cpu, on_device = states
    torch.set_rng_state(on_cpu)
    if on_device is not None:
        torch.get_device_module(device).set_rng_state(on_device)
