"""What is made of several models' scores: comparisons, gates, a ranking and a verdict."""

from collections.abc import Sequence

from utils.evaluation.comparison import compare_models, rank_candidates, write_verdict
from utils.evaluation.gate import gate_sentence, judge
from utils.evaluation.records import Analysis, ScoredDecoding


def analyse(
    scored: Sequence[ScoredDecoding], *, bootstrap_samples: int, seed: int, guard_tolerance: float
) -> Analysis:
    """Hold every later model against the first.

    Args:
        scored: All decodings, the baseline's first.
        bootstrap_samples: Resamplings behind each interval.
        seed: Of the draws.
        guard_tolerance: By how much the WER of a guard dataset may rise, as a fraction.
    """
    results = [item.result for item in scored]
    comparisons = compare_models(scored, bootstrap_samples, seed)
    gates = judge(results, comparisons, guard_tolerance=guard_tolerance)
    promoted = [gate.candidate for gate in gates if gate.promote]
    verdict = [write_verdict(results, comparisons, promoted), *map(gate_sentence, gates)]
    candidates = rank_candidates(results, comparisons, promoted)
    return Analysis(comparisons, gates, candidates, " ".join(verdict))
