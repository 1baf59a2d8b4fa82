"""The head of a model card: the fields that the Hub reads, with results as its model index."""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from utils.data.delivery.cards import iso_languages
from utils.scoring.error_rates import METRIC_LABELS
from utils.training.card_facts import DatasetFacts, ModelFacts
from utils.training.held_out import HeldOutReport, HeldOutScores

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

ASR = "automatic-speech-recognition"

_CHOSE = ", on the split that chose the model"

_LANGUAGE = re.compile(r"[a-z]{2,3}(-[a-z0-9]{2,8})?")

_Rates = Mapping[tuple[str, str], tuple[float, dict[str, str]]]  # fraction and details by metric and name


def build_model_head(
    facts: ModelFacts, *, report: HeldOutReport | None, license: str | None, tags: Sequence[str] = ()
) -> dict:
    """Return the fields of the head. Nothing in them is a path of this machine."""
    from huggingface_hub import ModelCardData

    results = _eval_results(facts, report)
    adapter = facts.adapter
    codes = [code for code in facts.languages if _LANGUAGE.fullmatch(code)]
    data = ModelCardData(
        language=iso_languages(codes) or None,
        license=license,
        library_name="peft" if adapter else "transformers",
        pipeline_tag=ASR,
        base_model=facts.base_model,
        base_model_relation=facts.relation(adapter is not None) if facts.base_model else None,
        datasets=list(dict.fromkeys(data.hub_id for data in facts.datasets if data.hub_id)) or None,
        metrics=["wer", "cer"],
        tags=[*tags, "whisper", "audio", "hf-asr-leaderboard", *([adapter] if adapter else [])],
        model_name=model_title(facts) if results else None,
        eval_results=results or None,
    )
    return data.to_dict()


def model_title(facts: ModelFacts) -> str:
    """Return a name such as `Whisper base Italian`."""
    base = (facts.base_model or "whisper").rpartition("/")[2]
    words = re.sub(r"[-_.]+", " ", base).strip()
    names = [language_name(code) for code in facts.languages]
    spoken = f" {' and '.join(names)}" if 0 < len(names) < 3 else " multilingual" if names else ", fine-tuned"
    return f"{words[:1].upper()}{words[1:]}{spoken}"


def language_name(code: str) -> str:
    """Return the English name of one of Whisper's languages. For others, return the code."""
    from transformers.models.whisper.tokenization_whisper import LANGUAGES

    return LANGUAGES.get(code, code).title() if code in LANGUAGES else code


def _eval_results(facts: ModelFacts, report: HeldOutReport | None) -> "list[EvalResult]":
    """Return the results for the head, in percent. Without a test, those on validation are given."""
    if report and report.own:
        return [
            result
            for scores in report.own
            for result in _results_of(scores.data, scores.split, _rates_in_percent(scores, facts.eval_split))
        ]
    if len(facts.datasets) != 1 or not facts.validation:
        return []
    rates: _Rates = {
        (name.partition("_")[2], f"{METRIC_LABELS[name]}{_CHOSE}"): (value, {})
        for name, value in facts.validation.items()
    }
    return _results_of(facts.datasets[0], facts.eval_split, rates)


def _rates_in_percent(scores: HeldOutScores, eval_split: str) -> _Rates:
    """Return each rate with its details, by metric and name.

    The name says if the model was chosen on this split.
    """
    chose = _CHOSE if scores.split == eval_split else ""
    rates: dict[tuple[str, str], tuple[float, dict[str, str]]] = {}
    forms = {"normalised": (scores.normalized, scores.normalized_ci95), "raw": (scores.raw, scores.raw_ci95)}
    for form, (values, interval) in forms.items():
        for metric in ("wer", "cer"):
            details = {"audio_context": scores.audio_context}
            if form == "normalised":
                details["normalizer"] = scores.normalizer
            if metric == scores.measure:
                low, high = interval
                details["ci95"] = f"{100 * low:.2f} to {100 * high:.2f}"
            name = f"{metric.upper()}, {form}, {scores.audio_context} context{chose}"
            rates[metric, name] = (values[metric], details)
    return rates


def _results_of(data: DatasetFacts, split: str, rates: _Rates) -> "list[EvalResult]":
    from huggingface_hub import EvalResult

    return [
        EvalResult(
            task_type=ASR,
            task_name="Automatic Speech Recognition",
            dataset_type=data.hub_id or data.name,
            dataset_name=f"{data.hub_id or data.name}{f' {data.config}' if data.config else ''}",
            dataset_config=data.config,
            dataset_split=split,
            dataset_args={"config": data.config, "split": split} if data.config else {"split": split},
            metric_type=metric,
            metric_name=name,
            metric_value=round(100 * value, 2),
            metric_args=details or None,
        )
        for (metric, name), (value, details) in rates.items()
    ]
