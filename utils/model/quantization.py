"""Quantise base weights to 8 or 4 bits with bitsandbytes, for adapters (https://arxiv.org/abs/2305.14314)."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec

import torch
from torch import nn
from transformers import BitsAndBytesConfig, WhisperForConditionalGeneration

from utils.runtime.errors import UserError

# Tied to the token embedding, which is never quantised. The convolutions are no linear layers.
_KEPT_WHOLE = ["proj_out"]


@dataclass(frozen=True)
class Quantization:
    """How the linear layers of the base model are stored while an adapter is trained."""

    bits: int  # 8: LLM.int8() (https://arxiv.org/abs/2208.07339), or 4
    device: torch.device  # bitsandbytes quantises where the weights will stay
    quant_type: str = "nf4"  # of 4 bits: nf4 or fp4
    double_quant: bool = True  # of 4 bits: the scales are quantised as well
    compute_dtype: torch.dtype = torch.float32  # of 4 bits: type they are unpacked to for a multiplication


def bitsandbytes_config(quantization: Quantization) -> BitsAndBytesConfig:
    """Return the settings with which `from_pretrained` quantises while it loads.

    Raises:
        UserError: bitsandbytes is not installed, or training with it is untested on the device.
    """
    if find_spec("bitsandbytes") is None:
        raise UserError("load_in_8bit, load_in_4bit: bitsandbytes is not installed. pip install bitsandbytes")
    if quantization.device.type == "mps":
        raise UserError(
            "load_in_8bit, load_in_4bit: not for Apple GPUs (mps). Train the adapter on the unquantised "
            "model, or on the CPU or an NVIDIA GPU."
        )
    if quantization.bits == 8:
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=_KEPT_WHOLE)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=quantization.quant_type,
        bnb_4bit_use_double_quant=quantization.double_quant,
        bnb_4bit_compute_dtype=quantization.compute_dtype,
        llm_int8_skip_modules=_KEPT_WHOLE,
    )


def quantization_in_training(arguments: Mapping[str, object]) -> Quantization | None:
    """Return how the base of an adapter was quantised in its training, as settings for the CPU; None if it
    was not.

    Args:
        arguments: The arguments of train.py, from `train.yaml`.
    """
    if not (arguments.get("load_in_8bit") or arguments.get("load_in_4bit")):
        return None
    return Quantization(
        bits=8 if arguments.get("load_in_8bit") else 4,
        device=torch.device("cpu"),
        quant_type=str(arguments.get("bnb_4bit_quant_type", "nf4")),
        double_quant=bool(arguments.get("bnb_4bit_use_double_quant", True)),
    )


def dequantized(model: WhisperForConditionalGeneration) -> WhisperForConditionalGeneration:
    """Return the model with ordinary linear layers. They get the quantised weights, unpacked."""
    whole: WhisperForConditionalGeneration = model.dequantize()
    for mark in (
        "is_loaded_in_8bit",
        "is_loaded_in_4bit",
    ):  # otherwise PEFT takes the model for a quantised one
        vars(whole).pop(mark, None)
    return whole


def keep_trainable_after_decoding(model: nn.Module) -> None:
    """Prevent 4-bit layers from repacking their weights for fast decoding.

    On CPUs with AVX512-BF16, a forward pass in evaluation mode changes the weights to a form that the next
    training step cannot read.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False  # type: ignore[assignment]


def true_size(parameter: nn.Parameter) -> int:
    """Count the weights in a parameter.

    In 4 bits, a byte has two weights. For a shard of ZeRO-3, count the whole parameter.
    """
    size = getattr(parameter, "ds_numel", parameter.numel())
    if type(parameter).__name__ != "Params4bit":
        return size
    return size * 2 * parameter.element_size()
