"""Write a model file of whisper.cpp, and check that one is whole. All numbers in it are little-endian."""

import math
import struct
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path
from typing import BinaryIO

import numpy as np

from utils.delivery.exports.ggml_layout import TENSOR_TYPES, GgmlHeader, GgmlTensor, list_tensors
from utils.delivery.exports.ggml_quantization import quantize_q5_0, quantize_q8_0
from utils.runtime.errors import UserError

CODES_FILE = "language_codes.json"  # beside a model file: {"nap": "yue"}, whisper.cpp's code for a language

MAGIC = 0x67676D6C  # ggml in ASCII
ROWS_AT_ONCE = 4096  # of a matrix; more would only take memory
MOST_LAYERS = 1000  # of a file that is not nonsense


def write_head(
    file: BinaryIO, header: GgmlHeader, mel_filters: np.ndarray, text_tokens: Sequence[bytes]
) -> None:
    """Write all that stands before the tensors.

    Args:
        file: Open for writing, at its start.
        header: The dimensions.
        mel_filters: (mels, 201).
        text_tokens: The tokens before the special ones, in the order of their ids. whisper.cpp computes the
            special ones from the size of the vocabulary.
    """
    file.write(struct.pack("<12i", MAGIC, *astuple(header)))
    file.write(struct.pack("<2i", *mel_filters.shape))
    file.write(mel_filters.astype("<f4").tobytes())
    file.write(struct.pack("<i", len(text_tokens)))
    file.write(b"".join(struct.pack("<i", len(token)) + token for token in text_tokens))


def write_tensor(file: BinaryIO, tensor: GgmlTensor, values: np.ndarray) -> None:
    """Write a tensor behind those before it; `values` are float32, of its shape or with fewer axes of 1."""
    name, values = tensor.name.encode(), values.reshape(tensor.shape)
    number = TENSOR_TYPES[tensor.type_name].number
    file.write(struct.pack("<3i", len(tensor.shape), len(name), number))
    file.write(struct.pack(f"<{len(tensor.shape)}i", *reversed(tensor.shape)) + name)
    for start in range(0, len(values), ROWS_AT_ONCE):
        file.write(_encode(values[start : start + ROWS_AT_ONCE], tensor.type_name).tobytes())


def _encode(values: np.ndarray, type_name: str) -> np.ndarray:
    if type_name == "q8_0":
        return quantize_q8_0(values)
    if type_name == "q5_0":
        return quantize_q5_0(values)
    return values.astype("<f2" if type_name == "f16" else "<f4")


def check_ggml(path: Path) -> GgmlHeader:
    """Check that whisper.cpp can load a file, and return its header.

    whisper.cpp itself loads a damaged file without an error; the first transcription ends the process.

    Raises:
        UserError: The file is missing, is of another kind, or has not all tensors of its header, in full.
    """
    try:
        with path.open("rb") as file:
            return _read_whole(file)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"{path}: {reason}. Expected a complete model file of whisper.cpp. Export the model again."
        ) from None


def _read_whole(file: BinaryIO) -> GgmlHeader:
    magic, *numbers = _read(file, "<12i")
    header = GgmlHeader(*numbers)
    if magic != MAGIC or not header.precision or min(numbers[:-1]) < 1:
        raise ValueError(f"its first numbers are {magic:#x}, {', '.join(map(str, numbers))}")
    if (
        max(header.n_audio_layer, header.n_text_layer) > MOST_LAYERS
        or header.n_text_state != header.n_audio_state
    ):
        raise ValueError(f"no Whisper has the dimensions {header}")
    _skip(file, 4 * math.prod(_read(file, "<2i")))  # mel filters
    for _ in range(*_read(file, "<i")):
        _skip(file, *_read(file, "<i"))
    missing = {tensor.name: tensor for tensor in list_tensors(header)}
    while missing:
        _check_tensor(file, missing)
    if file.read(1):
        raise ValueError("bytes follow the last tensor")
    return header


def _check_tensor(file: BinaryIO, missing: dict[str, GgmlTensor]) -> None:
    """Read the next tensor's head, compare it with that of its name, and skip the numbers."""
    rank, length, number = _read(file, "<3i")
    if not (1 <= rank <= 3 and 1 <= length <= 100):
        raise ValueError(f"{len(missing)} tensors are missing")
    shape = tuple(reversed(_read(file, f"<{rank}i")))
    name = b"".join(_read(file, f"<{length}c")).decode(errors="replace")
    expected = missing.pop(name, None)
    if expected is None:
        raise ValueError(f"the tensor {name} is none of this model, or is there twice")
    if (shape, number) != (expected.shape, TENSOR_TYPES[expected.type_name].number):
        raise ValueError(f"the tensor {name} has the shape {shape} and the type {number}")
    _skip(file, expected.size_bytes)


def _read(file: BinaryIO, layout: str) -> tuple:
    data = file.read(struct.calcsize(layout))
    if len(data) < struct.calcsize(layout):
        raise ValueError(f"it ends too early, after {file.tell():,} bytes")
    return struct.unpack(layout, data)


def _skip(file: BinaryIO, size_bytes: int) -> None:
    """Go forward. The last byte is read, because seeking past the end of a file is no error."""
    if size_bytes:
        file.seek(size_bytes - 1, 1)
        _read(file, "<c")
