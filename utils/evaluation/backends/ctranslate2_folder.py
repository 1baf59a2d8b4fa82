"""A model in CTranslate2's form, for the two engines that read it; converted where it is not."""

import contextlib
import importlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

from utils.evaluation.backends.transcriber import BackendOptions
from utils.model.ctranslate2.conversion import is_ctranslate2_folder
from utils.model.loading import LoadedModel, load_model
from utils.model.whisper import whisper_of
from utils.runtime.errors import UserError


@contextlib.contextmanager
def ctranslate2_folder(name: str) -> Iterator[tuple[Path, LoadedModel]]:
    """The folder for the engine and the model itself; what had to be converted is deleted afterwards."""
    loaded = load_model(name)
    with tempfile.TemporaryDirectory() as temporary:
        yield Path(name) if is_ctranslate2_folder(name) else _convert(loaded, Path(temporary)), loaded


def engine_options(package: str, options: BackendOptions) -> dict[str, str | int]:
    """What either engine is told of device and precision.

    Raises:
        UserError: The package is not installed, or lacks the precision.
    """
    try:
        importlib.import_module(package)
        import ctranslate2
    except ImportError as error:
        raise UserError(
            f"--backend {package.replace('_', '-')}: {error.name} is not installed. "
            "Install it: pip install ctranslate2 faster-whisper"
        ) from None
    device: torch.device = options.device
    kind = "cuda" if device.type == "cuda" else "cpu"
    known = sorted(ctranslate2.get_supported_compute_types(kind))
    if options.dtype != "auto" and options.dtype not in known:
        raise UserError(
            f"--dtype {options.dtype}: CTranslate2 has no such precision on this {kind}, expected one of "
            f"auto, {', '.join(known)}."
        )
    precision = "default" if options.dtype == "auto" else options.dtype
    return {"device": kind, "device_index": device.index or 0, "compute_type": precision}


def _convert(loaded: LoadedModel, folder: Path) -> Path:
    """Write the model in CTranslate2's form, in float32; the engine reduces the precision as it loads."""
    from ctranslate2.converters import TransformersConverter

    source, target = folder / "source", folder / "ctranslate2"
    whisper_of(loaded.model).save_pretrained(source)
    loaded.processor.save_pretrained(source)
    # Processors no longer write preprocessor_config.json; faster-whisper needs it for 128 mel bins.
    loaded.processor.feature_extractor.save_pretrained(source)
    copied = ["tokenizer.json", "preprocessor_config.json"]
    TransformersConverter(str(source), copy_files=copied).convert(str(target))
    return target
