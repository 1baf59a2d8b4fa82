"""utils/delivery/inputs.py: which files the words name, each once, and names for their transcripts."""

import io
import itertools
import json
import os
import sys
from pathlib import Path, PurePath
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.delivery import inputs
from utils.delivery.inputs import GivenFile, find_given_files
from utils.runtime.errors import UserError


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def touch(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"RIFF")


def found(*words: str) -> dict[str, str]:
    """Paths and the stems of their transcripts."""
    return {str(file.path): str(file.stem) for file in find_given_files(words)}


def message_of(*words: str) -> str:
    with pytest.raises(UserError) as caught:
        find_given_files(words)
    return str(caught.value)


# ---- what the words name -----------------------------------------------------------------------------------


def test_a_file_is_given_by_its_name_whatever_its_extension(here):
    touch("talk.xyz", "no_extension", ".wav", "a.b.wav")
    names = {"talk.xyz": "talk", "no_extension": "no_extension", ".wav": ".wav", "a.b.wav": "a.b"}
    assert found(*names) == names


def test_a_folder_is_searched_below_for_known_extensions_and_keeps_its_folders(here):
    touch("in/b.wav", "in/x/y/a.MP4", "in/x/notes.txt", "in/.hidden.wav", "in/.cache/a.wav")
    assert found("in") == {"in/b.wav": "b", "in/x/y/a.MP4": "x/y/a"}


def test_patterns_name_files_and_folders_in_order(here):
    touch("a2.wav", "a1.wav", "b.wav", "deep/er/c.wav", "a3/d.wav")
    assert list(found("a*")) == ["a1.wav", "a2.wav", "a3/d.wav"]
    assert list(found("**/c.wav")) == ["deep/er/c.wav"]
    assert list(found(str(here / "b.*"))) == [str(here / "b.wav")]


def test_a_name_like_a_pattern_is_first_a_name(here):
    touch("talk[1].wav", "talk1.wav", "-rf", "~odd.wav")
    assert list(found("talk[1].wav")) == ["talk[1].wav"]
    assert list(found("-rf", "~odd.wav")) == ["-rf", "~odd.wav"]


def test_home_is_expanded_where_no_shell_has_done_so(here, monkeypatch):
    monkeypatch.setenv("HOME", str(here))
    touch("a.wav")
    assert list(found("~/a.wav")) == [str(here / "a.wav")]


def test_standard_input_is_read_from_there(monkeypatch):
    (file,) = find_given_files(["-"])
    assert (str(file.stem), file.state) == ("stdin", None)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"RIFF1234")))
    assert file.read() == b"RIFF1234"


def test_standard_input_has_a_limit(monkeypatch):
    monkeypatch.setattr(inputs, "MOST_BYTES", 8)
    for size in (8, 9):
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(bytes(size))))
        (file,) = find_given_files(["-"])
        if size == 8:
            assert file.read() == bytes(8)
    with pytest.raises(UserError, match="standard input: over"):
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(bytes(9))))
        file.read()


def test_a_path_is_read_by_its_name(here):
    touch("a.wav")
    assert [file.read() for file in find_given_files(["a.wav"])] == [Path("a.wav")]


# ---- a manifest --------------------------------------------------------------------------------------------


def write_manifest(path: str, *lines: dict | str, encoding: str = "utf-8") -> str:
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text("\n".join(texts), encoding=encoding)
    return path


def test_a_manifest_names_files_from_its_own_folder_and_their_languages(here):
    touch("sub/a.wav", "b.wav")
    rows = [
        {"audio": "a.wav", "language": "it", "text": "x"},
        "",
        {"audio": "../b.wav"},
        {"audio": str(here / "c.wav")},
    ]
    write_manifest("sub/list.jsonl", *rows)
    files = find_given_files(["sub/list.jsonl"])
    assert [(str(file.path), str(file.stem), file.language) for file in files] == [
        ("sub/a.wav", "a", "it"),
        ("sub/../b.wav", "b", None),
        (str(here / "c.wav"), "c", None),  # missing: it fails when it is read, as any broken file
    ]


def test_lines_of_the_same_recording_are_one_file(here):
    write_manifest(
        "list.jsonl", {"audio": "a.wav", "start": 0, "end": 1}, {"audio": "a.wav", "start": 1, "end": 2}
    )
    assert list(found("list.jsonl")) == ["a.wav"]


def test_a_manifest_may_begin_with_a_mark_of_its_encoding(here):
    write_manifest("list.JSONL", {"audio": "a.wav"}, encoding="utf-8-sig")
    assert list(found("list.JSONL")) == ["a.wav"]


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[1]",
        '"a.wav"',
        "null",
        "{}",
        '{"audio": 3}',
        '{"audio": ""}',
        '{"audio": null}',
        '{"audio": "a.wav", "language": 3}',
        '{"audio": "\\ud800.wav"}',
        '{"audio": "a.wav", "x": ' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"audio": "a.wav", "x": ' + "9" * 5_000 + "}",
    ],
    ids=lambda line: line[:30],
)
def test_a_bad_line_is_told_with_its_number(here, line):
    write_manifest("list.jsonl", {"audio": "a.wav"}, "", line)
    told = message_of("list.jsonl")
    assert told.startswith("list.jsonl: line 3: expected") and len(told) < 200


# ---- nothing there -----------------------------------------------------------------------------------------


def test_all_that_is_not_there_is_told_at_once(here):
    touch("a.wav", "texts/a.txt")
    told = message_of("b.wav", "a.wav", "c*.wav", "texts")
    assert "b.wav: no such file" in told and "c*.wav: no such file" in told
    assert "texts: no file with the extension of an audio" in told and "a.wav: no" not in told


@pytest.mark.parametrize(
    ("word", "expected"),
    [("", "empty name"), ("a" * 300, "File name too long"), ("~nobody/a.wav", "~nobody/a.wav: no such file")],
)
def test_words_that_cannot_be_names(here, word, expected):
    touch("a.wav")
    told = message_of(word)
    assert expected in told and len(told) < 300


# ---- each once, and names for transcripts ------------------------------------------------------------------


def test_a_file_that_is_given_several_times_is_done_once(here):
    touch("in/a.wav", "other/b.wav")
    Path("link").symlink_to("in", target_is_directory=True)
    write_manifest("other/list.jsonl", {"audio": "../in/a.wav", "language": "it"})
    words = [
        "in/a.wav",
        "./in/a.wav",
        "in",
        "in/*.wav",
        str(here / "in/a.wav"),
        "other/../in/a.wav",
        "link/a.wav",
    ]
    assert list(found(*words, "other/list.jsonl")) == ["in/a.wav"]
    (file,) = find_given_files(["other/list.jsonl", "in"])
    assert file.language == "it"  # the first one counts


def test_clashing_names_get_their_extension_and_then_a_number(here):
    names = ["x/a.wav", "x/a.mp3", "y/A.wav", "z/a.wav", "b.wav"]
    touch(*names)
    assert found(*names) == {
        "x/a.wav": "a.wav",
        "x/a.mp3": "a.mp3",
        "y/A.wav": "A.wav-2",
        "z/a.wav": "a.wav-3",
        "b.wav": "b",
    }


def test_a_stem_that_was_made_is_not_taken_by_another_file(here):
    names = ["x/a.wav", "y/a.wav", "a.wav-2.mp3"]
    touch(*names)
    stems = list(found(*names).values())
    assert len({stem.casefold() for stem in stems}) == 3


@pytest.mark.parametrize("name", ["..wav", "...wav", "....mp3", ". .wav"])
def test_no_name_leads_out_of_the_folder_for_results(here, name):
    touch(name, "sub/a.wav")
    for stem in found(name, "sub/../" + name, "sub/../sub/a.wav").values():
        assert ".." not in PurePath(stem).parts and PurePath(stem).name and not PurePath(stem).is_absolute()


def test_long_names_leave_room_for_extensions(here):
    names = ["l" * 251 + ".wav", "l" * 250 + "m.wav", "in/" + "è" * 125 + ".wav"]
    touch(*names)
    stems = list(found(names[0], names[1], "in").values())
    assert len(set(stems)) == 3
    assert all(len(os.fsencode(stem)) < 230 for stem in stems) and stems[2] == "è" * 100


NAMES = st.sampled_from(
    ["a.wav", "A.wav", "a.mp3", "a.wav.mp3", "a", "à.wav", "a.wav-2.flac", "..wav", "b.wav"]
)


@settings(max_examples=100, deadline=None)
@given(st.sets(st.tuples(st.sampled_from(["x", "y", "x/z"]), NAMES), min_size=1))
def test_all_stems_differ_also_without_case_and_depend_on_nothing_else(places):
    paths = [Path(folder, name) for folder, name in sorted(places)]
    files = [GivenFile(path, inputs._named(path).stem) for path in paths]
    named = inputs._with_names_of_their_own(files)
    assert [file.path for file in named] == paths
    folded = [str(file.stem).casefold() for file in named]
    assert len(set(folded)) == len(folded)
    assert all(len(file.stem.parts) == 1 for file in named)
    for one, other in itertools.combinations(named, 2):  # nor does one become a folder of the other
        assert one.stem not in other.stem.parents


# ---- state -------------------------------------------------------------------------------------------------


def test_the_state_of_a_file_changes_with_its_bytes_and_its_time(here):
    touch("a.wav")
    os.utime("a.wav", ns=(1, 1))

    def state():
        return find_given_files(["a.wav"])[0].state

    first = state()
    assert first == (str(here / "a.wav"), 4, 1)
    os.utime("a.wav", ns=(2, 2))
    assert state() != first
    Path("a.wav").write_bytes(b"RIFFX")
    os.utime("a.wav", ns=(1, 1))
    assert state() != first


def test_no_state_of_what_cannot_be_looked_at(here):
    write_manifest("list.jsonl", {"audio": "missing.wav"}, {"audio": "nul\0.wav"}, {"audio": "a/" * 5_000})
    assert [file.state for file in find_given_files(["list.jsonl"])] == [None] * 3
