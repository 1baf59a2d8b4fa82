"""Lists of terms are looked at before any long work."""

from pathlib import Path

import pytest

from utils.arguments.evaluate import EvaluateArguments
from utils.arguments.parsing import parse_arguments
from utils.arguments.train import TrainArguments
from utils.runtime.errors import UserError

TRAIN = "--model_name_or_path m --dataset d --output_dir o"
EVALUATE = "--models m --dataset d --output_dir o"


@pytest.mark.parametrize(
    ("record", "words", "flags"),
    [
        (TrainArguments, TRAIN, ["prompt_terms_file"]),
        (EvaluateArguments, EVALUATE, ["terms_file"]),
        (EvaluateArguments, EVALUATE, ["prompt_terms_file"]),
        (EvaluateArguments, EVALUATE, ["terms_file", "prompt_terms_file"]),
    ],
)
def test_lists_are_checked_together(record, words, flags, tmp_path):
    files = {flag: tmp_path / f"{flag}.txt" for flag in flags}
    given = [*words.split(), *(word for flag, file in files.items() for word in (f"--{flag}", str(file)))]
    with pytest.raises(UserError) as error:
        parse_arguments(record, given)
    assert all(f"{file}: no such file" in str(error.value) for file in files.values())
    for file in files.values():
        file.write_text("Roma\n")
    arguments = parse_arguments(record, given)
    assert all(getattr(arguments, flag) == str(file) for flag, file in files.items())


def test_one_window_after_another_takes_no_prompt(tmp_path: Path):
    file = tmp_path / "terms.txt"
    file.write_text("Roma\n")
    words = [*EVALUATE.split(), "--recordings", "talks.jsonl", "--prompt_terms_file", str(file)]
    with pytest.raises(UserError, match="prompt_terms_file: not with recordings in long_form sequential"):
        parse_arguments(EvaluateArguments, words)
    parse_arguments(EvaluateArguments, [*words, "--long_form", "chunked"])
