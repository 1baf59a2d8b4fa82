"""train.py: what can be seen of a run, and users' mistakes in what ends one."""

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
import torch

import train
from tests.support.scripted_decoding import script_decoding, short_run, write_short_clips, wrong
from tests.support.training_runs import read_metrics
from utils.arguments.evaluate import EvaluateArguments
from utils.arguments.parsing import parse_arguments
from utils.runtime.errors import UserError

pytestmark = pytest.mark.usefixtures("fresh_accelerator")


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    """Prepared dataset: eight short clips to train on, six to validate on."""
    return write_short_clips(tmp_path_factory.mktemp("clips") / "it", {"train": 8, "validation": 6})


@pytest.fixture
def arguments(tiny_whisper, clips, tmp_path):
    """Arguments of a run of four steps, each evaluated; later ones override them."""
    return lambda *more: short_run(tiny_whisper, clips, tmp_path / "run", *more)


def test_samples_predictions_and_measures(arguments, tmp_path, prepared, capsys):
    """Decoded by the model itself, clips of different length with texts of their own."""
    from datasets import load_from_disk

    words = ["--dataset", str(prepared), "--max_steps", "1", "--generation_max_length", "24"]
    train.main(arguments(*words, "--per_device_train_batch_size", "4"))
    output = capsys.readouterr().out
    shown = len(re.findall(r"^  reference   ", output, re.MULTILINE))
    assert shown in (3, 4)  # three, and the worst unless drawn
    assert "Done: " in output and "(step " in output
    command = shlex.split(output[output.index("python evaluate.py") :])[2:]
    compared = parse_arguments(EvaluateArguments, command)
    assert compared.models[1] == str(tmp_path / "run/best") and compared.dataset == [str(prepared)]
    assert (compared.language, compared.output_dir) == ("it", str(tmp_path / "run/report"))
    lines = [
        json.loads(line) for line in (tmp_path / "run/predictions/step-1.jsonl").read_text().splitlines()
    ]
    rows = load_from_disk(prepared)["validation"]
    assert [(line["id"], line["reference"]) for line in lines] == list(
        zip(rows["id"], rows["text"], strict=True)
    )
    (evaluated,) = [record for record in read_metrics(tmp_path / "run") if "eval_wer" in record]
    rate = sum(line["raw_word_errors"] for line in lines) / sum(line["raw_words"] for line in lines)
    assert evaluated["eval_wer"] == rate
    trained = [record for record in read_metrics(tmp_path / "run") if "loss" in record]
    assert trained and all(0 < record["padding_share"] < 1 for record in trained)


def test_tensorboard_gets_arguments_samples_and_each_step_once_after_a_resume(
    arguments, tmp_path, monkeypatch
):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    script_decoding(monkeypatch, *[wrong(1)] * 4)
    words = "--report_to tensorboard --save_steps 1 --max_steps 3"
    train.main(arguments(words))
    run = tmp_path / "run"
    for name in ("final", "checkpoint-3"):
        shutil.rmtree(run / name)
    train.main(arguments(words))
    events = EventAccumulator(str(run / "logs/whisper-finetuning")).Reload()
    assert [event.step for event in events.Scalars("loss")] == [1, 2, 3]
    assert [event.step for event in events.Scalars("eval_normalized_wer")] == [1, 2, 3]
    text = events.Tensors("samples/text_summary")[-1].tensor_proto.string_val[0].decode()
    assert text.startswith("| id | errors | reference | hypothesis |") and "validation-" in text
    hparams = next((run / "logs").rglob("hparams.yml")).read_text()
    assert "learning_rate: 0.001" in hparams


@pytest.mark.parametrize("tracker", ["trackio", "wandb", "mlflow"])
def test_other_trackers_get_the_numbers_and_go_on(arguments, tmp_path, monkeypatch, tracker):
    """Each without a network; none of them is among the requirements."""
    script_decoding(monkeypatch, *[wrong(1)] * 4)
    pytest.importorskip(tracker, reason=f"{tracker} is optional")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file://{tmp_path / 'mlruns'}")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    words = ["--report_to", tracker, "--save_steps", "1", "--max_steps", "3"]
    train.main(arguments(*words))
    run = tmp_path / "run"
    run_id = (run / "run_id.txt").read_text()
    for name in ("final", "checkpoint-3"):
        shutil.rmtree(run / name)
    train.main(arguments(*words))
    assert (run / "run_id.txt").read_text() == run_id
    if tracker == "trackio":
        assert list((tmp_path / "trackio").glob("whisper-finetuning*"))
    if tracker == "wandb":
        assert len(list((run / "wandb").glob(f"offline-run-*-{run_id.strip()}"))) == 2
    if tracker == "mlflow":
        assert len(list((tmp_path / "mlruns").rglob("metrics/loss"))) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--report_to", "tensorbord"], "report_to tensorbord: expected tensorboard, trackio"),
        (["--report_to", "none", "tensorboard"], "expected either none"),
        (["--early_stopping_patience", "0"], "early_stopping_patience 0: expected at least 1"),
        (["--early_stopping_patience", "2", "--eval_steps", "0"], "needs evaluations"),
        (["--average_checkpoints", "1"], "expected 0, or at least 2"),
        (["--interpolation_alphas", "0", "1"], "expected above 0 and at most 1"),
        (["--guard_datasets", "d"], "guard_datasets needs interpolation_alphas"),
        (["--interpolation_alphas", "1", "--guard_datasets", "/nowhere"], "/nowhere: no such folder"),
        (["--metric_for_best_model", "wer"], "metric_for_best_model"),
    ],
)
def test_mistakes_are_told_before_any_work(arguments, tmp_path, words, message):
    with pytest.raises(UserError, match=message):
        train.main(arguments(*words))
    assert not (tmp_path / "run/metrics.jsonl").exists()


def test_a_missing_tracker_is_named_with_its_package():
    from utils.arguments.train import tracker_problems

    if all(__import__("importlib.util").util.find_spec(name) for name in ("wandb", "mlflow", "trackio")):
        pytest.skip("all trackers are installed")
    problems = tracker_problems(["wandb", "mlflow", "trackio"])
    assert problems and all("not installed. Run: pip install" in problem for problem in problems)


def test_a_rehearsal_that_runs_out_of_memory_says_what_helps(arguments, monkeypatch):
    def too_much(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr("utils.training.rehearsal.estimate_run", too_much)
    with pytest.raises(UserError, match=r"memory ran out \(CUDA out of memory.*--memory low"):
        train.main(arguments("--dry_run"))
