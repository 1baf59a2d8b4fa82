"""A model file of whisper.cpp, read by the description in its `whisper_model_load()` and in ggml-quants.c."""

import math
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

TYPES = {0: "f32", 1: "f16", 6: "q5_0", 8: "q8_0"}


@dataclass(frozen=True)
class GgmlContent:
    """What a file holds."""

    header: tuple[int, ...]
    mel_filters: np.ndarray
    tokens: list[bytes]
    tensors: dict[str, np.ndarray]
    types: dict[str, str]
    ends: dict[str, int]  # place in the file behind each tensor


def read_by_hand(path: Path) -> GgmlContent:
    data, place = path.read_bytes(), 0

    def take(layout: str) -> tuple:
        nonlocal place
        place += struct.calcsize(layout)
        return struct.unpack_from(layout, data, place - struct.calcsize(layout))

    header = take("<12i")
    rows, columns = take("<2i")
    mel_filters = np.array(take(f"<{rows * columns}f"), "f").reshape(rows, columns)
    tokens = [bytes(take(f"<{length}s")[0]) for (length,) in (take("<i") for _ in range(take("<i")[0]))]
    tensors, types, ends = {}, {}, {}
    while place < len(data):
        rank, length, number = take("<3i")
        shape = take(f"<{rank}i")[::-1]
        name = take(f"<{length}s")[0].decode()
        types[name] = TYPES[number]
        size_bytes = {"f32": 4, "f16": 2, "q5_0": 22 / 32, "q8_0": 34 / 32}[types[name]] * math.prod(shape)
        tensors[name] = decode(take(f"<{int(size_bytes)}s")[0], types[name]).reshape(shape)
        ends[name] = place
    return GgmlContent(header, mel_filters, tokens, tensors, types, ends)


def decode(data: bytes, kind: str) -> np.ndarray:
    """After `dequantize_row_q8_0` and `dequantize_row_q5_0` of ggml."""
    if kind in ("f32", "f16"):
        return np.frombuffer(data, "<f4" if kind == "f32" else "<f2").astype("f")
    blocks = np.frombuffer(data, "u1").reshape(-1, 34 if kind == "q8_0" else 22)
    scale = blocks[:, :2].copy().view("<f2").astype("f")
    if kind == "q8_0":
        return scale * blocks[:, 2:].view("i1")
    high = blocks[:, 2:6].copy().view("<u4") >> np.arange(32, dtype="u4") & 1
    low = np.concatenate([blocks[:, 6:] & 15, blocks[:, 6:] >> 4], axis=1)
    return scale * ((low | high << 4).astype("i4") - 16)
