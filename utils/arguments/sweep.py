"""The arguments of sweep.py, and the runs of its grid."""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import ClassVar

from utils.arguments.fields import ScriptArguments
from utils.arguments.parsing import parse_arguments
from utils.arguments.recipes import unknown_message
from utils.arguments.train import TrainArguments
from utils.runtime.errors import UserError
from utils.runtime.flags import argument

# with other values of these, the results could not be compared, or there would be none
NOT_IN_A_GRID = ("output_dir", "metric_for_best_model", "normalizer", "dry_run", "resume_from_checkpoint")


@dataclass(frozen=True)
class SweepRun:
    """One combination of the grid's values."""

    values: dict[str, str]  # by flag, as the user wrote them
    words: list[str]  # of the command line of train.py
    arguments: TrainArguments

    @property
    def folder(self) -> Path:
        """The run folder."""
        return Path(self.arguments.output_dir)

    @property
    def name(self) -> str:
        return ", ".join(f"{flag} {value}" for flag, value in self.values.items())


@dataclass(frozen=True, kw_only=True)
class SweepArguments(ScriptArguments):
    """The arguments of sweep.py."""

    group_name: ClassVar = "sweep"

    recipe: str = argument("Recipe of train.py that all runs share.")
    grid: list[str] = argument(
        "Flags of train.py with their values: learning_rate=1e-5,2e-5. Each combination is one run."
    )
    accelerate_config: str | None = argument(
        "File of accelerate_configs/, without .yaml. Not given: the one for this machine.", default=None
    )
    bootstrap_samples: int = argument(
        "Resamples for the intervals.", default=1000, advanced=True, at_least=100
    )

    def problems(self) -> list[str]:
        found, flags = [], [_split(word)[0] for word in self.grid]
        known = {field.name for field in fields(TrainArguments)}
        for word, flag in zip(self.grid, flags, strict=True):
            values = _split(word)[1]
            if not values or "" in values:
                found.append(f"grid {word!r}: expected a flag and values, such as learning_rate=1e-5,2e-5.")
            elif flag in NOT_IN_A_GRID:
                found.append(f"grid {flag}: it must be the same for all runs.")
            elif flag not in known:
                found.append(unknown_message("grid", flag, TrainArguments))
            elif len(set(values)) < len(values) or flags.count(flag) > 1:
                found.append(f"grid {word!r}: the flag or a value is there more than once.")
        if self.accelerate_config and not _config_file(self.accelerate_config).is_file():
            found.append(f"accelerate_config {self.accelerate_config}: no such file in accelerate_configs/.")
        return found


def plan_runs(args: SweepArguments) -> list[SweepRun]:
    """Return the runs in the order of the grid. The last flag changes fastest.

    Raises:
        UserError: A combination is not valid, or has no validation. All problems are reported at once.
    """
    grid = dict(map(_split, args.grid))
    runs, problems = [], []
    for combination in itertools.product(*grid.values()):
        values = dict(zip(grid, combination, strict=True))
        folder = Path(args.output_dir) / ",".join(f"{flag}={_plain(text)}" for flag, text in values.items())
        words = ["--config", args.recipe, *_flag_words(values), "--output_dir", str(folder)]
        try:
            runs.append(SweepRun(values, words, parse_arguments(TrainArguments, words)))
        except UserError as error:
            problems.append(f"{', '.join(f'{flag} {value}' for flag, value in values.items())}: {error}")
    problems += [
        f"{run.name}: eval_steps 0. A sweep needs evaluations. Set eval_steps above 0."
        for run in runs
        if not run.arguments.eval_steps
    ]
    if problems:
        raise UserError("\n       ".join(dict.fromkeys(problems)))
    return runs


def _split(word: str) -> tuple[str, list[str]]:
    """Return the flag in lower case and its values.

    A comma separates two values. If there is none, a space does.
    """
    flag, _, text = word.partition("=")
    values = [value.strip() for value in text.split(",")] if "," in text else text.split()
    return flag.strip().lower(), values


def _flag_words(values: dict[str, str]) -> Iterator[str]:
    for flag, text in values.items():
        yield from (f"--{flag}", *text.split())


def _plain(text: str) -> str:
    return re.sub(r"[^\w.+-]+", "-", text)


def _config_file(name: str) -> Path:
    return Path(__file__).parents[2] / "accelerate_configs" / f"{name}.yaml"
