"""Faster-whisper folders (CTranslate2) turned back into Hugging Face folders that can be trained.

A faster-whisper folder holds `model.bin` (CTranslate2's binary form, version 6), `config.json` (alignment
heads and suppressed tokens, no dimensions) and `tokenizer.json`. Every dimension is read from the weights.
Floats of 16 and 32 bits come through without loss; integers of 8 and 16 bits are divided by the scales stored
beside them. The result is float32, as OpenAI's own checkpoints, because training needs the bits.
"""

import json
import math
import mmap
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from utils.errors import UserError
from utils.files import folder_written_whole

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import GenerationConfig, WhisperConfig, WhisperTokenizer

BINARY_VERSION = 6
SPECIFICATION = "WhisperSpec"
HEAD_DIM = 64  # the same in every published Whisper, tiny to large
NUM_TIMESTAMPS = 1501  # <|0.00|> to <|30.00|> in steps of 20 ms
MULTILINGUAL_VOCAB_SIZE = 51865  # the .en models have one token less, large-v3 (Cantonese) one more
REQUIRED_TOKENS = (
    "<|endoftext|>",
    "<|startoftranscript|>",
    "<|translate|>",
    "<|transcribe|>",
    "<|startofprev|>",
    "<|notimestamps|>",
)
# CTranslate2's DataType; bfloat16 has no numpy type and is read as its 16 bits
DTYPES = {0: "<f4", 1: "<i1", 2: "<i2", 3: "<i4", 4: "<f2", 5: "<u2"}
BFLOAT16 = 5
MAX_RANK = 3  # a convolution: output channels, input channels, width
NEW_CONVERSION = "Download the folder again or convert it anew with `ct2-transformers-converter`."

# CTranslate2 name -> Hugging Face name, for what is copied as it is; {} is the layer
STEM_NAMES = {
    "encoder/conv1": "model.encoder.conv1",
    "encoder/conv2": "model.encoder.conv2",
    "encoder/layer_norm": "model.encoder.layer_norm",
    "decoder/layer_norm": "model.decoder.layer_norm",
}
ENCODER_LAYER_NAMES = {
    "self_attention/layer_norm": "self_attn_layer_norm",
    "self_attention/linear_1": "self_attn.out_proj",
    "ffn/layer_norm": "final_layer_norm",
    "ffn/linear_0": "fc1",
    "ffn/linear_1": "fc2",
}
DECODER_LAYER_NAMES = ENCODER_LAYER_NAMES | {
    "attention/layer_norm": "encoder_attn_layer_norm",
    "attention/linear_0": "encoder_attn.q_proj",
    "attention/linear_2": "encoder_attn.out_proj",
}
# what CTranslate2 keeps in one matrix, rows stacked in this order
SELF_ATTENTION_STACK = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
CROSS_ATTENTION_STACK = ("encoder_attn.k_proj", "encoder_attn.v_proj")


@dataclass(frozen=True)
class Variable:
    """Where one tensor lies in a `model.bin`."""

    shape: tuple[int, ...]
    dtype: int
    offset_bytes: int
    size_bytes: int


def is_ctranslate2_folder(path: str | Path) -> bool:
    """Whether `path` is a folder in faster-whisper form: a `model.bin` and no Hugging Face weights."""
    folder = Path(path)
    return (folder / "model.bin").is_file() and not (folder / "model.safetensors").exists()


def convert_to_hugging_face(folder: str | Path, output_dir: str | Path) -> None:
    """Write the faster-whisper model in `folder` to `output_dir` as a Hugging Face folder, whole or not.

    Raises:
        UserError: A file is missing, truncated or of another kind, or the parts do not fit together.
    """
    import torch
    from safetensors.torch import save_file
    from transformers import WhisperFeatureExtractor, WhisperProcessor

    folder = Path(folder)
    settings = _read_settings(folder)
    with ModelBin(folder / "model.bin") as weights:
        tokenizer = _load_tokenizer(folder, vocab_size=weights.shape("decoder/embeddings/weight")[0])
        config = _build_config(weights, tokenizer)
        arrays = _named_tensors(weights, config)
    _check_complete(arrays, config, folder)
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    generation_config = _build_generation_config(config, tokenizer, settings)
    config.begin_suppress_tokens = generation_config.begin_suppress_tokens
    feature_extractor = WhisperFeatureExtractor(feature_size=config.num_mel_bins)
    with folder_written_whole(Path(output_dir)) as temporary:
        config.save_pretrained(temporary)
        save_file(tensors, temporary / "model.safetensors", metadata={"format": "pt"})
        WhisperProcessor(feature_extractor, tokenizer).save_pretrained(temporary)
        # the processor alone no longer writes preprocessor_config.json, which faster-whisper and others read
        feature_extractor.save_pretrained(temporary)
        generation_config.save_pretrained(temporary)


class ModelBin:
    """The tensors of a CTranslate2 `model.bin`, read on demand from the mapped file.

    Layout (little endian): u32 version, string specification, u32 revision, u32 count; per variable a string
    name, u8 rank, u32 dimensions, u8 dtype, u32 bytes, data; then u32 count of aliases, each two strings. A
    string is a u16 length that counts the final NUL, and the bytes. Everything is checked against the length
    of the file before it is used, so a hostile file can neither allocate nor read beyond it.

    Raises:
        UserError: The file is missing, truncated, or no Whisper model in binary version 6.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position_bytes = 0
        if not path.is_file() or path.stat().st_size == 0:
            raise UserError(f"{path}: no such file, or it is empty; expected a model. {NEW_CONVERSION}")
        with path.open("rb") as file:
            self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        try:
            self._variables = self._read_variables()
            self._add_aliases()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "ModelBin":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Unmap the file; arrays already read are copies and stay valid."""
        self._data.close()

    def __contains__(self, name: str) -> bool:
        return name in self._variables

    def count_layers(self, side: str) -> int:
        """The number of layers of `side`, "encoder" or "decoder"."""
        pattern = re.compile(rf"{side}/layer_(\d+)/")
        found = {int(match[1]) for name in self._variables if (match := pattern.match(name))}
        if found != set(range(len(found))) or not found:
            raise self.error(f"has {side} layers numbered {sorted(found)}, expected 0, 1, 2 … without a gap")
        return len(found)

    def count_heads(self, side: str, d_model: int) -> int:
        """The number of attention heads of `side`: as the file says, else by Whisper's head size."""
        name = f"{side}/num_heads"
        heads = int(self._raw(name).flat[0]) if name in self else d_model // HEAD_DIM
        if heads < 1 or d_model % heads:
            raise self.error(f"has {heads} {side} heads for a width of {d_model}, expected a divisor of it")
        return heads

    def shape(self, name: str, rank: int | None = None) -> tuple[int, ...]:
        """The shape of the variable `name`.

        Raises:
            UserError: There is no such variable, or it is empty or has not `rank` dimensions.
        """
        if name not in self._variables:
            raise self.error(f"has no variable {name}, which every Whisper model has")
        shape = self._variables[name].shape
        if 0 in shape or (rank is not None and len(shape) != rank):
            raise self.error(
                f"has {name} of shape {list(shape)}, expected {rank or 'one or more'} dimensions"
            )
        return shape

    def read(self, name: str) -> np.ndarray:
        """The variable `name` as float32, integers divided by their scale.

        Raises:
            UserError: There is no such variable, or its numbers cannot be made weights.
        """
        shape = self.shape(name)
        values = self._raw(name)
        dtype = self._variables[name].dtype
        if dtype == BFLOAT16:
            return (values.astype(np.uint32) << 16).view(np.float32).reshape(shape)
        if DTYPES[dtype] in ("<f4", "<f2"):
            return values.astype(np.float32)
        if DTYPES[dtype] == "<i4" or f"{name}_scale" not in self:
            raise self.error(f"has {name} as integers without a scale; expected int8 or int16 with one")
        # a weight was multiplied by its scale and rounded: one scale for all of it, or one for each row
        scale = self._raw(f"{name}_scale").astype(np.float32).reshape(-1)
        if scale.size not in (1, shape[0] if shape else 1) or not (scale != 0).all():
            raise self.error(f"has {scale.size} scales, or one of zero, for {name} of shape {list(shape)}")
        return values.astype(np.float32) / scale.reshape(-1, *[1] * (len(shape) - 1))

    def _raw(self, name: str) -> np.ndarray:
        self.shape(name)
        variable = self._variables[name]
        # copied: a view would keep the map open
        data = self._data[variable.offset_bytes : variable.offset_bytes + variable.size_bytes]
        return np.frombuffer(data, dtype=DTYPES[variable.dtype]).reshape(variable.shape)

    def _read_variables(self) -> dict[str, Variable]:
        version = self._number("I")
        if version != BINARY_VERSION:
            raise self.error(
                f"is no CTranslate2 model of binary version {BINARY_VERSION}: it begins with {version}"
            )
        specification = self._string()
        if specification != SPECIFICATION:
            raise self.error(
                f"holds a {specification[:40]!r}, expected a {SPECIFICATION!r} (a Whisper model)"
            )
        self._number("I")  # revision of the specification; the variables' names tell what matters
        variables: dict[str, Variable] = {}
        for _ in range(self._number("I")):
            name = self._string()
            if name in variables:
                raise self.error(f"has the variable {name} twice")
            variables[name] = self._variable(name)
        return variables

    def _variable(self, name: str) -> Variable:
        shape = tuple(self._number("I") for _ in range(self._number("B")))
        dtype, size_bytes = self._number("B"), self._number("I")
        if len(shape) > MAX_RANK:
            raise self.error(f"has {name[:80]} with {len(shape)} dimensions, expected at most {MAX_RANK}")
        if dtype not in DTYPES:
            raise self.error(f"has {name[:80]} in the unknown data type {dtype}")
        expected = math.prod(shape) * np.dtype(DTYPES[dtype]).itemsize
        if size_bytes != expected:
            raise self.error(f"has {size_bytes:,} bytes for {name[:80]}, expected {expected:,}")
        return Variable(shape, dtype, self._take(size_bytes), size_bytes)

    def _add_aliases(self) -> None:
        for _ in range(self._number("I")):
            alias, name = self._string(), self._string()
            if name not in self._variables:
                raise self.error(f"calls {name[:80]} by the other name {alias[:80]}, but does not have it")
            self._variables[alias] = self._variables[name]
            # the scalar scale of an int16 weight is not always given the other name too
            if f"{name}_scale" in self:
                self._variables.setdefault(f"{alias}_scale", self._variables[f"{name}_scale"])
        if self._position_bytes != len(self._data):
            raise self.error(f"goes on for {len(self._data) - self._position_bytes:,} bytes after its end")

    def _take(self, size_bytes: int) -> int:
        """Step over `size_bytes` and return where they began."""
        begin = self._position_bytes
        if size_bytes > len(self._data) - begin:
            raise self.error(
                f"is truncated: found {len(self._data):,} bytes, expected at least {begin + size_bytes:,}"
            )
        self._position_bytes += size_bytes
        return begin

    def _number(self, code: str) -> int:
        return struct.unpack_from(f"<{code}", self._data, self._take(struct.calcsize(f"<{code}")))[0]

    def _string(self) -> str:
        size_bytes = self._number("H")
        begin = self._take(size_bytes)
        data = self._data[begin : begin + size_bytes]
        try:
            return data.removesuffix(b"\0").decode("utf-8")
        except UnicodeDecodeError:
            raise self.error("has a name that is not text") from None

    def error(self, what: str) -> UserError:
        """The error that says `what` is wrong with this file, a sentence without its subject."""
        return UserError(f"{self._path}: the file {what}. {NEW_CONVERSION}")


def _read_settings(folder: Path) -> dict[str, list]:
    """The lists of token ids and heads in `config.json`; a missing list is left out."""
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
    for key in ("suppress_ids", "suppress_ids_begin", "alignment_heads"):
        value = settings.get(key)
        if value is None:
            continue
        pairs = key == "alignment_heads"
        if not isinstance(value, list) or not all(_is_pair(v) if pairs else _is_whole(v) for v in value):
            expected = "pairs of whole numbers" if pairs else "whole numbers"
            raise UserError(f"{path}: {key} is no list of {expected}. {NEW_CONVERSION}")
        kept[key] = value
    return kept


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_pair(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(_is_whole(v) and v >= 0 for v in value)


def _load_tokenizer(folder: Path, vocab_size: int) -> "WhisperTokenizer":
    """The folder's tokenizer with the timestamp tokens that faster-whisper leaves out.

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
    """Transformers' tokenizer around `source`, with the timestamp tokens, declared as OpenAI's are."""
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
    # not special: transformers tells timestamps by their ids above all special ones
    tokenizer.add_tokens([AddedToken(token, normalized=False, special=False) for token in timestamps])
    return tokenizer


def _build_config(weights: ModelBin, tokenizer: "WhisperTokenizer") -> "WhisperConfig":
    """The configuration, dimensions from the weights and token ids from the tokenizer."""
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


def _named_tensors(weights: ModelBin, config: "WhisperConfig") -> dict[str, np.ndarray]:
    """Every tensor of the model under its Hugging Face name, in float32."""
    tensors = {
        "model.decoder.embed_tokens.weight": weights.read("decoder/embeddings/weight"),
        "model.encoder.embed_positions.weight": weights.read("encoder/position_encodings/encodings"),
        "model.decoder.embed_positions.weight": weights.read("decoder/position_encodings/encodings"),
    }
    _check_tied(weights, tensors["model.decoder.embed_tokens.weight"])
    for source, target in STEM_NAMES.items():
        tensors |= _copied(weights, source, target)
    for layer in range(config.encoder_layers):
        tensors |= _layer(weights, "encoder", layer, ENCODER_LAYER_NAMES)
    for layer in range(config.decoder_layers):
        tensors |= _layer(weights, "decoder", layer, DECODER_LAYER_NAMES)
        source, target = f"decoder/layer_{layer}/attention/linear_1", f"model.decoder.layers.{layer}."
        tensors |= _unstacked(weights, source, [target + name for name in CROSS_ATTENTION_STACK])
    return tensors


def _check_tied(weights: ModelBin, embeddings: np.ndarray) -> None:
    """Whisper projects on its vocabulary with the embeddings; another projection could not be kept."""
    projection = "decoder/projection/weight"
    if projection in weights and not np.array_equal(weights.read(projection), embeddings):
        raise weights.error(f"has a {projection} of its own, expected the embeddings under another name")


def _layer(weights: ModelBin, side: str, layer: int, names: dict[str, str]) -> dict[str, np.ndarray]:
    source, target = f"{side}/layer_{layer}/", f"model.{side}.layers.{layer}."
    tensors: dict[str, np.ndarray] = {}
    for old, new in names.items():
        tensors |= _copied(weights, source + old, target + new)
    stack = [target + name for name in SELF_ATTENTION_STACK]
    return tensors | _unstacked(weights, source + "self_attention/linear_0", stack)


def _copied(weights: ModelBin, source: str, target: str) -> dict[str, np.ndarray]:
    """Weight and bias of a linear layer or convolution, or gamma and beta of a normalisation."""
    normalisation = source.endswith("layer_norm")
    weight, bias = ("gamma", "beta") if normalisation else ("weight", "bias")
    return {
        f"{target}.weight": weights.read(f"{source}/{weight}"),
        f"{target}.bias": weights.read(f"{source}/{bias}"),
    }


def _unstacked(weights: ModelBin, source: str, targets: list[str]) -> dict[str, np.ndarray]:
    """The projections that CTranslate2 stacks in one matrix, apart again."""
    weight, bias = weights.read(f"{source}/weight"), weights.read(f"{source}/bias")
    if len(weight) % len(targets) or len(weight) != len(bias):
        raise weights.error(
            f"has {len(weight)} rows and {len(bias)} biases in {source}, no {len(targets)} projections"
        )
    tensors: dict[str, np.ndarray] = {}
    parts = zip(targets, np.split(weight, len(targets)), np.split(bias, len(targets)), strict=True)
    for target, rows, biases in parts:
        tensors[f"{target}.weight"] = rows.copy()  # safetensors stores no two views of one memory
        # Whisper's keys have no bias; one would add the same to all scores of a query and so change nothing
        if not target.endswith("k_proj"):
            tensors[f"{target}.bias"] = biases.copy()
    return tensors


def _check_complete(tensors: dict[str, np.ndarray], config: "WhisperConfig", folder: Path) -> None:
    """Compare names and shapes with the model that transformers would build from `config`."""
    import torch
    from transformers import WhisperForConditionalGeneration

    with torch.device("meta"):
        model = WhisperForConditionalGeneration(config)
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    expected.pop("proj_out.weight", None)  # tied to the embeddings
    found = {name: array.shape for name, array in tensors.items()}
    wrong = [name for name in expected if expected[name] != found.get(name)] + sorted(
        found.keys() - expected.keys()
    )
    if wrong:
        name = wrong[0]
        raise UserError(
            f"{folder / 'model.bin'}: {len(wrong)} tensors do not fit a Whisper model of width "
            f"{config.d_model}, such as {name}: found shape {found.get(name)}, expected "
            f"{expected.get(name)}. {NEW_CONVERSION}"
        )


def language_settings(ids: dict[str, int]) -> dict[str, dict[str, int]]:
    """What a multilingual model's generation config tells of its tokens, from the tokenizer's vocabulary."""
    from transformers.models.whisper.tokenization_whisper import LANGUAGES, TASK_IDS

    return {
        "lang_to_id": {f"<|{code}|>": ids[f"<|{code}|>"] for code in LANGUAGES if f"<|{code}|>" in ids},
        "task_to_id": {task: ids[f"<|{task}|>"] for task in TASK_IDS},
    }


def _build_generation_config(
    config: "WhisperConfig", tokenizer: "WhisperTokenizer", settings: dict[str, list]
) -> "GenerationConfig":
    """Everything `generate` needs: languages, tasks, suppressed tokens, heads for word timestamps.

    Raises:
        UserError: config.json names a token or a head that the model does not have.
    """
    from transformers import GenerationConfig

    ids = tokenizer.get_vocab()
    heads = settings.get("alignment_heads") or _upper_half_heads(config)
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
    # a generation config marked as made from the model would be rebuilt on loading, without the languages
    generation_config._from_model_config = False
    return generation_config


def _upper_half_heads(config: "WhisperConfig") -> list[list[int]]:
    """All heads of the upper half of the decoder, OpenAI's choice where no better heads are known."""
    layers = range(config.decoder_layers // 2, config.decoder_layers)
    return [[layer, head] for layer in layers for head in range(config.decoder_attention_heads)]


def _check_ids(config: "WhisperConfig", heads: list[list[int]], tokens: list[int]) -> None:
    strange: list[object] = [token for token in tokens if not 0 <= token < config.vocab_size]
    layers, heads_of_layer = config.decoder_layers, config.decoder_attention_heads
    strange += [[layer, head] for layer, head in heads if layer >= layers or head >= heads_of_layer]
    if strange:
        raise UserError(
            f"config.json: {strange[0]} is no token or head of a model of {config.vocab_size:,} tokens, "
            f"{config.decoder_layers} decoder layers and {config.decoder_attention_heads} heads; it belongs "
            f"to another model. {NEW_CONVERSION}"
        )
