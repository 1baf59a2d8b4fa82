"""Writes the command that a user should run next."""

import os
import shlex
from pathlib import Path

from utils.data.data_report import Statistics
from utils.runtime.devices import pick_accelerate_config
from utils.runtime.messages import next_step_is_automatic


def training_command(dataset: str, *, language: str, model: str | None) -> str:
    """Return the command that trains on a prepared dataset, with the configuration for this machine.

    Args:
        dataset: Folder of the dataset.
        language: Value of `--language`.
        model: Folder or Hub id; Whisper base if None.
    """
    config = pick_accelerate_config()
    words = ["accelerate", "launch", "--config_file", f"accelerate_configs/{config}.yaml", "train.py"]
    words += ["--model_name_or_path", model or "openai/whisper-base", "--dataset", dataset]
    words += ["--language", language]
    command = shlex.join([*words, "--output_dir", str(Path("runs") / Path(dataset).name)])
    # else the launcher may take fewer threads than there are, and prints a hint
    return f"OMP_NUM_THREADS={os.cpu_count()} {command}" if config.startswith("cpu") else command


def language_to_train(given: str | None, statistics: Statistics) -> str:
    """Return the value of `--language` for training: the given one, the only one of the clips, or auto.

    CODE stands for a language that is not known, because it was left open.
    """
    languages = statistics.languages
    known_hours = sum(language.hours for language in languages.largest) + languages.hours_of_others
    if given not in (None, "auto"):
        return str(given)
    if known_hours < statistics.hours * 0.9999:  # rounded sums
        return "CODE"
    return languages.largest[0].name if languages.distinct == 1 else "auto"


def tell_next(command: str) -> None:
    """Print what to run next, unless it runs by itself."""
    if not next_step_is_automatic():
        print(f"Next:\n  {command}")


def tell_use(model: str) -> None:
    """Print how to use an evaluated model, if it is a folder."""
    if Path(model).is_dir():
        words = ["python", "transcribe.py", "--model", model, "--output_dir", "transcripts", "FILE"]
        print(f"To use {model}:\n  {shlex.join(words)}")
