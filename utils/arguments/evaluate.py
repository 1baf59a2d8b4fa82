"""Arguments of evaluate.py."""

from dataclasses import dataclass
from typing import Literal

from utils.arguments.fields import ScriptArguments, argument, at_least, language_problems


@dataclass(frozen=True, kw_only=True)
class EvaluateArguments(ScriptArguments):
    """Arguments of evaluate.py."""

    models: list[str] = argument(
        "One or more models; with several, the first is the baseline of the comparison."
    )
    dataset: list[str] = argument("One or more folders written by preprocess.py.", default=[])
    recordings: list[str] = argument(
        "Manifests (JSONL) of recordings of any length, each scored as a whole.", default=[]
    )
    long_form: Literal["sequential", "chunked"] = argument(
        "How recordings are decoded: window after window by timestamps, or cut at pauses and in batches.",
        default="sequential",
    )
    guard_datasets: list[str] = argument(
        "Folders of other languages or domains, on which a tuned model may not get worse.", default=[]
    )
    guard_tolerance: float = argument(
        "By how much the WER on a guard dataset may rise, as a fraction.", default=0.01
    )
    split: str = argument("Split to score.", default="test")
    language: str = argument(
        "Language of rows that do not carry their own; auto lets the model detect.", default="auto"
    )
    task: Literal["auto", "transcribe", "translate"] = argument(
        "What all models do; auto: what the tuned ones were trained for.", default="auto"
    )
    backend: Literal["transformers", "ctranslate2", "faster-whisper"] = argument(
        "What decodes; ctranslate2 and faster-whisper convert the model first.", default="transformers"
    )
    num_beams: int = argument("Width of the beam, 1 is greedy; more need another backend.", default=1)
    audio_context: Literal["auto", "full", "dynamic"] = argument(
        "Context to decode in; auto: full, and dynamic too where the model was trained on it.", default="auto"
    )
    per_device_eval_batch_size: int = argument("Clips decoded at once.", default=16)
    max_samples: int | None = argument("Score at most so many utterances, drawn by the seed.", default=None)
    generation_max_length: int = argument("Most tokens of a hypothesis, prompt included.", default=448)
    normalizer: Literal["basic", "english", "script-safe"] = argument(
        "Text normaliser for normalised WER: Whisper's two, or one that keeps vowel signs.", default="basic"
    )
    bootstrap_samples: int = argument("Resamplings behind each confidence interval.", default=2000)
    probe_hallucination: bool = argument(
        "Let the models transcribe silence, noise and music as well, in which nobody speaks.", default=True
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16", "int8"] = argument(
        "Precision of the weights; auto: bfloat16 where this machine is fast at it, float16 on older NVIDIA "
        "GPUs, else float32. int8 needs another backend.",
        default="auto",
    )

    def problems(self) -> list[str]:
        ones = ["per_device_eval_batch_size", "generation_max_length", "bootstrap_samples", "num_beams"]
        ones += ["max_samples"] if self.max_samples is not None else []
        found = at_least(self, 1, *ones)
        for name, values in (
            ("models", self.models),
            ("dataset", [*self.dataset, *self.guard_datasets, *self.recordings]),
        ):
            doubles = sorted({value for value in values if values.count(value) > 1})
            if doubles:
                found.append(f"{name}: {', '.join(doubles)} given more than once; each is scored once.")
        return found + self._backend_problems() + language_problems(self.language, *self.models)

    def _backend_problems(self) -> list[str]:
        found = []
        if not self.dataset and not self.recordings:
            found.append("dataset: give one or more prepared folders, or --recordings.")
        if self.backend == "ctranslate2" and self.recordings and self.long_form == "sequential":
            found.append("long_form sequential: ctranslate2 has no timestamps here; use --long_form chunked.")
        others = "use --backend ctranslate2 or faster-whisper"
        if self.backend == "transformers" and self.num_beams > 1:
            found.append(f"num_beams {self.num_beams}: transformers decodes greedily here; {others}.")
        if self.backend == "transformers" and self.dtype == "int8":
            found.append(f"dtype int8: {others}.")
        if self.backend == "faster-whisper" and self.audio_context == "dynamic":
            found.append("audio_context dynamic: faster-whisper knows the full one only.")
        if self.guard_tolerance < 0:
            found.append(f"guard_tolerance {self.guard_tolerance}: expected at least 0.")
        return found
