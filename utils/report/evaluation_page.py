"""The report of an evaluation: one HTML file to read and listen to."""

from collections.abc import Sequence
from pathlib import Path

from utils.evaluation.records import Analysis, EvaluationResult, Gate, Prediction
from utils.report.breakdowns import confusions_section, duration_section, failures_section, groups_section
from utils.report.evaluation_notes import notes_section
from utils.report.labels import counted, in_percent, in_time, shorten
from utils.report.learning_curve import LearningCurve, learning_section
from utils.report.page import Html, isolated, join, tag, write_report_page
from utils.report.score_tables import before_after_section, scores_section
from utils.report.series import find_result, list_models, name_dataset, split_by_dataset
from utils.report.utterance_cards import MOST_CANDIDATES, ClipOf, build_cards, join_cases, pick_cases
from utils.report.word_differences import differences_legend
from utils.scoring.failures import DECODER_ERROR

OPEN_LISTS = 2  # of the best candidate's utterances that are shown unfolded

EVALUATION_STYLE = "evaluation.css"

FOOTER = (
    "The same numbers for programs: evaluation_results.json, comparative_analysis.json and "
    "predictions.jsonl beside this page; tables as CSV in tables/, pictures as PNG in plots/."
)


def write_evaluation_page(
    path: Path,
    results: Sequence[EvaluationResult],
    analysis: Analysis | None,
    predictions: Sequence[Prediction],
    clip_of: ClipOf,
    curves: Sequence[LearningCurve],
) -> None:
    """Write the report as one file of less than 5 MB that needs nothing else, whole or not at all.

    Args:
        path: Of the page.
        results: At least one.
        analysis: Where models were compared.
        predictions: Of all models.
        clip_of: (dataset, id) to the clip as 16 kHz mono FLAC, or None. Asked only for what is shown.
        curves: Of those models whose run is known.
    """
    sections = [
        ("summary", "Summary", summary_section(results, analysis)),
        ("scores", "Scores", scores_section(results, analysis)),
        ("before-after", "Before and after", before_after_section(results)),
        ("groups", "Groups", groups_section(results)),
        ("duration", "Duration", duration_section(results)),
        ("learning", "Learning curve", learning_section(curves, list_models(results))),
        ("failures", "Failures", failures_section(results)),
        ("confusions", "Confusions", confusions_section(results)),
        ("utterances", "Utterances", utterances_section(results, analysis, predictions, clip_of)),
        ("notes", "How to read this", notes_section(results, analysis)),
    ]
    name = shorten(list_candidates(results, analysis)[0])
    figures = evaluation_figures(results, analysis)
    write_report_page(path, "Evaluation", name, figures, sections, tag("p", FOOTER), EVALUATION_STYLE)


def list_candidates(results: Sequence[EvaluationResult], analysis: Analysis | None) -> list[str]:
    """Every model but the baseline, the most promising first; a model that stands alone."""
    return analysis.candidates if analysis else [results[0].model]


def evaluation_figures(
    results: Sequence[EvaluationResult], analysis: Analysis | None
) -> list[tuple[str, str]]:
    """Labels and figures of the best candidate on the first dataset."""
    rows = split_by_dataset(results)[0]
    after = find_result(rows, list_candidates(results, analysis)[0])
    score, in_characters = after.normalized, after.measure == "cer"
    name, other, unit = ("CER", "WER", "character") if in_characters else ("WER", "CER", "word")
    rate, other_rate = after.rate(score), score.wer if in_characters else score.cer
    if analysis:
        before = find_result(rows, results[0].model)
        earlier = before.rate(before.normalized)
        figures = [(f"{name} before", f"{in_percent(earlier)} %"), (f"{name} after", f"{in_percent(rate)} %")]
        if earlier > 0:
            change = (rate - earlier) / earlier
            figures.append((f"{unit} errors", f"{'+' if change > 0 else '−'}{abs(100 * change):.0f} %"))
        figures.append((f"{other} after", f"{in_percent(other_rate)} %"))
    else:
        shown = ((name, rate), (other, other_rate))
        figures = [(f"{label}, normalised", f"{in_percent(value)} %") for label, value in shown]
    clips = f"clips, {in_time(after.audio_seconds)}"
    return [*figures, (clips, f"{after.num_utterances:,}"), ("times real time", f"{after.rtfx:.1f}")]


def summary_section(results: Sequence[EvaluationResult], analysis: Analysis | None) -> Html:
    """The verdict, whether each candidate is to be promoted and why not, and what was compared."""
    parts = []
    if analysis:
        parts.append(tag("p", isolated(analysis.verdict), class_="verdict"))
        gates = {gate.candidate: gate for gate in analysis.gates}
        parts += [_gate(gates[name]) for name in analysis.candidates]
    errors = sum(result.failures[DECODER_ERROR] for result in results)
    if errors:
        words = f"Warning: the decoder failed on {errors:,} utterances; they stay in every score."
        parts.append(tag("p", words, class_="warning", role="note"))
    parts.append(tag("p", *_scope_words(results), class_="soft"))
    return join(parts)


def _gate(gate: Gate) -> Html:
    sign = "✓ Promote " if gate.promote else "✗ Do not promote "
    parts = [tag("h3", sign, isolated(shorten(gate.candidate)))]
    if gate.reasons:
        parts.append(_bullets(gate.reasons))
    if gate.passed:
        summary = tag("summary", f"{counted(len(gate.passed), 'check')} passed")
        parts.append(tag("details", summary, _bullets(gate.passed)))
    return tag("div", *parts, class_="gate promote" if gate.promote else "gate")


def _bullets(sentences: Sequence[str]) -> Html:
    return tag("ul", *[tag("li", isolated(sentence)) for sentence in sentences])


def _scope_words(results: Sequence[EvaluationResult]) -> list[str]:
    names = [shorten(model) for model in list_models(results)]
    places = [name_dataset(rows[0]) for rows in split_by_dataset(results)]
    return ["Models: ", *_listed(names), ". Scored on: ", *_listed(places), "."]


def _listed(names: Sequence[str]) -> list[str]:
    return [part for name in names for part in (", ", isolated(name))][1:]


def utterances_section(
    results: Sequence[EvaluationResult],
    analysis: Analysis | None,
    predictions: Sequence[Prediction],
    clip_of: ClipOf,
) -> Html:
    """Utterances to read and to listen to, a fold for each of the best candidates."""
    models = list_candidates(results, analysis)[:MOST_CANDIDATES]
    baseline = results[0].model if analysis else None
    lists = {model: pick_cases(join_cases(predictions, model, baseline)) for model in models}
    several = len(split_by_dataset(results)) > 1
    together = [case_list for found in lists.values() for case_list in found]
    cards = iter(build_cards(together, clip_of, several_datasets=several))
    parts: list[Html] = []
    for model, found in lists.items():
        if found and len(models) > 1:
            parts.append(tag("h3", isolated(shorten(model))))
        for place, case_list in enumerate(found):
            heading = tag("summary", isolated(case_list.title), f" · {len(case_list.cases)}")
            unfolded = {"open": ""} if place < OPEN_LISTS and model == models[0] else {}
            parts.append(tag("details", heading, next(cards), class_="reason", **unfolded))
    if not parts:
        return Html("")
    words = (
        "The words are normalised, so case and punctuation do not count. Differences from the reference are "
        "marked:"
    )
    return join([tag("p", words), differences_legend(), *parts])
