"""Try an exported folder in ONNX Runtime: both files, with the inputs that transformers.js gives them."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from utils.audio.flac import SAMPLE_RATE
from utils.audio.log_mel import input_features
from utils.delivery.exports.onnx_whisper import FLAG
from utils.delivery.runtimes.runtime import Rendition, Way
from utils.model.context import FULL_CONTEXT
from utils.runtime.errors import UserError
from utils.text.label_tokens import TIMESTAMP_STEP, prompt_tokens

if TYPE_CHECKING:
    from onnxruntime import InferenceSession
    from transformers import GenerationConfig, LogitsProcessor, WhisperProcessor

WINDOW_SAMPLES = round(FULL_CONTEXT * SAMPLE_RATE)


@dataclass(frozen=True)
class OnnxRuntime:
    """The files of an export. Text is decoded greedily."""

    encoder: "InferenceSession"
    decoder: "InferenceSession"
    processor: "WhisperProcessor"
    generation: "GenerationConfig"
    max_tokens: int  # in a window, with the prompt
    task: str
    ways: Sequence[Way] = (Way(), Way(timestamps=True))
    finds_windows: bool = False

    def transcribe(self, samples: np.ndarray, language: str | None, way: Way) -> Rendition:
        """Transcribe a recording of any length, (samples,) float32 at 16 kHz; None detects the language.

        Without timestamps, windows of 30 s follow each other. With them, the next window starts where the
        last whole segment ends, as in openai/whisper.
        """
        tokenizer, start, tokens = self.processor.tokenizer, 0, []
        while start < len(samples):
            states = self._encode(samples[start : start + WINDOW_SAMPLES])
            if language is None and self._languages:
                language = self._detect_language(states)
            prompt = prompt_tokens(
                tokenizer, language if self._languages else None, self.task, with_timestamps=way.timestamps
            )
            found, advance = self._decode(states, prompt, way.timestamps), WINDOW_SAMPLES
            if way.timestamps:
                found, seconds = last_whole_segment(found, prompt_tokens(tokenizer, None)[-1] + 1)
                advance = round(seconds * SAMPLE_RATE) if seconds else WINDOW_SAMPLES
            tokens += found
            start += advance
        return Rendition(tokenizer.decode(tokens, skip_special_tokens=True).strip())

    @property
    def _languages(self) -> Mapping[str, int]:
        return getattr(self.generation, "lang_to_id", None) or {}

    def _encode(self, window: np.ndarray) -> np.ndarray:
        features = input_features([window], FULL_CONTEXT, self.processor.feature_extractor)
        return self.encoder.run(None, {"input_features": features.numpy()})[0]

    def _detect_language(self, states: np.ndarray) -> str:
        ids = np.array([[prompt_tokens(self.processor.tokenizer, None)[0]]])
        logits, _ = self._step(ids, states, {})
        tokens = [token for token in self._languages if token.startswith("<|")]
        return max(tokens, key=lambda token: logits[self._languages[token]])[2:-2]

    def _decode(self, states: np.ndarray, prompt: Sequence[int], with_timestamps: bool) -> list[int]:
        """Return the tokens after the prompt, without the end token."""
        rules = self._timestamp_rules(len(prompt)) if with_timestamps else None
        tokens, new, past = list(prompt), list(prompt), dict[str, np.ndarray]()
        while len(tokens) < self.max_tokens:
            logits, past = self._step(np.array([new]), states, past)
            new = [self._choose(logits, tokens, len(prompt), rules)]
            if new[0] == self.generation.eos_token_id:
                break
            tokens += new
        return tokens[len(prompt) :]

    def _step(
        self, ids: np.ndarray, states: np.ndarray, past: dict[str, np.ndarray]
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return the logits (vocabulary,) of the last of the tokens (1, tokens), and the new past."""
        given = {"input_ids": ids, "encoder_hidden_states": states, FLAG: np.array([bool(past)])}
        for value in self.decoder.get_inputs():
            if value.name not in given:
                empty = np.zeros((1, value.shape[1], 0, value.shape[3]), np.float32)
                given[value.name] = past.get(value.name, empty)
        names = [value.name for value in self.decoder.get_outputs() if not value.name.startswith("cross")]
        logits, *present = self.decoder.run(names, given)
        new = {
            name.replace("present", "past_key_values"): value
            for name, value in zip(names[1:], present, strict=True)
        }
        return logits[0, -1], new | {name: value for name, value in past.items() if ".encoder." in name}

    def _choose(
        self, logits: np.ndarray, tokens: Sequence[int], begin: int, rules: "LogitsProcessor | None"
    ) -> int:
        at_begin = self.generation.begin_suppress_tokens if len(tokens) == begin else None
        logits[[*(self.generation.suppress_tokens or []), *(at_begin or [])]] = -np.inf
        if rules is None:
            return int(logits.argmax())
        import torch

        return int(rules(torch.tensor([tokens]), torch.from_numpy(logits[None])).argmax())  # type: ignore[arg-type]

    def _timestamp_rules(self, begin: int) -> "LogitsProcessor":
        from transformers.generation import WhisperTimeStampLogitsProcessor

        return WhisperTimeStampLogitsProcessor(self.generation, begin_index=begin)


def last_whole_segment(tokens: Sequence[int], first_timestamp: int) -> tuple[list[int], float | None]:
    """Return the tokens of a window's complete segments, and the time in seconds at which the last one ends.

    A segment lies between two timestamps, so two timestamps in a row are an end and a start. The second is
    None if nothing was cut off: the window holds no such pair, or nothing after its last end.
    """
    is_time = [token >= first_timestamp for token in tokens]
    pairs = [place for place in range(1, len(tokens)) if is_time[place - 1] and is_time[place]]
    if not pairs or is_time[-2:] == [False, True]:
        return list(tokens), None
    return list(tokens[: pairs[-1]]), (tokens[pairs[-1] - 1] - first_timestamp) * TIMESTAMP_STEP


@contextlib.contextmanager
def open_onnx_runtime(folder: Path, threads: int, task: str = "transcribe") -> Iterator[OnnxRuntime]:
    """Load the export in a folder.

    Raises:
        UserError: There is not exactly one encoder and one decoder.
    """
    from onnxruntime import InferenceSession, SessionOptions
    from transformers import GenerationConfig, WhisperConfig, WhisperProcessor

    options = SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors
    encoder, decoder = (
        InferenceSession(_only_file(folder / "onnx", name), options, providers=["CPUExecutionProvider"])
        for name in ("encoder_model", "decoder_model_merged")
    )
    processor = WhisperProcessor.from_pretrained(folder)
    max_tokens = WhisperConfig.from_pretrained(folder).max_target_positions
    yield OnnxRuntime(encoder, decoder, processor, GenerationConfig.from_pretrained(folder), max_tokens, task)


def _only_file(folder: Path, name: str) -> Path:
    paths = sorted(folder.glob(f"{name}*.onnx"))
    if len(paths) != 1:
        found = ", ".join(path.name for path in paths) or "none"
        raise UserError(f"{folder}: expected one {name}, found {found}. Give the folder of an export.")
    return paths[0]
