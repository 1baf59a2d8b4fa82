"""Define the interface of all backends. A backend gets clips and returns texts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, cast

import numpy as np
import torch

from utils.model.decoding import DecodedClips
from utils.model.loading import LoadedModel
from utils.runtime.errors import UserError
from utils.text.label_tokens import MAX_PREVIOUS_TOKENS
from utils.text.term_tokens import TermTokens


@dataclass(frozen=True)
class BackendOptions:
    """How to open and run a model."""

    device: torch.device  # of this process; CTranslate2 knows CUDA and the CPU
    dtype: str  # auto, or the name of a precision: of torch, or of CTranslate2 (such as int8)
    max_length: int  # most tokens of a hypothesis, the prompt included; CTranslate2 writes at most 224
    task: str = "transcribe"  # or translate, into English
    num_beams: int = 1  # 1 is greedy; the transformers backend has only this
    prompt: tuple[int, ...] = ()  # tokens of the text before each clip of `transcribe_batch`


class Transcriber(Protocol):
    """A model that is ready to decode."""

    @property
    def options(self) -> BackendOptions:
        """Return how the model is run."""
        ...

    @property
    def loaded(self) -> LoadedModel:
        """Return the model as transformers loads it."""
        ...

    @property
    def takes_dynamic_context(self) -> bool:
        """Check whether the backend decodes this model in the dynamic context as in training."""
        ...

    @property
    def takes_added_languages(self) -> bool:
        """Check whether the backend accepts languages that were added to Whisper, if the model has them."""
        ...

    def transcribe_batch(
        self, clips: Sequence[bytes], languages: Sequence[str | None], contexts: Sequence[float]
    ) -> list[str]:
        """Return the text of each clip, after the prompt of the options.

        Args:
            clips: FLAC bytes of at most 30 s, 16 kHz mono.
            languages: Language code of each clip. If it is None, the model detects the language.
            contexts: Context of each clip in seconds.
        """
        ...

    def decode(
        self,
        clips: Sequence[np.ndarray],
        languages: Sequence[str | None],
        contexts: Sequence[float],
        *,
        previous: Sequence[int] = (),
        temperature: float = 0.0,
    ) -> DecodedClips:
        """Return the text, the language and the encoder's output of each clip.

        Args:
            clips: (samples,) float32 each, 16 kHz, at most 30 s.
            languages: Language code of each clip. If it is None, the model detects the language.
            contexts: Context of each clip in seconds.
            previous: Tokens of the text before each clip. They are its prompt.
            temperature: With 0, the decoder searches as usual. Above 0, tokens are drawn at random.
        """
        ...

    def transcribe_recording(self, samples: np.ndarray, language: str | None) -> str:
        """Return the text of a recording of any length, (samples,) float32 at 16 kHz.

        It is decoded in one window after another. The method is Whisper's (arXiv:2212.04356, 3.8): the last
        timestamp of a window is the start of the next one. The previous text is not used as a prompt, because
        a loop in it would continue in the next window.
        """
        ...


def with_task(transcriber: Transcriber, task: str) -> Transcriber:
    """Return a transcriber of the same model in memory, for another task."""
    return _with_options(transcriber, replace(transcriber.options, task=task))


def with_prompt_terms(transcriber: Transcriber, terms: Sequence[str]) -> Transcriber:
    """Return a transcriber of the same model in memory, with names and terms as the prompt of each clip.

    Raises:
        UserError: The prompt would be too long.
    """
    tokens, numbers = TermTokens(transcriber.loaded.processor.tokenizer, terms), np.arange(len(terms))
    if (fitting := len(tokens.fitting(numbers, MAX_PREVIOUS_TOKENS))) < len(terms):
        raise UserError(
            f"prompt_terms_file: {len(terms):,} terms are too many for one prompt. Expected at most "
            f"{MAX_PREVIOUS_TOKENS} tokens, which the first {fitting:,} need. Shorten the list."
        )
    return _with_options(transcriber, replace(transcriber.options, prompt=tuple(tokens.join(numbers))))


def _with_options(transcriber: Transcriber, options: BackendOptions) -> Transcriber:
    frozen = cast(Any, transcriber)  # every backend is a frozen dataclass
    return replace(frozen, options=options)
