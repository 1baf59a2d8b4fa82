"""One way to ask for text, whatever decodes."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch

from utils.evaluation.backends.ctranslate2 import open_ctranslate2, open_faster_whisper
from utils.evaluation.backends.transcriber import BackendOptions, Transcriber
from utils.evaluation.backends.transformers import open_transformers

OPENERS: dict[str, Callable[[str, BackendOptions], AbstractContextManager[Transcriber]]] = {
    "transformers": open_transformers,
    "ctranslate2": open_ctranslate2,
    "faster-whisper": open_faster_whisper,
}


def open_transcriber(
    name: str,
    *,
    backend: str,
    dtype: str,
    device: torch.device,
    max_length: int,
    task: str = "transcribe",
    num_beams: int = 1,
) -> AbstractContextManager[Transcriber]:
    """Load a model for a backend, one of `OPENERS`; `BackendOptions` explains the rest.

    Args:
        name: As given to `load_model`.

    Raises:
        UserError: There is no such model, or the backend is not installed or lacks the precision.
    """
    return OPENERS[backend](name, BackendOptions(device, dtype, max_length, task, num_beams))
