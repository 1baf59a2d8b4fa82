"""Micro-batches as tensors."""

import pickle
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from datasets import load_from_disk

from tests.support.clip_tables import build_clips
from utils.audio.augmentation_options import Augmentation
from utils.audio.flac import decode_flac
from utils.data.length_batches import StepSize
from utils.runtime.errors import UserError
from utils.runtime.workers import outlive_signals
from utils.text.label_tokens import IGNORED
from utils.training.batches import MicroBatches, pad_tokens, read_steps
from utils.training.steps import MicroBatch, Step, StepPlan


@pytest.fixture(scope="module")
def clips(prepared):
    return build_clips(load_from_disk(prepared)["train"])


def test_a_micro_batch_becomes_tensors_of_its_context(clips):
    examples = clips.draw(0)
    batch = MicroBatches(clips, pad_token_id=0)[MicroBatch((examples[1], examples[0]), 6.5)]
    assert batch.waveforms.shape == (2, 104_000)
    audio = decode_flac(clips.rows[1]["audio"])
    assert np.array_equal(batch.waveforms[0, : len(audio)], audio)
    assert not batch.waveforms[0, len(audio) :].any()
    first, second = clips.sequence(examples[1]), clips.sequence(examples[0])
    assert torch.equal(batch.decoder_input_ids, pad_tokens([first.inputs, second.inputs], 0))
    assert torch.equal(batch.labels, pad_tokens([first.targets, second.targets], IGNORED))


def test_a_filler_predicts_nothing(clips):
    example = clips.draw(0)[0]
    batch = MicroBatches(clips, pad_token_id=0)[MicroBatch((example,), 6.5, is_filler=True)]
    assert (batch.labels == IGNORED).all() and batch.waveforms.any()


@pytest.mark.parametrize(("most", "sizes"), [(5, [5]), (4, [2, 3]), (2, [2, 1, 2]), (1, [1] * 5)])
def test_a_batch_is_split_into_parts_of_about_equal_size_that_are_padded_as_it_is(clips, most, sizes):
    examples = clips.draw(0)[:5]
    kept = replace(
        MicroBatches(clips, pad_token_id=0)[MicroBatch(tuple(examples), 6.5)],
        rows=tuple(example.rows[0] for example in examples),
        encoder_states=torch.arange(10.0).reshape(5, 2, 1),
    )
    parts = kept.split(most)
    assert sorted(len(part.durations) for part in parts) == sorted(sizes)
    for field in fields(kept):
        whole, of_parts = getattr(kept, field.name), [getattr(part, field.name) for part in parts]
        if isinstance(whole, torch.Tensor):
            assert torch.equal(torch.cat(of_parts), whole)
        elif isinstance(whole, tuple):
            assert sum(of_parts, ()) == whole
        else:
            assert set(of_parts) == {whole}
    assert MicroBatches(clips, pad_token_id=0)[MicroBatch(tuple(examples), 6.5)].split(2)[0].rows == ()


def test_what_a_loader_gets_passes_through_pickle(clips):
    """As it does to workers of macOS, and of Python 3.14 on Linux."""
    dataset = MicroBatches(clips, pad_token_id=0)
    micro_batch = MicroBatch(tuple(clips.draw(0)[:2]), 6.5)
    expected = dataset[micro_batch]  # the prompts are remembered by now
    found = pickle.loads(pickle.dumps(dataset))[micro_batch]
    assert torch.equal(found.waveforms, expected.waveforms)
    assert torch.equal(found.decoder_input_ids, expected.decoder_input_ids)
    assert torch.equal(found.labels, expected.labels)


def test_spawned_workers_read_the_same(clips):
    micro_batches = [MicroBatch((example,), 6.5) for example in clips.draw(0)[:3]]
    dataset = MicroBatches(clips, pad_token_id=0)
    loader = torch.utils.data.DataLoader(
        dataset,
        sampler=micro_batches,
        batch_size=None,
        num_workers=1,
        worker_init_fn=outlive_signals,
        multiprocessing_context="spawn",
    )
    for micro_batch, found in zip(micro_batches, loader, strict=True):
        assert torch.equal(found.waveforms, dataset[micro_batch].waveforms)
        assert torch.equal(found.labels, dataset[micro_batch].labels)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_steps_come_in_order_with_their_own_clips(clips, num_workers):
    plan = StepPlan(clips.draw, StepSize(clips=4), audio_context="dynamic", jitter=[0.0], seed=0)

    def own_share(step: Step) -> list[MicroBatch]:
        return step.micro_batches(1, 0, accumulation=2, clips_that_fit=lambda context: 8)

    loaded = read_steps(
        plan,
        MicroBatches(clips, pad_token_id=0),
        1,
        4,
        own_share=own_share,
        num_workers=num_workers,
        pin_memory=False,
        seed=0,
    )
    state = torch.get_rng_state()
    for expected, (step, batches) in zip(plan.steps(1, 4), loaded, strict=True):
        assert step == expected and len(batches) == 2
        examples = [example for part in own_share(step) for example in part.examples]
        found = [row for batch in batches for row in batch.waveforms]
        for example, waveform in zip(examples, found, strict=True):
            audio = clips.waveforms([example])[0]
            assert np.array_equal(waveform[: len(audio)], audio)
    assert torch.equal(torch.get_rng_state(), state)  # dropout must not depend on the loader


def read_a_step(clips, num_workers: int) -> None:
    """All of an epoch in one step."""
    size = StepSize(clips=len(clips.clips))
    steps = read_steps(
        StepPlan(clips.draw, size, audio_context="full", jitter=[0.0], seed=0),
        MicroBatches(clips, pad_token_id=0),
        0,
        1,
        own_share=lambda step: step.micro_batches(1, 0, accumulation=1, clips_that_fit=lambda context: 8),
        num_workers=num_workers,
        pin_memory=False,
        seed=0,
    )
    list(steps)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_clip_damaged_since_is_named_without_a_traceback(prepared, num_workers):
    rows = load_from_disk(prepared)["train"].select(range(8))
    audio = list(rows["audio"])
    audio[5] = audio[5][:50]
    rows = rows.remove_columns("audio").add_column("audio", audio)
    with pytest.raises(UserError) as caught:
        read_a_step(build_clips(rows), num_workers)
    assert "the audio of 'train-0005' cannot be used: not audio" in str(caught.value)
    assert "Traceback" not in str(caught.value)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_noise_that_is_gone_is_named_without_a_traceback(prepared, tmp_path, num_workers):
    (tmp_path / "noise").mkdir()
    (tmp_path / "noise/hum.wav").write_bytes(b"no audio")
    noisy = Augmentation(noise_probability=1.0, noise_dir=str(tmp_path / "noise"))
    clips = build_clips(load_from_disk(prepared)["train"].select(range(2)), augmentation=noisy)
    with pytest.raises(UserError, match=r"^\S+/noise/hum.wav: not audio.* Put it back, then run the same"):
        read_a_step(clips, num_workers)
