"""Find the Whisper model inside a wrapper. Count and freeze its parameters, and set its modes."""

import contextlib
from collections.abc import Iterator
from typing import cast

from torch import nn
from transformers import WhisperForConditionalGeneration

from utils.model.kernels.fast_paths import uncompiled
from utils.model.quantization import true_size
from utils.runtime.errors import UserError


def whisper_of(model: nn.Module) -> WhisperForConditionalGeneration:
    """Return the Whisper model inside a PEFT wrapper, or the model itself."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model  # type: ignore[operator]
    return cast(WhisperForConditionalGeneration, inner)


def adapter_name(model: nn.Module) -> str | None:
    """Return `lora`, `dora` or `adalora`. None for a model without an adapter."""
    config = getattr(model, "active_peft_config", None)
    if config is None:
        return None
    return "dora" if config.use_dora else str(config.peft_type.value).lower()


def count_parameters(model: nn.Module) -> tuple[int, int]:
    """Count the trainable parameters and all parameters.

    Tied weights count once. Quantised weights and weights that ZeRO-3 has sharded count in full.
    """
    sizes = [(true_size(p), p.requires_grad) for p in model.parameters()]
    return sum(size for size, is_trainable in sizes if is_trainable), sum(size for size, _ in sizes)


def trainable_parameters_line(model: nn.Module) -> str:
    """Return the line that PEFT prints: `trainable params: 8 || all params: 80 || trainable%: 10.0000`."""
    trainable, total = count_parameters(model)
    share = 100 * trainable / total
    return f"trainable params: {trainable:,} || all params: {total:,} || trainable%: {share:.4f}"


def allow_empty_texts(model: nn.Module) -> None:
    """Allow the end token as the first token of a text. Whisper's generation config forbids this.

    Use it for models trained on clips without speech. Other models would write nothing for speech of which
    they are unsure.
    """
    config = whisper_of(model).generation_config
    config.begin_suppress_tokens = [
        token for token in config.begin_suppress_tokens or [] if token != config.eos_token_id
    ] or None


@contextlib.contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Turn dropout off in the block, then restore the mode. Compiled layers are not used in the block."""
    was_training = model.training
    model.eval()
    try:
        with uncompiled():
            yield
    finally:
        model.train(was_training)


def freeze(
    model: WhisperForConditionalGeneration,
    *,
    encoder: bool = False,
    convolutions: bool = False,
    encoder_layers: int = 0,
) -> None:
    """Freeze parts of the model.

    Args:
        model: Changed in place.
        encoder: All of the encoder.
        convolutions: The two convolutions that turn log-mel frames into the encoder's input.
        encoder_layers: Number of the lowest encoder layers to freeze. The convolutions are then frozen too.

    Raises:
        UserError: The encoder has fewer layers.
    """
    whole = model.model.encoder
    if encoder_layers > len(whole.layers):
        raise UserError(
            f"freeze_encoder_layers {encoder_layers}: the encoder has {len(whole.layers)} layers."
        )
    frozen: list[nn.Module] = [whole] if encoder else list(whole.layers[:encoder_layers])
    if convolutions or encoder_layers:
        frozen += [whole.conv1, whole.conv2]
    for module in frozen:
        module.requires_grad_(False)
