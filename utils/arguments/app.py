"""The arguments of app.py, in groups."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from utils.arguments.decoding import DecodingFlags, context_problems
from utils.arguments.fields import ParsedArguments, language_problems
from utils.arguments.transcribe import SubtitleFlags, TranscribedFlags, WindowFlags
from utils.runtime.flags import argument


@dataclass(frozen=True, kw_only=True)
class PageFlags:
    """What the page shows."""

    group_name: ClassVar = "page"

    baseline: str | None = argument(
        "Model to compare with: a folder or a name on the Hub. The page shows both transcripts.", default=None
    )
    tabs: list[Literal["microphone", "file", "link"]] = argument(
        "Ways to give a recording, each in a tab.", default=["microphone", "file", "link"]
    )


@dataclass(frozen=True, kw_only=True)
class RecordFlags:
    """A tab in which people record sentences."""

    group_name: ClassVar = "recording"

    record: str | None = argument(
        "File of sentences, one in each line (or a .tsv or .csv file). A tab lets people record them.",
        default=None,
    )
    record_dir: str = argument(
        "Folder for these recordings and their manifest. A later run continues there.", default="recordings"
    )
    record_terms: str | None = argument(
        "Licence or consent that each speaker must accept. The manifest keeps it.", default=None
    )


@dataclass(frozen=True, kw_only=True)
class ServerFlags:
    """Who reaches the page, and how much they may ask for."""

    group_name: ClassVar = "server"

    host: str = argument(
        "Address to listen on. 0.0.0.0: all networks of this machine; then give --auth_file too.",
        default="127.0.0.1",
    )
    port: int = argument("Port to listen on.", default=7860, at_least=1, at_most=65535)
    auth_file: str | None = argument(
        "File of user:password lines. Only these users see the page.", default=None
    )
    max_minutes: float = argument("Longest recording that is accepted.", default=60.0, above=0, at_most=720)
    max_megabytes: int = argument("Largest file that is accepted.", default=200, at_least=1, at_most=4000)
    max_work_minutes: float = argument(
        "Longest time for transcribing a recording. The text up to then stays on the page.",
        default=60.0,
        above=0,
    )
    max_waiting: int = argument(
        "People who may wait for their turn. Others are told to come back.", default=16, at_least=1
    )
    allow_private_links: list[str] = argument(
        "Addresses with ports, such as 127.0.0.1:8080, that links may lead to although they are not public. "
        "For tests, and for media servers of your own.",
        default=[],
        advanced=True,
    )


@dataclass(frozen=True, kw_only=True)
class AppArguments(
    ServerFlags,
    RecordFlags,
    SubtitleFlags,
    WindowFlags,
    DecodingFlags,
    PageFlags,
    TranscribedFlags,
    ParsedArguments,
):
    """Arguments of app.py."""

    model: str | None = argument(  # type: ignore[assignment]
        "Model or adapter: a folder or a name on the Hub. Not needed to record.", default=None
    )
    batch_size: int = argument(
        "Windows (of at most 30 s) to decode at once. More are faster, but then the page shows text later, "
        "and a cancelled request stops later.",
        default=2,
        at_least=1,
    )

    def problems(self) -> list[str]:
        found = context_problems(self.backend, self.audio_context)
        if self.model is None and (self.record is None or self.baseline is not None):
            found.append("no --model: give the model to try, or only --record and its sentences.")
        return found + language_problems(
            self.language, *[name for name in (self.model, self.baseline) if name]
        )
