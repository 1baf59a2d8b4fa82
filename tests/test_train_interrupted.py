"""train.py told to stop, fed with poison, short of disk, bereft of its workers: nothing is lost."""

import contextlib
import json
import math
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import train
from tests.test_train import read_metrics
from utils.errors import UserError, WriteError

pytestmark = pytest.mark.usefixtures("fresh_accelerator")


@pytest.fixture
def command(tiny_whisper, prepared, tmp_path):
    """Arguments of a run of 12 steps; later ones override them."""

    def build(*more: str, output_dir: Path | None = None) -> list[str]:
        base = f"--model_name_or_path {tiny_whisper} --dataset {prepared} --language it --report_to none"
        base += " --max_steps 12 --eval_steps 0 --save_steps 0 --logging_steps 1 --learning_rate 1e-3"
        return [*base.split(), "--output_dir", str(output_dir or tmp_path / "run"), *more]

    return build


def at_step(run: Path, step: int, act: Callable[[], None]) -> threading.Thread:
    """Start a thread that acts once `step` is logged."""

    def watch() -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            path = run / "metrics.jsonl"
            if path.exists() and path.read_text().count('"loss"') >= step:
                act()
                return
            time.sleep(0.001)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def losses(run: Path) -> list[tuple]:
    return [(record["step"], record.get("loss"), record.get("order")) for record in read_metrics(run)]


# ---- told to stop ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["SIGUSR1", "SIGTERM", "SIGINT"])
def test_a_signal_saves_and_the_same_command_goes_on(command, tmp_path, name):
    options = ["--use_peft", "--lora_dropout", "0.1"]
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    train.main(command(*options, output_dir=straight))
    at_step(stopped, 3, lambda: os.kill(os.getpid(), getattr(signal, name)))
    with pytest.raises(SystemExit) as left:
        train.main(command(*options, output_dir=stopped))
    assert left.value.code == 75
    word = json.loads((stopped / "interrupted.json").read_text())
    assert 3 <= word["step"] < 12 and word["reason"] == name
    assert (stopped / f"checkpoint-{word['step']}").exists() and not (stopped / "final").exists()
    train.main(command(*options, output_dir=stopped))
    assert not (stopped / "interrupted.json").exists()
    assert losses(stopped) == losses(straight)


def test_a_run_from_a_named_checkpoint_goes_on_where_it_was_stopped(command, tmp_path, capsys):
    """Not from the named one again; with another learning rate from there, as told."""
    options = ["--use_peft", "--lora_dropout", "0.1"]
    train.main(
        command(*options, "--save_steps", "4", "--save_total_limit", "9", output_dir=tmp_path / "first")
    )
    named, stopped = tmp_path / "first/checkpoint-4", tmp_path / "stopped"
    options += ["--resume_from_checkpoint", str(named)]
    at_step(stopped, 3, lambda: os.kill(os.getpid(), signal.SIGUSR1))
    with pytest.raises(SystemExit):
        train.main(command(*options, output_dir=stopped))
    step = json.loads((stopped / "interrupted.json").read_text())["step"]
    assert 7 <= step < 12
    capsys.readouterr()
    train.main(command(*options, output_dir=stopped))
    assert f"going on from step {step}" in capsys.readouterr().out
    assert losses(stopped) == losses(tmp_path / "first")[4:]
    train.main(command(*options, "--learning_rate", "5e-4", output_dir=stopped))
    assert "going on from step 4" in capsys.readouterr().out


def test_an_evaluation_is_cut_short_and_done_again(command, tmp_path, monkeypatch, capsys):
    import utils.distributed

    options = ["--eval_steps", "4", "--per_device_eval_batch_size", "2", "--generation_max_length", "20"]
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    train.main(command(*options, output_dir=straight))
    transcribe = utils.distributed.transcribe

    def interrupt_and_transcribe(*arguments, **options):
        os.kill(os.getpid(), signal.SIGUSR1)
        return transcribe(*arguments, **options)

    monkeypatch.setattr(utils.distributed, "transcribe", interrupt_and_transcribe)
    with pytest.raises(SystemExit):
        train.main(command(*options, output_dir=stopped))
    assert not any("eval_wer" in record for record in read_metrics(stopped))
    assert json.loads((stopped / "interrupted.json").read_text())["step"] == 4
    monkeypatch.undo()
    train.main(command(*options, output_dir=stopped))
    assert losses(stopped) == losses(straight)
    assert [record.get("eval_wer") for record in read_metrics(stopped)] == [
        record.get("eval_wer") for record in read_metrics(straight)
    ]


# ---- not finite --------------------------------------------------------------------------------------------


def plant_poison(model: Path, folder: Path, position: int) -> Path:
    """A copy of the model whose decoder has an infinity at one position: only longer texts ever meet it."""
    shutil.copytree(model, folder)
    weights = load_file(folder / "model.safetensors")
    weights["model.decoder.embed_positions.weight"][position] = math.inf
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture
def poisoned(tiny_whisper, prepared, tmp_path) -> list[str]:
    """Options of a run in which clip train-0007, and no other, makes the loss NaN."""
    from datasets import DatasetDict, load_from_disk

    splits = load_from_disk(prepared)
    long = splits["train"].map(
        lambda row, i: {"text": "a" * 70 if i == 7 else row["text"]}, with_indices=True
    )
    DatasetDict({**splits, "train": long}).save_to_disk(tmp_path / "data")
    model = plant_poison(tiny_whisper, tmp_path / "model", position=60)
    return ["--model_name_or_path", str(model), "--dataset", str(tmp_path / "data")]


def test_a_poisoned_clip_is_skipped_named_and_counted(command, poisoned, tmp_path, capsys):
    train.main(command(*poisoned, "--save_steps", "12"))  # 12 steps of 8 clips of 40: 2.4 epochs
    records = read_metrics(tmp_path / "run")
    skipped = [record for record in records if "skipped_ids" in record]
    assert 2 <= len(skipped) <= 3
    assert all("train-0007" in record["skipped_ids"].split() for record in skipped)
    trained = [record for record in records if "loss" in record]
    assert trained[-1]["skipped_steps"] == len(skipped)
    bad = {record["step"] for record in skipped}
    assert {record["step"] for record in trained if record["loss"] is None} == bad
    output = capsys.readouterr().out
    assert output.count("the loss is nan") == len(skipped) and "train-0007" in output
    weights = load_file(tmp_path / "run/final/model.safetensors")
    positions = weights.pop("model.decoder.embed_positions.weight")
    assert torch.isfinite(positions).all(dim=1).sum() == 447  # the planted one alone is not
    assert all(torch.isfinite(value).all() for value in weights.values())


def test_too_many_in_a_row_end_the_run_and_the_checkpoint_stays(command, tiny_whisper, tmp_path):
    train.main(command("--max_steps", "3", "--save_steps", "3"))
    model = plant_poison(tiny_whisper, tmp_path / "model", position=0)
    weights = load_file(model / "model.safetensors")
    checkpoint = tmp_path / "run/checkpoint-3"
    poison = weights["model.decoder.embed_positions.weight"]
    again = command("--model_name_or_path", str(model), "--max_skipped_steps", "2", "--save_steps", "1")
    with pytest.raises(UserError, match=r"2 steps in a row had to be skipped.*Lower learning_rate"):
        train.main([*again, "--output_dir", str(tmp_path / "other")])
    assert not torch.isfinite(poison).all()
    assert checkpoint.exists()
    records = read_metrics(tmp_path / "other")
    assert [record["skipped_steps"] for record in records if "skipped_ids" in record] == [1, 2]


# ---- short of disk -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("tracker", ["none", "tensorboard"])
def test_a_full_disk_does_not_end_the_training(command, small_disk, capsys, tracker):
    """The disk holds one checkpoint (4.5 MB) and final/ (1.8 MB), not two checkpoints."""
    run = small_disk(8 << 20) / "run"
    options = ["--save_steps", "4", "--save_total_limit", "1", "--report_to", tracker]
    train.main(command(*options, output_dir=run))
    output = capsys.readouterr().out
    assert "step 8: the checkpoint could not be written" in output
    assert "checkpoint-4 is kept; training goes on" in output
    assert sorted(path.name for path in run.glob("*check*")) == ["checkpoint-4"]
    assert [record["step"] for record in read_metrics(run)] == list(range(1, 13))
    assert (run / "final/model.safetensors").exists()


def test_a_disk_too_full_for_the_model_ends_in_a_clear_error_and_the_work_is_kept(command, small_disk):
    run = small_disk(11 << 19) / "run"  # 5.5 MB: a checkpoint, and no more
    argv = command("--save_steps", "4", "--save_total_limit", "1", output_dir=run)
    with pytest.raises(WriteError, match=r"final could not be written: .*No space left|.*os error 28"):
        train.main(argv)
    assert sorted(path.name for path in run.glob("*check*")) == ["checkpoint-4"]


# ---- bereft of workers -------------------------------------------------------------------------------------


def test_a_killed_worker_changes_no_loss(command, tmp_path, capsys):
    train.main(command(output_dir=tmp_path / "straight"))
    killed = tmp_path / "killed"

    def kill_one() -> None:
        os.kill(torch.multiprocessing.active_children()[0].pid, signal.SIGKILL)

    thread = at_step(killed, 2, kill_one)
    train.main(command("--dataloader_num_workers", "2", output_dir=killed))
    thread.join()
    assert losses(killed) == losses(tmp_path / "straight")


def test_a_disk_without_a_free_byte_ends_neither_the_log_nor_the_trackers_nor_the_printing(
    command, small_disk, tmp_path
):
    """All room goes once step 2 is logged, and comes back before the end; standard output is on that disk."""
    disk = small_disk(16 << 20)
    run, filler = disk / "run", disk / "filler"

    def fill() -> None:
        with filler.open("wb", buffering=0) as file:
            while file.write(bytes(1 << 16)) == 1 << 16:
                pass

    def fill_and_free() -> None:
        with contextlib.suppress(OSError):
            fill()
        time.sleep(1.0)
        filler.unlink()

    at_step(run, 2, fill_and_free)
    argv = command("--report_to", "tensorboard", "--max_steps", "60", output_dir=run)
    with (disk / "stdout").open("w", buffering=1) as output, contextlib.redirect_stdout(output):
        train.main(argv)
    assert [record["step"] for record in read_metrics(run)] == list(range(1, 61))
    assert (run / "final/model.safetensors").exists()
