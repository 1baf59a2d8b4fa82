"""Recordings to clips: each is decoded once, cut, checked and encoded, in several processes if wanted."""

import itertools
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from utils.audio import SAMPLE_RATE, AudioError, decode_audio, encode_flac, num_samples_at
from utils.errors import UserError
from utils.segmentation import END_TOLERANCE, segment_problem
from utils.utterances import Reject, Utterance

# This module is imported by every worker process: nothing heavier than numpy belongs here.

Span = tuple[float, float] | None
"""Start and end in seconds within a recording, or None for all of it."""

WAITING_PER_WORKER = 3  # recordings handed out ahead: enough to keep a worker busy, few enough to stay small


@dataclass(frozen=True)
class Clip:
    """16 kHz mono FLAC bytes and their length in seconds."""

    flac: bytes
    duration: float


def encode_recording(
    audio: Path | bytes, spans: list[Span], min_duration: float, max_duration: float
) -> list[Clip | str]:
    """Decode a recording once and cut its clips.

    Returns:
        For each span its clip, or the reason why there is none.
    """
    try:
        samples = decode_audio(audio)
    except AudioError as error:
        return [str(error)] * len(spans)
    return [_cut(samples, span, min_duration, max_duration) for span in spans]


def _cut(samples, span: Span, min_duration: float, max_duration: float) -> Clip | str:
    if span is not None:
        start, end = span
        if problem := segment_problem(start, end, len(samples) / SAMPLE_RATE):
            return problem
        samples = samples[num_samples_at(start) : num_samples_at(end)]
    duration = len(samples) / SAMPLE_RATE
    if duration < min_duration:
        return f"too short: {duration:.3f} s, expected at least {min_duration:g} s"
    if duration > max_duration + END_TOLERANCE:
        return (
            f"too long: {duration:.1f} s, expected at most {max_duration:g} s; cut it by start and end "
            "in a manifest, or by lines start<TAB>end<TAB>text in its .txt"
        )
    samples = samples[: num_samples_at(max_duration)]  # lossy formats and resampling add a few milliseconds
    return Clip(encode_flac(samples), len(samples) / SAMPLE_RATE)


def encode_utterances(
    items: Iterable[Utterance | Reject], *, num_proc: int, min_duration: float, max_duration: float
) -> Iterator[tuple[Utterance, Clip] | Reject]:
    """Turn utterances into clips in the order they come; rejects pass through.

    Args:
        items: Neighbours cut from the same file are decoded together.
        num_proc: Worker processes; with 1 this process does the work itself. The result is the same.
        min_duration: Shorter clips are rejected, in seconds.
        max_duration: Longer clips are rejected, in seconds.

    Raises:
        UserError: A worker died, as when the system runs out of memory.
    """
    groups = (list(group) for _, group in itertools.groupby(items, key=_recording_of))
    if num_proc == 1:
        for group in groups:
            yield from _results(group, _encode_group(group, min_duration, max_duration))
        return
    # spawn: a fork would copy the locks of threads that are already running, and macOS has no safe fork
    pool = ProcessPoolExecutor(num_proc, multiprocessing.get_context("spawn"), initializer=_start_worker)
    try:
        yield from _encode_in(pool, groups, num_proc * WAITING_PER_WORKER, min_duration, max_duration)
    except BrokenProcessPool:
        raise UserError(
            "a process that decodes audio was ended from outside, often for lack of memory. "
            "Run again with a smaller --num_proc, and with shorter recordings if that does not help."
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _encode_in(
    pool: ProcessPoolExecutor,
    groups: Iterator[list[Utterance | Reject]],
    most_waiting: int,
    min_duration: float,
    max_duration: float,
) -> Iterator[tuple[Utterance, Clip] | Reject]:
    """Hand out at most `most_waiting` recordings ahead of the one whose result is next."""
    waiting: deque[tuple[list[Utterance | Reject], Future | None]] = deque()
    for group in groups:
        work = _work_of(group)
        future = pool.submit(encode_recording, *work, min_duration, max_duration) if work else None
        waiting.append((group, future))
        while len(waiting) > most_waiting:
            done, future = waiting.popleft()
            yield from _results(done, future.result() if future else [])
    for done, future in waiting:
        yield from _results(done, future.result() if future else [])


def _recording_of(item: Utterance | Reject) -> object:
    """Equal for neighbours that are cut from one file, different for all others."""
    if isinstance(item, Utterance) and item.start is not None and isinstance(item.audio, Path):
        return item.audio
    return object()


def _work_of(group: list[Utterance | Reject]) -> tuple[Path | bytes, list[Span]] | None:
    utterances = [item for item in group if isinstance(item, Utterance)]
    if not utterances:
        return None
    return utterances[0].audio, [_span_of(utterance) for utterance in utterances]


def _span_of(utterance: Utterance) -> Span:
    if utterance.start is None or utterance.end is None:
        return None
    return utterance.start, utterance.end


def _encode_group(
    group: list[Utterance | Reject], min_duration: float, max_duration: float
) -> list[Clip | str]:
    work = _work_of(group)
    return encode_recording(*work, min_duration, max_duration) if work else []


def _results(
    group: list[Utterance | Reject], clips: list[Clip | str]
) -> Iterator[tuple[Utterance, Clip] | Reject]:
    """A group is one reject, or utterances with a clip or a reason each."""
    for item, clip in zip(group, clips or [""] * len(group), strict=True):
        if isinstance(item, Reject):
            yield item
        elif isinstance(clip, Clip):
            yield item, clip
        else:
            yield Reject(item.source, item.position, clip)


def _start_worker() -> None:
    """Leave Ctrl-C to the parent, and end when the parent is gone, even if it was killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent) -> None:
    parent.join()
    os._exit(1)
