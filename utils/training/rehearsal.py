"""A dry run: a few steps, from which time, memory and disk of the whole run are reckoned."""

import time
from dataclasses import replace
from pathlib import Path

from rich import get_console

from utils.arguments.train import TrainArguments
from utils.model.whisper import whisper_of
from utils.runtime.devices import peak_memory_bytes
from utils.runtime.memory import memory_limits
from utils.runtime.progress import silence_libraries
from utils.text.label_checks import TokenRules, check_labels, labels_table, raise_for
from utils.training import estimates
from utils.training.estimates import Estimate, TimedStep, estimate_seconds, estimate_table, pick_steps
from utils.training.fixed_encoder import rehearsing_with_encoder_states
from utils.training.gradients import accumulate_gradients
from utils.training.micro_batch_finder import with_found_micro_batches
from utils.training.optimizers import moment_bytes
from utils.training.options import choose_spec_augment
from utils.training.run_log import end_training
from utils.training.setup import Setup, build_setup, start_accelerator
from utils.training.shared_decoding import transcribe_on_all_processes
from utils.training.step_loading import choose_fixed_encoding, count_workers, load_steps
from utils.training.steps import Step
from utils.training.updates import update_weights
from utils.training.whole_model import whole_model

STEPS_TIMED = 5  # by --dry_run


def rehearse(args: TrainArguments) -> None:
    """Check the labels, do a few steps, say what the run will take; nothing is written or kept."""
    silence_libraries()
    accelerator = start_accelerator(args)
    setup = build_setup(args, accelerator)
    clips = setup.data.clips
    examples = clips.draw(0)
    sequences = (clips.sequence(example) for example in examples)
    labels = (
        (" ".join(setup.data.ids[row] for row in example.rows), sequence.inputs, sequence.targets)
        for example, sequence in zip(examples, sequences, strict=True)
    )
    checks = check_labels(labels, TokenRules.of_model(whisper_of(setup.loaded.model), args.task))
    if accelerator.is_main_process:
        get_console().print(labels_table(checks, len(examples)))
    raise_for(checks)
    if args.auto_find_batch_size:
        setup = with_found_micro_batches(setup, resumed=False)
    limits = memory_limits(accelerator.device)
    estimate = estimate_run(setup)
    if accelerator.is_main_process:
        allowed = [limit.size_bytes for limit in limits if limit.kind in ("resident", "device")]
        get_console().print(estimate_table(estimate, min(allowed)))
    end_training(accelerator)


def estimate_run(setup: Setup) -> Estimate:
    """Do a few steps and decode a few clips, and reckon from these what the whole run will take."""
    args, plan = setup.args, setup.data.plan
    steps_per_epoch = plan.count_steps(1)
    training_seconds, encoder_states_bytes = estimate_training(setup, steps_per_epoch)
    evaluations = estimates.count_evaluations(setup.total_steps, args.eval_steps, on_start=args.eval_on_start)
    evaluation = time_evaluation(setup) if evaluations else 0.0
    models = 1 + (args.eval_steps > 0) + args.average_checkpoints + bool(args.interpolation_alphas)
    return estimates.Estimate(
        steps_per_epoch=steps_per_epoch,
        total_steps=setup.total_steps,
        training_seconds=training_seconds,
        evaluation_seconds=evaluations * evaluation,
        peak_bytes=peak_memory_bytes(),
        disk=estimates.estimate_disk(
            setup.loaded.model,
            checkpoints=args.save_total_limit if args.save_steps else 0,
            models=models,
            moment_bytes=moment_bytes(args.optim),
            adapter_only=args.use_peft,
            encoder_states=encoder_states_bytes,
        ),
        free_bytes=estimates.free_disk_bytes(Path(args.output_dir)),
    )


def estimate_training(setup: Setup, steps_per_epoch: int) -> tuple[float, int]:
    """Seconds of all steps, and bytes of a frozen encoder's outputs, which spare it work after an epoch."""
    args, accelerator, loaded, data = setup.args, setup.accelerator, setup.loaded, setup.data
    steps = list(data.plan.steps(0, min(setup.total_steps, steps_per_epoch)))
    passes = setup.total_steps / len(steps)
    picked = pick_steps(steps, STEPS_TIMED)
    time_step(setup, picked[0])  # the one of the most work, so that no other is the first to touch memory
    encoding = choose_fixed_encoding(args, accelerator, data, setup.total_steps)
    if encoding is None:
        return passes * estimate_seconds([time_step(setup, step) for step in picked], steps), 0
    with rehearsing_with_encoder_states(accelerator, Path(args.output_dir), loaded, encoding) as states:
        setup = replace(setup, data=replace(data, encoder_states=states))
        first, later = (
            estimate_seconds([time_step(setup, step) for step in picked], steps) for _ in range(2)
        )
    return first + (passes - 1) * later, states.num_bytes if states else 0


def time_step(setup: Setup, step: Step) -> TimedStep:
    """Do a step; reading its audio counts where no worker does it meanwhile."""
    args, accelerator, loaded = setup.args, setup.accelerator, setup.loaded
    started = time.perf_counter()
    _, micro_batches = next(load_steps(args, accelerator, setup.data, loaded, step.number, step.number + 1))
    reading = time.perf_counter() - started if count_workers(args, accelerator) == 0 else 0.0
    started = time.perf_counter()
    loss_sum = accumulate_gradients(
        accelerator,
        setup.model,
        micro_batches,
        step.num_targets,
        loaded,
        choose_spec_augment(args),
        setup.data.encoder_states,
    )
    update_weights(accelerator, setup.model, setup.optimizer, loss_sum, args.max_grad_norm, stop=False)
    setup.scheduler.step()
    return TimedStep(step, reading + time.perf_counter() - started)


def time_evaluation(setup: Setup) -> float:
    """Seconds of an evaluation, from one batch of each process."""
    args, accelerator, rows = setup.args, setup.accelerator, setup.data.validation
    if not len(rows):
        return 0.0
    some = rows.select(range(min(len(rows), args.per_device_eval_batch_size * accelerator.num_processes)))
    started = time.perf_counter()
    transcribe_on_all_processes(
        accelerator,
        whole_model(accelerator, setup.model),
        setup.loaded.processor,
        some,
        batch_size=args.per_device_eval_batch_size,
        max_length=args.generation_max_length,
        task=args.task,
    )
    return (time.perf_counter() - started) * len(rows) / len(some)
