"""What stands in a model file of whisper.cpp: the numbers of its header, names, shapes and types of tensors.

After `convert-h5-to-ggml.py` and `whisper_model_load()` of whisper.cpp.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from utils.delivery.exports.ggml_quantization import BLOCK_SIZE, Q5_0, Q8_0


@dataclass(frozen=True)
class TensorType:
    """How the numbers of a tensor are stored."""

    number: int  # before the tensor
    block_size: int  # numbers
    block_bytes: int


TENSOR_TYPES = {
    "f32": TensorType(0, 1, 4),
    "f16": TensorType(1, 1, 2),
    "q8_0": TensorType(8, BLOCK_SIZE, Q8_0.itemsize),
    "q5_0": TensorType(6, BLOCK_SIZE, Q5_0.itemsize),
}

# The header's number for the type of matrices; 2000 is the second version of the blocks. No f32 (0): with
# whisper.cpp 1.8 on a CPU, a convolution then ends the process.
FILE_TYPES = {"f16": 1, "q8_0": 2007, "q5_0": 2008}

ENGLISH_VOCAB_SIZE = 51864  # a larger vocabulary is multilingual
OTHER_TOKENS = 51766  # of a multilingual model: all but the languages


@dataclass(frozen=True)
class GgmlHeader:
    """The integers at the start of a file, in their order; the names of dimensions are OpenAI's."""

    n_vocab: int
    n_audio_ctx: int
    n_audio_state: int
    n_audio_head: int
    n_audio_layer: int
    n_text_ctx: int
    n_text_state: int
    n_text_head: int
    n_text_layer: int
    n_mels: int
    file_type: int

    @property
    def precision(self) -> str:
        """Return the name of the type of matrices, a key of `FILE_TYPES`; empty if it is unknown."""
        return next((name for name, number in FILE_TYPES.items() if number == self.file_type), "")

    @property
    def num_languages(self) -> int:
        """Return how many languages whisper.cpp finds in a vocabulary of this size; 1 is English only."""
        return self.n_vocab - OTHER_TOKENS if self.n_vocab > ENGLISH_VOCAB_SIZE else 1

    @property
    def has_timestamps(self) -> bool:
        """whisper.cpp takes two decoder layers for the first distilled models, and gives no timestamps."""
        return self.n_text_layer != 2 or self.n_vocab == 51866


@dataclass(frozen=True)
class GgmlTensor:
    """A tensor of a file. It has the name that OpenAI's code gives it."""

    name: str
    shape: tuple[int, ...]  # the last dimension is the fastest
    type_name: str

    @property
    def size_bytes(self) -> int:
        kind = TENSOR_TYPES[self.type_name]
        return math.prod(self.shape) // kind.block_size * kind.block_bytes


def list_tensors(header: GgmlHeader) -> Iterator[GgmlTensor]:
    """List the tensors of a model, in the order of a file. The embedding is also the projection to tokens."""
    width, matrices = header.n_audio_state, header.precision
    for name, channels in (("conv1", header.n_mels), ("conv2", width)):
        yield GgmlTensor(f"encoder.{name}.weight", (width, channels, 3), "f16")
        yield GgmlTensor(f"encoder.{name}.bias", (width, 1), "f32")
    yield GgmlTensor("encoder.positional_embedding", (header.n_audio_ctx, width), "f32")
    yield from _norm("encoder.ln_post", width)
    yield GgmlTensor("decoder.token_embedding.weight", (header.n_vocab, width), matrices)
    yield GgmlTensor("decoder.positional_embedding", (header.n_text_ctx, width), "f32")
    yield from _norm("decoder.ln", width)
    for layer in range(header.n_audio_layer):
        yield from _block(f"encoder.blocks.{layer}", ("attn",), width, matrices)
    for layer in range(header.n_text_layer):
        yield from _block(f"decoder.blocks.{layer}", ("attn", "cross_attn"), width, matrices)


def _block(prefix: str, attentions: tuple[str, ...], width: int, matrices: str) -> Iterator[GgmlTensor]:
    for attention in attentions:
        yield from _norm(f"{prefix}.{attention}_ln", width)
        for part in ("query", "key", "value", "out"):
            has_bias = part != "key"
            yield from _linear(f"{prefix}.{attention}.{part}", (width, width), matrices, has_bias)
    yield from _norm(f"{prefix}.mlp_ln", width)
    yield from _linear(f"{prefix}.mlp.0", (4 * width, width), matrices)
    yield from _linear(f"{prefix}.mlp.2", (width, 4 * width), matrices)


def _norm(name: str, width: int) -> Iterator[GgmlTensor]:
    yield GgmlTensor(f"{name}.weight", (width,), "f32")
    yield GgmlTensor(f"{name}.bias", (width,), "f32")


def _linear(name: str, shape: tuple[int, int], matrices: str, has_bias: bool = True) -> Iterator[GgmlTensor]:
    yield GgmlTensor(f"{name}.weight", shape, matrices)
    if has_bias:
        yield GgmlTensor(f"{name}.bias", shape[:1], "f32")
