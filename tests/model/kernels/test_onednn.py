"""Layers by oneDNN give what torch's give; packed ones are themselves again afterwards."""

import copy

import pytest
import torch
from torch import nn

from utils.model.encoded_clips import encode_in_contexts
from utils.model.kernels.attention import attending_by_products, mask_cross_attention
from utils.model.kernels.onednn import TrainedLinear, is_available, multiply_by_onednn, packed
from utils.model.loading import load_model


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize("shape", [(1, 48), (8, 48), (3, 1, 48), (2, 300, 48)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_packed_layer_gives_what_the_layer_gives(dtype, tolerance, shape, bias):
    torch.manual_seed(0)
    layer = nn.Linear(48, 96, bias=bias).to(dtype)
    inputs = torch.randn(shape, dtype=dtype)
    with torch.no_grad():
        expected = layer(inputs)
        with packed(nn.Sequential(layer)):
            found = layer(inputs)
    assert found.dtype == expected.dtype and found.shape == expected.shape
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=tolerance)


def test_layers_are_themselves_again():
    layer = nn.Linear(4, 4)
    before = layer.state_dict()
    with pytest.raises(KeyError), packed(nn.Sequential(layer)):
        assert "forward" in vars(layer) or not is_available(torch.float32)
        raise KeyError
    assert "forward" not in vars(layer)
    assert layer(torch.randn(2, 4)).requires_grad and layer.state_dict().keys() == before.keys()


def test_autocast_decides_the_precision():
    torch.manual_seed(0)
    layer, inputs = nn.Linear(48, 96), torch.randn(8, 48)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        expected = layer(inputs)
        with packed(nn.Sequential(layer)):
            found = layer(inputs)
    assert found.dtype == expected.dtype == torch.bfloat16
    torch.testing.assert_close(found, expected, atol=2e-2, rtol=2e-2)


def test_other_layers_are_left_alone():
    class Special(nn.Linear):
        pass

    model = nn.Sequential(Special(4, 4), nn.Conv1d(4, 4, 1))
    with packed(model):
        assert "forward" not in vars(model[0])


@pytest.mark.parametrize("shape", [(1, 48), (8, 48), (0, 48), (2, 300, 48)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("frozen", [True, False])
def test_gradients_are_those_of_the_layer(shape, bias, frozen):
    torch.manual_seed(0)
    layer = nn.Linear(48, 96, bias=bias)
    layer.weight.requires_grad_(not frozen)
    ours = copy.deepcopy(layer)
    multiply_by_onednn(ours)
    # as attention hands its states on: a view that is not contiguous
    values = torch.randn(*shape[:-1], 2, 24).transpose(-1, -2).flatten(-2) if shape[0] else torch.randn(shape)
    results = []
    for module in (layer, ours):
        inputs = values.clone().requires_grad_()
        outputs = module(inputs)
        outputs += 1.0  # as AdaLoRA's layers do
        (outputs.transpose(0, -1) ** 2).sum().backward()
        results.append([outputs, inputs.grad, *(p.grad for p in module.parameters() if p.requires_grad)])
    assert len(results[0]) == 2 + (not frozen) + bias
    for expected, found in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-5)


def test_a_layer_that_trains_can_be_packed_copied_and_saved():
    layer = nn.Linear(48, 96)
    multiply_by_onednn(layer)
    assert type(layer) is TrainedLinear or not is_available(torch.float32)
    inputs = torch.randn(3, 48)
    expected = layer(inputs)
    with torch.no_grad(), packed(layer):
        torch.testing.assert_close(layer(inputs), expected)
    copied = copy.deepcopy(layer)
    with torch.no_grad():
        layer.weight.zero_()
    torch.testing.assert_close(copied(inputs), expected)
    assert list(layer.state_dict()) == ["weight", "bias"]


def test_other_precisions_are_left_to_torch():
    layers = nn.Sequential(nn.Linear(4, 4).bfloat16(), nn.Linear(4, 4).double())
    multiply_by_onednn(layers)
    assert {type(layer) for layer in layers} == {nn.Linear}


@pytest.mark.parametrize("silence_run", [0, 128])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_padding_and_products_change_no_next_token(tiny_whisper, italian_prompts, dtype, silence_run):
    """Clips of three contexts, each alone and all together: the same states and logits."""
    loaded = load_model(str(tiny_whisper), dtype=dtype)
    clips, contexts = [waveform for waveform, _ in italian_prompts[:3]], [7.0, 9.0, 8.5]
    prompts = torch.arange(4).expand(3, 4)

    def logits(rows: list[int]) -> torch.Tensor:
        model = loaded.model.eval()
        encoded = encode_in_contexts(
            model,
            loaded.processor,
            [clips[row] for row in rows],
            [contexts[row] for row in rows],
            silence_run,
        )
        mask_cross_attention(model, lambda _: encoded.mask)
        return model(decoder_input_ids=prompts[: len(rows)], encoder_outputs=(encoded.states,)).logits.float()

    with torch.no_grad():
        alone = torch.cat([logits([row]) for row in range(3)])
        with attending_by_products(loaded.model):
            together = logits([0, 1, 2])
    tolerance = 1e-4 if dtype == torch.float32 else 5e-2
    torch.testing.assert_close(together, alone, atol=tolerance, rtol=tolerance)
