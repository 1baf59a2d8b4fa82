"""Write the model card: what a model is for, what it learnt from, how well it hears, how to use it."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from utils.data.delivery.cards import (
    Marks,
    card_environment,
    iso_languages,
    join_card,
    split_card,
)
from utils.scoring.error_rates import METRIC_LABELS
from utils.training.card_facts import DatasetFacts, ModelFacts
from utils.training.card_settings import ADAPTER_NAMES, list_settings

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

CARD_TEMPLATES = Path(__file__).with_name("templates")

MODEL_MARKS = Marks(
    "<!-- Written by train.py or export.py: the next push replaces the text from here to the end mark. -->",
    "<!-- End of what train.py or export.py writes. -->",
)

THIS_FOLDER, THE_BASE_MODEL = "PATH OF THIS FOLDER", "THE BASE MODEL"

ASR = "automatic-speech-recognition"

MOST_EVALUATIONS = 12  # rows of the table of validation

# of train_results.json, which leaves out what was not done
_RESULTS = ("best_metric", "best_step", "metric_before_training", "averaged_steps", "interpolation_alpha")

_LANGUAGE = re.compile(r"[a-z]{2,3}(-[a-z0-9]{2,8})?")


@dataclass(frozen=True)
class HeldOutScores:
    """Test results of this model, or of the one before it, on one set in one audio context.

    Rates are fractions. An interval belongs to the rate that `measure` names.
    """

    model: str  # as the card calls it
    is_this_model: bool
    data: DatasetFacts
    split: str
    audio_context: str
    normalizer: str
    measure: str  # wer or cer
    clips: int
    hours: float
    raw: Mapping[str, float]  # by wer and cer
    normalized: Mapping[str, float]
    raw_ci95: tuple[float, float]
    normalized_ci95: tuple[float, float]
    is_guard: bool = False
    failures: Mapping[str, int] = field(default_factory=dict)  # utterances by kind, only kinds that occur
    words_in_noise: float | None = None  # invented per minute of silence, noise and music


@dataclass(frozen=True)
class HeldOutReport:
    """What an evaluation found out about this model."""

    scores: Sequence[HeldOutScores]
    is_promoted: bool | None = None  # by the gate; None if it was not compared
    findings: Sequence[str] = ()  # sentences of the gate

    @property
    def own(self) -> list[HeldOutScores]:
        """Return the scores of this model alone."""
        return [scores for scores in self.scores if scores.is_this_model]


def build_model_card(
    facts: ModelFacts,
    *,
    report: HeldOutReport | None = None,
    model_id: str | None = None,
    license: str | None = None,
    siblings: Sequence[str] = (),
    existing: str | None = None,
) -> str:
    """Build the card: a YAML head for the Hub (https://huggingface.co/docs/hub/model-cards), then the text.

    Args:
        facts: What is known about the model.
        report: Its test results, if it was evaluated.
        model_id: `user/name`, if it is for the Hub.
        license: The Hub's name of a licence. Not given: that of the arguments of the training.
        siblings: Names on the Hub of the same model in other formats.
        existing: The card on the Hub, if there is one. Text outside the marks, and fields that others added
            to the head, are kept.

    Raises:
        ValueError: The head of the existing card is not a YAML mapping.
    """
    old, body = split_card(existing or "")
    license = license or facts.arguments.get("hub_license") or old.get("license")
    head = old | build_model_head(facts, report=report, license=license, tags=old.get("tags") or [])
    text = (
        card_environment(CARD_TEMPLATES)
        .get_template("model_card.md")
        .render(
            title=model_title(facts),
            facts=facts,
            results=dict.fromkeys(_RESULTS) | dict(facts.results),
            report=report,
            license=license,
            siblings=siblings,
            languages={code: language_name(code) for code in facts.languages},
            adapter=ADAPTER_NAMES.get(facts.adapter or ""),
            settings=list_settings(facts),
            evaluations=thinned(facts.evaluations),
            metric=METRIC_LABELS.get(facts.results.get("metric_for_best_model", "")),
            task=facts.arguments.get("task", "transcribe"),
            **usage_values(facts, model_id),
        )
    )
    return join_card(head, MODEL_MARKS.put(text, body))


def build_model_head(
    facts: ModelFacts, *, report: HeldOutReport | None, license: str | None, tags: Sequence[str] = ()
) -> dict:
    """Return the fields of the head. Nothing in them is a path of this machine."""
    from huggingface_hub import ModelCardData

    results = _eval_results(facts, report)
    adapter = facts.adapter
    is_mixture = "interpolation_alpha" in facts.results
    relation = "adapter" if adapter else "merge" if is_mixture else "finetune"
    codes = [code for code in facts.languages if _LANGUAGE.fullmatch(code)]
    data = ModelCardData(
        language=iso_languages(codes) or None,
        license=license,
        library_name="peft" if adapter else "transformers",
        pipeline_tag=ASR,
        base_model=facts.base_model,
        base_model_relation=relation if facts.base_model else None,
        datasets=list(dict.fromkeys(data.hub_id for data in facts.datasets if data.hub_id)) or None,
        metrics=["wer", "cer"],
        tags=[*tags, "whisper", "audio", "hf-asr-leaderboard", *([adapter] if adapter else [])],
        model_name=model_title(facts) if results else None,
        eval_results=results or None,
    )
    return data.to_dict()


def usage_values(facts: ModelFacts, model_id: str | None) -> dict[str, object]:
    """Return what the templates in `usage/` need."""
    base = str(facts.arguments.get("model_name_or_path", ""))
    task = facts.arguments.get("task", "transcribe")
    code = None if base.endswith(".en") else next(iter(facts.languages), None)
    is_known = code is None or language_name(code) != code  # to other programs; train.py can add one
    language = {} if code is None else {"language": code if is_known else f"<|{code}|>"}
    to_english = {"task": task} if task == "translate" else {}
    options = language | to_english
    return {
        "model": model_id or THIS_FOLDER,
        "base_model": facts.base_model or THE_BASE_MODEL,
        "generate_kwargs": json.dumps(options, ensure_ascii=False) if options else None,
        "added_language": None if is_known else code,
        "faster_whisper_options": _keywords(options),
        "whisper_cpp_options": _keywords(language) + (", translate=True" if to_english else ""),
        "has_generation_config": True,
        "rank": facts.arguments.get("lora_r"),
    }


def _keywords(options: Mapping[str, str]) -> str:
    return "".join(f", {name}={json.dumps(value)}" for name, value in options.items())


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


def thinned(evaluations: Sequence[dict]) -> list[dict]:
    """Return at most `MOST_EVALUATIONS` of them, evenly spaced; the first and the last are kept."""
    last = len(evaluations) - 1
    if last < MOST_EVALUATIONS:
        return list(evaluations)
    kept = {round(index * last / (MOST_EVALUATIONS - 1)) for index in range(MOST_EVALUATIONS)}
    return [evaluations[index] for index in sorted(kept)]


def _eval_results(facts: ModelFacts, report: HeldOutReport | None) -> "list[EvalResult]":
    """Return the results for the head, in percent. Without a test, those on validation are given."""
    if report and report.own:
        return [
            result
            for scores in report.own
            for result in _results_of(scores.data, scores.split, _rates_in_percent(scores))
        ]
    if len(facts.datasets) != 1 or not facts.validation:
        return []
    rates = {
        (name.partition("_")[2], f"{METRIC_LABELS[name]}, on the split that chose the model"): (value, {})
        for name, value in facts.validation.items()
    }
    return _results_of(facts.datasets[0], "validation", rates)


_Rates = Mapping[tuple[str, str], tuple[float, dict[str, str]]]


def _rates_in_percent(scores: HeldOutScores) -> _Rates:
    """Return each rate with its details, by metric and name."""
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
            name = f"{metric.upper()}, {form}, {scores.audio_context} context"
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
