"""Dry run: do a few steps, and estimate the time, memory and disk space of the whole run."""

import time
from dataclasses import replace

import torch
from rich import get_console

from utils.arguments.train import TrainArguments
from utils.runtime.devices import peak_memory_bytes
from utils.runtime.files import free_disk_bytes
from utils.runtime.launch import check_gpu_is_there, describe_hardware
from utils.runtime.memory import memory_limits
from utils.runtime.out_of_memory import explaining_out_of_memory
from utils.training.disk_plan import estimate_files
from utils.training.encoder_cache import rehearsing_with_cache
from utils.training.estimates import (
    Estimate,
    TimedStep,
    count_evaluations,
    estimate_seconds,
    estimate_table,
    pick_steps,
)
from utils.training.micro_batch_halving import ComputeGradients, within_memory
from utils.training.micro_batch_trial import try_largest_step
from utils.training.model_folders import whole_model
from utils.training.options import count_workers
from utils.training.pace import Costs
from utils.training.run import Run
from utils.training.run_log import end_training
from utils.training.setup import build_run, choose_fixed_encoding, start_accelerator
from utils.training.shared_decoding import score_rows
from utils.training.step_loading import load_steps
from utils.training.steps import Step
from utils.training.updates import update_weights

STEPS_TIMED = 5


def rehearse(args: TrainArguments, compute_gradients: ComputeGradients) -> None:
    """Do a few steps and print the estimate. Save nothing."""
    check_gpu_is_there()
    accelerator = start_accelerator(args)
    card = f" ({torch.cuda.get_device_name()})" if accelerator.device.type == "cuda" else ""
    accelerator.print(f"Dry run on {describe_hardware(accelerator)}{card}.")
    with explaining_out_of_memory():
        run = build_run(args, accelerator)
        if args.auto_find_batch_size:
            try_largest_step(run, compute_gradients)
        limits = memory_limits(accelerator.device)
        estimate = estimate_run(run, compute_gradients)
    if accelerator.is_main_process:
        allowed = [limit.size_bytes for limit in limits if limit.kind in ("resident", "device")]
        get_console().print(estimate_table(estimate, min(allowed)))
    end_training(accelerator)


def estimate_run(run: Run, compute_gradients: ComputeGradients) -> Estimate:
    """Do a few steps and decode a few clips, and estimate the whole run from these."""
    args = run.args
    steps_per_epoch = run.data.plan.count_steps(1)
    training_seconds, cache_bytes = estimate_training(run, steps_per_epoch, compute_gradients)
    evaluation = time_evaluation(run) if args.eval_steps or args.eval_on_start else 0.0
    step = training_seconds / run.total_steps
    total_steps = count_steps_in_time(run, step, evaluation)
    evaluations = count_evaluations(total_steps, args.eval_steps, on_start=args.eval_on_start)
    return Estimate(
        steps_per_epoch=steps_per_epoch,
        total_steps=total_steps,
        training_seconds=total_steps * step,
        evaluation_seconds=evaluations * evaluation,
        peak_bytes=peak_memory_bytes(),
        disk=estimate_files(args, run.loaded.model, cache_bytes),
        free_bytes=free_disk_bytes(run.output_dir),
    )


def count_steps_in_time(run: Run, step: float, evaluation: float) -> int:
    """Return the number of steps of a run, which are fewer if `--max_hours` is short.

    Args:
        run: The run.
        step: Seconds of a step.
        evaluation: Seconds of an evaluation.
    """
    args = run.args
    if args.max_hours is None:
        return run.total_steps
    costs = Costs(step, evaluation, 0.0, 0.0, args.eval_steps, args.save_steps)
    return costs.steps_within(3600 * args.max_hours, 1, run.total_steps)


def estimate_training(
    run: Run, steps_per_epoch: int, compute_gradients: ComputeGradients
) -> tuple[float, int]:
    """Estimate the seconds of all steps, and return the size of the encoder cache in bytes.

    With an encoder cache the steps after the first epoch are faster.
    """
    accelerator = run.accelerator
    steps = list(run.data.plan.steps(0, min(run.total_steps, steps_per_epoch)))
    passes = run.total_steps / len(steps)
    picked = pick_steps(steps, STEPS_TIMED)
    # a warm-up with the largest step, so that it allocates the memory
    time_step(run, picked[0], compute_gradients)
    encoding = choose_fixed_encoding(run.args, accelerator, run.data, run.total_steps)
    if encoding is None:
        timed = [time_step(run, step, compute_gradients) for step in picked]
        return passes * estimate_seconds(timed, steps), 0
    precision = accelerator.mixed_precision
    with rehearsing_with_cache(precision, run.output_dir, run.loaded, encoding) as cache:
        run = replace(run, data=replace(run.data, encoder_cache=cache))
        first, later = (
            estimate_seconds([time_step(run, step, compute_gradients) for step in picked], steps)
            for _ in range(2)
        )
    return first + (passes - 1) * later, cache.num_bytes if cache else 0


def time_step(run: Run, step: Step, compute_gradients: ComputeGradients) -> TimedStep:
    """Time a step.

    The time for reading its audio is included only if there are no workers that read in parallel.
    """
    args, accelerator = run.args, run.accelerator
    started = time.perf_counter()
    _, micro_batches = next(load_steps(run, step.number, step.number + 1))
    reading = time.perf_counter() - started if count_workers(args, accelerator) == 0 else 0.0
    started = time.perf_counter()
    loss_sum = within_memory(run, step, micro_batches, compute_gradients)
    update_weights(accelerator, run.model, run.optimizer, loss_sum, args.max_grad_norm, stop=False)
    run.scheduler.step()
    return TimedStep(step, reading + time.perf_counter() - started)


def time_evaluation(run: Run) -> float:
    """Estimate the seconds of an evaluation from one batch per process."""
    args, accelerator, rows = run.args, run.accelerator, run.data.validation
    if not len(rows):
        return 0.0
    some = rows.select(range(min(len(rows), args.per_device_eval_batch_size * accelerator.num_processes)))
    started = time.perf_counter()
    whole = whole_model(accelerator, run.model)
    score_rows(args, accelerator, whole, run.loaded.processor, some, run.stop_request)
    return (time.perf_counter() - started) * len(rows) / len(some)
