"""What repeating a step is made of; tests/test_train_memory.py repeats steps of real runs."""

import weakref
from types import SimpleNamespace

import pytest
import torch

from utils.data.length_batches import Example
from utils.training import micro_batch_halving as halving
from utils.training.state import TrainingState
from utils.training.steps import Step

CLIPS = tuple(Example((row,), 2.0, 5) for row in range(7))
STEP = Step(0, 0, CLIPS, context=2.0, work=2.5)


@pytest.mark.parametrize(("seconds", "clips"), [(None, 7), (10.0, 4), (9.9, 3), (2.0, 1)])
def test_a_micro_batch_has_the_clips_that_the_encoder_can_work_on_at_once(seconds, clips):
    assert halving.most_clips(TrainingState(micro_batch_seconds=seconds), STEP) == clips


@pytest.mark.parametrize("failed", range(2, 40))
def test_half_the_clips_are_found_again_in_the_seconds_that_are_kept(failed):
    state, step = TrainingState(), Step(0, 0, CLIPS * 6, context=2.1, work=2.1 + 1 / 3)
    halving._halve(SimpleNamespace(print=lambda text: None), state, step, failed)
    assert halving.most_clips(state, step) == (failed + 1) // 2


def test_gradients_are_averaged_in_buckets_of_one_dtype_and_every_one_is_given_back(monkeypatch):
    """Seven processes that have the same gradients would keep them; here they double in each exchange."""
    monkeypatch.setattr(halving, "BUCKET_BYTES", 100)
    model = torch.nn.ParameterList([torch.zeros(size) for size in ((30,), (2, 5), (5, 2), (1,))])
    model[3] = torch.nn.Parameter(torch.zeros(1, dtype=torch.float16))
    model.append(torch.nn.Parameter(torch.zeros(3), requires_grad=False))
    for number, parameter in enumerate(model[:4], start=1):
        parameter.grad = torch.full_like(parameter, number)
    exchanged = []

    def reduce(flat, reduction):
        assert reduction == "mean"
        exchanged.append((len(flat), flat.dtype))
        return 2 * flat

    halving._average_gradients(SimpleNamespace(reduce=reduce), model)
    assert exchanged == [(30, torch.float32), (20, torch.float32), (1, torch.float16)]
    for number, parameter in enumerate(model[:4], start=1):
        assert torch.equal(parameter.grad, torch.full_like(parameter, 2 * number))
    assert model[4].grad is None


@pytest.mark.parametrize(("of_all", "smallest"), [([0, 0, 0], 0), ([0, 5, 4], 4), ([1, 0, 2], 1)])
def test_the_processes_agree_on_the_smallest_that_failed(of_all, smallest):
    accelerator = SimpleNamespace(
        num_processes=3, device=torch.device("cpu"), gather=lambda own: torch.tensor(of_all)
    )
    assert halving._smallest_that_failed(accelerator, 0) == smallest


def test_another_error_is_not_taken_for_memory_that_ran_out():
    def backward(pieces):
        raise RuntimeError("size mismatch")

    with pytest.raises(RuntimeError, match="size mismatch"):
        halving._backward_or_none(backward, [])


def test_what_a_failed_pass_held_is_free_before_the_next():
    held = []

    def backward(pieces):
        activations = torch.ones(10)
        held.append(weakref.ref(activations))
        raise MemoryError(activations)

    assert halving._backward_or_none(backward, []) is None and held[0]() is None
