"""The labels that a run is given are sequences as Whisper was trained on.

The rules are read from the model's own configuration, not from the code that writes labels.
"""

from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from datasets import load_from_disk
from transformers import GenerationConfig, WhisperConfig

from utils.arguments.parsing import parse_arguments
from utils.arguments.train import TrainArguments
from utils.training.setup import build_run, start_accelerator
from utils.training.step_loading import load_steps


@pytest.fixture(autouse=True, scope="module")
def one_accelerator_state():
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="module")
def data(build_prepared, tmp_path_factory) -> Path:
    """Sixteen clips, with the text before each and its two halves timed."""
    folder = tmp_path_factory.mktemp("data")
    build_prepared(folder / "plain", {"train": 16})

    def enrich(row: dict) -> dict:
        words, end = row["text"].split(), row["duration"]
        half = len(words) // 2 or 1
        pieces = [
            {"start": 0.0, "end": end / 2, "text": " ".join(words[:half])},
            {"start": end / 2, "end": end, "text": " ".join(words[half:])},
        ]
        return {"previous_text": "prima", "segments": [piece for piece in pieces if piece["text"]]}

    load_from_disk(folder / "plain").map(enrich).save_to_disk(folder / "timed")
    return folder / "timed"


@pytest.mark.parametrize("task", ["transcribe", "translate"])
@pytest.mark.parametrize(
    "words",
    [
        "",
        "--timestamp_probability 1 --stitch_probability 0.5",
        "--timestamp_probability 0.5 --condition_on_prev_probability 0.5 --non_speech_share 0.5",
    ],
)
def test_every_example_is_a_sequence_as_whisper_was_trained_on(tiny_whisper, data, tmp_path, task, words):
    base = f"--model_name_or_path {tiny_whisper} --dataset {data} --language it --report_to none"
    base += f" --eval_steps 0 --output_dir {tmp_path} --task {task}"
    args = parse_arguments(TrainArguments, [*base.split(), *words.split()])
    run = build_run(args, start_accelerator(args))
    config = WhisperConfig.from_pretrained(tiny_whisper)
    generation = GenerationConfig.from_pretrained(tiny_whisper)
    seen = []
    for step, micro_batches in load_steps(run, 0, run.data.plan.count_steps(1)):
        seen += step.examples
        for batch in micro_batches:
            for inputs, targets in zip(batch.decoder_input_ids, batch.labels, strict=True):
                check_sequence(inputs.tolist(), targets.tolist(), config, generation, task)
    assert set(run.data.clips.draw(0)) <= set(seen)


def check_sequence(
    inputs: list[int], targets: list[int], config: WhisperConfig, generation: GenerationConfig, task: str
) -> None:
    """Fail where the decoder would read or predict anything else than in Whisper's own training."""
    predicted = [token for token in targets if token != -100]
    length = max(index for index, target in enumerate(targets) if target != -100) + 1
    read = [*inputs[:length], targets[length - 1]]  # each target is the token read next
    assert all(target in (-100, token) for target, token in zip(targets, read[1:], strict=False))
    assert predicted[-1] == config.eos_token_id and predicted.count(config.eos_token_id) == 1
    assert length <= config.max_target_positions
    assert all(0 <= token < config.vocab_size for token in read)

    assert read.count(config.decoder_start_token_id) == 1
    start = read.index(config.decoder_start_token_id)
    assert all(target == -100 for target in targets[:start])  # the text before is context
    language, spoken_task, *body = read[start + 1 : -1]
    assert (language, spoken_task) == (generation.lang_to_id["<|it|>"], generation.task_to_id[task])
    first = generation.no_timestamps_token_id + 1
    times = [token - first for token in body if token >= first]
    if generation.no_timestamps_token_id in body:
        assert body[0] == generation.no_timestamps_token_id and not times
    elif times != [0] or len(body) > 1:  # without speech <|0.00|> stands alone
        assert times == sorted(times) and times[-1] <= 1500
        assert body[0] >= first and body[-1] >= first
        assert len(times) % 2 == 0 or body[-2] >= first  # the start alone of what goes on after the window


def test_padding_is_never_a_target(tiny_whisper, data, tmp_path):
    words = f"--model_name_or_path {tiny_whisper} --dataset {data} --report_to none --eval_steps 0"
    args = parse_arguments(TrainArguments, [*words.split(), "--output_dir", str(tmp_path)])
    run = build_run(args, start_accelerator(args))
    for step, (batch,) in load_steps(run, 0, 2):
        assert int((batch.labels != -100).sum()) == step.num_targets
        widths = [int(torch.nonzero(row != -100).max()) for row in batch.labels]
        assert max(widths) == batch.labels.shape[1] - 1 and min(widths) < max(widths)
