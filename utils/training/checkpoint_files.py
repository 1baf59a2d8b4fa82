"""The files of a checkpoint folder: named by step, told apart by content, and the state among them."""

import json
import re
from pathlib import Path

import xxhash
from accelerate import Accelerator

from utils.training.state import TrainingState

STATE_FILE = "trainer_state.json"

PREFIX = "checkpoint-"

BLOCK_BYTES = 1 << 22


def fingerprint_share(accelerator: Accelerator, temporary: Path) -> list[tuple[str, str]]:
    """Name and identity of every `num_processes`-th file; they are read back for it."""
    share = files_of_state(temporary)[accelerator.process_index :: accelerator.num_processes]
    return [(file.relative_to(temporary).as_posix(), fingerprint_file(file)) for file in share]


def fingerprint_file(file: Path) -> str:
    """Size in bytes and 128-bit XXH3 of the content, ten times as fast as SHA-256: against faults alone."""
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
    """The step in a checkpoint folder's name, -1 if it has none."""
    match = re.fullmatch(PREFIX + r"(\d+)", folder.name)
    return int(match[1]) if match else -1


def newest_first(output_dir: Path) -> list[Path]:
    """The checkpoints, last written first; a run that went back to an older one writes lower steps later."""
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
        return folder.stat().st_mtime  # broken, but its age still says where it stands


def read_state(record: dict) -> TrainingState:
    """The state in what `STATE_FILE` holds."""
    saved = record["state"]
    return TrainingState(**{**saved, "ranking": [tuple(entry) for entry in saved["ranking"]]})
