"""Gradients of a tied embedding, added in place, against autograd's own."""

import copy

import pytest
import torch
from transformers import WhisperForConditionalGeneration

from utils.model.kernels.tied_embedding import add_rows_in_place, is_tied_and_trained
from utils.model.loss import WhisperLoss


@pytest.fixture(scope="module")
def models(tiny_whisper):
    plain = WhisperForConditionalGeneration.from_pretrained(tiny_whisper)
    changed = copy.deepcopy(plain)
    assert is_tied_and_trained(changed)
    add_rows_in_place(changed.model.decoder.embed_tokens)
    return WhisperLoss(plain), WhisperLoss(changed)


def batch(seed: int, padding: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    inputs = torch.randint(0, 200, (3, 9), generator=random)
    inputs[:, 6:] = padding
    labels = torch.randint(0, 200, (3, 9), generator=random)
    labels[:, 6:] = -100
    return torch.randn(3, 80, 60, generator=random), inputs, labels


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_gradients_equal_autograds_own(models, precision):
    plain, changed = models
    for model in models:
        model.zero_grad()
        for seed in (0, 1, 2):  # micro-batches add up
            features, inputs, labels = batch(seed, model.model.config.pad_token_id)
            if seed == 2:
                labels[:] = -100  # a filler: nothing is projected, nothing is learnt
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == torch.bfloat16):
                model(features, inputs, labels).backward()
    for (name, one), (_, other) in zip(plain.named_parameters(), changed.named_parameters(), strict=True):
        if one.grad is not None:
            torch.testing.assert_close(other.grad, one.grad, atol=1e-6, rtol=1e-5, msg=name)


def test_a_backward_pass_left_halfway_leaves_nothing(models):
    changed = models[1]
    features, inputs, labels = batch(0, changed.model.config.pad_token_id)

    def fail(gradient):
        raise MemoryError

    handle = changed.model.model.encoder.conv1.weight.register_hook(fail)
    with pytest.raises(MemoryError):
        changed(features, inputs, labels).backward()
    handle.remove()
    for model in models:
        model.zero_grad()
        model(features, inputs, labels).backward()
    expected, found = (model.model.model.decoder.embed_tokens.weight.grad for model in models)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


def test_frozen_and_untied_embeddings_are_left_alone(tiny_whisper):
    model = WhisperForConditionalGeneration.from_pretrained(tiny_whisper)
    model.model.decoder.embed_tokens.weight.requires_grad_(False)
    assert not is_tied_and_trained(model)
    model.model.decoder.embed_tokens.weight.requires_grad_(True)
    model.proj_out.weight = torch.nn.Parameter(model.proj_out.weight.detach().clone())
    assert not is_tied_and_trained(model)
