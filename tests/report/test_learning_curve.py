"""Points of metrics.jsonl, and what is said of them."""

import json
import math

from utils.report.learning_curve import learning_words, load_metrics, read_curves, read_points, thinned

METRICS = [
    {"step": 20, "loss": 0.5},
    {"step": 10, "loss": 1.5, "learning_rate": 1e-5},
    {"step": 20, "eval_wer": 0.3, "eval_normalized_wer": 0.15},
    {"step": 30, "loss": None},
    {"step": 40, "loss": math.nan},
    {"step": 40, "eval_wer": 0.31, "eval_normalized_wer": 0.15},
    {"step": 40, "skipped_ids": ["a"]},
]


def test_points_are_finite_and_in_order():
    assert read_points(METRICS, "loss") == [(10, 1.5), (20, 0.5)]
    assert read_points(METRICS, "eval_wer") == [(20, 0.3), (40, 0.31)]
    assert read_points([*METRICS, {"step": 10, "loss": 1.0}], "loss")[0] == (10, 1.0)  # the later record
    assert read_points(METRICS, "skipped_ids") == []


def test_only_runs_that_logged_something_have_a_curve():
    curves = read_curves({"base": [], "tuned": METRICS, "empty": [{"step": 1, "epoch": 0}]})
    assert [curve.model for curve in curves] == ["tuned"]
    assert curves[0].best == (20, 0.15)  # the first of two equals
    assert read_curves({"a": METRICS[:2]})[0].best is None


def test_the_run_of_a_model_is_found_beside_it(tmp_path):
    (tmp_path / "best").mkdir()
    assert load_metrics(str(tmp_path / "best")) == [] == load_metrics("openai/whisper-base")
    lines = [json.dumps({"step": 1, "loss": 2.0}), '["no record"]', '{"step": 2, "lo']  # cut off by a kill
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines))
    assert load_metrics(str(tmp_path / "best")) == [{"step": 1, "loss": 2.0}] == load_metrics(str(tmp_path))


def test_neighbours_are_averaged():
    points = [(step, float(step)) for step in range(1, 8)]
    assert thinned(points, 3) == [(3, 2.0), (6, 5.0), (7, 7.0)]
    assert thinned(points, 7) == points and thinned([], 3) == []


def test_validation_losses_are_points_and_evaluations_are_rows():
    rates = {"eval_normalized_wer": 0.2, "eval_wer": 0.3, "eval_normalized_cer": 0.1, "eval_cer": 0.1}
    losses = ((10, 0.8), (20, 1.0))
    records = [{"step": step, **rates, "eval_loss": loss, "epoch": step / 10} for step, loss in losses]
    (curve,) = read_curves({"tuned": records})
    assert curve.validation_loss == [(10, 0.8), (20, 1.0)] and curve.steps == [10, 20] * 3
    assert [(each.step, each.epoch, each.validation_loss) for each in curve.rows] == [
        (10, 1.0, 0.8),
        (20, 2.0, 1.0),
    ]
    parted = "The validation loss rises after step 10, but the normalised WER does not."
    assert parted in learning_words([curve])
    assert f"tuned: {parted}" in learning_words([curve, curve])


def test_the_lowest_rate_is_told_in_words():
    alone = learning_words(read_curves({"tuned": METRICS}))
    assert "The lowest normalised rate is 15.0 % at step 20 (upright line)." in alone
    both = learning_words(read_curves({"a": METRICS, "b": METRICS, "c": METRICS[:2]}))
    assert "rate of a is 15.0 % at step 20." in both and "rate of b is" in both and "rate of c" not in both
