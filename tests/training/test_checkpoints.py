"""Checkpoints: whole or not at all, verified by content, the newest good one found, full disks survived."""

import errno
import json
import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from utils.model.adapter_options import AdapterOptions
from utils.model.adapters import add_adapter
from utils.model.loading import load_model
from utils.model.loss import WhisperLoss
from utils.runtime.disk_budget import DiskBudget
from utils.runtime.errors import UserError
from utils.training import checkpoints
from utils.training.checkpoint_search import find_checkpoint, origin_of
from utils.training.checkpoint_weights import register_weights
from utils.training.checkpoints import load_checkpoint, save_checkpoint
from utils.training.state import TrainingState


@pytest.fixture
def accelerator():
    """A small model and its optimiser behind Accelerate, after one step."""
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(cpu=True)
    model = torch.nn.Linear(300, 300)
    model, optimizer = accelerator.prepare(model, torch.optim.AdamW(model.parameters()))
    model(torch.ones(1, 300)).sum().backward()
    optimizer.step()
    yield accelerator
    AcceleratorState._reset_state(reset_partial_state=True)


def names(run: Path) -> list[str]:
    return sorted(path.name for path in run.iterdir())


def test_the_oldest_go_and_nothing_else_does(accelerator, tmp_path):
    (tmp_path / "checkpoint-to-keep").mkdir()
    (tmp_path / ".checkpoint-1.tmp").mkdir()  # of a run that was killed while saving
    for step in (1, 2, 3):
        assert save_checkpoint(accelerator, tmp_path, TrainingState(step=step), keep=2)
    assert names(tmp_path) == ["checkpoint-2", "checkpoint-3", "checkpoint-to-keep"]


def test_the_newest_is_the_one_written_last(accelerator, tmp_path):
    """Somebody went back to step 100 and trained on from there with another learning rate."""
    for step in (100, 200, 300, 150):
        save_checkpoint(accelerator, tmp_path, TrainingState(step=step), keep=3)
    assert names(tmp_path) == ["checkpoint-150", "checkpoint-200", "checkpoint-300"]
    assert find_checkpoint(tmp_path, None) == tmp_path / "checkpoint-150"


def test_what_was_saved_since_goes_before_the_named_one_it_came_from(accelerator, tmp_path, monkeypatch):
    """Checkpoints of another run and another command do not; a broken one is passed over."""
    named, run = tmp_path / "other/checkpoint-5", tmp_path / "run"
    save_checkpoint(accelerator, named.parent, TrainingState(step=5), keep=1)
    origin = origin_of(str(named), {"learning_rate": 0.1})
    assert find_checkpoint(run, str(named), origin) == named
    save_checkpoint(accelerator, run, TrainingState(step=6, origin=origin), keep=9)
    save_checkpoint(accelerator, run, TrainingState(step=7, origin=origin), keep=9)
    save_checkpoint(accelerator, run, TrainingState(step=3), keep=9)
    assert find_checkpoint(run, str(named), origin) == run / "checkpoint-7"
    monkeypatch.chdir(tmp_path)
    same = origin_of("other/checkpoint-5", {"learning_rate": 0.1})
    assert find_checkpoint(run, "other/checkpoint-5", same) == run / "checkpoint-7"
    assert find_checkpoint(run, str(named), origin_of(str(named), {"learning_rate": 0.2})) == named
    (run / "checkpoint-7/model.safetensors").unlink()
    assert find_checkpoint(run, str(named), origin) == run / "checkpoint-6"


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.bin", "random_states_0.pkl"])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_any_damage_to_the_newest_is_seen_and_the_one_before_is_taken(
    accelerator, tmp_path, capsys, file, damage
):
    for step in (1, 2):
        save_checkpoint(accelerator, tmp_path, TrainingState(step=step), keep=2)
    path = tmp_path / "checkpoint-2" / file
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[random.Random(file).randrange(len(content))] ^= 1 << 3
        path.write_bytes(content)
    elif damage == "cut":
        path.write_bytes(content[:-1])
    else:
        path.unlink()
    assert find_checkpoint(tmp_path, None) == tmp_path / "checkpoint-1"
    said = {"flip": "is damaged", "cut": f"{len(content) - 1} bytes", "remove": "is not readable"}
    assert f"checkpoint-2: skipped: {file} {'has ' if damage == 'cut' else ''}" in (
        output := capsys.readouterr().out
    )
    assert said[damage] in output
    with pytest.raises(UserError, match=file):
        find_checkpoint(tmp_path, str(tmp_path / "checkpoint-2"))


@pytest.mark.parametrize("text", ["", "{", "{}", '{"files": [], "state": {"unknown": 1}}'])
def test_a_broken_state_file_is_no_crash(accelerator, tmp_path, text, capsys):
    for step in (1, 2):
        save_checkpoint(accelerator, tmp_path, TrainingState(step=step), keep=2)
    (tmp_path / "checkpoint-2/trainer_state.json").write_text(text)
    assert find_checkpoint(tmp_path, "latest") == tmp_path / "checkpoint-1"
    assert "checkpoint-2: skipped: trainer_state.json" in capsys.readouterr().out


def test_the_old_one_stays_until_the_new_one_has_its_name(accelerator, tmp_path, monkeypatch, capsys):
    """The disk refuses the very last step, when every file of the new one is written."""
    save_checkpoint(accelerator, tmp_path, TrainingState(step=1), keep=1)

    def refuse(*_) -> None:
        assert names(tmp_path) == [".checkpoint-2.tmp", "checkpoint-1"]
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patches:
        patches.setattr(checkpoints, "move_into_place", refuse)
        assert not save_checkpoint(accelerator, tmp_path, TrainingState(step=2), keep=1)
    assert "checkpoint-1 is kept" in capsys.readouterr().out
    assert names(tmp_path) == ["checkpoint-1"]
    assert find_checkpoint(tmp_path, "latest") == tmp_path / "checkpoint-1"


def test_every_file_is_in_the_list(accelerator, tmp_path):
    save_checkpoint(accelerator, tmp_path, TrainingState(step=1), keep=1)
    folder = tmp_path / "checkpoint-1"
    listed = json.loads((folder / "trainer_state.json").read_text())["files"]
    assert {*listed, "trainer_state.json"} == set(names(folder))
    assert all(int(value.split()[0]) == (folder / name).stat().st_size for name, value in listed.items())


def test_state_weights_optimiser_and_every_random_generator_come_back(accelerator, tmp_path):
    def draw() -> list[float]:
        return [random.random(), float(np.random.rand()), float(torch.rand(1))]

    state = TrainingState(step=7, order="ab", skipped_steps=2, skipped_in_a_row=1, evaluated_step=5)
    save_checkpoint(accelerator, tmp_path, state, keep=1)
    model, optimizer = accelerator._models[0], accelerator._optimizers[0]
    weights = model.weight.detach().clone()
    moment = optimizer.state[model.weight]["exp_avg"].clone()
    expected = draw()
    with torch.no_grad():
        model.weight.zero_()
    optimizer.state[model.weight]["exp_avg"].zero_()
    assert load_checkpoint(accelerator, tmp_path / "checkpoint-7") == state
    assert torch.equal(model.weight, weights)
    assert torch.equal(optimizer.state[model.weight]["exp_avg"], moment)
    assert draw() == expected


@pytest.mark.parametrize("lost", ["random_state", "numpy_random_seed"])
def test_a_random_state_that_does_not_come_back_is_an_error(accelerator, tmp_path, lost):
    """Accelerate passes over a file that it cannot make use of, and dropout would go on from anywhere."""
    save_checkpoint(accelerator, tmp_path, TrainingState(step=1), keep=1)
    saved = tmp_path / "checkpoint-1/random_states_0.pkl"
    states = torch.load(saved, weights_only=False)
    torch.save({name: value for name, value in states.items() if name != lost}, saved)
    torch.rand(1)
    with pytest.raises(UserError, match="the random state could not be restored"):
        load_checkpoint(accelerator, tmp_path / "checkpoint-1")


@pytest.mark.mps
def test_the_generator_of_an_apple_gpu_comes_back(tmp_path):
    """Dropout on the GPU draws from it."""
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator()
    model = torch.nn.Linear(3, 3)
    accelerator.prepare(model, torch.optim.AdamW(model.parameters()))
    save_checkpoint(accelerator, tmp_path, TrainingState(step=1), keep=1)
    expected = torch.rand(3, device="mps")
    load_checkpoint(accelerator, tmp_path / "checkpoint-1")
    assert torch.equal(torch.rand(3, device="mps"), expected)
    AcceleratorState._reset_state(reset_partial_state=True)


def test_an_adapter_is_saved_without_its_base_and_no_other_takes_it(tiny_whisper, tmp_path):
    run_of = {}
    for name, modules in (("one", ["q_proj"]), ("other", ["v_proj"])):
        AcceleratorState._reset_state(reset_partial_state=True)
        accelerator = Accelerator(cpu=True)
        base = load_model(str(tiny_whisper)).model
        model = WhisperLoss(add_adapter(base, "x", AdapterOptions(lora_r=2, lora_target_modules=modules)))
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad])
        register_weights(accelerator, trained_only=True)
        accelerator.prepare(model, optimizer)
        save_checkpoint(accelerator, tmp_path / name, TrainingState(step=1), keep=1)
        run_of[name] = tmp_path / name / "checkpoint-1"
    assert (run_of["one"] / "model.safetensors").stat().st_size < 30_000  # 6 x 2 x 128 numbers, not 440,000
    load_checkpoint(accelerator, run_of["other"])
    with pytest.raises(UserError, match=r"24 weights differ between checkpoint and model, such as \S*_proj"):
        load_checkpoint(accelerator, run_of["one"])
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.parametrize("room", ["none at all", "for half of it"])
def test_a_full_disk_keeps_the_last_good_one_and_is_told(accelerator, small_disk, capsys, room):
    run = small_disk(4 << 20)  # a checkpoint takes 1.1 MB
    assert save_checkpoint(accelerator, run, TrainingState(step=1), keep=1)
    filler = run / "filler"
    left = 0 if room == "none at all" else 600_000
    filler.write_bytes(bytes(os.statvfs(run).f_bavail * os.statvfs(run).f_frsize - left))
    assert not save_checkpoint(accelerator, run, TrainingState(step=2), keep=1)
    said = capsys.readouterr().out
    assert "step 2: the checkpoint could not be written: the disk has" in said
    assert "checkpoint-1 is kept. Training continues" in said
    assert names(run) == ["checkpoint-1", "filler"]
    filler.unlink()
    assert save_checkpoint(accelerator, run, TrainingState(step=3), keep=1)
    assert names(run) == ["checkpoint-3"]
    assert find_checkpoint(run, None) == run / "checkpoint-3"


@pytest.mark.parametrize("size", [4096, 300_000, 500_000, 900_000])
def test_a_disk_that_fills_up_in_the_middle_of_the_first_one(accelerator, small_disk, capsys, size):
    """No checkpoint says beforehand how much room is needed: the writers themselves meet the end."""
    run = small_disk(size)
    assert not save_checkpoint(accelerator, run, TrainingState(step=1), keep=1)
    assert "There is no earlier one. Training continues" in capsys.readouterr().out
    assert names(run) == []


def test_another_failure_than_the_disk_is_not_hidden(accelerator, tmp_path):
    accelerator.register_save_state_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save_checkpoint(accelerator, tmp_path, TrainingState(step=1), keep=1)


def test_a_budget_that_is_used_up_takes_older_ones_but_never_the_newest(accelerator, tmp_path, capsys):
    """Each takes 1.1 MB. Three lie there, and the budget was lowered to two and a half."""
    for step in (1, 2, 3):
        save_checkpoint(accelerator, tmp_path, TrainingState(step=step), keep=3)
    size = sum(file.stat().st_size for file in (tmp_path / "checkpoint-3").iterdir())
    assert save_checkpoint(
        accelerator, tmp_path, TrainingState(step=4), 3, DiskBudget(tmp_path, int(2.5 * size))
    )
    assert names(tmp_path) == ["checkpoint-3", "checkpoint-4"]
    small = DiskBudget(tmp_path, int(1.5 * size))
    assert not save_checkpoint(accelerator, tmp_path, TrainingState(step=5), 3, small)
    assert names(tmp_path) == ["checkpoint-4"]
    assert "the disk, or disk_budget, has" in capsys.readouterr().out


def test_the_first_one_needs_what_was_estimated(accelerator, tmp_path):
    budget = DiskBudget(tmp_path, 10_000_000)
    assert not save_checkpoint(accelerator, tmp_path, TrainingState(step=1), 1, budget, 11_000_000)
    assert save_checkpoint(accelerator, tmp_path, TrainingState(step=1), 1, budget, 9_000_000)
