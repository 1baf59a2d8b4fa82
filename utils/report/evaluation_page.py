"""Writes the report of an evaluation: one HTML file with charts and tables, and utterances to listen to."""

from collections.abc import Sequence
from pathlib import Path

from utils.evaluation.records import RATES, Analysis, EvaluationResult, Prediction
from utils.report.count_tables import (
    cause_table,
    confusion_table,
    failure_table,
    made_up_word_table,
    term_table,
)
from utils.report.evaluation_charts import EvaluationCharts
from utils.report.labels import TEXT_LABELS
from utils.report.page import write_page
from utils.report.series import (
    ScoredDataset,
    find_result,
    list_datasets,
    list_model_warnings,
    list_series,
    name_dataset,
    name_measures,
)
from utils.report.utterance_cards import ClipOf, list_utterances
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
    """Write the report as one file of less than 5 MB that needs no other files, completely or not at all.

    Args:
        path: Path of the page.
        results: Results of all models, at least one.
        analysis: Comparisons and gates, if models were compared.
        predictions: Predictions of all models.
        clip_of: Function from (dataset, id) to the clip as 16 kHz mono FLAC, or None.
        charts: Charts of these results.
    """
    datasets = list_datasets(results)
    # every model except the baseline, the best first; or the only model
    candidates = analysis.candidates if analysis else [results[0].model]
    baseline = results[0].model if analysis else None
    comparisons = analysis.comparisons if analysis else []
    context = {
        "best": find_result(datasets[0].results, candidates[0]),
        "baseline": find_result(datasets[0].results, results[0].model),
        "results": results,
        "analysis": analysis,
        "gates": {gate.candidate: gate for gate in analysis.gates} if analysis else {},
        "warnings": list_model_warnings(results),
        "decoder_errors": sum(result.failures[DECODER_ERROR] for result in results),
        "datasets": datasets,
        "dataset_names": {(result.dataset, result.split): name_dataset(result) for result in results},
        "measures": name_measures(results),
        "all_series": list_series(results, results),
        "comparisons": sorted(comparisons, key=lambda one: list(TEXT_LABELS).index(one.text)),
        "charts": charts,
        "made_up_words": made_up_word_table(results),
        **_tables_of_datasets(datasets),
        "card_lists": list_utterances(
            predictions, candidates, baseline, clip_of, several_datasets=len(datasets) > 1
        ),
        "list_passages": list_passages,
        "unknown_languages": sorted({(r.model, code) for r in results for code in r.detected_languages}),
        "failure_kinds": list(FAILURE_KINDS),
        "rates": RATES,
        "text_labels": TEXT_LABELS,
    }
    write_page(path, "evaluation_report.html", context)


def _tables_of_datasets(datasets: Sequence[ScoredDataset]) -> dict[str, object]:
    """Return the tables of counts that each dataset has, with its name."""
    return {
        "failures": [(dataset.name, failure_table(dataset.series)) for dataset in datasets],
        "causes": [(dataset.name, cause_table(dataset.series)) for dataset in datasets],
        "confusions": [table for table in map(confusion_table, datasets) if table.series],
        "terms": [(dataset.name, table) for dataset in datasets if (table := term_table(dataset)).series],
    }
