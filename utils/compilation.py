"""Whisper's layers compiled by torch, for training."""

import contextlib
from collections.abc import Iterator

import torch
from transformers import WhisperForConditionalGeneration


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
