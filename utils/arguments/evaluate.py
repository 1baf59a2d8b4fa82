"""The arguments of evaluate.py, in groups."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from utils.arguments.decoding import AudioContext, DecodingFlags, context_problems
from utils.arguments.fields import (
    NORMALIZATION,
    Normalizer,
    ScriptArguments,
    language_problems,
    term_list_problems,
)
from utils.runtime.flags import argument


@dataclass(frozen=True, kw_only=True)
class MaterialFlags:
    """Models and test data."""

    group_name: ClassVar = "models and data"

    models: list[str] = argument("Models to score. Each is compared with the first.")
    dataset: list[str] = argument("Folders that preprocess.py wrote.", default=[])
    split: str = argument("Split to score.", default="test")
    recordings: list[str] = argument(
        "JSONL manifests of long recordings. Each recording is scored as a whole.", default=[]
    )
    guard_datasets: list[str] = argument(
        "Folders of other languages or domains, on which a tuned model must not become worse.", default=[]
    )
    guard_tolerance: float = argument(
        "Largest allowed rise of the WER on a guard dataset. 0.01 is one percentage point.",
        default=0.01,
        at_least=0,
    )
    language: str = argument(
        "Language code of clips that have none. auto: the model detects it.", default="auto"
    )
    max_samples: int | None = argument(
        "Score at most this number of clips, drawn at random.", default=None, at_least=1
    )


@dataclass(frozen=True, kw_only=True)
class BatchFlags:
    """How clips and recordings are cut and decoded."""

    group_name: ClassVar = "decoding"

    audio_context: AudioContext = argument(
        "Encoder input: 30 s (full), or as long as the clips (dynamic). auto: full, and also dynamic for "
        "models that were trained with it.",
        default="auto",
    )
    long_form: Literal["sequential", "chunked"] = argument(
        "Decode recordings one window after another, or in batches of windows cut at pauses.",
        default="sequential",
    )
    per_device_eval_batch_size: int = argument("Number of clips to decode at once.", default=16, at_least=1)
    prompt_terms_file: str | None = argument(
        "List of names and terms, one on each line. The decoder gets all of them as the prompt of each clip.",
        default=None,
        advanced=True,
    )


@dataclass(frozen=True, kw_only=True)
class ScoringFlags:
    """How transcripts are scored."""

    group_name: ClassVar = "scoring"

    normalizer: Normalizer = argument(NORMALIZATION, default="basic")
    terms_file: str | None = argument(
        "List of names and terms, one on each line. Count how many of those that are said the models write, "
        "and how many they make up.",
        default=None,
        advanced=True,
    )
    probe_hallucination: bool = argument(
        "Also count the words that models invent for silence, noise and music.", default=True
    )
    bootstrap_samples: int = argument(
        "Bootstrap samples for each confidence interval.", default=2000, advanced=True, at_least=1
    )


@dataclass(frozen=True, kw_only=True)
class EvaluateArguments(ScoringFlags, BatchFlags, DecodingFlags, MaterialFlags, ScriptArguments):
    """Arguments of evaluate.py."""

    def problems(self) -> list[str]:
        found = []
        data = [*self.dataset, *self.guard_datasets, *self.recordings]
        for name, values in (("models", self.models), ("dataset", data)):
            if doubles := sorted({value for value in values if values.count(value) > 1}):
                found.append(f"{name}: {', '.join(doubles)} given more than once. Give each once.")
        if not self.dataset and not self.recordings:
            found.append("nothing to score: give --dataset or --recordings.")
        if self.backend == "ctranslate2" and self.recordings and self.long_form == "sequential":
            found.append("backend ctranslate2 has no timestamps for recordings. Add --long_form chunked.")
        if self.prompt_terms_file and self.recordings and self.long_form == "sequential":
            found.append("prompt_terms_file: not with recordings in long_form sequential. Use chunked.")
        found += term_list_problems(self.terms_file, self.prompt_terms_file)
        found += context_problems(self.backend, self.audio_context)
        return found + language_problems(self.language, *self.models)
