"""What is faster on a device with the same result; to be taken before a model is trained."""

import torch
from transformers import WhisperForConditionalGeneration

from utils.model.kernels.attention import attend_by_products
from utils.model.kernels.compilation import check_compiler, compile_layers
from utils.model.kernels.onednn import multiply_by_onednn
from utils.model.kernels.tied_embedding import add_rows_in_place, is_tied_and_trained


def take_fast_paths(
    whisper: WhisperForConditionalGeneration,
    device: torch.device,
    mixed_precision: str,
    *,
    is_whole: bool = True,
    torch_compile: bool = False,
) -> None:
    """Change how a model computes, not what.

    Args:
        whisper: With what is trained marked.
        device: Where it will be trained.
        mixed_precision: In Accelerate's words: no, bf16 or fp16.
        is_whole: Whether each process holds all weights and the gradients of its own batch.
        torch_compile: Compile the layers.

    Raises:
        UserError: They are to be compiled for a CPU without a C++ compiler.
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
