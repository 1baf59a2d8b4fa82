"""What every backend is: clips in, texts out."""

from collections.abc import Sequence
from typing import Protocol


class Transcriber(Protocol):
    """A model that is ready to decode."""

    def transcribe_batch(
        self, clips: Sequence[bytes], languages: Sequence[str | None], contexts: Sequence[float]
    ) -> list[str]:
        """The text of each clip.

        Args:
            clips: FLAC bytes of at most 30 s, 16 kHz mono.
            languages: Language code of each; None lets the model detect it.
            contexts: Seconds that each clip is padded to for the encoder.
        """
        ...
