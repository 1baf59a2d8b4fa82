"""Read CTranslate2's binary weights file safely."""

import math
import re
import struct
from pathlib import Path

import numpy as np

from utils.runtime.errors import UserError

BINARY_VERSION = 6

SPECIFICATION = "WhisperSpec"

HEAD_DIM = 64  # the same in every published Whisper, tiny to large

# CTranslate2's DataType; numpy has no bfloat16, so its 16 bits are read
DTYPES = {0: "<f4", 1: "<i1", 2: "<i2", 3: "<i4", 4: "<f2", 5: "<u2"}

INT32, BFLOAT16 = 3, 5

MAX_RANK = 3  # a convolution: output channels, input channels, width

NEW_CONVERSION = "Download the folder again or convert it again with `ct2-transformers-converter`."


class ModelBin:
    """The tensors of a CTranslate2 `model.bin`. Each is read from the mapped file when it is needed.

    Layout (little endian): u32 version, string specification, u32 revision, u32 count; for each variable a
    string name, u8 rank, u32 dimensions, u8 dtype, u32 bytes, data; then a u32 count of aliases, each of two
    strings. A string is a u16 length, which includes the final NUL, and the bytes. Every length is checked
    against the size of the file before it is used. So a file made for an attack can neither fill the memory
    nor read beyond its end.

    Raises:
        UserError: The file is missing or truncated, or it is not a Whisper model in binary version 6.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._position_bytes = path, 0
        if not path.is_file() or path.stat().st_size == 0:
            raise UserError(f"{path}: no such file, or it is empty; expected a model. {NEW_CONVERSION}")
        self._data = np.asarray(np.memmap(path, dtype=np.uint8, mode="r"))
        self._variables = self._read_variables()
        self._add_aliases()

    def __contains__(self, name: str) -> bool:
        return name in self._variables

    def count_layers(self, side: str) -> int:
        """Return the number of layers of `side`, "encoder" or "decoder"."""
        pattern = re.compile(rf"{side}/layer_(\d+)/")
        found = {int(match[1]) for name in self._variables if (match := pattern.match(name))}
        if found != set(range(len(found))) or not found:
            raise self.error(f"has {side} layers numbered {sorted(found)}, expected 0, 1, 2 … without a gap")
        return len(found)

    def count_heads(self, side: str, d_model: int) -> int:
        """Return the number of attention heads of `side`.

        If the file does not say it, compute it from Whisper's head size.
        """
        name, heads = f"{side}/num_heads", d_model // HEAD_DIM
        if name in self and 0 not in self.shape(name):
            heads = int(self._variables[name].flat[0])
        if heads < 1 or d_model % heads:
            raise self.error(f"has {heads} {side} heads for a width of {d_model}, expected a divisor of it")
        return heads

    def shape(self, name: str, rank: int | None = None) -> tuple[int, ...]:
        """Return the shape of the variable `name`.

        Raises:
            UserError: The variable is missing or empty, or does not have `rank` dimensions.
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
        """Return the variable `name` as float32. Integers are divided by their scale.

        Raises:
            UserError: The variable is missing, or cannot be converted to weights.
        """
        shape, values = self.shape(name), self._variables[name]
        if values.dtype == DTYPES[BFLOAT16]:
            return (values.astype(np.uint32) << 16).view(np.float32)
        if values.dtype.kind == "f":
            return values.astype(np.float32)
        if values.dtype == DTYPES[INT32] or f"{name}_scale" not in self:
            raise self.error(f"has {name} as integers without a scale; expected int8 or int16 with one")
        # weights were multiplied by a scale and rounded: one scale for all, or one for each row
        scale = self._variables[f"{name}_scale"].astype(np.float32).reshape(-1)
        if scale.size not in (1, shape[0] if shape else 1) or not (scale != 0).all():
            raise self.error(
                f"has {scale.size} scales for {name} of shape {list(shape)}: too few, too many, or a zero"
            )
        return values.astype(np.float32) / scale.reshape(-1, *[1] * (len(shape) - 1))

    def _read_variables(self) -> dict[str, np.ndarray]:
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
        self._number("I")  # revision of the specification; not needed, the variables' names suffice
        variables: dict[str, np.ndarray] = {}
        for _ in range(self._number("I")):
            name = self._string()
            if name in variables:
                raise self.error(f"has the variable {name} twice")
            variables[name] = self._variable(name)
        return variables

    def _variable(self, name: str) -> np.ndarray:
        shape = tuple(self._number("I") for _ in range(self._number("B")))
        dtype, size_bytes = self._number("B"), self._number("I")
        if len(shape) > MAX_RANK:
            raise self.error(f"has {name[:80]} with {len(shape)} dimensions, expected at most {MAX_RANK}")
        if dtype not in DTYPES:
            raise self.error(f"has {name[:80]} in the unknown data type {dtype}")
        expected = math.prod(shape) * np.dtype(DTYPES[dtype]).itemsize
        if size_bytes != expected:
            raise self.error(f"has {size_bytes:,} bytes for {name[:80]}, expected {expected:,}")
        return self._take(size_bytes).view(DTYPES[dtype]).reshape(shape)

    def _add_aliases(self) -> None:
        for _ in range(self._number("I")):
            alias, name = self._string(), self._string()
            if name not in self._variables:
                raise self.error(f"has {alias[:80]} as another name for {name[:80]}, but no {name[:80]}")
            self._variables[alias] = self._variables[name]
            # the alias does not always include the scalar scale of an int16 weight
            if f"{name}_scale" in self:
                self._variables.setdefault(f"{alias}_scale", self._variables[f"{name}_scale"])
        if self._position_bytes != len(self._data):
            raise self.error(f"has {len(self._data) - self._position_bytes:,} bytes after its end")

    def _take(self, size_bytes: int) -> np.ndarray:
        """Read the next bytes, (size_bytes,) uint8."""
        begin = self._position_bytes
        if size_bytes > len(self._data) - begin:
            raise self.error(
                f"is truncated: found {len(self._data):,} bytes, expected at least {begin + size_bytes:,}"
            )
        self._position_bytes += size_bytes
        return self._data[begin : begin + size_bytes]

    def _number(self, code: str) -> int:
        return struct.unpack(f"<{code}", self._take(struct.calcsize(f"<{code}")).tobytes())[0]

    def _string(self) -> str:
        try:
            return self._take(self._number("H")).tobytes().removesuffix(b"\0").decode("utf-8")
        except UnicodeDecodeError:
            raise self.error("has a name that is not text") from None

    def error(self, what: str) -> UserError:
        """Return the error for this file.

        `what` continues the sentence after the file's name, such as "is truncated".
        """
        return UserError(f"{self._path}: the file {what}. {NEW_CONVERSION}")
