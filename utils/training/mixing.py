"""What is made of a finished run's weights: their average, and their mixture with the base model's.

All of it works on the run folder, not on the model in memory, so that it can be done after training, after a
kill, or with other shares once a run has ended. What is scored is what is on disk. All processes call these
functions; the first one writes, and all must see the run folder.
"""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from accelerate import Accelerator
from datasets import Dataset
from rich import get_console

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
from utils.model.quantization import Quantization
from utils.model.resolving import resolve_model
from utils.model.saving import RESULTS_FILE
from utils.model.stored_weights import is_adapter, local_folder, read_adapter_config, write_variant
from utils.runtime.files import move_into_place, write_json
from utils.runtime.launch import loading_whole
from utils.runtime.processes import failing_together
from utils.scoring.error_rates import METRIC_LABELS, ErrorRates, error_rates, score_utterances
from utils.training.shared_decoding import transcribe_on_all_processes

AVERAGE_FILE, INTERPOLATION_FILE, SNAPSHOTS = "averaging.json", "interpolation.json", "snapshots"

VALIDATION = "validation"


@dataclass(frozen=True)
class Scorer:
    """How candidates are decoded and judged: as in validation during training."""

    accelerator: Accelerator
    metric: str
    normalizer: str
    batch_size: int
    max_length: int
    task: str
    quantization: Quantization | None = None  # of the base in training
    cut_short: Callable[[], bool] = lambda: False  # whether this process is told to stop

    def score(self, name_or_path: str, splits: Mapping[str, Dataset]) -> dict[str, ErrorRates]:
        """Load a model on every process and score it in the full audio context; all processes call it.

        Args:
            name_or_path: A model folder, adapter folder or Hub id, which every process can read.
            splits: Rows to decode, by any name.

        Returns:
            The error rates by the same names, equal on every process.

        Raises:
            CutShortError: On all processes, where one was told to stop.
        """
        is_quantized = self.quantization is not None
        with loading_whole(self.accelerator):
            loaded = load_model(name_or_path, keep_adapter=is_quantized, quantization=self.quantization)
        model = loaded.model if is_quantized else loaded.model.to(self.accelerator.device)
        found = {}
        for name, rows in splits.items():
            hypotheses = transcribe_on_all_processes(
                self.accelerator,
                model,
                loaded.processor,
                rows,
                batch_size=self.batch_size,
                max_length=self.max_length,
                task=self.task,
                cut_short=self.cut_short,
            )
            scored = score_utterances(list(rows["id"]), list(rows["text"]), hypotheses, self.normalizer)
            found[name] = error_rates(scored)
        return found


def forget_mixtures(accelerator: Accelerator, run: Path) -> None:
    """Let an earlier end of a run count no more, now that it goes on."""
    if accelerator.is_main_process:
        for name in (AVERAGE_FILE, INTERPOLATION_FILE):
            (run / name).unlink(missing_ok=True)
    accelerator.wait_for_everyone()


def is_averaged(run: Path) -> bool:
    """Whether averaging has been done, with whatever outcome."""
    return (run / AVERAGE_FILE).exists()


def is_interpolated(run: Path, arguments: Mapping[str, object]) -> bool:
    """Whether the run's interpolation.json answers to these arguments."""
    path = run / INTERPOLATION_FILE
    return path.exists() and json.loads(path.read_text(encoding="utf-8"))["arguments"] == arguments


def average_best_evaluations(
    scorer: Scorer, run: Path, validation: Dataset, write_card: Callable[[dict], str]
) -> None:
    """Score the mean of the run's snapshots; if it is better than best/ it takes that place."""
    main, best, candidate = scorer.accelerator.is_main_process, run / "best", run / ".averaged"
    snapshots = find_snapshots(run / SNAPSHOTS) if best.is_dir() else []  # no disk had room for it else
    results = read_results(best) if snapshots else {}
    steps = [snapshot_step(path) for path in snapshots]
    record: dict[str, object] = {"steps": steps, "metric": scorer.metric}
    is_better = False
    if len(snapshots) > 1:
        with failing_together(scorer.accelerator):
            if main:
                _write_average(snapshots, best, candidate, results, write_card)
        rates = scorer.score(str(candidate), {VALIDATION: validation})[VALIDATION]
        value, before = rates.of(scorer.metric), results["best_metric"]
        is_better = value < before
        record |= {"validation": asdict(rates), "best_metric_before": before}
        scorer.accelerator.print(
            f"average of steps {', '.join(map(str, steps))}: {METRIC_LABELS[scorer.metric]} "
            f"{100 * value:.2f} %, {'better than' if is_better else 'not better than'} {100 * before:.2f} %"
        )
        with failing_together(scorer.accelerator):
            if main and is_better:
                changes = {"best_metric": value, "best_step": None, "averaged_steps": steps}
                _write_words(candidate, results | changes, write_card)
                move_into_place(candidate, best)
    if main:
        write_json(run / AVERAGE_FILE, record | {"became_best": is_better})
        shutil.rmtree(candidate, ignore_errors=True)
        shutil.rmtree(run / SNAPSHOTS, ignore_errors=True)
    scorer.accelerator.wait_for_everyone()


def _write_average(
    snapshots: Sequence[Path], best: Path, target: Path, results: dict, write_card: Callable[[dict], str]
) -> None:
    config = None
    if is_adapter(best):
        config = averaged_adapter_config(read_adapter_config(best), len(snapshots))
    write_variant(best, target, average_weights(snapshots), adapter_config=config)
    _write_words(target, results, write_card)


def interpolate_with_base(
    scorer: Scorer,
    run: Path,
    base: str,
    alphas: Sequence[float],
    *,
    validation: Dataset,
    guards: Mapping[str, Dataset],
    tolerance: float,
    arguments: Mapping[str, object],
    write_card: Callable[[dict], str],
) -> None:
    """Score mixtures of base and tuned weights; the best that keeps all guards becomes interpolated/.

    Args:
        base: What training started from.
        alphas: Shares of the tuned weights, those of best/, or of final/ where nothing was validated.
        guards: Rows by dataset on which no mixture may be worse than the base by more than `tolerance`.
        arguments: Written into interpolation.json, for `is_interpolated`.
    """
    tuned = run / "best" if (run / "best").is_dir() else run / "final"
    check_interpolation(
        local_folder(resolve_model(base)), read_adapter_config(tuned) if is_adapter(tuned) else None
    )
    splits = {VALIDATION: validation, **guards}
    before = _as_mixture(0.0, scorer.score(base, splits))
    candidate, mixtures = run / ".interpolated", []
    for alpha in sorted(set(alphas)):
        with failing_together(scorer.accelerator):
            if scorer.accelerator.is_main_process:
                _write_mixture(base, tuned, alpha, candidate, {}, write_card)
        mixtures.append(_as_mixture(alpha, scorer.score(str(candidate), splits)))
        scorer.accelerator.wait_for_everyone()
    chosen = choose_mixture(mixtures, before, scorer.metric, tolerance)
    if scorer.accelerator.is_main_process:
        shutil.rmtree(candidate, ignore_errors=True)
        shutil.rmtree(run / "interpolated", ignore_errors=True)  # of another search
        if chosen is not None:
            rates = {f"validation_{name}": value for name, value in asdict(chosen.validation).items()}
            _write_mixture(base, tuned, chosen.alpha, run / "interpolated", rates, write_card)
        record = interpolation_record(mixtures, before, chosen, scorer.metric, tolerance)
        write_json(
            run / INTERPOLATION_FILE, {"base": base, "tuned": tuned.name, "arguments": arguments} | record
        )
        get_console().print(build_interpolation_table(mixtures, before, chosen, scorer.metric, tolerance))
        if chosen is None:
            print(f"No mixture keeps every guard within {100 * tolerance:g} points: nothing was saved.")
    scorer.accelerator.wait_for_everyone()


def describe_run(run: Path) -> str:
    """What the run has left, and what to do next."""
    found = [f"{run / 'final'} (last step)"]
    if (run / "best").is_dir():
        results = read_results(run / "best")
        steps = results.get("averaged_steps")
        origin = f"average of steps {', '.join(map(str, steps))}" if steps else f"step {results['best_step']}"
        found.append(f"{run / 'best'} ({origin})")
        first = results.get("metric_before_training")
        if first is not None and results["best_metric"] >= first:
            found.append("no evaluation was better than the model before training")
    if (run / "interpolated").is_dir():
        found.append(f"{run / 'interpolated'} (mixed with the base)")
    return f"Done: {'; '.join(found)}. Next: evaluate.py on the test split."


def _as_mixture(alpha: float, rates: dict[str, ErrorRates]) -> Mixture:
    return Mixture(alpha, rates[VALIDATION], {name: rates[name] for name in rates if name != VALIDATION})


def _write_mixture(
    base: str, tuned: Path, alpha: float, target: Path, rates: dict, write_card: Callable[[dict], str]
) -> None:
    tensors, config = mixed_weights(local_folder(resolve_model(base)), tuned, alpha)
    write_variant(tuned, target, tensors, adapter_config=config)
    _write_words(target, read_results(tuned) | {"interpolation_alpha": alpha} | rates, write_card)


def _write_words(folder: Path, results: dict, write_card: Callable[[dict], str]) -> None:
    write_json(folder / RESULTS_FILE, results)
    (folder / "README.md").write_text(write_card(results), encoding="utf-8")


def read_results(folder: Path) -> dict:
    """What a model folder's train_results.json says."""
    return json.loads((folder / RESULTS_FILE).read_text(encoding="utf-8"))
