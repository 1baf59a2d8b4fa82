"""Blocks: nothing lost or doubled, recordings whole, a name that changes with all that changes the result."""

import itertools
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.data import blocks
from utils.data.archives.members import ArchiveMember
from utils.data.blocks import MOST_BYTES, MOST_ITEMS, cut_blocks, is_own_block
from utils.data.utterance import Reject, Utterance
from utils.runtime.problems import Problem


def utterance(number: int, audio: str | bytes = b"x", start: float | None = None) -> Utterance:
    path = audio if isinstance(audio, bytes) else Path(audio)
    end = None if start is None else start + 1
    return Utterance(f"u{number}", path, f"text {number}", "source", number, start, end)


ITEMS = st.lists(
    st.one_of(
        st.builds(lambda n: Reject("source", n, Problem("empty text", "none")), st.integers(0, 99)),
        st.builds(utterance, st.integers(0, 99), st.binary(max_size=3)),
        st.builds(utterance, st.integers(0, 99), st.sampled_from(["/a.wav", "/b.wav"]), st.floats(0, 9)),
    ),
    max_size=300,
)


@settings(max_examples=60, deadline=None)
@given(ITEMS)
def test_blocks_hold_every_item_in_order_and_no_recording_is_torn(items):
    blocks = list(cut_blocks(items, "settings"))
    assert [item for block in blocks for item in block.items] == items
    assert [block.number for block in blocks] == list(range(len(blocks)))
    for one, other in itertools.pairwise(blocks):
        last, first = one.items[-1], other.items[0]
        cut = [item for item in (last, first) if isinstance(item, Utterance) and item.start is not None]
        assert len(cut) < 2 or cut[0].audio != cut[1].audio
    for block in blocks:
        groups = list(block.groups())
        assert [item for group in groups for item in group] == list(block.items)
        assert len(block.items) <= MOST_ITEMS or len(groups) == 1


def test_large_audio_closes_a_block():
    items = [utterance(number, bytes(MOST_BYTES // 2 + 1)) for number in range(3)]
    assert [len(block.items) for block in cut_blocks(items, "")] == [1, 1, 1]


def test_the_name_depends_on_items_settings_and_files(tmp_path):
    file = tmp_path / "a.wav"
    file.write_bytes(b"one")
    item = utterance(0, str(file))

    def name(item=item, settings="s") -> str:
        return next(cut_blocks([item], settings)).name

    plain = name()
    assert name() == plain
    others = [name(replace(item, text="other")), name(replace(item, speaker="a")), name(settings="t")]
    others.append(name(replace(item, extra={"age": 3})))
    assert len({plain, *others}) == 5


@pytest.mark.parametrize("in_archive", [False, True])
@pytest.mark.parametrize(("content", "changed_at"), [(b"longer", 10), (b"two", 11)], ids=["size", "time"])
def test_another_content_of_a_file_gives_another_name(tmp_path, in_archive, content, changed_at):
    """A recording may be replaced by one of the same size."""
    file = tmp_path / "a"
    names = []
    for now, seconds in ((b"one", 10), (content, changed_at)):
        file.write_bytes(now)
        os.utime(file, (0, seconds))
        blocks._size_and_time.cache_clear()  # one run takes a file's size once
        audio = ArchiveMember(file, "a.wav", size=len(now)) if in_archive else file
        names.append(next(cut_blocks([replace(utterance(0), audio=audio)], "")).name)
    assert names[0] != names[1]


@pytest.mark.parametrize("num_shards", [1, 3])
def test_every_block_belongs_to_one_shard(num_shards):
    for block in cut_blocks([utterance(number) for number in range(500)], ""):
        assert [is_own_block(block.number, shard, num_shards) for shard in range(num_shards)].count(True) == 1
        assert is_own_block(block.number, None, num_shards)
