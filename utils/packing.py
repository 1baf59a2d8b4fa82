"""Linear layers whose weights are laid out once as the CPU's matrix kernels read them, for decoding.

A decoder multiplies a few rows at a time with all its weights, and torch has oneDNN sort them anew at every
call, or leaves float32 to a kernel that is poor at few rows. With eight rows the projection onto Whisper's
vocabulary takes half (bfloat16) to a third (float32) of the time; products of many rows gain a tenth or two.
torch's inductor packs weights in the same way when it freezes a model.
"""

import contextlib
import platform
from collections.abc import Callable, Iterator

import torch
from torch import nn

ROWS = 8  # that oneDNN lays the weights out for; any other number gives the same sums


@contextlib.contextmanager
def packed(model: nn.Module) -> Iterator[None]:
    """Pack a model's linear layers for the block, where it is on an x86 CPU; elsewhere nothing is done.

    The weights are copied: a change to them in the block is not seen. Under autocast they are packed in its
    precision. Nothing can be trained in the block.
    """
    layers = [layer for layer in model.modules() if type(layer) is nn.Linear and _can_be_packed(layer)]
    for layer in layers:
        layer.forward = _packed_forward(layer)  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward  # the class's own is behind it


def _can_be_packed(layer: nn.Linear) -> bool:
    if layer.weight.device.type != "cpu" or platform.machine() not in ("x86_64", "AMD64"):
        return False
    if not torch.backends.mkldnn.is_available():
        return False
    dtype = _precision(layer)
    return dtype == torch.float32 or (
        dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )


def _precision(layer: nn.Linear) -> torch.dtype:
    """Of the layer's products: that of autocast, where there is one."""
    autocast = torch.is_autocast_enabled("cpu")
    return torch.get_autocast_dtype("cpu") if autocast else layer.weight.dtype


def _packed_forward(layer: nn.Linear) -> Callable[[torch.Tensor], torch.Tensor]:
    dtype = _precision(layer)
    with torch.no_grad():
        weight = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach().to(dtype), ROWS)
        bias = None if layer.bias is None else layer.bias.detach().to(dtype)

    def forward(inputs: torch.Tensor) -> torch.Tensor:
        return torch.ops.mkldnn._linear_pointwise(inputs.to(dtype), weight, bias, "none", [], "")

    return forward
