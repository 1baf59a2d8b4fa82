"""What the tables, the score lines and the picture show of results made by hand."""

import ast
import io
from dataclasses import replace

from rich.console import Console

from tests.support.scored_results import BASE, SCORE, TERMS, TUNED
from utils.evaluation.records import Analysis, ModelComparison
from utils.report.terminal import print_report, score_line

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
ANALYSIS = Analysis([COMPARISON], [], ["runs/[it]/best"], "It got better.")


def printed(results, analysis=None, width=200) -> str:
    stream = io.StringIO()
    print_report(results, analysis, Console(file=stream, width=width))
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
    assert "RTFx: seconds of audio decoded per second." in printed([BASE])


def test_a_warning_about_a_model_is_shown_once():
    leaky = replace(TUNED, warnings=["Chosen on test."])
    text = printed([BASE, leaky, replace(leaky, audio_context="dynamic")])
    assert text.count("WARNING: runs/[it]/best: Chosen on test.") == 1 == text.count("WARNING")


def test_a_script_without_spaces_is_shown_by_its_characters():
    text = printed([replace(BASE, measure="cer", raw=replace(SCORE, cer=0.234))])
    assert "CER raw" in text and "WER normalised" in text
    row = next(line for line in text.splitlines() if "whisper-base" in line)
    cells = [cell.strip() for cell in row.strip("│ ").split("│")]
    assert cells[3:7] == ["23.40", "12.00", "25.00 to 36.00", "30.26"]


def test_listed_terms_have_a_table():
    assert "Names and terms" not in printed([BASE])
    silent = replace(TERMS, spoken=0, found=0, recall=None, ci95=(0.0, 1.0))
    text = printed([replace(BASE, terms=TERMS), replace(TUNED, terms=silent)])
    assert "Names and terms (listed: 30)" in text
    lines = [line for line in text.split("Names and terms")[1].splitlines() if "│" in line]
    cells = [[cell.strip() for cell in line.strip("│ ").split("│")][3:] for line in lines]
    assert cells == [["40", "30", "75.00", "60.00 to 90.00", "2"], ["0", "0", "", "", "2"]]


def test_a_prompt_of_terms_is_told():
    assert "after a prompt of names and terms" not in printed([BASE])
    assert "after a prompt of names and terms" in printed([BASE, replace(TUNED, is_prompted=True)])


def test_names_with_brackets_are_no_markup():
    assert "runs/[it]/best" in printed([TUNED], ANALYSIS)


def test_comparison_and_verdict_follow_the_scores():
    text = printed([BASE, TUNED], ANALYSIS)
    row = next(line for line in text.splitlines() if "61.7 %" in line)
    assert all(cell in row for cell in ("normalised", "18.66", "14.00 to 23.00", "0.0010", "60 / 5 / 74"))
    assert text.index("61.7 %") < text.index("It got better.")
    surely = replace(ANALYSIS.comparisons[0], p_value=1e-9)  # no p is 0
    assert "< 0.0001" in printed([BASE, TUNED], replace(ANALYSIS, comparisons=[surely]))


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


def test_causes_of_errors_are_shown_where_a_rate_is_over_100_percent():
    """For all models; the raw rate alone may be over 100 %."""
    over = replace(BASE, raw=replace(SCORE, wer=1.24), error_causes={"wrong language": 90, "insertion": 30})
    text = printed([over, replace(TUNED, error_causes={"insertion": 4, "other": 4})])
    assert "Why an error rate is over 100 %" in text and "insertion: elsewhere, words that nobody" in text
    rows = text[text.index("Why an error") :].splitlines()
    cells = [[cell.strip() for cell in row.strip("│ ").split("│")][3:] for row in rows if "data/it" in row]
    assert cells[:2] == [["75 %", "25 %", "0.0 %"], ["0.0 %", "50 %", "50 %"]]
    assert "loop" not in text and "Give --language." in " ".join(text.split())
    assert "over 100 %" not in printed([replace(over, raw=SCORE)])
    assert "over 100 %" not in printed([replace(over, error_causes={})])  # results of an earlier version
