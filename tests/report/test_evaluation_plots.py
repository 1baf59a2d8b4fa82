"""Pictures made of results by hand: which there are, and how long their bars are."""

import warnings

import pytest
from matplotlib import image

from tests.support.made_up_results import (
    CURVE,
    TUNED,
    build_result,
    build_results,
    group,
    hostile_inputs,
)
from tests.support.pages import HOSTILE, RIGHT_TO_LEFT
from utils.report.evaluation_plots import draw_groups, draw_learning_curve, write_evaluation_plots
from utils.report.series import list_series

NAMES = ["before_after", "group-accent-1", "duration-1", "learning_curve"]


def test_a_picture_for_each_plot(tmp_path):
    written = write_evaluation_plots(tmp_path / "plots", build_results(), [CURVE])
    assert [path.name for path in written] == [f"{name}.png" for name in NAMES]
    assert sorted(tmp_path.joinpath("plots").iterdir()) == sorted(written)
    for path in written:
        pixels = image.imread(path)
        assert pixels.shape[0] >= 300 and pixels.shape[1] >= 900 and pixels[..., :3].std() > 0.05


def test_one_model_without_groups_has_no_pictures(tmp_path):
    assert write_evaluation_plots(tmp_path, [build_result(groups={})], []) == []


def test_names_of_files_are_safe_and_unlike(tmp_path):
    groups = {name: {"a": group(0.3), "b": group(0.2)} for name in ("../../x", "x", "X", "方言", HOSTILE)}
    written = write_evaluation_plots(tmp_path, [build_result(groups=groups)], [])
    names = [path.name for path in written]
    assert names[:4] == ["group-x.png", "group-x-2.png", "group-x-3.png", "group-column.png"]
    assert len(set(names)) == 5 and sorted(path.name for path in tmp_path.iterdir()) == sorted(names)


def test_foreign_text_in_pictures(tmp_path):
    results, _, _, _, curves = hostile_inputs()
    for result in results:
        result.groups["accent"] |= {"$x^$ \x1b\n": group(0.2), "हिन्दी": group(0.1), RIGHT_TO_LEFT: group(1)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(write_evaluation_plots(tmp_path, results, curves)) >= 3


def test_bars_have_the_length_of_the_rates():
    results = [build_result(), build_result(TUNED, 0.116)]
    axes = draw_groups(list_series(results, results), "accent").axes[0]
    lengths = [round(bar.get_width(), 1) for bar in axes.patches]
    assert lengths == [50.3, 30.3, 25.3, 31.6, 11.6, 6.6]  # napoletano, ligure, toscano of both
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "napoletano (40 clips)",
        "ligure (4 clips)",
        "toscano (40 clips)",
    ]


def test_lines_have_the_values_of_the_log():
    above, below = draw_learning_curve([CURVE], [TUNED]).axes
    normalised, raw = (list(zip(*line.get_data(), strict=True)) for line in above.get_lines())
    assert normalised == [pytest.approx((20, 20.0)), pytest.approx((40, 15.0))]
    assert raw == [pytest.approx((20, 30.0)), pytest.approx((40, 31.0))]
    (loss,) = below.get_lines()
    assert list(loss.get_data()[1]) == [1.5, 0.5, 0.25]
