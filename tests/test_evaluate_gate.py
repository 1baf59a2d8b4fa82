"""The gate on real models: a better one passes, one that loops on silence and forgot English does not."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset, DatasetDict, Features, Value

from utils.audio.flac import SAMPLE_RATE, encode_flac
from utils.model.loading import load_model
from utils.runtime.devices import pick_accelerate_config

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
LOOP = "Grazie " * 12
SILENCE = 5.0  # seconds of a clip


def run(*words: object) -> str:
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def train_to_loop(model: Path, folder: Path) -> Path:
    """A model that has been taught to hear a word over and over where there is silence."""
    launch = ["-m", "accelerate.commands.launch", "--quiet", "--config_file"]
    config = ROOT / f"accelerate_configs/{pick_accelerate_config()}.yaml"
    words = ["--model_name_or_path", model, "--dataset", write_silence(folder / "silence", LOOP)]
    words += ["--language", "it", "--learning_rate", "2e-5", "--max_steps", 12]
    words += ["--eval_steps", 0, "--save_steps", 0, "--report_to", "none", "--output_dir", folder / "run"]
    run(*launch, config, "train.py", *words)
    return folder / "run" / "final"


def write_silence(folder: Path, text: str) -> Path:
    """Clips of silence and faint noise in which, so the dataset says, the same word is said over and over."""
    random = np.random.default_rng(0)
    levels = [0.0, 1e-4, 3e-3, 1e-2] * 12
    clips = [level * random.standard_normal(round(SILENCE * SAMPLE_RATE)) for level in levels]
    rows = {
        "id": [f"silence-{number}" for number in range(len(clips))],
        "audio": [encode_flac(clip.astype(np.float32)) for clip in clips],
        "text": [text] * len(clips),
        "duration": [SILENCE] * len(clips),
        "language": ["it"] * len(clips),
    }
    kinds = {"id": "string", "audio": "binary", "text": "string", "duration": "float64", "language": "string"}
    features = Features({name: Value(kind) for name, kind in kinds.items()})
    DatasetDict({"train": Dataset.from_dict(rows, features=features)}).save_to_disk(str(folder))
    return folder


def forget_english(model: Path, target: Path) -> Path:
    """A copy of a model to which `<|en|>` means something else."""
    loaded = load_model(str(model))
    token_ids = [loaded.processor.tokenizer.convert_tokens_to_ids(f"<|{code}|>") for code in ("en", "it")]
    with torch.no_grad():
        weight = loaded.model.model.decoder.embed_tokens.weight
        weight[token_ids[0]] = weight[token_ids[1]]
    shutil.copytree(model, target)
    loaded.model.save_pretrained(target)
    return target


def test_a_better_model_passes_and_one_with_planted_faults_does_not(demo, tmp_path):
    good, italian, english = demo / "best", ROOT / "data" / "demo", tmp_path / "en"
    run("preprocess.py", "--source", "asterisk", "--language", "en", "--seed", 13, "--output_dir", english)
    bad = forget_english(train_to_loop(good, tmp_path / "looping"), tmp_path / "bad")
    report = tmp_path / "report"
    words = ["--dataset", italian, "--guard_datasets", english, "--language", "auto", "--max_samples", 24]
    words += ["--audio_context", "full", "--output_dir", report]
    output = run("evaluate.py", "--models", "openai/whisper-base", good, bad, *words)
    gates = json.loads((report / "comparative_analysis.json").read_text())["gates"]
    print(json.dumps(gates, indent=1, ensure_ascii=False))
    assert [(gate["candidate"], gate["promote"]) for gate in gates] == [(str(good), True), (str(bad), False)]
    assert any("a guard: kept" in sentence for sentence in gates[0]["passed"])
    reasons = " ".join(gates[1]["reasons"])
    assert "a guard: forgotten" in reasons and str(english) in reasons
    assert "made-up words in silence" in reasons
    assert "Promote" in output and (report / "report.html").stat().st_size < 5e6
