"""Handles the files of a checkpoint folder: their names, their fingerprints and the training state."""

import json
import re
from pathlib import Path

import xxhash
from accelerate import Accelerator

from utils.training.pace import ScheduleChange
from utils.training.state import TrainingState

STATE_FILE = "trainer_state.json"

PREFIX = "checkpoint-"

BLOCK_BYTES = 1 << 22


def fingerprint_share(accelerator: Accelerator, temporary: Path) -> list[tuple[str, str]]:
    """Read this process's part of the files from disk, and return their names and fingerprints."""
    share = files_of_state(temporary)[accelerator.process_index :: accelerator.num_processes]
    return [(file.relative_to(temporary).as_posix(), fingerprint_file(file)) for file in share]


def fingerprint_file(file: Path) -> str:
    """Return size in bytes and 128-bit XXH3 of the content.

    XXH3 is ten times as fast as SHA-256. It detects damage, not manipulation.
    """
    digest = xxhash.xxh3_128()
    size, block = 0, memoryview(bytearray(BLOCK_BYTES))
    with file.open("rb", buffering=0) as handle:
        while count := handle.readinto(block):
            digest.update(block[:count])
            size += count
    return f"{size} {digest.hexdigest()}"


def files_of_state(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file())


def checkpoint_step(folder: Path) -> int:
    """Return the step in a checkpoint folder's name, or -1 if there is none."""
    match = re.fullmatch(PREFIX + r"(\d+)", folder.name)
    return int(match[1]) if match else -1


def newest_first(output_dir: Path) -> list[Path]:
    """List the checkpoints.

    The one written last comes first. Its step may not be the highest, because a run may go back.
    """
    found = [folder for folder in output_dir.glob(f"{PREFIX}*") if checkpoint_step(folder) >= 0]
    return sorted(found, key=lambda folder: (_saved_at(folder), checkpoint_step(folder)), reverse=True)


def origin_of_checkpoint(folder: Path) -> str:
    try:
        return str(json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))["state"]["origin"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""  # broken


def _saved_at(folder: Path) -> float:
    try:
        return float(json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))["saved_at"])
    except (OSError, ValueError, KeyError, TypeError):
        return folder.stat().st_mtime  # a broken checkpoint still has a place in the order


def read_state(record: dict) -> TrainingState:
    """Read the training state from the content of `STATE_FILE`."""
    saved, change = record["state"], record["state"].get("schedule_change")
    restored = {
        "ranking": [tuple(entry) for entry in saved["ranking"]],
        "schedule_change": ScheduleChange(**change) if change else None,
    }
    return TrainingState(**{**saved, **restored})
