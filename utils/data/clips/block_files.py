"""What a block's files hold: the clips (Arrow), and the index (JSON) of its items, kept and rejected."""

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

EXAMPLES_OF_A_KIND = 2  # rejected clips of each kind that a block keeps, to be listened to in the report

EXAMPLE_SECONDS = 10.0

_TEXT, _NUMBER = pyarrow.string(), pyarrow.float64()

_TYPES = dict.fromkeys(("duration", "start", "end"), _NUMBER) | {
    "audio": pyarrow.binary(),
    "segments": pyarrow.list_(pyarrow.struct({"start": _NUMBER, "end": _NUMBER, "text": _TEXT})),
}

OWN_COLUMNS = tuple(name for name in PREPARED_COLUMNS if name != "split")

SCHEMA = pyarrow.schema([(name, _TYPES.get(name, _TEXT)) for name in (*OWN_COLUMNS, "extra")])
"""Of a block's clips: the columns of the prepared dataset, and those of the source as JSON."""


@dataclass(frozen=True)
class EncodedClip:
    """16 kHz mono FLAC bytes and what is to be known of them."""

    flac: bytes
    duration: float  # seconds
    content: str  # hash of the samples
    num_tokens: int | None  # of the label


@dataclass(frozen=True)
class KeptClip:
    """What is to be known of a clip before the splits are made."""

    source: str
    position: int | str
    text: str
    duration: float  # seconds
    content: str  # hash of the samples
    num_tokens: int | None  # of the label
    language: str | None
    speaker: str | None
    recording: str | None
    split: str | None  # that the source gave
    columns: dict[str, str]  # those with a value here, and its type; of our own columns `named`


@dataclass(frozen=True)
class Rejected:
    """A reject, with its audio and its text where there is any to listen to."""

    reject: Reject
    flac: bytes | None = None
    text: str = ""


def write_block(index: Path, items: Iterable[tuple[Utterance, EncodedClip] | Rejected]) -> float:
    """Write the clips of a block, and its index last; of each kind the first rejects keep their audio.

    Returns:
        Seconds of the clips that were kept.
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
    write_text(index, json.dumps(entries))  # ASCII: names of files may be no UTF-8
    return seconds


def read_index(path: Path) -> Iterator[KeptClip | Rejected]:
    """What became of the items of one block, in their order."""
    for entry in json.loads(path.read_text(encoding="utf-8")):
        if "reject" in entry:
            flac = base64.b64decode(entry["flac"]) if "flac" in entry else None
            yield Rejected(record_from(Reject, entry["reject"]), flac, entry.get("text", ""))
        else:
            yield KeptClip(**entry)


def clips_file(index: Path) -> Path:
    return index.with_suffix(".arrow")


def read_block_clips(index: Path) -> Iterator[dict]:
    """The clips of one block, one at a time."""
    with pyarrow.OSFile(str(clips_file(index)), "rb") as file:
        for batch in pyarrow.ipc.open_stream(file):
            yield from batch.to_pylist()


def read_items(path: Path) -> Iterator[Rejected | tuple[KeptClip, dict]]:
    """What a block holds as its items came: rejects, and clips with their rows."""
    rows = read_block_clips(path)
    for item in read_index(path):
        yield item if isinstance(item, Rejected) else (item, next(rows))


def findings_file(index: Path) -> Path:
    """Where stands what a model found in the clips of a block."""
    return index.with_suffix(".screened")


def write_findings(index: Path, problems: Mapping[int, Problem]) -> None:
    """Write what a model found wrong, by the place of the clip in its block."""
    plain = {place: asdict(problem) for place, problem in problems.items()}
    write_json(findings_file(index), {"problems": plain})


def read_findings(index: Path) -> dict[int, Problem]:
    """What a model found wrong, by the place of the clip in its block; nothing where none heard it."""
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
        # a file of its own says nothing of what else was recorded with it
        recording=utterance.recording or (None if utterance.start is None else name_of(utterance.audio)),
        columns=_filled_columns(utterance),
    )


def name_of(audio: Audio) -> str | None:
    """Where audio comes from, as text that can be written; None for bytes."""
    if isinstance(audio, ArchiveMember):
        return printable(f"{audio.archive}:{audio.name}")
    return None if isinstance(audio, bytes) else printable(audio)


def _filled_columns(utterance: Utterance) -> dict[str, str]:
    """Type of each extra column that has a value here; of the named columns that may be empty, `named`."""
    optional = ("speaker", "group", "start", "end", "previous_text", "segments")
    named = {name: "named" for name in optional if getattr(utterance, name) not in (None, ())}
    return named | {name: type(value).__name__ for name, value in _extra_columns(utterance).items()}


def _extra_columns(utterance: Utterance) -> dict[str, Scalar]:
    """The source's own columns, and the recording where it is known and more than this utterance."""
    known = utterance.recording not in (None, utterance.id)
    return ({"recording": str(utterance.recording)} if known else {}) | dict(utterance.extra)
