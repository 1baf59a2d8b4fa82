"""train.py: choosing, stopping, averaging, mixing with the base, and what can be seen of a run."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import train
from utils.checkpoints import TrainingState
from utils.errors import UserError
from utils.validation import ErrorRates

ROOT = Path(__file__).parents[1]
LAUNCH = [sys.executable, "-m", "accelerate.commands.launch", "--quiet", "--config_file"]


pytestmark = pytest.mark.usefixtures("fresh_accelerator")


@pytest.fixture
def arguments(tiny_whisper, prepared, tmp_path):
    """Arguments of a short run that evaluates at every second step; later ones override them."""

    def build(*more: str, output_dir: Path | None = None) -> list[str]:
        base = f"--model_name_or_path {tiny_whisper} --dataset {prepared} --language it --report_to none"
        base += " --max_steps 6 --eval_steps 2 --save_steps 0 --logging_steps 1 --learning_rate 1e-3"
        base += " --generation_max_length 24"
        return [*base.split(), "--output_dir", str(output_dir or tmp_path / "run"), *more]

    return build


def read_metrics(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def read_json(path: Path) -> dict:
    return json.loads(path.read_text())


def evaluated_steps(run: Path) -> list[int]:
    return [record["step"] for record in read_metrics(run) if "eval_wer" in record]


# ---- choosing and stopping ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("threshold", "values", "best_steps", "counts"),
    [
        (0.0, [0.5, 0.4, 0.4, 0.41, 0.3], [1, 2, 2, 2, 5], [0, 0, 1, 2, 0]),
        (0.05, [0.5, 0.47, 0.44, 0.30, 0.29], [1, 2, 3, 4, 5], [0, 1, 2, 0, 1]),
    ],
)
def test_best_and_patience_by_table(threshold, values, best_steps, counts):
    """transformers' callback compares with the best so far, which small gains lower too."""
    state, found = TrainingState(), []
    for step, value in enumerate(values, start=1):
        state.step = step
        state.count_evaluation(value, threshold)
        found.append((state.best_step, state.evaluations_without_improvement))
    assert found == list(zip(best_steps, counts, strict=True))


def test_the_model_before_training_is_measured_and_never_the_best():
    state = TrainingState()
    assert not state.count_evaluation(0.1, 0.0)
    assert (state.first_metric, state.best_metric) == (0.1, None)
    state.step = 5
    assert state.count_evaluation(0.2, 0.0)


def test_another_metric_forgets_what_was_best():
    state = TrainingState(step=4, best_metric=0.1, best_step=4, ranking=[(4, 0.1)])
    state.judge_by("normalized_wer", "these clips")  # written before that was noted
    assert state.best_step == 4
    other = replace(state)
    state.judge_by("raw_cer", "these clips")
    assert (state.metric_for_best_model, state.best_metric, state.ranking) == ("raw_cer", None, [])
    other.judge_by("normalized_wer", "other clips")
    assert (other.validation, other.best_metric, other.ranking) == ("other clips", None, [])


@pytest.mark.parametrize(
    ("results", "best"),
    [
        ({"best_metric": 0.2, "best_step": None, "averaged_steps": [2, 4], "step": 4}, (0.2, None)),
        ({"best_metric": 0.4, "best_step": None, "averaged_steps": [2, 4], "step": 4}, (0.3, 4)),
        ({"best_metric": 0.2, "best_step": 3, "step": 3}, (0.2, 3)),
        ({"best_metric": 0.2, "best_step": 8, "step": 8}, (0.3, 4)),  # will be evaluated again
        ({"best_metric": 0.2, "best_step": 6, "step": 6}, (0.3, 4)),  # so will this, which was cut short
        ({"best_metric": 0.2, "best_step": 3, "step": 3, "validation": "other clips"}, (0.3, 4)),
        ({"best_metric": 0.2, "best_step": 3, "step": 3, "metric_for_best_model": "raw_cer"}, (0.3, 4)),
        ({"best_metric": None, "best_step": None, "step": 3}, (0.3, 4)),
    ],
)
def test_what_is_in_best_counts_where_it_is_better(results, best):
    state = TrainingState(step=6, evaluated_step=4, best_metric=0.3, best_step=4, validation="these clips")
    state.take_up_best({"metric_for_best_model": "normalized_wer"} | results)
    assert (state.best_metric, state.best_step) == best


def test_training_stops_when_nothing_gets_better_and_a_resumed_run_at_the_same_step(arguments, tmp_path):
    """With a rate of zero nothing improves after the first evaluation: patience 2 ends at the third."""
    words = [
        "--learning_rate",
        "0",
        "--early_stopping_patience",
        "2",
        "--save_steps",
        "2",
        "--max_steps",
        "20",
    ]
    train.main(arguments(*words, output_dir=tmp_path / "straight"))
    assert evaluated_steps(tmp_path / "straight") == [2, 4, 6]
    assert read_json(tmp_path / "straight/final/train_results.json")["step"] == 6
    run = tmp_path / "resumed"
    shutil.copytree(tmp_path / "straight", run)
    for name in ("final", "checkpoint-6"):
        shutil.rmtree(run / name)
    train.main(arguments(*words, output_dir=run))
    assert evaluated_steps(run) == [2, 4, 6]
    # killed between the last checkpoint and final/: nothing is trained any more
    shutil.rmtree(run / "final")
    train.main(arguments(*words, output_dir=run))
    assert [record["step"] for record in read_metrics(run) if "loss" in record] == [1, 2, 3, 4, 5, 6]
    assert read_json(run / "final/train_results.json")["step"] == 6


def test_a_run_that_ended_early_goes_on_elsewhere_with_new_patience(arguments, tmp_path):
    """Its best model is not there: the weights that it starts from are evaluated, and may be the best."""
    words = ["--learning_rate", "0", "--early_stopping_patience", "2", "--save_steps", "2"]
    train.main(arguments(*words, "--max_steps", "20"))
    elsewhere = tmp_path / "elsewhere"
    named = ["--resume_from_checkpoint", str(tmp_path / "run/checkpoint-6"), "--max_steps", "8"]
    train.main(arguments(*words, *named, "--average_checkpoints", "2", output_dir=elsewhere))
    assert evaluated_steps(elsewhere) == [6, 8]
    assert read_json(elsewhere / "best/train_results.json")["best_step"] == 6
    assert read_json(elsewhere / "averaging.json")["steps"] == [6, 8]


def test_going_back_forgets_the_best_of_the_way_not_taken(arguments, tmp_path, monkeypatch):
    """0.2 at step 2 became 0.1 at step 4, which is in best/; from step 2 another way leads to 0.24."""
    rates = iter([0.2, 0.1, 0.25, 0.24])
    monkeypatch.setattr(train, "validate", lambda run: ErrorRates(*[next(rates)] * 4))
    train.main(arguments("--save_steps", "2", "--max_steps", "4"))
    back = ["--resume_from_checkpoint", str(tmp_path / "run/checkpoint-2"), "--learning_rate", "1e-5"]
    train.main(arguments("--save_steps", "2", "--max_steps", "6", *back))
    for folder in ("best", "final"):
        results = read_json(tmp_path / "run" / folder / "train_results.json")
        assert (results["best_metric"], results["best_step"]) == (0.24, 6), folder
    assert "1.0e-05" in (tmp_path / "run/best/train.yaml").read_text()


def test_other_validation_clips_choose_the_best_anew(arguments, tmp_path, monkeypatch):
    rates = iter([0.1, 0.5, 0.4])
    monkeypatch.setattr(train, "validate", lambda run: ErrorRates(*[next(rates)] * 4))
    train.main(arguments("--save_steps", "2", "--max_steps", "2"))
    more = ["--resume_from_checkpoint", "latest", "--max_eval_samples", "3"]
    train.main(arguments("--save_steps", "2", "--max_steps", "6", *more))
    results = read_json(tmp_path / "run/best/train_results.json")
    assert (results["best_metric"], results["best_step"]) == (0.4, 6)


@pytest.mark.parametrize("metric", ["raw_cer", "normalized_wer"])
def test_the_metric_asked_for_chooses_the_best(arguments, tmp_path, metric):
    train.main(arguments("--metric_for_best_model", metric))
    names = {"raw_cer": "eval_cer", "normalized_wer": "eval_normalized_wer"}
    values = [(r[names[metric]], r["step"]) for r in read_metrics(tmp_path / "run") if "eval_wer" in r]
    results = read_json(tmp_path / "run/best/train_results.json")
    assert (results["best_metric"], results["best_step"]) == min(values)
    assert results["metric_for_best_model"] == metric


def test_the_learning_curve_starts_at_the_base_model(arguments, tmp_path):
    train.main(arguments("--eval_on_start"))
    assert evaluated_steps(tmp_path / "run") == [0, 2, 4, 6]
    first = read_metrics(tmp_path / "run")[0]
    assert (
        read_json(tmp_path / "run/final/train_results.json")["metric_before_training"]
        == first["eval_normalized_wer"]
    )
    assert first["eval_seconds"] > 0
    assert sorted(path.name for path in (tmp_path / "run/predictions").iterdir()) == [
        f"step-{step}.jsonl" for step in (0, 2, 4, 6)
    ]


def test_an_old_checkpoint_is_read(arguments, tmp_path):
    train.main(arguments("--save_steps", "2", "--max_steps", "2"))
    file = tmp_path / "run/checkpoint-2/trainer_state.json"
    state = read_json(file)
    new = ("metric_for_best_model", "best_metric", "first_metric", "padded_seconds", "ranking")
    old = {
        name: value
        for name, value in state["state"].items()
        if name not in (*new, "evaluations_without_improvement")
    }
    file.write_text(json.dumps(state | {"state": old | {"best_wer": 0.0}}))
    train.main(arguments("--max_steps", "4", "--resume_from_checkpoint", "latest"))
    results = read_json(tmp_path / "run/final/train_results.json")
    assert (results["best_metric"], results["best_step"]) == (0.0, 2)


# ---- what can be seen --------------------------------------------------------------------------------------


def test_samples_predictions_and_measures(arguments, tmp_path, prepared, capsys):
    from datasets import load_from_disk

    train.main(arguments("--samples_shown", "2"))
    output = capsys.readouterr().out
    assert len(re.findall(r"^  reference   ", output, re.MULTILINE)) in (
        6,
        9,
    )  # two, and the worst unless drawn
    assert "Done: " in output and "(step " in output
    lines = [
        json.loads(line) for line in (tmp_path / "run/predictions/step-6.jsonl").read_text().splitlines()
    ]
    rows = load_from_disk(prepared)["validation"]
    assert [(line["id"], line["reference"]) for line in lines] == list(
        zip(rows["id"], rows["text"], strict=True)
    )
    last = [record for record in read_metrics(tmp_path / "run") if "eval_wer" in record][-1]
    rate = sum(line["raw_word_errors"] for line in lines) / sum(line["raw_words"] for line in lines)
    assert last["eval_wer"] == rate
    trained = [record for record in read_metrics(tmp_path / "run") if "loss" in record]
    assert all(0 < record["padding_share"] < 1 for record in trained)


def test_no_samples_when_none_are_wanted(arguments, capsys):
    train.main(arguments("--samples_shown", "0"))
    assert "  reference   " not in capsys.readouterr().out


def test_tensorboard_gets_arguments_samples_and_each_step_once_after_a_resume(arguments, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    words = ["--report_to", "tensorboard", "--save_steps", "2"]
    train.main(arguments(*words))
    run = tmp_path / "run"
    for name in ("final", "checkpoint-6"):
        shutil.rmtree(run / name)
    train.main(arguments(*words))
    events = EventAccumulator(str(run / "logs/whisper-finetuning")).Reload()
    assert [event.step for event in events.Scalars("loss")] == [1, 2, 3, 4, 5, 6]
    assert [event.step for event in events.Scalars("eval_normalized_wer")] == [2, 4, 6]
    text = events.Tensors("samples/text_summary")[-1].tensor_proto.string_val[0].decode()
    assert text.startswith("| id | errors | reference | hypothesis |") and "validation-00" in text
    hparams = next((run / "logs").rglob("hparams.yml")).read_text()
    assert "learning_rate: 0.001" in hparams


@pytest.mark.parametrize("tracker", ["trackio", "wandb", "mlflow"])
def test_other_trackers_get_the_numbers_and_go_on(arguments, tmp_path, monkeypatch, tracker):
    """Each without a network; none of them is among the requirements."""
    pytest.importorskip(tracker, reason=f"{tracker} is optional")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file://{tmp_path / 'mlruns'}")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    words = ["--report_to", tracker, "--save_steps", "2"]
    train.main(arguments(*words))
    run = tmp_path / "run"
    run_id = (run / "run_id.txt").read_text()
    for name in ("final", "checkpoint-6"):
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
        (["--report_to", "none", "tensorboard"], "expected none alone"),
        (["--early_stopping_patience", "0"], "early_stopping_patience 0: expected at least 1"),
        (["--early_stopping_patience", "2", "--eval_steps", "0"], "needs evaluations"),
        (["--average_checkpoints", "1"], "expected 0, or 2 and more"),
        (["--interpolation_alphas", "0", "1"], "expected shares above 0"),
        (["--guard_datasets", "d"], "guard_datasets guards interpolation_alphas"),
        (["--interpolation_alphas", "1", "--guard_datasets", "/nowhere"], "/nowhere: no such folder"),
        (["--metric_for_best_model", "wer"], "metric_for_best_model"),
    ],
)
def test_mistakes_are_told_before_any_work(arguments, tmp_path, words, message):
    with pytest.raises(UserError, match=message):
        train.main(arguments(*words))
    assert not (tmp_path / "run/metrics.jsonl").exists()


def test_a_missing_tracker_is_named_with_its_package():
    from utils.arguments import tracker_problems

    if all(__import__("importlib.util").util.find_spec(name) for name in ("wandb", "mlflow", "trackio")):
        pytest.skip("all trackers are installed")
    problems = tracker_problems(["wandb", "mlflow", "trackio"])
    assert problems and all("not installed here. Run: pip install" in problem for problem in problems)


# ---- averaging ---------------------------------------------------------------------------------------------


def test_the_best_evaluations_are_averaged_and_the_better_model_is_best(arguments, tmp_path, monkeypatch):
    """The snapshots are copied aside, so that their mean can be checked."""
    import utils.averaging

    kept = tmp_path / "kept"
    mean = utils.averaging.average_weights
    monkeypatch.setattr(
        "utils.mixing.average_weights",
        lambda folders: (shutil.copytree(folders[0].parent, kept), mean(folders))[1],
    )
    train.main(arguments("--average_checkpoints", "2"))
    run = tmp_path / "run"
    record = read_json(run / "averaging.json")
    ranked = sorted((r["eval_normalized_wer"], r["step"]) for r in read_metrics(run) if "eval_wer" in r)
    assert record["steps"] == sorted(step for _, step in ranked[:2])
    assert not (run / "snapshots").exists() and not (run / ".averaged").exists()
    best = read_json(run / "best/train_results.json")
    assert record["became_best"] == (record["validation"]["normalized_wer"] < ranked[0][0])
    assert best["best_metric"] == min(record["validation"]["normalized_wer"], ranked[0][0])
    parts = [load_file(path / "model.safetensors") for path in sorted(kept.iterdir())]
    for name in parts[0]:
        expected = ((parts[0][name].double() + parts[1][name].double()) / 2).float()
        if record["became_best"]:
            assert torch.equal(load_file(run / "best/model.safetensors")[name], expected)
    # the same again does nothing
    before = (run / "averaging.json").stat().st_mtime_ns
    train.main(arguments("--average_checkpoints", "2"))
    assert (run / "averaging.json").stat().st_mtime_ns == before


def test_an_average_that_is_better_takes_the_place_of_best(arguments, tmp_path, monkeypatch, capsys):
    """Its score is given here, so that it surely wins; the adapters are stacked."""
    from utils.validation import ErrorRates

    monkeypatch.setattr("utils.mixing.score_folder", lambda *a, **k: {"validation": ErrorRates(0, 0, 0, 0)})
    train.main(arguments("--average_checkpoints", "3", "--use_peft", "--lora_r", "2"))
    run = tmp_path / "run"
    assert read_json(run / "averaging.json")["became_best"]
    assert read_json(run / "best/adapter_config.json")["r"] == 6
    results = read_json(run / "best/train_results.json")
    assert (results["averaged_steps"], results["best_metric"]) == ([2, 4, 6], 0)
    assert "averaged_steps" in (run / "best/README.md").read_text()
    assert "best (average of steps 2, 4, 6)" in capsys.readouterr().out
    from utils.modeling import load_model

    assert load_model(str(run / "best")).dynamic_context


def test_a_run_that_goes_on_beyond_its_average_keeps_it_until_it_is_beaten(
    arguments, tmp_path, monkeypatch, capsys
):
    """The first average is given a score that nothing beats; the snapshots of its steps are gone."""
    from utils.validation import ErrorRates

    words = ["--average_checkpoints", "2", "--save_steps", "6"]
    with monkeypatch.context() as patch:
        patch.setattr("utils.mixing.score_folder", lambda *a, **k: {"validation": ErrorRates(0, 0, 0, 0)})
        train.main(arguments(*words))
    run = tmp_path / "run"
    before = (run / "best/model.safetensors").read_bytes()
    train.main(arguments(*words, "--max_steps", "10", "--resume_from_checkpoint", "latest"))
    assert "(best: 0.00 % of the average)" in capsys.readouterr().out
    assert (run / "best/model.safetensors").read_bytes() == before
    record = read_json(run / "averaging.json")
    assert (record["steps"], record["best_metric_before"], record["became_best"]) == ([8, 10], 0, False)
    assert read_json(run / "best/train_results.json")["best_metric"] == 0


# ---- between base and tuned weights ------------------------------------------------------------------------


def test_mixtures_are_scored_and_the_best_is_saved(arguments, tmp_path, build_prepared, tiny_whisper, capsys):
    guard = build_prepared(tmp_path / "en", {"train": 2, "test": 4}, language="en", seed=3)
    words = ["--interpolation_alphas", "0.5", "1", "--guard_datasets", str(guard), "--guard_tolerance", "5"]
    train.main(arguments(*words))
    run = tmp_path / "run"
    record = read_json(run / "interpolation.json")
    assert [row["alpha"] for row in record["mixtures"]] == [0.0, 0.5, 1.0]
    assert list(record["mixtures"][1]["guards"]) == [str(guard)]
    best = read_json(run / "best/train_results.json")
    assert record["mixtures"][2]["validation"]["normalized_wer"] == best["best_metric"]
    chosen = record["chosen_alpha"]
    assert read_json(run / "interpolated/train_results.json")["interpolation_alpha"] == chosen
    base, tuned = load_file(tiny_whisper / "model.safetensors"), load_file(run / "best/model.safetensors")
    for name, value in load_file(run / "interpolated/model.safetensors").items():
        torch.testing.assert_close(
            value, (1 - chosen) * base[name] + chosen * tuned[name], atol=1e-7, rtol=1e-6
        )
    from transformers import pipeline

    assert pipeline("automatic-speech-recognition", model=str(run / "interpolated"))
    assert "chosen" in capsys.readouterr().out


def test_a_finished_run_is_mixed_without_training_again(arguments, tmp_path, capsys):
    train.main(arguments())
    run = tmp_path / "run"
    final, metrics = (run / "final/model.safetensors").stat().st_mtime_ns, (run / "metrics.jsonl").read_text()
    train.main(arguments("--interpolation_alphas", "0.5"))
    assert read_json(run / "interpolation.json")["chosen_alpha"] == 0.5
    train.main(arguments("--interpolation_alphas", "0.25"))  # another search takes its place
    assert read_json(run / "interpolated/train_results.json")["interpolation_alpha"] == 0.25
    capsys.readouterr()
    train.main(arguments("--interpolation_alphas", "0.25"))
    assert "is there already" in capsys.readouterr().out
    assert (run / "final/model.safetensors").stat().st_mtime_ns == final
    assert (run / "metrics.jsonl").read_text() == metrics


def test_no_mixture_is_saved_when_none_keeps_the_guard(
    arguments, tmp_path, monkeypatch, build_prepared, capsys
):
    guard = build_prepared(tmp_path / "en", {"validation": 2}, language="en")
    monkeypatch.setattr("utils.interpolation.keeps_guard", lambda mixture, base, *rest: mixture is base)
    train.main(arguments("--interpolation_alphas", "1", "--guard_datasets", str(guard)))
    assert read_json(tmp_path / "run/interpolation.json")["chosen_alpha"] is None
    assert not (tmp_path / "run/interpolated").exists()
    assert "nothing was saved" in capsys.readouterr().out


def test_an_adapter_is_scaled(arguments, tmp_path):
    train.main(arguments("--use_peft", "--lora_alpha", "8", "--interpolation_alphas", "0.25"))
    assert read_json(tmp_path / "run/interpolated/adapter_config.json")["lora_alpha"] == 2.0
    from utils.modeling import load_model

    assert load_model(str(tmp_path / "run/interpolated")).dynamic_context


def test_a_run_that_goes_on_is_not_taken_for_the_finished_one(arguments, tmp_path, capsys):
    """final/ of six steps stands there while a run of eight was cut short."""
    train.main(arguments("--save_steps", "2"))
    run = tmp_path / "run"
    text = (run / "train.yaml").read_text().replace("max_steps: 6", "max_steps: 8")
    (run / "train.yaml").write_text(text)
    train.main(arguments("--save_steps", "2", "--max_steps", "8"))
    assert "going on from step 6" in capsys.readouterr().out
    assert read_json(run / "final/train_results.json")["step"] == 8


# ---- several processes -------------------------------------------------------------------------------------


def run_to_the_end(command: list[str], **environment: str) -> str:
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("config", ["cpu_2_processes", "deepspeed_zero3"])
def test_all_of_it_on_two_processes(arguments, tmp_path, config):
    if "deepspeed" in config and sys.platform != "linux":
        pytest.skip("DeepSpeed is installed on Linux only")
    words = arguments("--average_checkpoints", "2", "--interpolation_alphas", "0.5", "1", "--eval_on_start")
    words += ["--early_stopping_patience", "2", "--learning_rate", "0", "--max_steps", "12"]
    words += ["--per_device_train_batch_size", "4", "--report_to", "tensorboard"]
    command = [*LAUNCH, str(ROOT / f"accelerate_configs/{config}.yaml"), "train.py", *words]
    environment = {"DS_ACCELERATOR": "cpu"} if "deepspeed" in config else {}
    output = run_to_the_end(command, OMP_NUM_THREADS="1", **environment)
    run = tmp_path / "run"
    assert output.count("Done: ") == 1
    assert evaluated_steps(run) == [0, 2, 4, 6]
    assert read_json(run / "averaging.json")["steps"] == [2, 4]
    rates = [row["validation"] for row in read_json(run / "interpolation.json")["mixtures"]]
    if config == "cpu_2_processes":  # nothing was learned, so that all of the line is one model
        assert rates[0] == rates[1] == rates[2]
    assert read_json(run / "interpolation.json")["chosen_alpha"] in (0.5, 1.0)


def test_a_rehearsal_that_runs_out_of_memory_says_what_helps(arguments, monkeypatch):
    def too_much(setup):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(train, "estimate_run", too_much)
    with pytest.raises(UserError, match=r"memory ran out \(CUDA out of memory.*--memory low"):
        train.main(arguments("--dry_run"))
