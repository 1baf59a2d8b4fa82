"""Average the weights of a finished run, and mix them with those of the base model.

These functions use the run folder, not the model in memory, and score the files on disk. So they also work
after the run was killed, or later with other arguments. All processes must call them and see the run folder.
Only the main process writes.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from datasets import Dataset
from rich import get_console

from utils.arguments.train import TrainArguments
from utils.model.averaging import average_weights, averaged_adapter_config, find_snapshots, snapshot_step
from utils.model.interpolation import (
    Mixture,
    build_interpolation_table,
    check_interpolation,
    choose_mixture,
    interpolation_record,
    mixed_weights,
)
from utils.model.loading import load_model
from utils.model.resolving import resolve_model
from utils.model.saving import RESULTS_FILE, is_adapter, local_folder, read_adapter_config, write_variant
from utils.runtime.files import move_into_place, write_json
from utils.runtime.interruption import StopRequest
from utils.runtime.launch import failing_together, loading_whole
from utils.scoring.error_rates import METRIC_LABELS, ErrorRates
from utils.training.disk_plan import budget_of
from utils.training.model_folders import SNAPSHOTS, read_training_results, write_card
from utils.training.shared_decoding import score_rows
from utils.training.trainable_model import choose_quantization

AVERAGE_FILE, INTERPOLATION_FILE = "averaging.json", "interpolation.json"

VALIDATION = "validation"

# may be changed after training
MIXING_ARGUMENTS = ("interpolation_alphas", "guard_datasets", "guard_tolerance")


@dataclass(frozen=True)
class FinishedRun:
    """A finished run, and the settings for scoring models made from its weights.

    They are those of its validation.
    """

    args: TrainArguments
    accelerator: Accelerator
    stop_request: StopRequest

    @property
    def folder(self) -> Path:
        """The run folder."""
        return Path(self.args.output_dir)

    def score(self, name_or_path: str, splits: Mapping[str, Dataset]) -> dict[str, ErrorRates]:
        """Load a model and score it in the full audio context. All processes must call this.

        Args:
            name_or_path: A model folder, adapter folder or Hub id that every process can read.
            splits: Rows to decode, by any name.

        Returns:
            The error rates by the names of the splits, equal on every process.

        Raises:
            CutShortError: A process got a signal to stop. All processes raise this.
        """
        args, accelerator = self.args, self.accelerator
        quantization = choose_quantization(args, accelerator)
        with loading_whole(accelerator):
            loaded = load_model(name_or_path, keep_adapter=bool(quantization), quantization=quantization)
        model = loaded.model if quantization else loaded.model.to(accelerator.device)
        return {
            name: score_rows(args, accelerator, model, loaded.processor, rows, self.stop_request).rates
            for name, rows in splits.items()
        }

    def write_variant(
        self,
        template: Path,
        target: Path,
        tensors: Mapping[str, torch.Tensor],
        adapter_config: dict | None,
        results: dict,
    ) -> None:
        """Write a copy of a model folder with other weights, results and model card, within the disk budget.

        Args:
            template: A model folder or adapter folder.
            target: The new folder.
            tensors: Its weights.
            adapter_config: Its configuration, if it is an adapter.
            results: Its train_results.json.

        Raises:
            WriteError: The disk or its budget is full.
        """
        budget_of(self.args).check_room(target, sum(tensor.nbytes for tensor in tensors.values()))
        write_variant(template, target, tensors, adapter_config=adapter_config)
        self.write_words(target, results)

    def write_words(self, folder: Path, results: dict) -> None:
        """Write results and model card into a folder.

        If it holds an averaged or mixed adapter, this is plain LoRA.
        """
        write_json(folder / RESULTS_FILE, results)
        card = write_card(self.args, results, adapter="lora" if self.args.use_peft else None)
        (folder / "README.md").write_text(card, encoding="utf-8")


def mixing_left(args: TrainArguments) -> tuple[bool, bool]:
    """Check whether a finished run still needs averaging, and mixing with the base model."""
    run = Path(args.output_dir)
    averages = args.average_checkpoints > 0 and not (run / AVERAGE_FILE).exists()
    if not args.interpolation_alphas or not (run / INTERPOLATION_FILE).exists():
        return averages, bool(args.interpolation_alphas)
    done = json.loads((run / INTERPOLATION_FILE).read_text(encoding="utf-8"))
    return averages, done["arguments"] != mixing_arguments(args)


def mixing_arguments(args: TrainArguments) -> dict[str, object]:
    """Return the arguments that interpolation.json records."""
    return {name: getattr(args, name) for name in MIXING_ARGUMENTS}


def forget_mixtures(accelerator: Accelerator, run: Path) -> None:
    """Delete the records of averaging and mixing, because the run continues."""
    if accelerator.is_main_process:
        for name in (AVERAGE_FILE, INTERPOLATION_FILE):
            (run / name).unlink(missing_ok=True)
    accelerator.wait_for_everyone()


def average_best_evaluations(run: FinishedRun, validation: Dataset) -> None:
    """Score the average of the run's snapshots. If it is better than best/, replace best/."""
    accelerator, metric = run.accelerator, run.args.metric_for_best_model
    best, candidate = run.folder / "best", run.folder / ".averaged"
    snapshots = (
        find_snapshots(run.folder / SNAPSHOTS) if best.is_dir() else []
    )  # if best/ is missing, the disk was full
    results = read_training_results(best) if snapshots else {}
    steps = [snapshot_step(path) for path in snapshots]
    record: dict[str, object] = {"steps": steps, "metric": metric}
    is_better = False
    if len(snapshots) > 1:
        with failing_together():
            if accelerator.is_main_process:
                config = read_adapter_config(best) if is_adapter(best) else None
                config = config and averaged_adapter_config(config, len(snapshots))
                run.write_variant(best, candidate, average_weights(snapshots), config, results)
        rates = run.score(str(candidate), {VALIDATION: validation})[VALIDATION]
        value, before = rates.of(metric), results["best_metric"]
        is_better = value < before
        record |= {"validation": asdict(rates), "best_metric_before": before}
        accelerator.print(
            f"average of steps {', '.join(map(str, steps))}: {METRIC_LABELS[metric]} "
            f"{100 * value:.2f} %, {'better than' if is_better else 'not better than'} {100 * before:.2f} %"
        )
        with failing_together():
            if accelerator.is_main_process and is_better:
                changes = {"best_metric": value, "best_step": None, "averaged_steps": steps}
                run.write_words(candidate, results | changes)
                move_into_place(candidate, best)
    if accelerator.is_main_process:
        write_json(run.folder / AVERAGE_FILE, record | {"became_best": is_better})
        shutil.rmtree(candidate, ignore_errors=True)
        shutil.rmtree(run.folder / SNAPSHOTS, ignore_errors=True)
    accelerator.wait_for_everyone()


def interpolate_with_base(run: FinishedRun, validation: Dataset, guards: Mapping[str, Dataset]) -> None:
    """Score mixtures of base and tuned weights.

    Save the best one that is not too bad on any guard dataset to interpolated/. The tuned weights are those
    of best/, or of final/ if there was no validation.

    Args:
        guards: Rows by dataset. A mixture fails if it is worse than the base by more than the tolerance.
    """
    args, accelerator = run.args, run.accelerator
    metric, tolerance = args.metric_for_best_model, args.guard_tolerance
    tuned = run.folder / "best" if (run.folder / "best").is_dir() else run.folder / "final"
    adapter_config = read_adapter_config(tuned) if is_adapter(tuned) else None
    check_interpolation(local_folder(resolve_model(args.model_name_or_path)), adapter_config)
    splits = {VALIDATION: validation, **guards}
    before = _as_mixture(0.0, run.score(args.model_name_or_path, splits))
    candidate, mixtures = run.folder / ".interpolated", []
    for alpha in sorted(set(args.interpolation_alphas)):
        with failing_together():
            if accelerator.is_main_process:
                _write_mixture(run, tuned, alpha, candidate, {})
        mixtures.append(_as_mixture(alpha, run.score(str(candidate), splits)))
        accelerator.wait_for_everyone()
    chosen = choose_mixture(mixtures, before, metric, tolerance)
    if accelerator.is_main_process:
        shutil.rmtree(candidate, ignore_errors=True)
        shutil.rmtree(run.folder / "interpolated", ignore_errors=True)  # of an earlier search
        if chosen is not None:
            rates = {f"validation_{name}": value for name, value in asdict(chosen.validation).items()}
            _write_mixture(run, tuned, chosen.alpha, run.folder / "interpolated", rates)
        asked = {"base": args.model_name_or_path, "tuned": tuned.name, "arguments": mixing_arguments(args)}
        found = interpolation_record(mixtures, before, chosen, metric, tolerance)
        write_json(run.folder / INTERPOLATION_FILE, asked | found)
        get_console().print(build_interpolation_table(mixtures, before, chosen, metric, tolerance))
        if chosen is None:
            print(
                f"Every mixture is more than {100 * tolerance:g} points worse on a guard. Nothing was saved."
            )
    accelerator.wait_for_everyone()


def _as_mixture(alpha: float, rates: dict[str, ErrorRates]) -> Mixture:
    return Mixture(alpha, rates[VALIDATION], {name: rates[name] for name in rates if name != VALIDATION})


def _write_mixture(run: FinishedRun, tuned: Path, alpha: float, target: Path, rates: dict) -> None:
    base = local_folder(resolve_model(run.args.model_name_or_path))
    tensors, config = mixed_weights(base, tuned, alpha)
    results = read_training_results(tuned) | {"interpolation_alpha": alpha} | rates
    run.write_variant(tuned, target, tensors, config, results)
