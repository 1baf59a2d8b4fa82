"""What train.py builds before the first step: every argument away from its default, and nothing trained."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from accelerate.state import AcceleratorState, PartialState
from datasets import DatasetDict, load_from_disk

from utils.arguments.parsing import parse_arguments
from utils.arguments.train import TrainArguments
from utils.data.length_batches import StepSize
from utils.model.loading import load_model
from utils.runtime.errors import UserError
from utils.text.label_tokens import IGNORED
from utils.training import after_training
from utils.training.after_training import load_guards
from utils.training.data import load_training_rows, load_validation
from utils.training.features import encoder_inputs
from utils.training.options import (
    count_workers,
    step_size,
)
from utils.training.run import Run, begin
from utils.training.setup import build_run, start_accelerator
from utils.training.step_loading import load_steps
from utils.training.trainable_model import set_default_task


@pytest.fixture(autouse=True, scope="module")
def one_accelerator_state():
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="module")
def data(build_prepared, tmp_path_factory) -> Path:
    """Twelve clips to train on and six to validate on, in upper case, with the text before each."""
    folder = tmp_path_factory.mktemp("data")
    build_prepared(folder / "lower", {"train": 12, "validation": 6})

    def enrich(row: dict) -> dict:
        return {"text": row["text"].upper(), "previous_text": "PRIMA"}

    load_from_disk(folder / "lower").map(enrich).save_to_disk(folder / "upper")
    return folder / "upper"


@pytest.fixture(scope="module")
def sounds(tmp_path_factory) -> Path:
    """A folder with a recording that may be a noise or a room."""
    folder = tmp_path_factory.mktemp("sounds")
    soundfile.write(folder / "tone.wav", 0.2 * np.sin(np.arange(16_000) * 0.2), 16_000)
    return folder


@pytest.fixture
def parse(tiny_whisper, data, tmp_path) -> Callable[..., TrainArguments]:
    def parse(words: str = "") -> TrainArguments:
        base = f"--model_name_or_path {tiny_whisper} --dataset {data} --language it --report_to none"
        base += f" --eval_steps 0 --max_steps 6 --output_dir {tmp_path / 'run'}"
        return parse_arguments(TrainArguments, [*base.split(), *words.split()])

    return parse


@pytest.fixture
def build(parse) -> Callable[..., Run]:
    def build(words: str = "") -> Run:
        args = parse(words)
        return build_run(args, start_accelerator(args))

    return build


def micro_batches(run: Run, last: int = 1) -> list[list]:
    """Those of each step."""
    return [batches for _, batches in load_steps(run, 0, last)]


def texts_learnt(run: Run) -> list[str]:
    clips = run.data.clips
    decode = run.loaded.processor.tokenizer.decode
    targets = [clips.sequence(example).targets for example in clips.draw(0)]
    return [decode([t for t in one if t != IGNORED], skip_special_tokens=True).strip() for one in targets]


# ---- optimiser and schedule --------------------------------------------------------------------------------


def rates_of(run: Run) -> list[float]:
    """The learning rate of each step, and the one after the last."""
    rates = []
    for _ in range(run.total_steps + 1):
        rates += run.scheduler.get_last_lr()[:1]
        run.optimizer.step()
        run.scheduler.step()
    return rates


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--max_steps 8 --warmup_steps 0.25", [0, 1 / 2, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6, 0]),
        ("--max_steps 4 --warmup_steps 1", [0, 1, 2 / 3, 1 / 3, 0]),
        ("--max_steps 6 --warmup_steps 3", [0, 1 / 3, 2 / 3, 1, 2 / 3, 1 / 3, 0]),
        ("--max_steps 4 --warmup_steps 0", [1, 3 / 4, 2 / 4, 1 / 4, 0]),
        (
            "--max_steps 4 --warmup_steps 0 --lr_scheduler_type cosine",
            [1, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2, 0],
        ),
        ("--max_steps 4 --warmup_steps 0.5 --lr_scheduler_type constant_with_warmup", [0, 1 / 2, 1, 1, 1]),
        # 12 clips by 4 are 3 steps an epoch, of which 1.5 epochs take 4.5, rounded up
        (
            "--max_steps -1 --num_train_epochs 1.5 --per_device_train_batch_size 4 --warmup_steps 0",
            [1, 4 / 5, 3 / 5, 2 / 5, 1 / 5, 0],
        ),
    ],
)
def test_learning_rates_by_table(build, words, expected):
    found = rates_of(build(f"{words} --learning_rate 2e-3"))
    assert found == pytest.approx([2e-3 * factor for factor in expected], abs=1e-12)


def test_the_optimiser_has_what_was_asked_for(build):
    words = "--weight_decay 0.3 --adam_beta1 0.8 --adam_beta2 0.95 --adam_epsilon 1e-6 --warmup_steps 0"
    run = build(f"{words} --learning_rate 2e-3 --optim adamw_torch")
    matrices, others = run.optimizer.param_groups
    assert (matrices["weight_decay"], others["weight_decay"]) == (0.3, 0.0)
    for group in (matrices, others):
        assert (group["lr"], group["betas"], group["eps"]) == (2e-3, (0.8, 0.95), 1e-6)
    assert not matrices["fused"] and build().optimizer.param_groups[0]["fused"]


# ---- the size of a step ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--per_device_train_batch_size 3", StepSize(clips=12, silence_run=128)),
        ("--silence_run 64", StepSize(clips=32, silence_run=64)),
        ("--silence_run 64 --audio_context full", StepSize(clips=32, silence_run=0)),
        ("--batch_audio_seconds 50", StepSize(audio_seconds=200, silence_run=128)),
        (
            "--batch_audio_seconds 50 --silence_run 0",
            StepSize(audio_seconds=200, silence_run=0),
        ),
    ],
)
def test_a_step_is_of_all_processes_and_micro_batches(parse, words, expected):
    args = parse(f"--gradient_accumulation_steps 2 {words}")
    assert step_size(args, SimpleNamespace(num_processes=2)) == expected


def test_steps_are_planned_in_the_size_context_and_jitter_asked_for(build):
    run = build("--per_device_train_batch_size 2 --gradient_accumulation_steps 2 --context_jitter 8 9")
    assert run.data.plan.size == StepSize(clips=4, silence_run=128)
    for step in run.data.plan.steps(0, 6):
        extra = step.context - max(example.duration for example in step.examples)
        assert 8.1 <= extra < 8.2 or 9.1 <= extra < 9.2  # the jitter, the tail of 0.1, and the grid
    durations = [clip.duration for clip in run.data.clips.clips]
    fixed = build("--freeze_encoder --context_jitter 9").data.contexts
    assert all(context >= 9 + seconds for context, seconds in zip(fixed, durations, strict=True))
    full = build("--audio_context full --silence_run 64")
    assert {step.context for step in full.data.plan.steps(0, 6)} == {30.0}


def test_one_context_for_all_micro_batches_of_a_step(build):
    words = "--per_device_train_batch_size 1 --gradient_accumulation_steps 4"
    steps = [{batch.waveforms.shape for batch in batches} for batches in micro_batches(build(words), 3)]
    assert [len(shapes) for shapes in steps] == [1, 1, 1] and len(set.union(*steps)) > 1


@pytest.mark.parametrize(
    ("words", "runs"), [("", 128), ("--silence_run 64", 64), ("--audio_context full", 0)]
)
def test_the_model_condenses_silence_as_its_steps_are_counted(build, words, runs):
    assert build(words).model.silence_run == runs


def test_the_seed_orders_the_clips_and_all_processes_agree(build, monkeypatch):
    def rows_of(run: Run) -> list[list[tuple[int, ...]]]:
        return [[example.rows for example in step.examples] for step in run.data.plan.steps(0, 3)]

    first, second, third = build(), build(), build("--seed 43")
    assert rows_of(first) == rows_of(second) != rows_of(third)
    monkeypatch.setitem(PartialState._shared_state, "process_index", 1)
    assert rows_of(build()) == rows_of(first)


def test_each_process_draws_its_own_dropout(build, monkeypatch):
    def dropout_of(words: str = "") -> torch.Tensor:
        build(words)
        return torch.nn.functional.dropout(torch.ones(100), 0.5)

    first = dropout_of()
    assert torch.equal(dropout_of(), first)
    assert not torch.equal(dropout_of("--seed 7"), first)
    monkeypatch.setitem(PartialState._shared_state, "process_index", 1)
    assert not torch.equal(dropout_of(), first)


@pytest.mark.parametrize(
    ("words", "clips"),
    [("", 2), ("--memory low", 1), ("--micro_batch_seconds 100", 3), ("--silence_run 0", 2)],
)
def test_micro_batches_are_cut_to_the_seconds_of_the_memory_there_is(build, words, clips):
    """On a CPU to 64, with little memory to 30, in windows of 30 s."""
    assert build(f"{words} --audio_context full").data.clips_that_fit(30.0) == clips


def test_parts_of_a_step_keep_to_the_seconds_asked_for(build):
    (batches,) = micro_batches(build("--audio_context full --micro_batch_seconds 100"))
    assert [len(batch.durations) for batch in batches] == [3, 3, 2]


@pytest.mark.parametrize(
    ("words", "kind", "workers"),
    [("", "cpu", 0), ("", "cuda", 4), ("--dataloader_num_workers 3", "cpu", 3)],
)
def test_workers_are_as_many_as_asked_for_or_as_the_device_wants(parse, words, kind, workers):
    assert count_workers(parse(words), SimpleNamespace(device=torch.device(kind))) == workers


def test_memory_is_saved_where_asked_for(build):
    plain, lean = build(), build("--memory low --gradient_checkpointing")
    assert plain.model.chunk_tokens is None and lean.model.chunk_tokens > 0
    for run, saves in ((plain, False), (lean, True)):
        whisper = run.loaded.model.model
        assert {layer.gradient_checkpointing for layer in whisper.encoder.layers} == {saves}
        assert {layer.gradient_checkpointing for layer in whisper.decoder.layers} == {saves}


# ---- clips and labels --------------------------------------------------------------------------------------


def test_examples_are_drawn_as_asked_for(build):
    plain = build().data.clips.draw(0)
    assert not any(example.with_timestamps or example.with_previous for example in plain)
    assert [(example.rows, example.speed) for example in plain] == [((row,), 1.0) for row in range(12)]
    for words, name in (
        ("--timestamp_probability 1", "with_timestamps"),
        ("--condition_on_prev_probability 1", "with_previous"),
    ):
        found = build(words).data.clips.draw(0)
        changed = {key for key in ("with_timestamps", "with_previous") if getattr(found[0], key)}
        assert changed == {name} and all(getattr(example, name) for example in found)
    stitched = build("--stitch_probability 1").data.clips.draw(0)
    assert len(stitched) < 12 and sum(len(example.rows) for example in stitched) == 12
    assert {example.speed for example in build("--speed_factors 1.25").data.clips.draw(0)} == {1.25}


def test_each_dataset_has_its_passes(build, data):
    drawn = build(f"--dataset {data} {data} --dataset_passes 1 0.25").data.clips.draw(0)
    rows = [example.rows[0] for example in drawn]
    assert rows[:12] == list(range(12)) and len(rows) == 15 and min(rows[12:]) >= 12


def test_labels_are_of_the_task_and_begin_with_the_text_before(build):
    run = build("--task translate --condition_on_prev_probability 1 --timestamp_probability 1")
    clips, names = run.data.clips, run.loaded.processor.tokenizer.convert_ids_to_tokens
    tokens = names(clips.sequence(clips.draw(0)[0]).tokens)
    begin = tokens.index("<|startoftranscript|>")
    assert "".join(tokens[:begin]) == "<|startofprev|>ĠPRIMA"
    assert tokens[begin + 1 : begin + 4] == ["<|it|>", "<|translate|>", "<|0.00|>"]


def test_listed_terms_are_prompts_in_the_case_that_is_learnt(build, data, tmp_path, capsys):
    said = load_from_disk(data)["train"]["text"][0].split()[0]
    (tmp_path / "terms.txt").write_text(f"{said}\nZARA\n")
    run = build(f"--prompt_terms_file {tmp_path / 'terms.txt'} --do_lower_case")
    assert f"{tmp_path / 'terms.txt'}: 1 of 2 terms said in" in capsys.readouterr().out
    clips, tokenizer = run.data.clips, run.loaded.processor.tokenizer
    prompts = set()
    for example in (example for epoch in range(4) for example in clips.draw(epoch)):
        before, _ = tokenizer.decode(clips.sequence(example).tokens).split("<|startoftranscript|>")
        assert before.startswith("<|startofprev|> ") == example.with_terms
        prompts.add(before.removeprefix("<|startofprev|> "))
    said = said.lower()
    assert {"", "zara"} < prompts <= {"", "zara", said, f"{said}, zara", f"zara, {said}"}


def test_rows_without_a_language_get_the_one_given(build, build_prepared, tmp_path):
    folder = build_prepared(tmp_path / "data", {"train": 2}, language=None)
    clips = build(f"--dataset {folder} --language en").data.clips.clips
    assert [clip.language for clip in clips] == ["en", "en"]


def test_a_language_that_changes_nothing_is_told(build, capsys):
    build("--language en")
    assert "clips without a language of their own. 12 of 12 clips keep theirs: it" in capsys.readouterr().out
    build("--language it")
    assert "of their own" not in capsys.readouterr().out


def test_texts_and_references_are_in_lower_case_where_that_is_learnt(build, parse, data):
    rows = load_from_disk(data)
    upper, words = list(rows["train"]["text"]), "--do_lower_case"
    lower = [text.lower() for text in upper]
    assert upper != lower and texts_learnt(build()) == upper and texts_learnt(build(words)) == lower
    references = [text.lower() for text in rows["validation"]["text"]]
    assert load_validation(parse(words))["text"] == references
    assert (
        load_guards(parse(f"{words} --guard_datasets {data} --interpolation_alphas 0.5"))[str(data)]["text"]
        == references
    )
    assert load_validation(parse())["text"] == rows["validation"]["text"]
    run = build("--do_lower_case --condition_on_prev_probability 1 --eval_steps 2")
    assert run.data.validation["text"] == references
    assert run.loaded.processor.tokenizer.decode(run.data.clips.clips[0].previous) == " prima"


def test_validation_is_trained_on_if_that_is_asked_for(parse, build_prepared, tmp_path):
    """From two datasets: each clip still belongs to its own."""
    folders = [build_prepared(tmp_path / name, {"train": 3, "validation": 2}) for name in ("a", "b")]
    words = f"--dataset {folders[0]} {folders[1]}"
    usual, digest = load_training_rows(parse(words))
    merged, other_digest = load_training_rows(parse(f"{words} --merge_validation"))
    assert list(usual["dataset"]) == [0] * 3 + [1] * 3
    assert list(merged["dataset"]) == [0] * 3 + [1] * 3 + [0] * 2 + [1] * 2
    assert list(merged["id"])[:6] == list(usual["id"])
    assert all(id.startswith("validation") for id in list(merged["id"])[6:])
    assert digest != other_digest


@pytest.mark.parametrize("validates", ["--eval_steps 2", "--eval_on_start", "--interpolation_alphas 0.5"])
def test_clips_of_the_training_do_not_choose_the_best_model(parse, validates):
    with pytest.raises(UserError, match="merge_validation: clips of the training cannot choose"):
        parse(f"--merge_validation {validates}")
    assert parse(f"--merge_validation --eval_split test {validates}").merge_validation


def test_the_split_that_chooses(parse, build_prepared, tmp_path):
    folder = build_prepared(tmp_path / "data", {"train": 2, "validation": 3, "test": 4})
    chosen = load_validation(parse(f"--dataset {folder} --eval_split test"))
    assert list(chosen["id"]) == [f"test-{number:04d}" for number in range(4)]


def test_samples_are_limited_and_drawn_by_the_seed(build, parse, data, monkeypatch):
    def ids(words: str) -> list[str]:
        found = build(f"--max_train_samples 5 {words}").data
        assert found.ids == list(found.clips.rows["id"]) and len(found.clips.clips) == 5
        return found.ids

    assert len(set(ids(""))) == 5 and ids("") == ids("") != ids("--seed 43")
    assert len(load_validation(parse("--max_eval_samples 4"))) == 4
    monkeypatch.setattr(after_training, "GUARD_SAMPLES", 3)
    args = parse(f"--guard_datasets {data} --interpolation_alphas 0.5")
    assert [len(rows) for rows in load_guards(args).values()] == [3]
    assert len(build("--eval_on_start --max_eval_samples 2").data.validation) == 2


@pytest.fixture
def long_labels(data, tmp_path) -> Path:
    """The eighth text makes 449 label tokens, the ninth 448: three of the prompt, a space and the end."""
    texts = {7: "A" * 444, 8: "B" * 443}
    train = load_from_disk(data)["train"].map(
        lambda row, i: {"text": texts.get(i, row["text"])}, with_indices=True
    )
    DatasetDict({"train": train}).save_to_disk(tmp_path / "long")
    return tmp_path / "long"


def test_labels_over_448_tokens_are_set_aside_and_counted(build, data, long_labels, tmp_path, capsys):
    run = build(f"--dataset {long_labels}")
    found = "1 clip with a label too long for Whisper"
    assert f"{found}: not used, and listed in {tmp_path}" in capsys.readouterr().out
    reject = json.loads((tmp_path / "run/rejects.jsonl").read_text())
    assert (reject["source"], reject["position"]) == ("train-0007", "train")
    assert reject["reason"] == "449 label tokens, expected at most 448"
    left = [row for row in range(12) if row != 7]
    assert run.data.ids == list(run.data.clips.rows["id"]) == [f"train-{row:04d}" for row in left]
    texts = load_from_disk(long_labels)["train"]["text"]
    assert texts_learnt(run) == [texts[row] for row in left]


def test_a_dry_run_names_labels_over_448_tokens_and_writes_nothing(build, long_labels, tmp_path, capsys):
    build(f"--dataset {long_labels} --dry_run")
    assert "1 clip with a label too long for Whisper, such as train-0007" in capsys.readouterr().out
    assert not (tmp_path / "run").exists()


def test_a_column_of_any_name_changes_no_batch(build, data, tmp_path):
    """Such as `dataset`: what else a source tells of its utterances is kept in the prepared dataset."""
    load_from_disk(data).map(lambda row: {"dataset": row["text"]}).save_to_disk(tmp_path / "named")
    plain, named = build(), build(f"--dataset {tmp_path / 'named'}")
    for one, other in zip(micro_batches(plain, 3), micro_batches(named, 3), strict=True):
        for batch, same in zip(one, other, strict=True):
            assert torch.equal(batch.waveforms, same.waveforms)
            assert torch.equal(batch.labels, same.labels)


# ---- what happens to the audio -----------------------------------------------------------------------------


def test_augmentation_is_what_was_asked_for(build):
    ((plain,),) = micro_batches(build())
    ((softer,),) = micro_batches(build("--gain_probability 1 --gain_db -20 -20"))
    torch.testing.assert_close(softer.waveforms, 0.1 * plain.waveforms)


def test_windows_without_speech_are_as_asked_for(parse, build, sounds):
    examples = build(f"--non_speech_share 0.25 --non_speech_dir {sounds}").data.clips.draw(0)
    assert [len(example.rows) for example in examples] == [1] * 12 + [0] * 3


@pytest.mark.parametrize("is_multilingual", [True, False])
def test_transformers_does_the_task_that_was_trained_if_it_is_told_none(tiny_whisper, is_multilingual):
    model = load_model(str(tiny_whisper)).model
    model.generation_config.is_multilingual = is_multilingual
    set_default_task(model, "translate")
    found = getattr(model.generation_config, "task", None)
    assert found == ("translate" if is_multilingual else None)  # an English model knows no tasks


@pytest.mark.parametrize("kind", ["noise", "reverb", "non_speech"])
def test_a_folder_without_sounds_is_told_before_training(build, tmp_path, kind):
    share = "share" if kind == "non_speech" else "probability"
    with pytest.raises(UserError, match="none: no such folder"):
        build(f"--{kind}_{share} 0.5 --{kind}_dir {tmp_path / 'none'}")


def test_spectrograms_are_masked_where_that_is_asked_for(build):
    def features(words: str) -> torch.Tensor:
        run = build(words)
        ((batch,),) = micro_batches(run)
        found, known = encoder_inputs(run, batch)
        assert known is None
        return found

    plain = features("")
    assert torch.equal(features("--mask_time_prob 0.5"), plain)
    masked = features(
        "--apply_spec_augment --mask_time_prob 0 --mask_time_min_masks 0 --mask_feature_prob 0.5"
    )
    changed = (masked != plain).any(dim=2).float().mean(dim=1)
    assert torch.allclose(changed, torch.tensor(0.5), atol=0.05)  # half of the bands of each clip


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            "--use_peft --learning_rate 1e-5",
            "learning_rate 1e-05 is usual for full fine-tuning. Adapters usually need",
        ),
        ("--use_peft --learning_rate 1e-3", None),
        ("--learning_rate 1e-5", None),
    ],
)
def test_a_rate_for_whole_weights_is_told_to_an_adapter(build, capsys, words, told):
    run = build(words)
    begin(run, is_resumed=False)
    output = capsys.readouterr().out
    assert (
        "12 clips" in output
        and "precision float32" in output
        and (told in output if told else "is usual for" not in output)
    )
