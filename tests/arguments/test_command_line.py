"""The help: flags in groups, the common ones on two screens, and one spelling of each."""

import dataclasses
import re

import pytest

import train
from utils.arguments.command_line import COLUMNS
from utils.arguments.evaluate import EvaluateArguments
from utils.arguments.export import ExportArguments
from utils.arguments.parsing import parse_arguments
from utils.arguments.preprocess import PreprocessArguments
from utils.arguments.sweep import SweepArguments
from utils.arguments.train import TrainArguments
from utils.arguments.transcribe import TranscribeArguments
from utils.runtime.errors import UserError

NEEDED = ["--model_name_or_path", "m", "--dataset", "d", "--output_dir", "o"]
TWO_SCREENS = 100  # lines
SCRIPTS = [PreprocessArguments, TrainArguments, EvaluateArguments, TranscribeArguments, ExportArguments]
SCRIPTS += [SweepArguments]


def help_of(capsys, kind, *words: str, description: str | None = None) -> str:
    with pytest.raises(SystemExit) as ended:
        parse_arguments(kind, list(words), description)
    assert ended.value.code == 0
    return capsys.readouterr().out


def flags_in(text: str) -> list[str]:
    return re.findall(r"^  (?:-h, )?--(\w+)", text, re.MULTILINE)


def test_the_common_flags_of_training_fit_on_two_screens(capsys):
    text = help_of(capsys, TrainArguments, "--help", description=train.__doc__)
    assert len(text.splitlines()) <= TWO_SCREENS
    assert {"learning_rate", "use_peft", "eval_steps", "audio_context"} <= set(flags_in(text))
    assert "adam_beta1" not in text


@pytest.mark.parametrize("kind", SCRIPTS)
def test_help_all_has_every_flag_once_and_help_some_of_them(capsys, kind):
    names = {field.name for field in dataclasses.fields(kind)}
    shown = flags_in(text := help_of(capsys, kind, "--help_all"))
    assert len(shown) == len(set(shown)) and set(shown) == names | {"help", "help_all", "config"}
    assert max(map(len, text.splitlines())) <= COLUMNS
    common = flags_in(text := help_of(capsys, kind, "-h"))
    assert set(common) < set(shown) and f"Show all {len(names)} arguments" in text


def test_flags_stand_in_their_groups(capsys):
    text = help_of(capsys, TrainArguments, "--help_all")
    groups = {}
    for part in re.split(r"\n\n(?=[a-z ]+:\n)", text)[1:]:
        groups[part.split(":")[0]] = flags_in(part)
    assert list(groups) == [
        *("help and recipes", "output", "what is trained", "data", "steps", "optimiser", "audio context"),
        *("adapters", "augmentation", "evaluation", "saving", "memory"),
    ]
    assert groups["memory"][:2] == ["gradient_checkpointing", "auto_find_batch_size"]
    assert {"speed_factors", "mask_time_prob", "non_speech_share"} <= set(groups["augmentation"])


def test_a_flag_tells_its_default_choices_and_whether_it_is_needed(capsys):
    text = " ".join(help_of(capsys, TrainArguments, "--help_all").split())
    assert "usage:" in text and "--output_dir ... --model_name_or_path ... --dataset ... [options]" in text
    assert "Folders that preprocess.py wrote. [required]" in text
    assert "(one of dynamic, full; default: dynamic)" in text
    assert "(default: q_proj v_proj)" in text and "(default: 1e-05)" in text
    assert "(on by default; --no_bnb_4bit_use_double_quant turns it off)" in text
    assert "--weight_decay X Weight decay of all weights except biases and norms. (default: 0)" in text
    assert "None" not in text and "(default: false)" not in text.lower()


def test_there_is_one_spelling():
    with pytest.raises(UserError, match=r"unknown argument '--learning-rate'.*'--learning_rate'"):
        parse_arguments(TrainArguments, [*NEEDED, "--learning-rate", "1"])


@pytest.mark.parametrize(
    ("words", "value"),
    [("", True), ("--no_bnb_4bit_use_double_quant", False), ("--bnb_4bit_use_double_quant 0", False)],
)
def test_what_is_on_by_default_can_be_turned_off(words, value):
    args = parse_arguments(TrainArguments, [*NEEDED, "--use_peft", "--load_in_4bit", *words.split()])
    assert args.bnb_4bit_use_double_quant is value


def test_a_switch_takes_true_or_false_alone():
    with pytest.raises(UserError, match="--use_peft: found 'maybe', expected true or false"):
        parse_arguments(TrainArguments, [*NEEDED, "--use_peft", "maybe"])


@pytest.mark.parametrize("kind", SCRIPTS)
def test_names_of_switches_and_lists_are_plain(capsys, kind):
    text = help_of(capsys, kind, "--help_all")
    assert not re.search(r"\[[A-Z]+ \.\.\.\]", text)  # argparse's own form of a list
