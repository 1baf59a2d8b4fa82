"""utils/arguments/parsing.py: one strict way in for recipes and the command line."""

import ast
import dataclasses
import importlib
import inspect
from pathlib import Path

import pytest
import yaml

from utils.arguments import app, evaluate, preprocess, transcribe
from utils.arguments import train as train_module
from utils.arguments.app import AppArguments
from utils.arguments.evaluate import EvaluateArguments
from utils.arguments.parsing import parse_arguments
from utils.arguments.preprocess import PreprocessArguments
from utils.arguments.train import TrainArguments
from utils.arguments.transcribe import TranscribeArguments
from utils.audio.augmentation_options import Augmentation, NonSpeech, SpecAugment
from utils.data.sources.registry import SOURCES
from utils.model.adapter_options import AdapterOptions
from utils.runtime.errors import UserError
from utils.runtime.resolved_arguments import arguments_as_yaml, differing_arguments

ROOT = Path(__file__).resolve().parent.parent.parent
NEEDED = ["--model_name_or_path", "m", "--dataset", "d", "--output_dir", "o"]
READERS = {
    PreprocessArguments: ["preprocess.py"],
    TrainArguments: ["train.py"],
    EvaluateArguments: ["evaluate.py"],
    TranscribeArguments: ["transcribe.py"],
    AppArguments: ["app.py"],
}
ROOM_OF = {"train.py": "training"}  # that takes its arguments
BASES = {"ScriptArguments", "ParsedArguments"}


def write_recipe(folder: Path, text: str) -> str:
    path = folder / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def message_of(*argv: str, kind=TrainArguments) -> str:
    with pytest.raises(UserError) as caught:
        parse_arguments(kind, list(argv))
    return str(caught.value)


# ---- every field is read -----------------------------------------------------------------------------------


def test_every_dataclass_has_a_reader():
    found = {
        name
        for module in (preprocess, train_module, evaluate, transcribe, app)
        for name, value in vars(module).items()
        if name.endswith("Arguments") and name not in BASES
    }
    assert found == {kind.__name__ for kind in READERS}


@pytest.mark.parametrize("kind", READERS, ids=lambda kind: kind.__name__)
def test_code_reads_every_field(kind):
    for script in READERS[kind]:
        files = [ROOT / script, *(ROOT / "utils" / ROOM_OF.get(script, "-")).glob("*.py")]
        read = {
            node.attr
            for file in files
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
            if isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name | ast.Attribute)
            and getattr(node.value, "id", getattr(node.value, "attr", None)) in ("args", "arguments")
        }
        if kind is PreprocessArguments:
            read |= parameters_of_sources()
        if kind is TrainArguments:  # records of rooms that do not know the script
            records = (Augmentation, NonSpeech, SpecAugment, AdapterOptions)
            read |= {field.name for record in records for field in dataclasses.fields(record)}
        assert {field.name for field in dataclasses.fields(kind)} <= read, script


def parameters_of_sources() -> set[str]:
    """What readers of sources are called with, each by the name of the argument."""
    modules = {name: importlib.import_module(f"utils.data.sources.{name}") for name in SOURCES}
    readers = [getattr(module, f"read_{name}") for name, module in modules.items()]
    return {name for read in readers for name in inspect.signature(read).parameters}


@pytest.mark.parametrize("kind", READERS, ids=lambda kind: kind.__name__)
def test_every_field_explains_itself(kind):
    for field in dataclasses.fields(kind):
        assert field.metadata["help"].endswith("."), field.name


# ---- recipe and command line -------------------------------------------------------------------------------


def test_the_command_line_goes_before_the_recipe(tmp_path):
    recipe = write_recipe(
        tmp_path,
        "model_name_or_path: m\ndataset: [a, b]\noutput_dir: o\nlearning_rate: 3.0e-5\nmax_steps: 7\n"
        "use_peft: true\ncontext_jitter: [0, 2]\nmax_eval_samples: null\n",
    )
    args = parse_arguments(TrainArguments, ["--config", recipe, "--max_steps", "9", "--dataset", "c"])
    assert (args.learning_rate, args.max_steps, args.dataset) == (3e-5, 9, ["c"])
    assert (args.use_peft, args.context_jitter) == (True, [0.0, 2.0])


def test_the_order_of_config_and_options_does_not_matter(tmp_path):
    recipe = write_recipe(tmp_path, "max_steps: 7\n")
    first = parse_arguments(TrainArguments, [f"--config={recipe}", *NEEDED, "--max_steps", "9"])
    last = parse_arguments(TrainArguments, [*NEEDED, "--max_steps", "9", "--config", recipe])
    assert first == last
    assert last.max_steps == 9


def test_what_is_written_beside_the_output_gives_the_same_again(tmp_path):
    args = parse_arguments(
        TrainArguments, [*NEEDED, "--use_peft", "--learning_rate", "2e-5", "--language", "it"]
    )
    again = parse_arguments(TrainArguments, ["--config", write_recipe(tmp_path, arguments_as_yaml(args))])
    assert again == args


@pytest.mark.parametrize("name", ["12e4", "1e-5", "1.5E3", "no", "12"])
def test_names_that_look_like_numbers_are_written_as_text(tmp_path, name: str):
    args = parse_arguments(TrainArguments, [*NEEDED, "--output_dir", name])
    again = parse_arguments(TrainArguments, ["--config", write_recipe(tmp_path, arguments_as_yaml(args))])
    assert again.output_dir == name


@pytest.mark.parametrize("words", [["--use_peft"], ["--use_peft", "true"], ["--use_peft=yes"]])
def test_a_switch_may_stand_alone(words):
    assert parse_arguments(TrainArguments, [*NEEDED, *words]).use_peft is True


def test_a_recipe_in_which_an_option_is_empty_keeps_the_default(tmp_path):
    recipe = write_recipe(tmp_path, "max_train_samples:\n")
    assert parse_arguments(TrainArguments, [*NEEDED, "--config", recipe]).max_train_samples is None


def test_a_recipe_may_say_zero_and_false(tmp_path):
    recipe = write_recipe(
        tmp_path,
        "save_steps: 0\nwarmup_steps: 0.0\nuse_peft: true\nload_in_4bit: true\n"
        "bnb_4bit_use_double_quant: false\n",
    )
    args = parse_arguments(TrainArguments, [*NEEDED, "--config", recipe])
    assert (args.save_steps, args.warmup_steps, args.bnb_4bit_use_double_quant) == (0, 0.0, False)


def test_nothing_can_be_changed_afterwards():
    with pytest.raises(dataclasses.FrozenInstanceError):
        parse_arguments(TrainArguments, NEEDED).seed = 1


def test_a_value_may_begin_with_a_minus():
    assert parse_arguments(TrainArguments, [*NEEDED, "--max_steps", "-1"]).max_steps == -1


# ---- mistakes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "near"),
    [("learning_rat", "learning_rate"), ("eval_step", "eval_steps"), ("lora_rank", "lora_r")],
)
def test_an_unknown_key_names_file_key_and_nearest_match(tmp_path, key, near):
    recipe = write_recipe(tmp_path, f"{key}: 1\n")
    message = message_of(*NEEDED, "--config", recipe)
    assert recipe in message
    assert repr(key) in message
    assert f"Did you mean {near!r}?" in message


def test_an_unknown_option_names_the_nearest_match():
    message = message_of(*NEEDED, "--learning-rat", "1")
    assert "the command line" in message
    assert "Did you mean '--learning_rate'?" in message


def test_options_are_not_abbreviated():
    assert "unknown argument '--learning'" in message_of(*NEEDED, "--learning", "1")


@pytest.mark.parametrize(
    ("written", "value"), [("1e-5", 1e-5), ("+2E-4", 2e-4), ("1.5e3", 1500), ("1.0e-5", 1e-5), ("1", 1)]
)
def test_recipes_write_numbers_as_usual(tmp_path, written: str, value: float):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"learning_rate: {written}\n")
    assert parse_arguments(TrainArguments, [*NEEDED, "--config", str(recipe)]).learning_rate == value


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("learning_rate: fast", "expected a number"),
        ("learning_rate: '1e-5'", "expected a number"),
        ("learning_rate: true", "expected a number"),
        ("max_steps: 1.5", "expected a whole number"),
        ("max_steps: '10'", "expected a whole number"),
        ("use_peft: 1", "expected true or false"),
        ("dataset: data/it", "expected a list of text"),
        ("dataset: [1]", "expected a list of text"),
        ("lr_scheduler_type: cubic", "expected one of linear, cosine"),
        ("max_train_samples: many", "expected a whole number or nothing"),
        ("output_dir: 3", "expected text"),
    ],
)
def test_a_wrong_type_names_file_key_and_what_is_expected(tmp_path, line, expected):
    recipe = write_recipe(tmp_path, line + "\n")
    message = message_of(*NEEDED, "--config", recipe)
    assert message.startswith(f"{recipe}: {line.split(':')[0]}: found ")
    assert expected in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [("- a\n- b\n", "expected `key: value` lines"), ("a: [1\n", "not readable as YAML"), ("a: \x00", "YAML")],
)
def test_a_file_that_is_no_recipe(tmp_path, text, expected):
    assert expected in message_of(*NEEDED, "--config", write_recipe(tmp_path, text))


def test_a_missing_recipe_tells_where_the_recipes_are():
    message = message_of("--config", "recipes/nope.yaml")
    assert "recipes/nope.yaml: no such recipe" in message
    assert "recipes/README.md" in message


def test_a_missing_value_is_named():
    assert "--output_dir" in message_of("--model_name_or_path", "m", "--dataset", "d")
    assert "--learning_rate" in message_of(*NEEDED, "--learning_rate")


@pytest.mark.parametrize("words", [["--max_steps", "many"], ["--lr_scheduler_type", "cubic"]])
def test_a_wrong_word_on_the_command_line_is_named(words):
    message = message_of(*NEEDED, *words)
    assert words[0] in message
    assert words[1] in message


def test_all_problems_are_reported_at_once():
    message = message_of(
        *NEEDED,
        *["--learning_rate", "-1", "--lora_r", "0", "--context_jitter", "40", "--language", "klingon"],
    )
    for part in ("learning_rate -1", "lora_r 0", "context_jitter [40", "'klingon'"):
        assert part in message


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        ("italian", "expected the code 'it'"),
        ("Italian", "expected the code 'it'"),
        ("castilian", "expected the code 'es'"),
        ("itallian", "Did you mean 'it'?"),
        ("xx", "Whisper has no such language"),
    ],
)
def test_a_language_by_its_name_or_misspelt(language, expected):
    assert expected in message_of(*NEEDED, "--language", language)


@pytest.mark.parametrize("language", ["it", "yue", "haw", "auto"])
def test_codes_and_auto_are_languages(language):
    assert parse_arguments(TrainArguments, [*NEEDED, "--language", language]).language == language


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--noise_dir n", "noise_dir needs noise_probability above 0"),
        ("--reverb_dir r", "reverb_dir needs reverb_probability above 0"),
        ("--non_speech_dir r", "non_speech_dir needs non_speech_share above 0"),
        ("--lora_r 32 --lora_alpha 64", "lora_r, lora_alpha: only for adapters. Add --use_peft"),
        ("--lora_dropout 0", "lora_dropout: only for adapters"),
        ("--lora_target_modules fc1", "lora_target_modules: only for adapters"),
        ("--use_peft --load_in_8bit --bnb_4bit_quant_type fp4", "bnb_4bit_quant_type: only for 4 bits"),
        ("--use_peft --bnb_4bit_use_double_quant false", "bnb_4bit_use_double_quant: only for 4 bits"),
        ("--seed -1", "seed -1: expected at least 0"),
        ("--max_train_samples -1", "max_train_samples -1: expected at least 1"),
        ("--max_eval_samples 0", "max_eval_samples 0: expected at least 1"),
        ("--dataloader_num_workers -1", "dataloader_num_workers -1: expected at least 0"),
        ("--use_peft --lora_dropout 1", "lora_dropout 1.0: expected at least 0 and below 1"),
        ("--mask_time_length 0", "mask_time_length 0: expected at least 1"),
        ("--mask_feature_length -1", "mask_feature_length -1: expected at least 1"),
        ("--mask_time_prob 1.5", "mask_time_prob 1.5: expected at least 0 and at most 1"),
        ("--mask_feature_prob -0.1", "mask_feature_prob -0.1: expected at least 0 and at most 1"),
        ("--mask_time_min_masks -1", "mask_time_min_masks -1: expected at least 0"),
        ("--mask_feature_min_masks -1", "mask_feature_min_masks -1: expected at least 0"),
    ],
)
def test_what_would_do_nothing_or_cannot_be_is_refused(words, expected):
    assert expected in message_of(*NEEDED, *words.split())


@pytest.mark.parametrize(
    "words",
    [
        "--noise_dir n --noise_probability 0.5 --reverb_dir r --reverb_probability 0.5",
        "--use_peft --lora_r 32 --lora_alpha 64 --lora_dropout 0 --lora_target_modules fc1",
        "--lora_r 16 --lora_target_modules q_proj v_proj",  # the defaults
        "--use_peft --load_in_4bit --bnb_4bit_quant_type fp4 --bnb_4bit_use_double_quant false",
        "--mask_time_length 1 --mask_time_prob 1 --mask_feature_prob 0 --mask_time_min_masks 0",
    ],
)
def test_what_goes_together_is_taken(words):
    parse_arguments(TrainArguments, [*NEEDED, *words.split()])


def test_intervals_of_zero_mean_never():
    args = parse_arguments(TrainArguments, [*NEEDED, "--eval_steps", "0", "--save_steps", "0"])
    assert (args.eval_steps, args.save_steps) == (0, 0)
    assert "eval_steps -1: expected at least 0" in message_of(*NEEDED, "--eval_steps", "-1")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--source manifest", "--input"),
        ("--source asterisk --max_duration 31", "the length of Whisper's window"),
        ("--source asterisk --min_duration 0", "0 < min_duration"),
        ("--source asterisk --validation_share 0.6 --test_share 0.4", "a sum below 1"),
        ("--source tape", "tape"),
    ],
)
def test_mistakes_in_preparing(words, expected):
    assert expected in message_of("--output_dir", "o", *words.split(), kind=PreprocessArguments)


def test_a_model_is_scored_once():
    words = ["--models", "a", "b", "a", "--dataset", "d", "--output_dir", "o"]
    assert "models: a given more than once" in message_of(*words, kind=EvaluateArguments)


def test_yaml_of_the_arguments_holds_every_field():
    args = parse_arguments(EvaluateArguments, ["--models", "a", "--dataset", "d", "--output_dir", "o"])
    assert set(yaml.safe_load(arguments_as_yaml(args))) == {field.name for field in dataclasses.fields(args)}


def test_an_argument_that_a_run_did_not_know_had_its_default(tmp_path):
    arguments = TrainArguments(output_dir="x", model_name_or_path="x", dataset=["x"])
    path = tmp_path / "train.yaml"
    written = yaml.safe_load(arguments_as_yaml(arguments))
    assert written.pop("silence_run") == 128
    path.write_text(yaml.safe_dump(written))
    assert differing_arguments(arguments, path) == []
    now = dataclasses.replace(arguments, silence_run=64)
    assert differing_arguments(now, path) == ["silence_run: 128 there, 64 now"]
