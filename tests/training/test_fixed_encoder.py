"""When an encoder stays as it is; what keeping its outputs does in a run: tests/test_train_frozen.py."""

import pytest

from tests.support.tiny_whisper import small_whisper
from utils.training.fixed_encoder import encoder_is_fixed


def test_an_encoder_is_fixed_when_frozen():
    model = small_whisper()
    assert not encoder_is_fixed(model)
    model.model.encoder.requires_grad_(False)
    assert encoder_is_fixed(model)
    model.model.encoder.layers[0].fc2.requires_grad_(True)
    assert not encoder_is_fixed(model)


@pytest.mark.parametrize("name", ["dropout", "attention_dropout", "activation_dropout"])
def test_an_encoder_with_dropout_is_never_fixed(name):
    model = small_whisper(**{name: 0.1})
    model.model.encoder.requires_grad_(False)
    assert not encoder_is_fixed(model)
