"""Charts made of results by hand: which there are, how long their bars are, what stands beside them."""

from dataclasses import replace

import pytest
from matplotlib import image

from tests.support.made_up_results import (
    BASE,
    CURVE,
    TUNED,
    build_result,
    build_results,
    group,
    hostile_inputs,
)
from tests.support.pages import HOSTILE, RIGHT_TO_LEFT, DrawnChart
from tests.support.scored_results import BASE as SCORED_BASE
from tests.support.scored_results import SCORE
from tests.support.scored_results import TUNED as SCORED_TUNED
from utils.report.charts import Panel, RateRow, draw_learning, draw_rates
from utils.report.evaluation_charts import MOST_VALUES, draw_evaluation_charts, write_evaluation_plots
from utils.report.learning_curve import LearningCurve
from utils.report.series import list_series

NAMES = ["before_after", "group-accent-1", "duration-1", "learning_curve"]
DYNAMIC = replace(
    SCORED_TUNED, audio_context="dynamic", normalized=replace(SCORE, wer=0.098, ci95=(0.07, 0.13))
)


def marks_of(chart) -> dict:
    return DrawnChart(chart.svg).marks


def lengths_of(chart) -> list[float]:
    return [box.right - box.left for box in marks_of(chart).values()]


def test_a_picture_for_each_chart(tmp_path):
    charts = draw_evaluation_charts(build_results(), [CURVE])
    written = write_evaluation_plots(tmp_path / "plots", charts)
    assert [path.name for path in written] == [f"{name}.png" for name in NAMES]
    assert sorted(tmp_path.joinpath("plots").iterdir()) == sorted(written)
    for path in written:
        pixels = image.imread(path)
        assert pixels.shape[0] >= 300 and pixels.shape[1] >= 900 and pixels[..., :3].std() > 0.05


def test_one_model_without_groups_has_no_pictures(tmp_path):
    charts = draw_evaluation_charts([build_result(groups={})], [])
    assert write_evaluation_plots(tmp_path, charts) == [] == list(tmp_path.iterdir())


def test_names_of_files_are_safe_and_unlike(tmp_path):
    groups = {name: {"a": group(0.3), "b": group(0.2)} for name in ("../../x", "x", "X", "方言", HOSTILE)}
    charts = draw_evaluation_charts([build_result(groups=groups)], [])
    names = [path.name for path in write_evaluation_plots(tmp_path, charts)]
    assert names[:4] == ["group-x.png", "group-x-2.png", "group-x-3.png", "group-column.png"]
    assert len(set(names)) == 5 and sorted(path.name for path in tmp_path.iterdir()) == sorted(names)


def test_foreign_text_in_pictures(tmp_path):
    results, _, _, _, curves = hostile_inputs()
    for result in results:
        result.groups["accent"] |= {"$x^$ \x1b\n": group(0.2), "हिन्दी": group(0.1), RIGHT_TO_LEFT: group(1)}
    charts = draw_evaluation_charts(results, curves)
    assert len(write_evaluation_plots(tmp_path, charts)) >= 3
    assert "$x^$ \ufffd" in DrawnChart(charts.groups[0].svg).texts


@pytest.mark.parametrize(
    "results",
    [
        [SCORED_BASE, *[replace(SCORED_TUNED, model=f"run {n}") for n in range(7)]],
        [
            replace(SCORED_BASE, model="a$b", dataset="$x^$"),
            replace(SCORED_TUNED, model="runs/$_$", dataset="$x^$"),
        ],
    ],
)
def test_before_and_after_with_many_models_and_formulas(results, tmp_path):
    charts = draw_evaluation_charts(results, [])
    (path,) = write_evaluation_plots(tmp_path, charts)
    assert image.imread(path)[..., :3].std() > 0.05
    assert {result.model for result in results} <= set(DrawnChart(charts.before_after.svg).texts)


def test_before_and_after_show_the_scores_beside_their_bars():
    chart = draw_evaluation_charts([SCORED_BASE, SCORED_TUNED, DYNAMIC], []).before_after
    assert list(marks_of(chart)) == [
        "openai/whisper-base · full, normalised text: 30.3 %",
        "openai/whisper-base · full, raw text: 45.9 %",
        "runs/[it]/best · full, normalised text: 11.6 %",
        "runs/[it]/best · full, raw text: 21.9 %",
        "runs/[it]/best · dynamic, normalised text: 9.8 %",
        "runs/[it]/best · dynamic, raw text: 21.9 %",
    ]
    lengths = lengths_of(chart)
    rates = [30.26, 45.873, 11.6, 21.9, 9.8, 21.9]
    assert [length / lengths[0] for length in lengths] == pytest.approx([r / 30.26 for r in rates], abs=1e-3)
    drawn = DrawnChart(chart.svg)
    assert {"30.3", "45.9", "11.6", "9.8", "data/it (test), 139 clips"} <= set(drawn.texts)
    assert "lower is better" in drawn.description and "WER" in drawn.description


def test_the_same_model_has_its_colour_everywhere_and_is_paler_in_the_dynamic_context():
    chart = draw_evaluation_charts([SCORED_BASE, SCORED_TUNED, DYNAMIC], []).before_after
    fills = [box.fill for box in marks_of(chart).values()]
    assert fills == ["var(--series-0)"] * 2 + ["var(--series-1)"] * 4
    groups = DrawnChart(chart.svg).root.iter("g")
    paths = [group[1] for group in groups if len(group) and group[0].tag == "title"]
    assert [path.get("opacity") for path in paths] == [None] * 4 + ["0.55"] * 2


def test_a_dataset_on_which_there_is_nothing_to_compare_has_no_panel():
    results = [SCORED_BASE, SCORED_TUNED, replace(SCORED_BASE, dataset="data/en")]
    texts = DrawnChart(draw_evaluation_charts(results, []).before_after.svg).texts
    assert "data/it (test), 139 clips" in texts and not any("data/en" in text for text in texts)
    alone = [SCORED_BASE, replace(SCORED_BASE, dataset="data/en")]
    assert draw_evaluation_charts(alone, []).before_after is None


def test_whiskers_reach_from_end_to_end_of_the_interval():
    """An interval from 25 to 36 % around 30.26 %, on the scale of the bar."""
    series = list_series([SCORED_BASE], [SCORED_BASE])
    (axes,) = draw_rates([Panel("", series, [RateRow("a", "", [SCORE])])]).axes
    (bar,) = axes.patches
    (whisker,) = axes.collections[0].get_segments()
    assert bar.get_width() == pytest.approx(30.26)
    assert [point[0] for point in whisker] == pytest.approx([25.0, 36.0])
    assert axes.get_xlim()[0] == 0 and axes.get_xlim()[1] > 36


def test_a_model_that_runs_away_does_not_flatten_the_others():
    results = [build_result(wer=9.64), build_result(TUNED, 0.116)]
    series = list_series(results, results)
    panel = Panel("", series, [RateRow("a", "", [result.normalized for result in results])])
    assert panel.top == 1.5 and draw_rates([panel]).axes[0].get_xlim()[1] == pytest.approx(168)
    texts = DrawnChart(draw_evaluation_charts(results, []).before_after.svg).texts
    assert "964.0" in texts and "11.6" in texts


def test_an_axis_ends_where_the_longest_interval_does():
    results = [build_result(), build_result(TUNED, 0.116)]
    series = list_series(results, results)

    def top(*scores) -> float:
        return Panel("", series, [RateRow("a", "", list(scores))]).top

    assert top(SCORE, replace(SCORE, wer=0.3, ci95=(0.3, 0.34))) == 0.36
    assert top(*[replace(SCORE, wer=0.0, ci95=(0.0, 0.0))] * 2) == 1.0


def test_groups_are_in_the_order_of_their_rates_with_their_sizes():
    results = [build_result(), build_result(TUNED, 0.116)]
    (chart,) = draw_evaluation_charts(results, []).groups
    boxes = marks_of(chart)
    assert [note.split(", ")[1] for note in boxes] == [
        *("napoletano: 50.3 %", "ligure: 30.3 %", "toscano: 25.3 %"),
        *("napoletano: 31.6 %", "ligure: 11.6 %", "toscano: 6.6 %"),
    ]
    tops = [box.top for box in boxes.values()]
    assert tops[0] < tops[3] < tops[1] < tops[4] < tops[2] < tops[5]  # of both models in turn, downwards
    texts = DrawnChart(chart.svg).texts
    assert texts.index("napoletano") < texts.index("ligure") < texts.index("toscano")
    assert texts.count("40 clips") == 2 and "4 clips" in texts
    assert {BASE, TUNED} <= set(texts)


def test_durations_are_in_the_order_of_length():
    (chart,) = draw_evaluation_charts([build_result(), build_result(TUNED, 0.116)], []).durations
    tops = [box.top for note, box in marks_of(chart).items() if note.startswith(BASE)]
    assert tops == sorted(tops) and chart.values == ["0 to 2 s", "2 to 5 s", "5 to 10 s"]
    assert chart.title == "WER by duration"


def test_a_group_of_very_many_values_is_cut_and_says_so():
    values = {f"speaker {n}": group(0.1 + n / 1000) for n in range(200)}
    (chart,) = draw_evaluation_charts([build_result(groups={"speaker": values})], []).groups
    assert len(marks_of(chart)) == MOST_VALUES and len(chart.values) == 200
    assert "The 50 with the highest rates of 200 are drawn." in chart.words


def test_a_script_without_spaces_is_drawn_by_its_characters():
    results = [build_result(wer=0.9, measure="cer"), build_result(TUNED, 0.6, measure="cer")]
    charts = draw_evaluation_charts(results, [])
    assert "CER in percent" in charts.before_after.words and charts.durations[0].title == "CER by duration"
    lengths = lengths_of(charts.before_after)
    assert lengths[2] / lengths[0] == pytest.approx(0.6 / 0.9, abs=0.001)
    assert any(note.endswith("normalised text: 30.0 %") for note in marks_of(charts.before_after))


# ---- learning curve ----------------------------------------------------------------------------------------


def lines_of(axes) -> dict:
    return {line.get_label(): list(zip(*line.get_data(), strict=True)) for line in axes.get_lines()}


def test_lines_have_the_values_of_the_log():
    curve = replace(CURVE, validation_loss=[(20, 0.75), (40, 0.5)])
    above, below = draw_learning([curve], [BASE, TUNED]).axes
    lines = lines_of(above)
    assert lines["normalised WER"] == [pytest.approx((20, 20.0)), pytest.approx((40, 15.0))]
    assert lines["raw WER"] == [pytest.approx((20, 30.0)), pytest.approx((40, 31.0))]
    assert lines_of(below)["training loss"] == [(10, 1.5), (20, 0.5), (40, 0.25)]
    assert lines_of(below)["validation loss"] == [(20, 0.75), (40, 0.5)]
    assert "validation loss, step 40: 0.5" in marks_texts(below)
    assert above.get_ylim()[0] == below.get_ylim()[0] == 0 and above.get_xlim()[0] == 0
    assert {line.get_color() for line in above.get_lines()[:1]} == {"#0072b2"}  # of the second model
    assert "normalised WER, step 40: 15" in marks_texts(above)


def marks_texts(axes) -> set[str]:
    return {str(line.get_gid()).removeprefix("note:") for line in axes.get_lines()}


def test_the_best_step_is_marked_of_a_run_alone():
    def upright(curves) -> list:
        axes = draw_learning(curves, ["a", TUNED]).axes[0]
        return [
            set(x) for x, _ in (line.get_data() for line in axes.get_lines()) if len(x) == 2 and x[0] == x[1]
        ]

    assert upright([CURVE]) == [{40}]
    assert upright([replace(CURVE, model="a"), CURVE]) == []


def test_several_runs_are_named_and_a_run_without_validation_has_one_panel():
    figure = draw_learning([replace(CURVE, model="a"), replace(CURVE, model=HOSTILE)], ["a", HOSTILE])
    assert {"normalised WER, a", "raw WER, a"} <= set(lines_of(figure.axes[0]))
    assert "training loss, a" in lines_of(figure.axes[1])
    only_loss = LearningCurve("a", CURVE.loss, [], [])
    (legend,) = draw_learning([only_loss, CURVE], ["a", TUNED]).legends
    assert [text.get_text() for text in legend.get_texts()] == [
        *("training loss, a", f"normalised WER, {TUNED}", f"raw WER, {TUNED}", f"training loss, {TUNED}")
    ]
    for curve in (only_loss, LearningCurve("a", [], [], [], [(20, 0.75)])):
        (axes,) = draw_learning([curve], ["a"]).axes
        assert axes.get_title(loc="left") == "Loss of a target token"
    assert draw_evaluation_charts([build_result()], []).learning is None


def test_a_very_long_run_stays_small_and_has_no_dots():
    long = LearningCurve(BASE, [(step, 1 / step) for step in range(1, 100_001)], [], [])
    chart = draw_evaluation_charts([build_result()], [long]).learning
    assert len(chart.svg) < 20_000 and not DrawnChart(chart.svg).marks
