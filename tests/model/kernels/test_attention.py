"""Attention by products against the formula in float64, at every kind of Whisper's attention."""

import copy

import pytest
import torch
from transformers import WhisperForConditionalGeneration

from utils.model.kernels.attention import NAME, _attend, _attend_to_few, attend_by_products


class Module(torch.nn.Module):
    def __init__(self, is_causal: bool) -> None:
        super().__init__()
        self.is_causal = is_causal


@pytest.mark.parametrize("bias", [None, torch.arange(50).float()[None, None, None] / 10])
@pytest.mark.parametrize(
    ("queries", "keys", "causal"), [(50, 50, False), (9, 9, True), (1, 1, True), (9, 50, False)]
)
def test_equals_the_formula(queries, keys, causal, bias, monkeypatch):
    torch.manual_seed(0)
    bias = None if keys < 50 else bias
    monkeypatch.setattr(
        "utils.model.kernels.attention.sdpa_attention_forward", None
    )  # which would be as good
    made = [torch.randn(2, 3, length, 16, dtype=torch.float64) for length in (queries, keys, keys)]
    made[0] *= 0.25
    exact = [tensor.clone().requires_grad_() for tensor in made]
    rounded = [tensor.bfloat16().requires_grad_() for tensor in made]
    scores = exact[0] @ exact[1].transpose(-1, -2)
    if bias is not None:
        scores = scores + bias
    if causal:
        scores += torch.full(scores.shape[-2:], float("-inf"), dtype=torch.float64).triu(1)
    expected = (scores.softmax(-1) @ exact[2]).transpose(1, 2)
    found, _ = _attend(Module(causal), *rounded, bias, scaling=1.0)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.double(), expected, atol=0.03, rtol=0.03)
    weights = torch.randn(expected.shape, dtype=torch.float64)
    (expected * weights).sum().backward()
    (found.double() * weights).sum().backward()
    for one, other in zip(rounded, exact, strict=True):
        torch.testing.assert_close(one.grad.double(), other.grad, atol=0.08, rtol=0.05)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_a_model_keeps_its_loss(tiny_whisper, precision, tmp_path):
    model = WhisperForConditionalGeneration.from_pretrained(tiny_whisper)
    changed = copy.deepcopy(model)
    attend_by_products(changed)
    features = torch.randn(2, 80, 3000, generator=torch.Generator().manual_seed(0))
    labels = torch.randint(0, 200, (2, 12), generator=torch.Generator().manual_seed(1))
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == torch.bfloat16):
        expected, found = (each(features, labels=labels).loss for each in (model, changed))
    tolerance = 1e-6 if precision == torch.float32 else 1e-2
    assert found.item() == pytest.approx(expected.item(), abs=tolerance)
    changed.save_pretrained(tmp_path)
    assert NAME not in (tmp_path / "config.json").read_text()
    assert (
        changed.generate(features, max_new_tokens=3).shape == model.generate(features, max_new_tokens=3).shape
    )


@pytest.mark.parametrize("queries", [1, 3])
def test_tokens_are_asked_for_by_the_formula_with_either_mask(queries, monkeypatch):
    torch.manual_seed(0)
    monkeypatch.setattr("utils.model.kernels.attention.sdpa_attention_forward", None)
    query, key, value = (torch.randn(2, 3, length, 16).bfloat16() for length in (queries, 50, 50))
    there = torch.rand(2, 1, 1, 50) > 0.3
    added = torch.where(there, torch.randn(2, 1, 1, 50), -torch.inf)
    for mask, term in ((there, torch.where(there, 0.0, -torch.inf)), (added, added)):
        scores = query.double() @ key.double().transpose(-1, -2) + term.double()
        expected = (scores.softmax(-1) @ value.double()).transpose(1, 2)
        found, _ = _attend_to_few(Module(False).eval(), query, key, value, mask, scaling=1.0)
        torch.testing.assert_close(found.double(), expected, atol=0.05, rtol=0.05)
