"""recipes/ against the scripts: each file fills its script's arguments, the three of a recipe fit."""

import re
from pathlib import Path

import pytest
import yaml

from utils.arguments.evaluate import EvaluateArguments
from utils.arguments.parsing import parse_arguments
from utils.arguments.preprocess import PreprocessArguments
from utils.arguments.train import TrainArguments

ROOT = Path(__file__).resolve().parent.parent
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
NAMES = sorted(path.stem for path in RECIPES if path.name.count(".") == 1)
KINDS = {"preprocess": PreprocessArguments, "evaluate": EvaluateArguments, "yaml": TrainArguments}


# For recipes that fit any data: the user gives it on the command line.
OWN_DATA = ["--dataset", "data/own", "data/other", "--output_dir", "runs/own"]


def read_recipe(path: Path):
    """Its script's arguments. What a recipe leaves to the command line is given there."""
    kind, text = path.name.split(".")[1], path.read_text(encoding="utf-8")
    if kind == "yaml" and not re.search("^dataset:", text, re.MULTILINE):
        return parse_arguments(TrainArguments, ["--config", str(path), *OWN_DATA])
    told = yaml.safe_load(text) if kind == "preprocess" else {"input": None, "language": None}
    missing = {"input": "corpus", "language": "it"}.items()
    more = [word for key, value in missing if key not in told for word in (f"--{key}", value)]
    return parse_arguments(KINDS[kind], ["--config", str(path), *more])


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_a_recipe_fills_its_scripts_arguments(path: Path):
    read_recipe(path)


@pytest.mark.parametrize("name", NAMES)
def test_what_one_step_writes_the_next_one_reads(name: str):
    train = read_recipe(ROOT / "recipes" / f"{name}.yaml")
    preprocess_file = ROOT / "recipes" / f"{name}.preprocess.yaml"
    if preprocess_file.exists():
        prepared = read_recipe(preprocess_file)
        assert f"{prepared.output_dir}{'.zip' if prepared.archive else ''}" in train.dataset
    evaluate_file = ROOT / "recipes" / f"{name}.evaluate.yaml"
    if evaluate_file.exists():
        evaluate = read_recipe(evaluate_file)
        assert evaluate.models == [train.model_name_or_path, f"{train.output_dir}/best"]
        assert evaluate.dataset == train.dataset
        assert evaluate.language == train.language


@pytest.mark.parametrize("name", NAMES)
def test_the_readme_lists_the_recipe(name: str):
    assert re.search(rf"^\| `{name}` \|", (ROOT / "recipes" / "README.md").read_text(), re.MULTILINE)


def test_the_starter_writes_where_the_demo_promises():
    evaluate = read_recipe(ROOT / "recipes" / "starter.evaluate.yaml")
    assert evaluate.output_dir == "runs/demo/report"
