"""Where the errors are, on a page: by group, by duration, by kind of failure, by pair of words."""

from collections.abc import Mapping, Sequence

from utils.report.result_rows import (
    MEASURES,
    Series,
    in_percent,
    interval_in_percent,
    list_datasets,
    list_series,
    name_dataset,
    name_measures,
    rate_for_order,
    rows_of,
    shorten,
)

from utils.report.charts import Measure, column_chart, legend, swatch
from utils.report.page import Html, isolated, join, table, tag
from utils.report.score_tables import colour_of, heading_of, read_measure, series_table
from utils.scoring.failures import FAILURE_KINDS

DURATION = "duration"  # the column of groups that is drawn as a chart

COMMONEST = 15  # confusion pairs that are shown unfolded

MOST_PAIRS = 50  # in evaluation_results.json

FEW_CLIPS = 10  # of a group whose rate says little


def groups_section(results: Sequence[dict]) -> Html:
    """Error rate by every column that sorts the clips into groups, the groups with the highest rate first."""
    parts = []
    for dataset in list_datasets(results):
        rows = rows_of(results, dataset)
        for column in _columns(rows):
            title = isolated(column)
            if len(list_datasets(results)) > 1:
                title = join([title, " · ", isolated(name_dataset(rows))])
            series = [one for one in list_series(results, rows) if column in (one.row.get("groups") or {})]
            parts += [tag("h3", "By ", title), _group_table(column, series)]
    if not parts:
        return Html("")
    words = (
        f"Normalised {name_measures(results)} in percent with its 95 % interval, one bar for each model. "
        f"A group of fewer than {FEW_CLIPS} clips says little."
    )
    return join([tag("p", words), *parts])


def _columns(rows: Sequence[dict]) -> list[str]:
    return [
        name for name in dict.fromkeys(n for row in rows for n in row.get("groups") or {}) if name != DURATION
    ]


def _group_table(column: str, series: Sequence[Series]) -> Html:
    values = dict.fromkeys(value for one in series for value in one.row["groups"][column])
    last = series[-1].row["groups"][column]
    ordered = sorted(values, key=lambda value: -rate_for_order(series[-1], last.get(value)))
    lines = []
    for value in ordered:
        groups = [one.row["groups"][column].get(value) for one in series]
        known = next(group for group in groups if group is not None)
        first = [isolated(value), f"{known['num_utterances']:,}"]
        pairs = list(zip(series, groups, strict=True))
        measures = [read_measure(one, group and group["normalized"]) for one, group in pairs]
        lines.append((first, [_with_interval(one, group) for one, group in pairs], measures))
    return series_table(_caption(series), (shorten(column), "clips"), lines, series)


def _caption(series: Sequence[Series]) -> str:
    return f"Normalised {series[0].measure.upper()}, percent"


def _with_interval(one: Series, group: dict | None) -> Html:
    if group is None:
        return Html("–")
    interval = tag("span", interval_in_percent(group["normalized"]), class_="aside")
    return join([in_percent(one.rate(group["normalized"])), interval])


def duration_section(results: Sequence[dict]) -> Html:
    """Error rate by the length of the clips, a chart and its numbers for each dataset."""
    figures: list[Html] = []
    for dataset in list_datasets(results):
        rows = [row for row in rows_of(results, dataset) if (row.get("groups") or {}).get(DURATION)]
        if rows:
            where = f" on {name_dataset(rows)}" if len(list_datasets(results)) > 1 else ""
            name = f"duration-{len(figures) + 1}"
            title = f"{name_measures(rows)} by duration{where}"
            figures.append(_duration_figure(name, list_series(results, rows), title))
    return join(figures)


def _duration_figure(name: str, series: Sequence[Series], title: str) -> Html:
    groups = [one.row["groups"][DURATION] for one in series]
    sizes = {label: value["num_utterances"] for group in groups for label, value in group.items()}
    columns = []
    for one, group in zip(series, groups, strict=True):
        scores = [group[label]["normalized"] if label in group else None for label in sizes]
        columns.append((one.label, colour_of(one), [read_measure(one, score) for score in scores]))
    words = (
        f"Normalised {MEASURES[series[0].measure]} in percent by the length of the clip, with 95 % intervals."
    )
    labels = [(label, f"{size:,} clip{'' if size == 1 else 's'}") for label, size in sizes.items()]
    return tag(
        "figure",
        tag("figcaption", tag("strong", isolated(title)), words),
        legend([(swatch(colour_of(one)), one.label) for one in series]),
        column_chart(name, labels, columns, title=title, description=words),
        tag("details", tag("summary", "Numbers"), _duration_numbers(list(sizes), series), class_="numbers"),
    )


def _duration_numbers(labels: Sequence[str], series: Sequence[Series]) -> Html:
    cells = []
    for label in labels:
        groups = [one.row["groups"][DURATION].get(label) for one in series]
        known = next(group for group in groups if group is not None)
        cells.append([label, f"{known['num_utterances']:,}", *map(_with_interval, series, groups)])
    headings = ("duration", "clips", *[isolated(one.label) for one in series])
    whole = table(_caption(series), headings, cells, numeric=range(1, len(headings)))
    return tag("div", whole, class_="series")


def failures_section(results: Sequence[dict]) -> Html:
    """Utterances by kind of failure, and the words written where nobody speaks."""
    parts = []
    for dataset in list_datasets(results):
        rows = [row for row in rows_of(results, dataset) if row.get("failures") is not None]
        if rows:
            series = list_series(results, rows)
            parts.append(_failure_table(series, name_dataset(rows), len(list_datasets(results)) > 1))
    if hallucination := _hallucination_table(results):
        parts += [tag("h3", "Words where nobody speaks"), hallucination]
    return join(parts)


def _failure_table(series: Sequence[Series], where: str, is_one_of_several: bool) -> Html:
    """Counts by kind; what happens to none of the models is summed up in a sentence."""
    kinds = list(dict.fromkeys(kind for one in series for kind in one.row["failures"]))
    met = [kind for kind in kinds if any(one.row["failures"].get(kind) for one in series)]
    lines = []
    for kind in met:
        counts = [one.row["failures"].get(kind, 0) for one in series]
        shares = [
            count / max(one.row["num_utterances"], 1) for count, one in zip(counts, series, strict=True)
        ]
        first = join([isolated(kind), tag("span", FAILURE_KINDS.get(kind, ""), class_="aside")])
        cells = [_with_note(f"{n:,}", in_percent(s, " %")) for n, s in zip(counts, shares, strict=True)]
        lines.append(([first], cells, [Measure(share) for share in shares]))
    parts = [tag("h3", isolated(where))] if is_one_of_several else []
    if lines:
        parts.append(series_table("Clips with a failure, and their share", ("failure",), lines, series))
    absent = [kind for kind in kinds if kind not in met]
    if absent:
        parts.append(tag("p", "In no clip of any model: ", isolated(", ".join(absent)), ".", class_="soft"))
    return join(parts)


def _hallucination_table(results: Sequence[dict]) -> Html:
    """Words a minute on sounds without speech. A model's probe is the same for every dataset: shown once."""
    probed = {
        (row["model"], row["audio_context"]): row for row in reversed(results) if row.get("hallucination")
    }
    series = list_series(results, list(reversed(probed.values())))
    lines = []
    for sound in dict.fromkeys(sound for one in series for sound in one.row["hallucination"]):
        cells, rates = [], []
        for one in series:
            probe = one.row["hallucination"].get(sound)
            minutes = probe["audio_seconds"] / 60 if probe else 0.0
            rates.append(probe["words"] / minutes if minutes else None)
            heard = f"{probe['clips_with_text']:,} of {probe['clips']:,} clips" if probe else ""
            cells.append(_with_note("–" if rates[-1] is None else f"{rates[-1]:.1f}", heard))
        lines.append(([isolated(sound)], cells, rates))
    if not lines:
        return Html("")
    highest = max((rate for *_, rates in lines for rate in rates if rate is not None), default=0.0) or 1.0
    measured = [
        (first, cells, [None if rate is None else Measure(rate / highest) for rate in rates])
        for first, cells, rates in lines
    ]
    caption = "Words a minute written for sound without speech (0 is right), and clips with any text"
    return series_table(caption, ("sound",), measured, series, scale=f"0 to {highest:.0f}")


def _with_note(text: str, note: str) -> Html:
    return join([text, tag("span", note, class_="aside")])


def confusions_section(results: Sequence[dict]) -> Html:
    """Pairs of what was said and what was written instead, with the count of each model."""
    parts = []
    for dataset in list_datasets(results):
        rows = [row for row in rows_of(results, dataset) if row.get("confusions")]
        if not rows:
            continue
        if len(list_datasets(results)) > 1:
            parts.append(tag("h3", isolated(name_dataset(rows))))
        series = list_series(results, rows)
        lines = _confusion_lines(rows)
        parts.append(_confusion_table("The commonest", lines[:COMMONEST], series))
        if len(lines) > COMMONEST:
            more = _confusion_table("Further pairs", lines[COMMONEST : 2 * MOST_PAIRS], series)
            parts.append(tag("details", tag("summary", "Further pairs"), more, class_="numbers"))
    if not parts:
        return Html("")
    words = (
        "Words of the normalised text that were taken for others, left out or added, the last model's "
        "commonest first. A dash means: not among the model's commonest pairs."
    )
    return join([tag("p", words), *parts])


def _confusion_lines(rows: Sequence[dict]) -> list[list[str]]:
    """Said, written, and the count of each row; the last row's commonest first, then by all counts."""
    counts = [
        {(pair["reference"], pair["hypothesis"]): pair["count"] for pair in row["confusions"]} for row in rows
    ]
    pairs = dict.fromkeys(pair for count in counts for pair in count)
    ordered = sorted(pairs, key=lambda pair: [-count.get(pair, 0) for count in reversed(counts)])
    return [[*[_word(word) for word in pair], *[_count(count, pair) for count in counts]] for pair in ordered]


def _count(counts: Mapping[tuple[str | None, str | None], int], pair: tuple[str | None, str | None]) -> str:
    if pair in counts:
        return f"{counts[pair]:,}"
    return "0" if len(counts) < MOST_PAIRS else "–"


def _word(word: str | None) -> Html:
    return tag("span", "nothing", class_="nothing") if word is None else isolated(shorten(word))


def _confusion_table(caption: str, lines: Sequence[Sequence[str]], series: Sequence[Series]) -> Html:
    headings = [heading_of(one) for one in series]
    numeric = range(2, 2 + len(series))
    whole = table(caption, ("said", "written", *headings), lines, numeric=numeric)
    return tag("div", whole, class_="series")
