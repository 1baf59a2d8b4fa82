"""train.py told to stop, fed with poison, short of disk, bereft of its workers: nothing is lost."""

import contextlib
import itertools
import json
import math
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file
from torch.optim.optimizer import register_optimizer_step_post_hook

import train
from tests.support.training_runs import losses, plant_poison, read_metrics
from utils.runtime.errors import UserError, WriteError

pytestmark = pytest.mark.usefixtures("fresh_accelerator")

DROPOUT = ("--use_peft", "--lora_dropout", "0.1")  # a run that draws in every step


@pytest.fixture(scope="module")
def build(tiny_whisper, prepared):
    """A function that gives the arguments of a run of 7 steps; later ones override them."""

    def arguments(output_dir: Path, *more: str) -> list[str]:
        base = f"--model_name_or_path {tiny_whisper} --dataset {prepared} --language it --report_to none"
        base += " --max_steps 7 --eval_steps 0 --save_steps 0 --logging_steps 1 --learning_rate 1e-3"
        return [*base.split(), "--output_dir", str(output_dir), *more]

    return arguments


@pytest.fixture
def command(build, tmp_path):
    """The same, into a folder of the test."""

    def arguments(*more: str, output_dir: Path | None = None) -> list[str]:
        return build(output_dir or tmp_path / "run", *more)

    return arguments


@pytest.fixture(scope="module")
def straight(build, tmp_path_factory) -> Path:
    """A run with dropout that nobody disturbed, and its checkpoints of the steps 2, 4, 6 and 7."""
    run = tmp_path_factory.mktemp("straight") / "run"
    AcceleratorState._reset_state(reset_partial_state=True)
    train.main(build(run, *DROPOUT, "--save_steps", "2", "--save_total_limit", "9"))
    AcceleratorState._reset_state(reset_partial_state=True)
    return run


@contextlib.contextmanager
def acting_after(actions: dict[int, Callable[[], None]]) -> Iterator[None]:
    """Act when so many updates have been made within the block, each before its step is logged."""
    numbers = itertools.count(1)

    def act(*_) -> None:
        actions.get(next(numbers), lambda: None)()

    hook = register_optimizer_step_post_hook(act)
    try:
        yield
    finally:
        hook.remove()


def send(name: str) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), getattr(signal, name))


# ---- told to stop ------------------------------------------------------------------------------------------


def test_signals_save_and_the_same_command_goes_on(command, straight, tmp_path):
    """Each comes in the first update of its run; the next step is the last one."""
    stopped = tmp_path / "stopped"
    for step, name in ((2, "SIGUSR1"), (4, "SIGTERM"), (6, "SIGINT")):
        with acting_after({1: send(name)}), pytest.raises(SystemExit) as left:
            train.main(command(*DROPOUT, output_dir=stopped))
        assert left.value.code == 75
        word = json.loads((stopped / "interrupted.json").read_text())
        assert (word["step"], word["reason"]) == (step, name)
        assert (stopped / f"checkpoint-{step}").exists() and not (stopped / "final").exists()
    train.main(command(*DROPOUT, output_dir=stopped))
    assert not (stopped / "interrupted.json").exists()
    assert len(losses(stopped)) == 7 and losses(stopped) == losses(straight)


def test_a_run_from_a_named_checkpoint_goes_on_where_it_was_stopped(command, straight, tmp_path, capsys):
    """Not from the named one again; with another learning rate from there, as told."""
    stopped = tmp_path / "stopped"
    options = [*DROPOUT, "--resume_from_checkpoint", str(straight / "checkpoint-2")]
    with acting_after({1: send("SIGUSR1")}), pytest.raises(SystemExit):
        train.main(command(*options, output_dir=stopped))
    assert json.loads((stopped / "interrupted.json").read_text())["step"] == 4
    capsys.readouterr()
    train.main(command(*options, output_dir=stopped))
    assert "continuing from step 4" in capsys.readouterr().out
    assert losses(stopped) == losses(straight)[2:]
    train.main(command(*options, "--learning_rate", "5e-4", output_dir=stopped))
    assert "continuing from step 2" in capsys.readouterr().out


def test_an_evaluation_is_cut_short_and_done_again(command, tmp_path, monkeypatch, capsys):
    import utils.training.shared_decoding

    options = ["--eval_steps", "2", "--per_device_eval_batch_size", "2", "--generation_max_length", "9"]
    options += ["--max_steps", "4"]
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    train.main(command(*options, output_dir=straight))
    transcribe = utils.training.shared_decoding.transcribe_clips

    def interrupt_and_transcribe(*arguments, **options):
        os.kill(os.getpid(), signal.SIGUSR1)
        return transcribe(*arguments, **options)

    monkeypatch.setattr(utils.training.shared_decoding, "transcribe_clips", interrupt_and_transcribe)
    with pytest.raises(SystemExit):
        train.main(command(*options, output_dir=stopped))
    assert not any("eval_wer" in record for record in read_metrics(stopped))
    assert json.loads((stopped / "interrupted.json").read_text())["step"] == 2
    monkeypatch.undo()
    train.main(command(*options, output_dir=stopped))
    assert losses(stopped) == losses(straight)
    assert [record.get("eval_wer") for record in read_metrics(stopped)] == [
        record.get("eval_wer") for record in read_metrics(straight)
    ]


# ---- not finite --------------------------------------------------------------------------------------------


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


def test_a_poisoned_clip_is_skipped_named_and_counted(command, poisoned, prepared, tmp_path, capsys):
    from datasets import load_from_disk

    train.main(command(*poisoned, "--max_steps", "10", "--save_steps", "10"))  # 8 clips of 40: two epochs
    records = read_metrics(tmp_path / "run")
    skipped = [record for record in records if "skipped_ids" in record]
    assert len(skipped) == 2
    assert all("train-0007" in record["skipped_ids"].split() for record in skipped)
    trained = [record for record in records if "loss" in record]
    assert trained[-1]["skipped_steps"] == 2
    bad = {record["step"] for record in skipped}
    assert {record["step"] for record in trained if record["loss"] is None} == bad
    rows = load_from_disk(prepared)["train"]
    seconds = dict(zip(rows["id"], rows["duration"], strict=True))
    lost = sum(seconds[name] for record in skipped for name in record["skipped_ids"].split())
    assert trained[-1]["audio_seconds"] == pytest.approx(2 * sum(seconds.values()) - lost, abs=0.1)
    output = capsys.readouterr().out
    assert output.count("the loss is nan") == 2 and "train-0007" in output
    weights = load_file(tmp_path / "run/final/model.safetensors")
    positions = weights.pop("model.decoder.embed_positions.weight")
    assert torch.isfinite(positions).all(dim=1).sum() == 447  # the planted one alone is not
    assert all(torch.isfinite(value).all() for value in weights.values())


def test_too_many_in_a_row_end_the_run_and_the_checkpoint_stays(command, tmp_path, monkeypatch):
    """All weights are lost in the update of step 4; the steps 5 and 6 are skipped, and none is saved."""
    monkeypatch.setattr("utils.training.step_log.MOST_SKIPPED_IN_A_ROW", 2)
    hook = register_optimizer_step_post_hook(lose_the_weights_at(4))
    try:
        with pytest.raises(UserError, match=r"2 steps in a row were skipped.*Lower learning_rate"):
            train.main(command("--max_steps", "9", "--save_steps", "3"))
    finally:
        hook.remove()
    records = read_metrics(tmp_path / "run")
    assert [record["skipped_steps"] for record in records if "skipped_ids" in record] == [1, 2]
    assert [path.name for path in (tmp_path / "run").glob("checkpoint-*")] == ["checkpoint-3"]
    weights = load_file(tmp_path / "run/checkpoint-3/model.safetensors")
    assert all(torch.isfinite(value).all() for value in weights.values())


def lose_the_weights_at(update: int) -> Callable:
    """A hook of optimisers that makes every weight NaN after the update of that number."""
    numbers = itertools.count(1)

    def act(optimizer: torch.optim.Optimizer, *_) -> None:
        if next(numbers) == update:
            for parameter in optimizer.param_groups[0]["params"]:
                parameter.detach().fill_(math.nan)

    return act


# ---- short of disk -----------------------------------------------------------------------------------------


def test_a_full_disk_does_not_end_the_training(command, small_disk, capsys):
    """The disk holds one checkpoint (4.5 MB), final/ (1.8 MB) and a tracker's file, not two checkpoints."""
    run = small_disk(8 << 20) / "run"
    options = ["--save_steps", "2", "--save_total_limit", "1", "--report_to", "tensorboard"]
    train.main(command(*options, output_dir=run))
    output = capsys.readouterr().out
    assert "step 4: the checkpoint could not be written" in output
    assert "checkpoint-2 is kept. Training continues" in output
    assert sorted(path.name for path in run.glob("*check*")) == ["checkpoint-2"]
    assert [record["step"] for record in read_metrics(run)] == list(range(1, 8))
    assert (run / "final/model.safetensors").exists()


def test_a_disk_too_full_for_the_model_ends_in_a_clear_error_and_the_work_is_kept(command, small_disk):
    run = small_disk(11 << 19) / "run"  # 5.5 MB: a checkpoint, and no more
    argv = command("--max_steps", "3", "--save_steps", "2", "--save_total_limit", "1", output_dir=run)
    with pytest.raises(WriteError, match=r"final could not be written: .*No space left|.*os error 28"):
        train.main(argv)
    assert sorted(path.name for path in run.glob("*check*")) == ["checkpoint-2"]


# ---- bereft of workers -------------------------------------------------------------------------------------


def test_a_killed_worker_changes_no_loss(command, straight, tmp_path, capsys):
    others = torch.multiprocessing.active_children()
    killed = []

    def kill_one() -> None:
        worker = next(child for child in torch.multiprocessing.active_children() if child not in others)
        os.kill(worker.pid, signal.SIGKILL)
        killed.append(worker)

    with acting_after({2: kill_one}):
        train.main(command(*DROPOUT, "--dataloader_num_workers", "2"))
    assert killed and losses(tmp_path / "run") == losses(straight)


# ---- a disk that is full for a while -----------------------------------------------------------------------


def test_a_disk_without_a_free_byte_ends_neither_the_log_nor_the_trackers_nor_the_printing(
    command, small_disk
):
    """All room goes in step 2, and comes back in step 26; standard output is on that disk.

    A file in memory has its room page by page: some ten lines of the log fit into that of the first one.
    """
    disk = small_disk(16 << 20)
    run, filler = disk / "run", disk / "filler"
    logged = []

    def fill() -> None:
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while file.write(bytes(1 << 16)) == 1 << 16:
                pass

    def free() -> None:
        logged.extend(record["step"] for record in read_metrics(run))
        filler.unlink()

    argv = command("--report_to", "tensorboard", "--max_steps", "28", output_dir=run)
    argv += ["--per_device_train_batch_size", "1"]
    with (
        (disk / "stdout").open("w", buffering=1) as output,
        contextlib.redirect_stdout(output),
        acting_after({2: fill, 26: free}),
    ):
        train.main(argv)
    assert logged == list(range(1, len(logged) + 1)) and len(logged) < 24  # whole lines; the others wait
    assert [record["step"] for record in read_metrics(run)] == list(range(1, 29))
    assert (run / "final/model.safetensors").exists()
