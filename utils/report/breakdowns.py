"""Where the errors are, on a page: by group, by duration, by kind of failure, by pair of words."""

from collections.abc import Sequence

from utils.evaluation.records import EvaluationResult, TextScore
from utils.report.charts import Measure, column_chart, legend, swatch
from utils.report.labels import MEASURES, counted, in_percent, interval_in_percent, shorten
from utils.report.page import Html, isolated, join, table, tag
from utils.report.score_tables import headed_datasets, heading_of, series_table, with_aside
from utils.report.series import (
    Series,
    list_series,
    list_values,
    name_dataset,
    name_measures,
    split_by_dataset,
)
from utils.scoring.failures import FAILURE_KINDS
from utils.scoring.word_alignment import MAX_CONFUSIONS

DURATION = "duration"  # the column of groups that is drawn as a chart

COMMONEST = 15  # confusion pairs that are shown unfolded

FEW_CLIPS = 10  # of a group whose rate says little


def groups_section(results: Sequence[EvaluationResult]) -> Html:
    """Error rate by every column that sorts the clips into groups, the groups with the highest rate first."""
    parts = []
    datasets = split_by_dataset(results)
    for rows in datasets:
        where = [" · ", isolated(name_dataset(rows[0]))] if len(datasets) > 1 else []
        series = list_series(results, rows)
        for column in rows[0].groups:
            if column != DURATION:
                parts += [tag("h3", "By ", isolated(column), *where), _group_table(column, series)]
    if not parts:
        return Html("")
    words = (
        f"Normalised {name_measures(results)} in percent with its 95 % interval, one bar for each model. "
        f"A group of fewer than {FEW_CLIPS} clips says little."
    )
    return join([tag("p", words), *parts])


def _group_table(column: str, series: Sequence[Series]) -> Html:
    lines = []
    for value in list_values(column, series):
        size = series[0].result.groups[column][value].num_utterances
        scores = _group_scores(column, value, series)
        lines.append(([isolated(value), f"{size:,}"], _rate_cells(scores, series), _bars(scores, series)))
    return series_table(_caption(series), (shorten(column), "clips"), lines, series)


def _caption(series: Sequence[Series]) -> str:
    return f"Normalised {series[0].measure}, percent"


def _group_scores(column: str, value: str, series: Sequence[Series]) -> list[TextScore]:
    return [one.result.groups[column][value].normalized for one in series]


def _rate_cells(scores: Sequence[TextScore], series: Sequence[Series]) -> list[Html]:
    return [
        with_aside(in_percent(one.rate(score)), interval_in_percent(score.ci95))
        for one, score in zip(series, scores, strict=True)
    ]


def _bars(scores: Sequence[TextScore], series: Sequence[Series]) -> list[Measure]:
    return [one.bar(score) for one, score in zip(series, scores, strict=True)]


def duration_section(results: Sequence[EvaluationResult]) -> Html:
    """Error rate by the length of the clips, a chart and its numbers for each dataset."""
    figures: list[Html] = []
    datasets = split_by_dataset(results)
    for rows in datasets:
        if DURATION in rows[0].groups:
            where = f" on {name_dataset(rows[0])}" if len(datasets) > 1 else ""
            title = f"{name_measures(rows)} by duration{where}"
            figures.append(
                _duration_figure(f"duration-{len(figures) + 1}", list_series(results, rows), title)
            )
    return join(figures)


def _duration_figure(name: str, series: Sequence[Series], title: str) -> Html:
    sizes = {label: group.num_utterances for label, group in series[0].result.groups[DURATION].items()}
    scores = {label: _group_scores(DURATION, label, series) for label in sizes}
    columns = [
        (one.label, one.colour, [one.bar(found[place]) for found in scores.values()])
        for place, one in enumerate(series)
    ]
    words = (
        f"Normalised {MEASURES[series[0].result.measure]} in percent by the length of the clip, "
        "with 95 % intervals."
    )
    labels = [(label, counted(size, "clip")) for label, size in sizes.items()]
    cells = [[label, f"{size:,}", *_rate_cells(scores[label], series)] for label, size in sizes.items()]
    headings = ("duration", "clips", *[isolated(one.label) for one in series])
    numbers = table(_caption(series), headings, cells, numeric=range(1, len(headings)))
    return tag(
        "figure",
        tag("figcaption", tag("strong", isolated(title)), words),
        legend([(swatch(one.colour), one.label) for one in series]),
        column_chart(name, labels, columns, title=title, description=words),
        tag("details", tag("summary", "Numbers"), tag("div", numbers, class_="series"), class_="numbers"),
    )


def failures_section(results: Sequence[EvaluationResult]) -> Html:
    """Utterances by kind of failure, and the words written where nobody speaks."""
    parts = []
    for heading, rows in headed_datasets(results):
        parts += [*heading, *_failure_table(list_series(results, rows))]
    if hallucination := _hallucination_table(results):
        parts += [tag("h3", "Words where nobody speaks"), hallucination]
    return join(parts)


def _failure_table(series: Sequence[Series]) -> list[Html]:
    """Counts by kind; what happens to none of the models is summed up in a sentence."""
    lines, absent = [], []
    for kind, meaning in FAILURE_KINDS.items():
        counts = [one.result.failures[kind] for one in series]
        if not any(counts):
            absent.append(kind)
            continue
        shares = [count / one.result.num_utterances for count, one in zip(counts, series, strict=True)]
        pairs = zip(counts, shares, strict=True)
        cells = [with_aside(f"{count:,}", f"{in_percent(share)} %") for count, share in pairs]
        lines.append(([with_aside(isolated(kind), meaning)], cells, [Measure(share) for share in shares]))
    parts = []
    if lines:
        parts.append(series_table("Clips with a failure, and their share", ("failure",), lines, series))
    if absent:
        parts.append(tag("p", "In no clip of any model: ", isolated(", ".join(absent)), ".", class_="soft"))
    return parts


def _hallucination_table(results: Sequence[EvaluationResult]) -> Html:
    """Words a minute on sounds without speech. A model's probe is the same for every dataset: shown once."""
    probed: dict[tuple[str, str], EvaluationResult] = {}
    for result in results:
        if result.hallucination:
            probed.setdefault((result.model, result.audio_context), result)
    if not probed:
        return Html("")
    series = list_series(results, list(probed.values()))
    probes = [one.result.hallucination or {} for one in series]
    highest = max(probe.words_per_minute for sounds in probes for probe in sounds.values()) or 1.0
    lines = []
    for sound in probes[0]:
        heard = [sounds[sound] for sounds in probes]
        cells = [
            with_aside(f"{probe.words_per_minute:.1f}", f"{probe.clips_with_text:,} of {probe.clips:,} clips")
            for probe in heard
        ]
        bars = [Measure(probe.words_per_minute / highest) for probe in heard]
        lines.append(([isolated(sound)], cells, bars))
    caption = "Words a minute written for sound without speech (0 is right), and clips with any text"
    return series_table(caption, ("sound",), lines, series, scale=f"0 to {highest:.0f}")


def confusions_section(results: Sequence[EvaluationResult]) -> Html:
    """Pairs of what was said and what was written instead, with the count of each model."""
    parts = []
    for heading, rows in headed_datasets(results):
        series = [one for one in list_series(results, rows) if one.result.confusions]
        if not series:
            continue
        lines = _confusion_lines(series)
        parts += [*heading, _confusion_table("The commonest", lines[:COMMONEST], series)]
        if len(lines) > COMMONEST:
            more = _confusion_table("Further pairs", lines[COMMONEST : 2 * MAX_CONFUSIONS], series)
            parts.append(tag("details", tag("summary", "Further pairs"), more, class_="numbers"))
    if not parts:
        return Html("")
    words = (
        "Words of the normalised text that were taken for others, left out or added, the last model's "
        "commonest first. A dash means: not among the model's commonest pairs."
    )
    return join([tag("p", words), *parts])


def _confusion_lines(series: Sequence[Series]) -> list[list[str]]:
    """Said, written, and the count of each model; the last model's commonest first, then by all counts."""
    counts = [{(c.reference, c.hypothesis): c.count for c in one.result.confusions} for one in series]
    pairs = dict.fromkeys(pair for count in counts for pair in count)
    ordered = sorted(pairs, key=lambda pair: [-count.get(pair, 0) for count in reversed(counts)])
    # a model with fewer pairs than are kept shows all of its own
    absent = ["0" if len(count) < MAX_CONFUSIONS else "–" for count in counts]
    lines = []
    for pair in ordered:
        shown = [f"{own[pair]:,}" if pair in own else no for own, no in zip(counts, absent, strict=True)]
        lines.append([*map(_word, pair), *shown])
    return lines


def _word(word: str | None) -> Html:
    return tag("span", "nothing", class_="nothing") if word is None else isolated(shorten(word))


def _confusion_table(caption: str, lines: Sequence[Sequence[str]], series: Sequence[Series]) -> Html:
    headings = ("said", "written", *map(heading_of, series))
    whole = table(caption, headings, lines, numeric=range(2, len(headings)))
    return tag("div", whole, class_="series")
