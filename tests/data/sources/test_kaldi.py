"""Kaldi data folders with and without segments, in any container; nothing in them is ever run."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from utils.data.decoding import decode_recording
from utils.data.sources.kaldi import read_kaldi
from utils.data.utterance import Reject, Utterance
from utils.runtime.errors import UserError

ANYWHERE = Path("anywhere")


@pytest.fixture
def kaldi(tmp_path, texts, encoded, write_files) -> Path:
    """Two recordings cut into segments whose order goes back and forth, and two that are whole."""
    files = {
        "data/train/wav.scp": "rec1 wav/1.flac\nrec2\t/elsewhere/corpus/wav/2.flac\nrec3 cat x | sox - |\n",
        "data/train/segments": "a rec1 0.0 1.25\nb\trec2 0.5 1.0\nc rec1 1.5 2.0\nd rec1 2.0 1.0\n"
        "e rec9 0 1\nf rec3 0 1\ng rec1 0 -1\nh rec1 0\ni rec1 1 2\n",
        "data/train/text": f"a {texts[0]}\nb {texts[1]}\nc uno  due\nd x\ne x\nf x\ng tutto\nh x\nz x\n"
        "a di nuovo\n",
        "data/train/utt2spk": "a anna\nb bruno\nc anna\n",
        "data/train/spk2gender": "anna f\nbruno m\n",
        "data/train/utt2lang": "a it\nb Italian\n",
        "data/train/split2/1/wav.scp": "rec1 x.wav\n",
        "data/train/split2/1/text": "a x\n",
        "data/dev/wav.scp": "dev1 wav/3.wav\ndev2 wav/4.wav\ndev3 foo.ark:1234\n",
        "data/dev/text": f"dev1 {texts[3]}\ndev3 x\n",
        "data/local/wav.scp": "x y\n",
    }
    files |= {"wav/1.flac": encoded(0, "flac"), "wav/2.flac": encoded(1, "flac")}
    files |= {"data/dev/wav/3.wav": encoded(3, "wav"), "wav/4.wav": encoded(4, "wav")}
    return write_files(tmp_path / "kaldi", files)


def test_kaldi(kaldi, each_way, by_id, texts, clips):
    source = read_kaldi(each_way(kaldi))
    utterances, rejects = by_id(source)
    assert {id: replace(u, audio=ANYWHERE) for id, u in utterances.items()} == {
        "a": Utterance(
            id="a",
            audio=ANYWHERE,
            text=texts[0],
            source="data/train/text",
            position=1,
            start=0.0,
            end=1.25,
            language="it",
            speaker="anna",
            recording="rec1",
            split="train",
            extra={"gender": "f"},
        ),
        "b": Utterance(
            id="b",
            audio=ANYWHERE,
            text=texts[1],
            source="data/train/text",
            position=2,
            start=0.5,
            end=1.0,
            language="it",
            speaker="bruno",
            recording="rec2",
            split="train",
            extra={"gender": "m"},
        ),
        "c": Utterance(
            id="c",
            audio=ANYWHERE,
            text="uno due",
            source="data/train/text",
            position=3,
            start=1.5,
            end=2.0,
            speaker="anna",
            recording="rec1",
            split="train",
            extra={"gender": "f"},
        ),
        "g": Utterance("g", ANYWHERE, "tutto", "data/train/text", 7, recording="rec1", split="train"),
        "dev1": Utterance("dev1", ANYWHERE, texts[3], "data/dev/text", 1, split="validation"),
    }
    order = [item.id for item in source.items if isinstance(item, Utterance) and item.split == "train"]
    assert [id for id in order if id != "b"] == ["a", "c", "g"] and order.index("b") in (
        0,
        3,
    )  # rec1 together
    for id, number in {"a": 0, "b": 1, "dev1": 3}.items():
        assert np.abs(decode_recording(utterances[id].audio) - clips[number][0]).max() <= 1 / 32768
    assert sorted(rejects, key=str) == [
        ("data/dev/text", 2, "Kaldi archive"),
        ("data/dev/wav.scp", 2, "no transcript"),
        ("data/train/segments", 9, "no transcript"),
        ("data/train/text", 10, "duplicate id"),
        ("data/train/text", 4, "end not after start"),
        ("data/train/text", 5, "no recording"),
        ("data/train/text", 6, "command in wav.scp"),
        ("data/train/text", 8, "malformed segment"),
        ("data/train/text", 9, "no segment"),
    ]


def test_one_data_folder_has_no_split(kaldi, by_id, texts):
    utterances, _ = by_id(read_kaldi(kaldi / "data/dev"))
    assert [(u.id, u.text, u.split, u.audio) for u in utterances.values()] == [
        ("dev1", texts[3], None, kaldi / "data/dev/wav/3.wav")
    ]


def test_commands_are_not_run(tmp_path, write_files, by_id):
    commands = [
        "touch {} |",
        "| touch {}",
        "touch {} ; cat x.wav |",
        "$(touch {})",
        "`touch {}`",
        "x.wav\n|touch {}",
    ]
    marker = tmp_path / "ran"
    scp = "".join(f"u{n} {command.format(marker)}\n" for n, command in enumerate(commands))
    text = "".join(f"u{n} ciao\n" for n in range(len(commands)))
    utterances, rejects = by_id(read_kaldi(write_files(tmp_path / "k", {"wav.scp": scp, "text": text})))
    for utterance in utterances.values():
        with pytest.raises(Exception, match="no such file"):
            decode_recording(utterance.audio)
    assert not marker.exists()
    assert [kind for _, _, kind in rejects].count("command in wav.scp") == 3


def test_absolute_paths(tmp_path, encoded, write_files, packed, by_id):
    """Followed in a folder, never from within an archive."""
    outside = write_files(tmp_path / "outside", {"secret.wav": encoded(0, "wav")}) / "secret.wav"
    corpus = write_files(
        tmp_path / "k", {"wav.scp": f"u {outside}\nv ../outside/secret.wav\n", "text": "u a\nv b\n"}
    )
    utterances, _ = by_id(read_kaldi(corpus))
    assert utterances["u"].audio == outside and decode_recording(utterances["v"].audio).size
    utterances, rejects = by_id(read_kaldi(packed(corpus, "zip")))
    assert not utterances
    assert [kind for _, _, kind in rejects] == ["no such file", "path outside the corpus"]


def test_kaldi_that_is_no_use(tmp_path, write_files, by_id):
    with pytest.raises(UserError, match=r"no folder with wav\.scp and text"):
        read_kaldi(write_files(tmp_path / "a", {"wav.scp": "u x.wav\n"}))
    files = {
        "wav.scp": "u x.wav\n\udce9 y".encode("utf-8", "surrogateescape"),
        "text": b"u perch\xe9\n\xe9 ciao\n",
    }
    _, rejects = by_id(read_kaldi(write_files(tmp_path / "b", files)))
    assert [kind for _, _, kind in rejects] == [
        "broken characters in the text",
        "broken characters in the id",
    ]


def test_an_open_end_says_what_to_write(tmp_path, write_files):
    files = {"wav.scp": "rec x.wav\n", "segments": "a rec 5.0 -1\nb rec 0 -1\n", "text": "a uno\nb due\n"}
    bad, whole = read_kaldi(write_files(tmp_path / "k", files)).items
    assert isinstance(bad, Reject) and bad.problem.kind == "open end"
    assert "starts at 5 s" in str(bad.problem) and "write the length of the recording" in str(bad.problem)
    assert isinstance(whole, Utterance) and (whole.start, whole.end) == (None, None)


def test_kaldi_folders_as_csj_names_them(tmp_path, write_files, by_id):
    names = ("train", "dev", "eval1", "eval2", "meetings")
    files = {f"{name}/wav.scp": f"{name} x.wav\n" for name in names}
    files |= {f"{name}/text": f"{name} ciao\n" for name in names}
    source = read_kaldi(write_files(tmp_path / "csj", files))
    utterances, _ = by_id(source)
    assert {id: u.split for id, u in utterances.items()} == {
        "train": "train", "dev": "validation", "eval1": "test", "eval2": "test", "meetings": None,
    }  # fmt: skip
    assert source.notes == ("meetings: not the name of a split, so counted as train.",)
    assert read_kaldi(tmp_path / "csj/eval1").notes == ()  # nothing there has a split
