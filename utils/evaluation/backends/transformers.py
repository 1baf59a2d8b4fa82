"""Decoding by this suite's own greedy loop."""

from collections.abc import Sequence
from dataclasses import dataclass

from utils.model.decoding import transcribe_batch
from utils.model.loading import LoadedModel


@dataclass(frozen=True)
class TransformersTranscriber:
    """Greedy decoding by utils/model/decoding.py."""

    loaded: LoadedModel
    max_length: int
    task: str

    def transcribe_batch(
        self, clips: Sequence[bytes], languages: Sequence[str | None], contexts: Sequence[float]
    ) -> list[str]:
        return transcribe_batch(
            self.loaded.model,
            self.loaded.processor,
            clips,
            languages,
            contexts,
            max_length=self.max_length,
            task=self.task,
            silence_run=self.loaded.decoding_silence_run,
        )
