"""Reads and writes a block's files: clips (Arrow), and the index (JSON) of its kept and rejected items."""

import base64
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow

from utils.data.archives.members import ArchiveMember
from utils.data.fields import printable
from utils.data.utterance import PREPARED_COLUMNS, Audio, Reject, Scalar, Utterance
from utils.runtime.files import write_json, write_text
from utils.runtime.problems import Problem
from utils.runtime.records import record_from

EXAMPLES_OF_A_KIND = 2  # rejected clips of each kind that a block keeps for the report's player

EXAMPLE_SECONDS = 10.0

_TEXT, _NUMBER = pyarrow.string(), pyarrow.float64()

_TYPES = dict.fromkeys(("duration", "start", "end"), _NUMBER) | {
    "audio": pyarrow.binary(),
    "segments": pyarrow.list_(pyarrow.struct({"start": _NUMBER, "end": _NUMBER, "text": _TEXT})),
}

OWN_COLUMNS = tuple(name for name in PREPARED_COLUMNS if name != "split")

SCHEMA = pyarrow.schema([(name, _TYPES.get(name, _TEXT)) for name in (*OWN_COLUMNS, "extra")])
"""Columns of a block's clips.

They are those of the prepared dataset, and one with the source's own columns as JSON.
"""


@dataclass(frozen=True)
class EncodedClip:
    """A clip as 16 kHz mono FLAC bytes, and information about it."""

    flac: bytes
    duration: float  # seconds
    content: str  # hash of the samples
    num_tokens: int | None  # of the label


@dataclass(frozen=True)
class KeptClip:
    """Information about a clip that is needed before the splits are made."""

    source: str
    position: int | str
    text: str
    duration: float  # seconds
    content: str  # hash of the samples
    num_tokens: int | None  # of the label
    language: str | None
    speaker: str | None
    recording: str | None
    split: str | None  # given by the source
    columns: dict[str, str]  # columns with a value here and their types; our own columns have `named`


@dataclass(frozen=True)
class Rejected:
    """A reject, with its audio and text if there are any."""

    reject: Reject
    flac: bytes | None = None
    text: str = ""


def write_block(index: Path, items: Iterable[tuple[Utterance, EncodedClip] | Rejected]) -> float:
    """Write the clips of a block, then its index. The first rejects of each kind keep their audio.

    Returns:
        Seconds of the kept clips.
    """
    entries, examples, seconds = list[dict](), Counter[str](), 0.0
    temporary = index.with_suffix(f".{os.getpid()}.tmp")
    with pyarrow.OSFile(str(temporary), "wb") as file, pyarrow.ipc.new_stream(file, SCHEMA) as writer:
        for item in items:
            if isinstance(item, Rejected):
                kind, entry = item.reject.problem.kind, dict[str, object](reject=asdict(item.reject))
                if item.flac is not None and examples[kind] < EXAMPLES_OF_A_KIND:
                    examples[kind] += 1
                    entry |= {"flac": base64.b64encode(item.flac).decode(), "text": item.text}
                entries.append(entry)
            else:
                writer.write_batch(_one_row(*item))
                entries.append(asdict(_kept_clip(*item)))
                seconds += item[1].duration
    with temporary.open("rb") as written:
        os.fsync(written.fileno())
    temporary.replace(clips_file(index))
    write_text(index, json.dumps(entries))  # ASCII: names of files may not be UTF-8
    return seconds


def read_index(path: Path) -> Iterator[KeptClip | Rejected]:
    """Yield the items of one block, kept or rejected, in order."""
    for entry in json.loads(path.read_text(encoding="utf-8")):
        if "reject" in entry:
            flac = base64.b64decode(entry["flac"]) if "flac" in entry else None
            yield Rejected(record_from(Reject, entry["reject"]), flac, entry.get("text", ""))
        else:
            yield KeptClip(**entry)


def clips_file(index: Path) -> Path:
    return index.with_suffix(".arrow")


def read_block_clips(index: Path) -> Iterator[dict]:
    """Yield the clips of one block."""
    with pyarrow.OSFile(str(clips_file(index)), "rb") as file:
        for batch in pyarrow.ipc.open_stream(file):
            yield from batch.to_pylist()


def read_items(path: Path) -> Iterator[Rejected | tuple[KeptClip, dict]]:
    """Yield the items of a block in order: rejects, and clips with their rows."""
    rows = read_block_clips(path)
    for item in read_index(path):
        yield item if isinstance(item, Rejected) else (item, next(rows))


def findings_file(index: Path) -> Path:
    """Return the path of the file of problems that a model found in the clips of a block."""
    return index.with_suffix(".screened")


def write_findings(index: Path, problems: Mapping[int, Problem]) -> None:
    """Write the problems that a model found, by the index of the clip in its block."""
    plain = {place: asdict(problem) for place, problem in problems.items()}
    write_json(findings_file(index), {"problems": plain})


def read_findings(index: Path) -> dict[int, Problem]:
    """Read the problems that a model found, by the index of the clip in its block.

    Empty if no model was used.
    """
    file = findings_file(index)
    if not file.is_file():
        return {}
    problems = json.loads(file.read_text(encoding="utf-8"))["problems"]
    return {int(place): Problem(**problem) for place, problem in problems.items()}


def _one_row(utterance: Utterance, clip: EncodedClip) -> pyarrow.RecordBatch:
    row = {name: getattr(utterance, name, None) for name in OWN_COLUMNS} | {
        "audio": clip.flac,
        "duration": clip.duration,
        "source": name_of(utterance.audio) or utterance.source,
        "segments": [asdict(segment) for segment in utterance.segments] or None,
        "extra": json.dumps(extra, ensure_ascii=False) if (extra := _extra_columns(utterance)) else None,
    }
    return pyarrow.RecordBatch.from_pylist([row], schema=SCHEMA)


def _kept_clip(utterance: Utterance, clip: EncodedClip) -> KeptClip:
    said = ("source", "position", "text", "language", "speaker", "split")
    return KeptClip(
        **{name: getattr(utterance, name) for name in said},
        duration=clip.duration,
        content=clip.content,
        num_tokens=clip.num_tokens,
        # a whole file tells nothing about which other clips are from the same recording
        recording=utterance.recording or (None if utterance.start is None else name_of(utterance.audio)),
        columns=_filled_columns(utterance),
    )


def name_of(audio: Audio) -> str | None:
    """Return the path of the audio as text that can be written as UTF-8. None if the audio is bytes."""
    if isinstance(audio, ArchiveMember):
        return printable(f"{audio.archive}:{audio.name}")
    return None if isinstance(audio, bytes) else printable(audio)


def _filled_columns(utterance: Utterance) -> dict[str, str]:
    """Return the type of each extra column in which the utterance has a value.

    The type of our own optional columns is `named`.
    """
    optional = ("speaker", "group", "start", "end", "previous_text", "segments")
    named = {name: "named" for name in optional if getattr(utterance, name) not in (None, ())}
    return named | {name: type(value).__name__ for name, value in _extra_columns(utterance).items()}


def _extra_columns(utterance: Utterance) -> dict[str, Scalar]:
    """Return the source's own columns. Add the recording if it is known and has other utterances too."""
    known = utterance.recording not in (None, utterance.id)
    return ({"recording": str(utterance.recording)} if known else {}) | dict(utterance.extra)
