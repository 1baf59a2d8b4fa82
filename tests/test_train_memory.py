"""train.py and memory: where it runs out, --memory low, --dry_run."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from multiprocessing.process import BaseProcess
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from transformers import WhisperConfig, WhisperForConditionalGeneration
from transformers.models.whisper.modeling_whisper import WhisperDecoderLayer

import train
from tests.support.scripted_decoding import TEXT, script_decoding, short_run, write_short_clips
from tests.support.warm_processes import start_warm
from utils.arguments.parsing import parse_arguments
from utils.arguments.train import TrainArguments
from utils.runtime.errors import UserError
from utils.runtime.memory import Limit, read_usage
from utils.training import micro_batch_trial, setup
from utils.training.micro_batch_trial import try_largest_step
from utils.training.rehearsal import estimate_run
from utils.training.run import Run
from utils.training.setup import build_run, start_accelerator
from utils.training.state import TrainingState

ROOT = Path(__file__).parents[1]

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


# ---- memory that runs out ----------------------------------------------------------------------------------


def fail_beyond(most_clips: int, monkeypatch) -> None:
    """Let a decoder layer raise what a GPU's allocator would for more clips, when others have gradients."""
    forward = WhisperDecoderLayer.forward

    def run_out(gradient: torch.Tensor) -> None:
        if len(gradient) > most_clips:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    def forward_and_fail_later(self, hidden_states, *args, **kwargs):
        if hidden_states.requires_grad:
            hidden_states.register_hook(run_out)
        return forward(self, hidden_states, *args, **kwargs)

    monkeypatch.setattr(WhisperDecoderLayer, "forward", forward_and_fail_later)


def test_a_step_that_runs_out_of_memory_is_done_again_in_halves(arguments, tmp_path, monkeypatch, capsys):
    """Dropout shows that it draws what the first attempt drew; a run that goes on knows the size."""
    lora = "--use_peft --lora_dropout 0.3 --silence_run 0 --context_jitter 0"
    lora += " --lr_scheduler_type constant_with_warmup --warmup_steps 0"  # the same, however many steps
    small = arguments(lora, "--micro_batch_seconds", "1.2", output_dir=tmp_path / "small")
    found = arguments(lora, "--auto_find_batch_size", "--save_steps", "2", output_dir=tmp_path / "found")
    train.main(small)
    _again()
    fail_beyond(2, monkeypatch)
    capsys.readouterr()
    train.main([*found, "--max_steps", "2"])
    (told,) = [line for line in capsys.readouterr().out.splitlines() if "memory ran out" in line]
    assert told.startswith("step 1: memory ran out with 4 clips of 0.6 s") and "Repeating with 2." in told
    _again()
    train.main([*found, "--resume_from_checkpoint", "latest"])
    assert "memory ran out" not in capsys.readouterr().out
    assert losses(tmp_path / "found") == losses(tmp_path / "small")


def test_one_clip_too_much_is_a_clear_error(arguments, monkeypatch):
    fail_beyond(0, monkeypatch)
    with pytest.raises(UserError, match=r"not even one clip of 0\.\d s .* --gradient_checkpointing"):
        train.main(arguments("--auto_find_batch_size"))


def test_without_the_flag_memory_that_runs_out_ends_the_run(arguments, monkeypatch):
    fail_beyond(2, monkeypatch)
    with pytest.raises(UserError, match=r"memory ran out .* --auto_find_batch_size"):
        train.main(arguments())


def start_of_two(rank: int, port: int) -> dict[str, str]:
    """The environment of one of two processes, as `accelerate launch` leaves it."""
    together = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    own = {"RANK": str(rank), "LOCAL_RANK": str(rank), "MASTER_PORT": str(port)}
    return {**os.environ, **together, **own, "ACCELERATE_USE_CPU": "true"}


def test_where_one_of_two_processes_runs_out_of_memory_both_do_the_step_again(arguments, prepared, tmp_path):
    """Clips of a step: 4 on each process, of which the second holds 2 at once. Their texts differ."""
    options = f"--max_steps 3 --dataset {prepared} --micro_batch_seconds 1000"
    train.main(arguments(options, "--per_device_train_batch_size 8", output_dir=tmp_path / "one"))
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    words = arguments(options, "--auto_find_batch_size", output_dir=tmp_path / "two")
    logs = [tmp_path / f"process-{rank}.log" for rank in range(2)]
    script = "tests/fixtures/train_short_of_memory.py"
    children = [
        start_warm([script, most, *words], log, cwd=ROOT, env=start_of_two(rank, port))
        for rank, (most, log) in enumerate(zip(("100", "2"), logs, strict=True))
    ]
    for child in children:
        child.join(60)
        child.kill()  # one that hangs
    assert [child.exitcode for child in children] == [0, 0], "\n".join(log.read_text() for log in logs)
    counts = [log.read_text().count("memory ran out with 4 clips") for log in logs]
    assert counts == [1, 0]  # once, and one process speaks
    assert_like(losses(tmp_path / "two"), losses(tmp_path / "one"), steps=3)


def assert_like(found: list[tuple[float, str]], expected: list[tuple[float, str]], *, steps: int) -> None:
    """Equal orders of clips, and losses equal to 1e-5."""
    assert len(found) == steps
    for one, other in zip(found, expected, strict=True):
        assert one[1] == other[1] and one[0] == pytest.approx(other[0], abs=1e-5)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA counts mapped memory on Linux alone")
def test_under_a_cap_a_run_in_halves_has_the_losses_of_one_in_small_parts(arguments, tmp_path):
    options = "--audio_context full --memory low --per_device_train_batch_size 8 --max_steps 2"
    small = arguments(options, "--micro_batch_seconds 30", output_dir=tmp_path / "small")
    words = arguments(
        options, "--micro_batch_seconds 1000 --auto_find_batch_size", output_dir=tmp_path / "whole"
    )
    child, log = start_under_cap("100000000", words, tmp_path)
    train.main(small)
    child.join(120)
    assert child.exitcode == 0, log.read_text()
    assert "step 1: memory ran out with 8 clips of 30 s" in log.read_text()
    assert_like(losses(tmp_path / "whole"), losses(tmp_path / "small"), steps=2)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA counts mapped memory on Linux alone")
def test_not_one_clip_under_a_cap_is_one_clear_error(arguments, tmp_path):
    words = arguments("--audio_context full --auto_find_batch_size")
    child, log = start_under_cap("20000000", words, tmp_path)
    child.join(120)
    assert child.exitcode == 2 and "Traceback" not in log.read_text()
    assert "not even one clip of 30 s" in log.read_text()


def start_under_cap(cap: str, words: list[str], folder: Path) -> tuple[BaseProcess, Path]:
    """Start train.py with so many bytes for its passes; its process, and where it writes."""
    script = ["tests/fixtures/train_under_cap.py", cap, *words]
    return start_warm(script, folder / "log", cwd=ROOT, env=os.environ), folder / "log"


# ---- the largest step tried before training ----------------------------------------------------------------


def test_trying_the_largest_step_leaves_no_trace(run_of, monkeypatch):
    run = run_of("--auto_find_batch_size --use_peft --lora_dropout 0.3")
    give_room(10**9, monkeypatch)
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    random_state = torch.get_rng_state()
    try_largest_step(run, train.compute_gradients)
    for name, value in run.model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(parameter.grad is None for parameter in run.model.parameters())
    assert not run.optimizer.state and torch.equal(torch.get_rng_state(), random_state)
    assert run.state == TrainingState()  # all fits


def test_room_is_left_for_the_moments_of_the_optimiser(run_of, monkeypatch):
    """A thousand bytes for each of some 300,000 weights, more than there are: nothing is tried."""
    run = run_of("--auto_find_batch_size")
    give_room(200_000_000, monkeypatch)
    monkeypatch.setattr(micro_batch_trial, "moment_bytes", lambda optim: 1000)
    with pytest.raises(UserError, match="not even one clip"):
        try_largest_step(run, Mock(side_effect=AssertionError("tried")))


def give_room(size: int, monkeypatch) -> None:
    """Let the kernel kill this process beyond so many bytes more than are resident now."""
    limit = Limit("a test", "resident", read_usage().resident + size)
    monkeypatch.setattr(micro_batch_trial, "killing_limit", lambda device, sharing: limit)


def test_less_memory_gives_fewer_clips_and_none_an_error(run_of, monkeypatch, capsys):
    words = ["--auto_find_batch_size", "--audio_context", "full", "--micro_batch_seconds", "1000"]
    run = run_of(*words, "--memory", "low")
    found = {}
    for megabytes in (140, 70):  # in this order: the first loads libraries too
        give_room(megabytes * 10**6, monkeypatch)
        try_largest_step(run, train.compute_gradients)
        seconds = run.state.micro_batch_seconds
        found[megabytes] = 4 if seconds is None else seconds / 30
        assert f"{found[megabytes]:g} of them fit into" in capsys.readouterr().out
    assert 1 <= found[70] < found[140] <= 4
    give_room(10**6, monkeypatch)
    with pytest.raises(UserError, match="not even one clip of 30 s"):
        try_largest_step(run, train.compute_gradients)


def _again() -> None:
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)


# ---- --memory low ------------------------------------------------------------------------------------------


def test_low_memory_changes_no_result(arguments, tmp_path, monkeypatch):
    monkeypatch.setattr(setup, "CHUNK_TOKENS", 16)
    train.main(arguments(output_dir=tmp_path / "fast"))
    train.main(arguments("--memory", "low", output_dir=tmp_path / "low"))
    for fast, low in zip(losses(tmp_path / "fast"), losses(tmp_path / "low"), strict=True):
        assert low[1] == fast[1] and low[0] == pytest.approx(fast[0], abs=1e-5)


# ---- --dry_run ---------------------------------------------------------------------------------------------


def test_a_dry_run_says_what_a_run_takes_and_writes_nothing(arguments, tmp_path, monkeypatch, capsys):
    script_decoding(monkeypatch, TEXT)
    train.main(arguments("--dry_run", "--eval_steps", "3", "--save_steps", "2", "--auto_find_batch_size"))
    shown = capsys.readouterr().out
    for words in ("total steps", "peak memory", "peak disk space", "4 of them fit into"):
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


@pytest.fixture(scope="module")
def wide_whisper(tiny_whisper, tmp_path_factory) -> Path:
    """The tiny Whisper, twice as wide, so that what a clip takes stands out."""
    folder = Path(shutil.copytree(tiny_whisper, tmp_path_factory.mktemp("wide") / "whisper"))
    tiny = WhisperForConditionalGeneration.from_pretrained(folder)
    shape = dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 4)
    shape |= {"encoder_ffn_dim": 512, "decoder_ffn_dim": 512, "d_model": 128}
    torch.manual_seed(0)
    wide = WhisperForConditionalGeneration(WhisperConfig(**(tiny.config.to_dict() | shape)))
    wide.generation_config = tiny.generation_config
    wide.generation_config._from_model_config = False
    wide.save_pretrained(folder)
    return folder


def run(*words: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )


@pytest.mark.slow
def test_a_dry_run_is_near_the_run(wide_whisper, prepared, tmp_path):
    """Time within a factor of 3, as other tests run beside it; memory within a quarter, as holes grow."""
    words = f"--model_name_or_path {wide_whisper} --dataset {prepared} --language it --report_to none"
    words += f" --max_steps 40 --eval_steps 0 --logging_steps 1 --output_dir {tmp_path / 'run'}"
    dry = run("train.py", *words.split(), "--dry_run")
    assert dry.returncode == 0, dry.stderr[-3000:]
    seconds = float(re.search(r"training +│ +([\d.]+) s", dry.stdout)[1])
    memory = 1e9 * float(re.search(r"peak memory +│ +([\d.]+) GB", dry.stdout)[1])
    real = run("train.py", *words.split())
    assert real.returncode == 0, real.stderr[-3000:]
    last = read_metrics(tmp_path / "run")[-1]
    took = last["audio_seconds"] / last["audio_seconds_per_second"]
    peak = last["peak_memory_bytes"]
    print(
        f"\ntraining {seconds:.0f} s, really {took:.1f} s; {memory / 1e9:.2f} GB, really {peak / 1e9:.2f} GB"
    )
    assert took / 3 < seconds < took * 3
    assert memory == pytest.approx(peak, rel=0.25)
