"""A model folder as `from_pretrained` loads it, written whole or not at all."""

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path

from torch import nn
from transformers import WhisperProcessor

from utils.model.whisper import adapter_name, whisper_of
from utils.runtime.files import folder_written_whole, write_json, write_text

ARGUMENTS_FILE = "train.yaml"

RESULTS_FILE = "train_results.json"


@contextlib.contextmanager
def ranks_of_zero_are_meant() -> Iterator[None]:
    """Keep PEFT from taking the layers that AdaLoRA has left without a rank for a broken adapter."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The following rank_pattern keys did not match")
        warnings.filterwarnings("ignore", message=r".*LoRA tensor\(s\) have invalid shape")
        yield


def save_model_folder(
    folder: Path,
    model: nn.Module,
    processor: WhisperProcessor,
    *,
    arguments_yaml: str,
    results: dict,
    card: str,
) -> None:
    """Write a complete model folder (or adapter folder), whole or not at all.

    `from_pretrained`, `pipeline` and faster-whisper's converter find all they need in it.
    """
    with folder_written_whole(folder) as temporary:
        save_weights(model, temporary)
        generation_config = whisper_of(model).generation_config
        generation_config._from_model_config = False  # else lang_to_id is lost when it is loaded again
        generation_config.save_pretrained(temporary)
        processor.save_pretrained(temporary)
        # Processors no longer write preprocessor_config.json; faster-whisper needs it for 128 mel bins.
        processor.feature_extractor.save_pretrained(temporary)
        write_text(temporary / ARGUMENTS_FILE, arguments_yaml)
        write_json(temporary / RESULTS_FILE, results)
        write_text(temporary / "README.md", card)


def save_weights(model: nn.Module, folder: Path) -> None:
    """Write a model's configuration and weights, or those of its adapter alone."""
    options = {}
    if adapter_name(model):
        # Of an embedding that was enlarged for a language, PEFT would save all rows beside the new one.
        options = {"save_embedding_layers": False}
    with ranks_of_zero_are_meant() if adapter_name(model) == "adalora" else contextlib.nullcontext():
        model.save_pretrained(folder, **options)  # type: ignore[operator]
