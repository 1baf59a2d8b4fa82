"""Write ONNX graphs operator by operator: linear layers, layer norms, attention.

8-bit linear layers multiply whole numbers. The scale of the weights is that of an output, the scale of the
activations that of a position, as in LLM.int8 (https://arxiv.org/abs/2208.07339, section 2.1). One scale for
all positions, as ONNX's `DynamicQuantizeLinear` takes it, changes more texts.
"""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from utils.delivery.exports.onnx_weights import LARGEST, SMALLEST_SCALE, ZERO_POINT, Weights

KeyAndValue = tuple[ir.Value, ir.Value]


class GraphWriter:
    """Appends operators to a graph. A method returns the value that it computes."""

    def __init__(self, weights: Weights, num_heads: int, head_dim: int) -> None:
        self.weights = weights
        self._heads, self._head_dim = num_heads, head_dim
        self._tape = ir.tape.Tape()

    @property
    def nodes(self) -> Sequence[ir.Node]:
        return self._tape.nodes

    def op(self, kind: str, *inputs: ir.Value, **attributes) -> ir.Value:
        return self._tape.op(kind, inputs, attributes)

    def constant(self, value: float | Sequence[int], dtype: ir.DataType = ir.DataType.INT64) -> ir.Value:
        return self.op("Constant", value=ir.tensor(np.array(value, dtype.numpy())))

    def number(self, value: float) -> ir.Value:
        """Return a constant of the weights' precision."""
        return self.constant(value, self.weights.dtype)

    def to_inner(self, value: ir.Value) -> ir.Value:
        """Turn float32 inputs of the file into the weights' precision."""
        half = self.weights.dtype == ir.DataType.FLOAT16
        return self.op("Cast", value, to=ir.DataType.FLOAT16) if half else value

    def to_outer(self, value: ir.Value) -> ir.Value:
        half = self.weights.dtype == ir.DataType.FLOAT16
        return self.op("Cast", value, to=ir.DataType.FLOAT) if half else value

    def size(self, value: ir.Value, axis: int) -> ir.Value:
        """Return the size of an axis, a scalar."""
        return self.op("Squeeze", self.op("Shape", value, start=axis, end=axis + 1))

    def layer_norm(self, value: ir.Value, name: str) -> ir.Value:
        scale, bias = self.weights.get(f"{name}.weight"), self.weights.get(f"{name}.bias")
        return self.op("LayerNormalization", value, scale, bias, axis=-1, epsilon=1e-5)

    def gelu(self, value: ir.Value) -> ir.Value:
        """The exact one, in the operators that runtimes recognise as such."""
        inner = self.op("Erf", self.op("Div", value, self.number(2**0.5)))
        return self.op(
            "Mul", self.op("Mul", value, self.op("Add", inner, self.number(1.0))), self.number(0.5)
        )

    def linear(self, value: ir.Value, name: str) -> ir.Value:
        """A linear layer of the model, by its name in the state dict."""
        weight, bias = f"{name}.weight", f"{name}.bias"
        if self.weights.quantized:
            result = self._multiply_whole(value, *self.weights.get_whole_numbers(weight, transposed=True))
        else:
            result = self.op("MatMul", value, self.weights.get_transposed(weight))
        return self.op("Add", result, self.weights.get(bias)) if bias in self.weights else result

    def embed(self, ids: ir.Value, name: str) -> ir.Value:
        """Rows of a matrix that `multiply_by_rows` uses too."""
        if not self.weights.quantized:
            return self.op("Gather", self.weights.get(name), ids)
        numbers, scales = self.weights.get_whole_numbers(name, transposed=False)
        rows = self.op("Cast", self.op("Gather", numbers, ids), to=ir.DataType.FLOAT)
        centred = self.op("Sub", rows, self.number(ZERO_POINT))
        return self.op(
            "Mul", centred, self.op("Unsqueeze", self.op("Gather", scales, ids), self.constant([-1]))
        )

    def multiply_by_rows(self, value: ir.Value, name: str) -> ir.Value:
        """A linear layer without bias. Its matrix is stored as rows, for `embed`."""
        if not self.weights.quantized:
            return self.op("MatMul", value, self.op("Transpose", self.weights.get(name), perm=[1, 0]))
        numbers, scales = self.weights.get_whole_numbers(name, transposed=False)
        return self._multiply_whole(value, self.op("Transpose", numbers, perm=[1, 0]), scales)

    def split_heads(self, value: ir.Value) -> ir.Value:
        """(B, positions, d_model) to (B, heads, positions, head size)"""
        shape = self.constant([0, 0, self._heads, self._head_dim])
        return self.op("Transpose", self.op("Reshape", value, shape), perm=[0, 2, 1, 3])

    def key_and_value(self, value: ir.Value, name: str) -> KeyAndValue:
        """Of an attention layer; each is (B, heads, positions, head size)."""
        key, values = (self.split_heads(self.linear(value, f"{name}.{kind}_proj")) for kind in "kv")
        return key, values

    def attend(
        self, value: ir.Value, name: str, key_and_value: KeyAndValue, later: ir.Value | None = None
    ) -> tuple[ir.Value, ir.Value]:
        """Return the result (B, positions, d_model) and the weights of attention.

        Args:
            value: (B, positions, d_model)
            name: Name of the attention layer.
            key_and_value: What it attends to.
            later: (positions, positions of the key): True where it must not attend.
        """
        key, values = key_and_value
        scaled = self.op("Mul", self.linear(value, f"{name}.q_proj"), self.number(self._head_dim**-0.5))
        scores = self.op("MatMul", self.split_heads(scaled), self.op("Transpose", key, perm=[0, 1, 3, 2]))
        if later is not None:
            lowest = self.number(float(np.finfo(self.weights.dtype.numpy()).min))
            scores = self.op("Where", later, lowest, scores)
        weights = self.op("Softmax", scores, axis=-1)
        attended = self.op("Transpose", self.op("MatMul", weights, values), perm=[0, 2, 1, 3])
        joined = self.op("Reshape", attended, self.constant([0, 0, self._heads * self._head_dim]))
        return self.linear(joined, f"{name}.out_proj"), weights

    def feed_forward(self, value: ir.Value, name: str) -> ir.Value:
        return self.linear(self.gelu(self.linear(value, f"{name}.fc1")), f"{name}.fc2")

    def _multiply_whole(self, value: ir.Value, numbers: ir.Value, scales: ir.Value) -> ir.Value:
        """Quantise each position of `value` (…, in), and multiply by whole numbers (in, out)."""
        largest = self.op("ReduceMax", self.op("Abs", value), self.constant([-1]), keepdims=1)
        scale = self.op("Max", self.op("Mul", largest, self.number(1 / LARGEST)), self.number(SMALLEST_SCALE))
        rounded = self.op("Round", self.op("Div", value, scale))
        whole = self.op("Cast", self.op("Add", rounded, self.number(ZERO_POINT)), to=ir.DataType.UINT8)
        zero = self.constant(ZERO_POINT, ir.DataType.UINT8)
        product = self.op("Cast", self.op("MatMulInteger", whole, numbers, zero, zero), to=ir.DataType.FLOAT)
        return self.op("Mul", self.op("Mul", product, scale), scales)
