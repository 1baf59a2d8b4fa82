"""train.py with real Whisper base on real speech: what an adapter learns, its folder in a fresh process."""

import json
import sys
from pathlib import Path

import pytest

from tests.support.training_runs import run_to_the_end
from tests.support.warm_processes import train_warm

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def italian(tmp_path_factory) -> Path:
    """The starter's prepared dataset."""
    folder = tmp_path_factory.mktemp("data") / "it"
    run_to_the_end(
        [
            sys.executable,
            "preprocess.py",
            "--config",
            "recipes/starter.preprocess.yaml",
            "--output_dir",
            str(folder),
        ]
    )
    return folder


def test_lora_lowers_the_test_wer_and_its_folder_scores_the_same_in_a_fresh_process(italian, tmp_path):
    """32 steps on the starter's prompts, scored on its test split by evaluate.py."""
    run = tmp_path / "lora"
    options = f"--model_name_or_path openai/whisper-base --dataset {italian} --language it --output_dir {run}"
    options += " --use_peft --lora_r 32 --lora_alpha 64 --learning_rate 5e-4 --max_steps 32 --eval_steps 32"
    options += " --lora_target_modules q_proj k_proj v_proj out_proj fc1 fc2 --report_to none --save_steps 0"
    options += " --max_eval_samples 4"
    train_warm(fastest_cpu_config(), options.split(), tmp_path / "log")
    assert sum(file.stat().st_size for file in (run / "best").iterdir()) < 40e6  # the adapter alone
    reports = []
    for number in range(2):
        report = tmp_path / f"report{number}"
        evaluate = [sys.executable, "evaluate.py", "--dataset", str(italian), "--language", "it"]
        evaluate += ["--max_samples", "12", "--no_probe_hallucination", "--output_dir", str(report)]
        models = ["openai/whisper-base", str(run / "best")]
        again = ["--models", models[1], "--audio_context", "full"]
        run_to_the_end([*evaluate, *(again if number else ["--models", *models])])
        reports.append(json.loads((report / "evaluation_results.json").read_text())["results"])
    baseline, full, dynamic = (result["normalized"]["wer"] for result in reports[0])
    print(f"normalised test WER: {baseline:.4f} before, {full:.4f} full, {dynamic:.4f} dynamic context after")
    assert full < baseline
    assert dynamic < 1  # untuned, it runs away there; so few steps of an adapter leave some loops
    assert [result["normalized"] for result in reports[1]] == [reports[0][1]["normalized"]]


def fastest_cpu_config() -> str:
    from utils.runtime.devices import cpu_is_fast_in_bfloat16

    return "cpu_bf16" if cpu_is_fast_in_bfloat16() else "cpu"
