"""train.py: the best evaluations averaged, base and tuned weights mixed; all of it on two processes."""

import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import train
from tests.support.scripted_decoding import TEXT, script_decoding, short_run, write_short_clips, wrong
from tests.support.training_runs import evaluated_steps, launch, read_json, run_to_the_end
from tests.support.warm_processes import train_warm
from utils.model.loading import load_model

pytestmark = pytest.mark.usefixtures("fresh_accelerator")


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    """Prepared dataset: eight short clips to train on, two to validate on."""
    return write_short_clips(tmp_path_factory.mktemp("clips") / "it", {"train": 8, "validation": 2})


@pytest.fixture(scope="module")
def build(tiny_whisper, clips):
    """A function from an output folder to the arguments of a short run; later ones override them."""
    return lambda output_dir, *more: short_run(tiny_whisper, clips, output_dir, *more)


@pytest.fixture(scope="module")
def finished(build, tmp_path_factory) -> Path:
    """A run that has ended, judged by raw word errors; its last step was the best."""
    run = tmp_path_factory.mktemp("finished") / "run"
    with pytest.MonkeyPatch.context() as patch:
        script_decoding(patch, wrong(4))
        train.main(build(run, FINISHED))
    return run


FINISHED = "--metric_for_best_model raw_wer --max_steps 2 --eval_steps 2"
AVERAGED = "--average_checkpoints 2 --save_steps 1 --save_total_limit 9"


@pytest.fixture(scope="module")
def averaged(build, tmp_path_factory) -> Path:
    """A run of which steps 2 and 3 were the best, and their average better than both."""
    run = tmp_path_factory.mktemp("averaged") / "run"
    with pytest.MonkeyPatch.context() as patch:
        script_decoding(patch, wrong(4), wrong(2), wrong(3), wrong(5), wrong(1))
        train.main(build(run, AVERAGED))
    return run


def copied(run: Path, target: Path) -> Path:
    return Path(shutil.copytree(run, target))


# ---- averaging ---------------------------------------------------------------------------------------------


def test_the_best_evaluations_are_averaged_and_the_better_model_is_best(averaged):
    """The mean of the weights in the checkpoints of the same steps."""
    record, results = read_json(averaged / "averaging.json"), read_json(averaged / "best/train_results.json")
    assert (record["steps"], record["best_metric_before"]) == ([2, 3], 2 / 8)
    assert record["became_best"] and record["validation"]["normalized_wer"] == 1 / 8
    assert (results["averaged_steps"], results["best_metric"], results["best_step"]) == ([2, 3], 1 / 8, None)
    assert "the average of the weights of steps 2, 3" in (averaged / "best/README.md").read_text()
    assert not (averaged / "snapshots").exists() and not (averaged / ".averaged").exists()
    parts = [load_file(averaged / f"checkpoint-{step}/model.safetensors") for step in (2, 3)]
    found = load_file(averaged / "best/model.safetensors")
    assert len(found) > 50
    for name, value in found.items():
        one, other = (part[f"model.{name}"] for part in parts)
        assert torch.equal(value, ((one.double() + other.double()) / 2).float()), name
    name = "model.model.decoder.layer_norm.weight"
    assert not torch.equal(parts[0][name], parts[1][name])


def test_an_average_that_is_no_better_changes_nothing_and_is_taken_once(build, tmp_path, monkeypatch, capsys):
    run = tmp_path / "run"
    script_decoding(monkeypatch, wrong(2), wrong(3), wrong(2))
    words = build(run, "--average_checkpoints", "2", "--max_steps", "2")
    train.main(words)
    record, results = read_json(run / "averaging.json"), read_json(run / "best/train_results.json")
    assert (record["became_best"], results["best_metric"], results["best_step"]) == (False, 2 / 8, 1)
    train.main(words)
    assert "already trained with these arguments" in capsys.readouterr().out


def test_adapters_are_averaged_by_stacking_them(build, tmp_path, monkeypatch, capsys):
    script_decoding(monkeypatch, *[wrong(2)] * 3, TEXT)
    run = tmp_path / "run"
    train.main(build(run, "--average_checkpoints 3 --max_steps 3 --use_peft --lora_r 2"))
    assert read_json(run / "averaging.json")["became_best"]
    assert read_json(run / "best/adapter_config.json")["r"] == 6
    assert "best (average of steps 1, 2, 3)" in capsys.readouterr().out
    assert load_model(str(run / "best")).dynamic_context


def test_a_run_that_goes_on_beyond_its_average_keeps_it_until_it_is_beaten(
    averaged, build, tmp_path, monkeypatch, capsys
):
    """The snapshots of the first average are gone."""
    run = copied(averaged, tmp_path / "run")
    before = (run / "best/model.safetensors").read_bytes()
    script_decoding(monkeypatch, wrong(3), wrong(2), wrong(2))
    train.main(build(run, AVERAGED, "--max_steps", "6", "--resume_from_checkpoint", "latest"))
    assert "(best: 12.50 % from the average)" in capsys.readouterr().out
    assert (run / "best/model.safetensors").read_bytes() == before
    record = read_json(run / "averaging.json")
    assert (record["steps"], record["best_metric_before"], record["became_best"]) == ([5, 6], 1 / 8, False)
    assert read_json(run / "best/train_results.json")["best_metric"] == 1 / 8


# ---- between base and tuned weights ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tolerance", "tuned_says", "chosen"),
    [
        ("0.2", wrong(2), 0.5),  # all of the tuned weights are better, but lose three words of the guard
        ("0", wrong(2), None),
        ("0.5", wrong(2), 1.0),
        ("0.5", TEXT.upper(), 0.5),  # right but for capitals, which count in the metric asked for
    ],
)
def test_the_best_mixture_that_keeps_the_guard_is_saved(
    finished, build, tmp_path, tiny_whisper, monkeypatch, capsys, tolerance, tuned_says, chosen
):
    """Base, half and whole: six, three and two words of eight wrong; of the guard's one, two and four."""
    guard, run = write_short_clips(tmp_path / "en", {"validation": 2}), copied(finished, tmp_path / "run")
    script_decoding(monkeypatch, wrong(6), wrong(1), wrong(3), wrong(2), tuned_says, wrong(4))
    words = ["--interpolation_alphas", "0.5", "1", "--guard_datasets", str(guard)]
    train.main(build(run, FINISHED, *words, "--guard_tolerance", tolerance))
    record = read_json(run / "interpolation.json")
    assert [row["alpha"] for row in record["mixtures"]] == [0.0, 0.5, 1.0]
    assert [row["guards"][str(guard)]["raw_wer"] for row in record["mixtures"]] == [1 / 8, 2 / 8, 4 / 8]
    assert record["mixtures"][1]["validation"]["raw_wer"] == 3 / 8
    assert record["chosen_alpha"] == chosen
    output = capsys.readouterr().out
    if chosen is None:
        assert "Nothing was saved" in output and not (run / "interpolated").exists()
        return
    assert read_json(run / "interpolated/train_results.json")["interpolation_alpha"] == chosen
    base, tuned = load_file(tiny_whisper / "model.safetensors"), load_file(run / "best/model.safetensors")
    for name, value in load_file(run / "interpolated/model.safetensors").items():
        torch.testing.assert_close(
            value, (1 - chosen) * base[name] + chosen * tuned[name], atol=1e-7, rtol=1e-6
        )
    assert "chosen" in output


def test_mixtures_are_heard_as_validation_is_and_a_guard_is_told_no_language(build, tmp_path, monkeypatch):
    """Italian is trained; a guard's clips that say no language are another's.

    All is heard right but for an "um" that the English normaliser leaves out.
    """
    data = write_short_clips(tmp_path / "data", {"train": 2, "validation": 1}, text="AA BB CC")
    guard = write_short_clips(tmp_path / "guard", {"test": 2}, text="AA BB CC", language="")
    asked = script_decoding(monkeypatch, *["um aa bb cc"] * 5)
    words = [
        "--do_lower_case",
        "--max_steps",
        "1",
        "--task",
        "translate",
        "--normalizer",
        "english",
        "--dataset",
        str(data),
    ]
    mixing = ["--interpolation_alphas", "0.5", "--guard_datasets", str(guard)]
    train.main(build(tmp_path / "run", *words, *mixing))
    assert [question.languages for question in asked] == [["it"], *[["it"], [None, None]] * 2]
    assert {question.task for question in asked} == {"translate"}
    for row in read_json(tmp_path / "run/interpolation.json")["mixtures"]:
        for rates in (row["validation"], row["guards"][str(guard)]):
            assert (rates["raw_wer"], rates["normalized_wer"]) == (1 / 3, 0)


def test_a_finished_run_is_mixed_without_training_again(finished, build, tmp_path, monkeypatch, capsys):
    run = copied(finished, tmp_path / "run")
    final, metrics = (run / "final/model.safetensors").stat().st_mtime_ns, (run / "metrics.jsonl").read_text()
    script_decoding(monkeypatch, *[wrong(1)] * 4)
    train.main(build(run, FINISHED, "--interpolation_alphas", "0.5"))
    assert read_json(run / "interpolation.json")["chosen_alpha"] == 0.5
    train.main(build(run, FINISHED, "--interpolation_alphas", "0.25"))  # another search takes its place
    assert read_json(run / "interpolated/train_results.json")["interpolation_alpha"] == 0.25
    capsys.readouterr()
    train.main(build(run, FINISHED, "--interpolation_alphas", "0.25"))
    assert "already trained with these arguments" in capsys.readouterr().out
    assert (run / "final/model.safetensors").stat().st_mtime_ns == final
    assert (run / "metrics.jsonl").read_text() == metrics


def test_an_adapter_is_scaled(build, tmp_path, monkeypatch):
    script_decoding(monkeypatch, *[wrong(1)] * 3)
    run = tmp_path / "run"
    train.main(build(run, "--use_peft --lora_alpha 8 --interpolation_alphas 0.25 --max_steps 1"))
    assert read_json(run / "interpolated/adapter_config.json")["lora_alpha"] == 2.0
    assert load_model(str(run / "interpolated")).dynamic_context


def test_a_run_that_goes_on_is_not_taken_for_the_finished_one(build, tmp_path, capsys):
    """final/ of two steps stands there while a run of three was cut short."""
    run, words = tmp_path / "run", ["--eval_steps", "0", "--save_steps", "1", "--max_steps"]
    train.main(build(run, *words, "2"))
    text = (run / "train.yaml").read_text().replace("max_steps: 2", "max_steps: 3")
    (run / "train.yaml").write_text(text)
    train.main(build(run, *words, "3"))
    assert "continuing from step 2" in capsys.readouterr().out
    assert read_json(run / "final/train_results.json")["step"] == 3


# ---- several processes -------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("config", ["cpu_2_processes", "deepspeed_zero3"])
def test_all_of_it_on_two_processes(tiny_whisper, prepared, tmp_path, config):
    if "deepspeed" in config and sys.platform != "linux":
        pytest.skip("DeepSpeed is installed on Linux only")
    run = tmp_path / "run"
    words = f"--model_name_or_path {tiny_whisper} --dataset {prepared} --language it --output_dir {run}"
    words += (
        " --average_checkpoints 2 --interpolation_alphas 0.5 1 --eval_on_start --early_stopping_patience 2"
    )
    words += " --learning_rate 0 --max_steps 12 --eval_steps 2 --save_steps 0 --logging_steps 1"
    words += " --generation_max_length 24 --per_device_train_batch_size 4 --report_to tensorboard"
    if "deepspeed" in config:
        output = run_to_the_end([*launch(config), *words.split()], OMP_NUM_THREADS="1", DS_ACCELERATOR="cpu")
    else:
        output = train_warm(config, words.split(), tmp_path / "log")
    assert output.count("Done: ") == 1
    assert evaluated_steps(run) == [0, 2, 4, 6]
    assert read_json(run / "averaging.json")["steps"] == [2, 4]
    rates = [row["validation"] for row in read_json(run / "interpolation.json")["mixtures"]]
    if config == "cpu_2_processes":  # nothing was learned, so that all of the line is one model
        assert rates[0] == rates[1] == rates[2]
    assert read_json(run / "interpolation.json")["chosen_alpha"] in (0.5, 1.0)
