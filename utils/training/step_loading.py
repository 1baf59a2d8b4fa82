"""Steps as tensors: audio read by workers, or a frozen encoder's kept outputs."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from accelerate import Accelerator

from utils.arguments.train import TrainArguments
from utils.model.kernels.onednn import choose_multiples
from utils.model.loading import LoadedModel
from utils.runtime.launch import is_sharded
from utils.training import collators
from utils.training.collators import Batch
from utils.training.data import TrainingData
from utils.training.fixed_encoder import FixedEncoding, open_encoder_states
from utils.training.step_plan import silence_run
from utils.training.steps import MicroBatch, Step


def keep_encoder_states(
    args: TrainArguments,
    accelerator: Accelerator,
    loaded: LoadedModel,
    data: TrainingData,
    total_steps: int,
) -> TrainingData:
    """Have the outputs of a frozen encoder kept, where clips are seen again."""
    encoding = choose_fixed_encoding(args, accelerator, data, total_steps)
    if encoding is None:
        return data
    folder = Path(args.output_dir) / "encoder_states"
    audio = (row["audio"] for row in data.clips.rows)
    return replace(data, encoder_states=open_encoder_states(accelerator, folder, loaded, encoding, audio))


def choose_fixed_encoding(
    args: TrainArguments, accelerator: Accelerator, data: TrainingData, total_steps: int
) -> FixedEncoding | None:
    """How a frozen encoder encodes each clip; None where no clip is seen again, or another encodes it."""
    if data.contexts is None or total_steps <= data.plan.count_steps(1) or is_sharded(accelerator):
        return None
    multiples = choose_multiples(accelerator.device, accelerator.mixed_precision)
    return FixedEncoding(data.contexts, silence_run(args), multiples.positions)


def load_steps(
    args: TrainArguments,
    accelerator: Accelerator,
    data: TrainingData,
    loaded: LoadedModel,
    first: int,
    last: int,
) -> Iterator[tuple["Step", list["Batch"]]]:
    """Yield the optimiser steps, each with this process's micro-batches."""
    return collators.load_steps(
        data.plan,
        collators.MicroBatches(data.clips, loaded.model.config.pad_token_id, data.encoder_states),
        first,
        last,
        own_share=share_of(args, accelerator, data, accelerator.process_index),
        num_workers=count_workers(args, accelerator),
        pin_memory=accelerator.device.type == "cuda",
        seed=args.seed,
    )


def share_of(
    args: TrainArguments, accelerator: Accelerator, data: TrainingData, process_index: int
) -> Callable[[Step], list[MicroBatch]]:
    """From a step to the micro-batches of a process."""
    return partial(
        Step.micro_batches,
        num_processes=accelerator.num_processes,
        process_index=process_index,
        accumulation=args.gradient_accumulation_steps,
        clips_that_fit=data.clips_that_fit,
    )


def count_workers(args: TrainArguments, accelerator: Accelerator) -> int:
    """Processes that read audio beside this one."""
    if args.dataloader_num_workers is not None:
        return args.dataloader_num_workers
    return 0 if accelerator.device.type == "cpu" else 4
