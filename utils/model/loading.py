"""Load a Whisper model in any form, with the information that scoring needs."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import torch
import yaml
from safetensors import SafetensorError
from torch import nn
from transformers import GenerationConfig, WhisperForConditionalGeneration, WhisperProcessor

from utils.model.ctranslate2.settings import MULTILINGUAL_VOCAB_SIZE, language_settings
from utils.model.languages import language_ids
from utils.model.leaks import leak_warnings
from utils.model.quantization import (
    Quantization,
    bitsandbytes_config,
    dequantized,
    keep_trainable_after_decoding,
    quantization_in_training,
)
from utils.model.resolving import resolve_model
from utils.model.saving import ARGUMENTS_FILE, RESULTS_FILE, ranks_of_zero_are_meant
from utils.model.silence import SILENCE_RUN
from utils.model.whisper import count_parameters, whisper_of
from utils.runtime.errors import UserError


@dataclass(frozen=True)
class LoadedModel:
    """A model with the information that scoring needs."""

    model: nn.Module  # WhisperForConditionalGeneration, or a PeftModel around one
    processor: WhisperProcessor
    dynamic_context: bool  # trained on short contexts, so it can be decoded in them
    trainable_parameters: int | None  # in the run that made it; None if unknown
    total_parameters: int
    silence_run: int | None = None  # used in its training, see `encode`; None if unknown
    warnings: list[str] = field(default_factory=list)  # why scores of this model are too good

    @property
    def decoding_silence_run(self) -> int:
        """Return the value for a dynamic context.

        It is the value used in training. Untuned models get one that suits them.
        """
        return SILENCE_RUN if self.silence_run is None else self.silence_run


def load_model(
    name_or_path: str,
    *,
    dtype: torch.dtype = torch.float32,
    keep_adapter: bool = False,
    quantization: Quantization | None = None,
) -> LoadedModel:
    """Load a Hub id, a model folder, an adapter folder or a faster-whisper folder.

    Args:
        name_or_path: The name that the user gave.
        dtype: Precision of the weights.
        keep_adapter: Keep an adapter separate and trainable, instead of merging it into the weights.
        quantization: Quantise the linear layers of the base. This needs `keep_adapter`, because adapters are
            merged only into weights that are not quantised. An adapter that was trained on a quantised base
            is merged into the unpacked quantised weights: it has learnt to correct their rounding.

    Raises:
        UserError: There is no loadable model, or model and processor do not belong together.
    """
    resolved = resolve_model(name_or_path)
    try:
        processor = WhisperProcessor.from_pretrained(resolved)
        if (Path(resolved) / "adapter_config.json").exists():
            model = _load_adapter(Path(resolved), processor, dtype, keep_adapter, quantization)
        else:
            model = _load_whisper(resolved, dtype, quantization)
    except (OSError, ValueError, TypeError, RuntimeError, SafetensorError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(
            f"{name_or_path}: not loadable as a Whisper model: {reason} "
            "Expected a Hub id, or a folder with config.json, weights and the tokenizer's files."
        ) from None
    _check_pair(name_or_path, whisper_of(model), processor)
    _complete_generation_config(whisper_of(model), processor)
    arguments = read_training_arguments(resolved)
    results = _read_if_there(Path(resolved) / RESULTS_FILE, json.loads)
    return LoadedModel(
        model,
        processor,
        dynamic_context=arguments.get("audio_context") == "dynamic",
        trainable_parameters=results.get("trainable_parameters"),
        total_parameters=count_parameters(model)[1],
        silence_run=arguments.get("silence_run") if arguments.get("audio_context") == "dynamic" else None,
        warnings=leak_warnings(arguments),
    )


def _load_whisper(
    name: str, dtype: torch.dtype, quantization: Quantization | None
) -> WhisperForConditionalGeneration:
    options: dict = {}
    if quantization is not None:
        options["quantization_config"] = bitsandbytes_config(quantization)
        options["device_map"] = {"": quantization.device}
    model = WhisperForConditionalGeneration.from_pretrained(name, dtype=dtype, **options)
    keep_trainable_after_decoding(model)
    return model


def _load_adapter(
    folder: Path,
    processor: WhisperProcessor,
    dtype: torch.dtype,
    keep_adapter: bool,
    quantization: Quantization | None,
) -> nn.Module:
    from peft import PeftConfig, PeftModel

    base_name = resolve_model(str(PeftConfig.from_pretrained(str(folder)).base_model_name_or_path))
    trained_on = None if keep_adapter else quantization_in_training(read_training_arguments(str(folder)))
    if trained_on is None:
        base = _load_whisper(base_name, dtype, quantization)
    else:
        base = dequantized(_load_whisper(base_name, torch.float32, trained_on))
    if len(processor.tokenizer) > base.config.vocab_size:  # a language was added; the adapter has its row
        base.resize_token_embeddings(len(processor.tokenizer), mean_resizing=False)
    if (folder / "generation_config.json").exists():
        base.generation_config = GenerationConfig.from_pretrained(folder)
    with ranks_of_zero_are_meant():
        model = PeftModel.from_pretrained(base, str(folder), is_trainable=keep_adapter)
    return model if keep_adapter else model.merge_and_unload().to(dtype)


def _check_pair(name: str, model: WhisperForConditionalGeneration, processor: WhisperProcessor) -> None:
    found, expected = processor.feature_extractor.feature_size, model.config.num_mel_bins
    if found != expected:
        raise UserError(
            f"{name}: the processor makes {found} mel bins, the model expects {expected}. "
            "Copy the processor's files from the model it was derived from."
        )
    if len(processor.tokenizer) > model.config.vocab_size:
        raise UserError(
            f"{name}: the tokenizer has {len(processor.tokenizer)} tokens, the model "
            f"{model.config.vocab_size}. Copy the tokenizer's files from the model it was derived from."
        )
    config, ids = model.generation_config, processor.tokenizer.get_vocab()
    wanted = {
        "<|startoftranscript|>": model.config.decoder_start_token_id,
        "<|endoftext|>": model.config.eos_token_id,
        "<|notimestamps|>": getattr(config, "no_timestamps_token_id", None),
        **{f"<|{code}|>": number for code, number in language_ids(model).items()},
    }
    for token, expected_id in wanted.items():
        if expected_id is not None and ids.get(token) != expected_id:
            raise UserError(
                f"{name}: {token} is number {ids.get(token, 'none')} of the tokenizer, the model expects "
                f"{expected_id}. Copy the tokenizer's files from the model it was derived from."
            )


def _complete_generation_config(model: WhisperForConditionalGeneration, processor: WhisperProcessor) -> None:
    """Add the language ids to a multilingual model's generation config if they are missing.

    Configs from old versions of transformers do not have them. Then a multilingual model would be taken for
    an English-only one.
    """
    config, ids = model.generation_config, processor.tokenizer.get_vocab()
    is_multilingual = model.config.vocab_size >= MULTILINGUAL_VOCAB_SIZE
    if is_multilingual and not getattr(config, "lang_to_id", None):
        settings: dict[str, object] = {**language_settings(ids)}
        settings |= {"no_timestamps_token_id": ids["<|notimestamps|>"], "is_multilingual": True}
        for name, value in settings.items():  # `update` would ignore what the configuration does not have
            setattr(config, name, value)


def read_training_arguments(folder: str) -> dict:
    """Read the arguments of train.py from a model folder. Empty for a model that train.py did not make."""
    return _read_if_there(Path(folder) / ARGUMENTS_FILE, yaml.safe_load)


def _read_if_there(path: Path, parse) -> dict:
    return parse(path.read_text(encoding="utf-8")) if path.exists() else {}
