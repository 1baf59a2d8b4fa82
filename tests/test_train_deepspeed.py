"""train.py with a model that DeepSpeed splits over two CPU processes."""

import sys

import pytest

from tests.support.training_runs import launch, read_metrics, run_script, run_to_the_end
from tests.support.warm_processes import train_warm

pytestmark = pytest.mark.slow


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
    train_warm("cpu", [*options("plain", 6), "--per_device_train_batch_size", "8"], tmp_path / "log")
    if config == "deepspeed_zero2":
        assert_another_number_of_processes_is_refused(again)
    sharded, plain = read_metrics(tmp_path / "sharded"), read_metrics(tmp_path / "plain")
    assert [record["step"] for record in sharded] == [record["step"] for record in plain]
    for found, expected in zip(sharded, plain, strict=True):
        assert found.get("order") == expected.get("order")
        assert found.get("loss") == pytest.approx(expected.get("loss"), abs=0.02)
        if "grad_norm" in expected:
            assert found["grad_norm"] == pytest.approx(expected["grad_norm"], rel=0.05)
    from utils.model.loading import load_model

    assert load_model(str(tmp_path / "sharded/best")).total_parameters > 400_000


def assert_another_number_of_processes_is_refused(options: list[str]) -> None:
    words = [*launch("deepspeed_zero2")[:-1], "--num_processes=1", "train.py", *options, "--max_steps", "7"]
    said = run_script(words, DS_ACCELERATOR="cpu").stderr
    assert "2 DeepSpeed processes saved it, now there are 1" in said
    assert "train.py" not in said.split("error: ")[0]  # no traceback of it
