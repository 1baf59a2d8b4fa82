"""Read tokenizer, configuration and generation settings of a CTranslate2 folder."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from utils.model.alignment_heads import find_strange_heads, upper_half_heads
from utils.model.ctranslate2.model_bin import NEW_CONVERSION, ModelBin
from utils.runtime.errors import UserError

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import GenerationConfig, WhisperConfig, WhisperTokenizer


NUM_TIMESTAMPS = 1501  # <|0.00|> to <|30.00|> in steps of 20 ms

MULTILINGUAL_VOCAB_SIZE = 51865  # .en models have one token less, large-v3 (Cantonese) one more

REQUIRED_TOKENS = [
    f"<|{name}|>"
    for name in ("endoftext", "startoftranscript", "translate", "transcribe", "startofprev", "notimestamps")
]


def read_settings(folder: Path) -> dict[str, list]:
    """Read the lists of token ids and heads from `config.json`. A list may be missing."""
    path = folder / "config.json"
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; expected a faster-whisper folder. {NEW_CONVERSION}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not readable as JSON: {error}. {NEW_CONVERSION}") from None
    if not isinstance(settings, dict):
        raise UserError(f"{path}: found a {type(settings).__name__}, expected an object. {NEW_CONVERSION}")
    kept = {}
    for key, rank in (("suppress_ids", 1), ("suppress_ids_begin", 1), ("alignment_heads", 2)):
        value = settings.get(key)
        if value is not None and not _are_whole_numbers(value, rank):
            expected = "pairs of whole numbers" if rank == 2 else "whole numbers"
            raise UserError(f"{path}: {key} is no list of {expected}. {NEW_CONVERSION}")
        if value is not None:
            kept[key] = value
    return kept


def _are_whole_numbers(value: object, rank: int) -> bool:
    """Check whether a list (rank 1), or a list of pairs (rank 2), has only whole numbers."""
    try:
        numbers = np.array(value)
    except ValueError:  # lists of unequal length
        return False
    is_whole = numbers.dtype.kind == "i" and numbers.ndim == rank and numbers.shape[1:] == (2,) * (rank - 1)
    return is_whole or value == []


def load_tokenizer(folder: Path, vocab_size: int) -> "WhisperTokenizer":
    """Load the folder's tokenizer and add the timestamp tokens, because faster-whisper leaves them out.

    Raises:
        UserError: tokenizer.json is missing or unreadable, or belongs to a model with another vocabulary.
    """
    from tokenizers import Tokenizer

    path = folder / "tokenizer.json"
    if not path.is_file():
        raise UserError(
            f"{folder}: no tokenizer.json; expected one beside model.bin. Copy it from the model this one "
            "was made from, such as openai/whisper-base for base and openai/whisper-tiny.en for tiny.en."
        )
    try:
        source = Tokenizer.from_file(str(path))
    except Exception as error:  # the tokenizers library raises a bare Exception
        raise UserError(f"{path}: not readable as a tokenizer: {error}. {NEW_CONVERSION}") from None
    missing = [token for token in REQUIRED_TOKENS if source.token_to_id(token) is None]
    if missing:
        raise UserError(f"{path}: no tokens {' '.join(missing)}, which Whisper needs. {NEW_CONVERSION}")
    tokenizer = _build_tokenizer(source)
    begin = tokenizer.convert_tokens_to_ids(["<|notimestamps|>", "<|0.00|>", "<|30.00|>"])
    expected = [vocab_size - NUM_TIMESTAMPS - 1, vocab_size - NUM_TIMESTAMPS, vocab_size - 1]
    if len(tokenizer) != vocab_size or begin != expected:
        raise UserError(
            f"{path}: found {len(tokenizer):,} tokens with the timestamps, expected {vocab_size:,} as "
            "in model.bin, the timestamps last. It belongs to another model: copy tokenizer.json "
            "from the one this was made from."
        )
    return tokenizer


def _build_tokenizer(source: "Tokenizer") -> "WhisperTokenizer":
    """Build the tokenizer of transformers from `source`.

    Add the timestamp tokens with the settings of OpenAI's tokenizers.
    """
    from tokenizers import AddedToken
    from transformers import WhisperTokenizer

    timestamps = [f"<|{0.02 * step:.2f}|>" for step in range(NUM_TIMESTAMPS)]
    added = [token.content for token in source.get_added_tokens_decoder().values() if token.special]
    tokenizer = WhisperTokenizer(
        tokenizer_object=source,
        pad_token="<|endoftext|>",
        extra_special_tokens=[token for token in added if token not in {"<|endoftext|>", *timestamps}],
        model_max_length=1024,
    )
    # not special: transformers finds timestamps by ids above all special ones
    tokenizer.add_tokens([AddedToken(token, normalized=False, special=False) for token in timestamps])
    return tokenizer


def build_config(weights: ModelBin, tokenizer: "WhisperTokenizer") -> "WhisperConfig":
    """Build the configuration. The dimensions are from the weights, the token ids from the tokenizer."""
    from transformers import WhisperConfig

    vocab_size, d_model = weights.shape("decoder/embeddings/weight", rank=2)
    end = tokenizer.eos_token_id
    return WhisperConfig(
        vocab_size=vocab_size,
        d_model=d_model,
        num_mel_bins=weights.shape("encoder/conv1/weight", rank=3)[1],
        encoder_layers=weights.count_layers("encoder"),
        decoder_layers=weights.count_layers("decoder"),
        encoder_attention_heads=weights.count_heads("encoder", d_model),
        decoder_attention_heads=weights.count_heads("decoder", d_model),
        encoder_ffn_dim=weights.shape("encoder/layer_0/ffn/linear_0/weight", rank=2)[0],
        decoder_ffn_dim=weights.shape("decoder/layer_0/ffn/linear_0/weight", rank=2)[0],
        max_source_positions=weights.shape("encoder/position_encodings/encodings", rank=2)[0],
        max_target_positions=weights.shape("decoder/position_encodings/encodings", rank=2)[0],
        decoder_start_token_id=tokenizer.get_vocab()["<|startoftranscript|>"],
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        architectures=["WhisperForConditionalGeneration"],
        dtype="float32",
    )


def language_settings(ids: dict[str, int]) -> dict[str, dict[str, int]]:
    """Return settings for the generation config of a multilingual model: the ids of its special tokens, from
    the vocabulary.
    """
    from transformers.models.whisper.tokenization_whisper import LANGUAGES, TASK_IDS

    return {
        "lang_to_id": {f"<|{code}|>": ids[f"<|{code}|>"] for code in LANGUAGES if f"<|{code}|>" in ids},
        "task_to_id": {task: ids[f"<|{task}|>"] for task in TASK_IDS},
    }


def build_generation_config(
    config: "WhisperConfig", tokenizer: "WhisperTokenizer", settings: dict[str, list]
) -> "GenerationConfig":
    """Build the generation config: languages, tasks, suppressed tokens, heads for word timestamps.

    Raises:
        UserError: config.json names a token or head that the model does not have.
    """
    from transformers import GenerationConfig

    ids = tokenizer.get_vocab()
    heads = settings.get("alignment_heads") or upper_half_heads(config)
    suppressed = [token for token in settings.get("suppress_ids", []) if token >= 0]
    blank = [*tokenizer.encode(" ", add_special_tokens=False), config.eos_token_id]
    begin = settings.get("suppress_ids_begin") or blank
    _check_ids(config, heads, suppressed + begin)
    multilingual = config.vocab_size >= MULTILINGUAL_VOCAB_SIZE
    generation_config = GenerationConfig(
        alignment_heads=heads,
        suppress_tokens=suppressed or None,
        begin_suppress_tokens=begin,
        decoder_start_token_id=config.decoder_start_token_id,
        bos_token_id=config.bos_token_id,
        eos_token_id=config.eos_token_id,
        pad_token_id=config.pad_token_id,
        prev_sot_token_id=ids["<|startofprev|>"],
        no_timestamps_token_id=ids["<|notimestamps|>"],
        return_timestamps=False,
        max_initial_timestamp_index=50,  # one second, as in OpenAI's own decoding
        max_length=config.max_target_positions,
        is_multilingual=multilingual,
        **(language_settings(ids) if multilingual else {}),
    )
    # with the mark "made from the model", it would be rebuilt on loading, without the languages
    generation_config._from_model_config = False
    return generation_config


def _check_ids(config: "WhisperConfig", heads: list[list[int]], tokens: list[int]) -> None:
    strange: list[object] = [token for token in tokens if not 0 <= token < config.vocab_size]
    strange += find_strange_heads(config, heads)
    if strange:
        raise UserError(
            f"config.json: {strange[0]} is no token or head of a model of {config.vocab_size:,} tokens, "
            f"{config.decoder_layers} decoder layers and {config.decoder_attention_heads} heads; it belongs "
            f"to another model. {NEW_CONVERSION}"
        )
