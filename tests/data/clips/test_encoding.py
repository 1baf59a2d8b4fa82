"""Blocks of recordings: decoded once, cut where they should, kept in order in any number of processes."""

import os
import pathlib
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from utils.audio.flac import SAMPLE_RATE, decode_flac
from utils.data.blocks import cut_blocks
from utils.data.clips import encoding as recordings
from utils.data.clips.block_encoding import encode_blocks
from utils.data.clips.block_files import EncodedClip, Rejected, read_index, read_items
from utils.data.clips.encoding import ClipSettings, encode_block, encode_group
from utils.data.utterance import Reject, TimedText, Utterance
from utils.runtime.errors import UserError
from utils.runtime.problems import Problem

SETTINGS = ClipSettings(0.1, 30.0, rules=frozenset(), language="it", tokenizer=None)


@pytest.fixture
def ramp(tmp_path) -> pathlib.Path:
    """4 s whose samples rise from 0 to 1, so that a sample tells its own time."""
    soundfile.write(tmp_path / "ramp.wav", np.arange(64000) / 64000, SAMPLE_RATE, subtype="FLOAT")
    return tmp_path / "ramp.wav"


def utterance(audio, number: int, start: float | None = None, end: float | None = None) -> Utterance:
    return Utterance(f"u-{number}", audio, "ciao", "corpus", number, start, end)


def encode(group, settings=SETTINGS, align=None) -> list[EncodedClip | str]:
    """The clip of each utterance of one recording, or the reason why there is none."""
    results = encode_group(group, settings, align)
    return [str(result.reject.problem) if isinstance(result, Rejected) else result[1] for result in results]


def test_clips_are_cut_where_they_should(ramp):
    spans = [(1.0, 2.0), (3.5, 4.04), (3.0, 5.0), (2.0, 2.05)]
    clips = encode([utterance(ramp, n, *span) for n, span in enumerate(spans)])
    first, last, beyond, short = clips
    assert isinstance(first, EncodedClip) and first.duration == 1.0
    assert decode_flac(first.flac) == pytest.approx(np.linspace(0.25, 0.5, 16000, endpoint=False), abs=1e-4)
    assert isinstance(last, EncodedClip) and last.duration == 0.5  # clipped to the end of the audio
    assert beyond == "segment beyond the end of the audio: 3 to 5 s, the audio has 4.00 s"
    assert short == "too short: 0.050 s, expected at least 0.1 s"
    (whole,) = encode([utterance(ramp, 9)])
    assert isinstance(whole, EncodedClip) and whole.duration == 4.0


@pytest.mark.parametrize(("seconds", "kept"), [(30.0, 30.0), (30.04, 30.0), (30.1, None)])
def test_thirty_seconds_are_the_limit(tmp_path, seconds, kept):
    soundfile.write(tmp_path / "a.wav", np.zeros(round(seconds * 16000)), SAMPLE_RATE)
    (clip,) = encode([utterance(tmp_path / "a.wav", 0)])
    if kept is None:
        assert isinstance(clip, str) and clip.startswith(
            "too long: 30.1 s, expected at most 30 s; give times"
        )
    else:
        assert (
            isinstance(clip, EncodedClip) and clip.duration == kept and len(decode_flac(clip.flac)) == 480_000
        )


def test_a_recording_is_decoded_once(ramp, monkeypatch):
    decoded = []
    decode = recordings.decode_recording
    monkeypatch.setattr(
        recordings, "decode_recording", lambda audio, **more: decoded.append(audio) or decode(audio, **more)
    )
    assert len(encode([utterance(ramp, n, n / 2, n / 2 + 0.5) for n in range(8)])) == 8
    assert decoded == [ramp]


def test_label_limit(ramp, tiny_whisper):
    # a token a byte, and the space in front: 448 tokens hold 443 letters beside the four others
    settings = replace(SETTINGS, tokenizer=str(tiny_whisper))
    fits, too_long = (
        encode([replace(utterance(ramp, 0), text="a" * letters)], settings)[0] for letters in (443, 444)
    )
    assert isinstance(fits, EncodedClip) and fits.num_tokens == 448
    assert too_long == "label too long: 449 tokens, expected at most 448; cut the utterance"


def test_a_long_plain_recording_is_aligned(tmp_path):
    soundfile.write(tmp_path / "long.wav", np.full(40 * 16000, 0.1), SAMPLE_RATE)

    def align(samples, whole):
        assert len(samples) == 40 * 16000 and whole.text == "ciao"
        return [
            replace(whole, id="u-0_0", start=0.0, end=9.0),
            Reject("corpus", 0, Problem("low confidence", "0.1")),
        ]

    clip, reject = encode([utterance(tmp_path / "long.wav", 0)], align=align)
    assert isinstance(clip, EncodedClip) and clip.duration == 9.0
    assert reject == "low confidence: 0.1"


def test_silence_at_the_ends_is_cut_off_where_a_clip_would_be_too_long(italian_prompts, tmp_path):
    """Real prompts with 15 s of faint noise on both sides, as a file of their own and as a piece of one."""
    noise = np.random.default_rng(0)
    for number, (speech, text) in enumerate(italian_prompts[:4]):
        around = noise.normal(scale=1e-4, size=(2, 15 * SAMPLE_RATE)).astype(np.float32)
        soundfile.write(tmp_path / "clip.wav", np.concatenate([around[0], speech, around[1]]), SAMPLE_RATE)
        seconds = len(speech) / SAMPLE_RATE
        whole = replace(utterance(tmp_path / "clip.wav", number), text=text)
        piece = replace(
            whole, start=1.0, end=29.5 + seconds, segments=(TimedText(0.0, 28.5 + seconds, text),)
        )
        for item in (whole, piece):
            limit = replace(SETTINGS, max_duration=28.0)
            [(found, clip)] = encode_group([item], limit)
            assert found.text == text and 0 < found.start < found.end < 30 + seconds
            # the prompts have up to half a second of silence of their own
            assert 14.5 < found.start < 15.8 and 14.2 + seconds < found.end < 15.5 + seconds
            assert clip.duration == pytest.approx(found.end - found.start, abs=1e-4)
            loud = np.abs(speech) > 0.05
            kept = np.abs(decode_flac(clip.flac)) > 0.05
            assert kept.sum() == pytest.approx(loud.sum(), rel=0.01)  # the speech is all there
        assert found.segments == (TimedText(0.0, pytest.approx(clip.duration, abs=1e-4), text),)


def test_times_of_segments_move_with_the_start_where_silence_is_cut_off(italian_prompts, tmp_path):
    """A clip of 35 s from 2 s on of its file; two pieces of its text lie within the speech, one before it."""
    speech = italian_prompts[0][0]
    seconds = len(speech) / SAMPLE_RATE
    around = np.random.default_rng(0).normal(scale=1e-4, size=38 * SAMPLE_RATE).astype(np.float32)
    around[22 * SAMPLE_RATE :][: len(speech)] += speech
    soundfile.write(tmp_path / "clip.wav", around, SAMPLE_RATE)
    middle = 20 + seconds / 2
    inside = (TimedText(20.5, middle, "uno"), TimedText(middle, 20 + seconds - 0.5, "due"))
    item = replace(utterance(tmp_path / "clip.wav", 0, 2.0, 37.0), segments=inside)
    [(found, clip)] = encode_group([item], SETTINGS)
    moved = found.start - 2.0  # seconds cut off at the start
    assert 19.5 < moved < 20.5 and clip.duration < seconds + 1
    for before, after in zip(inside, found.segments, strict=True):
        assert after.text == before.text
        assert (after.start, after.end) == pytest.approx((before.start - moved, before.end - moved), abs=1e-5)
    early = replace(item, segments=(TimedText(1.0, 2.0, "zero"), *inside))
    [(found, _)] = encode_group([early], SETTINGS)
    assert found.segments == ()  # not one at a time when nothing is heard


def test_clips_are_on_disk_before_their_file_has_its_name(ramp, tmp_path, monkeypatch):
    flushed = []
    flush = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: flushed.append(os.fstat(file).st_ino) or flush(file))
    (block,) = cut_blocks([utterance(ramp, 0)], "")
    encode_block(block, tmp_path, SETTINGS)
    assert flushed[0] == (tmp_path / f"{block.name}.arrow").stat().st_ino


def test_speech_beyond_the_limit_names_what_would_help(italian_prompts, tmp_path):
    """40 s of prompts one after the other that one timed piece of text covers."""
    talk = np.resize(np.concatenate([speech for speech, _ in italian_prompts]), 42 * SAMPLE_RATE)
    soundfile.write(tmp_path / "talk.wav", talk, SAMPLE_RATE)
    (reason,) = encode([utterance(tmp_path / "talk.wav", 0, 1.0, 41.0)])
    assert str(reason).startswith("too long: 40.0 s, expected at most 30 s; ")
    assert "--align_with_model" in str(reason)
    asked = []

    def align(samples, item):
        asked.append((len(samples), item.start, item.end))
        return [
            replace(item, id="u-0_0", start=2.0, end=11.0),
            replace(item, id="u-0_1", start=12.0, end=20.0),
        ]

    clips = encode(
        [utterance(tmp_path / "talk.wav", n, *span) for n, span in enumerate([(0, 1), (1, 41)])], align=align
    )
    assert [clip.duration for clip in clips if isinstance(clip, EncodedClip)] == [1.0, 9.0, 8.0]
    assert asked == [(42 * SAMPLE_RATE, 1, 41)]


def test_rejected_clips_can_be_listened_to(ramp, tmp_path):
    items = [utterance(ramp, n, 0.0, 0.05) for n in range(5)]
    (block,) = cut_blocks(items, "")
    list(encode_blocks([block], tmp_path, SETTINGS, num_proc=1))
    rejected = list(read_index(tmp_path / f"{block.name}.json"))
    assert [item.text for item in rejected] == ["ciao", "ciao", "", "", ""]
    assert [len(decode_flac(item.flac)) for item in rejected if item.flac] == [800, 800]


@pytest.mark.parametrize("num_proc", [1, 2])
def test_order_and_rejects(ramp, tmp_path, num_proc):
    items = [
        Reject("corpus", 0, Problem("empty text", "nothing")),
        utterance(ramp, 1, 0.0, 1.0),
        utterance(ramp, 2, 1.0, 9.0),
        utterance(tmp_path / "missing.wav", 3),
        utterance(ramp.read_bytes(), 4),
        Reject("corpus", 5, Problem("empty text", "nothing")),
        *(utterance(ramp, n) for n in range(6, 200)),
    ]
    blocks = list(cut_blocks(items, ""))
    assert len(blocks) > 2
    counts = list(encode_blocks(blocks, tmp_path, SETTINGS, num_proc=num_proc))
    assert [count.items for count in counts] == [len(block.items) for block in blocks]
    found = [item for block in blocks for item in read_items(tmp_path / f"{block.name}.json")]
    items = [item.reject if isinstance(item, Rejected) else item[0] for item in found]
    assert [item.position for item in items] == list(range(200))
    kinds = {item.position: item.problem.kind for item in items if isinstance(item, Reject)}
    beyond = "segment beyond the end of the audio"
    assert kinds == {0: "empty text", 2: beyond, 3: "no such file", 5: "empty text"}


def test_what_is_done_is_not_done_again(ramp, tmp_path, monkeypatch):
    blocks = list(cut_blocks([utterance(ramp, n) for n in range(100)], ""))
    list(encode_blocks(blocks[:1], tmp_path, SETTINGS, num_proc=1))
    done = {path: path.stat().st_mtime_ns for path in tmp_path.glob("block-*")}
    counts = list(encode_blocks(blocks, tmp_path, SETTINGS, num_proc=1))
    assert [count.was_done for count in counts] == [True, False]
    assert {path: path.stat().st_mtime_ns for path in done} == done


class Deadly(type(pathlib.Path())):
    """Ends the process that receives it, as a system short of memory would."""

    def __reduce__(self):
        return os._exit, (9,)


def test_a_dead_worker_is_told(ramp, tmp_path):
    blocks = cut_blocks([utterance(ramp, 0), utterance(Deadly("x.wav"), 1), utterance(ramp, 2)], "")
    with pytest.raises(UserError, match=r"the system ended.*smaller --num_proc"):
        list(encode_blocks(blocks, tmp_path, SETTINGS, num_proc=2))
