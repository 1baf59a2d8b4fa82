"""Model folders of a run: whole weights, whatever they are split over, with results and a card."""

import json
from copy import deepcopy
from pathlib import Path

from accelerate import Accelerator
from torch import nn
from transformers import WhisperForConditionalGeneration

from utils.arguments.train import TrainArguments
from utils.model.averaging import drop_snapshots, rank_evaluation, save_snapshot
from utils.model.loss import WhisperLoss
from utils.model.saving import RESULTS_FILE, build_model_card, save_model_folder
from utils.model.whisper import adapter_name, count_parameters, whisper_of
from utils.runtime.launch import failing_together, is_sharded
from utils.runtime.resolved_arguments import arguments_as_yaml
from utils.training.run import Run

SNAPSHOTS = "snapshots"  # folder of the weights that are to be averaged


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
    with failing_together():
        if whole is not None and run.accelerator.is_main_process:
            save_model_folder(
                folder,
                whole,
                run.loaded.processor,
                arguments_yaml=arguments_as_yaml(args),
                results=results,
                card=write_card(args, results, adapter=adapter_name(whole)),
            )


def keep_snapshot(run: Run, value: float) -> None:
    """Keep the weights for the average if this evaluation is among the best; drop what no longer is.

    Raises:
        WriteError: The disk refuses, on all processes alike; the snapshots before are kept.
    """
    state, folder = run.state, run.output_dir / SNAPSHOTS
    ranking = rank_evaluation(state.ranking, state.step, value, run.args.average_checkpoints)
    if state.step in dict(ranking):
        whole = whole_model(run.accelerator, run.model)
        with failing_together():
            if whole is not None and run.accelerator.is_main_process:
                save_snapshot(folder, state.step, whole)
    state.ranking = ranking
    if run.accelerator.is_main_process:
        drop_snapshots(folder, state.ranking)
    run.accelerator.wait_for_everyone()


def write_card(args: TrainArguments, results: dict, *, adapter: str | None) -> str:
    """The model card of a folder with these results."""
    return build_model_card(
        base_model=args.model_name_or_path,
        languages=[] if args.language == "auto" else [args.language],
        datasets=args.dataset,
        results=results,
        adapter=adapter,
    )


def read_training_results(folder: Path) -> dict:
    """What a model folder's train_results.json says."""
    return json.loads((folder / RESULTS_FILE).read_text(encoding="utf-8"))


def whole_model(accelerator: Accelerator, prepared: nn.Module) -> nn.Module | None:
    """The model that `WhisperLoss` holds, with all its weights; all processes call it.

    Without sharding this is the trained module itself, on every process. A sharded model is gathered into a
    copy on the main process, because decoding takes a different number of steps on each process and would
    hang; the others get None.
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
    """A model of the same shape, adapters included, with weights of its own."""
    from peft import PeftModel, get_peft_model

    whisper = whisper_of(model)
    copy = WhisperForConditionalGeneration(whisper.config)
    copy.generation_config = whisper.generation_config
    if not isinstance(model, PeftModel):
        return copy
    # A configuration of its own: PEFT enters there what the copy was loaded from, which is nothing.
    config = deepcopy(model.active_peft_config)
    config.base_model_name_or_path = None
    adapted = get_peft_model(copy, config)
    config.base_model_name_or_path = model.active_peft_config.base_model_name_or_path
    return adapted
