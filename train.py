"""Fine-tune Whisper on prepared datasets; ends in an ordinary Hugging Face model folder.

On a CPU:
    accelerate launch --config_file accelerate_configs/cpu.yaml train.py \\
        --model_name_or_path openai/whisper-base --dataset data/it --language it --output_dir runs/it

A LoRA adapter on one NVIDIA GPU:
    accelerate launch --config_file accelerate_configs/single_gpu.yaml train.py --use_peft \\
        --learning_rate 1e-3 --model_name_or_path openai/whisper-small --dataset data/it --language it \\
        --output_dir runs/it-small-lora

By a recipe, whose arguments the command line overrides:
    accelerate launch --config_file accelerate_configs/cpu.yaml train.py --config recipes/starter.yaml
"""

import os
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from utils.arguments.parsing import parse_arguments
from utils.arguments.train import TrainArguments
from utils.runtime.errors import user_errors_end_the_script

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator

    from utils.runtime.interruption import StopRequest
    from utils.training.run import Run


def main(argv: list[str] | None = None) -> None:
    args = parse_arguments(TrainArguments, argv, __doc__)
    output_dir = Path(args.output_dir)
    os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")  # read when torch is imported
    if args.dry_run:
        from utils.runtime.out_of_memory import explaining_out_of_memory
        from utils.training.rehearsal import rehearse

        with explaining_out_of_memory():
            rehearse(args)
        return
    from utils.training.resuming import is_finished
    from utils.training.weight_mixing import mix_weights, mixing_left

    is_trained = is_finished(args, output_dir)
    if is_trained and not any(mixing_left(args, output_dir)):
        print(f"{output_dir / 'final'} is there already, trained with these arguments. Next: evaluate.py")
        return

    from utils.runtime.interruption import forget_interruption, remembering_signals
    from utils.runtime.locking import sole_run_in
    from utils.runtime.progress import output_that_may_be_lost, silence_libraries
    from utils.training.mixing import describe_run
    from utils.training.run_log import end_training
    from utils.training.setup import start_accelerator

    with sole_run_in(output_dir), output_that_may_be_lost(), remembering_signals() as stop_request:
        forget_interruption(output_dir)
        silence_libraries()
        accelerator = start_accelerator(args)
        if not is_trained:
            fine_tune(args, accelerator, stop_request)
        mix_weights(args, accelerator, stop_request)
        end_training(accelerator)
        accelerator.print(describe_run(output_dir))


def fine_tune(args: TrainArguments, accelerator: "Accelerator", stop_request: "StopRequest") -> None:
    """Train from the start or the newest checkpoint to the end; leaves best/ and final/."""
    from utils.runtime.out_of_memory import explaining_out_of_memory
    from utils.training.checkpoint_search import (
        check_not_beyond,
        check_same_plan,
        find_checkpoint_together,
        origin_of,
    )
    from utils.training.checkpoints import load_checkpoint
    from utils.training.micro_batch_trial import try_largest_step
    from utils.training.mixing import forget_mixtures
    from utils.training.optimizers import settings_kept
    from utils.training.resuming import FREE_ARGUMENTS, take_up_what_is_kept
    from utils.training.run import Run, announce, leave_to_be_continued
    from utils.training.run_log import RunLog
    from utils.training.setup import build_setup
    from utils.training.state import TrainingState
    from utils.training.validation import (
        evaluate_and_keep_best,
        evaluation_is_owed,
        patience_is_over,
        save_model,
    )

    output_dir = Path(args.output_dir)
    told = {name: value for name, value in asdict(args).items() if name not in FREE_ARGUMENTS}
    origin = origin_of(args.resume_from_checkpoint, told)
    checkpoint = find_checkpoint_together(accelerator, output_dir, args.resume_from_checkpoint, origin)
    with explaining_out_of_memory():
        setup = build_setup(args, accelerator)

    with settings_kept(setup.optimizer, setup.scheduler):
        state = load_checkpoint(accelerator, checkpoint) if checkpoint else TrainingState()
    step_size = str(setup.data.plan.size)
    if checkpoint:
        check_not_beyond(checkpoint, state, setup.total_steps)
    if checkpoint and args.resume_from_checkpoint is None:
        check_same_plan(checkpoint, state, step_size, setup.data.digest)
    state.step_size, state.data = step_size, setup.data.digest
    if args.auto_find_batch_size:
        try_largest_step(setup, state)
    loaded, data, total_steps = setup.loaded, setup.data, setup.total_steps
    state.judge_by(args.metric_for_best_model, data.validation_digest)
    state.origin = origin or state.origin
    if checkpoint:
        take_up_what_is_kept(
            state,
            output_dir,
            is_own=checkpoint.parent.resolve() == output_dir.resolve(),
            goes_its_own_way=args.resume_from_checkpoint is not None,
        )
    log = RunLog(output_dir, accelerator)
    log.drop_after(state.step if checkpoint else -1, state.evaluated_step)
    log.start_trackers(args.project, asdict(args), state.step)
    announce(args, accelerator, loaded, data, total_steps, state.step)

    forget_mixtures(accelerator, output_dir)
    run = Run(args, accelerator, loaded, setup.model, data, state, log, stop_request)
    with explaining_out_of_memory():
        if evaluation_is_owed(args, state, total_steps) and not evaluate_and_keep_best(run):
            leave_to_be_continued(accelerator, output_dir, state.step, stop_request)
        if not patience_is_over(args, state):
            train_steps(run, setup.optimizer, setup.scheduler, total_steps)
        elif state.step < total_steps:
            accelerator.print(
                f"Training ended at step {state.step}: the last {state.evaluations_without_improvement} "
                "evaluations were no better. To go on, give a higher early_stopping_patience, or none."
            )
    save_model(run, output_dir / "final")
    if data.encoder_states and accelerator.is_main_process:
        data.encoder_states.remove()
    accelerator.free_memory()


def train_steps(
    run: "Run",
    optimizer: "torch.optim.Optimizer",
    scheduler: "torch.optim.lr_scheduler.LRScheduler",
    total_steps: int,
) -> None:
    """Do the steps that are left, until all are done or nothing gets better; log, evaluate, save when due."""
    from utils.runtime.progress import audio_progress
    from utils.runtime.workers import replacing_dead_workers
    from utils.training.checkpoints import enter_evaluation, save_checkpoint
    from utils.training.gradients import accumulate_gradients
    from utils.training.micro_batch_halving import accumulate_within_memory
    from utils.training.options import choose_spec_augment
    from utils.training.run import (
        check_saved,
        count_step,
        is_due,
        leave_to_be_continued,
        log_training,
        tell_skipped_step,
    )
    from utils.training.step_loading import load_steps
    from utils.training.updates import update_weights
    from utils.training.validation import evaluate_and_keep_best, patience_is_over

    args, accelerator, state, stop_request = run.args, run.accelerator, run.state, run.stop_request
    with audio_progress("training", total_steps, shown=accelerator.is_main_process) as progress:
        progress.skip(state.step)
        masking = choose_spec_augment(args)
        steps_from = partial(load_steps, args, accelerator, run.data, run.loaded, last=total_steps)
        for step, micro_batches in replacing_dead_workers(steps_from, state.step):
            backward = partial(
                accumulate_gradients,
                accelerator,
                run.model,
                num_tokens=step.num_targets,
                loaded=run.loaded,
                masking=masking,
                kept=run.data.encoder_states,
            )
            if args.auto_find_batch_size:
                loss_sum = accumulate_within_memory(
                    accelerator, run.model, state, step, micro_batches, backward
                )
            else:
                loss_sum = backward(micro_batches)
            update = update_weights(
                accelerator,
                run.model,
                optimizer,
                loss_sum,
                args.max_grad_norm,
                stop=bool(stop_request.reason),
            )
            scheduler.step()

            count_step(state, step, run.data, update)
            if update.skipped:
                tell_skipped_step(run, step, update)
            loss, learning_rate = state.mean_loss, scheduler.get_last_lr()[0]
            progress.advance(1, step.audio_seconds, f"loss {loss:.3f}  lr {learning_rate:.1e}")
            if is_due(state.step, args.logging_steps, total_steps):
                rate = progress.audio_seconds_per_second
                log_training(run.log, state, step, learning_rate, update.grad_norm, rate)
            stop, saved = update.stop, False
            save = partial(save_checkpoint, accelerator, run.output_dir, state, args.save_total_limit)
            saves = is_due(state.step, args.save_steps, total_steps) or stop
            if saves:
                saved = save()
            if is_due(state.step, args.eval_steps, total_steps) and not stop:
                with progress.paused():
                    stop = not evaluate_and_keep_best(run)
                if saved and not stop:
                    enter_evaluation(accelerator, run.output_dir, state)
            if patience_is_over(args, state):
                total_steps = state.step  # what is due at the end is due now
            if not saves and (stop or is_due(state.step, args.save_steps, total_steps)):
                saved = save()
            if stop:
                check_saved(state, saved)
                leave_to_be_continued(accelerator, run.output_dir, state.step, stop_request)
            if state.step == total_steps:
                break


if __name__ == "__main__":
    with user_errors_end_the_script():
        main()
