"""Values of preprocess.py and evaluate.py that cannot be are refused; those at the edge are not."""

import pytest

from utils.arguments.evaluate import EvaluateArguments
from utils.arguments.parsing import parse_arguments
from utils.arguments.preprocess import PreprocessArguments
from utils.runtime.errors import UserError

SCRIPTS = {
    "preprocess": (PreprocessArguments, "--source manifest --input corpus.jsonl --output_dir data/it"),
    "evaluate": (EvaluateArguments, "--models base runs/it/best --dataset data/it --output_dir report"),
}


@pytest.mark.parametrize(
    ("script", "words", "expected"),
    [
        ("preprocess", "--num_shards 2 --shard_index 2", "shard_index 2: expected 0 to 1, num_shards - 1"),
        ("preprocess", "--num_shards 2 --shard_index -1", "shard_index -1: expected 0 to"),
        ("preprocess", "--num_shards 0", "num_shards 0: expected at least 1"),
        ("preprocess", "--num_proc 0", "num_proc 0: expected at least 1"),
        ("preprocess", "--min_duration 0", "expected 0 < min_duration"),
        ("preprocess", "--min_duration 9 --max_duration 8", "min_duration <= max_duration"),
        ("preprocess", "--max_duration 30.1", "max_duration <= 30 seconds"),
        ("preprocess", "--validation_share 0.5 --test_share 0.5", "a sum below 1"),
        (
            "preprocess",
            "--validation_share -0.1",
            "validation_share -0.1, test_share 0.2: expected at least 0",
        ),
        ("preprocess", "--fraction 0", "fraction 0.0: expected above 0 and at most 1"),
        ("preprocess", "--test_fraction 1.1", "test_fraction 1.1: expected above 0 and at most 1"),
        ("preprocess", "--padding -0.1", "padding -0.1: expected at least 0"),
        ("preprocess", "--max_gap -1", "max_gap -1.0: expected at least 0"),
        ("evaluate", "--guard_datasets data/it", "dataset: data/it given more than once"),
        ("evaluate", "--recordings a.jsonl a.jsonl", "dataset: a.jsonl given more than once"),
        ("evaluate", "--models base base", "models: base given more than once"),
        ("evaluate", "--guard_tolerance -0.01", "guard_tolerance -0.01: expected at least 0"),
        ("evaluate", "--max_samples 0", "max_samples 0: expected at least 1"),
        ("evaluate", "--num_beams 2", "num_beams 2: backend transformers has only greedy"),
        ("evaluate", "--dtype int8", "dtype int8: backend transformers does not support it; add --backend"),
        (
            "evaluate",
            "--backend faster-whisper --audio_context dynamic",
            "backend faster-whisper does not support it",
        ),
    ],
)
def test_what_cannot_be_is_refused(script, words, expected):
    record, needed = SCRIPTS[script]
    with pytest.raises(UserError) as error:
        parse_arguments(record, [*needed.split(), *words.split()])
    assert expected in str(error.value)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("preprocess", "--num_shards 2 --shard_index 1"),
        ("preprocess", "--num_shards 2 --shard_index 0"),
        ("preprocess", "--min_duration 30 --max_duration 30 --fraction 1 --padding 0"),
        ("preprocess", "--validation_share 0 --test_share 0"),
        ("evaluate", "--guard_datasets data/en --recordings a.jsonl --guard_tolerance 0"),
        ("evaluate", "--backend ctranslate2 --num_beams 5 --dtype int8"),
    ],
)
def test_what_can_be_is_not(script, words):
    record, needed = SCRIPTS[script]
    parse_arguments(record, [*needed.split(), *words.split()])
