"""Fine-tune Whisper on prepared datasets. The result is an ordinary Hugging Face model folder.

On a laptop:
    accelerate launch --config_file accelerate_configs/cpu.yaml train.py \\
        --model_name_or_path openai/whisper-base --dataset data/it --language it --output_dir runs/it

With a recipe:
    accelerate launch --config_file accelerate_configs/single_gpu.yaml train.py --config recipes/starter.yaml
"""

import os
import shlex
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from utils.arguments.parsing import parse_arguments
from utils.arguments.train import TrainArguments
from utils.runtime.errors import WriteError, user_errors_end_the_script

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch
    from accelerate import Accelerator

    from utils.delivery.training_push import RunPush
    from utils.runtime.interruption import StopRequest
    from utils.runtime.progress import AudioProgress
    from utils.training.batches import Batch
    from utils.training.clock import RunClock
    from utils.training.run import Run


def main(argv: list[str] | None = None) -> None:
    args = parse_arguments(TrainArguments, argv, __doc__)
    from utils.training.clock import RunClock

    clock, output_dir = RunClock(args.max_hours), Path(args.output_dir)
    os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")  # read when torch is imported
    from utils.runtime.progress import output_that_may_be_lost, silence_libraries

    silence_libraries()
    if args.dry_run:
        from utils.training.rehearsal import rehearse

        rehearse(args, compute_gradients)
        return

    from utils.training.after_training import describe_results, mix_weights
    from utils.training.mixing import mixing_left
    from utils.training.resuming import is_finished

    push = plan_push(args, shlex.join(["python", "train.py", *(sys.argv[1:] if argv is None else argv)]))
    is_trained = is_finished(args, output_dir)
    if is_trained and not any(mixing_left(args)):
        print(f"{output_dir}: already trained with these arguments.\n{describe_results(args)}")
        if push:
            push.finish()
        return

    from utils.runtime.interruption import forget_interruption, remembering_signals
    from utils.runtime.locking import sole_run_in
    from utils.training.mirroring import mirrored
    from utils.training.run_log import ending_training
    from utils.training.setup import start_accelerator

    with sole_run_in(output_dir), output_that_may_be_lost(), remembering_signals() as stop_request:
        forget_interruption(output_dir)
        accelerator = start_accelerator(args)
        with ending_training(accelerator), mirrored(args, accelerator, clock) as mirror:
            if not is_trained:
                after_saving = [push.start_if_asked] if push else []
                after_saving += [mirror.start] if mirror else []
                fine_tune(args, accelerator, stop_request, clock, after_saving)
            mix_weights(args, accelerator, stop_request)
        accelerator.print(describe_results(args))
    if push:
        push.finish()


def plan_push(args: TrainArguments, command: str) -> "RunPush | None":
    """Return what pushes the model to the Hub, if that is wanted. Only the first process does it.

    Raises:
        UserError: The push would fail. It is better to know this before training.
    """
    if not args.push_to_hub or os.environ.get("RANK", "0") != "0":
        return None
    from utils.delivery.model_push import HubTarget
    from utils.delivery.training_push import RunPush

    assert args.hub_model_id is not None
    target = HubTarget(args.hub_model_id, args.hub_private_repo, args.hub_license)
    push = RunPush(Path(args.output_dir), target, command, after_saving=args.hub_strategy == "every_save")
    push.check(args.model_name_or_path, adapter=args.use_peft)
    return push


def fine_tune(
    args: TrainArguments,
    accelerator: "Accelerator",
    stop_request: "StopRequest",
    clock: "RunClock",
    after_saving: "Sequence[Callable[[], None]]",
) -> None:
    """Train from the beginning or from a checkpoint to the end. Save best/ and final/."""
    from utils.runtime.out_of_memory import explaining_out_of_memory
    from utils.training.micro_batch_trial import try_largest_step
    from utils.training.mixing import forget_mixtures
    from utils.training.model_folders import complete_best, save_model
    from utils.training.resuming import find_start, take_up
    from utils.training.run import begin, leave_to_be_continued
    from utils.training.setup import build_run
    from utils.training.validation import evaluate_and_keep_best, evaluation_is_owed

    start = find_start(args, accelerator)
    with explaining_out_of_memory():
        run = replace(build_run(args, accelerator, stop_request), clock=clock, after_saving=after_saving)
        run = take_up(run, start)
        if args.auto_find_batch_size:
            try_largest_step(run, compute_gradients)
        begin(run, is_resumed=start.checkpoint is not None)
        forget_mixtures(accelerator, run.output_dir)
        if evaluation_is_owed(run) and not evaluate_and_keep_best(run):
            leave_to_be_continued(accelerator, run.output_dir, run.state.step, stop_request)
        if not run.patience_is_over:
            train_steps(run)
        elif run.state.step < run.total_steps:
            accelerator.print(
                f"Training ended at step {run.state.step}: evaluations in a row that were not better: "
                f"{run.state.evaluations_without_improvement}. To continue, increase or remove "
                "early_stopping_patience."
            )
    save_model(run, run.output_dir / "final")
    complete_best(run)
    if run.data.encoder_cache and accelerator.is_main_process:
        run.data.encoder_cache.remove()
    accelerator.free_memory()


def train_steps(run: "Run") -> None:
    """Do the remaining steps, or stop early. Log, save and evaluate when it is time for it."""
    from utils.runtime.progress import audio_progress
    from utils.runtime.workers import replacing_dead_workers
    from utils.training.hours import fit_into_hours
    from utils.training.micro_batch_halving import within_memory
    from utils.training.step_loading import load_steps
    from utils.training.step_log import record_step
    from utils.training.updates import update_weights

    accelerator = run.accelerator
    with audio_progress("training", run.total_steps, shown=accelerator.is_main_process) as progress:
        progress.skip(run.state.step)
        for step, micro_batches in replacing_dead_workers(partial(load_steps, run), run.state.step):
            loss_sum = within_memory(run, step, micro_batches, compute_gradients)
            is_told_to_stop = run.stop_request.reason is not None
            update = update_weights(
                accelerator, run.model, run.optimizer, loss_sum, run.args.max_grad_norm, stop=is_told_to_stop
            )
            run.scheduler.step()

            record_step(run, step, update, run.scheduler.get_last_lr()[0], progress)
            is_replanned = not update.stop and fit_into_hours(run, step, progress)
            if save_and_evaluate(run, progress, stop=update.stop, is_replanned=is_replanned):
                break


def compute_gradients(
    run: "Run", micro_batches: "Sequence[Batch]", num_targets: int, *, exchange: bool = True
) -> "torch.Tensor":
    """Compute the gradients of a step's micro-batches. Each target token of the step has the same weight.

    The processes exchange gradients at the last micro-batch. This averages the gradients, so the loss is
    multiplied by `scale` to get their sum.

    Args:
        run: The run.
        micro_batches: This process's micro-batches.
        num_targets: Number of target tokens of the step, over all processes. The loss is the mean over them.
        exchange: Whether the processes exchange gradients.

    Returns:
        This process's summed loss, a detached scalar.
    """
    scale = run.accelerator.num_processes / num_targets
    losses = [
        backward_through(run, batch, scale, exchange=exchange and number == len(micro_batches))
        for number, batch in enumerate(micro_batches, start=1)
    ]
    return sum(losses[1:], losses[0])


def backward_through(run: "Run", batch: "Batch", scale: float, *, exchange: bool) -> "torch.Tensor":
    """Add the gradient of a micro-batch's loss times `scale` to the gradients. Return the summed loss."""
    from utils.model.silence import encoder_positions
    from utils.training.features import encoder_inputs
    from utils.training.updates import exchanging_gradients

    batch = batch.to(run.accelerator.device)
    with exchanging_gradients(run.accelerator, run.model, at_once=exchange):
        features, states = encoder_inputs(run, batch)
        context = encoder_positions(batch.context)
        loss_sum = run.model(features, batch.decoder_input_ids, batch.labels, states, context)
        run.accelerator.backward(loss_sum * scale)
    return loss_sum.detach()


def save_and_evaluate(run: "Run", progress: "AudioProgress", *, stop: bool, is_replanned: bool) -> bool:
    """Save and evaluate if it is time for it. End the process if it got a signal to stop.

    Returns:
        Whether training has finished.

    Raises:
        WriteError: The run got a signal to stop, but could not save its step.
    """
    from utils.training.checkpoints import enter_evaluation
    from utils.training.run import leave_to_be_continued
    from utils.training.step_saving import save_step
    from utils.training.validation import evaluate_and_keep_best

    args, accelerator, state = run.args, run.accelerator, run.state
    is_due = run.is_due(args.save_steps) or (is_replanned and args.save_steps > 0)
    saved = save_step(run) if is_due or stop else None
    if run.is_due(args.eval_steps) and not stop:
        with progress.paused():
            stop = not evaluate_and_keep_best(run)
        if saved and not stop:
            enter_evaluation(accelerator, run.output_dir, state)
    if saved is None and (stop or (run.patience_is_over and args.save_steps)):  # this is the last step
        saved = save_step(run)
    if stop and not saved:
        raise WriteError(
            f"told to stop at step {state.step}, but it could not be saved. The earlier checkpoint is kept."
        )
    if stop:
        leave_to_be_continued(accelerator, run.output_dir, state.step, run.stop_request)
    is_last = run.patience_is_over or state.step == run.total_steps
    for act in run.after_saving if saved and not is_last else ():
        act()
    return is_last


if __name__ == "__main__":
    with user_errors_end_the_script():
        main()
