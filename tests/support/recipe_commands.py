"""Recipes and commands of pages: as the scripts parse them, and as make runs them."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import yaml

from utils.arguments.evaluate import EvaluateArguments
from utils.arguments.parsing import parse_arguments
from utils.arguments.preprocess import PreprocessArguments
from utils.arguments.train import TrainArguments

ROOT = Path(__file__).parents[2]
KINDS = {"preprocess": PreprocessArguments, "evaluate": EvaluateArguments, "yaml": TrainArguments}
LEFT_TO_THE_USER = {
    "preprocess": {"input": ["corpus"], "language": ["it"]},
    "evaluate": {},
    "yaml": {"dataset": ["data/own", "data/other"], "output_dir": ["runs/own"]},
}


def read_recipe(path: Path):
    """Its script's arguments. What a recipe leaves to the command line is given there."""
    kind, told = path.name.split(".")[1], yaml.safe_load(path.read_text())
    missing = {name: words for name, words in LEFT_TO_THE_USER[kind].items() if name not in told}
    more = [word for name, words in missing.items() for word in (f"--{name}", *words)]
    return parse_arguments(KINDS[kind], ["--config", str(path), *more])


def shell_commands(page: str) -> list[str]:
    """The commands of a page's shell blocks, continued lines joined, comments cut off."""
    blocks = re.findall(r"^```(?:bash|sh)\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [line for line in (shlex.join(shlex.split(line, comments=True)) for line in lines) if line]


def dry_make(*words: str, **environment: str) -> str:
    """What make would run, outside of any environment. Its dry run also prints what it would install."""
    ours = re.compile("VIRTUAL_ENV|CONDA|VENV|MAKE")
    inherited = {key: value for key, value in os.environ.items() if not ours.match(key)}
    return subprocess.run(
        ["make", "--dry-run", *words],
        cwd=ROOT,
        env=inherited | environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def plan_words(*words: str, **environment: str) -> list[str]:
    """The words that `make recipe` gives to recipes/plan.py."""
    printed = dry_make("recipe", f"VENV={sys.prefix}", *words, **environment)
    found = re.search(r"python recipes/plan\.py (.*?)\) &&", printed)
    assert found, printed
    return shlex.split(found[1])
