"""What an evaluation page says of how its figures were made."""

from collections.abc import Mapping, Sequence

from utils.evaluation.records import RATES, Analysis, EvaluationResult
from utils.report.labels import shorten
from utils.report.page import Html, tag

NORMALIZERS: Mapping[str, str] = {
    "basic": "Whisper's basic normaliser: lower case, no punctuation",
    "english": "Whisper's English normaliser: lower case, no punctuation, one spelling of words and numbers",
    "script-safe": "the script-safe normaliser: lower case, no punctuation, vowel signs of every script kept",
}

UNITS: Mapping[str, str] = {
    "speaker": "speakers (all clips of a speaker are drawn together)",
    "recording": "recordings (all clips of a recording are drawn together)",
    "utterance": "utterances (fewer than 20 speakers or recordings are known; as the clips of one speaker "
    "are alike, the truth may lie outside more often than one time in twenty)",
}


CONTEXTS: Mapping[str, str] = {
    "full": "the full context pads every clip to 30 seconds, as every other runtime does",
    "dynamic": "the dynamic context ends behind the clip, with the silence up to 30 seconds condensed or "
    "left out, as the model was tuned, which is faster",
}

# the other backends, and sequential long form, cut nothing short
LOOPS = (
    "The transformers backend cuts a hypothesis short that repeats itself, but not in sequential long form. "
    "Its words up to there count as errors, so a model that loops looks better than where nothing stops it."
)


def notes_section(results: Sequence[EvaluationResult], analysis: Analysis | None) -> Html:
    """What the rates, the intervals and the contexts mean."""
    notes = [
        ("Rates", " ".join(f"{name.upper()} is {words}." for name, words in RATES.items())),
        ("Texts", _text_words(results)),
        ("Intervals", _interval_words(results, analysis)),
        ("Audio context", _context_words(results)),
        *([("Loops", LOOPS)] if any(result.backend == "transformers" for result in results) else []),
        (
            "Times real time",
            "Seconds of audio for each second of decoding on this computer, loading of the model left out.",
        ),
    ]
    unknown = {(result.model, code) for result in results for code in result.detected_languages}
    if unknown:
        found = ", ".join(f"{shorten(model)}: {code}" for model, code in sorted(unknown))
        words = f"Languages that a model has no token for, so that it chose one by itself: {found}."
        notes.append(("Languages", words))
    if any(result.is_guard for result in results):
        words = "Guard datasets hold what a model must not forget: languages or domains it was not tuned on."
        notes.append(("Guard", words))
    content = [part for term, words in notes for part in (tag("dt", term), tag("dd", words))]
    return tag("dl", *content, class_="notes")


def _text_words(results: Sequence[EvaluationResult]) -> str:
    normalizers = "; ".join(dict.fromkeys(NORMALIZERS[result.normalizer] for result in results))
    return (
        f"Raw text is compared as it is written, so case and punctuation count. Normalised text went through "
        f"{normalizers}."
    )


def _interval_words(results: Sequence[EvaluationResult], analysis: Analysis | None) -> str:
    scores = [score for result in results for score in (result.normalized, result.raw)]
    drawn = " and ".join(dict.fromkeys(UNITS[score.ci95_unit] for score in scores))
    words = (
        "95 % intervals come from a bootstrap: the data set is drawn again and again from itself, "
        f"by {drawn}. "
    )
    if analysis:
        tests = ", ".join(dict.fromkeys(comparison.test for comparison in analysis.comparisons))
        words += (
            f"Models are compared on the same clips by this test: {tests}. p is how often a "
            "difference as large would show between two equal models."
        )
    return words


def _context_words(results: Sequence[EvaluationResult]) -> str:
    contexts = {result.audio_context for result in results}
    text = "; ".join(words for name, words in CONTEXTS.items() if name in contexts)
    return text[0].upper() + text[1:] + "."
