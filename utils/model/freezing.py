"""Parts of the model that are left out of training."""

from torch import nn
from transformers import WhisperForConditionalGeneration

from utils.runtime.errors import UserError


def freeze(
    model: WhisperForConditionalGeneration,
    *,
    encoder: bool = False,
    convolutions: bool = False,
    encoder_layers: int = 0,
) -> None:
    """Take parts of the model out of training.

    Args:
        model: Changed in place.
        encoder: All of the encoder.
        convolutions: The two convolutions that turn log-mel frames into the encoder's input.
        encoder_layers: So many layers of the encoder from below, the convolutions with them.

    Raises:
        UserError: More layers than the encoder has.
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
