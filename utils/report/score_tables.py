"""Scores on a page: tables with intervals, bars of before and after, and tables of models side by side."""

from collections.abc import Sequence

from utils.evaluation.records import RATES, Analysis, EvaluationResult, ModelComparison
from utils.report.charts import Measure, chart_top, stacked_bars, swatch
from utils.report.labels import TEXT_LABELS, in_percent, in_time, interval_in_percent, shorten
from utils.report.page import Html, isolated, join, table, tag
from utils.report.series import Series, list_series, name_dataset, name_measures, split_by_dataset


def headed_datasets(results: Sequence[EvaluationResult]) -> list[tuple[list[Html], list[EvaluationResult]]]:
    """The results of each dataset below its heading; none where there is one dataset alone."""
    datasets = split_by_dataset(results)
    if len(datasets) == 1:
        return [([], datasets[0])]
    return [([tag("h3", isolated(name_dataset(rows[0])))], rows) for rows in datasets]


def scores_section(results: Sequence[EvaluationResult], analysis: Analysis | None) -> Html:
    """For each dataset a table of scores for each form of the text; then the differences and the speed."""
    parts = []
    datasets = headed_datasets(results)
    several = len(datasets) > 1
    for heading, rows in datasets:
        parts += [*heading, *[_score_table(list_series(results, rows), text) for text in TEXT_LABELS]]
    if analysis:
        parts.append(_comparison_table(results, analysis.comparisons, several))
    return join([*parts, _speed_table(list_series(results, results), several)])


def _score_table(series: Sequence[Series], text: str) -> Html:
    normalizers = ", ".join(dict.fromkeys(one.result.normalizer for one in series))
    caption = {
        "normalized": f"Normalised text ({normalizers}), percent",
        "raw": "Raw text, where case and punctuation count, percent",
    }[text]
    first = series[0].measure
    others = [name.upper() for name in RATES if name.upper() != first]
    headings = ("model", first, "95 % interval", *others, "sub", "ins", "del", "words")
    cells = []
    for one in series:
        score = getattr(one.result, text)
        rates = [in_percent(getattr(score, name.lower())) for name in others]
        counts = (score.substitutions, score.insertions, score.deletions, score.num_words)
        rate, interval = tag("strong", in_percent(one.rate(score))), interval_in_percent(score.ci95)
        cells.append([isolated(one.label), rate, interval, *rates, *[f"{count:,}" for count in counts]])
    return table(caption, headings, cells, numeric=range(1, len(headings)))


def _comparison_table(
    results: Sequence[EvaluationResult], comparisons: Sequence[ModelComparison], several: bool
) -> Html:
    names = {(result.dataset, result.split): name_dataset(result) for result in results}
    cells = [
        [
            join([isolated(shorten(row.candidate)), f" · {row.audio_context}"]),
            *([isolated(names[row.dataset, row.split])] if several else []),
            TEXT_LABELS[row.text],
            tag("strong", in_percent(row.wer_reduction)),
            interval_in_percent(row.ci95),
            f"{100 * row.relative_reduction:.0f} %",
            "< 0.001" if row.p_value < 0.001 else f"{row.p_value:.3f}",
            f"{row.wins:,} / {row.losses:,} / {row.ties:,}",
        ]
        for row in sorted(comparisons, key=lambda row: list(TEXT_LABELS).index(row.text))
    ]
    first = ("model", *(["dataset"] if several else []), "text")
    headings = (*first, "points fewer", "95 % interval", "relative", "p", "better / worse / same")
    baseline = isolated(shorten(comparisons[0].baseline))
    against = (f"{name_measures(results)} against ", baseline, " in percentage points, and on how many clips")
    return table(join(against), headings, cells, numeric=range(len(first), len(headings)))


def _speed_table(series: Sequence[Series], several: bool) -> Html:
    cells = [
        [
            isolated(one.label),
            *([isolated(name_dataset(one.result))] if several else []),
            one.result.backend,
            f"{one.result.num_utterances:,}",
            in_time(one.result.audio_seconds),
            f"{one.result.rtfx:.1f}",
            _parameters(one.result),
        ]
        for one in series
    ]
    first = ("model", *(["dataset"] if several else []), "backend")
    headings = (*first, "clips", "speech", "times real time", "parameters trained / all")
    return table("Speed and size", headings, cells, numeric=range(len(first), len(headings)))


def _parameters(result: EvaluationResult) -> str:
    trained = result.trainable_parameters
    before = "–" if trained is None else f"{trained / 1e6:.1f}"
    return f"{before} / {result.total_parameters / 1e6:.1f} M"


def before_after_section(results: Sequence[EvaluationResult]) -> Html:
    """Error rate of every model as bars with intervals, a picture for each dataset and form of the text."""
    parts = []
    for heading, rows in headed_datasets(results):
        if len(rows) > 1:
            parts += [*heading, *[_bars(list_series(results, rows), text) for text in TEXT_LABELS]]
    if not parts:
        return Html("")
    words = f"{name_measures(results)} in percent; lower is better. Whiskers are 95 % intervals."
    return join([tag("p", words), *parts])


def _bars(series: Sequence[Series], text: str) -> Html:
    scores = [getattr(one.result, text) for one in series]
    measures = [one.bar(score) for one, score in zip(series, scores, strict=True)]
    top = chart_top(measures)
    cells = [
        [
            isolated(one.label),
            stacked_bars([measure], [one.colour], top),
            tag("strong", in_percent(measure.rate)),
            interval_in_percent(score.ci95),
        ]
        for one, measure, score in zip(series, measures, scores, strict=True)
    ]
    headings = ("model", f"0 to {100 * top:.0f} %", series[0].measure, "95 % interval")
    whole = table(f"{TEXT_LABELS[text].capitalize()} text", headings, cells, numeric=(2, 3))
    return tag("div", whole, class_="bars")


def heading_of(series: Series) -> Html:
    """The name of a model above its column, with the colour of its bars."""
    return tag("span", swatch(series.colour), isolated(series.label), class_="name")


def with_aside(text: str, aside: str) -> Html:
    """A figure with a smaller one below it."""
    return join([text, tag("span", aside, class_="aside")])


def series_table(
    caption: str,
    names: Sequence[str],
    lines: Sequence[tuple[Sequence[str], Sequence[str], Sequence[Measure]]],
    series: Sequence[Series],
    scale: str | None = None,
) -> Html:
    """A line for each thing, with a number and a bar of each series.

    Args:
        caption: Says what it shows.
        names: Headings of the first columns, of which all but the first hold numbers.
        lines: The first cells, the series' cells, and what their bars show.
        series: The models, side by side.
        scale: Heading of the bars; the percentage at their end when not given.
    """
    colours = [one.colour for one in series]
    top = chart_top(measure for *_, measures in lines for measure in measures)
    cells = [[*first, *numbers, stacked_bars(measures, colours, top)] for first, numbers, measures in lines]
    headings = (*names, *map(heading_of, series), scale or f"0 to {100 * top:.0f} %")
    whole = table(caption, headings, cells, numeric=range(1, len(headings) - 1))
    return tag("div", whole, class_="series")
