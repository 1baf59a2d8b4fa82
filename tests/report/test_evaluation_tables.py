"""CSV files read back, and what a spreadsheet would run in them."""

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.made_up_results import (
    METRICS,
    TUNED,
    build_analysis,
    build_prediction,
    build_predictions,
    build_result,
    build_results,
)
from tests.support.pages import HOSTILE, RIGHT_TO_LEFT
from tests.support.scored_results import TERMS
from utils.report.evaluation_tables import guarded, write_csv, write_evaluation_tables


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_a_file_for_each_table(tmp_path):
    written = write_evaluation_tables(
        tmp_path / "tables", build_results(), build_analysis(), build_predictions(), {TUNED: METRICS}
    )
    names = "scores groups confusions failures error_causes hallucination comparisons gates utterances"
    names += " learning_curve"
    assert [path.stem for path in written] == names.split() and all(path.suffix == ".csv" for path in written)
    assert sorted(tmp_path.joinpath("tables").iterdir()) == sorted(written)
    tables = {path.stem: read(path) for path in written}
    # five rows in two forms of the text
    assert [line["text"] for line in tables["scores"]] == ["normalized", "raw"] * 5
    first = tables["scores"][0]
    assert (first["model"], float(first["wer"]), int(first["insertions"])) == (
        "openai/whisper-base",
        0.303,
        31,
    )
    assert float(first["ci95_low"]) == pytest.approx(0.273) and first["ci95_unit"] == "utterance"
    # three rows with three accents and three lengths, in two forms of the text
    assert len(tables["groups"]) == 3 * 6 * 2 and tables["groups"][0]["value"] == "napoletano"
    assert tables["confusions"][1]["reference"] == "" and tables["confusions"][1]["hypothesis"] == "grazie"
    assert (tables["failures"][0]["failure"], tables["failures"][0]["count"]) == ("loop", "2")
    causes = tables["error_causes"][:2]
    assert [(line["model"], line["cause"], line["errors"]) for line in causes] == [
        ("openai/whisper-base", "insertion", "31"),
        ("openai/whisper-base", "other", "137"),
    ]
    assert (tables["hallucination"][0]["sound"], tables["hallucination"][0]["words"]) == ("silence", "30")
    assert float(tables["comparisons"][0]["p_value"]) == 0.0004
    assert tables["gates"] == [
        {"candidate": TUNED, "promote": "True", "check": "passed", "words": "The error rate fell."}
    ]
    assert (
        tables["utterances"][6]["normalized_word_errors"] == "1"
        and "alignment" not in tables["utterances"][0]
    )
    assert [line["loss"] for line in tables["learning_curve"]] == ["1.5", "0.5", "", "", "0.25", ""]


def test_what_is_not_there_has_no_file(tmp_path):
    nothing = {"groups": {}, "confusions": [], "failures": {}, "hallucination": None, "error_causes": {}}
    results = [build_result(**nothing)]
    assert [path.name for path in write_evaluation_tables(tmp_path, results, None, [], {})] == ["scores.csv"]


def test_an_error_of_the_decoder_has_a_column_where_there_is_one(tmp_path):
    broken = build_prediction(2, TUNED, 6, failures=["decoder error", "truncated"], error="out of memory")
    write_evaluation_tables(tmp_path, [], None, [build_prediction(1, TUNED, 0), broken], {})
    lines = read(tmp_path / "utterances.csv")
    assert [line["error"] for line in lines] == ["", "out of memory"]
    assert lines[1]["failures"] == "decoder error, truncated"


def test_each_listed_term_has_a_row(tmp_path):
    write_evaluation_tables(tmp_path, [build_result(terms=TERMS)], None, [], {})
    rows = [list(row.values())[4:] for row in read(tmp_path / "terms.csv")]
    assert rows == [["'=Zara", "39", "30", "0"], ["Otranto", "0", "0", "2"], ["Torino", "1", "0", "0"]]


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "\n=1", "＝1", '=HYPERLINK("x")']
)
def test_formulas_are_only_text(text):
    assert str(guarded(text)).startswith("'")


@pytest.mark.parametrize("cell", ["è vero", "a=b", "", "3", -3, -0.5, None, True])
def test_other_cells_stay_what_they_are(cell):
    assert guarded(cell) is cell or guarded(cell) == cell


@given(st.text())
def test_no_text_begins_like_a_formula(text):
    assert not str(guarded(text)).lstrip().startswith(("=", "+", "-", "@"))


def test_foreign_text_comes_back_whole_and_numbers_stay_numbers(tmp_path):
    lines = [
        {"text": HOSTILE, "rate": -0.25, '=cmd|"x"': 1},
        {"text": f'{RIGHT_TO_LEFT}, "x"\nline', "more": None},
    ]
    write_csv(tmp_path / "a.csv", [*lines, {"text": "mezza \udfff \x1b[2J"}])
    assert (tmp_path / "a.csv").read_bytes().startswith(b"\xef\xbb\xbf")  # by which Excel knows UTF-8
    read_back = read(tmp_path / "a.csv")
    assert read_back[0] == {"text": HOSTILE, "rate": "-0.25", '\'=cmd|"x"': "1", "more": ""}
    assert read_back[1]["text"] == f'{RIGHT_TO_LEFT}, "x"\nline'
    assert read_back[2]["text"] == "mezza ? \ufffd[2J"
