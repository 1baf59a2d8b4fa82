"""The report of an evaluation: one HTML file to read and listen to."""

from collections.abc import Sequence
from pathlib import Path

from utils.evaluation.records import RATES, Analysis, EvaluationResult, Prediction
from utils.report.count_tables import confusion_table, failure_table, made_up_word_table
from utils.report.evaluation_charts import EvaluationCharts
from utils.report.labels import TEXT_LABELS
from utils.report.page import write_page
from utils.report.series import (
    find_result,
    list_datasets,
    list_models,
    list_series,
    name_dataset,
    name_measures,
)
from utils.report.utterance_cards import (
    MOST_CANDIDATES,
    CardList,
    ClipOf,
    build_cards,
    join_cases,
    pick_cases,
)
from utils.report.word_differences import list_passages
from utils.scoring.failures import DECODER_ERROR, FAILURE_KINDS


def write_evaluation_page(
    path: Path,
    results: Sequence[EvaluationResult],
    analysis: Analysis | None,
    predictions: Sequence[Prediction],
    clip_of: ClipOf,
    charts: EvaluationCharts,
) -> None:
    """Write the report as one file of less than 5 MB that needs nothing else, whole or not at all.

    Args:
        path: Of the page.
        results: At least one.
        analysis: Where models were compared.
        predictions: Of all models.
        clip_of: (dataset, id) to the clip as 16 kHz mono FLAC, or None. Asked only for what is shown.
        charts: Of the same results.
    """
    datasets = list_datasets(results)
    best = find_result(datasets[0].results, list_candidates(results, analysis)[0])
    order = list(TEXT_LABELS)
    comparisons = analysis.comparisons if analysis else []
    context = {
        "best": best,
        "baseline": find_result(datasets[0].results, results[0].model),
        "results": results,
        "analysis": analysis,
        "gates": {gate.candidate: gate for gate in analysis.gates} if analysis else {},
        "decoder_errors": sum(result.failures[DECODER_ERROR] for result in results),
        "models": list_models(results),
        "datasets": datasets,
        "dataset_names": {(result.dataset, result.split): name_dataset(result) for result in results},
        "measures": name_measures(results),
        "all_series": list_series(results, results),
        "comparisons": sorted(comparisons, key=lambda comparison: order.index(comparison.text)),
        "charts": charts,
        "failures": [(dataset.name, failure_table(dataset.series)) for dataset in datasets],
        "made_up_words": made_up_word_table(results),
        "confusions": [table for table in map(confusion_table, datasets) if table.series],
        "card_lists": list_utterances(results, analysis, predictions, clip_of),
        "list_passages": list_passages,
        "unknown_languages": sorted({(r.model, code) for r in results for code in r.detected_languages}),
        "failure_kinds": list(FAILURE_KINDS),
        "rates": RATES,
        "text_labels": TEXT_LABELS,
    }
    write_page(path, "evaluation_report.html", context)


def list_candidates(results: Sequence[EvaluationResult], analysis: Analysis | None) -> list[str]:
    """Every model but the baseline, the most promising first; a model that stands alone."""
    return analysis.candidates if analysis else [results[0].model]


def list_utterances(
    results: Sequence[EvaluationResult],
    analysis: Analysis | None,
    predictions: Sequence[Prediction],
    clip_of: ClipOf,
) -> dict[str, list[CardList]]:
    """Utterances to read and to listen to, of each of the best candidates that has any."""
    baseline = results[0].model if analysis else None
    models = list_candidates(results, analysis)[:MOST_CANDIDATES]
    lists = {model: pick_cases(join_cases(predictions, model, baseline)) for model in models}
    together = [case_list for found in lists.values() for case_list in found]
    several = len(list_datasets(results)) > 1
    cards = iter(build_cards(together, clip_of, several_datasets=several))
    return {model: [next(cards) for _ in found] for model, found in lists.items() if found}
