"""The weights of an ONNX file: float32, float16, or quantised to 8 bits."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import onnx_ir as ir
from torch import Tensor

LARGEST = 127  # of a quantised number, of either sign

ZERO_POINT = 128  # unsigned numbers, as sums of signed ones overflow on processors with AVX2 alone

SMALLEST_SCALE = 1e-12  # a row of zeros has no scale of its own


class Weights:
    """Weights by name, each written once, however many graphs use it.

    They stay where they are until a file is saved.
    """

    def __init__(self, state: Mapping[str, Tensor], precision: str) -> None:
        """Take a model's state dict, and float32, float16 or int8, which is for the linear layers alone."""
        self.quantized = precision == "int8"
        self.dtype = ir.DataType.FLOAT16 if precision == "float16" else ir.DataType.FLOAT
        self.values: dict[str, ir.Value] = {}
        self._state = state

    def __contains__(self, name: str) -> bool:
        return name in self._state

    def get(self, name: str) -> ir.Value:
        """Return a weight as it is."""
        weight = self._state[name]
        return self._share(name, self.dtype, weight.shape, partial(self._as_floats, weight))

    def get_transposed(self, name: str) -> ir.Value:
        weight = self._state[name].T
        return self._share(f"{name}.transposed", self.dtype, weight.shape, partial(self._as_floats, weight))

    def get_whole_numbers(self, name: str, *, transposed: bool) -> tuple[ir.Value, ir.Value]:
        """Return unsigned numbers around `ZERO_POINT`, and the scale of each row (rows,).

        Args:
            name: A matrix (rows, columns).
            transposed: Return the numbers as (columns, rows).
        """
        weight = self._state[name]
        kind, size = ("transposed", weight.shape[::-1]) if transposed else ("quantized", weight.shape)
        numbers = self._share(
            f"{name}.{kind}", ir.DataType.UINT8, size, partial(_whole_numbers, weight, transposed)
        )
        scale = self._share(
            f"{name}.scale",
            ir.DataType.FLOAT,
            size[:1] if not transposed else size[1:],
            partial(_scales, weight),
        )
        return numbers, scale

    def _as_floats(self, weight: Tensor) -> np.ndarray:
        return weight.detach().numpy().astype(self.dtype.numpy())

    def _share(
        self, name: str, dtype: ir.DataType, size: Sequence[int], compute: Callable[[], np.ndarray]
    ) -> ir.Value:
        if name not in self.values:
            shape = ir.Shape(size)
            tensor = ir.LazyTensor(
                lambda: ir.tensor(np.ascontiguousarray(compute())), dtype, shape, name=name
            )
            self.values[name] = ir.Value(
                name=name, type=ir.TensorType(dtype), shape=shape, const_value=tensor
            )
        return self.values[name]


def _whole_numbers(weight: Tensor, transposed: bool) -> np.ndarray:
    numbers = np.rint(weight.detach().numpy() / _scales(weight)[:, None]) + ZERO_POINT
    return (numbers.T if transposed else numbers).astype(np.uint8)


def _scales(weight: Tensor) -> np.ndarray:
    return np.maximum(np.abs(weight.detach().numpy()).max(axis=1) / LARGEST, SMALLEST_SCALE)
