"""Load the model, and mark the parameters to train."""

from dataclasses import replace

import torch
from accelerate import Accelerator
from peft import PeftModel
from transformers import WhisperForConditionalGeneration

from utils.arguments.train import TrainArguments
from utils.model.adapters import add_adapter, describe_adapter
from utils.model.languages import add_language, check_languages
from utils.model.loading import LoadedModel, load_model
from utils.model.quantization import Quantization
from utils.model.whisper import allow_empty_texts, freeze, whisper_of
from utils.runtime.errors import UserError
from utils.runtime.launch import check_not_split


def load_trainable_model(args: TrainArguments, accelerator: Accelerator) -> LoadedModel:
    """Load the model and mark the parameters to train.

    The weights are in float32, except those of a quantised base.
    """
    quantization = choose_quantization(args, accelerator)
    loaded = load_model(args.model_name_or_path, keep_adapter=args.use_peft, quantization=quantization)
    new_tokens = []
    if args.add_language is not None:
        code = args.add_language
        if whisper_of(loaded.model) is not loaded.model:
            raise UserError(
                f"add_language {code} with use_peft: {args.model_name_or_path} is an adapter, and cannot get "
                "a new token. Remove use_peft, to merge the adapter and train all weights; or start a new "
                "adapter from its base model."
            )
        new_tokens = [add_language(loaded.model, loaded.processor, code, args.init_language_from)]
    languages = [] if args.language == "auto" else [args.language]
    check_languages(loaded.model, languages, args.model_name_or_path)
    model = mark_what_is_trained(args, accelerator, loaded.model, new_tokens)
    set_default_task(whisper_of(model), args.task)
    if args.non_speech_share:
        allow_empty_texts(model)
    if args.gradient_checkpointing:
        whisper_of(model).activation_checkpointing_enable({"use_reentrant": False})
    whisper_of(model).model.encoder.embed_positions.requires_grad_(False)  # fixed sinusoids in Whisper
    return replace(loaded, model=model)


def set_default_task(model: WhisperForConditionalGeneration, task: str) -> None:
    """Make this task the default of transformers' `generate`.

    Without a default, transformers 5 gives the decoder a language but no task. A tuned model has always been
    given a task, and repeats itself without one.
    """
    if getattr(model.generation_config, "is_multilingual", False):
        model.generation_config.task = task  # type: ignore[attr-defined]


def mark_what_is_trained(
    args: TrainArguments, accelerator: Accelerator, model: torch.nn.Module, new_tokens: list[int]
) -> torch.nn.Module:
    """Freeze parts of the model, or add an adapter. An adapter folder keeps its own adapter."""
    if not args.use_peft:
        model.requires_grad_(True)  # a merged adapter leaves its base frozen
        freeze(
            whisper_of(model),
            encoder=args.freeze_encoder,
            convolutions=args.freeze_feature_encoder,
            encoder_layers=args.freeze_encoder_layers,
        )
        return model

    if isinstance(model, PeftModel):
        accelerator.print(
            f"Training continues with the adapter {args.model_name_or_path}: {describe_adapter(model)}"
        )
        return model
    return add_adapter(whisper_of(model), args.model_name_or_path, args, new_tokens)


def choose_quantization(args: TrainArguments, accelerator: Accelerator) -> Quantization | None:
    """Return how to quantise the base of an adapter. Its weights are unpacked in the launcher's precision.

    Raises:
        UserError: An argument does not work with a model that is split over processes.
    """
    on_one_device = {
        "load_in_8bit": args.load_in_8bit,
        "load_in_4bit": args.load_in_4bit,
        "peft_type adalora": args.peft_type == "adalora",
        "optim adamw_bnb_8bit": args.optim == "adamw_bnb_8bit",
        "auto_find_batch_size": args.auto_find_batch_size,
    }
    check_not_split(accelerator, [name for name, is_asked in on_one_device.items() if is_asked])
    if not (args.load_in_8bit or args.load_in_4bit):
        return None
    dtypes = {"bf16": torch.bfloat16, "fp16": torch.float16}
    return Quantization(
        bits=8 if args.load_in_8bit else 4,
        device=accelerator.device,
        quant_type=args.bnb_4bit_quant_type,
        double_quant=args.bnb_4bit_use_double_quant,
        compute_dtype=dtypes.get(accelerator.mixed_precision, torch.float32),
    )
