"""Results of an evaluation made by hand, that pages, plots and tables are drawn of."""

from dataclasses import replace

from tests.support.pages import HOSTILE, RIGHT_TO_LEFT, tone
from tests.support.scored_results import BASE as UNTUNED
from tests.support.scored_results import TERMS
from utils.evaluation.records import (
    Analysis,
    EvaluationResult,
    Gate,
    GroupScore,
    MadeUpWords,
    ModelComparison,
    Prediction,
    TextScore,
)
from utils.report.learning_curve import LearningCurve
from utils.scoring.failures import FAILURE_KINDS
from utils.scoring.term_scores import TermCounts
from utils.scoring.word_alignment import Confusion, Edit

BASE, TUNED = "openai/whisper-base", "runs/it/best"

METRICS = [
    {"step": 10, "loss": 1.5},
    {"step": 20, "loss": 0.5},
    {"step": 20, "eval_wer": 0.3, "eval_normalized_wer": 0.2, "eval_utterances": 58},
    {"step": 30, "loss": None},
    {"step": 40, "loss": 0.25},
    {"step": 40, "eval_wer": 0.31, "eval_normalized_wer": 0.15, "eval_utterances": 58},
]
CURVE = LearningCurve(
    TUNED, [(10, 1.5), (20, 0.5), (40, 0.25)], [(20, 0.2), (40, 0.15)], [(20, 0.3), (40, 0.31)]
)


def score(wer: float) -> TextScore:
    return TextScore(
        wer=wer,
        cer=wer / 3,
        mer=0.9 * wer,
        wil=1.2 * wer,
        num_words=1000,
        substitutions=120,
        insertions=31,
        deletions=17,
        ci95=(wer - 0.03, wer + 0.04),
        ci95_unit="utterance",
    )


def group(wer: float, clips: int = 40) -> GroupScore:
    return GroupScore(clips, 3.0 * clips, raw=score(wer + 0.1), normalized=score(wer))


def failures(**counts: int) -> dict[str, int]:
    """Utterances by kind, which are written with an underline here; 0 of the others."""
    return dict.fromkeys(FAILURE_KINDS, 0) | {kind.replace("_", " "): count for kind, count in counts.items()}


def build_result(model: str = BASE, wer: float = 0.303, **changes) -> EvaluationResult:
    """One row of evaluation_results.json."""
    is_base = model == BASE
    silence = MadeUpWords(clips=20, clips_with_text=6, words=30 if is_base else 0, audio_seconds=200.0)
    result = replace(
        UNTUNED,
        model=model,
        raw=score(wer + 0.15),
        normalized=score(wer),
        groups={
            "accent": {"napoletano": group(wer + 0.2), "toscano": group(wer - 0.05), "ligure": group(wer, 4)},
            "duration": {
                "0 to 2 s": group(wer + 0.1),
                "2 to 5 s": group(wer),
                "5 to 10 s": group(wer - 0.02),
            },
        },
        confusions=[
            Confusion("anche", "anke", 9 if is_base else 4),
            Confusion(None, "grazie", 7),
            Confusion("ehm", None, 3),
        ],
        failures=failures(loop=2 if is_base else 0, truncated=5),
        error_causes={"insertion": 31, "other": 137},
        hallucination={"silence": silence, "noise": replace(silence, words=4)},
        total_parameters=72_593_920,
    )
    return replace(result, **changes)


def build_results() -> list[EvaluationResult]:
    """A baseline, a tuned model in both contexts, and a guard dataset."""
    english = {"dataset": "data/en", "is_guard": True, "groups": {}, "hallucination": None}
    return [
        build_result(),
        build_result(TUNED, 0.116),
        build_result(TUNED, 0.125, audio_context="dynamic"),
        build_result(wer=0.067, **english),
        build_result(TUNED, 0.071, **english),
    ]


def build_comparison(**changes) -> ModelComparison:
    comparison = ModelComparison(
        baseline=BASE,
        candidate=TUNED,
        dataset="data/it",
        split="test",
        text="normalized",
        audio_context="full",
        wer_reduction=0.187,
        relative_reduction=0.617,
        ci95=(0.14, 0.23),
        test="MAPSSWE",
        p_value=0.0004,
        wins=60,
        losses=5,
        ties=74,
    )
    return replace(comparison, **changes)


def build_analysis(promote: bool = True) -> Analysis:
    reasons = [] if promote else ["English was forgotten.", "It loops on silence."]
    gate = Gate(TUNED, promote, reasons, ["The error rate fell."])
    return Analysis([build_comparison()], [gate], [TUNED], "It got better on data/it.")


def build_prediction(number: int, model: str, errors: int, **changes) -> Prediction:
    """A line of predictions.jsonl: `errors` of its six words are others."""
    words = [f"parola{number}", "due", "tre", "quattro", "cinque", "sei"]
    edits = [
        Edit("substitute", word, f"{word}x") if place < errors else Edit("equal", word, word)
        for place, word in enumerate(words)
    ]
    prediction = Prediction(
        model=model,
        dataset="data/it",
        audio_context="full",
        id=f"clip {number}",
        reference=" ".join(words).capitalize() + ".",
        hypothesis=" ".join(str(edit.hypothesis) for edit in edits),
        raw_word_errors=errors,
        normalized_word_errors=errors,
        measure="wer",
        normalized_errors=errors,
        duration=2.5,
        alignment=edits,
        failures=[],
    )
    return replace(prediction, **changes)


def build_predictions(count: int = 6) -> list[Prediction]:
    """The tuned model gains 2 words on even clips, and loses 1 on odd ones."""
    before = [build_prediction(n, BASE, 3) for n in range(count)]
    return before + [build_prediction(n, TUNED, 1 if n % 2 == 0 else 4) for n in range(count)]


def hostile_inputs() -> tuple:
    """Foreign text wherever it can stand: results, analysis, predictions, clips, curves."""
    strange = {"accent": {HOSTILE: group(0.3), RIGHT_TO_LEFT: group(0.2)}, HOSTILE: {"a": group(0.1)}}
    more = {"groups": strange, "confusions": [Confusion(HOSTILE, RIGHT_TO_LEFT, 3)], "dataset": HOSTILE}
    more |= {"detected_languages": [HOSTILE], "split": HOSTILE, "failures": failures(loop=2)}
    more |= {"terms": replace(TERMS, by_term={HOSTILE: TermCounts(2, 1, 1)})}
    results = [build_result(wer=0.3, **more), build_result(HOSTILE, 0.2, backend=HOSTILE, **more)]
    where = {"dataset": HOSTILE, "split": HOSTILE}
    comparison = build_comparison(candidate=HOSTILE, test=HOSTILE, **where)
    gate = Gate(HOSTILE, False, reasons=[HOSTILE], passed=[HOSTILE])
    analysis = Analysis([comparison], [gate], [HOSTILE], HOSTILE)
    words = [
        Edit("equal", HOSTILE, HOSTILE),
        Edit("insert", None, RIGHT_TO_LEFT),
        Edit("delete", HOSTILE, None),
    ]
    line = {"id": HOSTILE, "dataset": HOSTILE, "reference": RIGHT_TO_LEFT, "hypothesis": HOSTILE}
    line |= {"alignment": words, "failures": [HOSTILE]}
    predictions = [build_prediction(1, BASE, 1, **line), build_prediction(1, HOSTILE, 2, **line)]
    curves = [replace(CURVE, model=HOSTILE), replace(CURVE, model=BASE)]
    return results, analysis, predictions, lambda *_: tone(1), curves
