"""Print the commands of a recipe: prepare, train, evaluate. `make recipe` runs what this prints.

    python recipes/plan.py --name starter
    python recipes/plan.py --name cv11-fa-small --input cv-corpus-11.0-2022-09-21-fa.tar.gz --small

What is changed by a flag goes into folders of its own, such as runs/cv11-fa-small-small.
"""

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from utils.arguments.fields import ParsedArguments
from utils.arguments.parsing import parse_arguments
from utils.runtime.devices import pick_accelerate_config
from utils.runtime.errors import UserError, user_errors_end_the_script
from utils.runtime.flags import argument
from utils.runtime.resolved_arguments import read_recipe

RECIPES = Path("recipes")
SMALL_STEPS, SMALL_CLIPS = 20, 20
OWN_DOWNLOADS = ("asterisk",)  # sources that need no input


@dataclass(frozen=True, kw_only=True)
class PlanArguments(ParsedArguments):
    """A recipe, and what is changed in it. `make recipe` has the same names in capitals."""

    group_name: ClassVar = "recipe"

    name: str = argument("Recipe: recipes/NAME.yaml.")
    input: str | None = argument("Corpus: a folder or an archive.", default=None)
    data: str | None = argument("Other data: recipes/NAME-DATA.preprocess.yaml.", default=None)
    language: str | None = argument("Language code, where the recipe has none.", default=None)
    steps: int | None = argument("Train for this number of steps.", default=None, at_least=1)
    small: bool = argument("Try it: a small model, few steps, few scored clips.", default=False)
    small_model: str = argument("The model for small.", default="openai/whisper-tiny")
    as_original: bool = argument(
        "Train on validation and choose on test, to compare with published results.", default=False
    )
    push: str | None = argument("Push the model to the Hub as user/name.", default=None)
    accelerate: str | None = argument(
        "File of accelerate_configs/. Not given: chosen for this machine.", default=None
    )


@dataclass(frozen=True)
class Folders:
    """The data and the run of a recipe, and where they are after the changes."""

    recipe_data: str | None
    data: str | None
    recipe_run: str
    run: str

    def moved(self, path: str) -> str:
        """Return the path of a dataset or model after the changes."""
        if path == self.recipe_data:
            return str(self.data)
        if path.startswith(f"{self.recipe_run}/"):
            return self.run + path.removeprefix(self.recipe_run)
        return path


def main(argv: list[str] | None = None) -> None:
    with user_errors_end_the_script():
        print("\n".join(plan(parse_arguments(PlanArguments, argv, __doc__))))


def plan(args: PlanArguments) -> list[str]:
    """Return the shell commands of a recipe, in order.

    Raises:
        UserError: There is no such recipe, or it needs a corpus or a language.
    """
    train_file, evaluate_file = (RECIPES / f"{args.name}{end}" for end in (".yaml", ".evaluate.yaml"))
    preprocess_file = find_preprocess_file(args)
    if not train_file.is_file():
        raise UserError(f"{train_file}: no such recipe. recipes/README.md lists them.")
    train = read_recipe(train_file)
    if not {"dataset", "output_dir"} <= train.keys():
        raise UserError(
            f"{train_file}: a recipe for any data, so give yours: accelerate launch train.py "
            f"--config {train_file} --dataset data/own --output_dir runs/own"
        )
    folders = find_folders(args, train, preprocess_file)
    scripts = []
    if preprocess_file.is_file():
        prepared = read_recipe(preprocess_file)
        check_needs(args, prepared, preprocess_file)
        scripts.append(["python", "preprocess.py", *preprocess_words(args, prepared, preprocess_file)])
    config = args.accelerate or pick_accelerate_config()
    launch = ["accelerate", "launch", "--config_file", f"accelerate_configs/{config}.yaml"]
    scripts.append([*launch, "train.py", *train_words(args, train, folders, train_file)])
    if evaluate_file.is_file():
        evaluate = read_recipe(evaluate_file)
        words = evaluate_words(args, evaluate, str(train["model_name_or_path"]), folders)
        scripts.append(["python", "evaluate.py", "--config", str(evaluate_file), *words])
    # each script but the last ends with the command to run next, which runs by itself here
    *first, last = map(shlex.join, scripts)
    return [*(f"NEXT_IS_AUTOMATIC=1 {command}" for command in first), last]


def find_preprocess_file(args: PlanArguments) -> Path:
    """Return the file that prepares the data. It may be missing if no other data was asked for."""
    file = RECIPES / f"{args.name}{f'-{args.data}' if args.data else ''}.preprocess.yaml"
    if args.data and not file.is_file():
        raise UserError(f"{file}: no such data for {args.name}. recipes/README.md lists what there is.")
    return file


def find_folders(args: PlanArguments, train: dict, preprocess_file: Path) -> Folders:
    """Return the folders of the recipe, and those of the changed recipe."""
    changes = [args.data, "as-original" if args.as_original else None]
    changes += [f"{args.steps}-steps" if args.steps else None, "small" if args.small else None]
    run = "-".join([str(train["output_dir"]), *filter(None, changes)])
    own = RECIPES / f"{args.name}.preprocess.yaml"
    if not own.is_file():
        return Folders(None, None, str(train["output_dir"]), run)
    before = dataset_of(read_recipe(own))
    after = dataset_of(read_recipe(preprocess_file), "-as-original" if args.as_original else "")
    return Folders(before, after, str(train["output_dir"]), run)


def dataset_of(prepared: dict, suffix: str = "") -> str:
    """Return what training reads of a prepared dataset: its folder, or its .zip."""
    return f"{prepared['output_dir']}{suffix}{'.zip' if prepared.get('archive') else ''}"


def check_needs(args: PlanArguments, prepared: dict, file: Path) -> None:
    """Raise a UserError if the corpus or its language is not known. Tell how to get the corpus."""
    needs = []
    if not args.input and "input" not in prepared and prepared["source"] not in OWN_DOWNLOADS:
        needs.append("INPUT=folder-or-archive")
    if not args.language and "language" not in prepared and prepared["source"] == "folder":
        needs.append("LANGUAGE=code, such as it")
    if needs:
        lines = file.read_text(encoding="utf-8").splitlines()
        told = [line.removeprefix("#").removeprefix(" ") for line in lines if line.startswith("#")]
        raise UserError("\n       ".join([f"{args.name} needs {' and '.join(needs)}.", *told]))


def preprocess_words(args: PlanArguments, prepared: dict, file: Path) -> list[str]:
    words = ["--config", str(file)]
    words += ["--input", str(Path(args.input).expanduser())] if args.input else []
    words += ["--language", args.language] if args.language else []
    if args.as_original:
        words += ["--as_original", "--output_dir", f"{prepared['output_dir']}-as-original"]
    return words


def train_words(args: PlanArguments, train: dict, folders: Folders, file: Path) -> list[str]:
    words = ["--config", str(file)]
    if folders.data != folders.recipe_data:
        words += ["--dataset", *map(folders.moved, train["dataset"])]
    if args.data and "dataset_tags" in train:
        prepared = read_recipe(find_preprocess_file(args))
        words += ["--dataset_tags", str(prepared["input"])]
    words += ["--language", args.language] if args.language else []
    words += ["--merge_validation", "--eval_split", "test"] if args.as_original else []
    steps = args.steps or (SMALL_STEPS if args.small else None)
    words += ["--max_steps", str(steps)] if steps else []
    if args.small:
        words += ["--model_name_or_path", args.small_model, "--max_eval_samples", str(SMALL_CLIPS)]
        words += ["--eval_steps", str(SMALL_STEPS // 2), "--save_steps", str(SMALL_STEPS // 2)]
        words += ["--warmup_steps", "0.1"]
    words += ["--push_to_hub", "--hub_model_id", args.push] if args.push else []
    return [*words, *moved_output(folders, "")]


def evaluate_words(args: PlanArguments, evaluate: dict, base: str, folders: Folders) -> list[str]:
    words = ["--language", args.language] if args.language else []
    if folders.data != folders.recipe_data:
        words += ["--dataset", *map(folders.moved, evaluate["dataset"])]
    if folders.run != folders.recipe_run:
        models = [args.small_model if args.small and name == base else name for name in evaluate["models"]]
        words += ["--models", *map(folders.moved, models)]
    words += ["--max_samples", str(SMALL_CLIPS)] if args.small else []
    return [*words, *moved_output(folders, "/report")]


def moved_output(folders: Folders, inside: str) -> list[str]:
    """Return the flag for the output folder, if it is not that of the recipe."""
    return ["--output_dir", f"{folders.run}{inside}"] if folders.run != folders.recipe_run else []


if __name__ == "__main__":
    main()
