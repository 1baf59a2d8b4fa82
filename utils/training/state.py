"""Where a run stands: what a checkpoint holds beside weights and optimiser."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass
class TrainingState:
    """What a run must know to go on exactly where it stopped, beside what Accelerate saves."""

    step: int = 0  # optimiser steps done
    metric_for_best_model: str = "normalized_wer"  # what best_metric, first_metric and ranking hold
    best_metric: float | None = None
    best_step: int | None = None
    first_metric: float | None = None  # of the model before training
    evaluations_without_improvement: int = 0  # in a row, up to now
    ranking: list[tuple[int, float]] = field(default_factory=list)  # (step, metric) of the best evaluations
    order: str = ""  # running digest over the ids of all clips of the steps done, in order
    loss_sum: float = 0.0  # of target tokens since the last line of metrics.jsonl
    loss_tokens: int = 0
    audio_seconds: float = 0.0  # trained on since the start
    padded_seconds: float = 0.0  # the same with the silence that filled the audio contexts
    skipped_steps: int = 0  # whose loss or gradient was not finite, since the start
    skipped_in_a_row: int = 0
    evaluated_step: int = 0  # the last step that was evaluated
    origin: str = ""  # the named checkpoint that the run went on from, see `origin_of`
    step_size: str = ""  # such as 8 clips, over all processes
    data: str = ""  # digest of the clips that are trained on
    validation: str = ""  # digest of what is validated on, and how
    micro_batch_seconds: float | None = None  # of encoder work at once; more was too much

    @property
    def mean_loss(self) -> float:
        """Loss of a target token since the last line of metrics.jsonl; NaN where all steps were skipped."""
        return self.loss_sum / self.loss_tokens if self.loss_tokens else math.nan

    @property
    def padding_share(self) -> float:
        """Share of silence in the audio contexts trained on; NaN where all steps were skipped."""
        return 1 - self.audio_seconds / self.padded_seconds if self.padded_seconds else math.nan

    def judge_by(self, metric: str, validation: str) -> None:
        """Take up what the best is chosen by; what was best by another metric or on other clips is forgotten.

        Args:
            metric: Of `ErrorRates`.
            validation: Digest of the clips and of how they are scored.
        """
        if (self.metric_for_best_model, self.validation) != (metric, validation):
            self.best_metric = self.best_step = self.first_metric = None
            self.evaluations_without_improvement, self.ranking = 0, []
        self.metric_for_best_model, self.validation = metric, validation

    def is_behind(self, results: Mapping) -> bool:
        """Whether a model, by its train_results.json, is of an evaluation that this state does not know.

        An average counts as known, whatever it is of.
        """
        return "averaged_steps" not in results and results["step"] > self.evaluated_step

    def take_up_best(self, results: Mapping) -> None:
        """Let the model in best/ count where it is better than what this state knows: an average is.

        Not what was evaluated after this state was saved: that is done again.

        Args:
            results: Its train_results.json.
        """
        value = results["best_metric"]
        judged_by = (results["metric_for_best_model"], results["validation"])
        if value is None or judged_by != (self.metric_for_best_model, self.validation):
            return
        if not self.is_behind(results) and (self.best_metric is None or value < self.best_metric):
            self.best_metric, self.best_step = value, results["best_step"]

    def count_evaluation(self, value: float, threshold: float) -> bool:
        """Enter an evaluation of the current step; whether it is the best of those after a first step.

        Evaluations without improvement are counted as by transformers' `EarlyStoppingCallback`: a gain of no
        more than `threshold` makes a new best, but does not start the count anew.
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
        """Forget a new best that could not be saved; patience stands where it stood `before`."""
        self.best_metric, self.best_step = before.best_metric, before.best_step
        self.evaluations_without_improvement = before.evaluations_without_improvement
