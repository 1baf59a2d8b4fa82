"""train.py: which evaluation is the best, when training stops, and what an evaluation is asked for."""

import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import train
from tests.support.scripted_decoding import TEXT, script_decoding, short_run, write_short_clips, wrong
from tests.support.training_runs import evaluated_steps, read_json, read_metrics
from utils.arguments.parsing import parse_arguments
from utils.arguments.train import TrainArguments
from utils.training.setup import build_run, start_accelerator
from utils.training.state import TrainingState

pytestmark = pytest.mark.usefixtures("fresh_accelerator")


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    """Prepared dataset: eight short clips to train on, two to validate on."""
    return write_short_clips(tmp_path_factory.mktemp("clips") / "it", {"train": 8, "validation": 2})


@pytest.fixture
def arguments(tiny_whisper, clips, tmp_path):
    """Arguments of a run of four steps, each evaluated; later ones override them."""

    def build(*more: str, output_dir: Path | None = None) -> list[str]:
        return short_run(tiny_whisper, clips, output_dir or tmp_path / "run", *more)

    return build


def best_of(run: Path) -> tuple[float, int]:
    results = read_json(run / "best/train_results.json")
    return results["best_metric"], results["best_step"]


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
    state = TrainingState(step=4, best_metric=0.1, best_step=4, ranking=[(4, 0.1)], validation="these clips")
    state.judge_by("normalized_wer", "these clips")
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
    judged = {"metric_for_best_model": "normalized_wer", "validation": "these clips"}
    state.take_up_best(judged | results)
    assert (state.best_metric, state.best_step) == best


# ---- in a run ----------------------------------------------------------------------------------------------


def test_training_stops_when_nothing_gets_better_and_a_resumed_run_at_the_same_step(
    arguments, tmp_path, monkeypatch
):
    """Nothing improves after the first evaluation: patience 2 ends at the third."""
    words = "--early_stopping_patience 2 --save_steps 1 --max_steps 20"
    script_decoding(monkeypatch, *[wrong(4)] * 4)
    train.main(arguments(words, output_dir=tmp_path / "straight"))
    assert evaluated_steps(tmp_path / "straight") == [1, 2, 3]
    assert read_json(tmp_path / "straight/final/train_results.json")["step"] == 3
    run = tmp_path / "resumed"
    shutil.copytree(tmp_path / "straight", run)
    for name in ("final", "checkpoint-3"):
        shutil.rmtree(run / name)
    train.main(arguments(words, output_dir=run))
    assert evaluated_steps(run) == [1, 2, 3]
    # killed between the last checkpoint and final/: nothing is trained any more
    shutil.rmtree(run / "final")
    train.main(arguments(words, output_dir=run))
    assert [record["step"] for record in read_metrics(run) if "loss" in record] == [1, 2, 3]
    assert read_json(run / "final/train_results.json")["step"] == 3


def test_a_gain_below_the_threshold_does_not_keep_training_going(arguments, tmp_path, monkeypatch):
    """One word of sixteen less is 0.0625: the best model, but no reason to go on."""
    script_decoding(monkeypatch, wrong(4), wrong(3))
    train.main(arguments("--early_stopping_patience", "1", "--early_stopping_threshold", "0.2"))
    assert evaluated_steps(tmp_path / "run") == [1, 2]
    assert best_of(tmp_path / "run") == (3 / 8, 2)


def test_a_run_that_ended_early_goes_on_elsewhere_with_new_patience(arguments, tmp_path, monkeypatch):
    """Its best model is not there: the weights that it starts from are evaluated, and may be the best."""
    words = "--early_stopping_patience 2 --save_steps 1"
    script_decoding(monkeypatch, *[wrong(4)] * 6)
    train.main(arguments(words, "--max_steps", "20"))
    elsewhere = tmp_path / "elsewhere"
    named = ["--resume_from_checkpoint", str(tmp_path / "run/checkpoint-3")]
    train.main(arguments(words, *named, "--average_checkpoints", "2", output_dir=elsewhere))
    assert evaluated_steps(elsewhere) == [3, 4]
    assert best_of(elsewhere) == (4 / 8, 3)
    assert read_json(elsewhere / "averaging.json")["steps"] == [3, 4]


def test_going_back_forgets_the_best_of_the_way_not_taken(arguments, tmp_path, monkeypatch):
    """Two errors at step 1, one at step 2, which is in best/; from step 1 another way led to three."""
    script_decoding(monkeypatch, wrong(2), wrong(1), wrong(4), wrong(3))
    train.main(arguments("--save_steps", "1", "--max_steps", "2"))
    back = ["--resume_from_checkpoint", str(tmp_path / "run/checkpoint-1"), "--learning_rate", "1e-5"]
    train.main(arguments("--save_steps", "1", "--max_steps", "3", *back))
    for folder in ("best", "final"):
        results = read_json(tmp_path / "run" / folder / "train_results.json")
        assert (results["best_metric"], results["best_step"]) == (3 / 8, 3), folder
    assert "1.0e-05" in (tmp_path / "run/best/train.yaml").read_text()


def test_other_validation_clips_choose_the_best_anew(arguments, tmp_path, monkeypatch):
    script_decoding(monkeypatch, wrong(1), wrong(5), wrong(4))
    train.main(arguments("--save_steps", "1", "--max_steps", "1"))
    more = ["--resume_from_checkpoint", "latest", "--max_eval_samples", "1"]
    train.main(arguments("--save_steps", "1", "--max_steps", "3", *more))
    assert best_of(tmp_path / "run") == (4 / 8, 3)


def test_the_best_step_is_kept_where_it_is_not_the_last(arguments, tmp_path, monkeypatch, capsys):
    """The weights of step 2; its card tells the evaluations after it, too."""
    script_decoding(monkeypatch, *[wrong(words) for words in (3, 1, 4, 2)])
    train.main(arguments("--save_steps", "1", "--save_total_limit", "9"))
    run = tmp_path / "run"
    assert best_of(run) == (1 / 8, 2)
    best, final = (load_file(run / name / "model.safetensors") for name in ("best", "final"))
    kept = load_file(run / "checkpoint-2/model.safetensors")
    name = "model.encoder.conv1.weight"
    (saved,) = [weight for key, weight in kept.items() if key.endswith(name)]
    assert torch.equal(best[name], saved) and not torch.equal(best[name], final[name])
    evaluations = read_json(run / "best/train_results.json")["evaluations"]
    assert [each["step"] for each in evaluations] == [1, 2, 3, 4]
    assert [each["normalized_wer"] for each in evaluations] == [3 / 8, 1 / 8, 4 / 8, 2 / 8]
    card = (run / "best/README.md").read_text()
    assert "| 4 | 0.50 | " in card and "at step 2" in card  # eight clips, one a step
    assert f"{run / 'best'} (step 2)" in capsys.readouterr().out


# Each is the best by one metric alone; the rates are counted by hand.
BY_METRIC = {
    "raw_wer": ("Aa, bb cc dd ee ff gggggggggggg hhhhhhhhhhhh", 2 / 8),
    "raw_cer": ("Aa, bb cc dd ee fx gx hx", 3 / 24),
    "normalized_wer": ("AA BB! CC! DD! EE! FF! GG! hhhhhhhhhhhhhhhhhhhh", 1 / 8),
    "normalized_cer": ("AA BB! CC! DD! EE! FF! Gx! Hx!", 2 / 23),
}


@pytest.mark.parametrize("metric", BY_METRIC)
def test_the_metric_asked_for_chooses_the_best(arguments, tmp_path, monkeypatch, metric):
    script_decoding(monkeypatch, *[hypothesis for hypothesis, _ in BY_METRIC.values()])
    train.main(arguments("--metric_for_best_model", metric))
    assert best_of(tmp_path / "run") == (BY_METRIC[metric][1], 1 + list(BY_METRIC).index(metric))
    assert read_json(tmp_path / "run/best/train_results.json")["metric_for_best_model"] == metric


def test_the_learning_curve_starts_at_the_base_model(arguments, tmp_path, monkeypatch):
    script_decoding(monkeypatch, wrong(3), *[wrong(4)] * 4)
    train.main(arguments("--eval_on_start"))
    assert evaluated_steps(tmp_path / "run") == [0, 1, 2, 3, 4]
    first = read_metrics(tmp_path / "run")[0]
    assert read_json(tmp_path / "run/final/train_results.json")["metric_before_training"] == 3 / 8
    assert first["eval_normalized_wer"] == 3 / 8 and first["eval_seconds"] > 0
    assert sorted(path.name for path in (tmp_path / "run/predictions").iterdir()) == [
        f"step-{step}.jsonl" for step in range(5)
    ]


def test_what_comes_every_few_steps_comes_at_the_last_one_too(arguments, tmp_path, monkeypatch):
    script_decoding(monkeypatch, *[wrong(1)] * 2)
    every = "--max_steps 3 --eval_steps 2 --save_steps 2 --logging_steps 2 --save_total_limit 9"
    train.main(arguments(every))
    run = tmp_path / "run"
    assert evaluated_steps(run) == [2, 3]
    assert [record["step"] for record in read_metrics(run) if "loss" in record] == [2, 3]
    assert sorted(path.name for path in run.glob("checkpoint-*")) == ["checkpoint-2", "checkpoint-3"]


# ---- what an evaluation is asked for -----------------------------------------------------------------------


def test_the_normaliser_and_the_task_asked_for_are_those_of_validation(arguments, tmp_path, monkeypatch):
    """The English normaliser alone leaves out what people say while they think."""
    asked = script_decoding(monkeypatch, *[f"um {TEXT}"] * 2)
    for normalizer, rate in (("basic", 1 / 8), ("english", 0.0)):
        words = f"--task translate --normalizer {normalizer} --max_steps 1"
        train.main(arguments(words, output_dir=tmp_path / normalizer))
        assert read_metrics(tmp_path / normalizer)[-1]["eval_normalized_wer"] == rate
    assert [question.task for question in asked] == ["translate", "translate"]


@pytest.mark.parametrize(("more", "label", "raw"), [(["--do_lower_case"], "aa bb", 0.0), ([], "AA BB", 1.0)])
def test_validation_is_in_the_case_that_is_learnt(arguments, tmp_path, monkeypatch, more, label, raw):
    """Texts in capitals, all heard right, but in lower case."""
    data = write_short_clips(tmp_path / "data", {"train": 2, "validation": 1}, text="AA BB")
    words = arguments("--dataset", str(data), "--max_steps", "1", *more)
    args = parse_arguments(TrainArguments, words)
    setup = build_run(args, start_accelerator(args))
    labels = [setup.data.clips.sequence(example).targets for example in setup.data.clips.draw(0)]
    texts = setup.loaded.processor.tokenizer.batch_decode(labels, skip_special_tokens=True)
    assert [text.strip() for text in texts] == [label, label]
    script_decoding(monkeypatch, "aa bb")
    train.main(words)
    (found,) = [record["eval_wer"] for record in read_metrics(tmp_path / "run") if "eval_wer" in record]
    assert found == raw


# ---- a step that is skipped --------------------------------------------------------------------------------


def test_a_skipped_step_is_no_hour_trained_on(arguments, tmp_path, monkeypatch):
    """The gradient norm of the second of four steps of half a second is made infinite."""
    from utils.training import updates

    clip, numbers = updates.clip_gradients, iter(range(1, 5))

    def clip_but_for_one(*more):
        norm = clip(*more)
        return norm if next(numbers) != 2 else torch.full_like(norm, math.inf)

    monkeypatch.setattr(updates, "clip_gradients", clip_but_for_one)
    train.main(arguments("--eval_steps", "0"))
    seconds = [record["audio_seconds"] for record in read_metrics(tmp_path / "run") if "loss" in record]
    assert seconds == [0.5, 0.5, 1.0, 1.5]
    results = read_json(tmp_path / "run/final/train_results.json")
    assert results["audio_hours_trained_on"] == 1.5 / 3600
