"""Readers: every good item becomes an utterance, every bad one a reject with its place and reason."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from utils.errors import UserError
from utils.hub import read_hub
from utils.sources import read_folder, read_manifest, read_prompts
from utils.utterances import Reject, Source, Utterance, split_name, whisper_language


def write_wav(path: Path, seconds: float = 1.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(round(seconds * 16000)) / 16000
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * 220 * time), 16000)
    return path


def write_manifest(folder: Path, lines: list[dict | str | bytes]) -> Path:
    encoded = [
        line if isinstance(line, bytes) else (line if isinstance(line, str) else json.dumps(line)).encode()
        for line in lines
    ]
    path = folder / "corpus.jsonl"
    path.write_bytes(b"\n".join(encoded) + b"\n")
    return path


def parts(source: Source) -> tuple[list[Utterance], list[Reject]]:
    items = list(source.items)
    assert len(items) == source.total
    return [i for i in items if isinstance(i, Utterance)], [i for i in items if isinstance(i, Reject)]


GOOD = {"audio": "a.wav", "text": "ciao"}


def test_manifest_keeps_everything_it_is_given(tmp_path):
    line = {"audio": "clips/a.wav", "text": " Ciao  bella ", "start": 1, "end": 2.5, "language": "it"}
    line |= {
        "speaker": 7,
        "group": "north",
        "split": "dev",
        "age": 30,
        "device": "phone",
        "tags": ["a"],
        "id": "x",
    }
    utterances, rejects = parts(read_manifest(write_manifest(tmp_path, [line])))
    assert not rejects
    assert utterances == [
        Utterance(
            id="corpus-000001",
            audio=tmp_path / "clips/a.wav",
            text="Ciao bella",
            source=str(tmp_path / "corpus.jsonl"),
            position=1,
            start=1.0,
            end=2.5,
            language="it",
            speaker="7",
            group="north",
            split="validation",
            extra={"age": 30, "device": "phone", "tags": '["a"]', "original_id": "x"},
        )
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{not json", "bad JSON"),
        ("[" * 100_000, "bad JSON"),
        ('["a list"]', "bad JSON: found a list"),
        (b'{"audio": "a.wav", "text": "\xff"}', "not UTF-8"),
        ({"text": "ciao"}, "missing key 'audio'"),
        ({"audio": "a.wav"}, "missing key 'text': found 'audio'"),
        (GOOD | {"audio": 3}, "wrong type of 'audio'"),
        (GOOD | {"audio": ""}, "empty audio path"),
        (GOOD | {"text": None}, "wrong type of 'text'"),
        (GOOD | {"text": "  \t"}, "empty text"),
        (GOOD | {"text": "ciao <|endoftext|>"}, "control token"),
        ('{"audio": "a.wav", "text": "\\ud800"}', "broken characters"),
        (GOOD | {"start": 1.0}, "start without end"),
        (GOOD | {"end": 1.0}, "end without start"),
        (GOOD | {"start": 2.0, "end": 1.0}, "end not after start"),
        (GOOD | {"start": "1", "end": 2}, "wrong type of 'start'"),
        (GOOD | {"start": True, "end": 2}, "wrong type of 'start'"),
        (GOOD | {"start": -1, "end": 2}, "time out of range"),
        ('{"audio": "a.wav", "text": "a", "start": 0, "end": NaN}', "time out of range"),
        ('{"audio": "a.wav", "text": "a", "start": 0, "end": 1' + "0" * 400 + "}", "time out of range"),
        (GOOD | {"language": "xx"}, "unknown language: 'xx'"),
        (GOOD | {"language": "Italian"}, "unknown language: 'Italian', write 'it'"),
        (GOOD | {"language": 3}, "wrong type of 'language'"),
        (GOOD | {"split": "sometimes"}, "unknown split"),
        (GOOD | {"speaker": ["a"]}, "wrong type of 'speaker'"),
    ],
)
def test_bad_manifest_lines(tmp_path, line, reason):
    path = write_manifest(tmp_path, [GOOD, "", line, GOOD])
    utterances, rejects = parts(read_manifest(path))
    assert [u.position for u in utterances] == [1, 4]
    assert [(r.source, r.position) for r in rejects] == [(str(path), 3)]
    assert rejects[0].reason.startswith(reason)


def test_manifest_lines_of_one_recording_come_together(tmp_path):
    cut = [{"audio": f"{name}.wav", "text": "x", "start": n, "end": n + 1} for n, name in enumerate("abab")]
    utterances, _ = parts(read_manifest(write_manifest(tmp_path, [*cut, GOOD])))
    assert [u.position for u in utterances] == [1, 3, 2, 4, 5]


def test_types_of_manifest_columns(tmp_path):
    rows = [{"n": 1, "x": 1, "m": 1, "b": True}, {"n": 2, "x": 0.5, "m": "two", "b": False}]
    source = read_manifest(write_manifest(tmp_path, [GOOD | row for row in rows]))
    assert source.extra_types == {"n": int, "x": float, "m": str, "b": bool}


def test_manifest_that_is_no_use(tmp_path):
    with pytest.raises(UserError, match="no such manifest"):
        read_manifest(tmp_path / "no.jsonl")
    with pytest.raises(UserError, match=r"no usable utterance.*2 × missing key 'text'.*corpus\.jsonl, 1"):
        read_manifest(write_manifest(tmp_path, [{"audio": "a"}, {"audio": "b"}, "{"]))
    with pytest.raises(UserError, match=r"no usable utterance\. It holds no items"):
        read_manifest(write_manifest(tmp_path, []))


def folder_parts(folder: Path) -> tuple[list[Utterance], list[Reject]]:
    return parts(read_folder(folder, min_segment_duration=0.5, max_duration=30.0))


def test_folder_of_plain_and_timed_texts(tmp_path):
    write_wav(tmp_path / "train/a.wav")
    (tmp_path / "train/a.txt").write_text("\ufeffCiao\nbella\n", encoding="utf-8")
    write_wav(tmp_path / "test/deep/b.flac", 5)
    (tmp_path / "test/deep/b.txt").write_text("0\t1\tuno\n1 2 due\n2\t1\ttre\n3\t4\tquattro\tcinque\n")
    utterances, rejects = folder_parts(tmp_path)
    assert [(u.id, u.text, u.start, u.end, u.split) for u in utterances] == [
        ("test/deep/b_segment_000", "uno", 0.0, 1.0, "test"),
        ("test/deep/b_segment_001", "quattro cinque", 3.0, 4.0, "test"),
        ("train/a", "Ciao bella", None, None, "train"),
    ]
    assert [(r.source, r.position, r.kind) for r in rejects] == [
        ("test/deep/b.txt", 2, "malformed line"),
        ("test/deep/b.txt", 3, "end not after start"),
    ]


def test_folder_says_what_stands_alone(tmp_path):
    for name in ("good.wav", "good.flac", "mute.wav", "empty.wav", "latin.wav"):
        write_wav(tmp_path / name)
    (tmp_path / "good.txt").write_text("ciao")
    (tmp_path / "empty.txt").write_text(" \n")
    (tmp_path / "latin.txt").write_bytes(b"perch\xe9")
    (tmp_path / "lonely.txt").write_text("ciao")
    (tmp_path / ".hidden.wav").write_bytes(b"x")
    utterances, rejects = folder_parts(tmp_path)
    assert [u.audio.name for u in utterances if isinstance(u.audio, Path)] == ["good.flac"]
    assert {(r.source, r.kind) for r in rejects} == {
        ("good.wav", "two recordings of one stem"),
        ("mute.wav", "no transcript"),
        ("empty.txt", "empty text"),
        ("latin.txt", "unreadable transcript"),
        ("lonely.txt", "no recording"),
    }


def test_folder_that_is_no_use(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        folder_parts(tmp_path / "no")
    with pytest.raises(UserError, match=r"no audio and no \.txt"):
        folder_parts(tmp_path)
    write_wav(tmp_path / "a.wav")
    with pytest.raises(UserError, match=r"no usable utterance.*no transcript"):
        folder_parts(tmp_path)


def test_prompts(tmp_path):
    for key in ("hello", "digits/1", "beep", "tones", "silence/1", "unlisted", "muted", "bye"):
        (tmp_path / key).parent.mkdir(exist_ok=True)
        (tmp_path / f"{key}.g722").write_bytes(b"x")
    transcripts = [("hello", "Ciao [!] (in inglese)."), ("digits/1", "uno"), ("lost", "Perso")]
    transcripts += [("muted", "Muto. bye: Ciao. hello: Ciao."), ("bye", "bye: A dopo: ciao.")]
    transcripts += [("beep", "un suono beep"), ("tones", "[toni]")]
    transcripts += [("silence/1", "1 second of silence")]
    source = read_prompts(tmp_path, transcripts, credit="Someone, CC BY")
    utterances, rejects = parts(source)
    assert [(u.id, u.text, u.audio) for u in utterances] == [
        ("hello", "Ciao .", tmp_path / "hello.g722"),
        ("digits/1", "uno", tmp_path / "digits/1.g722"),
        ("bye", "A dopo: ciao.", tmp_path / "bye.g722"),
    ]
    assert {(r.source, r.kind) for r in rejects} == {
        ("beep.g722", "no speech"),
        ("tones.g722", "no speech"),
        ("muted.g722", "faulty transcript"),
        ("silence/1.g722", "no speech"),
        ("lost.g722", "no recording"),
        ("unlisted.g722", "no transcript"),
    }
    assert source.credit == "Someone, CC BY"


@pytest.fixture
def audio_folder(tmp_path) -> Path:
    """An audio folder as the Hub has them: splits, metadata.jsonl, named columns."""
    folder = tmp_path / "audio_folder"
    for split in ("train", "test"):
        rows = []
        for n in range(3):
            write_wav(folder / split / f"{n}.wav")
            rows.append(
                {"file_name": f"{n}.wav", "transcription": f"frase {n}", "client_id": f"s{n}", "age": n}
            )
        rows[1]["transcription"] = "  "
        text = "".join(json.dumps(row | {"locale": "sv-SE"}) + "\n" for row in rows)
        (folder / split / "metadata.jsonl").write_text(text)
    return folder


def test_hub_reads_an_audio_folder(audio_folder, tmp_path):
    source = read_hub(str(audio_folder), local_cache=tmp_path / "cache")
    utterances, rejects = parts(source)
    assert [(u.text, u.split, u.speaker, u.language) for u in utterances] == [
        ("frase 0", "train", "s0", "sv"),
        ("frase 2", "train", "s2", "sv"),
        ("frase 0", "test", "s0", "sv"),
        ("frase 2", "test", "s2", "sv"),
    ]
    assert utterances[0].extra == {"age": 0, "locale": "sv-SE"}
    assert source.extra_types == {"age": int, "locale": str}
    assert Path(str(utterances[0].audio)).is_file()
    assert [(r.source, r.position, r.kind) for r in rejects] == [
        (f"{audio_folder}:train", 1, "empty text"),
        (f"{audio_folder}:test", 1, "empty text"),
    ]


def test_hub_reads_bytes_paths_and_saved_datasets(audio_folder, tmp_path):
    from datasets import Dataset, DatasetDict

    raw = (audio_folder / "train/0.wav").read_bytes()
    parquet = tmp_path / "parquet"
    parquet.mkdir()
    rows = {"audio": [{"bytes": raw, "path": "a.wav"}] * 2, "sentence": ["uno", None]}
    Dataset.from_dict(rows).to_parquet(parquet / "train.parquet")
    utterances, rejects = parts(read_hub(str(parquet), local_cache=tmp_path / "cache"))
    assert [u.audio for u in utterances] == [raw] and rejects[0].kind == "wrong type of 'sentence'"

    csv = tmp_path / "csv"
    csv.mkdir()
    (csv / "dev.csv").write_text("path,sentence\n../audio_folder/train/0.wav,uno\n,due\n")
    utterances, rejects = parts(read_hub(str(csv), local_cache=tmp_path / "cache"))
    assert [u.audio for u in utterances] == [csv / "../audio_folder/train/0.wav"]
    assert rejects[0].kind == "no audio"

    DatasetDict({"dev": Dataset.from_dict({"audio": [raw], "text": ["uno"]})}).save_to_disk(
        tmp_path / "saved"
    )
    utterances, _ = parts(read_hub(str(tmp_path / "saved"), local_cache=tmp_path / "cache"))
    assert [(u.audio, u.text, u.split) for u in utterances] == [(raw, "uno", "validation")]


def test_hub_names_the_columns_it_found(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "train.csv").write_text("path,words\na.wav,ciao\n")
    with pytest.raises(UserError, match=r"no text column.*found path, words.*--text_column_name"):
        read_hub(str(folder), local_cache=tmp_path / "cache")
    with pytest.raises(UserError, match=r"no column 'lyrics'; found path, words"):
        read_hub(str(folder), text_column="lyrics", local_cache=tmp_path / "cache")
    with pytest.raises(UserError, match=r"no column 'sound'.*--audio_column_name"):
        read_hub(str(folder), text_column="words", audio_column="sound", local_cache=tmp_path / "cache")
    utterances, _ = parts(read_hub(str(folder), text_column="words", local_cache=tmp_path / "cache"))
    assert [u.text for u in utterances] == ["ciao"]


def test_hub_input_that_is_no_use(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        read_hub(str(tmp_path / "no"), local_cache=tmp_path / "cache")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="datasets cannot load it"):
        read_hub(str(tmp_path / "empty"), local_cache=tmp_path / "cache")


def test_hub_leaves_datasets_as_it_was(audio_folder, tmp_path):
    from datasets import Audio

    before = Audio.encode_example
    read_hub(str(audio_folder), local_cache=tmp_path / "cache")
    assert Audio.encode_example is before


def test_split_names():
    names = [
        "train",
        "dev",
        "Valid",
        "val",
        "eval",
        "test.clean",
        "train-360",
        "validated",
        "other",
        "testing",
    ]
    assert [split_name(name) for name in names] == [
        "train", "validation", "validation", "validation", "validation", "test", "train", None, None, None,
    ]  # fmt: skip


def test_whisper_language():
    names = ["it", "IT", "Italian", "sv-SE", "zh_CN", "isizulu", ""]
    assert [whisper_language(name) for name in names] == ["it", "it", "it", "sv", "zh", None, None]
