"""Audio folders with CSV or JSON metadata, split or not, in any container."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from utils.data.decoding import decode_recording
from utils.data.sources.audiofolder import read_audiofolder
from utils.data.utterance import Utterance
from utils.runtime.errors import UserError

ANYWHERE = Path("anywhere")  # audio is compared by its length


@pytest.fixture
def folder(tmp_path, texts, encoded, write_files) -> Path:
    """Metadata of both kinds: JSON lines in train, CSV in test."""
    train = [
        {"file_name": "clips/0.wav", "transcription": texts[0], "client_id": 7, "locale": "it-IT", "age": 30},
        {"file_name": "1.flac", "transcription": texts[1], "duration": 1.5, "split": "dev", "language": "??"},
        {"file_name": "1.flac", "transcription": texts[1]},
        {"file_name": None, "transcription": "x"},
        {"file_name": "2.wav", "words": "x"},
        {"file_name": "../../../2.wav", "text": "x"},
    ]
    lines = "".join(json.dumps(row) + "\n" for row in train) + "{broken\n[]\n"
    table = f'file_name,sentence,speaker,group,note\n3.mp3,"{texts[3]}, forse",anna,north,\n4.mp3,,,,\n'
    files = {"data/train/metadata.jsonl": lines, "data/test/metadata.csv": table}
    files |= {"data/train/clips/0.wav": encoded(0, "wav"), "data/train/1.flac": encoded(1, "flac")}
    files |= {"data/test/3.mp3": encoded(3, "mp3"), "data/test/4.mp3": encoded(4, "mp3")}
    return write_files(tmp_path / "folder", files | {"data/lonely.WAV": encoded(5, "wav")})


def test_audiofolder(folder, each_way, by_id, texts, clips):
    utterances, rejects = by_id(read_audiofolder(each_way(folder)))
    train, test = "data/train/metadata.jsonl", "data/test/metadata.csv"
    expected = [
        Utterance(
            id="data/train/clips/0.wav",
            audio=ANYWHERE,
            text=texts[0],
            source=train,
            position=1,
            language="it",
            speaker="7",
            split="train",
            extra={"locale": "it-IT", "age": 30},
        ),
        Utterance(
            id="data/train/1.flac",
            audio=ANYWHERE,
            text=texts[1],
            source=train,
            position=2,
            split="validation",
            extra={"original_duration": 1.5, "original_language": "??"},
        ),
        Utterance(
            id="data/test/3.mp3",
            audio=ANYWHERE,
            text=f"{texts[3]}, forse",
            source=test,
            position=2,
            speaker="anna",
            group="north",
            split="test",
        ),
    ]
    assert {id: replace(u, audio=ANYWHERE) for id, u in utterances.items()} == {u.id: u for u in expected}
    for number, utterance in zip((0, 1, 3), expected, strict=True):
        samples = decode_recording(utterances[utterance.id].audio)
        assert abs(len(samples) - len(clips[number][0])) <= 1152 * 2  # MP3 rounds up to frames of 1152
    assert sorted(rejects, key=str) == [
        ("data/lonely.WAV", "file", "no transcript"),
        (test, 3, "empty text"),
        (train, 3, "duplicate id"),
        (train, 4, "wrong type of 'file_name'"),
        (train, 5, "no transcript"),
        (train, 6, "path outside the corpus"),
        (train, 7, "bad JSON"),
        (train, 8, "bad JSON"),
    ]


def test_audiofolder_with_a_column_given(folder, by_id):
    utterances, rejects = by_id(read_audiofolder(folder, text_column_name="words"))
    assert [(u.text, u.position) for u in utterances.values()] == [("x", 5)]
    assert ("data/test/metadata.csv", 2, "no transcript") in rejects


def test_audiofolder_with_splits_of_other_names(tmp_path, write_files, by_id):
    names = ["training", "validation", "testing", "evaluation", "2", "held-out"]
    rows = [{"file_name": f"{n}.wav", "text": "x", "split": name} for n, name in enumerate(names)]
    files = {f"{n}.wav": b"x" for n in range(len(names))}
    files |= {"metadata.jsonl": "".join(json.dumps(row) + "\n" for row in rows)}
    utterances, rejects = by_id(read_audiofolder(write_files(tmp_path / "a", files)))
    assert [u.split for u in utterances.values()] == ["train", "validation", "test", "test"]
    assert rejects == [("metadata.jsonl", n, "unknown split") for n in (5, 6)]


@pytest.mark.parametrize("written", ["citt\u00e0.wav", "citta\u0300.wav"])
def test_audiofolder_names_in_another_spelling(tmp_path, write_files, by_id, packed, written):
    there = "citta\u0300.wav" if written == "citt\u00e0.wav" else "citt\u00e0.wav"
    line = json.dumps({"file_name": written, "text": "x"}) + "\n"
    folder = write_files(tmp_path / "a", {there: b"x", "metadata.jsonl": line})
    for kind in ("folder", "zip"):
        utterances, rejects = by_id(read_audiofolder(packed(folder, kind)))
        assert list(utterances) == [there] and rejects == []


def test_audiofolder_that_is_no_use(tmp_path, write_files):
    with pytest.raises(UserError, match=r"no metadata\.csv or metadata\.jsonl"):
        read_audiofolder(write_files(tmp_path / "a", {"a.wav": b"x"}))
    with pytest.raises(UserError, match="has no column file_name; found 'path', 'text'"):
        read_audiofolder(write_files(tmp_path / "b", {"metadata.csv": "path,text\n"}))
