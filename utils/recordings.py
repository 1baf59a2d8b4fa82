"""A block of items to a file of clips: each recording is decoded once, cut, checked and encoded as FLAC."""

import base64
import json
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow

from utils.archives import ArchiveMember
from utils.audio import SAMPLE_RATE, AudioError, decode_audio, encode_flac, num_samples_at
from utils.blocks import Block, files_of
from utils.errors import UserError
from utils.files import write_text
from utils.quality import check_clip, check_text, content_hash
from utils.segmentation import END_TOLERANCE, segment_problem
from utils.text import load_token_counter
from utils.utterances import Audio, Reject, Scalar, TimedText, Utterance, printable
from utils.voice import speech_extent

# This module is imported by every worker process: nothing heavier than numpy and pyarrow belongs here.

LABEL_LIMIT = 448
"""Tokens of a label, `max_target_positions` of every Whisper."""

LABEL_FRAME = 4
"""Label tokens besides the text: language, task, no timestamps, end. The shift adds the start token."""

MOST_SECONDS = 6 * 3600.0
"""Longest recording; 6 h take 1.4 GB while they are cut."""

MOST_TRIMMED = 120.0
"""Seconds of a clip over the limit that may fit without its silence; what is longer hardly says so little."""

KEPT_SILENCE = 0.3  # seconds left at each end where silence is cut off, besides 0.1 s that count as speech

TOO_LONG_ADVICE = "; give times of shorter pieces (start and end, or subtitles), or --align_with_model"

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

Aligner = Callable[[np.ndarray, Utterance], Sequence[Utterance | Reject]]
"""Cuts a long stretch by its plain text: (samples,) at 16 kHz of the whole recording, and the utterance."""


@dataclass(frozen=True)
class ClipSettings:
    """What decides which clips are kept and how they look."""

    min_duration: float  # seconds
    max_duration: float
    rules: frozenset[str]  # of utils.quality
    language: str  # of utterances without their own; auto leaves it open
    tokenizer: str | None  # folder or Hub id; counts label tokens


@dataclass(frozen=True)
class Clip:
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


def encode_block(
    block: Block, folder: Path, settings: ClipSettings, align: Aligner | None = None
) -> BlockCount:
    """Do one block and write its two files into `folder`, the index last."""
    files = files_of(block, folder)
    kept, rejected = list[dict](), list[dict]()
    examples: dict[str, int] = {}
    temporary = files.clips.with_suffix(f".{os.getpid()}.tmp")
    with pyarrow.OSFile(str(temporary), "wb") as file, pyarrow.ipc.new_stream(file, SCHEMA) as writer:
        for group in block.groups():
            for result in encode_group(group, settings, align):
                if isinstance(result, Rejected):
                    rejected.append(_rejected_entry(result, examples, position=len(kept)))
                    continue
                utterance, clip = result
                writer.write_batch(_one_row(utterance, clip))
                kept.append(_kept_entry(utterance, clip))
    with temporary.open("rb") as written:
        os.fsync(written.fileno())
    temporary.replace(files.clips)
    index = {"items": len(block.items), "kept": kept, "rejected": rejected}
    write_text(files.index, json.dumps(index))  # ASCII: names of files may be no UTF-8
    return BlockCount(len(block.items), sum(entry["duration"] for entry in kept))


def encode_group(
    group: list[Utterance | Reject], settings: ClipSettings, align: Aligner | None = None
) -> Iterator[tuple[Utterance, Clip] | Rejected]:
    """One reject, or the utterances of one recording, which is decoded once."""
    first = group[0]
    if isinstance(first, Reject):
        yield Rejected(first)
        return
    utterances = [item for item in group if isinstance(item, Utterance)]
    # A clip that is the whole file need not be decoded far beyond what is kept.
    most = MOST_TRIMMED if first.start is None and align is None else MOST_SECONDS
    try:
        samples = decode_audio(
            first.audio, max_seconds=most, allow_truncated="truncated" not in settings.rules
        )
    except AudioError as error:
        problem = f"{error}{TOO_LONG_ADVICE}" if str(error).startswith("too long") else str(error)
        yield from (Rejected(Reject(u.source, u.position, problem), text=u.text) for u in utterances)
        return
    for utterance in utterances:
        for item in fit_utterance(samples, utterance, settings, align):
            yield Rejected(item) if isinstance(item, Reject) else encode_utterance(samples, item, settings)


def fit_utterance(
    samples: np.ndarray, utterance: Utterance, settings: ClipSettings, align: Aligner | None
) -> Sequence[Utterance | Reject]:
    """The utterance itself if it is short enough, or without the silence at its ends, or cut by its text.

    What cannot be made to fit comes back as it is, to be rejected for its length.

    Args:
        samples: (samples,) float32 at 16 kHz, the whole recording.
        utterance: A stretch of it, or all.
        settings: The longest clip.
        align: Cuts what is too long for its speech, not for its silence.
    """
    duration = len(samples) / SAMPLE_RATE
    start, end = utterance.start or 0.0, duration if utterance.end is None else utterance.end
    if end - start <= settings.max_duration + END_TOLERANCE or segment_problem(start, end, duration):
        return [utterance]
    if end - start <= MOST_TRIMMED:
        trimmed = _trim(samples, utterance, start, min(end, duration), settings.max_duration)
        if trimmed is not None:
            return [trimmed]
    return [utterance] if align is None else align(samples, utterance)


def _trim(
    samples: np.ndarray, utterance: Utterance, start: float, end: float, max_duration: float
) -> Utterance | None:
    """The utterance from `start` to `end` s without the silence at its ends, if it fits then."""
    extent = speech_extent(samples[num_samples_at(start) : num_samples_at(end)])
    if extent is None or extent.end - extent.start > max_duration:
        return None
    margin = min(KEPT_SILENCE, (max_duration - (extent.end - extent.start)) / 2)
    new_start, new_end = max(start + extent.start - margin, start), min(start + extent.end + margin, end)
    segments = tuple(
        TimedText(
            round(max(part.start + start - new_start, 0.0), 6),
            round(min(part.end + start, new_end) - new_start, 6),
            part.text,
        )
        for part in utterance.segments
    )
    if any(part.end <= part.start for part in segments):  # its text would stand in what is cut off
        segments = ()
    return replace(utterance, start=round(new_start, 6), end=round(new_end, 6), segments=segments)


def encode_utterance(
    samples: np.ndarray, utterance: Utterance, settings: ClipSettings
) -> tuple[Utterance, Clip] | Rejected:
    """Cut one clip out of its recording, check it and its text, and encode it."""
    problem = None
    if utterance.start is not None and utterance.end is not None:
        problem = segment_problem(utterance.start, utterance.end, len(samples) / SAMPLE_RATE)
        samples = samples[num_samples_at(utterance.start) : num_samples_at(utterance.end)]
    duration = len(samples) / SAMPLE_RATE
    problem = problem or _length_problem(duration, settings)
    samples = samples[: num_samples_at(settings.max_duration)]  # lossy formats add a few milliseconds
    language = utterance.language or (None if settings.language == "auto" else settings.language)
    problem = problem or check_text(utterance.text, language, settings.rules)
    num_tokens = None
    if problem is None and settings.tokenizer is not None:
        num_tokens = _token_counter(settings.tokenizer)(utterance.text) + LABEL_FRAME
        if num_tokens > LABEL_LIMIT:
            problem = (
                f"label too long: {num_tokens} tokens, expected at most {LABEL_LIMIT}; cut the utterance"
            )
    problem = problem or check_clip(samples, settings.rules)
    if problem is not None:
        flac = encode_flac(samples[: num_samples_at(EXAMPLE_SECONDS)]) if len(samples) else None
        return Rejected(Reject(utterance.source, utterance.position, problem), flac, utterance.text)
    seconds = len(samples) / SAMPLE_RATE
    clip = Clip(encode_flac(samples), seconds, content_hash(samples).hex(), num_tokens)
    return replace(utterance, language=language), clip


def _length_problem(duration: float, settings: ClipSettings) -> str | None:
    if duration < settings.min_duration:
        return f"too short: {duration:.3f} s, expected at least {settings.min_duration:g} s"
    if duration > settings.max_duration + END_TOLERANCE:
        return f"too long: {duration:.1f} s, expected at most {settings.max_duration:g} s{TOO_LONG_ADVICE}"
    return None


@lru_cache(maxsize=1)
def _token_counter(tokenizer: str) -> Callable[[str], int]:
    return load_token_counter(tokenizer)


def _one_row(utterance: Utterance, clip: Clip) -> pyarrow.RecordBatch:
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


def _kept_entry(utterance: Utterance, clip: Clip) -> dict:
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


def _rejected_entry(result: Rejected, examples: dict[str, int], position: int) -> dict:
    """A line of rejects.jsonl; the first of a kind keep their audio. `before` tells where it stood."""
    reject = result.reject
    entry = {"source": reject.source, "position": reject.position, "reason": reject.reason}
    entry["before"] = position
    if result.flac is not None and examples.get(reject.kind, 0) < EXAMPLES_OF_A_KIND:
        examples[reject.kind] = examples.get(reject.kind, 0) + 1
        entry |= {"flac": base64.b64encode(result.flac).decode(), "text": result.text}
    return entry


# ---- many blocks -------------------------------------------------------------------------------------------

WAITING_PER_WORKER = 2  # blocks handed out ahead: enough to keep a worker busy, few enough to stay small


def encode_blocks(
    blocks: Iterable[Block],
    folder: Path,
    settings: ClipSettings,
    *,
    num_proc: int,
    align: Aligner | None = None,
) -> Iterator[BlockCount]:
    """Do the blocks, in several processes if wanted, and tell of each in the order they come.

    Args:
        blocks: Those whose files are in `folder` already are not done again.
        folder: Receives two files of each block.
        num_proc: Worker processes; with 1, or with `align`, this process does the work. The result is equal.
        align: See `Aligner`; it holds a model, which is not handed to workers.

    Raises:
        UserError: A worker died, as when the system runs out of memory.
    """
    if num_proc == 1 or align is not None:
        yield from (
            _count_of(block, folder) or encode_block(block, folder, settings, align) for block in blocks
        )
        return
    # spawn: a fork would copy the locks of threads that are already running, and macOS has no safe fork
    pool = ProcessPoolExecutor(num_proc, multiprocessing.get_context("spawn"), initializer=_start_worker)
    waiting: deque[BlockCount | Future[BlockCount]] = deque()
    try:
        for block in blocks:
            waiting.append(_count_of(block, folder) or pool.submit(encode_block, block, folder, settings))
            while len(waiting) > num_proc * WAITING_PER_WORKER:
                yield _result(waiting.popleft())
        while waiting:
            yield _result(waiting.popleft())
    except BrokenProcessPool:
        raise UserError(
            "a process that decodes audio was ended from outside, often for lack of memory. Run again with a "
            "smaller --num_proc, and with shorter recordings if that does not help; what is done stays done."
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _count_of(block: Block, folder: Path) -> BlockCount | None:
    files = files_of(block, folder)
    return BlockCount(len(block.items), 0.0, was_done=True) if files.is_done else None


def _result(waiting: "BlockCount | Future[BlockCount]") -> BlockCount:
    return waiting if isinstance(waiting, BlockCount) else waiting.result()


def _start_worker() -> None:
    """Leave Ctrl-C to the parent, and end when the parent is gone, even if it was killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent) -> None:
    parent.join()
    os._exit(1)
