"""What `datasets` reads: its columns are found or named, good rows become utterances."""

import json
from collections import Counter
from pathlib import Path

import pytest

from tests.support.small_corpora import parts, write_wav
from utils.data.sources.hub import read_hub
from utils.runtime.errors import UserError


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
    assert Path(str(utterances[0].audio)).is_file()
    assert [(r.source, r.position, r.problem.kind) for r in rejects] == [
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
    assert [u.audio for u in utterances] == [raw] and rejects[0].problem.kind == "wrong type of 'sentence'"

    csv = tmp_path / "csv"
    csv.mkdir()
    (csv / "dev.csv").write_text(f"path,sentence\n{audio_folder}/train/0.wav,uno\n,due\n")
    utterances, rejects = parts(read_hub(str(csv), local_cache=tmp_path / "cache"))
    assert [u.audio for u in utterances] == [audio_folder / "train/0.wav"]
    assert rejects[0].problem.kind == "no audio"

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
        read_hub(str(folder), text_column_name="lyrics", local_cache=tmp_path / "cache")
    with pytest.raises(UserError, match=r"no column 'sound'.*--audio_column_name"):
        read_hub(
            str(folder), text_column_name="words", audio_column_name="sound", local_cache=tmp_path / "cache"
        )
    utterances, _ = parts(read_hub(str(folder), text_column_name="words", local_cache=tmp_path / "cache"))
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


def test_a_hub_dataset_with_validation_and_eval(tmp_path):
    from datasets import Dataset, DatasetDict

    rows = Dataset.from_dict({"audio": [b"a", b"b"], "text": ["uno", "due"]})
    DatasetDict(dict.fromkeys(("train", "validation", "eval", "news"), rows)).save_to_disk(tmp_path / "saved")
    source = read_hub(str(tmp_path / "saved"), local_cache=tmp_path / "cache")
    utterances, _ = parts(source)
    assert Counter(u.split for u in utterances) == {"train": 2, "validation": 2, "test": 2}
    assert source.notes == ("Splits not read: news.",)
