"""One way to ask for text, whatever decodes."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from utils.evaluation.backends.ctranslate2 import CTranslate2Transcriber
from utils.evaluation.backends.faster_whisper import SAMPLING_SEED, FasterWhisperTranscriber
from utils.evaluation.backends.transcriber import Transcriber
from utils.evaluation.backends.transformers import TransformersTranscriber
from utils.model.ctranslate2.conversion import is_ctranslate2_folder
from utils.model.decoding import ready_to_decode
from utils.model.loading import LoadedModel, load_model
from utils.model.whisper import whisper_of
from utils.runtime.devices import pick_dtype
from utils.runtime.errors import UserError

if TYPE_CHECKING:
    pass


BACKENDS = ("transformers", "ctranslate2", "faster-whisper")

INSTALL = "Install it: pip install ctranslate2 faster-whisper"


@contextlib.contextmanager
def open_transcriber(
    name: str,
    *,
    backend: str,
    dtype: str,
    device: torch.device,
    max_length: int,
    task: str = "transcribe",
    num_beams: int = 1,
) -> Iterator[tuple[Transcriber, LoadedModel]]:
    """Load a model for a backend; what it had to be converted into is deleted afterwards.

    Args:
        name: As given to `load_model`.
        backend: One of `BACKENDS`.
        device: Of this process; CTranslate2 knows CUDA and the CPU.
        dtype: auto, or the name of a precision: of torch, or of CTranslate2 (such as int8).
        max_length: Most tokens of a hypothesis, the prompt included; CTranslate2 writes at most 224.
        task: transcribe, or translate into English.
        num_beams: 1 is greedy; transformers knows nothing else here.

    Raises:
        UserError: There is no such model, or the backend is not installed or lacks the precision.
    """
    if backend == "transformers":
        precision: torch.dtype = pick_dtype(device) if dtype == "auto" else getattr(torch, dtype)
        loaded = load_model(name, dtype=precision)
        loaded.model.to(device)
        with ready_to_decode(loaded.model):
            yield TransformersTranscriber(loaded, max_length, task), loaded
        return
    _check_installed(backend, dtype, device)
    loaded = load_model(name)
    with tempfile.TemporaryDirectory() as temporary:
        folder = name if is_ctranslate2_folder(name) else _convert(loaded, Path(temporary))
        options = {
            "device": "cuda" if device.type == "cuda" else "cpu",
            "device_index": device.index or 0,
            "compute_type": "default" if dtype == "auto" else dtype,
        }
        if backend == "ctranslate2":
            from ctranslate2.models import Whisper

            engine = Whisper(str(folder), intra_threads=torch.get_num_threads(), **options)
            yield CTranslate2Transcriber(engine, loaded, max_length, task, num_beams), loaded
        else:
            from ctranslate2 import set_random_seed
            from faster_whisper import WhisperModel

            set_random_seed(SAMPLING_SEED)
            model = WhisperModel(str(folder), cpu_threads=torch.get_num_threads(), **options)
            yield FasterWhisperTranscriber(model, loaded, task, num_beams), loaded


def _check_installed(backend: str, dtype: str, device: torch.device) -> None:
    try:
        import ctranslate2

        if backend == "faster-whisper":
            import faster_whisper  # noqa: F401
    except ImportError as error:
        raise UserError(f"--backend {backend}: {error.name} is not installed. {INSTALL}") from None
    kind = "cuda" if device.type == "cuda" else "cpu"
    known = sorted(ctranslate2.get_supported_compute_types(kind))
    if dtype != "auto" and dtype not in known:
        raise UserError(
            f"--dtype {dtype}: CTranslate2 has no such precision on this {kind}, expected one of "
            f"auto, {', '.join(known)}."
        )


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
