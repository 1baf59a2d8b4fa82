"""The report of an evaluation: one HTML file to read and listen to.

It is made of what stands in the evaluation's folder, so it can be made again from there.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from utils.report.breakdowns import confusions_section, duration_section, failures_section, groups_section
from utils.report.charts import CHART_STYLE
from utils.report.evaluation_notes import notes_section
from utils.report.learning_curve import learning_section, read_curves
from utils.report.page import Html, isolated, join, tag, write_page
from utils.report.result_rows import (
    find_baseline,
    find_row,
    in_percent,
    in_time,
    is_known,
    list_candidates,
    list_datasets,
    list_models,
    measure_of,
    name_dataset,
    rows_of,
    shorten,
)
from utils.report.score_tables import SCORE_STYLE, before_after_section, scores_section
from utils.report.utterance_cards import (
    CARD_STYLE,
    MOST_CANDIDATES,
    ClipOf,
    build_cards,
    join_cases,
    pick_cases,
)
from utils.report.word_differences import DIFFERENCE_STYLE, differences_legend

OPEN_LISTS = 2  # of the best candidate's utterances that are shown unfolded

PAGE_STYLE = """
.verdict { font-size: 1.08rem; }
.gate {
  border: 1px solid var(--line); border-inline-start: .3rem solid #d55e00; border-radius: .4rem;
  padding: .8rem 1rem; margin: 0 0 .75rem;
}
.gate.promote { border-inline-start-color: #009e73; }
.gate h3 { margin: 0 0 .3rem; }
.gate ul { margin: 0 0 .3rem; padding-inline-start: 1.2rem; }
.gate details { margin: .3rem 0 0; color: var(--soft); font-size: .92rem; }
.nothing { color: var(--soft); font-style: italic; }
dl.notes dt { font-weight: 600; }
dl.notes dd { margin: 0 0 .7rem; max-width: 46rem; }
"""


def write_evaluation_page(
    path: Path,
    results: Sequence[dict],
    analysis: dict | None,
    predictions: Iterable[dict],
    clip_of: ClipOf,
    curves: Mapping[str, Sequence[dict]],
) -> None:
    """Write the report as one file of less than 5 MB that needs nothing else, whole or not at all.

    Args:
        path: Of the page.
        results: The rows of evaluation_results.json, at least one. Keys that are lacking leave their part
            out.
        analysis: What comparative_analysis.json holds, where models were compared.
        predictions: The lines of predictions.jsonl.
        clip_of: (dataset, id) to the clip as 16 kHz mono FLAC, or None. Asked only for what is shown.
        curves: The lines of metrics.jsonl of those models whose run is known.
    """
    name = shorten(list_candidates(results, analysis)[0])
    sections = [
        ("summary", "Summary", summary_section(results, analysis)),
        ("scores", "Scores", scores_section(results, analysis)),
        ("before-after", "Before and after", before_after_section(results)),
        ("groups", "Groups", groups_section(results)),
        ("duration", "Duration", duration_section(results)),
        ("learning", "Learning curve", learning_section(read_curves(curves), list_models(results))),
        ("failures", "Failures", failures_section(results)),
        ("confusions", "Confusions", confusions_section(results)),
        ("utterances", "Utterances", utterances_section(results, analysis, predictions, clip_of)),
        ("notes", "How to read this", notes_section(results, analysis)),
    ]
    shown = [(key, title, content) for key, title, content in sections if content]
    links = [tag("a", title, href=f"#{key}") for key, title, _ in shown]
    parts = [
        tag("h1", "Evaluation: ", isolated(name)),
        tiles(results, analysis),
        tag("nav", *links, aria_label="Sections"),
    ]
    for key, title, content in shown:
        heading = tag("h2", title, id=f"{key}-heading")
        parts.append(tag("section", heading, content, id=key, aria_labelledby=f"{key}-heading"))
    parts.append(footer())
    style = CHART_STYLE + SCORE_STYLE + DIFFERENCE_STYLE + CARD_STYLE + PAGE_STYLE
    write_page(path, f"Evaluation: {name}", tag("main", *parts), style)


def tiles(results: Sequence[dict], analysis: dict | None) -> Html:
    """The few figures to remember: of the best candidate on the first dataset."""
    dataset = list_datasets(results)[0]
    before = find_row(results, find_baseline(results, analysis), dataset)
    after = find_row(results, list_candidates(results, analysis)[0], dataset) or results[0]
    first = measure_of(after)
    other, unit = ("cer", "word") if first == "wer" else ("wer", "character")
    rate, other_rate = after["normalized"][first], in_percent(after["normalized"][other], " %")
    name = first.upper()
    figures = [(f"{name}, normalised", in_percent(rate, " %")), (f"{other.upper()}, normalised", other_rate)]
    if before is not None and before is not after and is_known(rate):
        earlier = before["normalized"][first]
        figures = [(f"{name} before", in_percent(earlier, " %")), (f"{name} after", in_percent(rate, " %"))]
        if is_known(earlier) and earlier > 0:
            change = (rate - earlier) / earlier
            figures.append((f"{unit} errors", f"{'+' if change > 0 else '−'}{abs(100 * change):.0f} %"))
        figures.append((f"{other.upper()} after", other_rate))
    figures += [
        (f"clips, {in_time(after['audio_seconds'])}", f"{after['num_utterances']:,}"),
        ("times real time", f"{after['rtfx']:.1f}"),
    ]
    content = [tag("div", tag("dt", label), tag("dd", value)) for label, value in figures]
    return tag("dl", *content, class_="tiles")


def summary_section(results: Sequence[dict], analysis: dict | None) -> Html:
    """The verdict, whether each candidate is to be promoted and why not, and what was compared."""
    parts = []
    if analysis and analysis.get("verdict"):
        parts.append(tag("p", isolated(analysis["verdict"]), class_="verdict"))
    gates = {gate["candidate"]: gate for gate in (analysis or {}).get("gates", ())}
    parts += [_gate(gates[name]) for name in list_candidates(results, analysis) if name in gates]
    errors = sum((row.get("failures") or {}).get("decoder error", 0) for row in results)
    if errors:
        words = f"Warning: the decoder failed on {errors:,} utterances; they stay in every score."
        parts.append(tag("p", words, class_="warning", role="note"))
    parts.append(tag("p", *_scope_words(results), class_="soft"))
    return join(parts)


def _gate(gate: dict) -> Html:
    promote = bool(gate["promote"])
    sign = "✓ Promote " if promote else "✗ Do not promote "
    parts = [tag("h3", sign, isolated(shorten(gate["candidate"])))]
    if gate["reasons"]:
        parts.append(tag("ul", *[tag("li", isolated(reason)) for reason in gate["reasons"]]))
    if gate.get("passed"):
        count = len(gate["passed"])
        summary = tag("summary", f"{count} check{'' if count == 1 else 's'} passed")
        checks = tag("ul", *[tag("li", isolated(words)) for words in gate["passed"]])
        parts.append(tag("details", summary, checks))
    return tag("div", *parts, class_="gate promote" if promote else "gate")


def _scope_words(results: Sequence[dict]) -> list[str]:
    models, datasets = list_models(results), list_datasets(results)
    named = [part for model in models for part in (", ", isolated(shorten(model)))][1:]
    places = [part for d in datasets for part in (", ", isolated(name_dataset(rows_of(results, d))))][1:]
    return ["Models: ", *named, ". Scored on: ", *places, "."]


def utterances_section(
    results: Sequence[dict], analysis: dict | None, predictions: Iterable[dict], clip_of: ClipOf
) -> Html:
    """Utterances to read and to listen to, a fold for each of the best candidates."""
    models = list_candidates(results, analysis)[:MOST_CANDIDATES]
    baseline = find_baseline(results, analysis)
    predictions = list(predictions)
    lists = {model: pick_cases(join_cases(predictions, model, baseline)) for model in models}
    several = len(list_datasets(results)) > 1
    cards = iter(
        build_cards([one for found in lists.values() for one in found], clip_of, several_datasets=several)
    )
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


def footer() -> Html:
    """Where the numbers and the pictures are."""
    words = (
        "The same numbers for programs: evaluation_results.json, comparative_analysis.json and "
        "predictions.jsonl beside this page; tables as CSV in tables/, pictures as PNG in plots/."
    )
    return tag("footer", tag("p", words))
