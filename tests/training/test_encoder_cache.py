"""Outputs of a frozen encoder on disk: what is read is what was written, whole, or nothing.

What keeping them does in a run: tests/test_train_frozen.py.
"""

import pytest
import torch

from tests.support.tiny_whisper import small_whisper
from utils.training.encoder_cache import EncoderCache, digest_of_outputs, encoder_is_fixed

POSITIONS = [100, 100, 5, 100]


@pytest.fixture
def kept(tmp_path):
    states = EncoderCache(tmp_path / "states", POSITIONS, 8, torch.float32)
    states.prepare("one")
    return states


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_what_is_read_is_what_was_written(tmp_path, dtype):
    kept = EncoderCache(tmp_path / "states", POSITIONS, 8, dtype)
    kept.prepare("one")
    written = torch.randn(3, 100, 8)
    kept.write([3, 0, 1], written)
    found = kept.read([1, 3])
    assert found.dtype == dtype and torch.equal(found, written[[2, 0]].to(dtype))
    kept.write([2], torch.randn(1, 5, 8))
    assert torch.equal(kept.read([1, 3]), found)  # its neighbours stay as they were


def test_nothing_is_read_unless_all_rows_are_there(kept):
    assert kept.read([0]) is None
    kept.write([0], torch.zeros(1, 100, 8))
    assert kept.read([0, 1]) is None and kept.read([0]).shape == (1, 100, 8)


@pytest.mark.parametrize("place", [2, 4, 1000, 3203])  # in the checksum and in the states
def test_a_changed_byte_is_noticed(kept, tmp_path, place):
    kept.write([0, 1], torch.randn(2, 100, 8))
    path = tmp_path / "states" / "states.bin"
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    assert kept.read([0]) is None and kept.read([1]) is not None


def test_a_file_that_was_cut_short_is_noticed(kept, tmp_path):
    kept.write([0, 3], torch.randn(2, 100, 8))
    path = tmp_path / "states" / "states.bin"
    path.write_bytes(path.read_bytes()[:5000])
    assert kept.read([3]) is None and kept.read([0]) is not None


def test_what_is_of_another_digest_is_forgotten(kept):
    kept.write([0], torch.ones(1, 100, 8))
    kept.prepare("one")
    assert kept.read([0]) is not None
    kept.prepare("two")
    assert kept.read([0]) is None


def test_its_size_is_known_from_the_start(kept, tmp_path):
    # 3 clips of 100 positions and one of 5, 8 numbers of 4 bytes each, and a checksum of 4 bytes a clip
    assert kept.num_bytes == 305 * 8 * 4 + 4 * 4 == (tmp_path / "states" / "states.bin").stat().st_size
    assert kept.fits()
    assert not EncoderCache(tmp_path / "large", [1500] * 10**6, 1280, torch.float32).fits()


def test_a_full_disk_is_told_once_and_nothing_is_lost(small_disk, capsys):
    kept = EncoderCache(small_disk(1_000_000) / "states", [1500] * 4, 64, torch.float32)  # 384 kB each
    kept.prepare("one")
    states = torch.randn(4, 1500, 64)
    for row in range(4):
        kept.write([row], states[row : row + 1])
    told = capsys.readouterr().out
    assert told.count("No space left on device. No more outputs are cached. Training continues.") == 1
    found = [kept.read([row]) for row in range(4)]
    assert torch.equal(found[0][0], states[0]) and torch.equal(found[1][0], states[1]) and found[3] is None


def test_the_digest_knows_weights_audio_and_settings():
    encoder = small_whisper().model.encoder
    first = digest_of_outputs(encoder, [b"a", b"b"], (1.0, "bf16"))
    assert digest_of_outputs(encoder, [b"a", b"b"], (1.0, "bf16")) == first
    assert digest_of_outputs(encoder, [b"a", b"c"], (1.0, "bf16")) != first
    assert digest_of_outputs(encoder, [b"a", b"b"], (1.0, "fp32")) != first
    with torch.no_grad():
        encoder.layers[0].fc1.weight[0, 0] += 1e-3
    assert digest_of_outputs(encoder, [b"a", b"b"], (1.0, "bf16")) != first


def test_an_encoder_is_fixed_when_frozen():
    model = small_whisper()
    assert not encoder_is_fixed(model)
    model.model.encoder.requires_grad_(False)
    assert encoder_is_fixed(model)
    model.model.encoder.layers[0].fc2.requires_grad_(True)
    assert not encoder_is_fixed(model)


@pytest.mark.parametrize("name", ["dropout", "attention_dropout", "activation_dropout"])
def test_an_encoder_with_dropout_is_never_fixed(name):
    model = small_whisper(**{name: 0.1})
    model.model.encoder.requires_grad_(False)
    assert not encoder_is_fixed(model)
