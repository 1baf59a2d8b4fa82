"""What the tables, the score lines and the picture show of results made by hand."""

import ast
import io
from dataclasses import replace

import pytest
from matplotlib import image
from rich.console import Console

from utils.evaluation.records import EvaluationResult, ModelComparison, TextScore
from utils.report import before_after
from utils.report.before_after import draw_before_after
from utils.report.terminal import print_report, score_line

SCORE = TextScore(0.3026, 0.12, 0.29, 0.41, 1000, 200, 60, 42, (0.25, 0.36), "utterance")
BASE = EvaluationResult(
    model="openai/whisper-base",
    dataset="data/it",
    split="test",
    audio_context="full",
    backend="transformers",
    normalizer="basic",
    measure="wer",
    is_guard=False,
    num_utterances=139,
    audio_seconds=330.0,
    rtfx=4.25,
    raw=replace(SCORE, wer=0.45873, ci95=(0.4, 0.52)),
    normalized=SCORE,
    groups={},
    confusions=[],
    failures={},
    hallucination=None,
    trainable_parameters=None,
    total_parameters=72_000_000,
)
TUNED = replace(
    BASE,
    model="runs/[it]/best",
    raw=replace(SCORE, wer=0.219, ci95=(0.17, 0.26)),
    normalized=replace(SCORE, wer=0.116, ci95=(0.08, 0.15)),
)
DYNAMIC = replace(TUNED, audio_context="dynamic", normalized=replace(SCORE, wer=0.098, ci95=(0.07, 0.13)))
COMPARISON = ModelComparison(
    "openai/whisper-base",
    "runs/[it]/best",
    "data/it",
    "test",
    "normalized",
    "full",
    0.1866,
    0.6166,
    (0.14, 0.23),
    "paired bootstrap",
    0.001,
    60,
    5,
    74,
)


def printed(results, comparisons=(), verdict=None, width=200) -> str:
    stream = io.StringIO()
    print_report(results, comparisons, verdict, Console(file=stream, width=width))
    return stream.getvalue()


def test_results_are_shown_in_percent():
    row = next(line for line in printed([BASE]).splitlines() if "whisper-base" in line)
    cells = [cell.strip() for cell in row.strip("│ ").split("│")]
    assert cells == [
        "openai/whisper-base",
        "full",
        "139",
        "45.87",
        "30.26",
        "25.00 to 36.00",
        "12.00",
        "200 / 60 / 42",
        "4.2",
    ]


def test_a_script_without_spaces_is_shown_by_its_characters():
    text = printed([replace(BASE, measure="cer", raw=replace(SCORE, cer=0.234))])
    assert "CER raw" in text and "WER normalised" in text
    row = next(line for line in text.splitlines() if "whisper-base" in line)
    cells = [cell.strip() for cell in row.strip("│ ").split("│")]
    assert cells[3:7] == ["23.40", "12.00", "25.00 to 36.00", "30.26"]


def test_names_with_brackets_are_no_markup():
    assert "runs/[it]/best" in printed([TUNED], [COMPARISON])


def test_comparison_and_verdict_follow_the_scores():
    text = printed([BASE, TUNED], [COMPARISON], "It got better.")
    row = next(line for line in text.splitlines() if "61.7 %" in line)
    assert all(cell in row for cell in ("normalised", "18.66", "14.00 to 23.00", "0.0010", "60 / 5 / 74"))
    assert text.index("61.7 %") < text.index("It got better.")


def test_dataset_is_named_where_there_are_several():
    assert "data/it (test)" not in printed([BASE]).split("whisper-base on")[0]
    assert "data/en (test)" in printed([BASE, replace(BASE, dataset="data/en")])


def test_score_line_reads_as_a_dictionary_in_percent_even_on_a_narrow_terminal():
    line = next(line for line in printed([BASE], width=40).splitlines() if "raw_wer_score" in line)
    assert line == score_line(BASE)
    assert ast.literal_eval(line[line.index("{") :]) == {
        "raw_wer_score": 45.873,
        "normalised_wer_score": 30.26,
    }


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
    draw_before_after(tmp_path / "before_after.png", results)
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
    below, above = before_after._error_bars([SCORE.wer], [SCORE])
    assert (below, above) == ([pytest.approx(5.26)], [pytest.approx(5.74)])
    assert axes.get_ylim()[0] == 0
    assert axes.get_ylim()[1] > 52  # the longest whisker and its label fit


def test_dynamic_panel_borrows_the_baselines_full_context_and_says_so():
    axes = drawn_panel(before_after._rows_of_panel([BASE, TUNED, DYNAMIC], "dynamic"))
    assert axes.get_legend_handles_labels()[1] == ["openai/whisper-base (full context)", "runs/[it]/best"]
    assert [bar.get_hatch() for bar in axes.patches] == ["//", "//", None, None]
    assert round(axes.patches[3].get_height(), 3) == 9.8


def test_long_model_names_keep_their_end():
    name = "/a/very/long/path" * 6 + "/best"
    assert before_after._shorten(name).endswith("/best")
    assert len(before_after._shorten(name)) == 60
