"""Streamed rows are those that are read otherwise, fetched one by one, with the same ids."""

import io
import itertools
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from utils.data.decoding import decode_recording
from utils.data.sources import hub_rows
from utils.data.sources.hub import read_hub
from utils.data.utterance import Utterance
from utils.runtime.errors import UserError
from utils.runtime.problems import BadItem


@pytest.fixture
def audio_folder(tmp_path, texts, encoded, write_files) -> Path:
    files: dict[str, str | bytes] = {}
    for split, numbers in {"train": (0, 1, 2), "test": (3, 4)}.items():
        rows = [
            {"file_name": f"{n}.wav", "transcription": texts[n], "age": n, "locale": "it"} for n in numbers
        ]
        rows[1]["transcription"] = " "
        files[f"{split}/metadata.jsonl"] = "".join(json.dumps(row) + "\n" for row in rows)
        files |= {f"{split}/{n}.wav": encoded(n, "wav") for n in numbers}
    return write_files(tmp_path / "audio_folder", files)


@pytest.fixture
def parquet(tmp_path, texts, encoded) -> Path:
    """Bytes in an `audio` column, as datasets of the Hub mostly hold them, in two shards a split."""
    from datasets import Audio, ClassLabel, Dataset, Features, Value

    stored = {"bytes": Value("binary"), "path": Value("string")}
    columns = {"audio": stored, "sentence": Value("string"), "gender": ClassLabel(names=["f", "m"])}
    for split, shard, numbers in [("train", 0, (0, 1)), ("train", 1, (2,)), ("validation", 0, (3,))]:
        rows = [
            {
                "audio": {"bytes": encoded(n, "flac"), "path": f"{n}.flac"},
                "sentence": texts[n],
                "gender": n % 2,
            }
            for n in numbers
        ]
        path = tmp_path / f"parquet/data/{split}-{shard:05d}-of-00002.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        table = Dataset.from_list(rows, features=Features(columns))
        table.cast_column("audio", Audio(decode=False)).to_parquet(path)
    return tmp_path / "parquet"


@pytest.fixture
def csv_folder(audio_folder, tmp_path, texts, write_files) -> Path:
    """A table of which a stream knows the columns only from its first row."""
    rows = f"{audio_folder}/train/0.wav,{texts[0]}\n,x\n"
    return write_files(tmp_path / "csv", {"train.csv": f"path,sentence\n{rows}"})


def comparable(items: list) -> list:
    """Audio as its samples: a file that was copied to a cache is the same file."""
    return [
        (replace(item, audio=Path()), decode_recording(item.audio).tobytes())
        if isinstance(item, Utterance)
        else item
        for item in items
    ]


@pytest.mark.parametrize("corpus", ["audio_folder", "parquet", "csv_folder"])
def test_a_stream_gives_what_a_table_gives(corpus, request, tmp_path):
    folder = request.getfixturevalue(corpus)
    table = read_hub(str(folder), local_cache=tmp_path / "cache")
    stream = read_hub(str(folder), local_cache=tmp_path / "other", streaming=True)
    found = list(stream.items)
    assert comparable(found) == comparable(list(table.items))
    assert comparable(list(stream.items)) == comparable(found)  # and again
    assert table.total == len(found) and stream.total is None
    assert not any((tmp_path / "other").rglob("*.arrow"))  # nothing is kept on disk


def test_what_a_stream_gives(audio_folder, tmp_path, texts, clips):
    items = list(read_hub(str(audio_folder), local_cache=tmp_path / "cache", streaming=True).items)
    assert [item.position for item in items] == [0, 1, 2, 0, 1]
    first, empty, third, fourth, last = items
    assert (first.id, first.text, first.language, first.split) == ("train-000000", texts[0], "it", "train")
    assert first.extra == {"age": 0, "locale": "it"} and first.source == f"{audio_folder}:train"
    assert (empty.problem.kind, last.problem.kind) == ("empty text", "empty text")
    assert (third.id, fourth.id, fourth.split) == ("train-000002", "test-000000", "test")
    assert np.abs(decode_recording(fourth.audio) - clips[3][0]).max() <= 1 / 32768


def test_class_labels_of_a_stream(parquet, tmp_path):
    items = list(read_hub(str(parquet), local_cache=tmp_path / "cache", streaming=True).items)
    assert [item.extra["gender"] for item in items] == ["f", "m", "f", "m"]
    assert [item.id for item in items] == [
        "train-000000",
        "train-000001",
        "train-000002",
        "validation-000000",
    ]


def test_columns_of_a_stream_are_found_or_given(csv_folder, tmp_path, texts):
    options = {"local_cache": tmp_path / "cache", "streaming": True}
    assert (
        next(iter(read_hub(str(csv_folder), text_column_name="sentence", **options).items)).text == texts[0]
    )
    with pytest.raises(UserError, match=r"no column 'lyrics'; found path, sentence"):
        read_hub(str(csv_folder), text_column_name="lyrics", **options)
    (csv_folder / "train.csv").write_text("sound,words\nx,y\n")
    with pytest.raises(UserError, match=r"no text column recognised; found sound, words.*--text_column_name"):
        read_hub(str(csv_folder), **options)


def endless_rows(counter: list[int], data: bytes):
    for number in itertools.count():
        counter.append(number)
        yield {"audio": data, "text": f"frase {number}"}


def test_a_stream_holds_one_row_at_a_time(monkeypatch, tmp_path, encoded):
    import datasets

    asked: list[int] = []
    given = {"counter": asked, "data": encoded(1, "wav")}
    endless = datasets.IterableDataset.from_generator(endless_rows, gen_kwargs=given)
    endless = endless.cast(
        datasets.Features({"audio": datasets.Value("binary"), "text": datasets.Value("string")})
    )
    whole = datasets.IterableDatasetDict({"train": endless})
    monkeypatch.setattr(datasets, "load_dataset", lambda *args, **options: whole)
    source = read_hub("someone/something", local_cache=tmp_path, streaming=True)
    assert not asked
    taken = list(itertools.islice(source.items, 5))
    assert [item.text for item in taken] == [f"frase {number}" for number in range(5)]
    assert taken[4].id == "train-000004" and source.total is None


def broken_rows():
    yield {"audio": b"x", "text": "uno"}
    raise ConnectionError("the line is dead")


def test_a_stream_that_breaks_off(monkeypatch, tmp_path):
    import datasets

    rows = datasets.IterableDataset.from_generator(broken_rows)
    monkeypatch.setattr(datasets, "load_dataset", lambda *args, **options: {"train": rows})
    items = iter(read_hub("someone/something", local_cache=tmp_path, streaming=True).items)
    assert next(items).text == "uno"
    with pytest.raises(
        UserError, match=r"cannot read the next row \(ConnectionError\): the line is dead\. .*Try again"
    ):
        next(items)


def test_a_saved_dataset_needs_no_stream(parquet, tmp_path):
    from datasets import load_dataset

    load_dataset(str(parquet), cache_dir=str(tmp_path / "cache")).save_to_disk(str(tmp_path / "saved"))
    source = read_hub(str(tmp_path / "saved"), local_cache=tmp_path / "other", streaming=True)
    assert source.total == 4 and len(list(source.items)) == 4


def test_audio_that_a_row_only_names(monkeypatch, encoded, clips):
    """`memory://` stands in for the Hub: the same file system interface without a network."""
    import fsspec

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("in/1.flac", encoded(1, "flac"))
    with fsspec.open("memory://corpus/0.flac", "wb") as file:
        file.write(encoded(0, "flac"))
    with fsspec.open("memory://corpus/a.zip", "wb") as file:
        file.write(buffer.getvalue())
    names = ["memory://corpus/0.flac", "zip://in/1.flac::memory://corpus/a.zip"]
    for name in [*names, "https://example.org/a.wav", "file:///etc/hostname", "zip://a::/etc/b.zip"]:
        with pytest.raises(BadItem, match=r"no audio: found the address .*, expected one of hf://"):
            hub_rows._row_audio(name, None)
    monkeypatch.setattr(hub_rows, "_REMOTE", ("memory://",))
    for number, name in enumerate(names):
        samples = decode_recording(hub_rows._row_audio({"bytes": None, "path": name}, None))
        assert np.abs(samples - clips[number][0]).max() <= 1 / 32768
    with pytest.raises(BadItem, match=r"not fetched: 'memory://corpus/lost\.flac'"):
        hub_rows._row_audio("memory://corpus/lost.flac", None)
    monkeypatch.setattr(hub_rows, "MOST_MEMBER_BYTES", 100)
    with pytest.raises(BadItem, match="too large"):
        hub_rows._row_audio(names[0], None)


def test_a_row_of_the_hub_names_no_file_of_this_machine(tmp_path, monkeypatch, encoded):
    """But what was downloaded or unpacked with the dataset, by links in the Hub's cache, too."""
    import datasets
    from huggingface_hub import constants

    home = tmp_path / "home"
    for where in ("hub/blobs", "hub/snapshots", "datasets/downloads/extracted/x"):
        (home / where).mkdir(parents=True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    for name in ("HF_DATASETS_CACHE", "DOWNLOADED_DATASETS_PATH", "EXTRACTED_DATASETS_PATH"):
        monkeypatch.setattr(datasets.config, name, home / "datasets")
    (home / "hub/blobs/0").write_bytes(encoded(0, "wav"))
    (home / "hub/snapshots/0.wav").symlink_to("../blobs/0")
    (home / "datasets/downloads/extracted/x/1.wav").write_bytes(encoded(1, "wav"))
    (home / "token").write_text("secret")
    (home / "hub/out.wav").symlink_to(home / "token")
    monkeypatch.chdir(home / "hub/snapshots")
    own = [home / "hub/snapshots/0.wav", home / "datasets/downloads/extracted/x/1.wav"]
    others = ["/etc/passwd", str(home / "token"), f"{home}/hub/../token", "../../token", "x\0"]
    rows = [{"audio": str(path), "text": "uno"} for path in (*own, *others, home / "hub/out.wav")]
    whole = datasets.DatasetDict({"train": datasets.Dataset.from_list(rows)})
    monkeypatch.setattr(datasets, "load_dataset", lambda *args, **options: whole)
    items = list(read_hub("someone/something", local_cache=tmp_path).items)
    assert [item.audio.read_bytes() for item in items[:2]] == [encoded(0, "wav"), encoded(1, "wav")]
    assert {item.problem.kind for item in items[2:]} == {"path outside the dataset"} and len(items) == 8


def test_relative_paths_of_a_local_table_stay_in_its_folder(tmp_path, encoded, write_files):
    rows = f"path,sentence\n{tmp_path}/0.wav,uno\nwav/1.wav,due\n../0.wav,tre\nwav/../../0.wav,quattro\n"
    files = {"0.wav": encoded(0, "wav"), "csv/train.csv": rows, "csv/wav/1.wav": encoded(1, "wav")}
    folder = write_files(tmp_path, files) / "csv"
    items = list(read_hub(str(folder), local_cache=tmp_path / "cache").items)
    assert [item.audio for item in items[:2]] == [tmp_path / "0.wav", folder / "wav/1.wav"]
    assert [item.problem.kind for item in items[2:]] == ["path outside the dataset"] * 2


@pytest.mark.hub
def test_a_stream_from_the_hub(tmp_path):
    source = read_hub("google/fleurs", dataset_config_name="it_it", local_cache=tmp_path, streaming=True)
    first = next(item for item in source.items if isinstance(item, Utterance))
    assert first.id.startswith("train-") and decode_recording(first.audio).size > 16_000
