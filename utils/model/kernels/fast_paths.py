"""Choose faster ways to compute the same result on a device, before a model is trained."""

import contextlib
import os
import shutil
from collections.abc import Iterator

import torch
from transformers import WhisperForConditionalGeneration

from utils.model.kernels.attention import attend_by_products
from utils.model.kernels.onednn import multiply_by_onednn
from utils.model.kernels.tied_embedding import add_rows_in_place, is_tied_and_trained
from utils.runtime.errors import UserError


def check_compiler() -> None:
    """Check that torch will find a compiler for CPU code.

    Raises:
        UserError: No C++ compiler was found.
    """
    names = [os.environ.get("CXX", "g++"), "g++", "clang++"]
    if not any(shutil.which(name) for name in names):
        raise UserError(
            f"torch_compile: no C++ compiler found, looked for {', '.join(dict.fromkeys(names))}. "
            "Install one (Debian: apt install g++), set CXX, or leave out torch_compile."
        )


def compile_layers(whisper: WhisperForConditionalGeneration) -> None:
    """Compile the layers of encoder and decoder in place. Names and weights do not change.

    All encoder layers share one program, and so do all decoder layers. It is compiled for all lengths at
    once, because dynamic contexts have hundreds of lengths.
    """
    for layer in [*whisper.model.encoder.layers, *whisper.model.decoder.layers]:
        layer.compile(dynamic=True)


@contextlib.contextmanager
def uncompiled() -> Iterator[None]:
    """Run compiled layers without compilation in the block, because decoding with a cache would compile them
    again.
    """
    with torch.compiler.set_stance("force_eager"):
        yield


def take_fast_paths(
    whisper: WhisperForConditionalGeneration,
    device: torch.device,
    mixed_precision: str,
    *,
    is_whole: bool = True,
    torch_compile: bool = False,
) -> None:
    """Make a model compute faster, with the same result.

    Args:
        whisper: The model. `requires_grad` marks the weights that are trained.
        device: Device for training.
        mixed_precision: `no`, `bf16` or `fp16`, as in Accelerate.
        is_whole: Whether each process holds all weights and the gradients of its own batch.
        torch_compile: Compile the layers.

    Raises:
        UserError: torch_compile is on for a CPU, and no C++ compiler was found.
    """
    on_cpu = device.type == "cpu"
    if on_cpu and mixed_precision == "bf16":
        attend_by_products(whisper)
    if on_cpu and is_whole and mixed_precision == "no" and not torch_compile:
        multiply_by_onednn(whisper.proj_out)
    if on_cpu and is_whole and is_tied_and_trained(whisper):
        add_rows_in_place(whisper.model.decoder.embed_tokens)
    if on_cpu and torch_compile:
        check_compiler()
    if torch_compile:
        compile_layers(whisper)
