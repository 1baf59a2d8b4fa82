"""Decoding by CTranslate2."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from utils.audio.flac import decode_flac
from utils.audio.log_mel import input_features
from utils.evaluation.backends.ctranslate2_folder import ctranslate2_folder, engine_options
from utils.evaluation.backends.transcriber import BackendOptions
from utils.model.languages import language_ids
from utils.model.loading import LoadedModel
from utils.model.whisper import whisper_of
from utils.text.label_tokens import MAX_LABEL_TOKENS, prompt_tokens

if TYPE_CHECKING:
    from ctranslate2.models import Whisper


@dataclass(frozen=True)
class CTranslate2Transcriber:
    """Greedy decoding or a beam by CTranslate2, which takes a short context, but condenses no silence."""

    engine: "Whisper"
    loaded: LoadedModel  # for the prompt, the features and the tokenizer
    max_length: int
    task: str
    num_beams: int
    takes_added_languages: bool = True

    @property
    def takes_dynamic_context(self) -> bool:
        return not self.loaded.silence_run

    def transcribe_batch(
        self, clips: Sequence[bytes], languages: Sequence[str | None], contexts: Sequence[float]
    ) -> list[str]:
        texts: dict[int, str] = {}
        for context in dict.fromkeys(contexts):  # CTranslate2 has no mask that would hide padding
            own = [number for number, other in enumerate(contexts) if other == context]
            found = self._transcribe([clips[n] for n in own], [languages[n] for n in own], context)
            texts |= dict(zip(own, found, strict=True))
        return [texts[number] for number in range(len(clips))]

    def transcribe_recording(self, samples: np.ndarray, language: str | None) -> str:
        raise NotImplementedError("no timestamps here: the arguments ask for chunks")

    def _transcribe(
        self, clips: Sequence[bytes], languages: Sequence[str | None], context: float
    ) -> list[str]:
        from ctranslate2 import StorageView

        processor, tokenizer = self.loaded.processor, self.loaded.processor.tokenizer
        samples = [decode_flac(clip) for clip in clips]
        features = input_features(samples, context, processor.feature_extractor)
        states = self.engine.encode(StorageView.from_array(features.numpy()))
        prompts = [
            prompt_tokens(tokenizer, language, task=self.task) for language in self._spoken(states, languages)
        ]
        # CTranslate2 writes half of `max_length`, as openai/whisper writes at most half of 448 tokens
        length = min(2 * max(self.max_length - len(prompts[0]), 1), MAX_LABEL_TOKENS)
        found = self.engine.generate(
            states, prompts, beam_size=self.num_beams, max_length=length, suppress_tokens=[-1]
        )
        tokens = [result.sequences_ids[0] for result in found]
        return [text.strip() for text in tokenizer.batch_decode(tokens, skip_special_tokens=True)]

    def _spoken(self, states, languages: Sequence[str | None]) -> list[str | None]:
        """The language of each clip, detected where it is not known; None for an English-only model."""
        if not language_ids(whisper_of(self.loaded.model)):
            return [None] * len(languages)
        if None not in languages:
            return list(languages)
        detected = [likeliest[0][0].strip("<|>") for likeliest in self.engine.detect_language(states)]
        return [given or found for given, found in zip(languages, detected, strict=True)]


@contextlib.contextmanager
def open_ctranslate2(name: str, options: BackendOptions) -> Iterator[CTranslate2Transcriber]:
    """Convert a model where it is not of that form, and load it."""
    engine_words = engine_options("ctranslate2", options)
    from ctranslate2.models import Whisper

    with ctranslate2_folder(name) as (folder, loaded):
        engine = Whisper(str(folder), intra_threads=torch.get_num_threads(), **engine_words)
        yield CTranslate2Transcriber(engine, loaded, options.max_length, options.task, options.num_beams)
