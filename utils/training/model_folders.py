"""Save the model folders of a run: complete weights, results and a model card."""

import json
import time
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path

from accelerate import Accelerator
from torch import nn
from transformers import WhisperForConditionalGeneration

from utils.arguments.train import TrainArguments
from utils.model.averaging import drop_snapshots, rank_evaluation, save_snapshot
from utils.model.loss import WhisperLoss
from utils.model.saving import RESULTS_FILE, save_model_folder
from utils.model.whisper import adapter_name, count_parameters, whisper_of
from utils.runtime.files import write_failure, write_json, write_text
from utils.runtime.launch import describe_hardware, failing_together, is_sharded
from utils.runtime.resolved_arguments import arguments_as_yaml
from utils.training.card_facts import ModelFacts, adapter_kind, card_results
from utils.training.evaluation_history import METRICS_FILE
from utils.training.model_card import build_model_card
from utils.training.run import Run

SNAPSHOTS = "snapshots"  # folder of the weights to average


def save_model(run: Run, folder: Path) -> None:
    """Save the model (or its adapter) as a folder that `from_pretrained` loads.

    Raises:
        WriteError: The disk or its budget is full. An existing folder is kept. All processes raise this.
    """
    args, state = run.args, run.state
    whole = whole_model(run.accelerator, run.model)
    started = time.monotonic()
    results = {
        "step": state.step,
        "step_size": state.step_size,
        "metric_for_best_model": args.metric_for_best_model,
        "best_metric": state.best_metric,
        "best_step": state.best_step,
        "metric_before_training": state.first_metric,
        "audio_hours_trained_on": state.audio_seconds / 3600,
        "trainable_parameters": count_parameters(run.loaded.model)[0],
        "data": state.data,
        "validation": state.validation,
        "trained_on": describe_hardware(run.accelerator),
    }
    with failing_together():
        if whole is not None and run.accelerator.is_main_process:
            run.disk.budget.check_room(folder, run.disk.sizes.model)
            results |= card_results(args, run.output_dir / METRICS_FILE)
            save_model_folder(
                folder,
                whole,
                run.loaded.processor,
                arguments_yaml=arguments_as_yaml(args),
                results=results,
                card=write_card(args, results, adapter=adapter_name(whole)),
            )
    run.clock.note("model", time.monotonic() - started)


def complete_best(run: Run) -> None:
    """Add the evaluations after the best one to the results and the card of best/."""
    best = run.output_dir / "best"
    if not (run.accelerator.is_main_process and best.is_dir()):
        return
    results = read_training_results(best) | card_results(run.args, run.output_dir / METRICS_FILE)
    try:
        write_json(best / RESULTS_FILE, results)
        write_text(best / "README.md", write_card(run.args, results, adapter=adapter_kind(best)))
    except OSError as error:
        print(f"{best}: {write_failure(error)}. Its card has only the evaluations up to the best one.")


def keep_snapshot(run: Run, value: float) -> None:
    """Save the weights for averaging if this evaluation is among the best.

    Delete those that are not among the best any more.

    Raises:
        WriteError: The disk is full. Earlier snapshots are kept. All processes raise this.
    """
    state, folder = run.state, run.output_dir / SNAPSHOTS
    ranking = rank_evaluation(state.ranking, state.step, value, run.args.average_checkpoints)
    if state.step in dict(ranking):
        whole = whole_model(run.accelerator, run.model)
        with failing_together():
            if whole is not None and run.accelerator.is_main_process:
                run.disk.budget.check_room(folder, run.disk.sizes.model)
                save_snapshot(folder, state.step, whole)
    state.ranking = ranking
    if run.accelerator.is_main_process:
        drop_snapshots(folder, state.ranking)
    run.accelerator.wait_for_everyone()


def write_card(args: TrainArguments, results: dict, *, adapter: str | None) -> str:
    """Return the model card for these results."""
    return build_model_card(ModelFacts(asdict(args), results, adapter))


def read_training_results(folder: Path) -> dict:
    """Read train_results.json of a model folder."""
    return json.loads((folder / RESULTS_FILE).read_text(encoding="utf-8"))


def whole_model(accelerator: Accelerator, prepared: nn.Module) -> nn.Module | None:
    """Return the model with all its weights, without the `WhisperLoss` around it.

    All processes must call this. Without sharding, every process gets the trained module. A sharded model is
    gathered into a copy on the main process, and the other processes get None. They cannot decode together
    with a sharded model: each needs another number of decoding steps, so they would wait for each other
    forever.
    """
    loss: WhisperLoss = accelerator.unwrap_model(prepared)
    if not is_sharded(accelerator):
        return loss.model
    weights = accelerator.get_state_dict(prepared)
    if not accelerator.is_main_process:
        return None
    copy = _empty_copy(loss.model)
    copy.load_state_dict({name.removeprefix("model."): value for name, value in weights.items()})
    return copy.to(accelerator.device)


def _empty_copy(model: nn.Module) -> nn.Module:
    """Return a new model of the same shape, with adapters."""
    from peft import PeftModel, get_peft_model

    whisper = whisper_of(model)
    copy = WhisperForConditionalGeneration(whisper.config)
    copy.generation_config = whisper.generation_config
    if not isinstance(model, PeftModel):
        return copy
    # A copy of the configuration, because PEFT overwrites the name of the base model in it.
    config = deepcopy(model.active_peft_config)
    config.base_model_name_or_path = None
    adapted = get_peft_model(copy, config)
    config.base_model_name_or_path = model.active_peft_config.base_model_name_or_path
    return adapted
