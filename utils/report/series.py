"""Groups the results of an evaluation by dataset and model for a report. The baseline comes first."""

from collections.abc import Sequence
from dataclasses import dataclass

from utils.evaluation.records import EvaluationResult, TextScore
from utils.report.drawing import SERIES_COLOURS
from utils.report.labels import shorten


@dataclass(frozen=True)
class Series:
    """One model in one audio context on one dataset. A report shows it as a bar, a line or a column."""

    label: str  # the model, with its context where there are several
    number: int  # of the model, by which it has its colour
    result: EvaluationResult

    @property
    def is_dynamic(self) -> bool:
        return self.result.audio_context == "dynamic"

    @property
    def style(self) -> str:
        """Return the CSS classes of the series."""
        return f"series-{self.number % len(SERIES_COLOURS)}" + (" dynamic" if self.is_dynamic else "")

    def rate(self, score: TextScore) -> float:
        """Return the rate to which the interval of a score belongs, as a fraction."""
        return self.result.rate(score)


@dataclass(frozen=True)
class ScoredDataset:
    """The results of all models on one split of one dataset."""

    name: str  # with its split, and whether it is a guard
    series: list[Series]

    @property
    def results(self) -> list[EvaluationResult]:
        return [one.result for one in self.series]

    @property
    def measure(self) -> str:
        """Return WER or CER: the measure of rates, intervals and comparisons."""
        return self.results[0].measure.upper()


def list_models(results: Sequence[EvaluationResult]) -> list[str]:
    """Return every model once, the baseline first."""
    return list(dict.fromkeys(result.model for result in results))


def list_model_warnings(results: Sequence[EvaluationResult]) -> list[str]:
    """Return each warning about a model once, with the model's name."""
    return list(dict.fromkeys(f"{result.model}: {text}" for result in results for text in result.warnings))


def name_measures(results: Sequence[EvaluationResult]) -> str:
    """Return `WER` or `CER`, or both if the results have different measures."""
    return " or ".join(dict.fromkeys(result.measure.upper() for result in results))


def name_dataset(result: EvaluationResult) -> str:
    """Return the name of a result's dataset and split. It says if this is a guard dataset."""
    return f"{shorten(result.dataset)} ({result.split}{', guard' if result.is_guard else ''})"


def list_datasets(results: Sequence[EvaluationResult]) -> list[ScoredDataset]:
    """Group the results by dataset and split. Guard datasets come last."""
    datasets: dict[tuple[str, str], list[EvaluationResult]] = {}
    for result in sorted(results, key=lambda result: result.is_guard):
        datasets.setdefault((result.dataset, result.split), []).append(result)
    return [ScoredDataset(name_dataset(rows[0]), list_series(results, rows)) for rows in datasets.values()]


def list_series(results: Sequence[EvaluationResult], some: Sequence[EvaluationResult]) -> list[Series]:
    """Return results as series. A model has the same colour everywhere."""
    models = list_models(results)
    several = len({result.audio_context for result in results}) > 1
    return [
        Series(
            label=shorten(result.model) + (f" · {result.audio_context}" if several else ""),
            number=models.index(result.model),
            result=result,
        )
        for result in some
    ]


def find_result(results: Sequence[EvaluationResult], model: str) -> EvaluationResult:
    """Return a model's result on one dataset. If there is one in the full context, return that."""
    own = [result for result in results if result.model == model]
    return min(own, key=lambda result: result.audio_context != "full")


def list_values(column: str, series: Sequence[Series]) -> list[str]:
    """Return the values of a group column.

    They are sorted by the normalised rate of the last model, the highest first. All models were scored on the
    same utterances, so all have the same groups.
    """
    last = series[-1]
    groups = last.result.groups[column]
    return sorted(groups, key=lambda value: -last.rate(groups[value].normalized))
