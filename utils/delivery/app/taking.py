"""Take the recording that a visitor gave: fetch and decode it, or say in one sentence why not."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from utils.audio.flac import AudioError
from utils.delivery.app.choosing import Chosen
from utils.delivery.app.guarding import LOST
from utils.delivery.intake.decoding import decode_in_child
from utils.delivery.intake.decoding_child import DecodingLimits
from utils.delivery.intake.guarded_proxy import LinkLimits
from utils.delivery.intake.links import fetch_link
from utils.runtime.errors import UserError

LONGEST_FETCH, LONGEST_DECODING = 300.0, 300.0  # seconds

WITHOUT_PATHS = {  # what to tell, by kind of problem; the details of these name a path of this machine
    "empty file": "The file is empty: it has 0 bytes.",
    "no such file": LOST,
    "not a file": "This is no file. Give another one.",
    "unreadable file": "The file cannot be read. Give it again.",
}


@dataclass(frozen=True)
class Limits:
    """What a visitor may ask for."""

    max_seconds: float = 3600.0  # of a recording
    max_bytes: int = 200_000_000  # of a file
    max_work: float = 3600.0  # seconds in which a recording must be transcribed
    allow_private: Collection[str] = ()  # addresses of this network that links may lead to; for tests


def take_sound(chosen: Chosen, folder: Path, limits: Limits, check: Callable[[], None]) -> np.ndarray:
    """Return the recording as (samples,) float32 at 16 kHz.

    Args:
        chosen: What the visitor gave.
        folder: Folder of the visitor, for what is fetched. It is deleted when it is decoded.
        limits: What the visitor may ask for.
        check: Called again and again. An error that it raises ends the fetching.

    Raises:
        UserError: It cannot be had, is too large or too long, or has no sound. The message is for the
            visitor, and names no path of this machine.
    """
    if chosen.kind != "link":
        return _decode(Path(chosen.value), limits)
    fetched = fetch_link(
        chosen.value,
        folder,
        LinkLimits(limits.max_bytes, LONGEST_FETCH),
        report=lambda num_bytes, expected_bytes: check(),
        allow_private=limits.allow_private,
    )
    try:
        return _decode(fetched, limits)
    finally:
        fetched.unlink(missing_ok=True)


def _decode(path: Path, limits: Limits) -> np.ndarray:
    try:
        return decode_in_child(path, DecodingLimits(limits.max_seconds, LONGEST_DECODING))
    except AudioError as error:
        problem = error.problem
    if problem.kind == "too long":
        raise UserError(
            f"The recording is longer than {limits.max_seconds / 60:g} minutes. Cut it, and give the parts."
        )
    told = WITHOUT_PATHS.get(problem.kind, f"The recording cannot be used: {problem}.")
    raise UserError(told)
