"""The arguments of train.py for evaluations, checkpoints and memory during training."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from utils.arguments.fields import GENERATION_LIMIT, NORMALIZATION, Normalizer
from utils.runtime.disk_budget import read_size
from utils.runtime.flags import argument


@dataclass(frozen=True, kw_only=True)
class ValidationFlags:
    """Evaluations during training, and how their results are used."""

    group_name: ClassVar = "evaluation"

    eval_steps: int = argument("Evaluate after this number of steps. 0: never.", default=100, at_least=0)
    eval_split: Literal["validation", "test"] = argument(
        "Split that chooses the best model. test: to compare with published results.",
        default="validation",
        advanced=True,
    )
    per_device_eval_batch_size: int = argument("Number of clips to decode at once.", default=16, at_least=1)
    max_eval_samples: int | None = argument(
        "Validate on at most this number of random clips.", default=500, at_least=1
    )
    generation_max_length: int = argument(GENERATION_LIMIT, default=448, advanced=True, at_least=1)
    normalizer: Normalizer = argument(NORMALIZATION, default="basic")
    metric_for_best_model: Literal["normalized_wer", "raw_wer", "normalized_cer", "raw_cer"] = argument(
        "Metric that chooses the best model.", default="normalized_wer"
    )
    eval_on_start: bool = argument("Evaluate before the first step.", default=False)
    early_stopping_patience: int | None = argument(
        "Stop after so many evaluations without improvement.", default=None, at_least=1
    )
    early_stopping_threshold: float = argument(
        "Smallest gain that counts for early stopping. 0.01 is one percentage point of the metric.",
        default=0.0,
        advanced=True,
        at_least=0,
    )
    average_checkpoints: int = argument(
        "After training, average this number of models, those with the best evaluations. 0: no average.",
        default=0,
        advanced=True,
        at_least=0,
    )
    interpolation_alphas: list[float] = argument(
        "After training, mix base and tuned weights. Try these shares of tuned weights, such as 0.5 0.75 1.",
        default=[],
        advanced=True,
        above=0,
        at_most=1,
    )
    guard_datasets: list[str] = argument(
        "Prepared datasets, such as other languages, on which a mixture must not be worse than the base.",
        default=[],
        advanced=True,
    )
    guard_tolerance: float = argument(
        "Largest allowed rise of the metric on a guard dataset. 0.01 is one percentage point.",
        default=0.01,
        advanced=True,
        at_least=0,
    )


@dataclass(frozen=True, kw_only=True)
class SavingFlags:
    """Checkpoints and logs during training."""

    group_name: ClassVar = "saving"

    save_steps: int = argument("Save after this number of steps. 0: never.", default=100, at_least=0)
    save_total_limit: int = argument("Keep this number of newest checkpoints.", default=2, at_least=1)
    resume_from_checkpoint: str | None = argument(
        "Continue from this checkpoint. latest: the newest.", default=None
    )
    mirror_dir: str | None = argument(
        "Copy the newest checkpoint, best/ and logs to this folder of another disk. Continue from it if the "
        "run folder is empty.",
        default=None,
        advanced=True,
    )
    disk_budget: str | None = argument(
        "Largest size of output_dir, such as 12G. Keeps fewer checkpoints, or stops before training.",
        default=None,
        advanced=True,
    )
    logging_steps: int = argument(
        "Write training metrics after this number of steps.", default=10, advanced=True, at_least=1
    )
    report_to: list[str] = argument(
        "Trackers: tensorboard, trackio, wandb, mlflow; or none.", default=["tensorboard"]
    )
    project: str = argument("Project name in the trackers.", default="whisper-finetuning", advanced=True)
    dry_run: bool = argument("Estimate time, memory and disk, and stop.", default=False)

    def problems(self) -> list[str]:
        if self.disk_budget is not None and not read_size(self.disk_budget):
            return [f"disk_budget {self.disk_budget}: expected a size such as 800M, 12G or 1.5T."]
        return []


@dataclass(frozen=True, kw_only=True)
class MemoryFlags:
    """Ways to use less memory. The result stays the same."""

    group_name: ClassVar = "memory"

    gradient_checkpointing: bool = argument("Use less memory; training is slower.", default=False)
    auto_find_batch_size: bool = argument("Use smaller micro-batches when memory runs out.", default=False)
    memory: Literal["fast", "low"] = argument("low uses less memory and is a little slower.", default="fast")
    micro_batch_seconds: float | None = argument(
        "Split micro-batches longer than this, in seconds. Not given: 64 on a CPU, else no limit.",
        default=None,
        advanced=True,
        above=0,
    )
