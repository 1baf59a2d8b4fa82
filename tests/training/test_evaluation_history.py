"""Evaluations in metrics.jsonl, and what is said of their course."""

import pytest

from utils.training.evaluation_history import (
    LoggedEvaluation,
    describe_course,
    read_evaluations,
    read_log,
    thin_out,
)

RATES = {"eval_normalized_wer": 0.25, "eval_wer": 0.5, "eval_normalized_cer": 0.1, "eval_cer": 0.2}


def test_the_training_loss_is_the_mean_since_the_evaluation_before():
    records = [
        {"step": 0, **RATES, "epoch": 0.0, "eval_loss": 4.0},
        {"step": 10, "loss": 3.0},
        {"step": 20, "loss": 2.0},
        {"step": 20, "loss": None},  # all steps were skipped
        {"step": 20, **RATES, "epoch": 0.5, "eval_loss": 2.5},
        {"step": 30, "loss": 1.0},
        {"step": 30, **RATES, "epoch": 0.75, "eval_loss": None},
        {"step": 40, **RATES, "eval_cer": None},
        {"step": 50, **RATES},  # of an earlier version
    ]
    found = read_evaluations(records)
    assert [(each.step, each.epoch, each.training_loss, each.validation_loss) for each in found] == [
        (0, 0.0, None, 4.0),
        (20, 0.5, 2.5, 2.5),
        (30, 0.75, 1.0, None),
        (50, None, None, None),
    ]
    one = found[0]
    assert (one.normalized_wer, one.raw_wer, one.normalized_cer, one.raw_cer) == (0.25, 0.5, 0.1, 0.2)


def test_a_log_that_is_missing_or_cut_off_is_read(tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert read_log(path) == []
    path.write_text('{"step": 1, "loss": 2.0}\n["no record"]\n{"step": 2, "lo')
    assert read_log(path) == [{"step": 1, "loss": 2.0}]


def course(losses: list[float | None], rates: list[float]) -> str:
    """What is said of evaluations at steps 0, 100, 200 …."""
    pairs = enumerate(zip(losses, rates, strict=True))
    return describe_course(
        [LoggedEvaluation(100 * n, rate, 0.0, 0.0, 0.0, validation_loss=loss) for n, (loss, rate) in pairs]
    )


@pytest.mark.parametrize(
    ("losses", "rates", "words"),
    [
        ([3, 1.0, 0.8, 0.9], [0.9, 0.3, 0.25, 0.2], "rises after step 200, but the normalised WER does not"),
        ([3, 0.8, 0.9, 1.0], [0.9, 0.3, 0.2, 0.25], "step 100, and the normalised WER after step 200"),
        ([3, 0.9, 0.8, 0.7], [0.9, 0.3, 0.2, 0.4], "The normalised WER rises after step 200, but the valid"),
        ([3, 0.9, 0.8, 0.7], [0.9, 0.3, 0.2, 0.1], ""),
        ([3, 0.8, 0.807], [0.9, 0.2, 0.205], ""),  # by less than 1 and 3 %
        ([3, 0.8, 0.809], [0.9, 0.2, 0.205], "The validation loss rises after step 100, but"),
        ([3, 0.8, 0.807], [0.9, 0.2, 0.207], "The normalised WER rises after step 100, but"),
        ([0.1, 0.9, 0.8], [0.1, 0.3, 0.2], ""),  # the model before training is another question
        ([None, None, None], [0.9, 0.2, 0.4], ""),
        ([3, 0.8], [0.9, 0.2], ""),
    ],
)
def test_a_rise_since_the_lowest_value_is_told(losses, rates, words):
    found = course(losses, rates)
    assert words in found and bool(found) == bool(words)


def test_overfitting_and_its_cure_are_named():
    told = course([3, 0.8, 0.9], [0.9, 0.2, 0.3])
    assert "overfitting" in told and "Use best/" in told and "learning_rate" in told
    assert "no harm" in course([3, 0.8, 0.9], [0.9, 0.3, 0.2])


def test_the_metric_that_chooses_is_the_one_compared():
    pairs = [(100, 0.8, 0.3), (200, 0.9, 0.2)]  # normalised WER stays, raw CER falls
    evaluations = [LoggedEvaluation(s, 0.1, 0.1, 0.1, cer, validation_loss=loss) for s, loss, cer in pairs]
    assert "raw CER" in describe_course(evaluations, "raw_cer")


def test_a_long_history_is_thinned():
    evaluations = [LoggedEvaluation(step, 0.0, 0.0, 0.0, 0.0) for step in range(101)]
    kept = [each.step for each in thin_out(evaluations)]
    assert len(kept) == 12 and (kept[0], kept[-1]) == (0, 100)
    assert thin_out(evaluations[:12]) == evaluations[:12]
