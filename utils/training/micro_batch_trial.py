"""Try the largest step before training, if too much memory would kill the process."""

import os
from collections.abc import Callable
from dataclasses import replace

import torch
from accelerate.utils import gather_object

from utils.runtime.memory import Limit, killing_limit, read_usage, watching_resident_peak
from utils.runtime.out_of_memory import is_out_of_memory, return_freed_memory
from utils.training.batches import Batch
from utils.training.micro_batch_halving import ComputeGradients, forget_gradients, most_clips, not_one_clip
from utils.training.optimizers import moment_bytes
from utils.training.run import Run
from utils.training.step_loading import load_steps, share_of
from utils.training.steps import Step


def try_largest_step(run: Run, compute_gradients: ComputeGradients) -> None:
    """Find how many clips of the largest step fit into memory.

    All processes use the smallest number that any of them found. This is done only on a CPU, and only if the
    process has no smaller resource limit. There, the kernel kills a process that needs too much memory. In
    all other cases an allocation fails, and the step is repeated. If fewer clips fit than a micro-batch has,
    the state of the run stores this limit.

    Raises:
        UserError: Not even one clip fits on some process.
    """
    accelerator = run.accelerator
    return_freed_memory()
    accelerator.wait_for_everyone()  # all must see the same free memory before they use it
    sharing = int(os.environ.get("LOCAL_WORLD_SIZE", accelerator.num_processes))
    limit = killing_limit(accelerator.device, sharing)
    if None in gather_object([limit]):
        return
    assert limit is not None
    run = replace(run, data=replace(run.data, encoder_cache=None))  # cached clips would need less memory
    step, batch = _largest_micro_batch(run)
    asked = min(most_clips(run.state, step), len(batch.durations))
    with torch.random.fork_rng(devices=[]):
        found = _clips_that_fit(run, compute_gradients, batch.part(slice(asked)), limit)
    forget_gradients(run.model)
    too_few = [own for own, wanted in gather_object([(found, asked)]) if own < wanted]
    if 0 in too_few:
        raise not_one_clip(step)
    if too_few:
        run.state.micro_batch_seconds = min(too_few) * step.work
    accelerator.print(
        f"The largest micro-batch has {asked} clips of {step.context:g} s. {min([*too_few, asked])} of them "
        f"fit into the {limit.size_bytes / 1e6:,.0f} MB allowed by {limit.name}."
    )


def clips_within(bound: int, resting: int, most: int, peak_of: Callable[[int], int]) -> int:
    """Return the largest number of clips whose peak memory stays within a bound. 0 if not even one clip fits.

    The peak is roughly linear in the number of clips. A number of clips that does not fit may kill the
    process. So the next number to try is at most twice the last one, and must fit by the line through the
    last two peaks.

    Args:
        bound: Largest allowed peak in bytes.
        resting: Bytes in use between two passes.
        most: Largest number of clips to try, at least 1.
        peak_of: Function that runs a pass over a number of clips and returns its peak in bytes.
    """
    clips, peak = 1, peak_of(1)
    if peak > bound:
        return 0
    per_clip = peak - resting  # an upper bound: some memory is shared by all clips
    while clips < most:
        fitting = clips + (bound - peak) // max(1, per_clip)
        larger = min(2 * clips, most, fitting)
        if larger == clips:
            break
        higher = peak_of(larger)
        if higher > bound:
            break
        per_clip = (higher - peak) // (larger - clips)
        clips, peak = larger, higher
    return clips


def _clips_that_fit(run: Run, compute_gradients: ComputeGradients, batch: Batch, limit: Limit) -> int:
    trained = [parameter for parameter in run.model.parameters() if parameter.requires_grad]
    bound = limit.size_bytes
    if not run.optimizer.state:
        bound -= moment_bytes(run.args.optim) * sum(parameter.numel() for parameter in trained)
    if read_usage().resident + sum(parameter.nbytes for parameter in trained) > bound:
        return 0

    def peak_of(clips: int) -> int:
        return_freed_memory()
        with watching_resident_peak() as peak:
            compute_gradients(run, [batch.part(slice(clips))], 1, exchange=False)
        return peak.size_bytes

    try:
        peak_of(1)  # the first pass loads libraries and allocates gradients
        return_freed_memory()
        return clips_within(bound, read_usage().resident, len(batch.durations), peak_of)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return len(batch.durations)  # allocations fail here, so training can repeat a step


def _largest_micro_batch(run: Run) -> tuple[Step, Batch]:
    """Return the largest step of the first epoch, which is equal on all processes, and this process's batch
    of it.
    """
    plan = run.data.plan
    share = share_of(run, process_index=0)  # the first process has the largest share

    def size(step: Step) -> tuple[float, int]:
        return step.work * max(len(one.examples) for one in share(step)), step.num_targets

    step = max(plan.steps(0, min(run.total_steps, plan.count_steps(1))), key=size)
    _, batches = next(load_steps(run, step.number, step.number + 1))
    return step, max(batches, key=lambda batch: len(batch.durations))
