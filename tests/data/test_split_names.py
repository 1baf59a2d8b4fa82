"""Names of splits in the wild."""

from utils.data.split_names import split_name, splits_of_names


def test_split_names():
    names = {
        "train": ("train", "train-360", "training", "train960"),
        "validation": (
            "dev",
            "Valid",
            "val",
            "eval",
            "eval2000",
            "evaluation",
            "dev93",
            "devel",
            "train_dev",
        ),
        "test": ("test.clean", "testing", "test1", "test[:10%]"),
        None: ("validated", "other", "2000", "tested", "evaluations"),
    }
    for split, spellings in names.items():
        assert {name: split_name(name) for name in spellings} == dict.fromkeys(spellings, split)


def test_eval_is_test_beside_a_set_for_validation():
    assert splits_of_names(["train", "dev", "eval1", "Evaluation"]) == {
        "train": "train", "dev": "validation", "eval1": "test", "Evaluation": "test",
    }  # fmt: skip
    assert splits_of_names(["train", "eval92", "test"]) == {
        "train": "train", "eval92": "validation", "test": "test",
    }  # fmt: skip
