"""A model folder as `from_pretrained` loads it, written whole or not at all, with its card."""

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path

from huggingface_hub import ModelCardData
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
        save_processor(processor, temporary)
        write_text(temporary / ARGUMENTS_FILE, arguments_yaml)
        write_json(temporary / RESULTS_FILE, results)
        write_text(temporary / "README.md", card)


def save_weights(model: nn.Module, folder: Path) -> None:
    """Write a model's configuration and weights, or those of its adapter alone."""
    # Of an embedding that was enlarged for a language, PEFT would save all rows beside the new one.
    options = {"save_embedding_layers": False} if adapter_name(model) else {}
    with ranks_of_zero_are_meant() if adapter_name(model) == "adalora" else contextlib.nullcontext():
        model.save_pretrained(folder, **options)  # type: ignore[operator]


def save_processor(processor: WhisperProcessor, folder: Path) -> None:
    """Write tokenizer and feature extractor, the latter also by itself, as a processor alone no longer does.

    faster-whisper and others read preprocessor_config.json; for 128 mel bins they need it.
    """
    processor.save_pretrained(folder)
    processor.feature_extractor.save_pretrained(folder)


def build_model_card(
    *,
    base_model: str,
    languages: list[str],
    datasets: list[str],
    results: dict[str, float | int | str | None],
    adapter: str | None,
) -> str:
    """Model card: YAML head for the Hub, then what was trained on what and how well it did on validation.

    `adapter` is the kind of adapter the folder holds (lora, dora, adalora), None for a whole model.
    """
    head = ModelCardData(
        library_name="peft" if adapter else "transformers",
        pipeline_tag="automatic-speech-recognition",
        base_model=base_model,
        tags=["whisper", "hf-asr-leaderboard", *([adapter] if adapter else [])],
        metrics=["wer"],
        language=languages or None,
    )
    formats = {float: ".4f", int: ","}
    shown = {name: format(value, formats.get(type(value), "")) for name, value in results.items()}
    rows = "\n".join(f"| {name} | {value} |" for name, value in shown.items())
    return (
        f"---\n{head}\n---\n\n"
        f"# {base_model.rstrip('/').rpartition('/')[2]}, fine-tuned\n\n"
        f"Fine-tuned from `{base_model}` on {', '.join(f'`{name}`' for name in datasets)}. "
        "`train.yaml` holds every argument of the run.\n\n"
        "| at the end of training | |\n|---|---|\n"
        f"{rows}\n\n"
        "WER is a fraction, over validation, by greedy generation in the full 30 s context. That split "
        "chose this model, so judge it on the test split: `python evaluate.py`.\n"
    )
