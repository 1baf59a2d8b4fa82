"""What a card says of datasets: where anybody can find them, and never where they lie on this machine."""

import json
from dataclasses import fields

import pytest

from utils.arguments.parsing import parse_arguments
from utils.arguments.train import TrainArguments
from utils.data.data_report import DataReport, SplitReport, Statistics
from utils.runtime.errors import UserError
from utils.training.card_facts import SplitFacts, card_results, describe_dataset


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"source": "hub", "input": "choir/songs"}, "choir/songs"),
        ({"source": "hub", "input": "/home/anna/songs"}, None),
        ({"source": "hub", "input": "../songs"}, None),
        ({"source": "common_voice", "input": "cv/gl"}, None),
        ({"push_to_hub": True, "hub_private_repo": False, "hub_dataset_id": "anna/it"}, "anna/it"),
        ({"push_to_hub": True, "hub_private_repo": True, "hub_dataset_id": "anna/it"}, None),
        ({}, None),
    ],
)
def test_only_data_that_others_can_find_has_a_name_on_the_hub(tmp_path, arguments, expected):
    folder = tmp_path / "it"
    folder.mkdir()
    (folder / "preprocess.yaml").write_text(json.dumps(arguments))
    assert describe_dataset(str(folder), None).hub_id == expected
    assert describe_dataset(str(folder), "a/b").hub_id == "a/b"
    assert describe_dataset(str(folder), None).name == "it"


def test_the_report_gives_hours_languages_and_credit(tmp_path):
    split = dict.fromkeys((field.name for field in fields(SplitReport)), 2) | {"utterances": 3, "hours": 0.5}
    names = {"distinct": 1, "largest": [{"name": "it", "hours": 0.5}], "hours_of_others": 0.0}
    report = dict.fromkeys(field.name for field in fields(DataReport))
    report["statistics"] = dict.fromkeys(field.name for field in fields(Statistics)) | {"languages": names}
    path = tmp_path / "data_report.json"
    path.write_text(json.dumps(report | {"splits": {"train": split}, "credit": "A choir"}))
    found = describe_dataset(str(tmp_path), None)
    assert (found.languages, found.credit) == (["it"], "A choir")
    assert found.splits == {"train": SplitFacts(3, 0.5, 2)}
    for damaged in ("{", "[]", "{}"):  # a card with fewer figures; no run ends because of it
        path.write_text(damaged)
        assert describe_dataset(str(tmp_path), None).splits == {}


def arguments(*more: str) -> TrainArguments:
    words = "--model_name_or_path openai/whisper-base --dataset a b --language it --output_dir run"
    return parse_arguments(TrainArguments, [*words.split(), *more])


def test_results_keep_what_a_card_needs(tmp_path):
    metrics = tmp_path / "metrics.jsonl"
    rates = {"eval_wer": 0.5, "eval_normalized_wer": 0.25, "eval_cer": 0.2, "eval_normalized_cer": 0.1}
    metrics.write_text(
        json.dumps({"step": 1, "loss": 2.0})
        + "\n"
        + json.dumps({"step": 2, **rates, "epoch": 0.5, "eval_loss": 1.5})
        + "\n"
        + json.dumps({"step": 3, **rates, "eval_wer": None})
        + "\n"
    )
    found = card_results(arguments("--dataset_tags", "x/a", "x/b"), metrics)
    assert found["base_model"] == "openai/whisper-base"
    assert [each["hub_id"] for each in found["datasets"]] == ["x/a", "x/b"]
    assert found["evaluations"] == [
        {"step": 2, "normalized_wer": 0.25, "raw_wer": 0.5, "normalized_cer": 0.1, "raw_cer": 0.2}
        | {"epoch": 0.5, "training_loss": 2.0, "validation_loss": 1.5}
    ]
    assert card_results(arguments(), tmp_path / "none")["evaluations"] == []


def test_tags_are_names_on_the_hub_one_for_each_dataset():
    with pytest.raises(UserError, match=r"dataset_tags \['x/a'\]: expected 2"):
        arguments("--dataset_tags", "x/a")
    with pytest.raises(UserError, match="dataset_tags 'a b': expected user/name"):
        arguments("--dataset_tags", "a b", "x/b")
