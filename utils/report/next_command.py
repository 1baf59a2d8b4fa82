"""Writes the command that a user should run next."""

import os
import shlex
from pathlib import Path

from utils.runtime.devices import pick_accelerate_config
from utils.runtime.messages import next_step_is_automatic


def training_command(dataset: str, *, language: str, model: str | None) -> str:
    """Return the command that trains on a prepared dataset, with the configuration for this machine.

    Args:
        dataset: Folder of the dataset.
        language: auto: not given.
        model: Folder or Hub id; Whisper base if None.
    """
    config = pick_accelerate_config()
    words = ["accelerate", "launch", "--config_file", f"accelerate_configs/{config}.yaml", "train.py"]
    words += ["--model_name_or_path", model or "openai/whisper-base", "--dataset", dataset]
    if language != "auto":
        words += ["--language", language]
    command = shlex.join([*words, "--output_dir", str(Path("runs") / Path(dataset).name)])
    # else the launcher may take fewer threads than there are, and prints a hint
    return f"OMP_NUM_THREADS={os.cpu_count()} {command}" if config.startswith("cpu") else command


def tell_next(command: str) -> None:
    """Print what to run next, unless it runs by itself."""
    if not next_step_is_automatic():
        print(f"Next:\n  {command}")


def tell_use(model: str) -> None:
    """Print how to use an evaluated model, if it is a folder."""
    if Path(model).is_dir():
        words = ["python", "transcribe.py", "--model", model, "--output_dir", "transcripts", "FILE"]
        print(f"To use {model}:\n  {shlex.join(words)}")
