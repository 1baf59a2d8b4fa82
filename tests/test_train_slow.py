"""train.py with real Whisper base and in several processes: LoRA on real speech, DeepSpeed on CPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
LAUNCH = [sys.executable, "-m", "accelerate.commands.launch", "--quiet", "--config_file"]


def launch(config: str) -> list[str]:
    return [*LAUNCH, str(ROOT / f"accelerate_configs/{config}.yaml"), "train.py"]


def read_metrics(run: Path) -> list[dict]:
    path = run / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def steps_done(run: Path) -> int:
    """The last step in metrics.jsonl; a line that is being written is not counted."""
    path = run / "metrics.jsonl"
    whole = (
        [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
        if path.exists()
        else []
    )
    return json.loads(whole[-1])["step"] if whole else 0


def run_to_the_end(command: list[str], **environment: str) -> None:
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def assert_same_course(straight: Path, resumed: Path) -> None:
    """The same losses to 1e-6 and the same order of clips at every step."""
    one, other = read_metrics(straight), read_metrics(resumed)
    assert [record["step"] for record in one] == [record["step"] for record in other]
    for expected, found in zip(one, other, strict=True):
        assert found.get("loss") == pytest.approx(expected.get("loss"), abs=1e-6)
        assert found.get("order") == expected.get("order")


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


@pytest.mark.parametrize("config", ["deepspeed_zero2", "deepspeed_zero3"])
def test_deepspeed_trains_evaluates_resumes_and_leaves_a_model_folder(
    config, tiny_whisper, prepared, tmp_path
):
    """Two CPU processes over gloo. The losses are those of plain training but for bfloat16 rounding."""
    if sys.platform != "linux":
        pytest.skip("DeepSpeed is installed on Linux only")

    def options(run: str, steps: int) -> list[str]:
        text = f"--model_name_or_path {tiny_whisper} --dataset {prepared} --language it --report_to none"
        text += f" --max_steps {steps} --eval_steps 2 --save_steps 2 --logging_steps 1 --learning_rate 1e-4"
        text += f" --lr_scheduler_type constant_with_warmup --warmup_steps 0 --output_dir {tmp_path / run}"
        return text.split()

    two = ["--per_device_train_batch_size", "2", "--gradient_accumulation_steps", "2"]
    run_to_the_end([*launch(config), *options("sharded", 4), *two], DS_ACCELERATOR="cpu")
    again = [*options("sharded", 6), *two, "--resume_from_checkpoint", "latest"]
    run_to_the_end([*launch(config), *again], DS_ACCELERATOR="cpu")
    run_to_the_end([*launch("cpu"), *options("plain", 6), "--per_device_train_batch_size", "8"])
    sharded, plain = read_metrics(tmp_path / "sharded"), read_metrics(tmp_path / "plain")
    assert [record["step"] for record in sharded] == [record["step"] for record in plain]
    for found, expected in zip(sharded, plain, strict=True):
        assert found.get("order") == expected.get("order")
        assert found.get("loss") == pytest.approx(expected.get("loss"), abs=0.02)
        if "grad_norm" in expected:
            assert found["grad_norm"] == pytest.approx(expected["grad_norm"], rel=0.05)
    from utils.model.loading import load_model

    assert load_model(str(tmp_path / "sharded/best")).total_parameters > 400_000


def test_lora_lowers_the_test_wer_and_its_folder_scores_the_same_in_a_fresh_process(italian, tmp_path):
    """24 steps on the starter's prompts, scored on its test split by evaluate.py."""
    run = tmp_path / "lora"
    options = f"--model_name_or_path openai/whisper-base --dataset {italian} --language it --output_dir {run}"
    options += " --use_peft --lora_r 32 --lora_alpha 64 --learning_rate 1e-3 --max_steps 24 --eval_steps 24"
    options += " --lora_target_modules q_proj k_proj v_proj out_proj fc1 fc2 --report_to none --save_steps 0"
    options += " --max_eval_samples 8"
    run_to_the_end([*launch(fastest_cpu_config()), *options.split()])
    assert sum(file.stat().st_size for file in (run / "best").iterdir()) < 40e6  # the adapter alone
    reports = []
    for number in range(2):
        report = tmp_path / f"report{number}"
        evaluate = [sys.executable, "evaluate.py", "--dataset", str(italian), "--language", "it"]
        evaluate += ["--max_samples", "24", "--no_probe_hallucination", "--output_dir", str(report)]
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
