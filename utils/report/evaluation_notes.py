"""What an evaluation page says of how its figures were made."""

from collections.abc import Mapping, Sequence

from utils.report.page import Html, tag
from utils.report.result_rows import shorten

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


def notes_section(results: Sequence[dict], analysis: dict | None) -> Html:
    """What the rates, the intervals and the contexts mean."""
    notes = [
        (
            "Rates",
            "WER is words substituted (sub), inserted (ins) and deleted (del) over the words of the "
            "references, summed over all clips; it can exceed 100 %. CER counts characters in the same way. "
            "MER is the share of words that do not match, WIL the share of word information that is lost.",
        ),
        ("Texts", _text_words(results)),
        ("Intervals", _interval_words(results, analysis)),
        ("Audio context", _context_words(results)),
        *_loop_note(results),
        (
            "Times real time",
            "Seconds of audio for each second of decoding on this computer, loading of the model left out.",
        ),
    ]
    unknown = {(row["model"], code) for row in results for code in row.get("detected_languages") or ()}
    if unknown:
        found = ", ".join(f"{shorten(model)}: {code}" for model, code in sorted(unknown))
        words = f"Languages that a model has no token for, so that it chose one by itself: {found}."
        notes.append(("Languages", words))
    if any(row.get("is_guard") for row in results):
        words = "Guard datasets hold what a model must not forget: languages or domains it was not tuned on."
        notes.append(("Guard", words))
    content = [part for term, words in notes for part in (tag("dt", term), tag("dd", words))]
    return tag("dl", *content, class_="notes")


def _loop_note(results: Sequence[dict]) -> list[tuple[str, str]]:
    """Of the suite's own decoding alone; the other backends and sequential long form cut nothing short."""
    if not any(row.get("backend", "transformers") == "transformers" for row in results):
        return []
    words = (
        "The transformers backend cuts a hypothesis short that repeats itself, but not in sequential long "
        "form. Its words up to there count as errors, so a model that loops looks better than where nothing "
        "stops it."
    )
    return [("Loops", words)]


def _text_words(results: Sequence[dict]) -> str:
    names = dict.fromkeys(row["normalizer"] for row in results)
    normalizers = "; ".join(NORMALIZERS.get(name, f"the {name} normaliser") for name in names)
    return (
        f"Raw text is compared as it is written, so case and punctuation count. Normalised text went through "
        f"{normalizers}."
    )


def _interval_words(results: Sequence[dict], analysis: dict | None) -> str:
    scores = [row[text] for row in results for text in ("normalized", "raw")]
    units = dict.fromkeys(score["ci95_unit"] for score in scores if score.get("ci95_unit"))
    drawn = " and ".join(UNITS.get(unit, unit) for unit in units)
    words = "95 % intervals come from a bootstrap: the data set is drawn again and again from itself"
    words += f", by {drawn}. " if drawn else ". "
    tests = dict.fromkeys(row["test"] for row in (analysis or {}).get("comparisons", ()))
    if tests:
        words += (
            f"Models are compared on the same clips by this test: {', '.join(tests)}. p is how often a "
            "difference as large would show between two equal models."
        )
    return words


def _context_words(results: Sequence[dict]) -> str:
    contexts = {row["audio_context"] for row in results}
    words = {
        "full": "The full context pads every clip to 30 seconds, as every other runtime does",
        "dynamic": "the dynamic context ends behind the clip, with the silence up to 30 seconds condensed or "
        "left out, as the model was tuned, which is faster",
    }
    found = [words[name] for name in words if name in contexts]
    text = "; ".join(found)
    return text[0].upper() + text[1:] + "."
