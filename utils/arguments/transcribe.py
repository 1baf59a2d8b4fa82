"""The arguments of transcribe.py, in groups."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from utils.arguments.decoding import AudioContext, DecodingFlags, context_problems
from utils.arguments.fields import ScriptArguments, language_problems
from utils.runtime.flags import argument


@dataclass(frozen=True, kw_only=True)
class FileFlags:
    """What is transcribed."""

    group_name: ClassVar = "model and recordings"

    files: list[str] = argument(
        "Audio or video files, folders, patterns such as 'a/*.mp3', JSONL manifests; -: standard input.",
        default=[],
    )


@dataclass(frozen=True, kw_only=True)
class TranscribedFlags:
    """The model and the language of what it transcribes."""

    group_name: ClassVar = "model and recordings"

    model: str = argument("Model or adapter: a folder or a name on the Hub.")
    language: str = argument("Code of the spoken language. auto: the model detects it.", default="auto")
    prompt_terms: str | None = argument(
        "Names and terms to expect. The decoder gets them as the previous text of each window.",
        default=None,
    )


@dataclass(frozen=True, kw_only=True)
class WindowFlags:
    """How recordings are cut and decoded."""

    group_name: ClassVar = "decoding"

    audio_context: AudioContext = argument(
        "Encoder input: 30 s (full), or as long as each window (dynamic). auto: dynamic for models that were "
        "trained with it.",
        default="auto",
    )
    batch_size: int = argument("Windows (of at most 30 s) to decode at once.", default=8, at_least=1)


@dataclass(frozen=True, kw_only=True)
class FormatFlags:
    """What is written."""

    group_name: ClassVar = "transcripts"

    format: list[Literal["txt", "srt", "vtt", "tsv", "json"]] = argument(
        "Formats of the transcripts. json has the times of words.", default=["txt"]
    )


@dataclass(frozen=True, kw_only=True)
class SubtitleFlags:
    """How subtitles are cut."""

    group_name: ClassVar = "transcripts"

    max_line_width: int = argument(
        "Maximum number of characters in a line of subtitles.", default=42, at_least=8
    )
    max_line_count: int = argument("Maximum number of lines in a subtitle.", default=2, at_least=1)
    max_reading_speed: float = argument(
        "Reading speed in characters a second. A subtitle stays long enough to read it, if there is time.",
        default=20.0,
        above=0,
    )


@dataclass(frozen=True, kw_only=True)
class TranscribeArguments(
    SubtitleFlags, FormatFlags, WindowFlags, DecodingFlags, FileFlags, TranscribedFlags, ScriptArguments
):
    """Arguments of transcribe.py."""

    positional: ClassVar = "files"

    def problems(self) -> list[str]:
        found = [] if self.files else ["nothing to transcribe: give files, folders or - after the flags."]
        if self.files.count("-") > 1:
            found.append("- (standard input): found more than once. Give it once.")
        found += context_problems(self.backend, self.audio_context)
        return found + language_problems(self.language, self.model)
