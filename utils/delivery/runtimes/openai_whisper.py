"""Try an exported checkpoint in OpenAI's own package, openai-whisper, on the CPU."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from utils.delivery.exports.openai import CHECKPOINT
from utils.delivery.runtimes.runtime import Rendition, Way
from utils.delivery.transcript import Word
from utils.model.openai_form import BORROWED_CODE

if TYPE_CHECKING:
    from whisper import Whisper


@dataclass(frozen=True)
class OpenAIWhisperRuntime:
    """openai-whisper. It decodes once and greedily. By default, it samples if a decoding fails."""

    model: "Whisper"
    added_language: str | None
    task: str
    ways: tuple[Way, ...] = (
        Way(),
        Way(timestamps=True),
        Way(timestamps=True, words=True),
        Way(timestamps=True, previous_text=True),
    )
    finds_windows: bool = False

    def transcribe(self, samples: np.ndarray, language: str | None, way: Way) -> Rendition:
        if self.added_language is not None and language == self.added_language:
            language = BORROWED_CODE
        found = self.model.transcribe(
            samples.astype(np.float32),
            language=language,
            task=self.task,
            temperature=0.0,
            without_timestamps=not way.timestamps,
            word_timestamps=way.words,
            condition_on_previous_text=way.previous_text,
            fp16=False,
        )
        words = [
            Word(word["word"].strip(), float(word["start"]), float(word["end"]), float(word["probability"]))
            for segment in found["segments"]
            for word in segment.get("words", ())
        ]
        return Rendition(found["text"].strip(), words)


@contextlib.contextmanager
def open_openai_whisper(
    folder: Path, threads: int, task: str = "transcribe"
) -> Iterator[OpenAIWhisperRuntime]:
    """Load the checkpoint in a folder, with its alignment heads. It uses the threads of the process."""
    import torch
    import whisper

    torch.set_num_threads(threads)
    path = folder / CHECKPOINT
    model = whisper.load_model(str(path), device="cpu")
    more = torch.load(path, weights_only=True, mmap=True)
    model.set_alignment_heads(more["alignment_heads"])
    yield OpenAIWhisperRuntime(model, more["added_language"], task)
