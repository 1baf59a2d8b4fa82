"""train.py with the tiny random Whisper: gradients, resuming, what a run leaves, users' mistakes."""

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file

import train
from tests.fixtures import gradient_of_first_step
from tests.support.training_runs import LAUNCH, ROOT, assert_same_course, read_metrics, run_script, values_of
from utils.runtime.errors import UserError

SHORT = ["--generation_max_length", "20"]  # a random model else writes until it may no longer
FINISHED = ["--eval_steps", "2", "--save_steps", "2", *SHORT]
DRAWN = ["--max_steps", "4", "--eval_steps", "4", *SHORT, "--use_peft", "--lora_dropout", "0.3"]
DRAWN += ["--noise_probability", "0.5", "--speed_factors", "0.9", "1.1"]


pytestmark = pytest.mark.usefixtures("fresh_accelerator")


@pytest.fixture(scope="module")
def run_once(tiny_whisper, prepared, tmp_path_factory) -> Callable[..., Path]:
    """A function that trains into a new folder and gives its path, for several tests."""

    def run(*more: str) -> Path:
        folder = tmp_path_factory.mktemp("shared") / "run"
        with own_accelerator():
            train.main(words_of_a_run(tiny_whisper, prepared, folder, *more))
        return folder

    return run


@contextmanager
def own_accelerator() -> Iterator[None]:
    """What the block leaves in Accelerate's state is forgotten, and what was there before."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def words_of_a_run(model: Path, dataset: Path, output_dir: Path, *more: str) -> list[str]:
    base = f"--model_name_or_path {model} --dataset {dataset} --language it --report_to none"
    base += " --max_steps 6 --eval_steps 0 --save_steps 0 --logging_steps 1 --learning_rate 1e-3"
    return [*base.split(), "--output_dir", str(output_dir), *more]


@pytest.fixture
def arguments(tiny_whisper, prepared, tmp_path):
    """Arguments of a short run; later ones override them."""

    def build(*more: str, output_dir: Path | None = None) -> list[str]:
        return words_of_a_run(tiny_whisper, prepared, output_dir or tmp_path / "run", *more)

    return build


@pytest.fixture(scope="module")
def finished_once(run_once) -> Path:
    """The folder of a run to look at: evaluated and saved every two steps."""
    return run_once(*FINISHED, "--save_total_limit", "2", "--report_to", "tensorboard")


@pytest.fixture
def finished(finished_once, tmp_path) -> Path:
    """A copy of it that may be changed, where `arguments` goes on."""
    return shutil.copytree(finished_once, tmp_path / "run")


@pytest.fixture(scope="module")
def drawn_once(run_once) -> Path:
    """The folder of a run with dropout and augmentation."""
    return run_once(*DRAWN, "--save_steps", "2")


@pytest.fixture(scope="module")
def adapter_once(run_once) -> Path:
    """The folder of a run that trained an adapter, by so much that the model writes otherwise."""
    words = "--use_peft --lora_r 4 --max_steps 4 --eval_steps 4 --save_steps 4 --learning_rate 0.3"
    return run_once(*words.split(), *SHORT)


# ---- loss and gradient -------------------------------------------------------------------------------------


def first_steps(launcher: list[str], ways: dict[str, list[str]]) -> dict[str, dict[str, torch.Tensor]]:
    """Loss and gradients of the first optimiser step, by train.py's own functions.

    Args:
        ways: Arguments of train.py by the file that is written.
    """
    words = [word for output, argv in ways.items() for word in ("then", output, *argv)]
    if launcher:
        script = str(ROOT / "tests/fixtures/gradient_of_first_step.py")
        done = run_script([*launcher, script, *words], OMP_NUM_THREADS="1")
        assert done.returncode == 0, done.stderr
    else:
        with own_accelerator():
            gradient_of_first_step.main(*words)
    return {Path(output).stem: load_file(output) for output in ways}


def loss_and_gradients_of_transformers(
    model_folder, prepared, indices, split="train"
) -> dict[str, torch.Tensor]:
    """The same clips as one batch through transformers' own forward pass, feature extractor and tokenizer."""
    import io

    import soundfile
    from datasets import load_from_disk
    from transformers import WhisperForConditionalGeneration, WhisperProcessor

    processor = WhisperProcessor.from_pretrained(model_folder, language="it", task="transcribe")
    model = WhisperForConditionalGeneration.from_pretrained(model_folder)
    rows = load_from_disk(prepared)[split].select(indices)
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
    base += (
        f" --eval_steps 0 --audio_context full --output_dir {folder / 'run'} --per_device_train_batch_size"
    )
    on_one = {
        "one batch of 8": "8",
        "4 of 2": "2 --gradient_accumulation_steps 4",
        "parts of 90 s": "8 --micro_batch_seconds 90",
    }
    on_two = {"2 processes of 4": "4", "2 processes, 2 of 2": "2 --gradient_accumulation_steps 2"}
    config = str(ROOT / "accelerate_configs/cpu_2_processes.yaml")
    found = {}
    for launcher, ways in (([], on_one), ([*LAUNCH, config], on_two)):
        words = {str(folder / f"{way}.safetensors"): f"{base} {more}".split() for way, more in ways.items()}
        found |= first_steps(launcher, words)
    return found


@pytest.fixture(scope="module")
def expected_gradients(gradients, tiny_whisper, prepared) -> dict[str, torch.Tensor]:
    indices = gradients["one batch of 8"]["indices"].tolist()
    return loss_and_gradients_of_transformers(tiny_whisper, prepared, indices)


@pytest.mark.parametrize(
    "way", ["one batch of 8", "4 of 2", "parts of 90 s", "2 processes of 4", "2 processes, 2 of 2"]
)
def test_every_way_to_cut_a_step_gives_the_gradient_of_transformers(gradients, way, expected_gradients):
    found = gradients[way]
    assert found["processes"] == (2 if "processes" in way else 1)
    assert torch.equal(found["indices"], gradients["one batch of 8"]["indices"])
    assert set(found) == {*expected_gradients, "indices", "processes"}
    for name, value in expected_gradients.items():
        torch.testing.assert_close(
            found[name], value, atol=1e-5, rtol=1e-4, msg=lambda text, n=name: f"{n}: {text}"
        )


# ---- what a run leaves behind ------------------------------------------------------------------------------


def test_a_run_learns_and_leaves_model_folders_metrics_and_checkpoints(finished_once):
    from transformers import pipeline

    losses = values_of(finished_once, "loss")
    assert len(losses) == 6 and losses[-1] < losses[0]
    assert [record["step"] for record in read_metrics(finished_once) if "eval_wer" in record] == [2, 4, 6]
    names = sorted(path.name for path in finished_once.iterdir() if not path.name.startswith("."))
    assert names == [
        *("best", "checkpoint-4", "checkpoint-6", "final", "logs"),
        *("metrics.jsonl", "predictions", "run_id.txt", "train.yaml"),
    ]
    for folder in ("best", "final"):
        recogniser = pipeline("automatic-speech-recognition", model=str(finished_once / folder))
        assert recogniser.model.generation_config.task == "transcribe"  # else it gets a language alone
        silence = {"raw": torch.zeros(16_000).numpy(), "sampling_rate": 16_000}
        assert isinstance(recogniser(silence, generate_kwargs={"max_length": 20})["text"], str)
    results = json.loads((finished_once / "final/train_results.json").read_text())
    assert results["trainable_parameters"] == 343_104  # all but 1500 x 64 positions
    assert "learning_rate: 0.001" in (finished_once / "final/train.yaml").read_text()


def test_each_evaluation_logs_the_validation_loss_and_the_epoch(finished_once, prepared):
    """40 clips are five steps of 8. The last loss is transformers' own of the model that is saved."""
    evaluations = [record for record in read_metrics(finished_once) if "eval_wer" in record]
    assert [record["epoch"] for record in evaluations] == pytest.approx([0.4, 0.8, 1.2])
    expected = loss_and_gradients_of_transformers(finished_once / "final", prepared, range(6), "validation")
    assert evaluations[-1]["eval_loss"] == pytest.approx(expected["loss"].item(), rel=1e-5)
    assert values_of(finished_once, "epoch")[:3] == pytest.approx([0.2, 0.4, 0.4])  # of training, too
    said = json.loads((finished_once / "best/train_results.json").read_text())["evaluations"]
    assert [each["validation_loss"] for each in said] == [record["eval_loss"] for record in evaluations]


def test_tensorboard_gets_the_losses(finished_once):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(finished_once / "logs/whisper-finetuning")).Reload()
    found = [round(event.value, 4) for event in events.Scalars("loss")]
    assert found == [round(loss, 4) for loss in values_of(finished_once, "loss")]
    found = [event.value for event in events.Scalars("eval_loss")]
    assert found == pytest.approx(values_of(finished_once, "eval_loss"), rel=1e-5)


def test_a_lora_run_leaves_an_adapter_that_scores_the_same_when_loaded(adapter_once, tiny_whisper, prepared):
    from datasets import load_from_disk

    from tests.support.transcribing import transcribe
    from utils.model.loading import load_model

    best, rows = adapter_once / "best", load_from_disk(prepared)["validation"]
    assert (best / "adapter_model.safetensors").exists() and not (best / "model.safetensors").exists()

    def hypotheses_of(folder: Path) -> list[str]:
        loaded = load_model(str(folder))
        clips = rows["audio"], list(rows["duration"]), list(rows["language"])
        options = {"audio_context": "full", "batch_size": 6, "max_length": 20}
        return transcribe(loaded.model, loaded.processor, *clips, **options)

    lines = (adapter_once / "predictions/step-4.jsonl").read_text().splitlines()
    heard = [json.loads(line)["hypothesis"] for line in lines]
    assert hypotheses_of(best) == heard != hypotheses_of(tiny_whisper)
    loaded = load_model(str(best))
    assert loaded.dynamic_context
    assert loaded.trainable_parameters == 4 * 2 * 64 * 2 * 6  # r x (in + out) x (q, v) x 6 attention blocks


def test_neither_checkpointed_gradients_nor_workers_change_a_loss(arguments, finished_once, tmp_path):
    train.main(arguments("--gradient_checkpointing", "--dataloader_num_workers", "2"))
    assert values_of(tmp_path / "run", "order") == values_of(finished_once, "order")
    expected = values_of(finished_once, "loss")
    assert values_of(tmp_path / "run", "loss") == pytest.approx(expected, abs=1e-6, rel=0)


def test_a_step_that_is_left_out_does_not_hold_up_the_schedule(arguments, tiny_whisper, tmp_path):
    """The second of four gets features that are not finite; the others are masked, and clipped to nothing."""
    from torch.nn.modules.module import register_module_forward_pre_hook

    from utils.model.loss import WhisperLoss

    seen = []

    def poison_the_second(module: torch.nn.Module, inputs: tuple) -> tuple | None:
        if not isinstance(module, WhisperLoss):
            return None
        seen.append(inputs[0])
        return (inputs[0] * torch.inf, *inputs[1:]) if len(seen) == 2 else None

    words = "--max_steps 4 --per_device_train_batch_size 2 --warmup_steps 0 --max_grad_norm 1e-12"
    words += " --apply_spec_augment --mask_time_prob 0 --mask_time_min_masks 0 --mask_feature_prob 0.4"
    hook = register_module_forward_pre_hook(poison_the_second)
    try:
        train.main(arguments(*words.split()))
    finally:
        hook.remove()
    records = [record for record in read_metrics(tmp_path / "run") if "loss" in record]
    assert [record["loss"] is None for record in records] == [False, True, False, False]
    rates = [record["learning_rate"] for record in records]
    assert rates == pytest.approx([0.75e-3, 0.5e-3, 0.25e-3, 0.0], abs=1e-12)
    before = load_file(tiny_whisper / "model.safetensors")
    after = load_file(tmp_path / "run/final/model.safetensors")
    assert max((after[name] - value).abs().max() for name, value in before.items()) < 1e-6
    # bands that stand still while a clip sounds, which 0.4 s of each does at least
    masked = [(one[:, :, :40] == one[:, :, :1]).all(dim=2).float().mean().item() for one in seen]
    assert len(masked) == 4 and all(0.2 < share <= 0.5 for share in masked)


# ---- stopping and going on ---------------------------------------------------------------------------------


def test_resuming_gives_the_losses_and_the_order_of_an_uninterrupted_run(arguments, drawn_once, tmp_path):
    """Stopped from outside right after a checkpoint, as a test of the state that is saved."""
    code = (
        "import os, sys, train, utils.training.checkpoints as c; save = c.save_checkpoint\n"
        "def save_and_die(*a): save(*a); os.kill(os.getpid(), 9)\n"
        "c.save_checkpoint = save_and_die; train.main(sys.argv[1:])"
    )
    interrupted = arguments(*DRAWN, "--save_steps", "2")
    assert run_script([sys.executable, "-c", code, *interrupted]).returncode == -9
    assert not (tmp_path / "run/final").exists()
    train.main([*interrupted, "--resume_from_checkpoint", "latest"])
    assert_same_course(tmp_path / "run", drawn_once)


def test_a_broken_newest_checkpoint_is_passed_over(arguments, finished, capsys):
    newest = finished / "checkpoint-6/model.safetensors"
    newest.write_bytes(newest.read_bytes()[:1000])
    train.main(arguments("--save_steps", "2", "--max_steps", "7", "--resume_from_checkpoint", "latest"))
    output = capsys.readouterr().out
    assert "checkpoint-6: skipped: model.safetensors has 1000 bytes" in output
    assert "continuing from step 4" in output


def test_a_run_from_another_folders_checkpoint_has_a_best_model_of_its_own(
    arguments, finished_once, tmp_path
):
    named = ["--resume_from_checkpoint", str(finished_once / "checkpoint-4"), "--learning_rate", "0"]
    train.main(arguments(*FINISHED, *named, output_dir=tmp_path / "second"))
    assert [record["step"] for record in read_metrics(tmp_path / "second") if "eval_wer" in record] == [4, 6]
    # what it started from, since nothing was learned
    assert json.loads((tmp_path / "second/best/train_results.json").read_text())["best_step"] == 4


def test_a_resumed_run_takes_the_new_learning_rate(arguments, finished):
    """As the error for steps that are not finite advises."""
    shutil.rmtree(finished / "checkpoint-6")
    changed = ["--lr_scheduler_type", "constant_with_warmup", "--learning_rate", "5e-4", "--save_steps", "6"]
    train.main(arguments(*changed, "--resume_from_checkpoint", "latest"))
    # before: one step of warm-up, then down to 0 in five
    assert values_of(finished, "learning_rate") == pytest.approx([1e-3, 8e-4, 6e-4, 4e-4, 5e-4, 5e-4])
    (group, _) = torch.load(finished / "checkpoint-6/optimizer.bin")["param_groups"]
    assert group["lr"] == 5e-4


def test_a_rerun_with_equal_arguments_reuses_the_finished_run(arguments, finished, monkeypatch, capsys):
    before = (finished / "final/model.safetensors").stat().st_mtime_ns
    for automatic in ("", "1"):  # make runs the next command
        monkeypatch.setenv("NEXT_IS_AUTOMATIC", automatic)
        train.main(arguments(*FINISHED))
        told = capsys.readouterr().out
        assert "already trained with these arguments" in told and ("Next" in told) == (not automatic)
    assert (finished / "final/model.safetensors").stat().st_mtime_ns == before


def test_a_rerun_after_a_kill_goes_on_without_being_told(arguments, finished, finished_once, capsys):
    shutil.rmtree(finished / "final")
    shutil.rmtree(finished / "checkpoint-6")
    train.main(arguments(*FINISHED))
    assert "continuing from step 4" in capsys.readouterr().out
    assert_same_course(finished, finished_once)


def test_a_run_does_not_go_on_with_other_steps_or_other_clips(arguments, prepared, build_prepared, tmp_path):
    """Steps of 8 clips become steps of 16 on twice the processes; here the checkpoint is said to be of 4."""
    data = tmp_path / "data"
    shutil.copytree(prepared, data)
    words = arguments("--max_steps", "1", "--save_steps", "1", "--dataset", str(data))
    train.main(words)
    shutil.rmtree(tmp_path / "run/final")
    state = tmp_path / "run/checkpoint-1/trainer_state.json"
    written = state.read_text()
    state.write_text(written.replace('"step_size": "8 clips"', '"step_size": "4 clips"'))
    with pytest.raises(UserError, match="steps had 4 clips, now they have 8 clips: the num"):
        train.main(words)
    state.write_text(written)
    shutil.rmtree(data)
    build_prepared(data, {"train": 10, "validation": 2})
    with pytest.raises(UserError, match="checkpoint-1: the clips of the datasets have changed"):
        train.main(words)
    train.main([*words, "--max_steps", "2", "--resume_from_checkpoint", "latest"])
    assert read_metrics(tmp_path / "run")[-1]["step"] == 2


def test_a_finished_run_is_reused_for_its_clips_alone(arguments, build_prepared, tmp_path, capsys):
    sizes = {"train": 10, "validation": 2}
    data = build_prepared(tmp_path / "data", sizes)
    words = arguments("--dataset", str(data), "--max_steps", "1", "--eval_steps", "0")
    train.main(words)
    shutil.rmtree(data)
    train.main(words)  # what is gone cannot have changed
    assert "already trained with these arguments" in capsys.readouterr().out
    for changes in ({"language": "en"}, {"loudness": 0.2}):
        shutil.rmtree(data, ignore_errors=True)
        build_prepared(data, sizes, **changes)
        with pytest.raises(UserError, match=r"final was trained on other clips .* to train again"):
            train.main(words)


@pytest.mark.usefixtures("finished")
def test_a_checkpoint_beyond_the_steps_asked_for_is_no_end_of_training(arguments):
    with pytest.raises(UserError, match=r"checkpoint-6: its step is 6, but max_steps .* give only 2 steps"):
        train.main(arguments("--max_steps", "2", "--eval_steps", "0", "--resume_from_checkpoint", "latest"))


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ("finished_once", ["--freeze_encoder"]),
        ("adapter_once", ["--use_peft", "--lora_r", "8"]),
        ("adapter_once", []),
    ],
)
def test_other_weights_to_train_are_no_traceback(arguments, request, tmp_path, before, now):
    shutil.copytree(request.getfixturevalue(before), tmp_path / "run")
    with pytest.raises(UserError, match=r"lora_r or precision differ .* --model_name_or_path"):
        train.main(arguments("--max_steps", "8", "--resume_from_checkpoint", "latest", *now))


# ---- users' mistakes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--dataset", "/nowhere"], "/nowhere: no such folder"),
        (["--model_name_or_path", "./nowhere"], "nowhere.*no such folder"),
        (["--language", "xx"], "Whisper has no such language"),
        (
            ["--language", "auto", "--dataset", "NO_LANGUAGE"],
            "have no language. Give one, such as --language",
        ),
        (["--condition_on_prev_probability", "0.5"], "no clip of .* has a previous text"),
        (["--resume_from_checkpoint", "latest"], "no complete checkpoint to resume from"),
        (["--resume_from_checkpoint", "/nowhere"], "trainer_state.json is missing"),
        (["--use_peft", "--lora_target_modules", "query"], "the model has .*q_proj"),
        (["--context_jitter", "40"], "expected at least 0 and at most 30"),
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


def test_other_arguments_in_the_same_folder_are_refused_and_nothing_is_lost(arguments, finished):
    with pytest.raises(UserError, match=r"learning_rate: 0.001 there, 0.5 now"):
        train.main(arguments(*FINISHED, "--learning_rate", "0.5"))
    assert (finished / "final/model.safetensors").exists()


def test_what_changes_no_result_may_change_while_a_run_is_interrupted(
    arguments, drawn_once, tmp_path, capsys
):
    """With dropout and augmentation, which draw the same numbers."""
    run = shutil.copytree(drawn_once, tmp_path / "run")
    for name in ("final", "best", "checkpoint-4"):
        shutil.rmtree(run / name)
    free = ["--gradient_checkpointing", "--dataloader_num_workers", "1", "--per_device_eval_batch_size", "2"]
    free += ["--save_steps", "3", "--save_total_limit", "9"]
    train.main(arguments(*DRAWN, *free))
    assert "continuing from step 2" in capsys.readouterr().out
    assert_same_course(run, drawn_once)
    name = "final/train_results.json"
    assert (run / name).read_text() == (drawn_once / name).read_text()
    train.main(arguments(*DRAWN, *free, "--logging_steps", "2"))
    assert "already trained with these arguments" in capsys.readouterr().out


def test_all_may_change_while_nothing_is_saved(arguments, tmp_path, monkeypatch, capsys):
    def run_out(*_):
        raise RuntimeError("DefaultCPUAllocator: not enough memory")

    with monkeypatch.context() as patch:
        patch.setattr(train, "train_steps", run_out)
        with pytest.raises(UserError, match="memory ran out"):
            train.main(arguments())
        with pytest.raises(UserError, match=r"no complete checkpoint .* Remove --resume_from_checkpoint"):
            train.main(arguments("--max_steps", "2", "--resume_from_checkpoint", "latest"))
    train.main(arguments("--max_steps", "2"))
    assert [record["step"] for record in read_metrics(tmp_path / "run")] == [1, 2]
    with pytest.raises(UserError, match=r"max_steps: 2 there, 3 now. Choose another --output_dir\.$"):
        train.main(arguments("--max_steps", "3"))  # final/ is there, and no checkpoint


def test_memory_that_runs_out_in_an_evaluation_is_told_as_that(arguments, monkeypatch):
    import utils.training.shared_decoding

    def run_out(*_, **__):
        raise RuntimeError("DefaultCPUAllocator: not enough memory")

    monkeypatch.setattr(utils.training.shared_decoding, "transcribe_clips", run_out)
    with pytest.raises(UserError, match="with only one clip in the batch"):
        train.main(arguments("--eval_steps", "1"))


def test_an_evaluation_that_fails_loses_no_steps_and_is_done_again(
    arguments, finished_once, tmp_path, monkeypatch, capsys
):
    import utils.training.shared_decoding

    monkeypatch.setattr(
        utils.training.shared_decoding, "transcribe_clips", Mock(side_effect=KeyError("a mistake of ours"))
    )
    with pytest.raises(KeyError):
        train.main(arguments(*FINISHED))
    monkeypatch.undo()
    train.main(arguments(*FINISHED))
    assert "continuing from step 2" in capsys.readouterr().out
    assert_same_course(tmp_path / "run", finished_once)


def test_a_checkpoint_knows_its_evaluation(finished_once):
    folders = list(finished_once.glob("checkpoint-*"))
    for folder in folders:
        state = json.loads((folder / "trainer_state.json").read_text())["state"]
        assert state["evaluated_step"] == state["step"] and state["best_metric"] is not None
    assert len(folders) == 2


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


def test_a_mistake_ends_the_script_without_traceback():
    done = run_script([sys.executable, "train.py", "--model_name_or_path", "x", "--learning_rat", "1"])
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and "Traceback" not in done.stderr
