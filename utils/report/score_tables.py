"""Scores on a page: tables with intervals, bars of before and after, and tables of models side by side."""

from collections.abc import Sequence

from utils.report.charts import Colour, Measure, chart_top, stacked_bars, swatch
from utils.report.page import Html, isolated, join, table, tag
from utils.report.result_rows import (
    Series,
    in_percent,
    in_time,
    interval_in_percent,
    is_known,
    known_interval,
    list_datasets,
    list_series,
    measure_of,
    name_dataset,
    name_measures,
    rows_of,
    shorten,
)

TEXTS = {"normalized": "normalised text", "raw": "raw text"}

SCORE_STYLE = """
thead th, thead th.number { vertical-align: bottom; white-space: normal; }
td { overflow-wrap: break-word; }
tbody th { min-width: 8.5rem; }
h2 + h3 { margin-top: 0; }
.bars td, .bars tbody th { vertical-align: middle; }
.bars td.wide { width: 50%; min-width: 7rem; padding-inline-end: 1.5rem; }
.bars svg.stack { height: 1.05rem; margin: 0; }
.name { display: inline-block; min-width: 8.25rem; max-width: 11rem; overflow-wrap: anywhere; }
.name svg { display: block; margin: 0 0 .15rem; }
.number .name svg { margin-inline-start: auto; }
.series td.wide { min-width: 8rem; }
.aside { display: block; color: var(--soft); font-size: .82em; }
.number .aside { white-space: nowrap; }
"""


def scores_section(results: Sequence[dict], analysis: dict | None) -> Html:
    """For each dataset a table of scores for each form of the text; then the differences and the speed."""
    parts = []
    datasets = list_datasets(results)
    for dataset in datasets:
        rows = rows_of(results, dataset)
        if len(datasets) > 1:
            parts.append(tag("h3", isolated(name_dataset(rows))))
        parts += [_score_table(results, rows, text) for text in TEXTS]
    if analysis and analysis.get("comparisons"):
        parts.append(_comparison_table(results, analysis["comparisons"]))
    parts.append(_speed_table(results))
    return join(parts)


def _score_table(results: Sequence[dict], rows: Sequence[dict], text: str) -> Html:
    normalizers = ", ".join(dict.fromkeys(row["normalizer"] for row in rows))
    caption = {
        "normalized": f"Normalised text ({normalizers}), percent",
        "raw": "Raw text, where case and punctuation count, percent",
    }[text]
    edits = ("substitutions", "insertions", "deletions")
    first = measure_of(rows[0])
    others = [key for key in ("wer", "cer", "mer", "wil") if key != first]
    rates = [first.upper(), "95 % interval", *map(str.upper, others)]
    headings = ("model", *rates, "sub", "ins", "del", "words")
    cells = []
    for series in list_series(results, rows):
        score = series.row[text]
        cells.append(
            [
                isolated(series.label),
                tag("strong", in_percent(series.rate(score))),
                interval_in_percent(score),
                *[in_percent(score.get(key)) for key in others],
                *[f"{score[key]:,}" for key in edits],
                f"{score['num_words']:,}",
            ]
        )
    return table(caption, headings, cells, numeric=range(1, len(headings)))


def _comparison_table(results: Sequence[dict], comparisons: Sequence[dict]) -> Html:
    several = len(list_datasets(results)) > 1
    guards = {(row["dataset"], row["split"]): name_dataset([row]) for row in results}
    cells = []
    for row in sorted(comparisons, key=lambda row: tuple(TEXTS).index(row["text"])):
        label = [isolated(shorten(row["candidate"])), f" · {row['audio_context']}"]
        where = guards.get((row["dataset"], row["split"]), shorten(row["dataset"]))
        low, high = row["ci95"]
        cells.append(
            [
                join(label),
                *([isolated(where)] if several else []),
                TEXTS[row["text"]].removesuffix(" text"),
                tag("strong", in_percent(row["wer_reduction"])),
                f"{in_percent(low)} to {in_percent(high)}",
                f"{100 * row['relative_reduction']:.0f} %",
                "< 0.001" if row["p_value"] < 0.001 else f"{row['p_value']:.3f}",
                f"{row['wins']:,} / {row['losses']:,} / {row['ties']:,}",
            ]
        )
    names = ("model", *(["dataset"] if several else []), "text")
    headings = (*names, "points fewer", "95 % interval", "relative", "p", "better / worse / same")
    baselines = ", ".join(dict.fromkeys(shorten(row["baseline"]) for row in comparisons))
    measures = name_measures(results)
    caption = join(
        [f"{measures} against ", isolated(baselines), " in percentage points, and on how many clips"]
    )
    return table(caption, headings, cells, numeric=range(len(names), len(headings)))


def _speed_table(results: Sequence[dict]) -> Html:
    several = len(list_datasets(results)) > 1
    cells = [
        [
            isolated(series.label),
            *([isolated(name_dataset([series.row]))] if several else []),
            series.row.get("backend", "transformers"),
            f"{series.row['num_utterances']:,}",
            in_time(series.row["audio_seconds"]),
            f"{series.row['rtfx']:.1f}",
            _parameters(series.row),
        ]
        for series in list_series(results, results)
    ]
    names = ("model", *(["dataset"] if several else []), "backend")
    headings = (*names, "clips", "speech", "times real time", "parameters trained / all")
    return table("Speed and size", headings, cells, numeric=range(len(names), len(headings)))


def _parameters(row: dict) -> str:
    trained, total = row.get("trainable_parameters"), row.get("total_parameters")
    if total is None:
        return "–"
    before = "– / " if trained is None else f"{trained / 1e6:.1f} / "
    return f"{before}{total / 1e6:.1f} M"


def before_after_section(results: Sequence[dict]) -> Html:
    """Error rate of every model as bars with intervals, a picture for each dataset and form of the text."""
    parts = []
    for dataset in list_datasets(results):
        rows = rows_of(results, dataset)
        if len(rows) > 1:
            if len(list_datasets(results)) > 1:
                parts.append(tag("h3", isolated(name_dataset(rows))))
            parts += [_bars(list_series(results, rows), text) for text in TEXTS]
    if not parts:
        return Html("")
    words = f"{name_measures(results)} in percent; lower is better. Whiskers are 95 % intervals."
    return join([tag("p", words), *parts])


def _bars(series: Sequence[Series], text: str) -> Html:
    measures = [read_measure(one, one.row[text]) for one in series]
    top = chart_top(measures)
    cells = [
        [
            isolated(one.label),
            stacked_bars([measure], [colour_of(one)], top),
            tag("strong", in_percent(one.rate(one.row[text]))),
            interval_in_percent(one.row[text]),
        ]
        for one, measure in zip(series, measures, strict=True)
    ]
    headings = ("model", f"0 to {100 * top:.0f} %", series[0].measure.upper(), "95 % interval")
    return tag("div", table(TEXTS[text].capitalize(), headings, cells, numeric=(2, 3)), class_="bars")


def read_measure(one: Series, score: dict | None) -> Measure | None:
    """The rate of one of a series' scores with its interval; None where it is not known."""
    rate = one.rate(score)
    return Measure(rate, known_interval(score)) if rate is not None and score and is_known(rate) else None


def colour_of(series: Series) -> Colour:
    """The colour of a model, paler in the dynamic context."""
    return Colour(series.number, series.is_dynamic)


def heading_of(series: Series) -> Html:
    """The name of a model above its column, with the colour of its bars."""
    return tag("span", swatch(colour_of(series)), isolated(series.label), class_="name")


def series_table(
    caption: str,
    names: Sequence[str],
    lines: Sequence[tuple[Sequence[str], Sequence[str], Sequence[Measure | None]]],
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
    colours = [colour_of(one) for one in series]
    top = chart_top([measure for *_, measures in lines for measure in measures])
    cells = [[*first, *numbers, stacked_bars(measures, colours, top)] for first, numbers, measures in lines]
    headings = [heading_of(one) for one in series]
    end = scale or f"0 to {100 * top:.0f} %"
    numeric = range(1, len(names) + len(series))
    whole = table(caption, (*names, *headings, end), cells, numeric=numeric)
    return tag("div", whole, class_="series")
