"""Load the steps of a run with this process's micro-batches. Workers read the next steps in advance."""

from collections.abc import Callable, Iterator
from functools import partial

from utils.model.whisper import whisper_of
from utils.training.batches import Batch, MicroBatches, read_steps
from utils.training.options import count_workers
from utils.training.run import Run
from utils.training.steps import MicroBatch, Step


def load_steps(run: Run, first: int, last: int | None = None) -> Iterator[tuple[Step, list[Batch]]]:
    """Yield the optimiser steps from `first` on, each with this process's micro-batches.

    Args:
        first: Number of the first step.
        last: Number of the step after the last one. None means the end of the run.
    """
    data, accelerator = run.data, run.accelerator
    padding = whisper_of(run.loaded.model).config.pad_token_id or 0  # any token: padding has no loss
    return read_steps(
        data.plan,
        MicroBatches(data.clips, padding, data.encoder_cache),
        first,
        run.total_steps if last is None else last,
        own_share=share_of(run, accelerator.process_index),
        num_workers=count_workers(run.args, accelerator),
        pin_memory=accelerator.device.type == "cuda",
        seed=run.args.seed,
    )


def share_of(run: Run, process_index: int) -> Callable[[Step], list[MicroBatch]]:
    """Return a function from a step to the micro-batches of a process."""
    return partial(
        Step.micro_batches,
        num_processes=run.accelerator.num_processes,
        process_index=process_index,
        accumulation=run.args.gradient_accumulation_steps,
        clips_that_fit=run.data.clips_that_fit,
    )
