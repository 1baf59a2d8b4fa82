"""Loading prepared datasets says what is wrong, joins several and reads archives."""

import io
import subprocess
import sys
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.assembled import build, utterance
from utils.data.delivery.folders import write_archive, write_audiofolder
from utils.data.prepared_dataset import digest_of, draw_rows, load_prepared
from utils.runtime.errors import UserError


@pytest.fixture
def two(tmp_path) -> tuple[str, str]:
    """Prepared datasets a of 10 utterances without a language, b of 5 in English; columns differ in type."""
    from tests.support.assembled import CLIPS

    open_language = replace(CLIPS, language="auto")
    build(tmp_path / "a", [utterance(n, extra={"age": 1}) for n in range(10)], clips=open_language)
    items = [utterance(n, language="en", extra={"age": "x"}) for n in range(5)]
    build(tmp_path / "b", items, test_share=0, validation_share=0)
    return str(tmp_path / "a"), str(tmp_path / "b")


def test_load_one_and_several(two):
    one = load_prepared([two[0]], "train", language="it")
    assert len(one) == 7 and set(one["language"]) == {"it"} and one[0]["audio"][:4] == b"fLaC"
    assert set(load_prepared([two[0]], "train", language="auto")["language"]) == {None}
    both = load_prepared(list(two), "train", language="it")
    assert both["language"] == ["it"] * 7 + ["en"] * 5
    assert "age" not in both.column_names  # a number there, a text here


def test_loading_says_what_is_wrong(two, tmp_path):
    (tmp_path / "empty").mkdir()
    folders = [two[0], two[1], str(tmp_path / "no"), str(tmp_path / "empty")]
    with pytest.raises(UserError) as caught:
        load_prepared(folders, "test", language="it")
    problems = str(caught.value).splitlines()
    assert len(problems) == 3
    assert "no split 'test'. Its splits are: train" in problems[0]
    assert "no such folder" in problems[1] and "not a prepared dataset" in problems[2]


def test_a_dataset_of_another_program_is_refused(tmp_path):
    from datasets import Dataset, DatasetDict

    DatasetDict({"train": Dataset.from_dict({"text": ["a"]})}).save_to_disk(tmp_path / "x")
    with pytest.raises(UserError, match="no column id, audio, duration, language"):
        load_prepared([str(tmp_path / "x")], "train", language="it")


@pytest.mark.parametrize(
    ("rate", "kind", "expected"), [(44_100, "FLAC", "not 16 kHz mono: 44100 Hz"), (0, "", "not audio")]
)
def test_audio_of_another_kind_is_refused_before_anything_long(prepared, tmp_path, rate, kind, expected):
    import soundfile
    from datasets import DatasetDict, load_from_disk

    sound = io.BytesIO(b"text")
    if rate:
        soundfile.write(sound, [0.0] * 100, rate, format=kind)
    rows = load_from_disk(prepared)["test"]
    rows = rows.remove_columns("audio").add_column("audio", [sound.getvalue()] * len(rows))
    DatasetDict({"test": rows}).save_to_disk(tmp_path / "x")
    with pytest.raises(UserError, match=f"x/test: the audio of 'test-0000' cannot be used: {expected}"):
        load_prepared([str(tmp_path / "x")], "test", language="it")


def test_rows_are_drawn_by_the_seed_and_stay_in_order():
    from datasets import Dataset

    rows = Dataset.from_dict({"id": list(range(100))})
    first, again, other = (draw_rows(rows, 10, seed)["id"] for seed in (1, 1, 2))
    assert list(first) == list(again) == sorted(set(first)) and len(first) == 10
    assert set(first) != set(other) and set(range(10)) not in (set(first), set(other))
    drawn = [number for seed in range(200) for number in draw_rows(rows, 10, seed)["id"]]
    assert sum(drawn) / len(drawn) == pytest.approx(49.5, abs=2)  # a standard error is 0.6
    assert draw_rows(rows, 100, 1) is draw_rows(rows, None, 1) is rows


def test_the_digest_tells_datasets_apart_by_any_column_and_by_order():
    from datasets import Dataset

    columns = {"id": ["a", "b"], "text": ["uno", "due"], "duration": [1.0, 2.0], "language": ["it", "it"]}
    columns |= {"audio": [b"1", b"22"], "segments": ["", "x"], "previous_text": ["", "y"]}
    rows = Dataset.from_dict(columns)
    # of equal length: sizes alone would not tell
    changes = {"id": ["a", "c"], "text": ["uno", "tre"], "duration": [1.0, 3.0], "language": ["it", "en"]}
    changes |= {"audio": [b"1", b"2"], "segments": ["", "z"], "previous_text": ["", "z"]}
    others = [digest_of(Dataset.from_dict(columns | {name: values})) for name, values in changes.items()]
    others += [digest_of(rows.select([1, 0])), digest_of(rows.select([0])), digest_of(rows, "basic")]
    assert len({digest_of(rows), *others}) == 1 + len(others)
    assert digest_of(rows) == digest_of(Dataset.from_dict(columns | {"speaker": ["A", "B"]}))


def test_an_archive_is_read_like_its_folder(two, tmp_path, monkeypatch):
    monkeypatch.setenv("WHISPER_FINETUNING_CACHE", str(tmp_path / "cache"))
    archive = write_archive(Path(two[0]))
    assert archive == tmp_path / "a.zip"
    first = archive.read_bytes()
    assert write_archive(Path(two[0])).read_bytes() == first
    for split in ("train", "test"):
        from_archive = load_prepared([str(archive)], split, language="it")
        assert list(from_archive) == list(load_prepared([two[0]], split, language="it"))


def test_a_full_disk_leaves_no_half_archive(two, tmp_path):
    """A process that may write files of 20,000 bytes stands for the disk."""
    script = (
        "import resource, signal, sys, pathlib\n"
        "from utils.data.delivery.folders import write_archive\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "write_archive(pathlib.Path(sys.argv[1]))\n"
    )
    ended = subprocess.run([sys.executable, "-c", script, two[0]], capture_output=True, text=True)
    assert "File too large" in ended.stderr
    assert not list(tmp_path.glob("*.zip*")) and not list(tmp_path.glob(".*.zip*"))


def test_an_archive_is_unpacked_once_by_all_that_read_it(two, tmp_path, monkeypatch):
    from utils.data import prepared_dataset as dataset

    monkeypatch.setenv("WHISPER_FINETUNING_CACHE", str(tmp_path / "cache"))
    archive, unpacked = write_archive(Path(two[0])), []
    original = zipfile.ZipFile.extract

    def extract_slowly(archive: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path) -> str:
        unpacked.append(member.filename)
        time.sleep(0.02)
        return original(archive, member, folder)

    monkeypatch.setattr(zipfile.ZipFile, "extract", extract_slowly)
    with ThreadPoolExecutor(3) as pool:
        folders = set(pool.map(dataset.unpacked_folder, [archive] * 3))
    assert len(folders) == 1
    assert sorted(unpacked) == sorted(zipfile.ZipFile(archive).namelist())


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "a\\..\\evil"])
def test_a_hostile_archive_writes_nothing_outside(tmp_path, monkeypatch, name):
    monkeypatch.setenv("WHISPER_FINETUNING_CACHE", str(tmp_path / "cache"))
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        file.writestr(name, "evil")
    with pytest.raises(UserError, match="does not write"):
        load_prepared([str(tmp_path / "x.zip")], "train", language="it")
    assert not list(tmp_path.rglob("*evil*"))


def test_a_bomb_and_a_broken_archive_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("WHISPER_FINETUNING_CACHE", str(tmp_path / "cache"))
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("train/data", bytes(10_000_000))
    (tmp_path / "broken.zip").write_bytes((tmp_path / "bomb.zip").read_bytes()[:200])
    for name, message in (("bomb", "does not write"), ("broken", "incomplete archive")):
        with pytest.raises(UserError, match=message):
            load_prepared([str(tmp_path / f"{name}.zip")], "train", language="it")


def test_an_audio_folder_is_what_datasets_reads(two, tmp_path):
    import json

    import soundfile

    target = write_audiofolder(Path(two[0]))
    lines = [json.loads(line) for line in (target / "train/metadata.jsonl").read_text().splitlines()]
    train = load_prepared([two[0]], "train", language="auto")
    assert [(line["file_name"], line["transcription"]) for line in lines] == [
        (f"{row['id']}.wav", row["text"]) for row in train
    ]
    info = soundfile.info(target / "train" / lines[0]["file_name"])
    assert (info.samplerate, info.channels, info.frames) == (16000, 1, 16000)


def test_clips_whose_names_would_be_one_file_get_several(tmp_path):
    """Also on a file system that takes capitals and small letters for the same."""
    items = [replace(utterance(number), id=id) for number, id in enumerate(["Talk/1", "talk_1", "Talk:1"])]
    build(tmp_path / "a", items, test_share=0, validation_share=0)
    files = (write_audiofolder(tmp_path / "a") / "train").glob("*.wav")
    assert len({file.name.lower() for file in files}) == 3


def test_columns_named_as_those_of_an_audio_folder_stay_beside_them(tmp_path):
    import json

    extra = {"transcription": "altro", "file_name": "x.mp3", "original_transcription": "terzo", "age": 3}
    build(tmp_path / "a", [utterance(0, extra=extra)], test_share=0, validation_share=0)
    [line] = (write_audiofolder(tmp_path / "a") / "train/metadata.jsonl").read_text().splitlines()
    kept = {key: value for key, value in json.loads(line).items() if value in ("altro", "terzo", "x.mp3", 3)}
    assert (json.loads(line)["file_name"], json.loads(line)["transcription"]) == ("u-0.wav", "frase numero 0")
    assert kept == {
        "original_file_name": "x.mp3", "original_transcription": "terzo",
        "original_original_transcription": "altro", "age": 3,
    }  # fmt: skip
