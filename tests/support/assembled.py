"""Utterances of tones, encoded and built into a prepared dataset as preprocess.py does."""

import io
from pathlib import Path

import numpy as np
import soundfile

from utils.data.blocks import cut_blocks
from utils.data.building import build_dataset
from utils.data.clips.block_encoding import encode_blocks
from utils.data.clips.encoding import ClipSettings
from utils.data.selection import SplitSettings
from utils.data.utterance import Utterance

CLIPS = ClipSettings(0.1, 30.0, rules=frozenset(), language="it", tokenizer=None)


def tone(number: int, seconds: float = 1.0) -> bytes:
    time = np.arange(round(seconds * 16000)) / 16000
    file = io.BytesIO()
    soundfile.write(file, 0.1 * np.sin((440 + number) * time), 16000, format="WAV")
    return file.getvalue()


def utterance(number: int, text: str = "", seconds: float = 1.0, **more) -> Utterance:
    text = text or f"frase numero {number}"
    return Utterance(f"u-{number}", tone(number, seconds), text, "corpus", number, **more)


def build(folder: Path, items: list, rules=(), clips=CLIPS, **more):
    """Encode and build items as preprocess.py does."""
    blocks_dir = folder.with_name(f"{folder.name}.blocks")
    blocks_dir.mkdir(parents=True)
    folder.mkdir()
    blocks = list(cut_blocks(items, ""))
    list(encode_blocks(blocks, blocks_dir, clips, num_proc=1))
    options = {"validation_share": 0.1, "test_share": 0.2, "seed": 1, **more}
    settings = SplitSettings(rules=frozenset(rules), **options)
    report, _ = build_dataset(folder, [blocks_dir / f"{block.name}.json" for block in blocks], settings)
    return report
