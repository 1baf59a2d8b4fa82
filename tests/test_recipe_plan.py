"""recipes/plan.py and `make recipe`: which commands a recipe becomes, and in which environment."""

import re
import shlex
import subprocess
import sys

import pytest

from recipes.plan import PlanArguments, plan
from tests.support.programs import write_program
from tests.support.recipe_commands import ROOT, dry_make, plan_words
from utils.arguments.parsing import parse_arguments
from utils.runtime.errors import UserError


def planned(words: str, monkeypatch) -> list[str]:
    """The commands of a recipe, on a machine whose configuration is given."""
    monkeypatch.chdir(ROOT)
    return plan(parse_arguments(PlanArguments, f"{words} --accelerate cpu".split()))


def test_a_recipe_is_three_commands(monkeypatch):
    launch = "accelerate launch --config_file accelerate_configs/cpu.yaml train.py"
    assert planned("--name starter", monkeypatch) == [
        "NEXT_IS_AUTOMATIC=1 python preprocess.py --config recipes/starter.preprocess.yaml",
        f"NEXT_IS_AUTOMATIC=1 {launch} --config recipes/starter.yaml",
        "python evaluate.py --config recipes/starter.evaluate.yaml",
    ]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            "--name cv11-gl-small --input cv.tar.gz --steps 300",
            [
                "--input cv.tar.gz",
                "--max_steps 300 --output_dir runs/cv11-gl-small-300-steps",
                "--models openai/whisper-small runs/cv11-gl-small-300-steps/best "
                "--output_dir runs/cv11-gl-small-300-steps/report",
            ],
        ),
        (
            "--name cv11-gl-small --input cv.tar.gz --as_original",
            [
                "--input cv.tar.gz --as_original --output_dir data/cv11-gl-as-original",
                "--dataset data/cv11-gl-as-original --merge_validation --eval_split test "
                "--output_dir runs/cv11-gl-small-as-original",
                "--dataset data/cv11-gl-as-original --models openai/whisper-small "
                "runs/cv11-gl-small-as-original/best --output_dir runs/cv11-gl-small-as-original/report",
            ],
        ),
        (
            "--name cv11-fa-small --data fleurs --push anna/persian",
            [
                "",
                "--dataset data/cv11-fa-small-fleurs.zip --dataset_tags google/fleurs --push_to_hub "
                "--hub_model_id anna/persian --output_dir runs/cv11-fa-small-fleurs",
                "--dataset data/cv11-fa-small-fleurs.zip --models openai/whisper-small "
                "runs/cv11-fa-small-fleurs/best --output_dir runs/cv11-fa-small-fleurs/report",
            ],
        ),
        (
            "--name children-base-lora --input rec --language it --small",
            [
                "--input rec --language it",
                "--language it --max_steps 20 --model_name_or_path openai/whisper-tiny "
                "--max_eval_samples 20 --eval_steps 10 --save_steps 10 --warmup_steps 0.1 "
                "--output_dir runs/children-base-lora-small",
                "--language it --models openai/whisper-tiny runs/children-base-lora-small/best "
                "--max_samples 20 --output_dir runs/children-base-lora-small/report",
            ],
        ),
    ],
    ids=["steps", "as original", "other data, pushed", "small"],
)
def test_what_is_changed_gets_folders_of_its_own(words: str, expected: list[str], monkeypatch):
    commands = planned(words, monkeypatch)
    assert [command.partition(".yaml ")[2].split(".yaml ")[-1] for command in commands] == expected


def test_a_recipe_tells_how_to_get_what_it_needs(monkeypatch):
    told = r"(?s)needs INPUT=.*commonvoice\.mozilla\.org.*make recipe NAME=cv11-fa-small"
    with pytest.raises(UserError, match=told):
        planned("--name cv11-fa-small", monkeypatch)
    with pytest.raises(UserError, match=r"(?s)base-lora needs LANGUAGE=code.*start<TAB>end<TAB>text"):
        planned("--name children-base-lora --input rec", monkeypatch)
    with pytest.raises(UserError, match=r"(?s)needs INPUT=.*hf download intronhealth/afrispeech-200"):
        planned("--name afrispeech-isizulu-tiny-lora-int8", monkeypatch)
    with pytest.raises(UserError, match=r"recipes/nothing\.yaml: no such recipe"):
        planned("--name nothing", monkeypatch)
    with pytest.raises(UserError, match=r"starter-fleurs\.preprocess\.yaml: no such data for starter"):
        planned("--name starter --data fleurs", monkeypatch)


def test_make_passes_on_what_its_command_says():
    assert plan_words() == ["--name", "starter"]
    given = ["NAME=cv11-fa-small", "INPUT=a b.tar.gz", "DATA=fleurs", "LANGUAGE=it", "STEPS=3", "SMALL=1"]
    given += ["SMALL_MODEL=openai/whisper-base", "AS_ORIGINAL=1", "PUSH=anna/x", "CONFIG=cpu"]
    expected = "--name cv11-fa-small --input 'a b.tar.gz' --data fleurs --language it --steps 3 --small"
    expected += " --small_model openai/whisper-base --as_original --push anna/x --accelerate cpu"
    assert plan_words(*given) == shlex.split(expected)
    # many systems set LANGUAGE for their messages
    assert plan_words(LANGUAGE="en_US:en", INPUT="x") == ["--name", "starter"]


@pytest.mark.parametrize(
    ("environment", "words", "expected"),
    [
        ({}, [], ".venv"),
        ({"VIRTUAL_ENV": "/envs/a"}, [], "/envs/a"),
        ({"CONDA_PREFIX": "/conda/envs/a", "CONDA_DEFAULT_ENV": "a"}, [], "/conda/envs/a"),
        ({"CONDA_PREFIX": "/conda", "CONDA_DEFAULT_ENV": "base"}, [], ".venv"),
        ({"VIRTUAL_ENV": "/envs/a"}, ["VENV=/envs/b"], "/envs/b"),
        ({"VENV": "/envs/b"}, [], "/envs/b"),
    ],
)
def test_make_uses_the_environment_that_is_named_or_active(environment, words, expected):
    assert f"{expected}/bin/ruff check ." in dry_make("style", *words, **environment).splitlines()


def test_a_torch_of_the_machine_is_kept(tmp_path):
    """An environment whose Python has torch 2.9 for CUDA; what pip is asked for is written down."""
    version = '*__version__*) echo "torch==2.9.0+cu128" ;;'
    program = f'case "$*" in {version} *"-m pip install"*) echo "$*" >>pip.txt ;; esac'
    write_program(tmp_path / "env/bin/python", program)
    for name in ("Makefile", *(path.name for path in ROOT.glob("requirements*.txt"))):
        (tmp_path / name).symlink_to(ROOT / name)
    make = ["make", f"VENV={tmp_path}/env", f"{tmp_path}/env/.installed-dev"]
    subprocess.run(make, cwd=tmp_path, check=True, capture_output=True)
    asked = [line.split()[-1] for line in (tmp_path / "pip.txt").read_text().splitlines()]
    assert asked == [f"{tmp_path}/env/requirements.txt"] * 2
    (tmp_path / "env/.installed-dev").unlink()
    (tmp_path / "env/.installed").unlink()
    subprocess.run([*make[:2], "install"], cwd=tmp_path, check=True, capture_output=True)
    installed = (tmp_path / "env/requirements.txt").read_text()
    pinned = (ROOT / "requirements.txt").read_text()
    assert installed == re.sub(r"(?m)^torch==.*$", "torch==2.9.0+cu128", pinned) != pinned


def test_a_new_environment_gets_the_torch_of_the_requirements(tmp_path):
    write_program(tmp_path / "env/bin/python", 'case "$*" in *"import torch"*) exit 1 ;; esac')
    for name in ("Makefile", "requirements.txt"):
        (tmp_path / name).symlink_to(ROOT / name)
    make = ["make", f"VENV={tmp_path}/env", "install"]
    subprocess.run(make, cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "env/requirements.txt").read_text() == (ROOT / "requirements.txt").read_text()


def test_an_environment_that_is_named_is_never_emptied(tmp_path):
    (tmp_path / "Makefile").symlink_to(ROOT / "Makefile")
    (tmp_path / "requirements.txt").touch()
    (tmp_path / "env").mkdir()
    (tmp_path / "env/mine.txt").touch()
    make = ["make", f"VENV={tmp_path}/env", f"PYTHON={sys.executable}", f"{tmp_path}/env/bin/python"]
    subprocess.run(make, cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "env/mine.txt").is_file() and (tmp_path / "env/bin/python").exists()
