"""Exports of Whisper base that were broken on purpose are refused, each by what it does in faster-whisper."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from utils.delivery.exports.ctranslate2 import CTRANSLATE2
from utils.delivery.exports.export_format import load_export_source
from utils.delivery.exports.hugging_face import HUGGING_FACE
from utils.delivery.parity.comparing import WAYS, SourceComparison, measure
from utils.delivery.parity.rendering import Trial
from utils.delivery.parity.sounds import JoinedClip, ParitySound
from utils.delivery.runtimes.faster_whisper import open_faster_whisper_runtime
from utils.delivery.runtimes.transformers import open_transformers_runtime

pytestmark = pytest.mark.slow

RUNTIMES = {"faster-whisper": open_faster_whisper_runtime}
PAUSE = np.zeros(11_200, dtype=np.float32)  # 0.7 s


@pytest.fixture(scope="module")
def source():
    return load_export_source("openai/whisper-base")


def compare(source, prompts, folder: Path, *, longer_than: float) -> SourceComparison:
    """A clip and a recording; what the whole export makes of them stands for the source."""
    parts, pieces, seconds = [], [], 0.0
    while seconds < longer_than:
        samples, text = prompts[len(pieces) % len(prompts)]
        pieces.append(JoinedClip(text, seconds, seconds + len(samples) / 16_000))
        parts += [samples, PAUSE]
        seconds = sum(map(len, parts)) / 16_000
    clip = ParitySound(
        "clip", prompts[0][0], "it", [JoinedClip(prompts[0][1], 0.0, len(prompts[0][0]) / 16_000)]
    )
    sounds = [clip, ParitySound("recording", np.concatenate(parts), "it", pieces)]
    CTRANSLATE2.write(source, folder, "int8")
    trial = Trial(sounds, [WAYS["timestamps"], WAYS["words"]], threads=2)
    return SourceComparison(trial, measure("faster-whisper", open_faster_whisper_runtime, folder, trial))


@pytest.fixture(scope="module")
def comparison(source, italian_prompts, tmp_path_factory) -> SourceComparison:
    return compare(source, italian_prompts, tmp_path_factory.mktemp("whole"), longer_than=8)


def break_mels(folder: Path) -> None:
    change_json(folder / "preprocessor_config.json", feature_size=128)


def break_heads(folder: Path) -> None:
    change_json(folder / "config.json", alignment_heads=[[0, 0], [0, 1]])


def swap_words(folder: Path) -> None:
    """The tokenizer of another model: the same size, other words."""
    content = json.loads((folder / "tokenizer.json").read_text())
    words = list(content["model"]["vocab"])
    numbers = [*range(0, 256), *reversed(range(256, len(words)))]
    content["model"]["vocab"] = dict(zip(words, numbers, strict=True))
    (folder / "tokenizer.json").write_text(json.dumps(content))


def change_json(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("break_it", "told"),
    [
        (break_mels, "128"),
        (break_heads, "times of words"),
        (swap_words, "WER"),
    ],
)
def test_a_file_that_is_wrong(source, comparison, tmp_path, break_it: Callable[[Path], None], told: str):
    CTRANSLATE2.write(source, tmp_path, "int8")
    break_it(tmp_path)
    faults = comparison.find_faults(comparison.try_in(RUNTIMES, tmp_path), reduced=True)
    assert any(told in fault for fault in faults), faults


def test_a_model_that_may_not_write_timestamps(source, italian_prompts, tmp_path, tmp_path_factory):
    whole = tmp_path_factory.mktemp("whole")
    comparison = compare(source, italian_prompts, whole, longer_than=31)
    HUGGING_FACE.write(source, tmp_path, "float32")
    suppressed = json.loads((tmp_path / "generation_config.json").read_text())["suppress_tokens"]
    change_json(tmp_path / "generation_config.json", suppress_tokens=[*suppressed, *range(50364, 51865)])
    scores = comparison.try_in({"transformers": open_transformers_runtime}, tmp_path)
    faults = comparison.find_faults(scores, reduced=False)
    assert any("recordings" in fault for fault in faults), faults
