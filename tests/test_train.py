"""train.py with the tiny random Whisper: gradients, resuming, what a run leaves, users' mistakes."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file

import train
from tests.fixtures import gradient_of_first_step
from utils.runtime.errors import UserError

ROOT = Path(__file__).parents[1]
LAUNCH = [sys.executable, "-m", "accelerate.commands.launch", "--quiet", "--config_file"]


pytestmark = pytest.mark.usefixtures("fresh_accelerator")


@pytest.fixture
def arguments(tiny_whisper, prepared, tmp_path):
    """Arguments of a short run; later ones override them."""

    def build(*more: str, output_dir: Path | None = None) -> list[str]:
        base = f"--model_name_or_path {tiny_whisper} --dataset {prepared} --language it --report_to none"
        base += " --max_steps 6 --eval_steps 0 --save_steps 0 --logging_steps 1 --learning_rate 1e-3"
        return [*base.split(), "--output_dir", str(output_dir or tmp_path / "run"), *more]

    return build


def read_metrics(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def run_script(command: list[str], **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


# ---- loss and gradient -------------------------------------------------------------------------------------


def first_step(launcher: list[str], output: Path, argv: list[str]) -> dict[str, torch.Tensor]:
    """Loss and gradients of the first optimiser step, by train.py's own functions."""
    if launcher:
        script = str(ROOT / "tests/fixtures/gradient_of_first_step.py")
        done = run_script([*launcher, script, str(output), *argv], OMP_NUM_THREADS="1")
        assert done.returncode == 0, done.stderr
    else:
        AcceleratorState._reset_state(reset_partial_state=True)
        gradient_of_first_step.main(str(output), *argv)
        AcceleratorState._reset_state(reset_partial_state=True)
    return load_file(output)


def loss_and_gradients_of_transformers(model_folder, prepared, indices) -> dict[str, torch.Tensor]:
    """The same clips as one batch through transformers' own forward pass, feature extractor and tokenizer."""
    import io

    import soundfile
    from datasets import load_from_disk
    from transformers import WhisperForConditionalGeneration, WhisperProcessor

    processor = WhisperProcessor.from_pretrained(model_folder, language="it", task="transcribe")
    model = WhisperForConditionalGeneration.from_pretrained(model_folder)
    rows = load_from_disk(prepared)["train"].select(indices)
    clips = [soundfile.read(io.BytesIO(data))[0] for data in rows["audio"]]
    features = processor.feature_extractor(clips, sampling_rate=16_000, return_tensors="pt").input_features
    ids = [torch.tensor(processor.tokenizer(" " + text).input_ids[1:]) for text in rows["text"]]
    labels = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=-100)
    loss = model(features, labels=labels).loss
    loss.backward()
    model.model.encoder.embed_positions.weight.grad = None  # fixed sinusoids, which loading leaves trainable
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return gradients | {"loss": loss.detach()}


@pytest.fixture(scope="module")
def gradients(tiny_whisper, prepared, tmp_path_factory) -> dict[str, dict[str, torch.Tensor]]:
    """The first step of eight clips, computed in five ways."""
    folder = tmp_path_factory.mktemp("gradients")
    base = f"--model_name_or_path {tiny_whisper} --dataset {prepared} --language it --report_to none"
    base += f" --eval_steps 0 --audio_context full --output_dir {folder / 'run'}"
    two = [*LAUNCH, str(ROOT / "accelerate_configs/cpu_2_processes.yaml")]
    ways = {
        "one batch of 8": ([], "--per_device_train_batch_size 8"),
        "4 of 2": ([], "--per_device_train_batch_size 2 --gradient_accumulation_steps 4"),
        "parts of 90 s": ([], "--per_device_train_batch_size 8 --micro_batch_seconds 90"),
        "2 processes of 4": (two, "--per_device_train_batch_size 4"),
        "2 processes, 2 of 2": (two, "--per_device_train_batch_size 2 --gradient_accumulation_steps 2"),
    }
    return {
        name: first_step(launcher, folder / f"{index}.safetensors", [*base.split(), *more.split()])
        for index, (name, (launcher, more)) in enumerate(ways.items())
    }


@pytest.mark.parametrize(
    "way", ["one batch of 8", "4 of 2", "parts of 90 s", "2 processes of 4", "2 processes, 2 of 2"]
)
def test_every_way_to_cut_a_step_gives_the_gradient_of_transformers(gradients, way, tiny_whisper, prepared):
    found = gradients[way]
    assert found["processes"] == (2 if "processes" in way else 1)
    assert torch.equal(found["indices"], gradients["one batch of 8"]["indices"])
    expected = loss_and_gradients_of_transformers(tiny_whisper, prepared, found["indices"].tolist())
    for name, value in expected.items():
        torch.testing.assert_close(
            found[name], value, atol=1e-5, rtol=1e-4, msg=lambda text, n=name: f"{n}: {text}"
        )


# ---- what a run leaves behind ------------------------------------------------------------------------------


def test_a_run_learns_and_leaves_model_folders_metrics_and_checkpoints(arguments, tmp_path):
    train.main(arguments("--eval_steps", "3", "--save_steps", "2", "--save_total_limit", "2"))
    run = tmp_path / "run"
    records = read_metrics(run)
    losses = [record["loss"] for record in records if "loss" in record]
    assert len(losses) == 6 and losses[-1] < losses[0]
    assert [record["step"] for record in records if "eval_wer" in record] == [3, 6]
    names = sorted(path.name for path in run.iterdir() if not path.name.startswith("."))
    assert names == [
        *("best", "checkpoint-4", "checkpoint-6", "final"),
        *("metrics.jsonl", "predictions", "train.yaml"),
    ]
    for folder in ("best", "final"):
        from transformers import pipeline

        recogniser = pipeline("automatic-speech-recognition", model=str(run / folder))
        assert isinstance(
            recogniser({"raw": torch.zeros(16_000).numpy(), "sampling_rate": 16_000})["text"], str
        )
    assert (
        json.loads((run / "final/train_results.json").read_text())["trainable_parameters"] == 343_104
    )  # all but 1500 x 64 positions
    assert "learning_rate: 0.001" in (run / "final/train.yaml").read_text()


def test_tensorboard_gets_the_losses(arguments, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train.main(arguments("--report_to", "tensorboard"))
    events = EventAccumulator(str(tmp_path / "run/logs/whisper-finetuning")).Reload()
    assert [round(event.value, 4) for event in events.Scalars("loss")] == [
        round(record["loss"], 4) for record in read_metrics(tmp_path / "run")
    ]


def test_a_lora_run_leaves_an_adapter_that_scores_the_same_when_loaded(
    arguments, tmp_path, capsys, tiny_whisper, prepared
):
    words = "--use_peft --lora_r 4 --eval_steps 6 --learning_rate 3e-2 --generation_max_length 24"
    train.main(arguments(*words.split()))
    assert "trainable params: " in capsys.readouterr().out
    best = tmp_path / "run/best"
    assert (best / "adapter_model.safetensors").exists() and not (best / "model.safetensors").exists()
    from utils.data.prepared_dataset import load_prepared
    from utils.model.loading import load_model
    from utils.model.transcribing import transcribe

    loaded = load_model(str(best))
    lines = (tmp_path / "run/predictions/step-6.jsonl").read_text().splitlines()
    rows = load_prepared([str(prepared)], "validation", language="it")
    ours, of_base = (
        transcribe(
            whisper.model,
            whisper.processor,
            *(rows["audio"], rows["duration"], rows["language"]),
            **{"audio_context": "full", "batch_size": 6, "max_length": 24},
        )
        for whisper in (loaded, load_model(str(tiny_whisper)))
    )
    said = [json.loads(line)["hypothesis"] for line in lines]
    assert ours == said and all(one != other for one, other in zip(said, of_base, strict=True))
    assert loaded.dynamic_context
    assert loaded.trainable_parameters == 4 * 2 * 64 * 2 * 6  # r x (in + out) x (q, v) x 6 attention blocks


@pytest.mark.parametrize(("rate", "told"), [("1e-5", True), ("1e-3", False)])
def test_a_rate_for_whole_weights_is_told_to_an_adapter(arguments, capsys, rate, told):
    train.main(arguments("--use_peft", "--lora_r", "4", "--max_steps", "1", "--learning_rate", rate))
    assert ("an adapter usually takes 1e-3" in capsys.readouterr().out) is told


def test_gradient_checkpointing_changes_no_loss(arguments, tmp_path):
    train.main(arguments(output_dir=tmp_path / "plain"))
    train.main(arguments("--gradient_checkpointing", output_dir=tmp_path / "checkpointed"))
    plain, checkpointed = read_metrics(tmp_path / "plain"), read_metrics(tmp_path / "checkpointed")
    for one, other in zip(plain, checkpointed, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], abs=1e-6)


def test_workers_change_no_loss(arguments, tmp_path):
    train.main(arguments(output_dir=tmp_path / "plain"))
    train.main(arguments("--dataloader_num_workers", "2", output_dir=tmp_path / "workers"))
    plain, workers = read_metrics(tmp_path / "plain"), read_metrics(tmp_path / "workers")
    assert [(r["loss"], r["order"]) for r in plain] == [(r["loss"], r["order"]) for r in workers]


def test_a_column_of_any_name_changes_no_loss(arguments, tmp_path, prepared):
    """Such as `dataset`: what else a source tells of its utterances is kept in the prepared dataset."""
    from datasets import load_from_disk

    named = load_from_disk(str(prepared)).map(lambda row: {"dataset": row["text"]})
    named.save_to_disk(str(tmp_path / "named"))
    runs = {"plain": prepared, "own": tmp_path / "named"}
    for name, data in runs.items():
        train.main(arguments("--max_steps", "2", "--dataset", str(data), output_dir=tmp_path / name))
    plain, own = (read_metrics(tmp_path / name) for name in runs)
    assert [(r["loss"], r["order"]) for r in own] == [(r["loss"], r["order"]) for r in plain]


def test_one_context_for_all_micro_batches_of_a_step(arguments, tmp_path, monkeypatch):
    import utils.audio.log_mel
    import utils.training.gradients

    seen = []
    original = utils.audio.log_mel.log_mel
    monkeypatch.setattr(
        utils.training.gradients,
        "log_mel",
        lambda waveforms, fe: (seen.append(waveforms.shape[1]), original(waveforms, fe))[1],
    )
    train.main(arguments("--per_device_train_batch_size", "2", "--gradient_accumulation_steps", "4"))
    steps = [seen[start : start + 4] for start in range(0, 24, 4)]
    assert all(len(set(step)) == 1 for step in steps)
    assert len({step[0] for step in steps}) > 1


# ---- stopping and going on ---------------------------------------------------------------------------------


def test_resuming_gives_the_losses_and_the_order_of_an_uninterrupted_run(arguments, tmp_path):
    """Stopped from outside right after a checkpoint, as a test of the state that is saved."""
    options = ["--save_steps", "3", "--eval_steps", "3", "--use_peft", "--lora_dropout", "0.1"]
    train.main(arguments(*options, output_dir=tmp_path / "straight"))
    code = (
        "import os, sys, train, utils.training.checkpoints as c; save = c.save_checkpoint\n"
        "def save_and_die(*a): save(*a); os.kill(os.getpid(), 9)\n"
        "c.save_checkpoint = save_and_die; train.main(sys.argv[1:])"
    )
    interrupted = arguments(*options, output_dir=tmp_path / "interrupted")
    assert run_script([sys.executable, "-c", code, *interrupted]).returncode == -9
    assert not (tmp_path / "interrupted/final").exists()
    train.main([*interrupted, "--resume_from_checkpoint", "latest"])
    straight, resumed = read_metrics(tmp_path / "straight"), read_metrics(tmp_path / "interrupted")
    assert [record["step"] for record in resumed] == [record["step"] for record in straight]
    for one, other in zip(straight, resumed, strict=True):
        assert one.get("loss") == pytest.approx(other.get("loss"), abs=1e-6)
        assert one.get("order") == other.get("order")
        assert one.get("eval_wer") == other.get("eval_wer")


def test_a_broken_newest_checkpoint_is_passed_over(arguments, tmp_path, capsys):
    train.main(arguments("--save_steps", "2"))
    newest = tmp_path / "run/checkpoint-6/model.safetensors"
    newest.write_bytes(newest.read_bytes()[:1000])
    train.main(arguments("--save_steps", "2", "--max_steps", "8", "--resume_from_checkpoint", "latest"))
    output = capsys.readouterr().out
    assert "checkpoint-6: passed over: model.safetensors has 1000 bytes" in output
    assert "going on from step 4" in output


def test_a_run_from_another_folders_checkpoint_has_a_best_model_of_its_own(arguments, tmp_path):
    options = ["--save_steps", "3", "--eval_steps", "3", "--max_eval_samples", "4"]
    train.main(arguments(*options, output_dir=tmp_path / "first"))
    named = ["--resume_from_checkpoint", str(tmp_path / "first" / "checkpoint-3"), "--learning_rate", "0"]
    train.main(arguments(*options, *named, output_dir=tmp_path / "second"))
    assert [record["step"] for record in read_metrics(tmp_path / "second") if "eval_wer" in record] == [3, 6]
    # what it started from, since nothing was learned
    assert json.loads((tmp_path / "second/best/train_results.json").read_text())["best_step"] == 3


def test_a_resumed_run_takes_the_new_learning_rate(arguments, tmp_path):
    """As the error for steps that are not finite advises."""
    constant = ["--lr_scheduler_type", "constant_with_warmup", "--warmup_steps", "0", "--save_steps", "3"]
    train.main(arguments(*constant, "--max_steps", "3"))
    train.main(arguments(*constant, "--learning_rate", "5e-4", "--resume_from_checkpoint", "latest"))
    rates = [record["learning_rate"] for record in read_metrics(tmp_path / "run")]
    assert rates == [1e-3] * 3 + [5e-4] * 3
    (group, _) = torch.load(tmp_path / "run/checkpoint-6/optimizer.bin")["param_groups"]
    assert group["lr"] == 5e-4


def test_a_rerun_with_equal_arguments_reuses_the_finished_run(arguments, tmp_path, capsys):
    train.main(arguments())
    before = (tmp_path / "run/final/model.safetensors").stat().st_mtime_ns
    train.main(arguments())
    assert "is there already" in capsys.readouterr().out
    assert (tmp_path / "run/final/model.safetensors").stat().st_mtime_ns == before


def test_a_rerun_after_a_kill_goes_on_without_being_told(arguments, tmp_path, capsys):
    train.main(arguments("--save_steps", "3"))
    shutil.rmtree(tmp_path / "run/final")
    shutil.rmtree(tmp_path / "run/checkpoint-6")
    train.main(arguments("--save_steps", "3"))
    assert "going on from step 3" in capsys.readouterr().out
    assert [record["step"] for record in read_metrics(tmp_path / "run")] == [1, 2, 3, 4, 5, 6]


def test_a_run_does_not_go_on_with_other_steps_or_other_clips(arguments, prepared, build_prepared, tmp_path):
    """Steps of 8 clips become steps of 16 on twice the processes; here the checkpoint is said to be of 4."""
    data = tmp_path / "data"
    shutil.copytree(prepared, data)
    words = arguments("--save_steps", "3", "--dataset", str(data))
    train.main(words)
    shutil.rmtree(tmp_path / "run/final")
    state = tmp_path / "run/checkpoint-6/trainer_state.json"
    written = state.read_text()
    state.write_text(written.replace('"step_size": "8 clips"', '"step_size": "4 clips"'))
    with pytest.raises(UserError, match="steps were of 4 clips, here they are of 8 clips: the num"):
        train.main(words)
    state.write_text(written)
    shutil.rmtree(data)
    build_prepared(data, {"train": 30, "validation": 6, "test": 6})
    with pytest.raises(UserError, match="checkpoint-6: it was trained on other clips"):
        train.main(words)
    train.main([*words, "--max_steps", "7", "--resume_from_checkpoint", "latest"])
    assert read_metrics(tmp_path / "run")[-1]["step"] == 7


def test_a_finished_run_is_reused_for_its_clips_alone(arguments, build_prepared, tmp_path, capsys):
    data = build_prepared(tmp_path / "data", {"train": 30, "validation": 6, "test": 6})
    words = arguments("--dataset", str(data), "--max_steps", "1", "--eval_steps", "0")
    train.main(words)
    shutil.rmtree(data)
    train.main(words)  # what is gone cannot have changed
    assert "is there already" in capsys.readouterr().out
    for changes in ({"language": "en"}, {"loudness": 0.2}):
        shutil.rmtree(data, ignore_errors=True)
        build_prepared(data, {"train": 30, "validation": 6, "test": 6}, **changes)
        with pytest.raises(
            UserError, match=r"final is there already, trained on other clips .* to train anew"
        ):
            train.main(words)


def test_a_checkpoint_beyond_the_steps_asked_for_is_no_end_of_training(arguments, tmp_path):
    train.main(arguments("--max_steps", "3", "--save_steps", "3", "--eval_steps", "0"))
    with pytest.raises(UserError, match=r"checkpoint-3: it is of step 3, and max_steps .* ask for 2 in all"):
        train.main(arguments("--max_steps", "2", "--eval_steps", "0", "--resume_from_checkpoint", "latest"))


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (["--freeze_encoder"], []),
        (["--use_peft", "--lora_r", "4"], ["--use_peft", "--lora_r", "8"]),
        (["--use_peft", "--lora_r", "4"], []),
    ],
)
def test_other_weights_to_train_are_no_traceback(arguments, tmp_path, before, now):
    train.main(arguments("--max_steps", "2", "--save_steps", "2", *before))
    with pytest.raises(UserError, match=r"other weights were trained there,? .* --model_name_or_path"):
        train.main(arguments("--max_steps", "4", "--resume_from_checkpoint", "latest", *now))


# ---- users' mistakes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--dataset", "/nowhere"], "/nowhere: no such folder"),
        (["--model_name_or_path", "./nowhere"], "nowhere.*no such folder"),
        (["--language", "xx"], "Whisper has no such language"),
        (["--language", "auto", "--dataset", "NO_LANGUAGE"], "have no language. Give --language"),
        (["--condition_on_prev_probability", "0.5"], "no clip of .* has a text before it"),
        (["--resume_from_checkpoint", "latest"], "no whole checkpoint to resume from"),
        (["--resume_from_checkpoint", "/nowhere"], "no trainer_state.json in it"),
        (["--use_peft", "--lora_target_modules", "query"], "the model has .*q_proj"),
        (["--context_jitter", "40"], "expected one or more numbers from 0 to 30"),
    ],
)
def test_mistakes_are_told_before_any_work(arguments, tmp_path, build_prepared, change, message):
    if "NO_LANGUAGE" in change:
        folder = build_prepared(tmp_path / "data", {"train": 2}, language=None)
        change = [str(folder) if word == "NO_LANGUAGE" else word for word in change]
    with pytest.raises(UserError, match=message):
        train.main(arguments(*change))
    assert not (tmp_path / "run/metrics.jsonl").exists()


def test_a_language_of_the_validation_split_alone_is_told_before_any_work(arguments, prepared, tmp_path):
    from datasets import load_from_disk

    splits = load_from_disk(prepared)
    rows = splits["validation"].remove_columns("language")
    splits["validation"] = rows.add_column("language", ["it"] * (len(rows) - 1) + ["xx"])
    splits.save_to_disk(tmp_path / "data")
    with pytest.raises(UserError, match="no token for the language xx"):
        train.main(arguments("--dataset", str(tmp_path / "data"), "--eval_steps", "2"))
    assert not (tmp_path / "run/metrics.jsonl").exists()


def test_other_arguments_in_the_same_folder_are_refused_and_nothing_is_lost(arguments, tmp_path):
    train.main(arguments())
    with pytest.raises(UserError, match=r"learning_rate: 0.001 there, 0.5 now"):
        train.main(arguments("--learning_rate", "0.5"))
    assert (tmp_path / "run/final/model.safetensors").exists()


def test_what_changes_no_result_may_change_while_a_run_is_interrupted(arguments, tmp_path, capsys):
    """With dropout and augmentation, which draw the same numbers."""
    import shutil

    drawn = [
        "--use_peft",
        "--lora_dropout",
        "0.3",
        "--noise_probability",
        "0.5",
        "--speed_factors",
        "0.9",
        "1.1",
    ]
    train.main(arguments(*drawn, "--save_steps", "3", "--eval_steps", "6"))
    run = tmp_path / "run"
    straight, results = read_metrics(run), (run / "final/train_results.json").read_text()
    for name in ("final", "best", "checkpoint-6"):
        shutil.rmtree(run / name)
    free = ["--gradient_checkpointing", "--dataloader_num_workers", "1", "--per_device_eval_batch_size", "2"]
    free += ["--save_steps", "4", "--save_total_limit", "9", "--max_skipped_steps", "9"]
    train.main(arguments(*drawn, *free, "--eval_steps", "6"))
    assert "going on from step 3" in capsys.readouterr().out
    for one, other in zip(straight, read_metrics(run), strict=True):
        assert one.get("loss") == pytest.approx(other.get("loss"), abs=1e-6)
        assert (one.get("order"), one.get("eval_wer")) == (other.get("order"), other.get("eval_wer"))
    assert (run / "final/train_results.json").read_text() == results
    train.main(arguments(*drawn, *free, "--eval_steps", "6", "--logging_steps", "2"))
    assert "is there already" in capsys.readouterr().out


def test_all_may_change_while_nothing_is_saved(arguments, tmp_path, monkeypatch, capsys):
    def run_out(*_):
        raise RuntimeError("DefaultCPUAllocator: not enough memory")

    with monkeypatch.context() as patch:
        patch.setattr(train, "train_steps", run_out)
        with pytest.raises(UserError, match="memory ran out"):
            train.main(arguments())
        with pytest.raises(UserError, match=r"no whole checkpoint .* Leave --resume_from_checkpoint out"):
            train.main(arguments("--max_steps", "2", "--resume_from_checkpoint", "latest"))
    train.main(arguments("--max_steps", "2"))
    assert [record["step"] for record in read_metrics(tmp_path / "run")] == [1, 2]
    with pytest.raises(UserError, match=r"max_steps: 2 there, 3 now. Give another --output_dir\.$"):
        train.main(arguments("--max_steps", "3"))  # final/ is there, and no checkpoint


def test_memory_that_runs_out_in_an_evaluation_names_its_batch(arguments, monkeypatch):
    import utils.training.shared_decoding

    def run_out(*_, **__):
        raise RuntimeError("DefaultCPUAllocator: not enough memory")

    monkeypatch.setattr(utils.training.shared_decoding, "transcribe", run_out)
    with pytest.raises(UserError, match="a smaller --per_device_eval_batch_size"):
        train.main(arguments("--eval_steps", "1"))


def test_an_evaluation_that_fails_loses_no_steps_and_is_done_again(arguments, tmp_path, monkeypatch, capsys):
    import utils.training.shared_decoding

    options = ["--eval_steps", "4", "--save_steps", "4", "--generation_max_length", "20"]
    train.main(arguments(*options, output_dir=tmp_path / "straight"))
    monkeypatch.setattr(
        utils.training.shared_decoding, "transcribe", Mock(side_effect=KeyError("a mistake of ours"))
    )
    with pytest.raises(KeyError):
        train.main(arguments(*options))
    monkeypatch.undo()
    train.main(arguments(*options))
    assert "going on from step 4" in capsys.readouterr().out
    expected = read_metrics(tmp_path / "straight")
    found = read_metrics(tmp_path / "run")
    for name in ("step", "loss", "eval_wer"):
        assert [record.get(name) for record in found] == [record.get(name) for record in expected]


def test_a_checkpoint_knows_its_evaluation(arguments, tmp_path):
    options = ["--eval_steps", "2", "--save_steps", "2", "--generation_max_length", "20"]
    train.main(arguments(*options))
    for folder in (tmp_path / "run").glob("checkpoint-*"):
        state = json.loads((folder / "trainer_state.json").read_text())["state"]
        assert state["evaluated_step"] == state["step"] and state["best_metric"] is not None


def test_the_launcher_may_not_contradict_the_recipe(arguments, monkeypatch):
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    with pytest.raises(UserError, match="launcher's configuration says 4"):
        train.main(arguments())


def test_fp16_on_a_cpu_is_refused(arguments, monkeypatch):
    if torch.accelerator.is_available():
        pytest.skip("this machine has an accelerator")
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp16")
    with pytest.raises(UserError, match="fp16 on a CPU"):
        train.main(arguments())


def test_labels_over_448_tokens_are_set_aside_and_counted(arguments, tmp_path, prepared, capsys):
    from datasets import DatasetDict, load_from_disk

    splits = load_from_disk(prepared)
    long = splits["train"].map(
        lambda row, i: {"text": "a" * 500 if i == 3 else row["text"]}, with_indices=True
    )
    DatasetDict({**splits, "train": long}).save_to_disk(tmp_path / "data")
    train.main(arguments("--dataset", str(tmp_path / "data")))
    assert "1 utterances have labels too long" in capsys.readouterr().out
    reject = json.loads((tmp_path / "run/rejects.jsonl").read_text())
    assert reject["source"] == "train-0003" and "505 label tokens, expected at most 448" in reject["reason"]


def test_a_mistake_ends_the_script_without_traceback():
    done = run_script([sys.executable, "train.py", "--model_name_or_path", "x", "--learning_rat", "1"])
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and "Traceback" not in done.stderr
