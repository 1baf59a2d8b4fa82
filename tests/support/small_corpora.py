"""Small corpora that tests write, and what a reader makes of them."""

import json
from pathlib import Path

import numpy as np
import soundfile

from utils.data.utterance import Reject, Source, Utterance


def write_wav(path: Path, seconds: float = 1.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(round(seconds * 16000)) / 16000
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * 220 * time), 16000)
    return path


def write_manifest(folder: Path, lines: list[dict | str | bytes]) -> Path:
    encoded = [
        line if isinstance(line, bytes) else (line if isinstance(line, str) else json.dumps(line)).encode()
        for line in lines
    ]
    path = folder / "corpus.jsonl"
    path.write_bytes(b"\n".join(encoded) + b"\n")
    return path


def parts(source: Source) -> tuple[list[Utterance], list[Reject]]:
    items = list(source.items)
    assert source.total in (None, len(items))
    return [i for i in items if isinstance(i, Utterance)], [i for i in items if isinstance(i, Reject)]
