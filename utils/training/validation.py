"""Validation in the full context, and what is kept of the best models."""

import time
from dataclasses import replace
from pathlib import Path

from utils.arguments.train import TrainArguments
from utils.model.averaging import drop_snapshots, rank_evaluation, save_snapshot
from utils.model.model_card import build_model_card
from utils.model.saving import save_model_folder
from utils.model.transcription import CutShortError
from utils.model.whisper import adapter_name, count_parameters
from utils.runtime.errors import WriteError
from utils.runtime.out_of_memory import IN_EVALUATION, explaining_out_of_memory
from utils.runtime.processes import failing_together
from utils.runtime.resolved_arguments import arguments_as_yaml
from utils.scoring.error_rates import ErrorRates, describe_rates, error_rates, score_utterances
from utils.training.mixing import SNAPSHOTS
from utils.training.run import Run
from utils.training.samples import pick_samples
from utils.training.shared_decoding import transcribe_on_all_processes
from utils.training.whole_model import whole_model


def evaluate_and_keep_best(run: Run) -> bool:
    """Decode the validation split in the full context; save to best/ what has the lowest metric.

    The model before training is measured, but never the best.

    Returns:
        Whether it came to its end; it is left, and counts for nothing, where some process is asked to stop.
    """
    args, state = run.args, run.state
    try:
        with explaining_out_of_memory(IN_EVALUATION):
            rates = validate(run)
    except CutShortError:
        return False
    state.evaluated_step = state.step
    value = rates.of(args.metric_for_best_model)
    before = replace(state)
    is_best = state.count_evaluation(value, args.early_stopping_threshold)
    standing = "the best so far"
    if not state.step:
        standing = "before training"
    elif not is_best:
        where = "of the average" if state.best_step is None else f"at step {state.best_step}"
        standing = f"best: {100 * (state.best_metric or 0):.2f} % {where}"
    run.accelerator.print(f"step {state.step}: validation {describe_rates(rates)} ({standing})")
    if is_best:
        try:
            save_model(run, run.output_dir / "best")
        except WriteError as error:
            state.take_back_evaluation(before)
            run.accelerator.print(f"step {state.step}: {error} Training goes on.")
    if args.average_checkpoints and state.step:
        try:
            keep_snapshot(run, value)
        except WriteError as error:
            run.accelerator.print(f"step {state.step}: {error} Training goes on.")
    return True


def validate(run: Run) -> ErrorRates:
    """Error rates of the model as it is, written down with samples.

    Raises:
        CutShortError: On all processes, where one is asked to stop.
    """
    args, rows = run.args, run.data.validation
    started = time.perf_counter()
    hypotheses = transcribe_on_all_processes(
        run.accelerator,
        whole_model(run.accelerator, run.model),
        run.loaded.processor,
        rows,
        batch_size=args.per_device_eval_batch_size,
        max_length=args.generation_max_length,
        task=args.task,
        cut_short=lambda: run.stop_request.reason is not None,
    )
    seconds = time.perf_counter() - started
    scored = score_utterances(list(rows["id"]), list(rows["text"]), hypotheses, args.normalizer)
    shows_raw = args.metric_for_best_model.startswith("raw")
    samples = pick_samples(scored, args.samples_shown, args.seed, raw=shows_raw)
    run.log.write_evaluation(run.state.step, scored, seconds, samples)
    return error_rates(scored)


def evaluation_is_owed(run: Run) -> bool:
    """Whether the run begins with an evaluation: of the model before training, or one that was cut short."""
    if run.state.step == 0:
        return run.args.eval_on_start
    return run.state.evaluated_step < run.state.step and run.is_due(run.args.eval_steps)


def keep_snapshot(run: Run, value: float) -> None:
    """Keep the weights for the average if this evaluation is among the best; drop what no longer is.

    Raises:
        WriteError: The disk refuses, on all processes alike; the snapshots before are kept.
    """
    state, folder = run.state, run.output_dir / SNAPSHOTS
    ranking = rank_evaluation(state.ranking, state.step, value, run.args.average_checkpoints)
    if state.step in dict(ranking):
        whole = whole_model(run.accelerator, run.model)
        with failing_together(run.accelerator):
            if whole is not None and run.accelerator.is_main_process:
                save_snapshot(folder, state.step, whole)
    state.ranking = ranking
    if run.accelerator.is_main_process:
        drop_snapshots(folder, state.ranking)
    run.accelerator.wait_for_everyone()


def save_model(run: Run, folder: Path) -> None:
    """Write the model (or its adapter) as a folder that `from_pretrained` loads.

    Raises:
        WriteError: The disk refuses, on all processes alike; a folder that was there before is kept.
    """
    args, state = run.args, run.state
    whole = whole_model(run.accelerator, run.model)
    results = {
        "step": state.step,
        "metric_for_best_model": args.metric_for_best_model,
        "best_metric": state.best_metric,
        "best_step": state.best_step,
        "metric_before_training": state.first_metric,
        "audio_hours_trained_on": state.audio_seconds / 3600,
        "trainable_parameters": count_parameters(run.loaded.model)[0],
        "data": state.data,
        "validation": state.validation,
    }
    with failing_together(run.accelerator):
        if whole is not None and run.accelerator.is_main_process:
            save_model_folder(
                folder,
                whole,
                run.loaded.processor,
                arguments_yaml=arguments_as_yaml(args),
                results=results,
                card=write_card(args, results, adapter=adapter_name(whole)),
            )


def write_card(args: TrainArguments, results: dict, *, adapter: str | None) -> str:
    """The model card of a folder with these results."""
    return build_model_card(
        base_model=args.model_name_or_path,
        languages=[] if args.language == "auto" else [args.language],
        datasets=args.dataset,
        results=results,
        adapter=adapter,
    )
