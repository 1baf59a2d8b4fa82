"""train.py with a frozen encoder, whose outputs are kept, and with windows without speech among the clips."""

import json
from pathlib import Path

import pytest

import train
from tests.support.training_runs import read_metrics
from tests.support.warm_processes import train_warm
from utils.arguments.parsing import parse_arguments
from utils.arguments.train import TrainArguments
from utils.training import features
from utils.training.encoder_cache import EncoderCache
from utils.training.setup import build_run, start_accelerator

pytestmark = pytest.mark.usefixtures("fresh_accelerator")

FROZEN = ["--freeze_encoder", "--max_steps", "10"]  # 16 clips by 4: 4 steps an epoch


@pytest.fixture(scope="module")
def clips(build_prepared, tmp_path_factory) -> Path:
    """Prepared dataset of 16 clips of different length to train on."""
    return build_prepared(tmp_path_factory.mktemp("clips") / "it", {"train": 16})


@pytest.fixture
def arguments(tiny_whisper, clips, tmp_path):
    """Arguments of a run that evaluates nothing; later ones override them."""
    base = f"--model_name_or_path {tiny_whisper} --dataset {clips} --language it --report_to none"
    base += " --eval_steps 0 --save_steps 0 --logging_steps 1 --learning_rate 1e-3"
    base += f" --per_device_train_batch_size 4 --output_dir {tmp_path / 'run'}"
    return lambda *more, output_dir=tmp_path / "run": [*base.split(), "--output_dir", str(output_dir), *more]


def losses(run: Path) -> list[float]:
    return [line["loss"] for line in read_metrics(run)]


@pytest.fixture
def encoded(monkeypatch) -> list[bool]:
    """Of each micro-batch of runs with kept outputs, whether it had to be encoded."""
    found: list[bool] = []
    encoder_inputs = features.encoder_inputs

    def spy(run, batch):
        if run.data.encoder_cache:
            found.append(batch.encoder_states is None)
        return encoder_inputs(run, batch)

    monkeypatch.setattr(features, "encoder_inputs", spy)
    return found


@pytest.mark.parametrize(("workers", "precision"), [("0", "no"), ("2", "no"), ("0", "bf16")])
def test_kept_outputs_change_no_loss(
    arguments,
    tmp_path,
    monkeypatch,
    capsys,
    encoded,
    workers,
    precision,
):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", precision)
    more = [*FROZEN, "--dataloader_num_workers", workers]
    train.main(arguments(*more, output_dir=tmp_path / "kept"))
    assert "its outputs are cached until the end of training" in capsys.readouterr().out
    # An epoch has 4 steps; workers read up to 4 ahead, of the second one before it is kept.
    assert len(encoded) == 10 and encoded[0] and not any(encoded[4 if workers == "0" else 8 :])
    assert not (tmp_path / "kept" / "encoder_states").exists()
    monkeypatch.setattr(EncoderCache, "fits", lambda self: False)
    train.main(arguments(*more, output_dir=tmp_path / "computed"))
    assert "its outputs are not cached" in capsys.readouterr().out
    assert losses(tmp_path / "kept") == pytest.approx(losses(tmp_path / "computed"), abs=1e-5)


def test_a_resumed_run_reads_what_was_kept(arguments, tmp_path, monkeypatch, encoded):
    train.main(arguments(*FROZEN, output_dir=tmp_path / "whole"))
    from utils.training.step_log import log_step

    def killed_at_step_7(run, *more):
        if run.state.step == 7:
            raise KeyboardInterrupt
        log_step(run, *more)

    monkeypatch.setattr("utils.training.step_log.log_step", killed_at_step_7)
    parts = arguments(*FROZEN, "--save_steps", "5", output_dir=tmp_path / "parts")
    with pytest.raises(KeyboardInterrupt):
        train.main(parts)
    assert (tmp_path / "parts" / "encoder_states" / "states.bin").exists()
    monkeypatch.setattr("utils.training.step_log.log_step", log_step)
    encoded.clear()
    train.main(parts)
    assert encoded and not any(encoded)  # an epoch had been seen
    assert losses(tmp_path / "parts") == pytest.approx(losses(tmp_path / "whole"), abs=1e-6)


@pytest.mark.parametrize(
    "more",
    [
        ["--speed_factors", "0.9", "1.1"],
        ["--noise_probability", "0.5"],
        ["--apply_spec_augment"],
        ["--stitch_probability", "0.5"],
        ["--non_speech_share", "0.1"],
        ["--dataset_passes", "0.5"],
        ["--max_steps", "4"],  # no clip is seen twice
    ],
)
def test_nothing_is_kept_where_it_would_not_come_again(arguments, capsys, more):
    args = parse_arguments(TrainArguments, arguments("--freeze_encoder", "--max_steps", "6", *more))
    run = build_run(args, start_accelerator(args))
    assert run.data.encoder_cache is None and "its outputs are" not in capsys.readouterr().out


def test_an_adapter_in_the_decoder_alone_leaves_the_encoder_as_it_is(arguments, capsys, encoded):
    targets = ["--lora_target_modules", r".*decoder.*(q|v)_proj"]
    train.main(arguments("--use_peft", *targets, "--max_steps", "5"))
    assert "its outputs are cached" in capsys.readouterr().out
    assert encoded[0] and not encoded[-1]


def test_a_dry_run_counts_kept_outputs_and_reads_them_in_later_epochs(
    arguments,
    tmp_path,
    monkeypatch,
    capsys,
    encoded,
):
    found = []
    from utils.training.rehearsal import estimate_run

    monkeypatch.setattr(
        "utils.training.rehearsal.estimate_run", lambda *given: found.append(estimate_run(*given)) or found[0]
    )
    run = tmp_path / "run"
    train.main(arguments(*FROZEN, "--dry_run", output_dir=run))
    assert "encoder outputs" in capsys.readouterr().out and not run.exists()
    half = len(encoded) // 2
    assert half and all(encoded[:half]) and not any(encoded[half:])  # the same steps twice

    monkeypatch.setattr(EncoderCache, "remove", lambda self: None)
    train.main(arguments(*FROZEN, output_dir=run))
    assert found[0].disk.encoder_states == (run / "encoder_states" / "states.bin").stat().st_size


@pytest.mark.slow
def test_two_processes_keep_in_one_file_and_learn_the_same(arguments, tmp_path):
    train.main(arguments(*FROZEN, output_dir=tmp_path / "one"))
    halves = [*FROZEN, "--per_device_train_batch_size", "2"]
    said = train_warm("cpu_2_processes", arguments(*halves, output_dir=tmp_path / "two"), tmp_path / "log")
    assert said.count("its outputs are cached") == 1
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), abs=1e-5)


# ---- windows without speech --------------------------------------------------------------------------------


def test_a_run_with_windows_resumes_exactly_and_may_end_a_text_at_once(arguments, tmp_path, capsys):
    more = [
        "--non_speech_share",
        "0.25",
        "--lr_scheduler_type",
        "constant_with_warmup",
        "--warmup_steps",
        "1",
    ]
    train.main(arguments(*more, "--max_steps", "6", output_dir=tmp_path / "whole"))
    assert "16 clips and 4 windows without speech" in capsys.readouterr().out
    parts = {"output_dir": tmp_path / "parts"}
    train.main(arguments(*more, "--max_steps", "3", "--save_steps", "3", **parts))
    resume = ["--save_steps", "3", "--resume_from_checkpoint", "latest"]
    train.main(arguments(*more, "--max_steps", "6", *resume, **parts))
    assert losses(tmp_path / "parts") == pytest.approx(losses(tmp_path / "whole"), abs=1e-6)
    config = json.loads((tmp_path / "whole" / "final" / "generation_config.json").read_text())
    assert not config.get("begin_suppress_tokens")  # the tiny model's forbid nothing but the end
