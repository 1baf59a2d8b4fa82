"""What a block's files hold: a row for each clip, an entry for each kept or rejected item."""

import base64
import json
from dataclasses import asdict, dataclass

import pyarrow

from utils.data.archives.members import ArchiveMember
from utils.data.fields import printable
from utils.data.utterance import Audio, Reject, Scalar, Utterance
from utils.runtime.problems import Problem

EXAMPLES_OF_A_KIND = 2  # rejected clips of each kind that a block keeps, to be listened to in the report

EXAMPLE_SECONDS = 10.0

SCHEMA = pyarrow.schema(
    [
        ("id", pyarrow.string()),
        ("audio", pyarrow.binary()),
        ("text", pyarrow.string()),
        ("duration", pyarrow.float64()),
        ("language", pyarrow.string()),
        ("speaker", pyarrow.string()),
        ("group", pyarrow.string()),
        ("start", pyarrow.float64()),
        ("end", pyarrow.float64()),
        ("source", pyarrow.string()),
        ("previous_text", pyarrow.string()),
        (
            "segments",
            pyarrow.list_(
                pyarrow.struct(
                    [("start", pyarrow.float64()), ("end", pyarrow.float64()), ("text", pyarrow.string())]
                )
            ),
        ),
        ("extra", pyarrow.string()),  # JSON
    ]
)
"""Of a block's clips. The columns before `extra` are those of the prepared dataset."""


@dataclass(frozen=True)
class EncodedClip:
    """16 kHz mono FLAC bytes and what is to be known of them."""

    flac: bytes
    duration: float  # seconds
    content: str  # hash of the samples
    num_tokens: int | None  # of the label


@dataclass(frozen=True)
class Rejected:
    """A reject, with its audio where there is any."""

    reject: Reject
    flac: bytes | None = None
    text: str = ""


@dataclass(frozen=True)
class BlockCount:
    """A block that is done."""

    items: int
    audio_seconds: float  # kept by this run
    was_done: bool = False  # by an earlier run, or another job


def one_row(utterance: Utterance, clip: EncodedClip) -> pyarrow.RecordBatch:
    row = {
        "id": utterance.id,
        "audio": clip.flac,
        "text": utterance.text,
        "duration": clip.duration,
        "language": utterance.language,
        "speaker": utterance.speaker,
        "group": utterance.group,
        "start": utterance.start,
        "end": utterance.end,
        "source": name_of(utterance.audio) or utterance.source,
        "previous_text": utterance.previous_text,
        "segments": [asdict(segment) for segment in utterance.segments] or None,
        "extra": json.dumps(extra, ensure_ascii=False) if (extra := _extra_columns(utterance)) else None,
    }
    return pyarrow.RecordBatch.from_pylist([row], schema=SCHEMA)


def kept_entry(utterance: Utterance, clip: EncodedClip) -> dict:
    """What is to be known of a clip before the splits are made."""
    return {
        "id": utterance.id,
        "text": utterance.text,
        "duration": clip.duration,
        "content": clip.content,
        "num_tokens": clip.num_tokens,
        "language": utterance.language,
        "speaker": utterance.speaker,
        "recording": utterance.recording or _recording_of(utterance),
        "split": utterance.split,
        "source": utterance.source,
        "position": utterance.position,
        "columns": _filled_columns(utterance),
    }


def _recording_of(utterance: Utterance) -> str | None:
    """What a part of a file is cut from; a file of its own says nothing of what else was recorded with it."""
    return None if utterance.start is None else name_of(utterance.audio)


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


def rejected_entry(result: Rejected, examples: dict[str, int], position: int) -> dict:
    """A line of rejects.jsonl; the first of a kind keep their audio. `before` tells where it stood."""
    reject = result.reject
    kind = reject.problem.kind
    entry = {"source": reject.source, "position": reject.position, "kind": kind}
    entry |= {"reason": str(reject.problem), "before": position}
    if result.flac is not None and examples.get(kind, 0) < EXAMPLES_OF_A_KIND:
        examples[kind] = examples.get(kind, 0) + 1
        entry |= {"flac": base64.b64encode(result.flac).decode(), "text": result.text}
    return entry


def problem_of(entry: dict) -> Problem:
    """Why an item was rejected, from what `rejected_entry` wrote."""
    return Problem(entry["kind"], entry["reason"].removeprefix(f"{entry['kind']}: "))
