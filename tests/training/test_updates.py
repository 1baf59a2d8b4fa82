"""An update is left out, whole, where loss or gradient is not finite."""

import math

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from utils.training.updates import update_weights


@pytest.fixture
def accelerator():
    AcceleratorState._reset_state(reset_partial_state=True)
    yield Accelerator(cpu=True)
    AcceleratorState._reset_state(reset_partial_state=True)


def build(accelerator: Accelerator):
    model = torch.nn.Linear(3, 1, bias=False)
    torch.nn.init.constant_(model.weight, 1.0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.0, fused=True)
    return accelerator.prepare(model, optimizer)


def build_with_scaler(accelerator: Accelerator, scale: float):
    """As under fp16 on a GPU, with float32 weights: only the loss scale is put to the test."""
    accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    prepared = build(accelerator)
    accelerator.native_amp, accelerator.state._mixed_precision = True, "fp16"
    return prepared


def run_step(accelerator, model, optimizer, inputs, *, max_grad_norm=1.0, stop=False):
    loss = model(torch.tensor([inputs])).sum()
    accelerator.backward(loss)
    return update_weights(accelerator, model, optimizer, loss.detach(), max_grad_norm, stop=stop)


def test_a_good_step_is_clipped_and_applied(accelerator):
    model, optimizer = build(accelerator)
    update = run_step(accelerator, model, optimizer, [2.0, 3.0, 6.0])
    assert (update.loss_sum, update.skipped, update.stop) == (11.0, False, False)
    assert update.grad_norm == pytest.approx(7.0)  # of (2, 3, 6)
    torch.testing.assert_close(model.weight, torch.full((1, 3), 0.9))  # Adam's first step is lr x sign
    assert model.weight.grad is None


@pytest.mark.parametrize(("max_grad_norm", "moved"), [(0.0, [2.0, 3.0, 6.0]), (3.5, [1.0, 1.5, 3.0])])
def test_a_norm_of_zero_clips_nothing(accelerator, max_grad_norm, moved):
    model = torch.nn.Linear(3, 1, bias=False)
    torch.nn.init.constant_(model.weight, 1.0)
    prepared = accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=1.0))
    update = run_step(accelerator, *prepared, [2.0, 3.0, 6.0], max_grad_norm=max_grad_norm)
    assert update.grad_norm == pytest.approx(7.0)
    torch.testing.assert_close(model.weight, 1 - torch.tensor([moved]))


@pytest.mark.parametrize("max_grad_norm", [0.0, 1.0])
@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
def test_a_step_that_is_not_finite_changes_nothing(accelerator, poison, max_grad_norm):
    model, optimizer = build(accelerator)
    run_step(accelerator, model, optimizer, [2.0, 3.0, 6.0])
    weights = model.weight.detach().clone()
    state = {name: value.clone() for name, value in optimizer.state[model.weight].items()}
    update = run_step(accelerator, model, optimizer, [1.0, poison, 1.0], max_grad_norm=max_grad_norm)
    assert update.skipped and not math.isfinite(update.grad_norm)
    assert torch.equal(model.weight, weights)
    assert model.weight.grad is None
    for name, value in optimizer.state[model.weight].items():
        assert torch.equal(value, state[name]), name
    assert not run_step(accelerator, model, optimizer, [1.0, 1.0, 1.0]).skipped
    assert not torch.equal(model.weight, weights)


@pytest.mark.parametrize("max_grad_norm", [0.0, 1.0])
def test_an_infinite_gradient_of_a_finite_loss_leaves_the_weights(accelerator, max_grad_norm):
    model, optimizer = build(accelerator)
    model.weight.register_hook(lambda gradient: torch.full_like(gradient, math.inf))
    update = run_step(accelerator, model, optimizer, [2.0, 3.0, 6.0], max_grad_norm=max_grad_norm)
    assert (update.loss_sum, update.grad_norm, update.skipped) == (11.0, math.inf, True)
    torch.testing.assert_close(model.weight, torch.ones(1, 3))
    assert not optimizer.state[model.weight]


def test_an_overflow_that_finds_the_loss_scale_of_fp16_is_not_counted(accelerator):
    model, optimizer = build_with_scaler(accelerator, 2.0**127)
    update = run_step(accelerator, model, optimizer, [2.0, 3.0, 6.0])
    assert not math.isfinite(update.grad_norm) and not update.skipped
    torch.testing.assert_close(model.weight, torch.ones(1, 3))
    assert accelerator.scaler.get_scale() == 2.0**126
    for _ in range(3):
        update = run_step(accelerator, model, optimizer, [2.0, 3.0, 6.0])
    assert math.isfinite(update.grad_norm) and not torch.equal(model.weight, torch.ones(1, 3))


def test_a_loss_that_is_not_finite_is_counted_in_fp16_too(accelerator):
    model, optimizer = build_with_scaler(accelerator, 4.0)
    assert run_step(accelerator, model, optimizer, [1.0, math.nan, 1.0]).skipped
    torch.testing.assert_close(model.weight, torch.ones(1, 3))


def test_the_wish_to_stop_is_passed_on(accelerator):
    model, optimizer = build(accelerator)
    assert run_step(accelerator, model, optimizer, [1.0, 1.0, 1.0], stop=True).stop
