"""Validate in the full context, and keep the best model."""

import time
from dataclasses import replace

from utils.model.transcription import CutShortError
from utils.runtime.errors import WriteError
from utils.runtime.out_of_memory import IN_EVALUATION, explaining_out_of_memory
from utils.scoring.error_rates import describe_rates
from utils.training.harm import PRESERVING, describe_harm
from utils.training.model_folders import keep_snapshot, save_model, whole_model
from utils.training.run import Run
from utils.training.samples import pick_samples
from utils.training.shared_decoding import ScoredRows, score_rows

SAMPLES_SHOWN = 3  # random transcripts per evaluation, in addition to the worst one


def evaluate_and_keep_best(run: Run) -> bool:
    """Decode the validation split in the full context.

    Save the model to best/ if its metric is the lowest so far. The model before training is evaluated, but
    never saved as the best.

    Returns:
        Whether the evaluation finished. If a process got a signal to stop, the evaluation is dropped.
    """
    args, state = run.args, run.state
    try:
        with explaining_out_of_memory(IN_EVALUATION):
            scored = validate(run)
    except CutShortError:
        return False
    state.evaluated_step = state.step
    value = scored.rates.of(args.metric_for_best_model)
    before = replace(state)
    is_best = state.count_evaluation(value, args.early_stopping_threshold)
    standing = "the best so far"
    if not state.step:
        standing = "before training"
    elif not is_best:
        where = "from the average" if state.best_step is None else f"at step {state.best_step}"
        standing = f"best: {100 * (state.best_metric or 0):.2f} % {where}"
    run.accelerator.print(
        f"step {state.step}, epoch {run.epoch:.2f}: {args.eval_split} loss {scored.loss:.3f}, "
        f"{describe_rates(scored.rates)} ({standing})"
    )
    if not state.step and (harm := describe_harm(scored.rates.normalized_wer)):
        run.accelerator.print(harm + ("" if args.guard_datasets else f" {PRESERVING}"))
    if is_best:
        try:
            save_model(run, run.output_dir / "best")
        except WriteError as error:
            state.take_back_evaluation(before)
            run.accelerator.print(f"step {state.step}: {error} Training continues.")
    if args.average_checkpoints and state.step:
        try:
            keep_snapshot(run, value)
        except WriteError as error:
            run.accelerator.print(f"step {state.step}: {error} Training continues.")
    return True


def validate(run: Run) -> ScoredRows:
    """Score the current model on the validation split, and log rates, loss and samples.

    Raises:
        CutShortError: A process got a signal to stop. All processes raise this.
    """
    args, started = run.args, time.perf_counter()
    whole = whole_model(run.accelerator, run.model)
    scored = score_rows(
        args, run.accelerator, whole, run.loaded.processor, run.data.validation, run.stop_request
    )
    seconds = time.perf_counter() - started
    run.clock.note("evaluation", seconds)
    shows_raw = args.metric_for_best_model.startswith("raw")
    samples = pick_samples(scored.utterances, SAMPLES_SHOWN, args.seed, raw=shows_raw)
    figures = {"epoch": run.epoch, "eval_loss": scored.loss, "eval_seconds": seconds}
    run.log.write_evaluation(run.state.step, scored.utterances, samples, figures)
    return scored


def evaluation_is_owed(run: Run) -> bool:
    """Check whether the run begins with an evaluation.

    It may be the one before training, or one that was interrupted.
    """
    if run.state.step == 0:
        return run.args.eval_on_start
    return run.state.evaluated_step < run.state.step and run.is_due(run.args.eval_steps)
