"""The command that a user runs next."""

import shlex
from pathlib import Path

from utils.runtime.devices import pick_accelerate_config


def training_command(dataset: str, *, language: str, model: str | None) -> str:
    """Return the command that trains on a prepared dataset, with the configuration for this machine.

    Args:
        dataset: Its folder.
        language: auto: not given.
        model: Folder or Hub id; Whisper base if None.
    """
    config = f"accelerate_configs/{pick_accelerate_config()}.yaml"
    words = ["accelerate", "launch", "--config_file", config, "train.py"]
    words += ["--model_name_or_path", model or "openai/whisper-base", "--dataset", dataset]
    if language != "auto":
        words += ["--language", language]
    return shlex.join([*words, "--output_dir", str(Path("runs") / Path(dataset).name)])
