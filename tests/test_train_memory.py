"""train.py and memory: measured micro-batches, --memory low, --dry_run."""

import json
from functools import partial
from pathlib import Path

import pytest
import torch

import train
from tests.support.scripted_decoding import TEXT, script_decoding, short_run, write_short_clips
from utils.arguments.parsing import parse_arguments
from utils.arguments.train import TrainArguments
from utils.runtime.errors import UserError
from utils.training.micro_batch_finder import with_found_micro_batches
from utils.training.rehearsal import estimate_run
from utils.training.run import Run
from utils.training.setup import build_run, start_accelerator

pytestmark = pytest.mark.usefixtures("fresh_accelerator")


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    """Prepared dataset: eight short clips to train on, two to validate on."""
    return write_short_clips(tmp_path_factory.mktemp("clips") / "it", {"train": 8, "validation": 2})


@pytest.fixture
def arguments(tiny_whisper, clips, tmp_path):
    """Arguments of a run of four steps of four clips, none evaluated; later ones override them."""

    def build(*more: str, output_dir: Path | None = None) -> list[str]:
        base = "--eval_steps 0 --per_device_train_batch_size 4"
        return short_run(tiny_whisper, clips, output_dir or tmp_path / "run", base, *more)

    return build


@pytest.fixture
def run_of(arguments):
    """train.py's own model, data and optimiser for some arguments."""

    def build(*more: str) -> Run:
        args = parse_arguments(TrainArguments, arguments(*more))
        return build_run(args, start_accelerator(args))

    return build


def read_metrics(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def losses(run: Path) -> list[tuple[float, str]]:
    return [(record["loss"], record["order"]) for record in read_metrics(run)]


# ---- measured micro-batches --------------------------------------------------------------------------------


def test_a_run_with_measured_micro_batches_has_the_losses_of_one_with_equal_parts(arguments, tmp_path):
    """Dropout shows that the random state is as before; there is room enough for whole batches."""
    lora = ["--use_peft", "--lora_dropout", "0.3", "--max_steps", "3"]
    train.main(
        arguments("--micro_batch_seconds", "1000", *lora, "--memory", "low", output_dir=tmp_path / "set")
    )
    train.main(arguments("--auto_find_batch_size", *lora, "--memory", "low", output_dir=tmp_path / "found"))
    assert losses(tmp_path / "found") == losses(tmp_path / "set")
    found = json.loads((tmp_path / "found/micro_batches.json").read_text())
    assert set(found["clips"]) == {4}  # the batch asked for; more are never needed


def test_measuring_leaves_no_trace(run_of):
    run = run_of("--auto_find_batch_size")
    first = next(run.model.parameters())
    first.grad = torch.full_like(first, 2.0)
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    random_state = torch.get_rng_state()
    found = with_found_micro_batches(run, train.compute_gradients)
    assert found.data.clips_that_fit(0.6) == 4
    for name, value in run.model.state_dict().items():
        assert torch.equal(value, before[name]), name
    gradients = [p.grad for p in run.model.parameters() if p.grad is not None]
    assert len(gradients) == 1 and torch.equal(gradients[0], torch.full_like(first, 2.0))
    assert not run.optimizer.state and torch.equal(torch.get_rng_state(), random_state)


def test_less_memory_gives_fewer_clips_and_none_an_error(run_of, monkeypatch):
    from utils.runtime.memory import Limit, read_usage
    from utils.training import micro_batch_finder as finder

    run = run_of("--auto_find_batch_size", "--audio_context", "full", "--memory", "low")
    room = partial(_with_room, finder, read_usage, Limit, run, monkeypatch)
    more, few = room(140_000_000), room(70_000_000)  # in this order: the first call loads libraries too
    assert 1 <= few < more <= 4
    with pytest.raises(UserError, match=r"not even one clip of 30 s .* allowed .* by a test"):
        room(1_000_000)


def _with_room(finder, read_usage, limit, run, monkeypatch, size: int) -> int:
    """Clips of 30 s that are found with so many bytes beyond what is resident now."""
    monkeypatch.setattr(
        finder,
        "memory_limits",
        lambda device, sharing: [limit("a test", "resident", read_usage().resident + size)],
    )
    return with_found_micro_batches(run, train.compute_gradients).data.clips_that_fit(30.0)


def test_a_run_that_goes_on_keeps_what_was_found(arguments, tmp_path, capsys):
    words = arguments("--auto_find_batch_size", "--save_steps", "2", "--max_steps", "2")
    train.main(words)
    path = tmp_path / "run/micro_batches.json"
    found = json.loads(path.read_text())
    path.write_text(json.dumps(found | {"clips": [3] * len(found["clips"])}))
    capsys.readouterr()
    _again()
    train.main([*words, "--max_steps", "4", "--resume_from_checkpoint", "latest"])
    assert "3 of " in capsys.readouterr().out


def _again() -> None:
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)


# ---- --memory low ------------------------------------------------------------------------------------------


def test_low_memory_changes_no_result(arguments, tmp_path, monkeypatch):
    import utils.model.cross_entropy

    monkeypatch.setattr(utils.model.cross_entropy, "CHUNK_TOKENS", 16)
    train.main(arguments(output_dir=tmp_path / "fast"))
    train.main(arguments("--memory", "low", output_dir=tmp_path / "low"))
    for fast, low in zip(losses(tmp_path / "fast"), losses(tmp_path / "low"), strict=True):
        assert low[1] == fast[1] and low[0] == pytest.approx(fast[0], abs=1e-5)


# ---- --dry_run ---------------------------------------------------------------------------------------------


def test_a_dry_run_says_what_a_run_takes_and_writes_nothing(arguments, tmp_path, monkeypatch, capsys):
    script_decoding(monkeypatch, TEXT)
    train.main(arguments("--dry_run", "--eval_steps", "3", "--save_steps", "2", "--auto_find_batch_size"))
    shown = capsys.readouterr().out
    for words in ("steps in all", "peak memory", "disk, at the fullest"):
        assert words in shown
    assert not (tmp_path / "run").exists()


def test_the_disk_is_what_a_run_then_takes(run_of, arguments, tmp_path, monkeypatch):
    script_decoding(monkeypatch, *[TEXT] * 3)
    more = ["--eval_steps", "3", "--save_steps", "2"]
    estimate = estimate_run(run_of(*more), train.compute_gradients)
    _again()
    train.main(arguments(*more))
    run = tmp_path / "run"

    def size(folder: Path) -> int:
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())

    assert estimate.total_steps == 4 and estimate.steps_per_epoch == 2
    checkpoints = [size(folder) for folder in run.glob("checkpoint-*")]
    assert checkpoints == [pytest.approx(estimate.disk.checkpoint, rel=0.1)] * 2
    weights = (run / "final/model.safetensors").stat().st_size
    assert weights == pytest.approx(estimate.disk.model, rel=0.05)


def test_arguments_that_exclude_each_other(arguments):
    with pytest.raises(UserError, match="auto_find_batch_size and micro_batch_seconds"):
        train.main(arguments("--auto_find_batch_size", "--micro_batch_seconds", "30"))
