"""Is one model better than another? The matched-pairs sentence-segment word error test (MAPSSWE)."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import mean, stdev

BOUNDARY_WORDS = (
    2  # words in a row that both models got right, and after which errors are taken for independent
)


@dataclass(frozen=True)
class SegmentTest:
    """The test's outcome, named as NIST's sc_stats prints it."""

    num_segments: int
    mean: float  # errors that the baseline makes more than the candidate, per segment
    standard_deviation: float
    z: float
    p_value: float  # two-sided


def find_segments(baseline: Sequence[str], candidate: Sequence[str]) -> list[tuple[int, int]]:
    """The stretches of one utterance in which either model errs, apart by at least two words right in both.

    Args:
        baseline: The operations of an alignment: `equal`, `substitute`, `delete`, `insert`.
        candidate: The same for the other model's hypothesis of the same reference.

    Returns:
        Errors of both models in each segment; never both 0.

    Raises:
        ValueError: The two references differ in length.
    """
    first, second = _errors_by_place(baseline), _errors_by_place(candidate)
    if len(first) != len(second):
        raise ValueError("Baseline and candidate were not aligned with the same reference.")
    segments: list[tuple[int, int]] = []
    right = BOUNDARY_WORDS  # the start of an utterance bounds like words that are right
    for place, errors in enumerate(zip(first, second, strict=True)):
        if any(errors):
            if right >= BOUNDARY_WORDS:
                segments.append((0, 0))
            segments[-1] = segments[-1][0] + errors[0], segments[-1][1] + errors[1]
            right = 0
        else:
            right += place % 2
    return segments


def _errors_by_place(operations: Iterable[str]) -> list[int]:
    """Errors between the reference words, at even places, and in them, at odd ones."""
    errors = [0]
    for operation in operations:
        if operation == "insert":
            errors[-1] += 1
        else:
            errors += [int(operation != "equal"), 0]
    return errors


def mapsswe(baseline: Iterable[Sequence[str]], candidate: Iterable[Sequence[str]]) -> SegmentTest:
    """Whether two models make different numbers of errors, tested on the segments in which either errs.

    After Gillick and Cox, "Some statistical issues in the comparison of speech recognition algorithms"
    (ICASSP 1989), and Pallett, Fisher and Fiscus, "Tools for the analysis of benchmark speech recognition
    tests" (ICASSP 1990); the same figures as `sc_stats -t mapsswe`, whose p-value is rounded to a table.
    The mean difference over its standard error is taken for normal, which wants some 50 segments.

    In one case sc_stats does worse: where the difference is the same in every segment, it sees no deviation
    and finds nothing, even if the candidate is better in each of a thousand. Here that is a sign test.

    Args:
        baseline: The operations of each utterance's alignment.
        candidate: The same for the other model, in the same order.
    """
    pairs = zip(baseline, candidate, strict=True)
    differences = [a - b for pair in pairs for a, b in find_segments(*pair)]
    if not differences or not any(differences):
        return SegmentTest(len(differences), 0.0, 0.0, 0.0, 1.0)
    average = mean(differences)
    deviation = stdev(differences) if len(differences) > 1 else 0.0
    if deviation == 0:
        sign_test = min(1.0, 2 * 0.5 ** len(differences))
        return SegmentTest(len(differences), average, 0.0, math.copysign(math.inf, average), sign_test)
    z = average / (deviation / math.sqrt(len(differences)))
    return SegmentTest(len(differences), average, deviation, z, math.erfc(abs(z) / math.sqrt(2)))
