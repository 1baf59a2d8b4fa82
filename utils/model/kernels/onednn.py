"""Linear layers by oneDNN on x86 CPUs, where torch calls another library or sorts the weights at every call.

For decoding, `packed` lays weights out once as the CPU's matrix kernels read them. A decoder multiplies a few
rows at a time with all its weights, and torch has oneDNN sort them anew at every call, or leaves float32 to a
kernel that is poor at few rows. With eight rows the projection onto Whisper's vocabulary takes half
(bfloat16) to a third (float32) of the time; products of many rows gain a tenth or two. torch's inductor packs
weights in the same way when it freezes a model.

For training, `multiply_by_onednn` takes float32 products from MKL to oneDNN, which projects a hundred tokens
onto the vocabulary in half the time. In bfloat16 torch asks oneDNN itself. A kernel is made and kept for
every number of rows: the projection has few, the encoder's layers would keep 0.3 GB of them for 2 %.
"""

import contextlib
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

ROWS = 8  # that oneDNN lays the weights out for; any other number gives the same sums


def is_available(dtype: torch.dtype) -> bool:
    """Whether torch has oneDNN's products of float32 or bfloat16 on this machine."""
    if platform.machine() not in ("x86_64", "AMD64") or not torch.backends.mkldnn.is_available():
        return False
    return dtype == torch.float32 or (
        dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )


def _multiply(inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """(…, in) by (out, in), plus (out,), is (…, out); what inductor calls for a linear layer."""
    if not inputs.numel():  # no targets in a batch
        return nn.functional.linear(inputs, weight, bias)
    product: Tensor = torch.ops.mkldnn._linear_pointwise(inputs, weight, bias, "none", [], "")
    return product


@contextlib.contextmanager
def packed(model: nn.Module) -> Iterator[None]:
    """Pack a model's linear layers for the block, where it is on an x86 CPU; elsewhere nothing is done.

    The weights are copied: a change to them in the block is not seen. Under autocast they are packed in its
    precision. Nothing can be trained in the block.
    """
    layers = [layer for layer in _linear_layers(model) if is_available(_precision(layer))]
    for layer in layers:
        layer.forward = _packed_forward(layer)  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward  # the class's own is behind it


def _linear_layers(model: nn.Module) -> list[nn.Linear]:
    """Those on a CPU that compute what nn.Linear does; a subclass may do otherwise."""
    return [
        layer
        for layer in model.modules()
        if isinstance(layer, nn.Linear)
        and type(layer) in (nn.Linear, TrainedLinear)
        and layer.weight.device.type == "cpu"
    ]


def _precision(layer: nn.Linear) -> torch.dtype:
    """Of the layer's products: that of autocast, where there is one."""
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
    """What sizes of a training batch are divisible by, so that there are few different ones."""

    positions: int = 1  # of the encoder, where silence is condensed
    tokens: int = 1  # that the decoder reads


ANY_SIZE = Multiples()


def choose_multiples(device: torch.device, mixed_precision: str) -> Multiples:
    """Coarse where oneDNN compiles every product for its very shape, and keeps the last 1,024 of them."""
    if device.type == "cpu" and mixed_precision == "bf16":
        return Multiples(positions=32, tokens=8)
    return ANY_SIZE


def multiply_by_onednn(model: nn.Module) -> None:
    """Let the float32 linear layers of a model, or one layer, on an x86 CPU train by oneDNN; others stay.

    For weights that are whole on each process: sharded ones are not there when the gradient is computed.
    """
    if is_available(torch.float32):
        for layer in _linear_layers(model):
            if layer.weight.dtype == torch.float32:
                layer.__class__ = TrainedLinear


class TrainedLinear(nn.Linear):
    """A linear layer whose products, and those of its gradients, are oneDNN's."""

    def forward(self, inputs: Tensor) -> Tensor:
        """(…, in) float32 to (…, out)."""
        # views belong outside: a product may be added to in place
        rows = inputs.reshape(-1, self.in_features)
        product: Tensor = _Product.apply(rows, self.weight, self.bias)  # type: ignore[no-untyped-call]
        return product.view(*inputs.shape[:-1], self.out_features)


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """(N, in), (out, in) and (out,) to (N, out)."""
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
