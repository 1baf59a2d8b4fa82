from pathlib import Path

import pytest
import torch
from torch import nn

from utils.data.length_batches import Example
from utils.runtime.files import free_disk_bytes
from utils.training.estimates import (
    Disk,
    Estimate,
    TimedStep,
    count_evaluations,
    estimate_disk,
    estimate_seconds,
    estimate_table,
    format_seconds,
    pick_steps,
)
from utils.training.steps import Step


def step(number: int, context: float, clips: int = 2) -> Step:
    return Step(number, 0, (Example((0,), context, 5),) * clips, context, context)


STEPS = [step(number, context) for number, context in enumerate((1.0, 5.0, 2.0, 4.0, 3.0))]


def test_steps_are_picked_over_the_whole_range_of_work_the_most_first():
    assert [item.context for item in pick_steps(STEPS, 3)] == [5.0, 3.0, 1.0]
    assert [item.context for item in pick_steps(STEPS, 9)] == [5.0, 4.0, 3.0, 2.0, 1.0]
    assert len(pick_steps(STEPS[:1], 5)) == 1


def test_a_fixed_cost_and_one_by_the_second_are_told_apart():
    timed = [TimedStep(item, 0.5 + 0.1 * item.padded_seconds) for item in STEPS[:3]]
    assert estimate_seconds(timed, STEPS) == pytest.approx(5 * 0.5 + 0.1 * 30)


@pytest.mark.parametrize("seconds", [(1.0, 2.0), (3.0, 1.0)])
def test_no_part_of_the_line_is_negative(seconds):
    timed = [TimedStep(step(0, 1.0), seconds[0]), TimedStep(step(1, 9.0), seconds[1])]
    assert estimate_seconds(timed, [step(2, 0.1)]) > 0
    assert estimate_seconds(timed, [step(2, 100.0)]) > 0


def test_one_step_tells_of_all():
    assert estimate_seconds([TimedStep(STEPS[0], 2.0)], STEPS) == pytest.approx(10)


def test_disk_by_hand():
    model = nn.Sequential(nn.Linear(10, 10, bias=False), nn.Linear(10, 10, bias=False))
    model[0].requires_grad_(False)
    full = estimate_disk(
        model, checkpoints=2, models=2, moment_bytes=8, adapter_only=False, encoder_states=50
    )
    assert full == Disk(checkpoint=800 + 800, model=800, encoder_states=50, fullest=3 * 1600 + 2 * 800 + 50)
    adapter = estimate_disk(
        model, checkpoints=0, models=1, moment_bytes=2, adapter_only=True, encoder_states=0
    )
    assert adapter == Disk(checkpoint=400 + 200, model=400, encoder_states=0, fullest=400)


def test_disk_of_weights_in_16_bits_split_over_processes():
    """Half of the numbers of ZeRO-3 are here; AdamW's optimiser state is two moments and a master each."""
    model = nn.Linear(5, 10, bias=False).to(torch.bfloat16)
    model.weight.ds_numel = 100
    found = estimate_disk(
        model, checkpoints=1, models=1, moment_bytes=8, adapter_only=False, encoder_states=0
    )
    assert found == Disk(checkpoint=200 + 1200, model=200, encoder_states=0, fullest=2 * 1400 + 200)


def test_the_room_of_a_folder_that_is_still_to_be_made(tmp_path):
    import shutil

    found = free_disk_bytes(tmp_path / "not" / "yet")
    assert found == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.05)
    assert free_disk_bytes(Path("runs/x")) > 0


def test_evaluations_are_counted_with_the_first_and_the_last():
    assert count_evaluations(250, 100, on_start=False) == 3
    assert count_evaluations(200, 100, on_start=True) == 3
    assert count_evaluations(200, 0, on_start=False) == 0


@pytest.mark.parametrize(("seconds", "text"), [(48, "48 s"), (720, "12 min"), (12_240, "3.4 h")])
def test_times_for_people(seconds, text):
    assert format_seconds(seconds) == text


def test_the_table_warns_of_a_disk_that_is_too_small():
    from rich.console import Console

    estimate = Estimate(5, 12, 100.0, 10.0, 2_000_000_000, Disk(10**9, 10**8, 10**7, 4 * 10**9), 3 * 10**9)
    console = Console(width=150, record=True, file=None)
    console.print(estimate_table(estimate, 5 * 10**9))
    text = console.export_text()
    assert "not enough" in text and "5.00 GB allowed" in text and "2.4 epochs" in text
    assert "10 MB" in text
