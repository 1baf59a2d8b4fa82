"""The training state in a checkpoint: everything except weights, optimiser and random states."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from utils.training.pace import ScheduleChange


@dataclass
class TrainingState:
    """The values that a resumed run needs, in addition to those that Accelerate saves."""

    step: int = 0  # optimiser steps done
    metric_for_best_model: str = "normalized_wer"  # metric of best_metric, first_metric and ranking
    best_metric: float | None = None
    best_step: int | None = None
    first_metric: float | None = None  # of the model before training
    evaluations_without_improvement: int = 0  # in a row, up to the last one
    ranking: list[tuple[int, float]] = field(default_factory=list)  # (step, metric) of the best evaluations
    order: str = ""  # running digest of all clip ids so far, in order
    loss_sum: float = 0.0  # over target tokens since the last line of metrics.jsonl
    loss_tokens: int = 0
    audio_seconds: float = 0.0  # trained on since the start
    padded_seconds: float = 0.0  # the same, with the padding of the audio contexts
    skipped_steps: int = 0  # steps with a loss or gradient that was not finite, since the start
    skipped_in_a_row: int = 0
    evaluated_step: int = 0  # step of the last evaluation
    origin: str = ""  # the named checkpoint from which the run continued, see `origin_of`
    step_size: str = ""  # over all processes, such as 8 clips
    data: str = ""  # digest of the training clips
    validation: str = ""  # digest of the validation clips, and of the settings that score them
    micro_batch_seconds: float | None = None  # limit of encoder input at once, after memory ran out
    seconds_used: float = 0.0  # by all sessions of the run
    schedule_change: ScheduleChange | None = None  # the last change of the number of steps by --max_hours

    @property
    def mean_loss(self) -> float:
        """Mean loss per target token since the last line of metrics.jsonl. NaN if all steps were skipped."""
        return self.loss_sum / self.loss_tokens if self.loss_tokens else math.nan

    @property
    def padding_share(self) -> float:
        """Share of padding in the audio contexts so far. NaN if all steps were skipped."""
        return 1 - self.audio_seconds / self.padded_seconds if self.padded_seconds else math.nan

    def judge_by(self, metric: str, validation: str) -> None:
        """Set the metric that chooses the best model.

        If the metric or the clips have changed, forget the best results.

        Args:
            metric: A metric of `ErrorRates`.
            validation: Digest of the validation clips, and of the settings that score them.
        """
        if (self.metric_for_best_model, self.validation) != (metric, validation):
            self.best_metric = self.best_step = self.first_metric = None
            self.evaluations_without_improvement, self.ranking = 0, []
        self.metric_for_best_model, self.validation = metric, validation

    def is_behind(self, results: Mapping) -> bool:
        """Check whether a train_results.json is from an evaluation that came after this state.

        Results of an average never count as later.
        """
        return "averaged_steps" not in results and results["step"] > self.evaluated_step

    def take_up_best(self, results: Mapping) -> None:
        """Use the metric of best/ as the best one if it is better than that of this state.

        Best/ may be an average. Ignore it if it is from a later evaluation, which the run will repeat.

        Args:
            results: The content of its train_results.json.
        """
        value = results["best_metric"]
        judged_by = (results["metric_for_best_model"], results["validation"])
        if value is None or judged_by != (self.metric_for_best_model, self.validation):
            return
        if not self.is_behind(results) and (self.best_metric is None or value < self.best_metric):
            self.best_metric, self.best_step = value, results["best_step"]

    def count_evaluation(self, value: float, threshold: float) -> bool:
        """Record an evaluation of the current step, and return whether it is the best so far.

        An evaluation before the first step is never the best. Evaluations without improvement are counted as
        in transformers' `EarlyStoppingCallback`: a gain of at most `threshold` makes a new best, but does not
        reset the count.
        """
        if self.step == 0:
            self.first_metric = value
            return False
        best = self.best_metric
        is_improvement = best is None or best - value > threshold
        self.evaluations_without_improvement = (
            0 if is_improvement else self.evaluations_without_improvement + 1
        )
        if best is not None and value >= best:
            return False
        self.best_metric, self.best_step = value, self.step
        return True

    def take_back_evaluation(self, before: "TrainingState") -> None:
        """Restore the best metric and the count of early stopping, because the new best was not saved."""
        self.best_metric, self.best_step = before.best_metric, before.best_step
        self.evaluations_without_improvement = before.evaluations_without_improvement
