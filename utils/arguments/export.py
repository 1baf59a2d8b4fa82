"""The arguments of export.py, in groups."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from utils.arguments.fields import ScriptArguments, language_problems
from utils.arguments.model_hub import ExportHubFlags
from utils.runtime.flags import argument


@dataclass(frozen=True, kw_only=True)
class ExportFlags:
    """The model, and what to write."""

    group_name: ClassVar = "model and formats"

    output_dir: str = argument("Folder for the formats.", default="")

    model: str = argument("Model or adapter: a folder or a name on the Hub.")
    format: list[Literal["huggingface", "adapter", "ctranslate2", "ggml", "onnx", "openai"]] = argument(
        "Formats to write. Several get a folder each, below --output_dir.", default=[]
    )
    precision: str | None = argument(
        "Precision of the weights, such as float16, int8 or q5_0. Not given: the usual one of each format.",
        default=None,
    )
    space: str | None = argument(
        "Folder for a Hugging Face Space: a page that transcribes with the model, in --language.",
        default=None,
    )


@dataclass(frozen=True, kw_only=True)
class ParityFlags:
    """How an export is compared with the model."""

    group_name: ClassVar = "comparison with the model"

    parity: bool = argument(
        "Let the export transcribe in its own library, and keep it only if it does what the model does.",
        default=True,
    )
    dataset: list[str] = argument(
        "Folders that preprocess.py wrote, for the comparison. Not given: those of the model's training.",
        default=[],
    )
    split: str = argument("Split for the comparison.", default="test")
    language: str = argument(
        "Language of clips without a language in the dataset, and of a Space. auto: that of the training, or "
        "else the program detects it.",
        default="auto",
    )
    max_samples: int = argument("Clips for the comparison, drawn at random.", default=24, at_least=1)
    ways: list[Literal["plain", "timestamps", "words", "previous_text"]] = argument(
        "Ways of use that must work: without timestamps, with them, with times of words, with the previous "
        "text as a prompt.",
        default=["plain", "timestamps", "words", "previous_text"],
    )
    search_alignment_heads: bool = argument(
        "Find the attention heads that give the best times of words on the training split.", default=True
    )


@dataclass(frozen=True, kw_only=True)
class ExportArguments(ExportHubFlags, ParityFlags, ExportFlags, ScriptArguments):
    """Arguments of export.py."""

    def problems(self) -> list[str]:
        doubles = sorted({name for name in self.format if self.format.count(name) > 1})
        found = [f"format: {', '.join(doubles)} given more than once. Give each once."] if doubles else []
        if not self.format and self.space is None:
            found.append("nothing to write: add --format and --output_dir, or --space.")
        if self.format and not self.output_dir:
            found.append("format needs --output_dir: the folder to write to.")
        if self.push_to_hub and not self.format:
            found.append("push_to_hub needs --format: what to push, such as huggingface.")
        return found + language_problems(self.language, self.model)
