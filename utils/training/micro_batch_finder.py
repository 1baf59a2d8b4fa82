"""The largest micro-batch that memory holds, found by measuring on this device before training.

For a few audio contexts real forward and backward passes are run with made-up clips; their peaks lie on a
line over the number of clips, and the line says how many fit. NeMo's OOMptimizer (pull request 9763 of
NVIDIA/NeMo) measures bucket by bucket with made-up batches too, and Accelerate's `find_executable_batch_size`
halves the batch when memory runs out; both go by failures, which under a cgroup would be the end of the
process. Here a size is tried only if the line says that it fits.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch
from accelerate import Accelerator, DistributedType
from accelerate.utils import gather_object

from utils.runtime.allocator import return_freed_memory
from utils.runtime.errors import UserError
from utils.runtime.files import write_json
from utils.runtime.memory import Limit, memory_limits, read_usage
from utils.runtime.out_of_memory import is_out_of_memory
from utils.training.batches import Batch
from utils.training.micro_batch_demand import Demand, FoundClips, demand_of_plan, neighbours
from utils.training.micro_batch_probe import (
    Edge,
    Probe,
    bytes_of_a_token,
    figures,
    leaving_no_trace,
    measure_edge,
    read_off,
    too_little,
)
from utils.training.optimizers import moment_bytes
from utils.training.run import Run


def save_found(found: FoundClips, path: Path, saving: str) -> None:
    """Keep what was found, so that a run that goes on has micro-batches of the same size.

    Args:
        saving: How memory was saved when it was measured, in words.
    """
    write_json(path, asdict(found) | {"saving": saving})


def read_found(path: Path, accelerator: Accelerator, saving: str) -> FoundClips | None:
    """What was saved, if it is there on all processes, was measured alike and still fits into all memory."""
    found = None
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
        if saved["saving"] != saving:
            raise ValueError(f"measured with {saved['saving']}")
        found = FoundClips(
            tuple(saved["edges"]), tuple(saved["clips"]), Limit(**saved["limit"]), int(saved["peak_bytes"])
        )
    except (OSError, ValueError, KeyError, TypeError):
        pass
    limits = memory_limits(accelerator.device, neighbours(accelerator)) if found else []
    fits = found is not None and all(
        found.peak_bytes <= limit.size_bytes for limit in limits if limit.kind == found.limit.kind
    )
    return found if all(gather_object([fits])) else None


def find_clips_that_fit(probe: Probe, demand: Demand) -> FoundClips:
    """Measure on every process; all get the smallest of the numbers found.

    Args:
        probe: The model in training mode, before its first step or after loading a checkpoint.
        demand: Of the data.

    Raises:
        UserError: Not even one clip fits on some process, or this cannot be measured here.
    """
    accelerator = probe.accelerator
    if accelerator.distributed_type in (DistributedType.DEEPSPEED, DistributedType.FSDP):
        raise UserError(
            f"auto_find_batch_size under {accelerator.distributed_type.value}: what a process holds of a "
            "split model changes within a step. Set micro_batch_seconds."
        )
    if accelerator.device.type not in ("cpu", "cuda"):
        raise UserError(
            f"auto_find_batch_size on {accelerator.device.type}: it measures CPUs and GPUs of CUDA or ROCm. "
            "Set micro_batch_seconds."
        )
    return_freed_memory()
    accelerator.wait_for_everyone()
    limits = memory_limits(accelerator.device, neighbours(accelerator))
    accelerator.wait_for_everyone()
    try:
        with leaving_no_trace(probe):
            answer: FoundClips | UserError = _find_here(probe, demand, limits)
    except Exception as error:
        if isinstance(error, UserError):
            answer = error
        elif is_out_of_memory(error):  # the optimiser's moments alone are too much
            answer = too_little(limits, demand.shape(demand.edges[0]), None)
        else:
            raise
    answers = gather_object([answer])
    for found in answers:
        if isinstance(found, UserError):
            raise found
    tightest = min(answers, key=lambda found: found.clips)
    fewest = tuple(min(column) for column in zip(*(found.clips for found in answers), strict=True))
    return replace(tightest, clips=fewest)


def _find_here(probe: Probe, demand: Demand, limits: Sequence[Limit]) -> FoundClips:
    first = demand.shape(demand.edges[0])
    gradients = sum(parameter.numel() * parameter.element_size() for parameter in probe.trained)
    needed = figures(read_usage(probe.accelerator.device), limits) + gradients
    if (needed > [limit.size_bytes for limit in limits]).any():
        raise too_little(limits, first, needed)
    if probe.measure(1, first) is None:  # from here on libraries are loaded and gradients are there
        raise too_little(limits, first, None)
    edges: list[Edge] = []
    for context in demand.edges:
        guess = edges[-1].stretched_to(demand.shape(context)) if edges else None
        edges.append(measure_edge(probe, demand.shape(context), demand.largest, limits, guess))
    return read_off(demand, edges, bytes_of_a_token(probe, edges[-1], limits), limits)


def with_found_micro_batches(run: Run, compute_gradients: Callable[..., torch.Tensor]) -> Run:
    """Measure how many clips of a micro-batch fit into memory; a run that goes on keeps what was found."""
    args, accelerator, data = run.args, run.accelerator, run.data
    path = run.output_dir / "micro_batches.json"
    saving = f"memory {args.memory}, gradient_checkpointing {args.gradient_checkpointing}"
    found = read_found(path, accelerator, saving) if run.state.step else None
    if found is None:
        uncached = replace(run, data=replace(data, encoder_cache=None))

        def backward(batch: Batch) -> torch.Tensor:
            return compute_gradients(uncached, [batch], accelerator.num_processes, exchange=False)

        probe = Probe(accelerator, run.model, backward, run.optimizer, moment_bytes(args.optim))
        demand = demand_of_plan(data.clips, data.plan, args.num_train_epochs, accelerator.num_processes)
        found = find_clips_that_fit(probe, demand)
        if accelerator.is_main_process and not args.dry_run:
            save_found(found, path, saving)
    accelerator.print(found.describe())
    return replace(run, data=replace(data, clips_that_fit=found))
