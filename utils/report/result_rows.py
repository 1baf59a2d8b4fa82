"""Rows of evaluation_results.json as a report arranges them: by dataset, by model, the baseline first."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

CONTEXTS = ("full", "dynamic")

MEASURES = {"wer": "word error rate", "cer": "character error rate"}

LONGEST_NAME = 60  # characters of a path; its end tells models and datasets apart


@dataclass(frozen=True)
class Series:
    """One model in one audio context on one dataset: a bar, a line or a column of a report."""

    label: str  # the model, with its context where there are several
    number: int  # of the model, for its colour
    is_dynamic: bool
    row: dict

    @property
    def measure(self) -> str:
        """What the row's intervals and comparisons are of, see `measure_of`."""
        return measure_of(self.row)

    def rate(self, score: dict | None) -> float | None:
        """The rate of one of the row's scores that its interval is of, as a fraction."""
        return None if score is None else score.get(self.measure)


def list_models(results: Sequence[dict]) -> list[str]:
    """Every model once, in the order of the rows."""
    return list(dict.fromkeys(row["model"] for row in results))


def measure_of(row: dict) -> str:
    """The error rate that decides: wer, or cer for a script without spaces between words."""
    return row.get("measure") or "wer"


def name_measures(rows: Sequence[dict]) -> str:
    """`WER`, `CER`, or both where the rows are of different scripts."""
    return " or ".join(dict.fromkeys(measure_of(row).upper() for row in rows))


def list_datasets(results: Sequence[dict]) -> list[tuple[str, str]]:
    """Every (dataset, split) once, guard datasets last."""
    ordered = sorted(results, key=lambda row: bool(row.get("is_guard")))
    return list(dict.fromkeys((row["dataset"], row["split"]) for row in ordered))


def name_dataset(rows: Sequence[dict]) -> str:
    """The dataset of some rows with its split, and whether it is a guard."""
    guard = ", guard" if rows[0].get("is_guard") else ""
    return f"{shorten(rows[0]['dataset'])} ({rows[0]['split']}{guard})"


def rows_of(results: Sequence[dict], dataset: tuple[str, str]) -> list[dict]:
    """The rows of one dataset."""
    return [row for row in results if (row["dataset"], row["split"]) == dataset]


def list_series(results: Sequence[dict], rows: Sequence[dict]) -> list[Series]:
    """Some of the results as series; a model has the same number wherever it stands."""
    models = list_models(results)
    several = len({row["audio_context"] for row in results}) > 1
    return [
        Series(
            label=shorten(row["model"]) + (f" · {row['audio_context']}" if several else ""),
            number=models.index(row["model"]),
            is_dynamic=row["audio_context"] == "dynamic",
            row=row,
        )
        for row in rows
    ]


def find_baseline(results: Sequence[dict], analysis: dict | None) -> str | None:
    """The model that the others are held against; None where there is one model alone."""
    if analysis and analysis.get("comparisons"):
        return analysis["comparisons"][0]["baseline"]
    models = list_models(results)
    return models[0] if len(models) > 1 else None


def list_candidates(results: Sequence[dict], analysis: dict | None) -> list[str]:
    """Every model but the baseline, in the order of the analysis: the most promising first.

    A model that stands alone is its own candidate.
    """
    ranked: list[str] = (analysis or {}).get("candidates", [])
    others = [model for model in list_models(results) if model != find_baseline(results, analysis)]
    return [*ranked, *(model for model in others if model not in ranked)] or list_models(results)[:1]


def find_row(
    results: Sequence[dict], model: str | None, dataset: tuple[str, str], context: str = "full"
) -> dict | None:
    """A model's row on a dataset in a context, else in the one it was decoded in."""
    rows = [row for row in rows_of(results, dataset) if row["model"] == model]
    ranked = sorted(rows, key=lambda row: (row["audio_context"] != context, row["audio_context"] != "full"))
    return ranked[0] if ranked else None


def shorten(name: str, length: int = LONGEST_NAME) -> str:
    """The end of a long name."""
    return name if len(name) <= length else "…" + name[1 - length :]


def is_known(rate: float | None) -> bool:
    """Whether a rate is a number: nothing can be said of references without words."""
    return rate is not None and math.isfinite(rate)


def known_interval(score: dict) -> tuple[float, float] | None:
    """The 95 % interval of a score."""
    low, high = score.get("ci95") or (math.nan, math.nan)
    return (low, high) if is_known(low) and is_known(high) else None


def rate_for_order(one: Series, group: dict | None) -> float:
    """The normalised rate of a group by which it is sorted; 0 where it is not known."""
    rate = one.rate(group["normalized"]) if group else None
    return rate if rate is not None and is_known(rate) else 0.0


def in_percent(rate: float | None, unit: str = "") -> str:
    """A rate with one decimal, or a dash where it is not known."""
    return "–" if rate is None or not is_known(rate) else f"{100 * rate:.1f}{unit}"


def interval_in_percent(score: dict) -> str:
    """The 95 % interval of a score."""
    interval = known_interval(score)
    return "–" if interval is None else f"{in_percent(interval[0])} to {in_percent(interval[1])}"


def in_time(seconds: float) -> str:
    """A length in the unit that suits it."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
