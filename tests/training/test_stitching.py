"""Joined clips that end in the middle of speech: their labels, their audio, what decoders make of them."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import WhisperForConditionalGeneration

from tests.support.clip_tables import build_clips, table, tokenizer
from tests.support.tones import flac_tone
from utils.audio.augmentation_options import Augmentation
from utils.audio.flac import decode_flac
from utils.data.length_batches import Example
from utils.text.label_tokens import LabelWriter, TimedTokens
from utils.training.clips import TrainingClips

# Three clips of one recording: the third begins at 26 s and ends at 38 s.
LECTURE = {
    "text": ["uno", "due", "per"],
    "source": ["a"] * 3,
    "start": [0.0, 13.0, 26.0],
    "end": [12.0, 25.0, 38.0],
}
ALL_TIMED = {"stitch_probability": 1.0, "timestamp_probability": 1.0}


def cut_examples(clips: TrainingClips, epochs: int = 12) -> list[Example]:
    return [example for epoch in range(epochs) for example in clips.draw(epoch) if example.is_cut]


def names(clips: TrainingClips, example: Example) -> list[str]:
    targets = [token for token in clips.sequence(example).targets if token != -100]
    return tokenizer().convert_ids_to_tokens(targets)


def test_the_label_of_a_cut_window_ends_with_the_start_of_the_next_segment():
    clips = build_clips(table([12.0] * 3, **LECTURE), **ALL_TIMED)
    cut = cut_examples(clips)
    assert {(example.rows, example.offsets) for example in cut} == {((0, 1, 2), (0.0, 13.0, 26.0))}
    assert {example.duration for example in cut} == {30.0}
    written = "<|0.00|> Ġuno <|12.00|> <|13.00|> Ġdue <|25.00|> <|26.00|> <|endoftext|>"
    assert names(clips, cut[0]) == ["<|it|>", "<|transcribe|>", *written.split()]
    assert cut[0].num_targets == 10


def test_a_decoder_continues_where_the_unfinished_segment_is():
    """transformers moves its window to the end of the last whole segment; else it would skip the rest."""
    clips = build_clips(table([12.0] * 3, **LECTURE), **ALL_TIMED)
    (zero,) = tokenizer().convert_tokens_to_ids(["<|0.00|>"])

    def seconds_to_move(example: Example) -> float:
        body = torch.tensor(clips.sequence(example).tokens[3:-1])
        _, frames = WhisperForConditionalGeneration._retrieve_segment(
            body, [{}], torch.zeros(1), zero, torch.tensor([3000]), 0.02, 0.01, 2, 0, 0, False, body[None]
        )
        return int(frames) / 100

    assert seconds_to_move(cut_examples(clips)[0]) == 25.0
    whole = Example((0, 1), 25.0, 0, offsets=(0.0, 13.0), with_timestamps=True)
    assert seconds_to_move(whole) == 30.0


def test_the_segments_that_end_in_the_window_are_written():
    segments = [
        {"start": 0.0, "end": 1.5, "text": "per"},
        {"start": 2.0, "end": 3.9, "text": "due"},
        {"start": 3.9, "end": 12.0, "text": "uno"},
    ]
    words = {"text": ["uno", "due", "per due uno"], "segments": [None, None, segments]}
    clips = build_clips(table([12.0] * 3, **(LECTURE | words)), **ALL_TIMED)
    expected = "<|25.00|> <|26.00|> Ġper <|27.50|> <|28.00|> Ġdue <|29.90|> <|endoftext|>"
    assert names(clips, cut_examples(clips)[0])[-8:] == expected.split()  # too little of the last is heard
    segments[1:] = [{"start": 2.0, "end": 12.0, "text": "due uno"}]
    clips = build_clips(table([12.0] * 3, **(LECTURE | words)), **ALL_TIMED)
    assert names(clips, cut_examples(clips)[0])[-3:] == ["<|27.50|>", "<|28.00|>", "<|endoftext|>"]


@pytest.mark.parametrize(("start", "is_cut"), [(29.4, True), (29.6, False)])
def test_speech_that_begins_too_late_is_left_out(start, is_cut):
    lecture = LECTURE | {"start": [0.0, 13.0, start], "end": [12.0, start - 1, start + 12]}
    clips = build_clips(table([12.0, start - 14, 12.0], **lecture), **ALL_TIMED)
    assert bool(cut_examples(clips)) is is_cut


def test_a_clip_that_ends_just_before_the_window_does_is_not_cut():
    """It would leave no silence at the end, so it is not joined. But nothing of it would be missing."""
    lecture = LECTURE | {"end": [12.0, 25.0, 29.95]}
    assert not cut_examples(build_clips(table([12.0, 12.0, 3.95], **lecture), **ALL_TIMED))


def test_the_unfinished_clip_is_heard_to_the_end_of_the_window_and_learnt_in_the_next_one():
    tones = [flac_tone(12.0, hertz) for hertz in (200.0, 300.0, 400.0)]
    clips = build_clips(table([12.0] * 3, audio=tones, **LECTURE), **ALL_TIMED)
    drawn = next(drawn for drawn in map(clips.draw, range(12)) if drawn[0].is_cut)
    assert [example.rows for example in drawn] == [(0, 1, 2), (2,)]
    assert names(clips, drawn[1])[2:] == ["<|0.00|>", "Ġper", "<|12.00|>", "<|endoftext|>"]
    (audio,) = clips.waveforms(drawn[:1])
    assert len(audio) == 30 * 16_000
    assert np.array_equal(audio[26 * 16_000 :], decode_flac(tones[2])[: 4 * 16_000])


def test_only_examples_with_timestamps_are_cut():
    rows = table([12.0] * 3, **LECTURE)
    assert not cut_examples(build_clips(rows, stitch_probability=1.0))
    some = cut_examples(build_clips(rows, stitch_probability=1.0, timestamp_probability=0.5), 40)
    assert some and all(example.with_timestamps for example in some)
    assert not cut_examples(build_clips(rows, timestamp_probability=1.0))


def test_a_cut_window_keeps_its_speed():
    clips = build_clips(
        table([12.0] * 3, **LECTURE), augmentation=Augmentation(speed_factors=(1.25,)), **ALL_TIMED
    )
    drawn = next(drawn for drawn in map(clips.draw, range(12)) if drawn[0].is_cut)
    assert [(example.speed, example.duration) for example in drawn] == [(1.0, 30.0), (1.25, 9.6)]


def test_half_of_the_windows_of_a_recording_end_in_the_middle_of_speech():
    """Clips of 5 s, all joined: a filled window always ends within one."""
    examples = build_clips(table([5.0] * 4000, speaker=["A"] * 4000), **ALL_TIMED).draw(0)
    assert np.mean([example.is_cut for example in examples]) == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize(("timestamps", "seconds"), [(0.0, 20.0), (1.0, 25.0)])
def test_windows_are_filled_only_where_times_are_learnt(timestamps, seconds):
    """Lengths are drawn from 10 to 30 s. Where times are learnt, every second window is filled."""
    rows = table([0.5] * 12_000, text=["uno"] * 12_000)
    examples = build_clips(rows, stitch_probability=1.0, timestamp_probability=timestamps).draw(0)
    assert np.mean([example.duration for example in examples]) == pytest.approx(seconds, abs=1.0)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0.3, 29.0), min_size=1, max_size=40), st.integers(0, 99))
def test_every_clip_is_learnt_once(durations, seed):
    clips = build_clips(table(durations), seed=seed, stitch_probability=0.8, timestamp_probability=0.8)
    examples = clips.draw(0)
    whole = [row for example in examples for row in example.rows[: -1 if example.is_cut else None]]
    assert whole == list(range(len(durations)))
    for example, following in zip(examples, [*examples[1:], None], strict=True):
        assert example.duration <= 30.0
        assert example.num_targets == len(names(clips, example))
        if example.is_cut:
            assert following and example.rows[-1] == following.rows[0]
            assert example.offsets[-1] <= 29.5 and example.offsets[-1] + durations[following.rows[0]] > 30


def test_without_timestamps_no_start_is_written():
    writer, pieces = LabelWriter(tokenizer()), [TimedTokens(0.0, 1.0, [1])]
    assert writer.write(pieces, "it", next_start=1.5) == writer.write(pieces, "it")
    assert writer.count_targets(pieces, "it", next_start=1.5) == 5  # language, task, no times, text, end
