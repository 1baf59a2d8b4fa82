"""An evaluation in the terminal: tables of scores, comparisons and failures."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from utils.evaluation.records import Analysis, EvaluationResult, ModelComparison
from utils.report.advice import CURES
from utils.report.labels import TEXT_LABELS, in_percent, interval_in_percent, share_in_percent
from utils.report.series import list_model_warnings
from utils.scoring.error_causes import ERROR_CAUSES
from utils.scoring.failures import FAILURE_KINDS

DECIMALS = 2  # of percent

PLAIN_WIDTH = 160  # columns of a table that goes to a file


def report_console() -> Console:
    """Return a console that is wide enough for the tables."""
    console = Console()
    return console if console.is_terminal else Console(width=PLAIN_WIDTH)


def print_report(
    results: Sequence[EvaluationResult], analysis: Analysis | None, console: Console | None = None
) -> None:
    """Print scores, comparison and verdict, rates in percent."""
    console = console or report_console()
    console.print(build_results_table(results))
    if analysis:
        console.print(build_comparison_table(analysis.comparisons))
    if any(result.terms for result in results):
        console.print(build_terms_table(results))
    if any(result.is_over_100_percent and result.error_causes for result in results):
        console.print(build_causes_table(results))
    if any(any(r.failures.values()) or r.hallucination for r in results):
        console.print(build_failures_table(results))
    if analysis:
        console.print(Text(analysis.verdict))
    for warning in list_model_warnings(results):
        print(f"WARNING: {warning}", file=console.file)
    for result in results:
        # plain print: one line however narrow the terminal, for scripts that look for it
        print(score_line(result), file=console.file)


def _build_table(title: str, names: Sequence[str], figures: Sequence[str], explained: str) -> Table:
    """Create an empty table. Long names are wrapped, numbers are right-aligned; words are explained below."""
    table = Table(title=Text(title), caption=Text(explained), caption_justify="left")
    for name in names:
        table.add_column(name, overflow="fold")
    for name in figures:
        table.add_column(name, justify="right")
    return table


def build_results_table(results: Sequence[EvaluationResult]) -> Table:
    """Build a table with one row for each model, dataset and context."""
    normalizers = ", ".join(dict.fromkeys(r.normalizer for r in results))
    measures = list(dict.fromkeys(result.measure for result in results))
    first = " or ".join(measure.upper() for measure in measures)
    other = " or ".join("WER" if measure == "cer" else "CER" for measure in measures)
    several = len({(r.dataset, r.split) for r in results}) > 1
    rates = (f"{first} raw", f"{first} normalised", "95 % interval", f"{other} normalised")
    table = _build_table(
        f"Word and character error rates in percent (normaliser: {normalizers})",
        ("model", *(["dataset"] if several else []), "context"),
        ("clips", *rates, "sub / ins / del", "RTFx"),
        "sub / ins / del: words substituted, inserted, deleted (normalised). "
        "RTFx: seconds of audio decoded per second."
        + " Each clip was decoded after a prompt of names and terms."
        * any(r.is_prompted for r in results),
    )
    for result in results:
        score = result.normalized
        table.add_row(
            Text(result.model),
            *([Text(f"{result.dataset} ({result.split})")] if several else []),
            result.audio_context,
            str(result.num_utterances),
            in_percent(result.rate(result.raw), DECIMALS),
            in_percent(result.rate(score), DECIMALS),
            interval_in_percent(score.ci95, DECIMALS),
            in_percent(score.wer if result.measure == "cer" else score.cer, DECIMALS),
            f"{score.substitutions} / {score.insertions} / {score.deletions}",
            f"{result.rtfx:.1f}",
        )
    return table


def build_comparison_table(comparisons: Sequence[ModelComparison]) -> Table:
    """Build a table with one row for each candidate, dataset, context and form of the text."""
    several = len({(c.dataset, c.split) for c in comparisons}) > 1
    table = _build_table(
        f"Reduction of the error rate in points against {comparisons[0].baseline}",
        ("model", *(["dataset"] if several else []), "context", "text"),
        ("reduction", "95 % interval", "relative", "p", "better / worse / same clips"),
        "p: the chance of such a difference between equally good models.",
    )
    for row in comparisons:
        table.add_row(
            Text(row.candidate),
            *([Text(f"{row.dataset} ({row.split})")] if several else []),
            row.audio_context,
            TEXT_LABELS[row.text],
            in_percent(row.wer_reduction, DECIMALS),
            interval_in_percent(row.ci95, DECIMALS),
            f"{in_percent(row.relative_reduction)} %",
            "< 0.0001" if row.p_value < 0.0001 else f"{row.p_value:.4f}",
            f"{row.wins} / {row.losses} / {row.ties}",
        )
    return table


def build_terms_table(results: Sequence[EvaluationResult]) -> Table:
    """Build a table of the listed names and terms: how many were written, and how many made up."""
    listed = ", ".join(dict.fromkeys(str(result.terms.listed) for result in results if result.terms))
    table = _build_table(
        f"Names and terms (listed: {listed})",
        ("model", "dataset", "context"),
        ("said", "found", "recall", "95 % interval", "false alarms"),
        "recall: found of those said, in percent. False alarms: written although nobody said them.",
    )
    for result in results:
        if score := result.terms:
            table.add_row(
                Text(result.model),
                Text(f"{result.dataset} ({result.split})"),
                result.audio_context,
                str(score.spoken),
                str(score.found),
                "" if score.recall is None else in_percent(score.recall, DECIMALS),
                "" if score.recall is None else interval_in_percent(score.ci95, DECIMALS),
                str(score.false_alarms),
            )
    return table


def build_causes_table(results: Sequence[EvaluationResult]) -> Table:
    """Build a table of the causes of errors, with their cures, for error rates over 100 %."""
    causes = [cause for cause in ERROR_CAUSES if any(result.error_causes.get(cause) for result in results)]
    table = _build_table(
        "Why an error rate is over 100 %: share of the errors of the raw text",
        ("model", "dataset", "context"),
        causes,
        "\n".join(f"{cause}: {ERROR_CAUSES[cause]}. {CURES[cause]}" for cause in causes),
    )
    for result in results:
        total = sum(result.error_causes.values())
        table.add_row(
            Text(result.model),
            Text(f"{result.dataset} ({result.split})"),
            result.audio_context,
            *[share_in_percent(result.error_causes.get(cause, 0), total) for cause in causes],
        )
    return table


def build_failures_table(results: Sequence[EvaluationResult]) -> Table:
    """Build a table of failures, and of invented words per minute."""
    kinds = [kind for kind in FAILURE_KINDS if any(result.failures.get(kind) for result in results)]
    sorts = list(dict.fromkeys(sort for result in results for sort in result.hallucination or {}))
    table = _build_table(
        "What failed",
        ("model", "dataset", "context"),
        (*[f"{kind}, clips" for kind in kinds], *[f"in {sort}, words/min" for sort in sorts]),
        "; ".join(
            [f"{kind}: {FAILURE_KINDS[kind]}" for kind in kinds] + ["words/min: made up"] * bool(sorts)
        ),
    )
    for result in results:
        made_up = [(result.hallucination or {}).get(sort) for sort in sorts]
        table.add_row(
            Text(result.model),
            Text(f"{result.dataset} ({result.split})"),
            result.audio_context,
            *[str(result.failures.get(kind, 0)) for kind in kinds],
            *["" if words is None else f"{words.words_per_minute:.0f}" for words in made_up],
        )
    return table


def score_line(result: EvaluationResult) -> str:
    """Return the model's scores in percent as one line that is a Python dictionary."""
    scores = {
        "raw_wer_score": round(100 * result.raw.wer, 3),
        "normalised_wer_score": round(100 * result.normalized.wer, 3),
    }
    return f"{result.model} on {result.dataset}, {result.audio_context} context: {scores}"
