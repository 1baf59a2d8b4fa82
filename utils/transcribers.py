"""One way to ask for text, whatever decodes: transformers' Whisper, CTranslate2, faster-whisper."""

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from utils.audio import decode_flac
from utils.ctranslate2 import is_ctranslate2_folder
from utils.decoding import ready_to_decode, transcribe_batch
from utils.errors import UserError
from utils.features import log_mel, pad_waveforms
from utils.hardware import pick_dtype
from utils.labels import MAX_LABEL_TOKENS, prompt_tokens
from utils.modeling import LoadedModel, language_ids, load_model, whisper_of

if TYPE_CHECKING:
    from ctranslate2.models import Whisper
    from faster_whisper import WhisperModel

BACKENDS = ("transformers", "ctranslate2", "faster-whisper")
SAMPLING_SEED = 1  # of what faster-whisper draws where greedy decoding fails
INSTALL = "Install it: pip install ctranslate2 faster-whisper"


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


@dataclass(frozen=True)
class TransformersTranscriber:
    """Greedy decoding by utils/decoding.py."""

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
            contexts=contexts,
            max_length=self.max_length,
            task=self.task,
            silence_run=self.loaded.decoding_silence_run,
        )


@dataclass(frozen=True)
class CTranslate2Transcriber:
    """Greedy decoding or a beam by CTranslate2, which takes a short context, but condenses no silence."""

    engine: "Whisper"
    loaded: LoadedModel  # for the prompt, the features and the tokenizer
    max_length: int
    task: str
    num_beams: int

    def transcribe_batch(
        self, clips: Sequence[bytes], languages: Sequence[str | None], contexts: Sequence[float]
    ) -> list[str]:
        texts: dict[int, str] = {}
        for context in dict.fromkeys(contexts):  # CTranslate2 has no mask that would hide padding
            own = [number for number, other in enumerate(contexts) if other == context]
            found = self._transcribe([clips[n] for n in own], [languages[n] for n in own], context)
            texts |= dict(zip(own, found, strict=True))
        return [texts[number] for number in range(len(clips))]

    def _transcribe(
        self, clips: Sequence[bytes], languages: Sequence[str | None], context: float
    ) -> list[str]:
        from ctranslate2 import StorageView

        processor, tokenizer = self.loaded.processor, self.loaded.processor.tokenizer
        waveforms = pad_waveforms([decode_flac(clip) for clip in clips], context)
        features = StorageView.from_array(log_mel(waveforms, processor.feature_extractor).numpy())
        states = self.engine.encode(features)
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


@dataclass(frozen=True)
class FasterWhisperTranscriber:
    """What faster-whisper itself makes of each clip, with its fallbacks, as its users will see it."""

    engine: "WhisperModel"
    loaded: LoadedModel
    task: str
    num_beams: int

    def transcribe_batch(
        self, clips: Sequence[bytes], languages: Sequence[str | None], contexts: Sequence[float]
    ) -> list[str]:
        pairs = zip(clips, languages, strict=True)
        return [self.transcribe_samples(decode_flac(clip), language) for clip, language in pairs]

    def transcribe_samples(self, samples: np.ndarray, language: str | None) -> str:
        """The text of a recording of any length, (samples,) float32 at 16 kHz."""
        spoken = language if language_ids(whisper_of(self.loaded.model)) else "en"
        segments, _ = self.engine.transcribe(
            samples,
            language=spoken,
            task=self.task,
            beam_size=self.num_beams,
            condition_on_previous_text=False,  # as in utils/long_form.py
        )
        return "".join(segment.text for segment in segments).strip()


@contextlib.contextmanager
def open_transcriber(
    name: str,
    *,
    backend: str,
    dtype: str,
    device: torch.device,
    max_length: int,
    task: str = "transcribe",
    num_beams: int = 1,
) -> Iterator[tuple[Transcriber, LoadedModel]]:
    """Load a model for a backend; what it had to be converted into is deleted afterwards.

    Args:
        name: As given to `load_model`.
        backend: One of `BACKENDS`.
        device: Of this process; CTranslate2 knows CUDA and the CPU.
        dtype: auto, or the name of a precision: of torch, or of CTranslate2 (such as int8).
        max_length: Most tokens of a hypothesis, the prompt included; CTranslate2 writes at most 224.
        task: transcribe, or translate into English.
        num_beams: 1 is greedy; transformers knows nothing else here.

    Raises:
        UserError: There is no such model, or the backend is not installed or lacks the precision.
    """
    if backend == "transformers":
        precision: torch.dtype = pick_dtype(device) if dtype == "auto" else getattr(torch, dtype)
        loaded = load_model(name, dtype=precision)
        loaded.model.to(device)
        with ready_to_decode(loaded.model):
            yield TransformersTranscriber(loaded, max_length, task), loaded
        return
    _check_installed(backend, dtype, device)
    loaded = load_model(name)
    with tempfile.TemporaryDirectory() as temporary:
        folder = name if is_ctranslate2_folder(name) else _convert(loaded, Path(temporary))
        options = {
            "device": "cuda" if device.type == "cuda" else "cpu",
            "device_index": device.index or 0,
            "compute_type": "default" if dtype == "auto" else dtype,
        }
        if backend == "ctranslate2":
            from ctranslate2.models import Whisper

            engine = Whisper(str(folder), intra_threads=torch.get_num_threads(), **options)
            yield CTranslate2Transcriber(engine, loaded, max_length, task, num_beams), loaded
        else:
            from ctranslate2 import set_random_seed
            from faster_whisper import WhisperModel

            set_random_seed(SAMPLING_SEED)
            model = WhisperModel(str(folder), cpu_threads=torch.get_num_threads(), **options)
            yield FasterWhisperTranscriber(model, loaded, task, num_beams), loaded


def _check_installed(backend: str, dtype: str, device: torch.device) -> None:
    try:
        import ctranslate2

        if backend == "faster-whisper":
            import faster_whisper  # noqa: F401
    except ImportError as error:
        raise UserError(f"--backend {backend}: {error.name} is not installed. {INSTALL}") from None
    kind = "cuda" if device.type == "cuda" else "cpu"
    known = sorted(ctranslate2.get_supported_compute_types(kind))
    if dtype != "auto" and dtype not in known:
        raise UserError(
            f"--dtype {dtype}: CTranslate2 has no such precision on this {kind}, expected one of "
            f"auto, {', '.join(known)}."
        )


def _convert(loaded: LoadedModel, folder: Path) -> Path:
    """Write the model in CTranslate2's form, in float32; the engine reduces the precision as it loads."""
    from ctranslate2.converters import TransformersConverter

    source, target = folder / "source", folder / "ctranslate2"
    whisper_of(loaded.model).save_pretrained(source)
    loaded.processor.save_pretrained(source)
    # Processors no longer write preprocessor_config.json; faster-whisper needs it for 128 mel bins.
    loaded.processor.feature_extractor.save_pretrained(source)
    copied = ["tokenizer.json", "preprocessor_config.json"]
    TransformersConverter(str(source), copy_files=copied).convert(str(target))
    return target
