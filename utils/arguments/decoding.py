"""The flags of all scripts that decode."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from utils.arguments.fields import GENERATION_LIMIT
from utils.runtime.flags import argument

AudioContext = Literal["auto", "full", "dynamic"]


@dataclass(frozen=True, kw_only=True)
class DecodingFlags:
    """How transcripts are decoded."""

    group_name: ClassVar = "decoding"

    backend: Literal["transformers", "ctranslate2", "faster-whisper"] = argument(
        "Library that decodes. The last two first convert the model.", default="transformers"
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16", "int8"] = argument(
        "Precision of the weights. auto: the fastest that this machine supports well.", default="auto"
    )
    task: Literal["auto", "transcribe", "translate"] = argument(
        "What the models write. auto: the task of the tuned models.", default="auto"
    )
    num_beams: int = argument("Beam size. 1: greedy.", default=1, at_least=1)
    generation_max_length: int = argument(GENERATION_LIMIT, default=448, advanced=True, at_least=1)

    def problems(self) -> list[str]:
        found = []
        others = "add --backend ctranslate2 or faster-whisper"
        if self.backend == "transformers" and self.num_beams > 1:
            found.append(
                f"num_beams {self.num_beams}: backend transformers has only greedy search; {others}."
            )
        if self.backend == "transformers" and self.dtype == "int8":
            found.append(f"dtype int8: backend transformers does not support it; {others}.")
        return found


def context_problems(backend: str, audio_context: str) -> list[str]:
    """Return a sentence if the backend has only the full context."""
    if backend == "faster-whisper" and audio_context == "dynamic":
        return ["audio_context dynamic: backend faster-whisper does not support it. Use full."]
    return []
