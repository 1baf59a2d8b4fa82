"""Whisper's layers compiled by torch, for training."""

import contextlib
import os
import shutil
from collections.abc import Iterator

import torch
from transformers import WhisperForConditionalGeneration

from utils.runtime.errors import UserError


def check_compiler() -> None:
    """See to it that torch will find what it compiles for a CPU with.

    Raises:
        UserError: There is no C++ compiler.
    """
    names = [os.environ.get("CXX", "g++"), "g++", "clang++"]
    if not any(shutil.which(name) for name in names):
        raise UserError(
            f"torch_compile: no C++ compiler, looked for {', '.join(dict.fromkeys(names))}. Install one "
            "(Debian: apt install g++), set CXX, or train without."
        )


def compile_layers(whisper: WhisperForConditionalGeneration) -> None:
    """Compile encoder and decoder layers where they stand; names and weights stay as they are.

    All encoder layers share one program, as do all decoder layers. It is compiled for any length, since a
    dynamic context has some hundred.
    """
    for layer in [*whisper.model.encoder.layers, *whisper.model.decoder.layers]:
        layer.compile(dynamic=True)


@contextlib.contextmanager
def uncompiled() -> Iterator[None]:
    """Run compiled layers as they were written: decoding with its cache would have them compiled anew."""
    with torch.compiler.set_stance("force_eager"):
        yield
