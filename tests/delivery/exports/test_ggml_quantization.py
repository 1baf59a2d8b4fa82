"""Blocks against the bytes of ggml itself, and against the arithmetic of rounding."""

import numpy as np
import pytest

from tests.support.ggml_reader import decode
from utils.delivery.exports.ggml_quantization import quantize_q5_0, quantize_q8_0


@pytest.mark.parametrize(
    ("quantize", "expected"),
    [
        (
            quantize_q8_0,
            "082c81899199a1a9b1b9c0c8d0d8e0e8f0f8000810182028303840474f575f676f77003c7f8101ff03" + "00" * 61,
        ),
        (
            quantize_q5_0,
            "00380000ffff00112233445566778899aabbccddeeff"
            "f0c7feffffff000f" + "00" * 14 + "0080ffffffff" + "00" * 16,
        ),
    ],
)
def test_blocks_are_those_of_ggml(quantize, expected):
    """The bytes come from `quantize_row_…_ref` of ggml: halves, a tie of the largest, a block of zeros."""
    values = np.zeros((3, 32), "f")
    values[0] = np.arange(32) / 2 - 8
    values[1, :6] = [127, -127, 0.5, -0.5, 2.5, 0.49999997]
    assert quantize(values).tobytes().hex() == expected


@pytest.mark.parametrize(("quantize", "kind"), [(quantize_q8_0, "q8_0"), (quantize_q5_0, "q5_0")])
def test_numbers_are_rounded_by_half_a_step(quantize, kind):
    """Step: the largest of 32 numbers over 127 or 16. The end opposite to it is cut by one step in q5_0."""
    values = np.random.default_rng(0).normal(size=(500, 32)).astype("f")
    largest = np.abs(values).max(axis=1, keepdims=True)
    step = largest / (127 if kind == "q8_0" else 16)
    error = np.abs(decode(quantize(values).tobytes(), kind).reshape(values.shape) - values)
    rounding_of_step = largest / 2**11  # to float16
    assert (error <= step * (0.5 if kind == "q8_0" else 1) + rounding_of_step).all()
    assert (error <= step * 0.5 + rounding_of_step).mean() > 0.98
