"""Whisper itself: loading any form of it, the encoder at any length, the loss, saving."""

import contextlib
import json
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
import yaml
from safetensors import SafetensorError
from torch import nn
from transformers import GenerationConfig, WhisperForConditionalGeneration, WhisperProcessor
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from utils.attention import mask_cross_attention
from utils.compilation import uncompiled
from utils.cross_entropy import summed_cross_entropy
from utils.ctranslate2 import MULTILINGUAL_VOCAB_SIZE, language_settings
from utils.errors import UserError
from utils.files import folder_written_whole, write_json, write_text
from utils.labels import IGNORED
from utils.onednn import ANY_SIZE, Multiples
from utils.quantization import Quantization, bitsandbytes_config, keep_trainable_after_decoding, true_size
from utils.silence import SILENCE_RUN, CondensedSilence, condense, extend_features
from utils.starter import resolve_model

ARGUMENTS_FILE = "train.yaml"
RESULTS_FILE = "train_results.json"


@dataclass(frozen=True)
class LoadedModel:
    """A model with what scoring it needs to know."""

    model: nn.Module  # WhisperForConditionalGeneration, or a PeftModel around one
    processor: WhisperProcessor
    dynamic_context: bool  # trained on short contexts, so that it may be decoded in them
    trainable_parameters: int | None  # of the run that made it; None where that is not known
    total_parameters: int
    silence_run: int | None = None  # that it was trained with, see `encode`; None where that is not known

    @property
    def decoding_silence_run(self) -> int:
        """For a dynamic context: what it was trained with, else what an untuned model hears well with."""
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
        name_or_path: What the user gave.
        dtype: Precision of the weights.
        keep_adapter: Leave an adapter in place, trainable, instead of merging it into the weights.
        quantization: Quantise the linear layers, those of the base of an adapter; needs `keep_adapter`, since
            adapters are merged into whole weights only.

    Raises:
        UserError: Nothing loadable is there, or model and processor do not belong together.
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
        # older runs of ours do not name it, and had none
        silence_run=arguments.get("silence_run", 0) if arguments.get("audio_context") == "dynamic" else None,
    )


def _load_whisper(
    name: str, dtype: torch.dtype, quantization: Quantization | None
) -> WhisperForConditionalGeneration:
    if quantization is None:
        return WhisperForConditionalGeneration.from_pretrained(name, dtype=dtype)
    model = WhisperForConditionalGeneration.from_pretrained(
        name,
        dtype=dtype,
        quantization_config=bitsandbytes_config(quantization),
        device_map={"": quantization.device},
    )
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

    base_name = PeftConfig.from_pretrained(str(folder)).base_model_name_or_path
    base = _load_whisper(resolve_model(str(base_name)), dtype, quantization)
    if len(processor.tokenizer) > base.config.vocab_size:  # a language was added; the adapter has its row
        base.resize_token_embeddings(len(processor.tokenizer), mean_resizing=False)
    if (folder / "generation_config.json").exists():
        base.generation_config = GenerationConfig.from_pretrained(folder)
    with _ranks_of_zero_are_meant():
        model = PeftModel.from_pretrained(base, str(folder), is_trainable=keep_adapter)
    return model if keep_adapter else model.merge_and_unload()


@contextlib.contextmanager
def _ranks_of_zero_are_meant() -> Iterator[None]:
    """Keep PEFT from taking the layers that AdaLoRA has left without a rank for a broken adapter."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The following rank_pattern keys did not match")
        warnings.filterwarnings("ignore", message=r".*LoRA tensor\(s\) have invalid shape")
        yield


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
    """Give a multilingual model the ids of its languages where its generation config lacks them.

    Those of old versions of transformers do; without them a model would pass for English-only.
    """
    config, ids = model.generation_config, processor.tokenizer.get_vocab()
    is_multilingual = model.config.vocab_size >= MULTILINGUAL_VOCAB_SIZE
    if is_multilingual and not getattr(config, "lang_to_id", None):
        config.update(
            **language_settings(ids), no_timestamps_token_id=ids["<|notimestamps|>"], is_multilingual=True
        )


def read_training_arguments(folder: str) -> dict:
    """What train.py wrote into a model folder about the run; empty for any other model."""
    return _read_if_there(Path(folder) / ARGUMENTS_FILE, yaml.safe_load)


def _read_if_there(path: Path, parse) -> dict:
    return parse(path.read_text(encoding="utf-8")) if path.exists() else {}


def whisper_of(model: nn.Module) -> WhisperForConditionalGeneration:
    """The Whisper model inside a PEFT wrapper, or the model itself."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model  # type: ignore[operator]
    return cast(WhisperForConditionalGeneration, inner)


def adapter_name(model: nn.Module) -> str | None:
    """lora, dora or adalora; None for a model without an adapter."""
    config = getattr(model, "active_peft_config", None)
    if config is None:
        return None
    return "dora" if config.use_dora else str(config.peft_type.value).lower()


def language_ids(model: nn.Module) -> dict[str, int]:
    """Token id of each language the model knows, by its code; empty for an English-only model."""
    lang_to_id: dict[str, int] = getattr(whisper_of(model).generation_config, "lang_to_id", None) or {}
    # an added language stands there by its bare code as well, see languages.add_language
    return {token[2:-2]: token_id for token, token_id in lang_to_id.items() if token.startswith("<|")}


def language_codes(model: nn.Module) -> set[str]:
    """Codes of the languages the model has a token for; empty for an English-only model."""
    return set(language_ids(model))


def check_languages(model: nn.Module, languages: Sequence[str | None], name_or_path: str) -> list[str | None]:
    """The language of each row for its label tokens; all None for an English-only model.

    Raises:
        UserError: Rows without a language, or languages the model has no token for.
    """
    known = language_codes(model)
    if not known:
        foreign = sorted({language for language in languages if language not in (None, "en")})
        if foreign:
            raise UserError(f"{name_or_path} knows English only, the data is in {', '.join(foreign)}.")
        return [None] * len(languages)
    missing = sum(language is None for language in languages)
    if missing:
        raise UserError(
            f"{missing} of {len(languages)} utterances have no language. Give --language, such as it."
        )
    unknown = sorted({str(language) for language in languages} - known)
    if unknown:
        raise UserError(
            f"{name_or_path} has no token for the language {', '.join(unknown)}. `train.py --language "
            f"{unknown[0]} --add_language {unknown[0]}` gives it one."
        )
    return list(languages)


def count_parameters(model: nn.Module) -> tuple[int, int]:
    """(trainable, all) parameters, a tied weight counted once, a quantised one or a ZeRO-3 shard whole."""
    sizes = [(true_size(p), p.requires_grad) for p in model.parameters()]
    return sum(size for size, is_trainable in sizes if is_trainable), sum(size for size, _ in sizes)


def trainable_parameters_line(model: nn.Module) -> str:
    """The line PEFT users know: `trainable params: 8 || all params: 80 || trainable%: 10.0000`."""
    trainable, total = count_parameters(model)
    share = 100 * trainable / total
    return f"trainable params: {trainable:,} || all params: {total:,} || trainable%: {share:.4f}"


def encode(
    model: WhisperForConditionalGeneration,
    input_features: torch.Tensor,
    silence_run: int = 0,
    multiple: int = 1,
) -> torch.Tensor:
    """The encoder at any length: position embeddings are cut to the input, everything else is Whisper's own.

    Args:
        input_features: (B, n_mels, frames) with an even number of frames, 3000 at most; with a `silence_run`
            their last frame is silence.
        silence_run: Positions of the silence up to 30 s that one stands for; 0 leaves the silence out.
        multiple: What the positions are divisible by, if there is silence to be had, see `condense`.

    Returns:
        (B, positions, d_model), where positions are half the frames and what stands for the silence. At 3000
        frames, all that transformers' encoder takes, the two are equal.
    """
    encoder: WhisperEncoder = model.model.encoder
    silence = condensed_silence(model, input_features.shape[2] // 2, silence_run, multiple)
    hidden = input_features.to(encoder.conv1.weight.dtype)
    if silence is not None:
        hidden = extend_features(hidden)
    hidden = nn.functional.gelu(encoder.conv1(hidden))
    hidden = nn.functional.gelu(encoder.conv2(hidden)).permute(0, 2, 1)
    positions, key_bias = torch.arange(hidden.shape[1], device=hidden.device), None
    if silence is not None:
        hidden, positions = silence.extend(hidden), silence.positions(hidden.device)
        key_bias = silence.key_bias(hidden)
    # Through the module, not its weight: sharded training gathers weights in the module's hooks.
    hidden = hidden + encoder.embed_positions(positions)
    hidden = nn.functional.dropout(hidden, p=encoder.dropout, training=encoder.training)
    for layer in encoder.layers:
        hidden = layer(hidden, key_bias)
    return encoder.layer_norm(hidden)


def condensed_silence(
    model: WhisperForConditionalGeneration, context: int, silence_run: int, multiple: int = 1
) -> CondensedSilence | None:
    """What stands for the silence behind a context of so many encoder positions; None for nothing."""
    return condense(context, silence_run, model.config.max_source_positions, multiple)


class WhisperLoss(nn.Module):
    """What is trained: features and labels in, the summed loss of the target tokens out.

    The sum, not the mean: only the caller knows how many target tokens the whole optimiser step has, over all
    micro-batches and processes.
    """

    def __init__(
        self,
        model: nn.Module,
        chunk_tokens: int | None = None,
        silence_run: int = 0,
        multiples: Multiples = ANY_SIZE,
    ) -> None:
        """Of several losses made of one model the last trains it.

        Args:
            model: Whisper, or a PEFT wrapper around it.
            chunk_tokens: The logits of at most so many exist at once.
            silence_run: See `encode`.
            multiples: What sizes are divisible by.
        """
        super().__init__()
        self.model, self.chunk_tokens = model, chunk_tokens
        self.silence_run, self.multiples = silence_run, multiples
        # of the last batch, whose layers may be computed once more
        self._key_bias: torch.Tensor | None = None
        mask_cross_attention(whisper_of(model), self._mask_in_training)

    def _mask_in_training(self, attention: nn.Module) -> torch.Tensor | None:
        return self._key_bias if attention.training else None

    def forward(
        self,
        input_features: torch.Tensor | None,
        decoder_input_ids: torch.Tensor,
        labels: torch.Tensor,
        encoder_states: torch.Tensor | None = None,
        context: int | None = None,
    ) -> torch.Tensor:
        """Cross-entropy summed over the labels that are not -100.

        Args:
            input_features: (B, n_mels, frames).
            decoder_input_ids: (B, T) int64.
            labels: (B, T) int64.
            encoder_states: (B, positions, d_model), known already, instead of features.
            context: Encoder positions of clips and tail that such states were made of.
        """
        whisper = whisper_of(self.model)
        if encoder_states is None:
            assert input_features is not None
            context = input_features.shape[2] // 2
            encoder_states = encode(whisper, input_features, self.silence_run, self.multiples.positions)
        assert context is not None
        silence = condensed_silence(whisper, context, self.silence_run, self.multiples.positions)
        self._key_bias = None if silence is None else silence.key_bias(encoder_states)
        missing = -labels.shape[1] % self.multiples.tokens
        labels = nn.functional.pad(labels, (0, missing), value=IGNORED)
        padding = whisper.config.pad_token_id
        decoded = whisper.model.decoder(
            input_ids=nn.functional.pad(decoder_input_ids, (0, missing), value=padding),
            encoder_hidden_states=encoder_states,
            use_cache=False,
        ).last_hidden_state  # (B, T, d_model)
        is_target = labels != IGNORED
        # Projecting only the target positions spares the vocabulary-sized logits of all padding.
        return summed_cross_entropy(
            decoded[is_target], labels[is_target], whisper.proj_out, chunk_tokens=self.chunk_tokens
        )


def allow_empty_texts(model: nn.Module) -> None:
    """Let decoders choose the end of the text as its first token, as Whisper's generation config forbids.

    For models that learn where nothing is said; others would leave out speech that they are unsure of.
    """
    config = whisper_of(model).generation_config
    config.begin_suppress_tokens = [
        token for token in config.begin_suppress_tokens or [] if token != config.eos_token_id
    ] or None


@contextlib.contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Switch dropout off for the block and give the model its mode back; compiled layers are for training."""
    was_training = model.training
    model.eval()
    try:
        with uncompiled():
            yield
    finally:
        model.train(was_training)


def save_model_folder(
    folder: Path,
    model: nn.Module,
    processor: WhisperProcessor,
    *,
    arguments_yaml: str,
    results: dict,
    card: str,
) -> None:
    """Write a complete model folder (or adapter folder), whole or not at all.

    `from_pretrained`, `pipeline` and faster-whisper's converter find all they need in it.
    """
    with folder_written_whole(folder) as temporary:
        save_weights(model, temporary)
        generation_config = whisper_of(model).generation_config
        generation_config._from_model_config = False  # else lang_to_id is lost when it is loaded again
        generation_config.save_pretrained(temporary)
        processor.save_pretrained(temporary)
        # Processors no longer write preprocessor_config.json; faster-whisper needs it for 128 mel bins.
        processor.feature_extractor.save_pretrained(temporary)
        write_text(temporary / ARGUMENTS_FILE, arguments_yaml)
        write_json(temporary / RESULTS_FILE, results)
        write_text(temporary / "README.md", card)


def save_weights(model: nn.Module, folder: Path) -> None:
    """Write a model's configuration and weights, or those of its adapter alone."""
    options = {}
    if adapter_name(model):
        # Of an embedding that was enlarged for a language, PEFT would save all rows beside the new one.
        options = {"save_embedding_layers": False}
    with _ranks_of_zero_are_meant() if adapter_name(model) == "adalora" else contextlib.nullcontext():
        model.save_pretrained(folder, **options)  # type: ignore[operator]
