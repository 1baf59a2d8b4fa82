"""The settings of a training that matter to readers of its model card; train.yaml has all of them."""

from collections.abc import Iterator, Mapping
from dataclasses import fields

from utils.arguments.train import (
    ContextFlags,
    DataFlags,
    ModelFlags,
    OptimizerFlags,
    StepFlags,
    TrainArguments,
)
from utils.audio.augmentation_options import Augmentation, NonSpeech, SpecAugment
from utils.data.delivery.cards import without_folders
from utils.runtime.resolved_arguments import default_of
from utils.training.card_facts import ModelFacts

ADAPTER_NAMES = {"lora": "LoRA", "dora": "DoRA", "adalora": "AdaLoRA"}

_GROUPS = (
    ModelFlags,
    DataFlags,
    StepFlags,
    OptimizerFlags,
    ContextFlags,
    Augmentation,
    SpecAugment,
    NonSpeech,
)

_TOLD_ELSEWHERE = (
    *("model_name_or_path", "task", "dataset", "language", "dataloader_num_workers", "torch_compile"),
    *("num_train_epochs", "max_steps", "per_device_train_batch_size", "gradient_accumulation_steps"),
    *("learning_rate", "lr_scheduler_type", "warmup_steps", "weight_decay", "audio_context", "silence_run"),
)


def list_settings(facts: ModelFacts) -> list[tuple[str, str]]:
    """Return pairs of a name and a value: always the usual ones, others only if they are not the default."""
    arguments, results = facts.arguments, facts.results
    rows = [("trained", ", ".join(_trained(facts)))]
    if "step" in results:
        size = f" of {results['step_size']}" if results.get("step_size") else ""
        rows.append(("steps", f"{results['step']:,}{size}"))
    if "audio_hours_trained_on" in results:
        rows.append(("audio heard, all epochs together", f"{results['audio_hours_trained_on']:.2f} h"))
    rate = [f"{arguments[name]:g}" for name in ("learning_rate",) if name in arguments]
    rate += [str(arguments["lr_scheduler_type"])] if "lr_scheduler_type" in arguments else []
    rate += [f"warm-up {arguments['warmup_steps']:g}"] if "warmup_steps" in arguments else []
    rate += [f"weight decay {arguments['weight_decay']:g}"] if arguments.get("weight_decay") else []
    rows.append(("learning rate", ", ".join(rate)))
    rows.append(("audio context", _context(arguments)))
    if results.get("trained_on"):
        rows.append(("hardware", str(results["trained_on"])))
    return [*rows, *_others(arguments)]


def _trained(facts: ModelFacts) -> Iterator[str]:
    arguments, count = facts.arguments, facts.results.get("trainable_parameters")
    if not arguments.get("use_peft"):
        yield "the weights of the model"
    else:
        kind = "dora" if arguments.get("use_dora") else str(arguments.get("peft_type"))
        merged = "" if facts.adapter else ", merged into the weights"
        yield f"a {ADAPTER_NAMES.get(kind, kind)} adapter{merged}"
        yield f"rank {arguments.get('lora_r')}, alpha {arguments.get('lora_alpha')}"
        yield f"dropout {arguments.get('lora_dropout')}"
        yield f"on {' '.join(map(str, arguments.get('lora_target_modules') or []))}"
        bits = [bits for bits in ("8bit", "4bit") if arguments.get(f"load_in_{bits}")]
        yield from (f"base model in {name.removesuffix('bit')} bits" for name in bits)
    if count is not None:
        yield f"{count:,} parameters"


def _context(arguments: Mapping) -> str:
    if arguments.get("audio_context", "full") != "dynamic":
        return "full, 30 s"
    run = arguments.get("silence_run")
    behind = f", the silence up to 30 s condensed {run} to 1" if run else ", no silence behind them"
    return f"dynamic: as long as the clips{behind}"


def _others(arguments: Mapping) -> Iterator[tuple[str, str]]:
    """Yield what differs from the defaults, by the names of train.py."""
    known = {name for group in _GROUPS for name in group.__annotations__} - {*_TOLD_ELSEWHERE, "group_name"}
    for field in fields(TrainArguments):
        value = arguments.get(field.name, default_of(field))
        if field.name in known and value != default_of(field):
            shown = without_folders(value)
            yield field.name, " ".join(map(str, shown)) if isinstance(shown, list) else str(shown)
