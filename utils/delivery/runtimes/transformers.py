"""Try an exported folder in transformers: the pipeline for speech recognition, on the CPU."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from utils.audio.flac import SAMPLE_RATE
from utils.delivery.runtimes.runtime import Rendition, Way
from utils.delivery.transcript import Word
from utils.model.languages import language_ids
from utils.model.resolving import resolve_model
from utils.model.saving import ADAPTER_CONFIG, is_adapter, read_adapter_config
from utils.runtime.files import write_json

if TYPE_CHECKING:
    from transformers import AutomaticSpeechRecognitionPipeline

WINDOW = 30.0  # seconds


@dataclass(frozen=True)
class TransformersRuntime:
    """The pipeline. It decodes greedily. Its default is five beams.

    Recordings without timestamps, or in batches, are cut into windows that overlap (`chunk_length_s=30`).
    """

    recognise: "AutomaticSpeechRecognitionPipeline"
    task: str
    ways: tuple[Way, ...] = (
        Way(),
        Way(timestamps=True),
        Way(timestamps=True, words=True),
        Way(timestamps=True, previous_text=True),
    )
    finds_windows: bool = False
    batch_size: int = 1

    def transcribe(self, samples: np.ndarray, language: str | None, way: Way) -> Rendition:
        generate: dict[str, Any] = {"num_beams": 1, "do_sample": False}
        if language_ids(self.recognise.model):
            generate |= {"language": language, "task": self.task}
        if way.previous_text:
            generate["condition_on_prev_tokens"] = True
        is_long = len(samples) > WINDOW * SAMPLE_RATE
        options: dict[str, Any] = {}
        if is_long and (self.batch_size > 1 or not way.timestamps):
            options = {"chunk_length_s": WINDOW, "batch_size": self.batch_size}
        found: Any = self.recognise(
            {"raw": samples, "sampling_rate": SAMPLE_RATE},
            return_timestamps="word" if way.words else way.timestamps,
            generate_kwargs=generate,
            **options,
        )
        words = []
        for chunk in found["chunks"] if way.words else ():
            start, end = chunk["timestamp"]
            words.append(Word(chunk["text"].strip(), start, start if end is None else end))
        return Rendition(found["text"].strip(), words)


@contextlib.contextmanager
def open_transformers_runtime(
    folder: Path, threads: int, task: str = "transcribe"
) -> Iterator[TransformersRuntime]:
    """Load an exported folder. The threads are those of the whole process."""
    import torch
    from transformers import pipeline
    from transformers.utils import logging

    logging.set_verbosity_error()  # its advice is for those who write code
    torch.set_num_threads(threads)
    with _with_base_at_hand(folder) as whole:
        recognise = pipeline("automatic-speech-recognition", model=str(whole), device="cpu")
        yield TransformersRuntime(recognise, task)


@contextlib.contextmanager
def _with_base_at_hand(folder: Path) -> Iterator[Path]:
    """Yield an adapter's folder as a copy that names its base model by a local folder, if that has one.

    transformers knows only the Hub's cache, this project also the models of Python packages.
    """
    if not is_adapter(folder):
        yield folder
        return
    config = read_adapter_config(folder)
    base = resolve_model(str(config["base_model_name_or_path"]))
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(shutil.copytree(folder, Path(temporary) / "adapter"))
        write_json(copy / ADAPTER_CONFIG, config | {"base_model_name_or_path": base})
        yield copy
