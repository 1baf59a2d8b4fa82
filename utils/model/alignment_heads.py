"""Cross-attention heads that follow the audio, from which runtimes read the times of words."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import WhisperConfig, WhisperForConditionalGeneration


def alignment_heads(model: "WhisperForConditionalGeneration") -> list[list[int]]:
    """Return [layer, head] of each head that the model names, or of all heads in the decoder's upper half."""
    declared = getattr(model.generation_config, "alignment_heads", None)
    return declared or upper_half_heads(model.config)


def upper_half_heads(config: "WhisperConfig") -> list[list[int]]:
    """Return all heads of the decoder's upper half, OpenAI's default if no better heads are known."""
    layers = range(config.decoder_layers // 2, config.decoder_layers)
    return [[layer, head] for layer in layers for head in range(config.decoder_attention_heads)]


def find_strange_heads(config: "WhisperConfig", heads: list[list[int]]) -> list[list[int]]:
    """Return the heads that the decoder does not have. Runtimes crash on them, or find no words."""
    layers, heads_of_layer = config.decoder_layers, config.decoder_attention_heads
    return [
        [layer, head] for layer, head in heads if not (0 <= layer < layers and 0 <= head < heads_of_layer)
    ]
