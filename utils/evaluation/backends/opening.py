"""Open a model with any backend."""

from collections.abc import Callable
from contextlib import AbstractContextManager

from utils.evaluation.backends.ctranslate2 import open_ctranslate2, open_faster_whisper
from utils.evaluation.backends.transcriber import BackendOptions, Transcriber
from utils.evaluation.backends.transformers import open_transformers

OPENERS: dict[str, Callable[[str, BackendOptions], AbstractContextManager[Transcriber]]] = {
    "transformers": open_transformers,
    "ctranslate2": open_ctranslate2,
    "faster-whisper": open_faster_whisper,
}


def open_transcriber(name: str, backend: str, options: BackendOptions) -> AbstractContextManager[Transcriber]:
    """Load a model with one of the backends in `OPENERS`. The name is one that `load_model` accepts.

    Raises:
        UserError: There is no such model, or the backend is not installed or does not have the precision.
    """
    return OPENERS[backend](name, options)
