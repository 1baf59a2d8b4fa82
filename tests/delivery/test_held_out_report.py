"""Test results for a card: those of this very model, and of the model before it."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from tests.support.made_up_results import build_result
from utils.delivery.held_out_report import find_held_out_report
from utils.evaluation.evaluation_folder import fingerprint
from utils.evaluation.records import Analysis, Gate, MadeUpWords
from utils.runtime.errors import UserError
from utils.training.card_facts import DatasetFacts, ModelFacts

DATA, BASE, ANOTHER = "/home/anna/data/it", "openai/whisper-base", "/home/anna/runs/x/best"


@pytest.fixture
def model(tmp_path) -> Path:
    """A model folder with an evaluation beside it, in which it had another name."""
    model, report = tmp_path / "best", tmp_path / "report"
    model.mkdir()
    report.mkdir()
    (model / "config.json").write_text("{}")
    told = "runs/it/best"
    sounds = {"silence": MadeUpWords(4, 1, 3, 60.0), "music": MadeUpWords(4, 1, 1, 60.0)}
    row = replace(
        build_result(told, 0.25), dataset=DATA, hallucination=sounds, failures={"loop": 2, "truncated": 0}
    )
    rows = [replace(row, model=BASE), replace(row, model=ANOTHER), replace(row, audio_context="dynamic"), row]
    inputs = {BASE: "", ANOTHER: "another", told: fingerprint(model, set()), DATA: "data"}
    content = {"results": [asdict(each) for each in rows], "inputs": inputs}
    (report / "evaluation_results.json").write_text(json.dumps(content))
    reasons = [f"{DATA} (test), full context: more errors"]
    gates = [Gate(ANOTHER, True, [], []), Gate(told, False, reasons, [f"{told} is fine"])]
    (report / "comparative_analysis.json").write_text(json.dumps(asdict(Analysis([], gates, [], ""))))
    return model


def test_the_results_of_this_model_and_of_the_one_before(model):
    known = DatasetFacts("it", "choir/songs", "it", [], None, {})
    facts = ModelFacts({}, {"datasets": [asdict(known)]}, None)
    found = find_held_out_report(model, facts, None)
    assert found is not None
    assert [(each.model, each.audio_context) for each in found.scores] == [
        ("this model", "full"),
        ("this model", "dynamic"),
        (BASE, "full"),
    ]
    own = found.own[0]
    assert (own.data.name, own.data.hub_id, own.data.config) == ("it", "choir/songs", "it")
    assert own.failures == {"loop": 2} and own.words_in_noise == 2.0  # 4 words in 2 minutes
    assert own.normalized["wer"] == 0.25 and own.normalized_ci95 == pytest.approx((0.22, 0.29))
    assert found.is_promoted is False
    assert list(found.findings) == ["it (test), full context: more errors", "this model is fine"]


def test_results_of_another_state_of_the_model_are_not_shown(model, capsys):
    (model / "config.json").write_text('{"changed": 1}')
    assert find_held_out_report(model, None, None) is None
    assert "no results of" in capsys.readouterr().out
    with pytest.raises(UserError, match="Evaluate it again"):
        find_held_out_report(model, None, str(model.parent / "report"))


def test_a_moved_model_keeps_its_results(model, tmp_path):
    moved = model.rename(tmp_path / "moved")
    assert find_held_out_report(moved, None, None) is not None
    assert find_held_out_report(moved / "nowhere", None, None) is None


def test_two_test_sets_of_one_name_are_told_apart(model):
    path = model.parent / "report/evaluation_results.json"
    content = json.loads(path.read_text())
    content["results"].append(content["results"][-1] | {"dataset": "/mnt/it"})
    path.write_text(json.dumps(content))
    found = find_held_out_report(model, None, None)
    assert found is not None and {each.data.name for each in found.own} == {"it", "it (2)"}
