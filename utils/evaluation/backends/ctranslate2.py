"""Decode with CTranslate2 and with faster-whisper, two programs that run models of the same form."""

import contextlib
import importlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from utils.audio.flac import decode_flac
from utils.audio.log_mel import input_features
from utils.evaluation.backends.transcriber import BackendOptions
from utils.model.ctranslate2.conversion import is_ctranslate2_folder
from utils.model.decoding import DecodedClips
from utils.model.encoded_clips import join_encoded
from utils.model.languages import language_ids
from utils.model.loading import LoadedModel, load_model
from utils.model.whisper import whisper_of
from utils.runtime.errors import UserError
from utils.text.label_tokens import MAX_LABEL_TOKENS, prompt_tokens

if TYPE_CHECKING:
    from ctranslate2.models import Whisper
    from faster_whisper import WhisperModel

SAMPLING_SEED = 1  # of decoding at a higher temperature, if the usual one fails


@contextlib.contextmanager
def ctranslate2_folder(name: str) -> Iterator[tuple[Path, LoadedModel]]:
    """Yield the folder that the backend reads, and the model.

    If the folder was converted for this, it is deleted afterwards.
    """
    loaded = load_model(name)
    if is_ctranslate2_folder(name):
        yield Path(name), loaded
        return
    from utils.model.ctranslate2.writing import write_ctranslate2

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "ctranslate2"
        # in full precision; the engine reduces it as it loads
        write_ctranslate2(loaded.model, loaded.processor, folder, "float32")
        yield folder, loaded


def engine_options(package: str, options: BackendOptions) -> dict[str, str | int]:
    """Return the settings of device and precision for either backend.

    Raises:
        UserError: The package is not installed, or does not support the precision.
    """
    try:
        importlib.import_module(package)
        import ctranslate2
    except ImportError as error:
        raise UserError(
            f"--backend {package.replace('_', '-')}: {error.name} is not installed. "
            "Install it: pip install ctranslate2 faster-whisper"
        ) from None
    device: torch.device = options.device
    kind = "cuda" if device.type == "cuda" else "cpu"
    known = sorted(ctranslate2.get_supported_compute_types(kind))
    if options.dtype != "auto" and options.dtype not in known:
        raise UserError(
            f"--dtype {options.dtype}: CTranslate2 has no such precision on this {kind}, expected one of "
            f"auto, {', '.join(known)}."
        )
    precision = "default" if options.dtype == "auto" else options.dtype
    return {"device": kind, "device_index": device.index or 0, "compute_type": precision}


@dataclass(frozen=True)
class CTranslate2Transcriber:
    """Decode greedily or with beams in CTranslate2.

    It accepts a short context, but cannot condense silence.
    """

    engine: "Whisper"
    loaded: LoadedModel  # for the prompt, the features and the tokenizer
    options: BackendOptions
    takes_added_languages: bool = True

    @property
    def takes_dynamic_context(self) -> bool:
        return not self.loaded.silence_run

    def transcribe_batch(
        self, clips: Sequence[bytes], languages: Sequence[str | None], contexts: Sequence[float]
    ) -> list[str]:
        return self.decode([decode_flac(clip) for clip in clips], languages, contexts).texts

    def decode(
        self,
        clips: Sequence[np.ndarray],
        languages: Sequence[str | None],
        contexts: Sequence[float],
        *,
        previous: Sequence[int] = (),
        temperature: float = 0.0,
    ) -> DecodedClips:
        found: dict[int, tuple[str, str | None, torch.Tensor]] = {}
        for context in dict.fromkeys(contexts):  # CTranslate2 has no mask that would hide padding
            own = [number for number, other in enumerate(contexts) if other == context]
            given = [clips[number] for number in own], [languages[number] for number in own]
            found |= dict(zip(own, self._decode(*given, context, previous, temperature), strict=True))
        texts, spoken, states = zip(*(found[number] for number in range(len(clips))), strict=True)
        return DecodedClips(list(texts), list(spoken), join_encoded(list(states)))

    def transcribe_recording(self, samples: np.ndarray, language: str | None) -> str:
        raise NotImplementedError("no timestamps here: the arguments ask for chunks")

    def _decode(
        self,
        clips: list[np.ndarray],
        languages: Sequence[str | None],
        context: float,
        previous: Sequence[int],
        temperature: float,
    ) -> Iterator[tuple[str, str | None, torch.Tensor]]:
        """Decode clips of one context. Yield text, language and states (positions, d_model) of each."""
        from ctranslate2 import DataType, Device, StorageView

        processor, tokenizer = self.loaded.processor, self.loaded.processor.tokenizer
        features = input_features(clips, context, processor.feature_extractor)
        states = self.engine.encode(StorageView.from_array(features.numpy()))
        spoken = self._spoken(states, languages)
        prompts = [
            prompt_tokens(tokenizer, language, task=self.options.task, previous=previous)
            for language in spoken
        ]
        # CTranslate2 writes half of `max_length`, as openai/whisper writes at most half of 448 tokens
        length = min(2 * max(self.options.max_length - len(prompts[0]), 1), MAX_LABEL_TOKENS)
        sampling = {"sampling_topk": 0, "sampling_temperature": temperature} if temperature else {}
        found = self.engine.generate(
            states,
            prompts,
            beam_size=1 if temperature else self.options.num_beams,
            max_length=length,
            suppress_tokens=[-1],
            **sampling,
        )
        tokens = [result.sequences_ids[0] for result in found]
        texts = [text.strip() for text in tokenizer.batch_decode(tokens, skip_special_tokens=True)]
        plain = np.array(states.to_device(Device.cpu).to(DataType.float32))
        whisper = whisper_of(self.loaded.model)
        yield from zip(texts, spoken, torch.from_numpy(plain).to(whisper.device, whisper.dtype), strict=True)

    def _spoken(self, states, languages: Sequence[str | None]) -> list[str | None]:
        """Return the language of each clip.

        If it is not given, it is detected. None for an English-only model.
        """
        if not language_ids(whisper_of(self.loaded.model)):
            return [None] * len(languages)
        if None not in languages:
            return list(languages)
        detected = [likeliest[0][0].strip("<|>") for likeliest in self.engine.detect_language(states)]
        return [given or found for given, found in zip(languages, detected, strict=True)]


@contextlib.contextmanager
def open_ctranslate2(name: str, options: BackendOptions) -> Iterator[CTranslate2Transcriber]:
    """Convert a model if necessary, and load it."""
    engine_words = engine_options("ctranslate2", options)
    from ctranslate2 import set_random_seed
    from ctranslate2.models import Whisper

    set_random_seed(SAMPLING_SEED)
    with ctranslate2_folder(name) as (folder, loaded):
        engine = Whisper(str(folder), intra_threads=torch.get_num_threads(), **engine_words)
        yield CTranslate2Transcriber(engine, loaded, options)


@dataclass(frozen=True)
class FasterWhisperTranscriber:
    """Transcribe each clip with faster-whisper, which repeats failed decodings by default (fallbacks)."""

    engine: "WhisperModel"
    loaded: LoadedModel
    options: BackendOptions
    takes_dynamic_context: bool = False
    takes_added_languages: bool = False

    def transcribe_batch(
        self, clips: Sequence[bytes], languages: Sequence[str | None], contexts: Sequence[float]
    ) -> list[str]:
        return self.decode([decode_flac(clip) for clip in clips], languages, contexts).texts

    def decode(
        self,
        clips: Sequence[np.ndarray],
        languages: Sequence[str | None],
        contexts: Sequence[float],
        *,
        previous: Sequence[int] = (),
        temperature: float | None = None,
    ) -> DecodedClips:
        pairs = zip(clips, languages, strict=True)
        found = [self._transcribe(samples, language, previous, temperature) for samples, language in pairs]
        return DecodedClips([text for text, _ in found], [spoken for _, spoken in found], None)

    def transcribe_recording(self, samples: np.ndarray, language: str | None) -> str:
        return self._transcribe(samples, language)[0]

    def _transcribe(
        self,
        samples: np.ndarray,
        language: str | None,
        previous: Sequence[int] = (),
        temperature: float | None = None,
    ) -> tuple[str, str | None]:
        multilingual = bool(language_ids(whisper_of(self.loaded.model)))
        segments, info = self.engine.transcribe(
            samples,
            language=language if multilingual else "en",
            task=self.options.task,
            beam_size=self.options.num_beams,
            condition_on_previous_text=False,  # it would spread loops from one window to the next
            initial_prompt=list(previous) or None,
            **({} if temperature is None else {"temperature": temperature}),
        )
        return "".join(segment.text for segment in segments).strip(), info.language if multilingual else None


@contextlib.contextmanager
def open_faster_whisper(name: str, options: BackendOptions) -> Iterator[FasterWhisperTranscriber]:
    """Convert a model to CTranslate2's form if necessary, and load it."""
    engine_words = engine_options("faster_whisper", options)
    from ctranslate2 import set_random_seed
    from faster_whisper import WhisperModel

    set_random_seed(SAMPLING_SEED)
    with ctranslate2_folder(name) as (folder, loaded):
        engine = WhisperModel(str(folder), cpu_threads=torch.get_num_threads(), **engine_words)
        yield FasterWhisperTranscriber(engine, loaded, options)
