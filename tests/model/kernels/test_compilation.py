"""Compiled layers: equal losses and gradients at any length, one program for all, none for decoding."""

import copy

import pytest
import torch
from torch._dynamo.utils import counters
from transformers import WhisperForConditionalGeneration

from utils.model.kernels.fast_paths import check_compiler, compile_layers
from utils.model.loss import WhisperLoss
from utils.model.whisper import eval_mode
from utils.runtime.errors import UserError


def batch(frames: int, tokens: int, num_clips: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(frames)
    ids = torch.randint(0, 200, (2, num_clips, tokens), generator=random)
    return torch.randn(num_clips, 80, frames, generator=random), ids[0], ids[1]


@pytest.mark.slow
def test_losses_and_gradients_equal_the_uncompiled(tiny_whisper):
    plain = WhisperForConditionalGeneration.from_pretrained(tiny_whisper).train()
    compiled = copy.deepcopy(plain)
    compile_layers(compiled)
    both = [WhisperLoss(model, silence_run=64) for model in (plain, compiled)]
    torch._dynamo.reset()
    counters.clear()
    shapes = [(60, 9, 4), (220, 17, 4), (460, 30, 3), (1200, 12, 2)]  # each longer than those before
    for shape in shapes:
        features, inputs, labels = batch(*shape)
        losses = []
        for model in both:
            model.zero_grad()
            loss = model(features, inputs, labels)
            loss.backward()
            losses.append(loss.item())
        assert losses[1] == pytest.approx(losses[0], rel=1e-5)
        for (name, one), (_, other) in zip(
            plain.named_parameters(), compiled.named_parameters(), strict=True
        ):
            if one.grad is not None:
                torch.testing.assert_close(other.grad, one.grad, atol=2e-4, rtol=2e-3, msg=name)
    assert counters["stats"]["unique_graphs"] == 2  # one for encoder layers, one for decoder layers
    with torch.no_grad(), eval_mode(compiled):
        compiled.generate(torch.zeros(1, 80, 3000), max_new_tokens=3)
    assert counters["stats"]["unique_graphs"] == 2
    assert set(compiled.state_dict()) == set(plain.state_dict())


def test_without_a_compiler_there_is_one_clear_word(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(UserError, match=r"no C\+\+ compiler found, looked for g\+\+, clang\+\+"):
        check_compiler()
