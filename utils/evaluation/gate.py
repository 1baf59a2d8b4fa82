"""Decide whether to promote a model, and give reasons. Compare all models."""

from collections.abc import Sequence

from utils.evaluation.comparison import compare_models, find_baseline, rank_candidates, write_verdict
from utils.evaluation.records import (
    FEWEST_UTTERANCES,
    SIGNIFICANT,
    Analysis,
    EvaluationResult,
    Gate,
    ModelComparison,
    ScoredDecoding,
)
from utils.scoring import failures

MORE_FAILURES = 0.01  # share of the utterances by which a kind of failure may increase

GRAVE = (
    failures.LOOP,
    failures.INSERTION_RUN,
    failures.TRUNCATED,
    failures.WRONG_LANGUAGE,
    failures.WRONG_SCRIPT,
)

MORE_FORM_LOST = 0.2  # the same for lost capitals or lost punctuation

FORM = (failures.NO_CASING, failures.NO_PUNCTUATION)

MORE_WORDS_PER_MINUTE = 5.0  # invented words in silence, noise or music


Finding = tuple[bool, str]  # whether it is in favour of the candidate, and a sentence


def judge(
    results: Sequence[EvaluationResult], comparisons: Sequence[ModelComparison], *, guard_tolerance: float
) -> list[Gate]:
    """Return a decision (`Gate`) for every model except the first, which is the baseline.

    A candidate is promoted if three things hold in the full context. It makes significantly fewer normalised
    word errors on every dataset, its WER rises on no guard by more than the tolerance, and no kind of failure
    is new. A model whose training used the test data is never promoted.

    Args:
        results: Results of all models.
        comparisons: Each candidate compared with the baseline.
        guard_tolerance: By how much the WER of a guard dataset may rise, as a fraction.
    """
    models = list(dict.fromkeys(result.model for result in results))
    by_key = {(result.model, result.dataset, result.audio_context): result for result in results}
    gates = []
    for candidate in models[1:]:
        findings = []
        for row in comparisons:
            if row.candidate != candidate or row.text != "normalized":
                continue
            after = by_key[candidate, row.dataset, row.audio_context]
            before = find_baseline(by_key, models[0], after)
            assert before is not None  # it was compared
            if after.is_guard:
                findings.append(_judge_guard(before, after, row, guard_tolerance))
            else:
                findings.append(_judge_errors(before, after, row))
            findings += _judge_failures(before, after) + _judge_made_up_words(before, after)
        findings += _judge_contexts([r for r in results if r.model == candidate and not r.is_guard])
        findings += [(False, text) for r in results if r.model == candidate for text in r.warnings]
        findings = list(dict.fromkeys(findings))  # made-up words are the same for every dataset
        reasons = [sentence for is_good, sentence in findings if not is_good]
        passed = [sentence for is_good, sentence in findings if is_good]
        gates.append(Gate(candidate, bool(passed) and not reasons, reasons, passed))
    return gates


def _judge_contexts(results: Sequence[EvaluationResult]) -> list[Finding]:
    """Check that the full context was decoded, because every other program uses it."""
    decoded = {(result.dataset, result.split) for result in results if result.audio_context == "full"}
    lacking = dict.fromkeys((r.dataset, r.split) for r in results if (r.dataset, r.split) not in decoded)
    why = "not decoded in the full context, which every other runtime uses; --audio_context auto does both."
    return [(False, f"{dataset} ({split}): {why}") for dataset, split in lacking]


def _judge_errors(before: EvaluationResult, after: EvaluationResult, comparison: ModelComparison) -> Finding:
    """Check that there are significantly fewer errors.

    In the dynamic context, check only that there are not more.
    """
    rates = _rates(before, after)
    if comparison.has_too_few:
        return (
            False,
            f"{_where(after)}: {after.num_utterances} utterances are too few to tell a gain from chance, "
            f"{rates}; expected at least {FEWEST_UTTERANCES}; a hundred are better.",
        )
    if comparison.is_significant and comparison.wer_reduction > 0:
        return (True, f"{_where(after)}: fewer errors, {rates}, p = {comparison.p_value:.2g}.")
    if comparison.is_significant:
        return (False, f"{_where(after)}: more errors, {rates}, p = {comparison.p_value:.2g}.")
    return (
        after.audio_context != "full",
        f"{_where(after)}: not shown to make fewer errors, {rates}, {_doubt(comparison)}; "
        "use more test data, or train more.",
    )


def _judge_guard(
    before: EvaluationResult, after: EvaluationResult, comparison: ModelComparison, tolerance: float
) -> Finding:
    """Check whether a guard became worse by more than is allowed, and more than chance would explain."""
    rates, increase = _rates(before, after), -comparison.wer_reduction
    where = f"{_where(after)}, a guard"
    if increase <= tolerance:
        return (True, f"{where}: kept, {rates}.")
    if comparison.is_significant:
        allowed = f"{100 * tolerance:.1f} points were allowed"
        return (False, f"{where}: forgotten, {rates}; {allowed}, p = {comparison.p_value:.2g}.")
    return (True, f"{where}: {rates}, which may be chance ({_doubt(comparison)}); use a larger set.")


def _doubt(comparison: ModelComparison) -> str:
    """Return why a difference is not significant.

    This is the p-value of the test, or the interval if the p-value is small.
    """
    if comparison.p_value >= SIGNIFICANT:
        return f"p = {comparison.p_value:.2g}"
    low, high = (100 * bound for bound in comparison.ci95)
    return f"a reduction of {low:.1f} to {high:.1f} points at 95 %"


def _judge_failures(before: EvaluationResult, after: EvaluationResult) -> list[Finding]:
    """Find the kinds of failure that became more frequent, and failures of the decoder."""
    found = []
    allowed = dict.fromkeys(GRAVE, MORE_FAILURES) | dict.fromkeys(FORM, MORE_FORM_LOST)
    for kind, share in allowed.items():
        old, new = _failure_share(before, kind), _failure_share(after, kind)
        if new - old > share:
            meaning = failures.FAILURE_KINDS[kind]
            counts = f"{after.failures[kind]} of {after.num_utterances} utterances"
            found.append(
                (False, f"{_where(after)}: {kind} ({meaning}) in {counts}, before {before.failures[kind]}.")
            )
    # the baseline's too: a failed clip's words count as its errors
    for whose, result in (("the decoder", after), ("the baseline's decoder", before)):
        if result.failures.get(failures.DECODER_ERROR):
            counts = f"{result.failures[failures.DECODER_ERROR]} of {result.num_utterances} utterances"
            found.append((False, f"{_where(after)}: {whose} failed on {counts}."))
    return found


def _failure_share(result: EvaluationResult, kind: str) -> float:
    return result.failures.get(kind, 0) / max(result.num_utterances, 1)


def _judge_made_up_words(before: EvaluationResult, after: EvaluationResult) -> list[Finding]:
    """Compare how many words the models invent in silence, noise and music."""
    if not before.hallucination or not after.hallucination:
        return []
    found = []
    for kind, sound in after.hallucination.items():
        if sound.errors or before.hallucination[kind].errors:
            earlier = before.hallucination[kind].errors
            failed = f"the decoder failed on {sound.errors} clips, with the model before on {earlier}"
            found.append((False, f"{after.audio_context} context: {kind}, {failed}."))
        old, new = before.hallucination[kind].words_per_minute, sound.words_per_minute
        if new - old > MORE_WORDS_PER_MINUTE:
            rates = f"{new:.0f} words a minute, before {old:.0f}"
            found.append((False, f"{after.audio_context} context: made-up words in {kind}, {rates}."))
    return found


def _rates(before: EvaluationResult, after: EvaluationResult) -> str:
    """Return the normalised WER or CER of both models."""
    old, new = (result.rate(result.normalized) for result in (before, after))
    return f"{100 * old:.1f} → {100 * new:.1f} % {after.measure.upper()}"


def _where(result: EvaluationResult) -> str:
    return f"{result.dataset} ({result.split}), {result.audio_context} context"


def gate_sentence(gate: Gate) -> str:
    """Return the gate as a sentence, such as `Do not promote runs/it/best: …`."""
    if gate.promote:
        return f"Promote {gate.candidate}."
    return f"Do not promote {gate.candidate}: {' '.join(gate.reasons) or 'it was not compared.'}"


def analyse(
    scored: Sequence[ScoredDecoding], *, bootstrap_samples: int, seed: int, guard_tolerance: float
) -> Analysis:
    """Compare every later model with the first.

    Args:
        scored: All decodings. Those of the baseline come first.
        bootstrap_samples: Number of resamples for each interval.
        seed: Seed of the resampling.
        guard_tolerance: By how much the WER of a guard dataset may rise, as a fraction.
    """
    results = [item.result for item in scored]
    comparisons = compare_models(scored, bootstrap_samples, seed)
    gates = judge(results, comparisons, guard_tolerance=guard_tolerance)
    promoted = [gate.candidate for gate in gates if gate.promote]
    verdict = [write_verdict(results, comparisons, promoted), *map(gate_sentence, gates)]
    candidates = rank_candidates(results, comparisons, promoted)
    return Analysis(comparisons, gates, candidates, " ".join(verdict))
