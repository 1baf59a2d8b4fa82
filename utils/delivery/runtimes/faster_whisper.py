"""Try an exported folder in faster-whisper, one window after the other and in batches, on the CPU."""

import contextlib
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from utils.delivery.runtimes.runtime import Rendition, Way
from utils.delivery.transcript import Word

if TYPE_CHECKING:
    from faster_whisper import BatchedInferencePipeline, WhisperModel

BATCH_SIZE = 8  # faster-whisper's default


@dataclass(frozen=True)
class FasterWhisperRuntime:
    """faster-whisper.

    It decodes once and greedily. Its default is five beams, and further decodings (fallbacks) if one fails.
    """

    engine: "WhisperModel"
    task: str
    ways: tuple[Way, ...] = (
        Way(),
        Way(timestamps=True),
        Way(timestamps=True, words=True),
        Way(timestamps=True, previous_text=True),
    )
    finds_windows: bool = False

    def transcribe(self, samples: np.ndarray, language: str | None, way: Way) -> Rendition:
        segments, _ = self.engine.transcribe(
            samples,
            language=language,
            task=self.task,
            beam_size=1,
            temperature=0.0,
            without_timestamps=not way.timestamps,
            word_timestamps=way.words,
            condition_on_previous_text=way.previous_text,
        )
        return _collect(segments)


@dataclass(frozen=True)
class BatchedFasterWhisperRuntime:
    """faster-whisper's `BatchedInferencePipeline`: speech is found first, and decoded in batches.

    Times of words are asked for without timestamps, as by default. With timestamps, what follows an early end
    of a window is lost, because no window is decoded twice.
    """

    engine: "BatchedInferencePipeline"
    task: str
    ways: tuple[Way, ...] = (Way(), Way(timestamps=True), Way(timestamps=True, words=True))
    finds_windows: bool = True

    def transcribe(self, samples: np.ndarray, language: str | None, way: Way) -> Rendition:
        segments, _ = self.engine.transcribe(
            samples,
            language=language,
            task=self.task,
            beam_size=1,
            temperature=0.0,
            without_timestamps=way.words or not way.timestamps,
            word_timestamps=way.words,
            batch_size=BATCH_SIZE,
        )
        return _collect(segments)


def _collect(segments) -> Rendition:
    """Join the text and the words of faster-whisper's segments, which are made one by one."""
    made = list(segments)
    words = [
        Word(word.word.strip(), word.start, word.end, word.probability)
        for segment in made
        for word in segment.words or ()
    ]
    return Rendition("".join(segment.text for segment in made).strip(), words)


@contextlib.contextmanager
def open_faster_whisper_runtime(
    folder: Path, threads: int, task: str = "transcribe"
) -> Iterator[FasterWhisperRuntime]:
    """Load a folder that CTranslate2 loads."""
    yield FasterWhisperRuntime(_load(folder, threads), task)


@contextlib.contextmanager
def open_batched_faster_whisper(
    folder: Path, threads: int, task: str = "transcribe"
) -> Iterator[BatchedFasterWhisperRuntime]:
    """Load a folder that CTranslate2 loads."""
    from faster_whisper import BatchedInferencePipeline

    yield BatchedFasterWhisperRuntime(BatchedInferencePipeline(_load(folder, threads)), task)


def _load(folder: Path, threads: int) -> "WhisperModel":
    import ctranslate2
    from faster_whisper import WhisperModel

    ctranslate2.set_log_level(logging.ERROR)  # it warns that a CPU without float16 computes in float32
    engine = WhisperModel(str(folder), device="cpu", cpu_threads=threads)
    _teach_languages(folder)
    return engine


def _teach_languages(folder: Path) -> None:
    """Add a model's languages to faster-whisper's own list, because it refuses all others."""
    from faster_whisper import tokenizer, transcribe
    from tokenizers import Tokenizer

    names = Tokenizer.from_file(str(folder / "tokenizer.json"))
    ids = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("lang_ids") or []
    codes = [(names.id_to_token(token_id) or "").strip("<|>") for token_id in ids]
    known = tokenizer._LANGUAGE_CODES
    tokenizer._LANGUAGE_CODES = transcribe._LANGUAGE_CODES = tuple(dict.fromkeys((*known, *codes)))
