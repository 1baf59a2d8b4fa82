"""Run linear layers with oneDNN on x86 CPUs. torch itself uses another library, or reorders the weights at
every call.

For decoding, `packed` stores the weights once in the layout that the CPU's matrix kernels need. A decoder
multiplies few rows with all its weights. Without packing, oneDNN reorders the weights at every call, or
float32 uses a kernel that is slow for few rows. With packing, the projection of eight rows onto Whisper's
vocabulary takes half (bfloat16) to a third (float32) of the time. Products of many rows take 10 to 20 % less.
torch's inductor packs weights in the same way when it freezes a model.

For training, `multiply_by_onednn` computes float32 products with oneDNN instead of MKL. This projects a
hundred tokens onto the vocabulary in half the time. In bfloat16, torch already uses oneDNN. oneDNN keeps a
kernel in memory for every number of rows. The projection needs few kernels. Those of the encoder would take
0.3 GB and save 2 % of the time, so the encoder does not use it.
"""

import contextlib
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

ROWS = 8  # number of rows that the layout is made for; the result is the same for any number


def is_available(dtype: torch.dtype) -> bool:
    """Check whether torch has oneDNN's products of float32 or bfloat16 on this machine."""
    if platform.machine() not in ("x86_64", "AMD64") or not torch.backends.mkldnn.is_available():
        return False
    return dtype == torch.float32 or (
        dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )


def _multiply(inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Multiply (…, in) by (out, in), add (out,), and return (…, out), as inductor does for a linear layer."""
    if not inputs.numel():  # no targets in a batch
        return nn.functional.linear(inputs, weight, bias)
    product: Tensor = torch.ops.mkldnn._linear_pointwise(inputs, weight, bias, "none", [], "")
    return product


@contextlib.contextmanager
def packed(model: nn.Module) -> Iterator[None]:
    """Pack a model's linear layers in the block if it is on an x86 CPU. Otherwise do nothing.

    The weights are copied, so changes to them in the block have no effect. Under autocast, they are packed in
    its precision. Do not train in the block.
    """
    layers = [layer for layer in _linear_layers(model) if is_available(_precision(layer))]
    for layer in layers:
        layer.forward = _packed_forward(layer)  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward  # the class's own method is used again


def _linear_layers(model: nn.Module) -> list[nn.Linear]:
    """Return the layers on a CPU whose class is nn.Linear itself. A subclass may compute something else."""
    return [
        layer
        for layer in model.modules()
        if isinstance(layer, nn.Linear)
        and type(layer) in (nn.Linear, TrainedLinear)
        and layer.weight.device.type == "cpu"
    ]


def _precision(layer: nn.Linear) -> torch.dtype:
    """Return the precision in which the layer multiplies. If autocast is on, this is its precision."""
    autocast = torch.is_autocast_enabled("cpu")
    return torch.get_autocast_dtype("cpu") if autocast else layer.weight.dtype


def _packed_forward(layer: nn.Linear) -> Callable[[Tensor], Tensor]:
    dtype = _precision(layer)
    with torch.no_grad():
        weight = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach().to(dtype), ROWS)
        bias = None if layer.bias is None else layer.bias.detach().to(dtype)
    return lambda inputs: _multiply(inputs.to(dtype), weight, bias)


@dataclass(frozen=True)
class Multiples:
    """The sizes of training batches are multiples of these numbers, so that there are few different sizes."""

    positions: int = 1  # of the encoder, if silence is condensed
    tokens: int = 1  # that the decoder reads


ANY_SIZE = Multiples()


def choose_multiples(device: torch.device, mixed_precision: str) -> Multiples:
    """Choose large multiples if oneDNN compiles a kernel for each shape, because it keeps only the last 1,024
    kernels.
    """
    if device.type == "cpu" and mixed_precision == "bf16":
        return Multiples(positions=32, tokens=8)
    return ANY_SIZE


def multiply_by_onednn(model: nn.Module) -> None:
    """Train the float32 linear layers of a model, or one layer, with oneDNN on x86 CPUs.

    Other layers do not change. Each process must have the whole weights. If they are sharded, parts are
    missing when the gradient is computed.
    """
    if is_available(torch.float32):
        for layer in _linear_layers(model):
            if layer.weight.dtype == torch.float32:
                layer.__class__ = TrainedLinear


class TrainedLinear(nn.Linear):
    """A linear layer that computes its products and their gradients with oneDNN."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Multiply (…, in) float32 to (…, out)."""
        # create views outside: a product may be changed in place
        rows = inputs.reshape(-1, self.in_features)
        product: Tensor = _Product.apply(rows, self.weight, self.bias)  # type: ignore[no-untyped-call]
        return product.view(*inputs.shape[:-1], self.out_features)


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Multiply (N, in) by (out, in), add (out,), to (N, out)."""
        ctx.save_for_backward(inputs, weight)
        return _multiply(inputs, weight, bias)

    @staticmethod
    def backward(  # type: ignore[override]
        ctx: FunctionCtx, gradient: Tensor
    ) -> tuple[Tensor | None, ...]:
        inputs, weight = ctx.saved_tensors  # type: ignore[attr-defined]
        of_inputs = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:  # type: ignore[attr-defined]
            of_inputs = _multiply(gradient, weight.t(), None)
        if ctx.needs_input_grad[1]:  # type: ignore[attr-defined]
            of_weight = _multiply(gradient.t(), inputs.t(), None)
        if ctx.needs_input_grad[2]:  # type: ignore[attr-defined]
            of_bias = gradient.sum(0)
        return of_inputs, of_weight, of_bias
