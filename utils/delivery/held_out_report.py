"""Read the test results of one model from a folder of evaluate.py, for its card."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from utils.evaluation.evaluation_folder import COMPARISON_FILE, RESULTS_FILE, fingerprint
from utils.evaluation.records import EvaluationResult, TextScore
from utils.evaluation.results_file import read_analysis, read_results
from utils.runtime.errors import UserError
from utils.training.card_facts import DatasetFacts, ModelFacts, describe_dataset, is_local_model
from utils.training.held_out import HeldOutReport, HeldOutScores


def find_held_out_report(model: Path, facts: ModelFacts | None, given: str | None) -> HeldOutReport | None:
    """Return the test results of this very model: those of the given folder, or of `report` beside the model.

    Args:
        model: The model folder. It must not have changed since it was evaluated.
        facts: What is known about its training.
        given: The folder that the user named.

    Raises:
        UserError: The folder that the user named holds no results of this model.
    """
    folder = Path(given).expanduser() if given else model.parent / "report"
    found = folder / RESULTS_FILE
    if not found.is_file():
        if given:
            raise UserError(f"{folder}: no {RESULTS_FILE}. Expected a folder of evaluate.py.")
        return None
    name = _evaluated_name(found, model)
    if name is not None:
        return read_held_out_report(folder, name, facts)
    problem = (
        f"{folder}: no results of {model} as it is now, so its card cannot show them. Evaluate it again."
    )
    if given:
        raise UserError(problem)
    print(problem)
    return None


def _evaluated_name(results: Path, model: Path) -> str | None:
    """Return the name under which the same files were evaluated. Their folder may have moved since."""
    inputs = json.loads(results.read_text(encoding="utf-8")).get("inputs", {})
    digest = fingerprint(model, set())
    return next((name for name, each in inputs.items() if each == digest and digest), None)


def read_held_out_report(folder: Path, model: str, facts: ModelFacts | None) -> HeldOutReport:
    """Read the results of a model and of the baseline that it was compared with.

    Args:
        folder: A folder of evaluate.py.
        model: The model as it was given to evaluate.py.
        facts: What is known about its training, for the names of datasets on the Hub.
    """
    results = read_results(folder / RESULTS_FILE)
    datasets: dict[str, DatasetFacts] = {}
    for path in dict.fromkeys(each.dataset for each in results):
        data = _dataset(path, facts)
        namesakes = sum(other.name.partition(" (")[0] == data.name for other in datasets.values())
        datasets[path] = replace(data, name=f"{data.name} ({namesakes + 1})") if namesakes else data
    baseline = results[0].model
    names = {model: "this model", baseline: "the model before" if is_local_model(baseline) else baseline}
    names |= {model: "this model"} | {path: data.name for path, data in datasets.items()}
    rows = [each for each in results if each.model in (model, baseline)]
    rows.sort(key=lambda each: (each.is_guard, each.model != model, each.audio_context != "full"))
    scores = [_scores(each, names[each.model], each.model == model, datasets[each.dataset]) for each in rows]
    comparison = folder / COMPARISON_FILE
    gates = read_analysis(comparison).gates if comparison.is_file() else []
    gate = next((each for each in gates if each.candidate == model), None)
    if gate is None:
        return HeldOutReport(scores)
    return HeldOutReport(scores, gate.promote, _renamed([*gate.reasons, *gate.passed], names))


def _dataset(path: str, facts: ModelFacts | None) -> DatasetFacts:
    """Describe a test set. If the model was trained on the same dataset, it has the same name on the Hub."""
    found = describe_dataset(path, None)
    known = [data for data in (facts.datasets if facts else []) if data.name == found.name]
    if not known or found.hub_id:
        return found
    return replace(found, hub_id=known[0].hub_id, config=found.config or known[0].config)


def _renamed(sentences: Iterable[str], names: Mapping[str, str]) -> list[str]:
    """Put names for readers in place of the paths of models and datasets."""
    shown = []
    for sentence in sentences:
        for path in sorted(names, key=len, reverse=True):
            sentence = sentence.replace(path, names[path])
        shown.append(sentence)
    return shown


def _scores(result: EvaluationResult, name: str, is_this_model: bool, data: DatasetFacts) -> HeldOutScores:
    sounds = (result.hallucination or {}).values()
    seconds = sum(sound.audio_seconds for sound in sounds)
    return HeldOutScores(
        model=name,
        is_this_model=is_this_model,
        data=data,
        split=result.split,
        audio_context=result.audio_context,
        normalizer=result.normalizer,
        measure=result.measure,
        clips=result.num_utterances,
        hours=result.audio_seconds / 3600,
        raw=_rates(result.raw),
        normalized=_rates(result.normalized),
        raw_ci95=result.raw.ci95,
        normalized_ci95=result.normalized.ci95,
        is_guard=result.is_guard,
        failures={kind: count for kind, count in result.failures.items() if count},
        words_in_noise=60 * sum(sound.words for sound in sounds) / seconds if seconds else None,
    )


def _rates(score: TextScore) -> dict[str, float]:
    return {"wer": score.wer, "cer": score.cer}
