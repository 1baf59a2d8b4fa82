"""Write the model card: what a model is for, what it learnt from, how well it hears, how to use it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from utils.data.delivery.cards import (
    Marks,
    card_environment,
    join_card,
    split_card,
)
from utils.scoring.error_rates import METRIC_LABELS
from utils.training.card_facts import ModelFacts
from utils.training.card_head import build_model_head, language_name, model_title
from utils.training.card_settings import ADAPTER_NAMES, list_settings
from utils.training.evaluation_history import describe_course, thin_out
from utils.training.harm import describe_harm
from utils.training.held_out import HeldOutReport

if TYPE_CHECKING:
    pass

CARD_TEMPLATES = Path(__file__).with_name("templates")

MODEL_MARKS = Marks(
    "<!-- Written by train.py or export.py: the next push replaces the text from here to the end mark. -->",
    "<!-- End of what train.py or export.py writes. -->",
)

THIS_FOLDER, THE_BASE_MODEL = "PATH OF THIS FOLDER", "THE BASE MODEL"

# of train_results.json, which leaves out what was not done
_RESULTS = ("best_metric", "best_step", "metric_before_training", "averaged_steps", "interpolation_alpha")


def build_model_card(
    facts: ModelFacts,
    existing: str | None = None,
    *,
    report: HeldOutReport | None = None,
    model_id: str | None = None,
    license: str | None = None,
    siblings: Sequence[str] = (),
) -> str:
    """Build the card: a YAML head for the Hub (https://huggingface.co/docs/hub/model-cards), then the text.

    Args:
        facts: What is known about the model.
        existing: The card on the Hub, if there is one. Text outside the marks, and fields that others added
            to the head, are kept.
        report: Its test results, if it was evaluated.
        model_id: `user/name`, if it is for the Hub.
        license: The Hub's name of a licence. Not given: that of the arguments of the training.
        siblings: Names on the Hub of the same model in other formats.

    Raises:
        ValueError: The head of the existing card is not a YAML mapping.
    """
    old, body = split_card(existing or "")
    metric = facts.results.get("metric_for_best_model", "normalized_wer")
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
            evaluations=thin_out(facts.evaluations),
            course=describe_course(facts.evaluations, metric),
            harm=describe_harm(facts.untuned_wer),
            metric=METRIC_LABELS[metric],
            task=facts.arguments.get("task", "transcribe"),
            **usage_values(facts, model_id),
        )
    )
    return join_card(head, MODEL_MARKS.put(text, body))


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
