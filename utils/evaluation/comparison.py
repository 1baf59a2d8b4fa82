"""Compare models with the baseline, rank them, and write a verdict in words."""

import dataclasses
from collections.abc import Collection, Sequence
from typing import TypeVar

from utils.evaluation.records import EvaluationResult, ModelComparison, ScoredDecoding
from utils.scoring.error_rates import TEXT_FORMS
from utils.scoring.model_comparison import compare

Row = TypeVar("Row")


def compare_models(
    scored: Sequence[ScoredDecoding], bootstrap_samples: int, seed: int
) -> list[ModelComparison]:
    """Compare every model with the first one, for each dataset, context and form of the text."""
    if not scored:
        return []
    baseline_model = scored[0].decoding.model
    by_key = {(s.decoding.model, s.result.dataset, s.decoding.audio_context): s for s in scored}
    comparisons = []
    for candidate in scored:
        if candidate.decoding.model == baseline_model:
            continue
        baseline = find_baseline(by_key, baseline_model, candidate.result)
        if baseline is None:
            continue
        for text in TEXT_FORMS:
            outcome = compare(
                baseline.measured(text),
                candidate.measured(text),
                bootstrap_samples,
                seed,
                candidate.clusters,
                (baseline.alignments[text], candidate.alignments[text]),
            )
            row = candidate.result
            compared = (baseline_model, row.model, row.dataset, row.split, text, row.audio_context)
            comparisons.append(ModelComparison(*compared, **dataclasses.asdict(outcome)))
    return comparisons


def find_baseline(
    by_key: dict[tuple[str, str, str], Row], baseline_model: str, candidate: EvaluationResult
) -> Row | None:
    """Find the baseline's row with which a candidate's row is compared.

    It has the same context, or the full one if there is no such row.
    """
    same = by_key.get((baseline_model, candidate.dataset, candidate.audio_context))
    return same or by_key.get((baseline_model, candidate.dataset, "full"))


def write_verdict(
    results: Sequence[EvaluationResult],
    comparisons: Sequence[ModelComparison],
    promoted: Collection[str] = (),
) -> str:
    """Write a sentence about the best candidate by `rank_candidates`. It has a part for each dataset."""
    ranked = rank_candidates(results, comparisons, promoted)
    if not ranked:
        return "There is nothing to compare."
    by_key = {(r.model, r.dataset, r.audio_context): r for r in results}
    rows = [c for c in _in_deciding_contexts(comparisons) if c.candidate == ranked[0]]
    clauses = [_verdict_clause(c, by_key) for c in rows]
    opening = f"Best of {len(ranked)} candidates: " if len(ranked) > 1 else ""
    return opening + "; ".join(clauses) + "."


def rank_candidates(
    results: Sequence[EvaluationResult],
    comparisons: Sequence[ModelComparison],
    promoted: Collection[str] = (),
) -> list[str]:
    """Rank the candidates, the best first.

    Promoted ones come before others. Among these, a larger reduction of the normalised rate is better. The
    reduction is summed over all datasets except guards.
    """
    guards = {(r.dataset, r.split) for r in results if r.is_guard}
    rows = _in_deciding_contexts(comparisons)
    gains = {c.candidate: 0.0 for c in rows}
    for c in rows:
        if (c.dataset, c.split) not in guards:
            gains[c.candidate] += c.wer_reduction
    return sorted(gains, key=lambda name: (name not in promoted, -gains[name]))


def _in_deciding_contexts(comparisons: Sequence[ModelComparison]) -> list[ModelComparison]:
    """Return comparisons of normalised text.

    They are in the full context if it was decoded, because other programs use it.
    """
    rows = [c for c in comparisons if c.text == "normalized"]
    in_full = {(c.candidate, c.dataset, c.split) for c in rows if c.audio_context == "full"}
    return [c for c in rows if c.audio_context == "full" or (c.candidate, c.dataset, c.split) not in in_full]


def _verdict_clause(comparison: ModelComparison, by_key: dict[tuple[str, str, str], EvaluationResult]) -> str:
    after = by_key[comparison.candidate, comparison.dataset, comparison.audio_context]
    before = find_baseline(by_key, comparison.baseline, after)
    assert before is not None  # it was compared
    low, high = comparison.ci95
    if not comparison.is_significant:
        finding = "is not shown to differ from"
    elif comparison.wer_reduction > 0:
        finding = f"makes {100 * comparison.relative_reduction:.0f} % fewer errors than"
    else:
        finding = f"makes {-100 * comparison.relative_reduction:.0f} % more errors than"
    where = f"{comparison.dataset} ({comparison.split}, {comparison.audio_context} context)"
    old, new = (result.rate(result.normalized) for result in (before, after))
    rates = f"{100 * old:.1f} % before and {100 * new:.1f} % after"
    measure = after.measure.upper()
    return (
        f"{comparison.candidate} {finding} {comparison.baseline} on {where}: normalised {measure} {rates}, "
        f"a reduction of {100 * comparison.wer_reduction:.1f} points with a 95 % interval from "
        f"{100 * low:.1f} to {100 * high:.1f}"
    )
