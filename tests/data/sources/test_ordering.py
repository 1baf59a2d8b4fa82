"""Utterances come back whole from the disk, those of one recording together, those of a tar in its order."""

from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from utils.data.archives.members import ArchiveMember
from utils.data.archives.tree import open_tree
from utils.data.sources.ordering import in_archive_order, recordings_together
from utils.data.utterance import Reject, TimedText, Utterance
from utils.runtime.problems import Problem

FULL = Utterance(
    id="é\u2028",
    audio=Path("b\udcff.wav"),  # a name that is no UTF-8
    text="Ciao.",
    source="t",
    position=3,
    start=0.1,
    end=1 / 3,
    language="it",
    speaker="s",
    group="g",
    recording="r",
    split="train",
    segments=(TimedText(0.0, 0.2, "Ciao."),),
    previous_text="Ecco.",
    extra={"n": 1, "x": 0.1, "b": True, "s": "ü"},
)


def test_nothing_is_lost_on_the_way():
    member = ArchiveMember(Path("a.zip"), "x.wav", 10, 20, "", 15, True, 99)
    items = [FULL, replace(FULL, audio=member), replace(FULL, audio=Path("c"), position="file")]
    assert list(recordings_together(items)) == items


def test_rejects_whole_files_and_bytes_go_first():
    whole = replace(FULL, start=None, end=None)
    loaded = replace(FULL, audio=ArchiveMember(Path("a.tgz"), "x", 0, 1, "gz", data=b"x"))
    reject = Reject("t", 1, Problem("empty text", "x"))
    found = list(recordings_together([FULL, reject, whole, loaded, replace(FULL, audio=b"x")]))
    assert found == [reject, whole, loaded, replace(FULL, audio=b"x"), FULL]
    assert found[2].audio.data == b"x"


@given(st.lists(st.sampled_from("abcd"), max_size=12))
def test_recordings_together(names):
    items = [replace(FULL, audio=Path(name), position=place) for place, name in enumerate(names)]
    expected = [(name, place) for name in dict.fromkeys(names) for place, n in enumerate(names) if n == name]
    assert [(str(u.audio), u.position) for u in recordings_together(items)] == expected


def test_in_archive_order(tmp_path, write_files, packed):
    content = {f"{number}.wav": bytes([number]) * 1000 for number in range(4)}
    tars = [packed(write_files(tmp_path / name, content), "tar.gz") for name in ("one", "two")]
    trees = {path: open_tree(path) for path in tars}
    wanted = [(tars[1], 0), (tars[0], 2), (tars[1], 3), (tars[0], 2), (tars[0], 1)]
    items = [
        replace(FULL, audio=trees[path].audio(f"{number}.wav"), position=place)
        for place, (path, number) in enumerate(wanted)
    ]
    plain, reject = replace(FULL, position=9), Reject("t", 1, Problem("empty text", "x"))
    found = list(in_archive_order([items[0], reject, *items[1:], plain]))
    assert found[:2] == [reject, plain]
    # the tars hold their files from the last to the first
    assert [u.position for u in found[2:]] == [1, 3, 4, 2, 0]
    assert [u.audio.data for u in found[2:]] == [content[f"{n}.wav"] for n in (2, 2, 1, 3, 0)]
