"""Export for transformers: a whole model in any precision, or the adapter as it is."""

import copy
import json
import shutil
from pathlib import Path

import torch

from utils.delivery.exports.checks import find_half_problems, find_head_problems
from utils.delivery.exports.export_format import ExportFormat, ExportSource
from utils.model.resolving import looks_like_path
from utils.model.saving import (
    ADAPTER_CONFIG,
    ARGUMENTS_FILE,
    RESULTS_FILE,
    TIED,
    is_adapter,
    read_adapter_config,
    save_generation_config,
    save_processor,
)
from utils.model.whisper import whisper_of
from utils.runtime.files import write_json


def find_whole_model_problems(source: ExportSource, precision: str) -> list[str]:
    """Return what a folder for transformers cannot hold."""
    model = whisper_of(source.loaded.model)
    return find_head_problems(model) + (find_half_problems(model) if precision == "float16" else [])


def write_whole_model(source: ExportSource, folder: Path, precision: str) -> list[str]:
    """Write a folder that `from_pretrained` and `pipeline` load; see `ExportFormat`.

    The arguments and results of the training go with it: they say in which context the model can be decoded.
    """
    model, dtype = whisper_of(source.loaded.model), getattr(torch, precision)
    weights = {name: value.to(dtype) for name, value in model.state_dict().items() if name not in TIED}
    model.save_pretrained(folder, state_dict=weights)
    config = copy.deepcopy(model.config)
    config.dtype = dtype  # `save_pretrained` took that of the model in memory
    config.save_pretrained(folder)
    save_generation_config(model, folder)
    save_processor(source.loaded.processor, folder)
    for name in (ARGUMENTS_FILE, RESULTS_FILE):
        if (source.folder / name).is_file():
            shutil.copyfile(source.folder / name, folder / name)
    return []


def find_adapter_problems(source: ExportSource, precision: str) -> list[str]:
    """Return why there is no adapter to export."""
    if is_adapter(source.folder):
        return []
    return [
        f"{source.name}: found a whole model, expected an adapter. Export it with the format huggingface."
    ]


def write_adapter(source: ExportSource, folder: Path, precision: str) -> list[str]:
    """Copy the files of the adapter; only the alignment heads may be new. See `ExportFormat`."""
    for file in source.folder.iterdir():
        if file.is_file():
            shutil.copyfile(file, folder / file.name)
    settings = folder / "generation_config.json"
    if settings.is_file():
        content = json.loads(settings.read_text(encoding="utf-8"))
        heads = getattr(whisper_of(source.loaded.model).generation_config, "alignment_heads", None)
        if heads != content.get("alignment_heads"):
            write_json(settings, content | {"alignment_heads": heads})
    base = str(read_adapter_config(folder).get("base_model_name_or_path"))
    if not looks_like_path(base) and not Path(base).exists():
        return []
    return [
        f"{ADAPTER_CONFIG} names the base model {base}, a folder of this machine. Write a Hub id into its "
        "base_model_name_or_path before you share the adapter, or export it with the format huggingface."
    ]


HUGGING_FACE = ExportFormat(
    precisions=("float32", "float16", "bfloat16"),
    packages=(),
    find_problems=find_whole_model_problems,
    write=write_whole_model,
)

ADAPTER_AS_IT_IS = ExportFormat(
    precisions=("original",), packages=("peft",), find_problems=find_adapter_problems, write=write_adapter
)
