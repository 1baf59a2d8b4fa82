"""What an epoch draws: shares of datasets, stitches, speeds; and an example as tokens and audio."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.clip_tables import build_clips, table, tokenizer
from tests.support.tones import flac_tone
from utils.audio.augmentation_options import Augmentation
from utils.audio.flac import decode_flac
from utils.runtime.errors import UserError
from utils.text.label_tokens import MAX_LABEL_TOKENS
from utils.training.clip_rows import read_clips
from utils.training.clips import TrainingClips


def test_by_default_an_epoch_is_every_clip_once():
    clips = build_clips(table([1.0, 2.0, 3.5]))
    examples = clips.draw(0)
    assert [example.rows for example in examples] == [(0,), (1,), (2,)]
    assert [example.duration for example in examples] == [1.0, 2.0, 3.5]
    assert all(example.speed == 1.0 and not example.with_timestamps for example in examples)
    assert [example.num_targets for example in examples] == [
        len(tokenizer()(" " + text).input_ids) - 1 for text in ("testo 0", "testo 1", "testo 2")
    ]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 30), st.floats(0.05, 3.0), st.integers(0, 100))
def test_epochs_share_a_dataset_out_evenly(size, passes, seed):
    clips = build_clips(table([1.0] * (size + 2)), [0] * size + [1, 1], seed, passes=(passes, 1.0))
    seen = Counter()
    for epoch in range(8):
        drawn = [row for example in clips.draw(epoch) for row in example.rows]
        assert Counter(drawn)[size] == Counter(drawn)[size + 1] == 1  # the second dataset, whole every time
        seen.update(row for row in drawn if row < size)
    assert sum(seen.values()) == round(8 * passes * size)
    counts = [seen[row] for row in range(size)]
    assert max(counts) - min(counts) <= 1


def test_every_epoch_has_a_clip_or_it_is_told():
    rows = table([1.0] * 4)
    with pytest.raises(UserError, match=r"dataset_passes 0\.1 of 4 clips: less than one clip per epoch"):
        build_clips(rows, passes=(0.1,))
    with pytest.raises(UserError, match=r"dataset_passes 0\.3 0\.4 of 3 and 1 clips"):
        build_clips(rows, [0, 0, 0, 1], passes=(0.3, 0.4))
    for options in ({"passes": (0.25,)}, {"datasets": [0, 0, 1, 1], "passes": (0.5, 0.1)}):
        assert all(build_clips(rows, **options).draw(epoch) for epoch in range(20))


def test_draws_differ_by_epoch_and_seed_and_are_repeated():
    rows = table([1.0 + number / 10 for number in range(60)])
    options = {
        "passes": (0.5,),
        "augmentation": Augmentation(speed_factors=(0.9, 1.0, 1.1)),
        "stitch_probability": 0.5,
    }
    one = build_clips(rows, **options)
    assert one.draw(3) == build_clips(rows, **options).draw(3)
    assert one.draw(3) != one.draw(4)
    assert one.draw(3) != build_clips(rows, seed=1, **options).draw(3)


def test_probabilities_are_kept():
    rows = table([2.0] * 2000, previous_text=["prima"] * 2000)
    examples = build_clips(rows, timestamp_probability=0.3, previous_probability=0.6).draw(0)
    assert np.mean([example.with_timestamps for example in examples]) == pytest.approx(0.3, abs=0.04)
    assert np.mean([example.with_previous for example in examples]) == pytest.approx(0.6, abs=0.04)


def texts_before(clips: TrainingClips) -> list[str]:
    """What the decoder is given before `<|startoftranscript|>` for each example, as text."""
    sequences = [clips.sequence(example).inputs for example in clips.draw(0)]
    return [tokenizer().decode(s[1 : s.index(50258)]) if s[0] == 50361 else "" for s in sequences]


def test_the_clips_before_in_a_recording_are_the_text_before():
    """Two recordings of two datasets have one name; the rows are out of order; 50258 begins a transcript."""
    rows = table(
        [2.0] * 8,
        text=["tre", "uno", "due", "dopo", "altro", "solo", "con testo", "poi"],
        source=["a", "a", "a", "a", "a", "b", "c", "c"],
        start=[4.5, 0.0, 2.0, 37.0, 6.5, None, 0.0, 2.0],
        end=[6.5, 2.0, 4.0, 39.0, 8.5, None, 2.0, 4.0],
        previous_text=[None] * 6 + ["di prima", None],
    )
    found = texts_before(build_clips(rows, [0] * 4 + [1] * 4, passes=(1.0, 1.0), previous_probability=1.0))
    # "dopo" comes 30.5 s after "tre" has ended, "altro" is of another recording
    assert found == [" uno due", "", " uno", "", "", "", " di prima", " con testo"]


def test_the_text_before_stays_with_its_speaker_and_is_no_longer_than_fits():
    rows = table(
        [1.0] * 4,
        text=["no " * 150 + "fine", "altri", "sì " * 150 + "qui", "ora"],
        speaker=["A", "B", "A", "A"],
        source=["a"] * 4,
        start=[0.0, 1.0, 2.0, 3.0],
        end=[1.0, 2.0, 3.0, 4.0],
    )
    clips = build_clips(rows, previous_probability=1.0)
    found = texts_before(clips)
    assert found[0] == found[1] == "" and found[2].endswith(" no no fine")
    tokens = tokenizer()(
        " " + "no " * 150 + "fine " + "sì " * 150 + "qui", add_special_tokens=False
    ).input_ids
    assert clips.sequence(clips.draw(0)[3]).inputs[1:224] == tokens[-223:]


def test_clips_that_share_no_recording_have_no_text_before():
    rows = table([1.0] * 3, speaker=["A"] * 3)
    assert not build_clips(rows, previous_probability=1.0).knows_texts_before
    rows = table([1.0] * 2, previous_text=[None, "prima"])
    assert build_clips(rows, previous_probability=1.0).knows_texts_before


def test_all_texts_can_be_in_lower_case():
    rows = table(
        [2.0, 1.0],
        text=["Uno È Due", "TRE"],
        segments=[
            [{"start": 0.0, "end": 1.0, "text": "Uno È"}, {"start": 1.0, "end": 2.0, "text": "Due"}],
            None,
        ],
        previous_text=["PRIMA.", None],
    )
    one, other = read_clips(rows, tokenizer(), ["it"] * 2, list(rows["text"]), lower_case=True)
    assert [tokenizer().decode(clip.text.tokens) for clip in (one, other)] == [" uno è due", " tre"]
    assert [tokenizer().decode(piece.tokens) for piece in one.pieces] == [" uno è", " due"]
    assert tokenizer().decode(one.previous) == " prima." and other.previous == ()
    one, _ = read_clips(rows, tokenizer(), ["it"] * 2, list(rows["text"]))
    assert tokenizer().decode(one.text.tokens) == " Uno È Due"


def test_speed_changes_length_but_never_beyond_the_window():
    clips = build_clips(table([10.0, 29.0]), augmentation=Augmentation(speed_factors=(0.8,)))
    slow, long = clips.draw(0)
    assert (slow.duration, slow.speed) == (12.5, 0.8)
    assert (long.duration, long.speed) == (29.0, 1.0)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0.3, 29.0), min_size=1, max_size=40), st.floats(0.1, 1.0), st.integers(0, 99))
def test_stitching_loses_nothing_and_stays_within_the_window(durations, probability, seed):
    examples = build_clips(table(durations), seed=seed, stitch_probability=probability).draw(0)
    assert sorted(row for example in examples for row in example.rows) == list(range(len(durations)))
    for example in examples:
        assert example.duration <= 30.0 and example.num_targets <= MAX_LABEL_TOKENS
        ends = [offset + durations[row] for offset, row in zip(example.offsets, example.rows, strict=True)]
        gaps = [start - end for start, end in zip(example.offsets[1:], ends[:-1], strict=True)]
        assert all(0.2 <= gap <= 1.0 for gap in gaps)
        assert ends[-1] == pytest.approx(example.duration)


def test_only_neighbours_are_stitched_at_their_own_distance():
    rows = table(
        [2.0, 2.0, 2.0, 2.0],
        source=["a", "a", "b", "b"],
        start=[0.0, 2.5, 0.0, 9.0],
        end=[2.0, 4.5, 2.0, 11.0],
    )
    for seed in range(5):
        first, second = build_clips(rows, seed=seed, stitch_probability=1.0).draw(0)
        assert (first.rows, first.offsets) == ((0, 1), (0.0, 2.5))  # the pause of the recording
        assert second.rows == (2, 3) and 2.2 <= second.offsets[1] <= 3.0  # too long a pause is not kept


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({}, {(0, 1), (2, 3)}),  # files of their own
        ({"speaker": ["A"] * 4}, {(0, 1), (2, 3)}),
        ({"speaker": ["A", "A", "B", "A"]}, {(0, 1), (2,), (3,)}),
        ({"source": ["a", "b", "b", "b"], "start": [0.0] * 4, "end": [1.0] * 4}, {(0,), (1,), (2, 3)}),
        ({"speaker": ["A", "A", None, "A"]}, {(0, 1), (2,), (3,)}),
    ],
)
def test_clips_of_two_datasets_or_speakers_or_recordings_are_not_stitched(columns, expected):
    clips = build_clips(table([1.0] * 4, **columns), [0, 0, 1, 1], passes=(1.0, 1.0), stitch_probability=1.0)
    for epoch in range(5):
        assert {example.rows for example in clips.draw(epoch)} == expected


def test_the_times_of_a_stitched_example_follow_offsets_and_speed():
    segments = [[{"start": 0.0, "end": 1.0, "text": "uno"}, {"start": 1.0, "end": 2.0, "text": "due"}], None]
    clips = build_clips(
        table(
            [2.0, 1.0],
            text=["uno due", "tre"],
            segments=segments,
            source=["a"] * 2,
            start=[0.0, 3.0],
            end=[2.0, 4.0],
        ),
        stitch_probability=1.0,
        timestamp_probability=1.0,
        augmentation=Augmentation(speed_factors=(0.5,)),
    )
    (example,) = clips.draw(0)
    names = tokenizer().convert_ids_to_tokens(clips.sequence(example).targets)
    times = [name for name in names if name.startswith("<|") and name[2].isdigit()]
    assert times == ["<|0.00|>", "<|2.00|>", "<|2.00|>", "<|4.00|>", "<|6.00|>", "<|8.00|>"]
    assert example.duration == 8.0


def test_times_are_left_out_where_they_do_not_fit():
    clips = build_clips(table([9.0], text=[("no " * 444).strip()]), timestamp_probability=1.0)
    (example,) = clips.draw(0)
    assert not example.with_timestamps and example.num_targets == MAX_LABEL_TOKENS


def test_stitched_audio_lies_at_its_offsets():
    tones = [flac_tone(1.0, 200.0), flac_tone(1.5, 300.0)]
    rows = table([1.0, 1.5], audio=tones, text=["uno", "due"])
    clips = build_clips(rows, stitch_probability=1.0)
    (example,) = clips.draw(0)
    (audio,) = clips.waveforms([example])
    start = round(example.offsets[1] * 16_000)
    assert np.array_equal(audio[:16_000], decode_flac(tones[0]))
    assert not audio[16_000:start].any()
    second = decode_flac(tones[1])
    assert np.array_equal(audio[start : start + len(second)], second[: len(audio) - start])
    assert len(audio) == round(example.duration * 16_000)
