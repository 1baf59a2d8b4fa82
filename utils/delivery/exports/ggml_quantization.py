"""The block formats q8_0 and q5_0 of ggml: 32 numbers share a scale. After `ggml-quants.c` of ggml."""

import numpy as np

BLOCK_SIZE = 32  # numbers

Q8_0 = np.dtype([("scale", "<f2"), ("values", "i1", BLOCK_SIZE)])

# the low four bits of numbers 0 to 15 and of 16 to 31 share bytes; `high` holds the fifth bit of each
Q5_0 = np.dtype([("scale", "<f2"), ("high", "u1", 4), ("low", "u1", BLOCK_SIZE // 2)])


def quantize_q8_0(values: np.ndarray) -> np.ndarray:
    """Round to whole steps of a 127th of the block's largest magnitude.

    Args:
        values: (..., width) float32, the width a multiple of 32.

    Returns:
        (blocks,) of `Q8_0`, byte for byte what ggml's own quantiser writes.
    """
    blocks = values.reshape(-1, BLOCK_SIZE)
    scale = np.abs(blocks).max(axis=1, keepdims=True) / np.float32(127)
    steps = blocks * _inverse(scale)
    packed = np.empty(len(blocks), Q8_0)
    packed["scale"] = scale[:, 0]
    # halves go away from zero as in C; a whole 0.5 would round 0.49999997 up
    packed["values"] = np.trunc(steps + np.copysign(np.float32(0.49999997), steps))
    return packed


def quantize_q5_0(values: np.ndarray) -> np.ndarray:
    """Round to whole steps from -16 to 15; the block's largest magnitude, with its sign, is step -16.

    Args:
        values: (..., width) float32, the width a multiple of 32.

    Returns:
        (blocks,) of `Q5_0`, byte for byte what ggml's own quantiser writes.
    """
    blocks = values.reshape(-1, BLOCK_SIZE)
    largest = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=1, keepdims=True), axis=1)
    scale = largest / np.float32(-16)
    steps = np.minimum(blocks * _inverse(scale) + np.float32(16.5), 31).astype(np.uint8)
    first, second = np.split(steps & 15, 2, axis=1)
    packed = np.empty(len(blocks), Q5_0)
    packed["scale"] = scale[:, 0]
    packed["high"] = np.packbits(steps >> 4, axis=1, bitorder="little")
    packed["low"] = first | second << 4
    return packed


def _inverse(scale: np.ndarray) -> np.ndarray:
    return np.divide(np.float32(1), scale, out=np.zeros_like(scale), where=scale != 0)
