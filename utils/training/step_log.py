"""Count, log and report each optimiser step."""

import hashlib

from utils.runtime.devices import peak_memory_bytes
from utils.runtime.errors import UserError
from utils.runtime.progress import AudioProgress
from utils.training.run import Run
from utils.training.steps import Step
from utils.training.updates import Update

MOST_SKIPPED_IN_A_ROW = 5


def record_step(run: Run, step: Step, update: Update, learning_rate: float, progress: AudioProgress) -> None:
    """Record a step in the state, in the progress bar and, if it is time, in metrics.jsonl.

    Raises:
        UserError: Too many steps in a row were skipped.
    """
    count_step(run, step, update)
    if update.skipped:
        tell_skipped_step(run, step, update)
    progress.advance(1, step.audio_seconds, f"loss {run.state.mean_loss:.3f}  lr {learning_rate:.1e}")
    if run.is_due(run.args.logging_steps):
        log_step(run, step, update, learning_rate, progress.audio_seconds_per_second)


def count_step(run: Run, step: Step, update: Update) -> None:
    """Count a step in the training state. A skipped step adds no loss and no audio."""
    state = run.state
    state.step = step.number + 1
    if update.skipped:
        state.skipped_steps += 1
        state.skipped_in_a_row += 1
    else:
        state.skipped_in_a_row = 0
        state.loss_sum += update.loss_sum
        state.loss_tokens += step.num_targets
        state.audio_seconds += step.audio_seconds
        state.padded_seconds += step.padded_seconds
    ids = "\n".join(run.data.ids_of(step))
    state.order = hashlib.sha256(f"{state.order}\n{ids}".encode()).hexdigest()[:16]


def tell_skipped_step(run: Run, step: Step, update: Update) -> None:
    """Report a skipped step and its clips, because one of the clips may be the cause.

    Raises:
        UserError: Too many steps in a row were skipped.
    """
    state, ids = run.state, " ".join(run.data.ids_of(step))
    found = f"the loss is {update.loss_sum}, the gradient norm {update.grad_norm}"
    run.log.write(state.step, skipped_steps=state.skipped_steps, skipped_ids=ids)
    if state.skipped_in_a_row == 1:
        run.accelerator.print(
            f"step {state.step}: {found}. The step is skipped and the weights stay the same. Its clips: {ids}"
        )
    if state.skipped_in_a_row >= MOST_SKIPPED_IN_A_ROW:
        raise UserError(
            f"step {state.step}: {found}; {state.skipped_in_a_row} steps in a row were skipped. "
            "The last checkpoint is kept. Lower learning_rate, increase warmup_steps, or train without fp16. "
            f"If the clips are always the same (skipped_ids in {run.output_dir}/metrics.jsonl), check them."
        )


def log_step(run: Run, step: Step, update: Update, learning_rate: float, rate: float) -> None:
    """Write one training record, and reset the mean loss."""
    state = run.state
    run.log.write(
        state.step,
        epoch=run.epoch,
        loss=state.mean_loss,
        learning_rate=learning_rate,
        grad_norm=update.grad_norm,
        skipped_steps=state.skipped_steps,
        audio_context=step.context,
        audio_seconds=state.audio_seconds,
        audio_seconds_per_second=rate,
        padding_share=state.padding_share,
        peak_memory_bytes=peak_memory_bytes(),
        order=state.order,
    )
    state.loss_sum, state.loss_tokens = 0.0, 0
