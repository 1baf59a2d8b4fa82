"""The results of an evaluation as a report arranges them: by dataset, by model, the baseline first."""

from collections.abc import Sequence
from dataclasses import dataclass

from utils.evaluation.records import EvaluationResult, TextScore
from utils.report.drawing import SERIES_COLOURS
from utils.report.labels import shorten


@dataclass(frozen=True)
class Series:
    """One model in one audio context on one dataset: a bar, a line or a column of a report."""

    label: str  # the model, with its context where there are several
    number: int  # of the model, by which it has its colour
    result: EvaluationResult

    @property
    def is_dynamic(self) -> bool:
        return self.result.audio_context == "dynamic"

    @property
    def style(self) -> str:
        """Its classes in a page's style sheet."""
        return f"series-{self.number % len(SERIES_COLOURS)}" + (" dynamic" if self.is_dynamic else "")

    def rate(self, score: TextScore) -> float:
        """The rate of one of the result's scores that its interval is of, as a fraction."""
        return self.result.rate(score)


@dataclass(frozen=True)
class ScoredDataset:
    """All models on one split of one dataset."""

    name: str  # with its split, and whether it is a guard
    series: list[Series]

    @property
    def results(self) -> list[EvaluationResult]:
        return [one.result for one in self.series]

    @property
    def measure(self) -> str:
        """WER or CER: what rates, intervals and comparisons are of."""
        return self.results[0].measure.upper()


def list_models(results: Sequence[EvaluationResult]) -> list[str]:
    """Every model once, in the order of the results: the baseline first."""
    return list(dict.fromkeys(result.model for result in results))


def name_measures(results: Sequence[EvaluationResult]) -> str:
    """`WER`, `CER`, or both where the results are of different scripts."""
    return " or ".join(dict.fromkeys(result.measure.upper() for result in results))


def name_dataset(result: EvaluationResult) -> str:
    """The dataset of a result with its split, and whether it is a guard."""
    return f"{shorten(result.dataset)} ({result.split}{', guard' if result.is_guard else ''})"


def list_datasets(results: Sequence[EvaluationResult]) -> list[ScoredDataset]:
    """The results of each dataset and split, guard datasets last."""
    datasets: dict[tuple[str, str], list[EvaluationResult]] = {}
    for result in sorted(results, key=lambda result: result.is_guard):
        datasets.setdefault((result.dataset, result.split), []).append(result)
    return [ScoredDataset(name_dataset(rows[0]), list_series(results, rows)) for rows in datasets.values()]


def list_series(results: Sequence[EvaluationResult], some: Sequence[EvaluationResult]) -> list[Series]:
    """Some of the results as series; a model has the same colour wherever it stands."""
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
    """A model's result among those of one dataset, of the full context where it was decoded in that."""
    own = [result for result in results if result.model == model]
    return min(own, key=lambda result: result.audio_context != "full")


def list_values(column: str, series: Sequence[Series]) -> list[str]:
    """The values of a column of groups, the last model's highest normalised rate first.

    All models were scored on the same utterances, so all have the same groups.
    """
    last = series[-1]
    groups = last.result.groups[column]
    return sorted(groups, key=lambda value: -last.rate(groups[value].normalized))
