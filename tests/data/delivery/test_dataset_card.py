"""The card of a dataset: valid metadata whatever the report holds, and nobody's words lost."""

from dataclasses import replace

import pytest
import yaml
from huggingface_hub import DatasetCard

from utils.data.data_report import DataReport, SplitReport
from utils.data.delivery.cards import split_card
from utils.data.delivery.dataset_card import DATASET_MARKS, build_dataset_card, size_category

REPORT = DataReport(
    seen=12,
    kept=10,
    rejected=2,
    hours=1.5,
    splits={"train": SplitReport(10, 1.5, 5.4, 8.0, distinct_texts=9, speakers=0)},
    reasons={"no such file": 2},
    split_by="speaker",
    shared_speakers=0,
    shared_recordings=0,
    shared_texts=3,
    leaked_utterances=0,
    statistics=None,  # the card shows none
    notes=("Splits not read: <script>other</script>.",),
)
INFO = {
    "features": [{"name": "id", "dtype": "string"}, {"name": "start", "dtype": "float64"}],
    "splits": [{"name": "train", "num_bytes": 5, "num_examples": 10}],
}


def build(**changes) -> str:
    values = {
        "dataset_id": "anna/my-prompts_2",
        "report": REPORT,
        "arguments": {"source": "manifest", "input": "a ``` b"},
        "languages": ["it", "jw"],
        "dataset_info": INFO,
    }
    return build_dataset_card(**(values | changes))


def test_the_head_is_what_the_hub_reads():
    card = DatasetCard(build(license="cc-by-4.0"))  # the Hub's own parser
    assert card.data.pretty_name == "My prompts 2" and card.data.license == "cc-by-4.0"
    assert card.data.language == ["it", "jv"]  # ISO 639-1 has jv for Javanese
    assert card.data.task_categories == ["automatic-speech-recognition"]
    assert card.data.size_categories == ["n<1K"]
    files = [{"split": "train", "path": "data/train-*"}]
    assert card.data.to_dict()["configs"] == [{"config_name": "default", "data_files": files}]


def test_the_text_tells_the_numbers():
    card = build()
    assert "| train | 10 | 1.50 | 5.4 | 9 | unknown |" in card
    assert "2 of 12 items" in card and "| no such file | 2 |" in card
    assert (
        "no speaker is in two of them (speakers in more than one split: 0, texts" in card
        and "No licence is stated" in card
    )
    assert "&lt;script>" in card and "<script>" not in card
    assert "````yaml\nsource: manifest\n" in card  # a fence longer than any in the arguments
    assert "`start` and `end`" in card and "`segments`" not in card


@pytest.mark.parametrize(
    ("rows", "expected"),
    [(999, "n<1K"), (1_000, "1K<n<10K"), (123_456, "100K<n<1M"), (10_000_000, "10M<n<100M")],
)
def test_sizes_are_named_as_on_the_hub(rows, expected):
    assert size_category(rows) == expected


def test_what_others_wrote_stays():
    first = build()
    head, body = split_card(first)
    theirs = {**head, "license": "mit", "tags": ["radio"], "pretty_name": "Ours"}
    edited = f"---\n{yaml.safe_dump(theirs)}---\nBefore.\n{body}\nAfter.\n"
    again = build(existing=edited, report=replace(REPORT, kept=2_000))
    new_head, new_body = split_card(again)
    assert new_head["license"] == "mit" and new_head["pretty_name"] == "Ours"
    assert new_head["tags"] == ["radio", "audio", "speech", "whisper"]
    assert new_head["size_categories"] == ["1K<n<10K"]
    assert new_body.startswith("Before.") and new_body.rstrip().endswith("After.")
    assert new_body.count("## Licence") == 1 and "`mit`" in new_body
    assert build(existing=again, report=replace(REPORT, kept=2_000)) == again


def test_a_card_of_others_is_told_from_ours():
    assert DATASET_MARKS.are_in(build()) and not DATASET_MARKS.are_in("# Mine\n")
    added = build(existing="# Mine\n")
    assert "# Mine" in added and DATASET_MARKS.are_in(added)
    assert DatasetCard(build(existing="---\nlicense: mit\n---\n# Mine\n")).data.license == "mit"


@pytest.mark.parametrize("card", ["---\na: [\n---\n", "---\n- a\n---\n"])
def test_a_broken_head_is_told(card):
    with pytest.raises(ValueError, match="its head is not"):
        split_card(card)
