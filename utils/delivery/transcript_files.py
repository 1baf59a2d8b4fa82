"""Write the transcripts of a run, and remember which are done."""

import contextlib
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from utils.data.fields import printable
from utils.delivery.cues import Layout
from utils.delivery.formats import FORMATS
from utils.delivery.inputs import GivenFile
from utils.delivery.transcript import Transcript
from utils.runtime.errors import WriteError
from utils.runtime.files import write_text

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

RECORD = "transcribed.jsonl"

LEFTOVER = re.compile(rf"\..+\.({'|'.join(FORMATS)})\.\d+\.tmp")  # of `write_text`

WITHOUT_INFLUENCE = ("files", "output_dir", "batch_size")  # arguments that do not change a transcript


@dataclass(frozen=True)
class Summary:
    """The figures that are printed about a transcript."""

    duration: float  # seconds
    language: str | None
    doubtful: float  # seconds of cues that may be wrong
    uncovered: float  # seconds of speech without a word


def summarise(transcript: Transcript) -> Summary:
    doubtful = sum(cue.end - cue.start for cue in transcript.cues if cue.doubt)
    return Summary(transcript.duration, transcript.language, doubtful, transcript.uncovered)


def digest_request(arguments: "DataclassInstance", model: str) -> str:
    """Return a digest of everything that changes a transcript.

    Args:
        arguments: The arguments of the script.
        model: A fingerprint of the model's files.
    """
    values = {name: value for name, value in asdict(arguments).items() if name not in WITHOUT_INFLUENCE}
    return digest_value([values, model])


class TranscriptFolder:
    """A folder of transcripts.

    Each is written completely and then recorded, so that a later run can continue.
    """

    def __init__(self, folder: Path, formats: Sequence[str], layout: Layout, request: str) -> None:
        self._folder, self._formats, self._layout, self._request = folder, formats, layout, request
        self._done, self._is_cut = _read_keys(folder / RECORD)

    def has(self, file: GivenFile) -> bool:
        """Check whether the transcripts of a file exist and were made from the same file in the same way.

        For standard input the answer is always no.
        """
        is_done = file.state is not None and self._done.get(str(file.stem)) == self._key(file)
        return is_done and all(path.is_file() for path in self._paths(file))

    def remove_leftovers(self, files: Sequence[GivenFile]) -> None:
        """Delete the incomplete files that a killed run has left beside the transcripts of these files."""
        for folder in {path.parent for file in files for path in self._paths(file)}:
            for path in folder.glob(".*.tmp"):
                if LEFTOVER.fullmatch(path.name):
                    path.unlink(missing_ok=True)

    def write(self, file: GivenFile, transcript: Transcript) -> Summary:
        """Write the transcripts of a file and record them.

        Raises:
            WriteError: The disk is full, or a file cannot be written for another reason.
        """
        summary = summarise(transcript)
        names = {"key": self._key(file), "stem": str(file.stem), "source": printable(file.path)}
        try:
            for name, path in zip(self._formats, self._paths(file), strict=True):
                write_text(path, FORMATS[name](transcript, self._layout))
            self._record(json.dumps(names | asdict(summary)))
        except OSError as error:
            stem = printable(self._folder / file.stem)
            raise WriteError(
                f"{stem}: its transcripts could not be written: {error.strerror}. Finished ones are kept."
            ) from error
        return summary

    def _record(self, line: str) -> None:
        with (self._folder / RECORD).open("a", encoding="utf-8") as record:
            record.write("\n" * self._is_cut + line + "\n")
        self._is_cut = False

    def _paths(self, file: GivenFile) -> list[Path]:
        stem = self._folder / file.stem
        return [stem.with_name(f"{stem.name}.{name}") for name in self._formats]

    def _key(self, file: GivenFile) -> str:
        return digest_value([self._request, str(file.stem), file.language, file.state])


def _read_keys(path: Path) -> tuple[dict[str, str], bool]:
    """Return the key of the last transcript by stem, and whether a killed run has cut the last line."""
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    keys: dict[str, str] = {}
    for line in text.splitlines():
        with contextlib.suppress(ValueError, KeyError, TypeError):
            row = json.loads(line)
            keys[row["stem"]] = row["key"]
    return keys, bool(text) and not text.endswith("\n")


def digest_value(value: object) -> str:
    """Return a digest of a value that JSON can hold."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]
