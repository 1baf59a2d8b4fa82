"""Read the evaluations of a run from metrics.jsonl, and say where validation loss and error rate part."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from utils.runtime.records import record_from
from utils.scoring.error_rates import METRIC_LABELS

METRICS_FILE = "metrics.jsonl"  # in the run folder

LOSS_RISES, RATE_RISES = 0.01, 0.03  # by this share of the lowest value; less may be chance

MOST_EVALUATIONS = 12  # rows of a table

_LOGGED_RATES = {
    "normalized_wer": "eval_normalized_wer",
    "raw_wer": "eval_wer",
    "normalized_cer": "eval_normalized_cer",
    "raw_cer": "eval_cer",
}


@dataclass(frozen=True)
class LoggedEvaluation:
    """An evaluation during training. Rates are fractions. None: the log does not have the value."""

    step: int
    normalized_wer: float
    raw_wer: float
    normalized_cer: float
    raw_cer: float
    epoch: float | None = None
    training_loss: float | None = None  # mean since the evaluation before
    validation_loss: float | None = None


def read_log(path: Path) -> list[dict]:
    """Read the records of metrics.jsonl, if it exists. An incomplete line of a killed run is left out."""
    if not path.is_file():
        return []
    return [record for record in map(_read_record, path.read_bytes().splitlines()) if record]


def _read_record(line: bytes) -> dict | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and isinstance(record.get("step"), int) else None


def read_evaluations(records: Sequence[dict]) -> list[LoggedEvaluation]:
    """Return the evaluations that have all four rates, in order."""
    found, losses = list[LoggedEvaluation](), list[float]()
    for record in records:
        losses += [loss] if (loss := _number(record, "loss")) is not None else []
        rates = {name: _number(record, logged) for name, logged in _LOGGED_RATES.items()}
        if None in rates.values():
            continue
        others = {
            "epoch": _number(record, "epoch"),
            "training_loss": sum(losses) / len(losses) if losses else None,
            "validation_loss": _number(record, "eval_loss"),
        }
        found.append(record_from(LoggedEvaluation, {"step": record["step"], **rates, **others}))
        losses.clear()
    return found


def _number(record: dict, name: str) -> float | None:
    value = record.get(name)
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def thin_out(evaluations: Sequence[LoggedEvaluation]) -> list[LoggedEvaluation]:
    """Return at most `MOST_EVALUATIONS` of them, evenly spaced; the first and the last are kept."""
    last = len(evaluations) - 1
    if last < MOST_EVALUATIONS:
        return list(evaluations)
    kept = {round(index * last / (MOST_EVALUATIONS - 1)) for index in range(MOST_EVALUATIONS)}
    return [evaluations[index] for index in sorted(kept)]


def describe_course(evaluations: Sequence[LoggedEvaluation], metric: str = "normalized_wer") -> str:
    """Say whether validation loss or error rate has risen since it was lowest, and what to do.

    A rise of the loss alone is usual with Whisper and does no harm: with more epochs, the WER of Basque and
    Galician models went on falling.

    Args:
        evaluations: The evaluations of a run. The one before training is not compared.
        metric: A metric of `ErrorRates`.

    Returns:
        Sentences. Empty if neither has risen, or if there are fewer than two evaluations with a loss.
    """
    tuned = [each for each in evaluations if each.step]
    losses = [(each.validation_loss, each.step) for each in tuned if each.validation_loss is not None]
    rates = [(getattr(each, metric), each.step) for each in tuned]
    if len(losses) < 2:
        return ""
    (lowest_loss, loss_step), (lowest_rate, rate_step) = min(losses), min(rates)
    loss_rises = losses[-1][0] > (1 + LOSS_RISES) * lowest_loss
    rate_rises = rates[-1][0] > (1 + RATE_RISES) * lowest_rate
    rate = " ".join(reversed(METRIC_LABELS[metric].split()))
    if loss_rises and rate_rises:
        return (
            f"The validation loss rises after step {loss_step:,}, and the {rate} after step {rate_step:,}: "
            "the model learns the training clips by heart (overfitting). Use best/, not final/. To get "
            "further, add data or augmentation, lower learning_rate, or average_checkpoints 3."
        )
    if loss_rises:
        return (
            f"The validation loss rises after step {loss_step:,}, but the {rate} does not. This is usual "
            f"with Whisper, and no harm. Choose the model by {rate}, as best/ does."
        )
    if rate_rises:
        return (
            f"The {rate} rises after step {rate_step:,}, but the validation loss does not. Use best/, not "
            "final/. Look for loops, invented words and cut texts in predictions/."
        )
    return ""
