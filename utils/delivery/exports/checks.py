"""What several export formats must check in a model before they write it."""

import torch
from transformers import WhisperForConditionalGeneration

from utils.model.alignment_heads import alignment_heads, find_strange_heads


def find_head_problems(model: WhisperForConditionalGeneration) -> list[str]:
    """Check the heads for the times of words: runtimes crash on a wrong layer, and find no words by a wrong
    head.
    """
    strange = find_strange_heads(model.config, alignment_heads(model))
    if not strange:
        return []
    layers, heads = model.config.decoder_layers, model.config.decoder_attention_heads
    return [
        f"generation_config.json: alignment_heads has {strange[0]}, but the decoder has {layers} layers of "
        f"{heads} heads. Copy the list of the model that this one was made from, or remove it."
    ]


def find_half_problems(model: WhisperForConditionalGeneration) -> list[str]:
    """Check that every weight fits into float16."""
    limit = torch.finfo(torch.float16).max
    for name, weight in model.named_parameters():
        largest = float(weight.detach().abs().max())
        if not largest <= limit:
            return [
                f"{name} has a weight of {largest:.3g}, and float16 ends at {limit:.0f}. Export in another "
                "precision."
            ]
    return []
