"""An evaluation in the terminal: tables of scores, comparisons and failures."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from utils.evaluation.records import EvaluationResult, ModelComparison
from utils.scoring.failures import FAILURE_KINDS

TEXT_LABELS = {"raw": "raw", "normalized": "normalised"}

PLAIN_WIDTH = 160  # columns of a table that goes to a file


def report_console() -> Console:
    """A console wide enough for the tables: the terminal's width, or a fixed one in a log file."""
    console = Console()
    return console if console.is_terminal else Console(width=PLAIN_WIDTH)


def print_report(
    results: Sequence[EvaluationResult],
    comparisons: Sequence[ModelComparison],
    verdict: str | None,
    console: Console | None = None,
) -> None:
    """Print scores, comparison and verdict, rates in percent."""
    console = console or report_console()
    console.print(build_results_table(results))
    if comparisons:
        console.print(build_comparison_table(comparisons))
    if any(any(r.failures.values()) or r.hallucination for r in results):
        console.print(build_failures_table(results))
    if verdict:
        console.print(Text(verdict))
    for result in results:
        # plain print: one line however narrow the terminal, for scripts that look for it
        print(score_line(result), file=console.file)


def build_results_table(results: Sequence[EvaluationResult]) -> Table:
    """One row for each model, dataset and context."""
    normalizers = ", ".join(dict.fromkeys(r.normalizer for r in results))
    table = Table(title=f"Word and character error rates in percent (normaliser: {normalizers})")
    measures = list(dict.fromkeys(result.measure for result in results))
    first = " or ".join(measure.upper() for measure in measures)
    other = " or ".join("WER" if measure == "cer" else "CER" for measure in measures)
    several = len({(r.dataset, r.split) for r in results}) > 1
    for name in ("model", *(["dataset"] if several else []), "context"):
        table.add_column(name, overflow="fold")
    for name in (
        "clips",
        f"{first} raw",
        f"{first} normalised",
        "95 % interval",
        f"{other} normalised",
        "sub / ins / del",
        "RTFx",
    ):
        table.add_column(name, justify="right")
    for result in results:
        score = result.normalized
        table.add_row(
            Text(result.model),
            *([Text(f"{result.dataset} ({result.split})")] if several else []),
            result.audio_context,
            str(result.num_utterances),
            _percent(result.rate(result.raw)),
            _percent(result.rate(score)),
            f"{_percent(score.ci95[0])} to {_percent(score.ci95[1])}",
            _percent(score.wer if result.measure == "cer" else score.cer),
            f"{score.substitutions} / {score.insertions} / {score.deletions}",
            f"{result.rtfx:.1f}",
        )
    return table


def build_comparison_table(comparisons: Sequence[ModelComparison]) -> Table:
    """One row for each candidate, dataset, context and form of the text."""
    baselines = ", ".join(dict.fromkeys(c.baseline for c in comparisons))
    table = Table(title=Text(f"Reduction of the error rate in points against {baselines}"))
    several = len({(c.dataset, c.split) for c in comparisons}) > 1
    for name in ("model", *(["dataset"] if several else []), "context", "text"):
        table.add_column(name, overflow="fold")
    for name in ("reduction", "95 % interval", "relative", "p", "better / worse / same clips"):
        table.add_column(name, justify="right")
    for row in comparisons:
        table.add_row(
            Text(row.candidate),
            *([Text(f"{row.dataset} ({row.split})")] if several else []),
            row.audio_context,
            TEXT_LABELS[row.text],
            _percent(row.wer_reduction),
            f"{_percent(row.ci95[0])} to {_percent(row.ci95[1])}",
            f"{100 * row.relative_reduction:.1f} %",
            f"{row.p_value:.4f}",
            f"{row.wins} / {row.losses} / {row.ties}",
        )
    return table


def build_failures_table(results: Sequence[EvaluationResult]) -> Table:
    """Utterances by kind of failure, and words a minute made up where nobody speaks."""
    kinds = [kind for kind in FAILURE_KINDS if any(result.failures.get(kind) for result in results)]
    sorts = list(dict.fromkeys(sort for result in results for sort in result.hallucination or {}))
    table = Table(title="What failed: utterances, and words a minute made up in sounds without speech")
    for name in ("model", "dataset", "context"):
        table.add_column(name, overflow="fold")
    for name in (*kinds, *[f"in {sort}" for sort in sorts]):
        table.add_column(name, justify="right")
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
    """The model's scores in percent as one line that reads as a Python dictionary."""
    scores = {
        "raw_wer_score": round(100 * result.raw.wer, 3),
        "normalised_wer_score": round(100 * result.normalized.wer, 3),
    }
    return f"{result.model} on {result.dataset}, {result.audio_context} context: {scores}"


def _percent(rate: float) -> str:
    return f"{100 * rate:.2f}"
