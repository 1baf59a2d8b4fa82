"""recipes/ against the scripts: each file fills its script's arguments, the three of a recipe fit."""

import re
from pathlib import Path

import pytest

from tests.support.recipe_commands import ROOT, read_recipe

RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
NAMES = sorted(path.stem for path in RECIPES if path.name.count(".") == 1)


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
