"""What the picture of before and after shows of results made by hand."""

from dataclasses import replace

import pytest
from matplotlib import image

from tests.support.shown_results import BASE, SCORE, TUNED
from utils.report import before_after
from utils.report.before_after import draw_before_after
from utils.report.plotting import save_figure, whiskers

DYNAMIC = replace(TUNED, audio_context="dynamic", normalized=replace(SCORE, wer=0.098, ci95=(0.07, 0.13)))


@pytest.mark.parametrize(
    "results",
    [
        [BASE, TUNED],
        [BASE, TUNED, DYNAMIC],
        [BASE, TUNED, replace(BASE, dataset="data/en"), replace(TUNED, dataset="data/en")],
        [BASE, *[replace(TUNED, model=f"run {n}") for n in range(7)]],
        [replace(BASE, model="a$b", dataset="$x^$"), replace(TUNED, model="runs/$_$", dataset="$x^$")],
    ],
)
def test_picture_is_a_png_with_something_on_it(results, tmp_path):
    save_figure(tmp_path / "before_after.png", draw_before_after(results))
    pixels = image.imread(tmp_path / "before_after.png")
    assert pixels.shape[0] >= 700 and pixels.shape[1] >= 900
    assert pixels[..., :3].std() > 0.05
    assert [path.name for path in tmp_path.iterdir()] == ["before_after.png"]


def drawn_panel(rows):
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    before_after._draw_panel(axes, rows)
    return axes


def test_bars_have_the_height_of_the_scores_and_whiskers_of_the_interval():
    axes = drawn_panel(before_after._rows_of_panel([BASE, TUNED, DYNAMIC], "full"))
    heights = [round(bar.get_height(), 3) for bar in axes.patches]
    assert heights == [45.873, 30.26, 21.9, 11.6]  # baseline raw, normalised; tuned raw, normalised
    assert [text.get_text() for text in axes.texts] == ["45.9", "30.3", "21.9", "11.6"]
    below, above = whiskers([SCORE.wer], [SCORE])
    assert (below, above) == ([pytest.approx(5.26)], [pytest.approx(5.74)])
    assert axes.get_ylim()[0] == 0
    assert axes.get_ylim()[1] > 52  # the longest whisker and its label fit


def test_dynamic_panel_borrows_the_baselines_full_context_and_says_so():
    axes = drawn_panel(before_after._rows_of_panel([BASE, TUNED, DYNAMIC], "dynamic"))
    assert axes.get_legend_handles_labels()[1] == ["openai/whisper-base (full context)", "runs/[it]/best"]
    assert [bar.get_hatch() for bar in axes.patches] == ["//", "//", None, None]
    assert round(axes.patches[3].get_height(), 3) == 9.8
