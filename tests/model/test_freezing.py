"""Frozen parts keep every bit, all others move."""

import pytest
import torch

from tests.support.tiny_training import train_for
from utils.model.loading import load_model
from utils.model.loss import WhisperLoss
from utils.model.whisper import count_parameters, freeze
from utils.runtime.errors import UserError

# The tiny model: 2 + 2 layers of width 64, feed-forward 128, 80 mel bins, 1865 tokens,
# 1500 and 448 positions.
CONVOLUTIONS = 64 * 80 * 3 + 64 + 64 * 64 * 3 + 64
ATTENTION = 4 * 64 * 64 + 3 * 64  # k_proj has no bias
ENCODER_LAYER = ATTENTION + 2 * 64 * 128 + 128 + 64 + 2 * 2 * 64
ENCODER = CONVOLUTIONS + 1500 * 64 + 2 * ENCODER_LAYER + 2 * 64


@pytest.mark.parametrize(
    ("options", "frozen", "count"),
    [
        ({}, (), 0),
        ({"encoder": True}, ("model.encoder.",), ENCODER),
        ({"convolutions": True}, ("model.encoder.conv",), CONVOLUTIONS),
        (
            {"encoder_layers": 1},
            ("model.encoder.conv", "model.encoder.layers.0."),
            CONVOLUTIONS + ENCODER_LAYER,
        ),
        (
            {"encoder_layers": 2},
            ("model.encoder.conv", "model.encoder.layers."),
            CONVOLUTIONS + 2 * ENCODER_LAYER,
        ),
    ],
)
def test_frozen_parts_keep_every_bit_and_the_others_move(tiny_whisper, options, frozen, count):
    model = load_model(str(tiny_whisper)).model
    freeze(model, **options)
    trainable, total = count_parameters(model)
    assert total - trainable == count
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    train_for(model, WhisperLoss(model), 2)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]) == name.startswith(frozen or "none"), name


def test_more_layers_than_there_are(tiny_whisper):
    with pytest.raises(UserError, match="freeze_encoder_layers 3: the encoder has 2 layers"):
        freeze(load_model(str(tiny_whisper)).model, encoder_layers=3)
