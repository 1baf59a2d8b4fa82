"""NeMo and lhotse manifests, the latter written by lhotse itself; commands in them are never run."""

import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from utils.data.decoding import decode_recording
from utils.data.sources.lhotse import read_lhotse
from utils.data.sources.nemo import read_nemo
from utils.data.utterance import Utterance
from utils.runtime.errors import UserError

ANYWHERE = Path("anywhere")


def as_lines(rows: list) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def assert_sounds_like(utterance: Utterance, samples: np.ndarray) -> None:
    assert np.abs(decode_recording(utterance.audio) - samples).max() <= 1 / 32768


# ---- NeMo --------------------------------------------------------------------------------------------------


@pytest.fixture
def nemo(tmp_path, texts, encoded, write_files) -> Path:
    train = [
        {"audio_filepath": "wav/0.wav", "duration": 5.617, "text": texts[0], "lang": "it", "pnc": "yes"},
        {"audio_filepath": "wav/1.flac", "offset": 0, "duration": 0.5, "text": "uno", "speaker": 3},
        {
            "audio_filepath": "/mnt/corpus/wav/2.wav",
            "offset": 0.5,
            "duration": 0.5,
            "text": "due",
            "lang": "xx",
        },
        {"audio_filepath": "wav/1.flac", "offset": 0.5, "duration": 0.5, "text": "tre"},
        {"audio_filepath": "wav/1.flac", "offset": 0.5, "text": "x"},
        {"audio_filepath": "wav/1.flac", "offset": "later", "duration": 1, "text": "x"},
        {"audio_filepath": "wav/1.flac", "offset": 1, "duration": 0, "text": "x"},
        {"audio_filepath": "", "text": "x"},
        {"audio_filepath": "wav/0.wav", "text": None},
        {"text": "x"},
    ]
    test = [{"audio_filepath": "../wav/3.wav", "duration": 3.1, "text": texts[3]}]
    files = {"train_manifest.json": as_lines(train) + "{\n", "test/manifest.jsonl": as_lines(test)}
    files |= {"wav/0.wav": encoded(0, "wav"), "wav/1.flac": encoded(1, "flac")}
    files |= {"wav/2.wav": encoded(2, "wav"), "wav/3.wav": encoded(3, "wav")}
    files |= {"vocab.json": "{" + "x" * 2_000_000, "config.json": '{\n"a": 1\n}\n'}
    return write_files(tmp_path / "nemo", files)


def test_nemo(nemo, each_way, by_id, texts, clips):
    source = read_nemo(each_way(nemo))
    utterances, rejects = by_id(source)
    train = "train_manifest.json"
    expected = [
        Utterance(
            id="train_manifest-000001",
            audio=ANYWHERE,
            text=texts[0],
            source=train,
            position=1,
            language="it",
            split="train",
            extra={"pnc": "yes"},
        ),
        Utterance("train_manifest-000002", ANYWHERE, "uno", train, 2, 0.0, 0.5, speaker="3", split="train"),
        Utterance(
            "train_manifest-000003", ANYWHERE, "due", train, 3, 0.5, 1.0, split="train", extra={"lang": "xx"}
        ),
        Utterance("train_manifest-000004", ANYWHERE, "tre", train, 4, 0.5, 1.0, split="train"),
        Utterance("test/manifest-000001", ANYWHERE, texts[3], "test/manifest.jsonl", 1, split="test"),
    ]
    assert {id: replace(u, audio=ANYWHERE) for id, u in utterances.items()} == {u.id: u for u in expected}
    for utterance, number in zip(expected, (0, 1, 2, 1, 3), strict=True):
        assert_sounds_like(utterances[utterance.id], clips[number][0])
    order = [item.text for item in source.items if isinstance(item, Utterance)]
    assert abs(order.index("uno") - order.index("tre")) == 1  # cut from one recording
    assert sorted(rejects, key=str) == [
        (train, 10, "missing key 'audio_filepath'"),
        (train, 11, "bad JSON"),
        (train, 5, "offset without duration"),
        (train, 6, "time out of range"),
        (train, 7, "end not after start"),
        (train, 8, "empty audio path"),
        (train, 9, "wrong type of 'text'"),
    ]


def test_nemo_manifests_of_one_name_in_several_folders(tmp_path, texts, encoded, write_files):
    line = as_lines([{"audio_filepath": "../0.wav", "text": texts[0]}])
    files = {f"{split}/manifest.json": line for split in ("train", "dev", "test")}
    items = list(read_nemo(write_files(tmp_path / "nemo", files | {"0.wav": encoded(0, "wav")})).items)
    assert {(item.id, item.split) for item in items} == {
        ("train/manifest-000001", "train"),
        ("dev/manifest-000001", "validation"),
        ("test/manifest-000001", "test"),
    }


def test_nemo_manifests_with_dev_and_eval(tmp_path, write_files, by_id):
    line = as_lines([{"audio_filepath": "x.wav", "text": "ciao"}])
    names = ("train", "dev93", "eval92", "news")
    folder = write_files(tmp_path / "wsj", {f"{name}.json": line for name in names})
    source = read_nemo(folder)
    utterances, _ = by_id(source)
    assert {id.split("-")[0]: u.split for id, u in utterances.items()} == {
        "train": "train", "dev93": "validation", "eval92": "test", "news": None,
    }  # fmt: skip
    assert source.notes == ("news.json: not the name of a split, so counted as train.",)


def test_speakers_that_pandas_made_floats(tmp_path, write_files, by_id):
    speakers = (12.0, float("nan"), 7, "anna", None, 12.5)
    rows = [{"audio_filepath": "x.wav", "text": "ciao", "speaker": speaker} for speaker in speakers]
    utterances, rejects = by_id(read_nemo(write_files(tmp_path / "a", {"all.json": as_lines(rows)})))
    assert [u.speaker for u in utterances.values()] == ["12", None, "7", "anna", None]
    assert rejects == [("all.json", 6, "wrong type of 'speaker'")]


def test_a_split_in_a_nemo_manifest_must_be_known(tmp_path, write_files, by_id):
    rows = [{"audio_filepath": "x.wav", "text": "ciao", "split": s} for s in ("training", "eval1", "odd")]
    utterances, rejects = by_id(read_nemo(write_files(tmp_path / "a", {"all.json": as_lines(rows)})))
    assert [u.split for u in utterances.values()] == ["train", "validation"]
    assert rejects == [("all.json", 3, "unknown split")]


def test_one_nemo_manifest(nemo, by_id):
    utterances, _ = by_id(read_nemo(nemo / "test/manifest.jsonl"))
    assert [(u.id, u.split) for u in utterances.values()] == [("manifest-000001", None)]
    assert decode_recording(utterances["manifest-000001"].audio).size  # ../wav is followed on this machine
    with pytest.raises(UserError, match="no JSON lines with audio_filepath"):
        read_nemo(nemo / "config.json")
    with pytest.raises(UserError, match="no such file or folder"):
        read_nemo(nemo / "nothing.json")


# ---- lhotse ------------------------------------------------------------------------------------------------


def recording_of(number: int, source: str, samples: np.ndarray, **options):
    from lhotse import AudioSource, Recording

    return Recording(
        id=f"rec{number}",
        sources=[
            AudioSource(
                type=options.pop("type", "file"), channels=options.get("channel_ids", [0]), source=source
            )
        ],
        sampling_rate=16_000,
        num_samples=len(samples),
        duration=len(samples) / 16_000,
        **options,
    )


def supervision(id: str, number: int, start: float, duration: float, text: str, **options):
    from lhotse import SupervisionSegment

    return SupervisionSegment(id, f"rec{number}", start, duration, text=text, **options)


@pytest.fixture
def lhotse_manifests(tmp_path, clips, texts, encoded, write_files) -> Path:
    """Recordings and supervisions as lhotse writes them, compressed or not."""
    from lhotse import RecordingSet, SupervisionSet

    folder = write_files(tmp_path / "lhotse", {f"wav/{n}.flac": encoded(n, "flac") for n in range(4)})
    samples = [samples for samples, _ in clips]
    recordings = [
        recording_of(n, source, samples[n]) for n, source in enumerate(["wav/0.flac", "/mnt/c/wav/1.flac"])
    ]
    recordings += [recording_of(4, f"touch {tmp_path}/ran", samples[4], type="command")]
    recordings += [recording_of(5, "https://example.org/a.wav", samples[5], type="url")]
    recordings += [recording_of(6, "wav/0.flac", samples[0], channel_ids=[0, 1])]
    recordings += [replace(recording_of(7, "wav/0.flac", samples[0]).perturb_speed(0.9), id="rec7")]
    whole = len(samples[0]) / 16_000
    said = [
        supervision(
            "whole",
            0,
            0,
            whole,
            texts[0],
            speaker="anna",
            language="Italian",
            gender="F",
            custom={"snr": 20.5},
        ),
        supervision("b", 1, 0.5, 0.5, "uno"),
        supervision("c", 0, 0.0, 1.0, "due", language="Klingon"),
        supervision("d", 1, 0.0, 0.5, "tre"),
        supervision("command", 4, 0, 1, "x"),
        supervision("url", 5, 0, 1, "x"),
        supervision("channel", 6, 0, 1, "x"),
        supervision("speed", 7, 0, 1, "x"),
        supervision("lost", 9, 0, 1, "x"),
        supervision("silent", 0, 0, 1, None),
        supervision("whole", 0, 0, 1, "again"),
        supervision("back", 0, -1, 1, "x"),
    ]
    RecordingSet.from_recordings(recordings).to_file(folder / "it_recordings_train.jsonl.gz")
    with SupervisionSet.open_writer(folder / "it_supervisions_train.jsonl.gz", overwrite=True) as writer:
        for segment in said:
            writer.ignore_ids.clear()
            writer.write(segment)
    dev = as_lines([supervision("dev", 2, 0, 1, "quattro").to_dict()]) + '{"id": 1}\n[]\n'
    write_files(folder, {"it_supervisions_dev.jsonl": dev})
    RecordingSet.from_recordings([recording_of(2, "wav/2.flac", samples[2])]).to_file(
        folder / "it_recordings_dev.jsonl"
    )
    return folder


def test_lhotse_supervisions(lhotse_manifests, each_way, by_id, texts, clips):
    source = read_lhotse(each_way(lhotse_manifests))
    utterances, rejects = by_id(source)
    train, dev = "it_supervisions_train.jsonl.gz", "it_supervisions_dev.jsonl"
    expected = [
        Utterance(
            id="whole",
            audio=ANYWHERE,
            text=texts[0],
            source=train,
            position=1,
            language="it",
            speaker="anna",
            recording="rec0",
            split="train",
            extra={"gender": "F", "snr": 20.5},
        ),
        Utterance("b", ANYWHERE, "uno", train, 2, 0.5, 1.0, recording="rec1", split="train"),
        Utterance(
            "c",
            ANYWHERE,
            "due",
            train,
            3,
            0.0,
            1.0,
            recording="rec0",
            split="train",
            extra={"original_language": "Klingon"},
        ),
        Utterance("d", ANYWHERE, "tre", train, 4, 0.0, 0.5, recording="rec1", split="train"),
        Utterance("dev", ANYWHERE, "quattro", dev, 1, 0.0, 1.0, recording="rec2", split="validation"),
    ]
    assert {id: replace(u, audio=ANYWHERE) for id, u in utterances.items()} == {u.id: u for u in expected}
    for utterance, number in zip(expected, (0, 1, 0, 1, 2), strict=True):
        assert_sounds_like(utterances[utterance.id], clips[number][0])
    order = [item.id for item in source.items if isinstance(item, Utterance)]
    assert abs(order.index("b") - order.index("d")) == 1  # cut from one recording
    assert sorted(rejects, key=str) == [
        (dev, 2, "no recording"),
        (dev, 3, "bad JSON"),
        (train, 10, "wrong type of 'text'"),
        (train, 11, "duplicate id"),
        (train, 12, "time out of range"),
        (train, 5, "command in a manifest"),
        (train, 6, "no file"),
        (train, 7, "one channel of several"),
        (train, 8, "altered recording"),
        (train, 9, "no recording"),
    ]
    assert not (lhotse_manifests.parent / "ran").exists()


def test_lhotse_cuts(tmp_path, clips, encoded, write_files, each_way, by_id):
    """Cuts go before supervisions; the time of a supervision counts from its cut."""
    from lhotse import CutSet, MonoCut

    folder = write_files(tmp_path / "cuts", {"wav/1.flac": encoded(1, "flac")})
    recording = recording_of(1, "wav/1.flac", clips[1][0])
    first = MonoCut("cut1", 0.25, 0.75, 0, recording=recording)
    first.supervisions = [supervision("a", 1, 0.0, 0.25, "uno"), supervision("b", 1, 0.25, 0.5, "due")]
    second = MonoCut("cut2", 0, recording.duration, 0, recording=recording)
    second.supervisions = [supervision("c", 1, 0, recording.duration, "tre")]
    bare = MonoCut("cut3", 0, 1, 0, recording=recording)
    lost = replace(second, id="cut4", recording=None)
    CutSet.from_cuts([first, second, bare, first.append(second), lost]).to_file(folder / "cuts_test.jsonl.gz")
    write_files(folder, {"supervisions_test.jsonl": "{}\n", "odd_cuts_test.jsonl": as_lines(HOSTILE_CUTS)})
    source = read_lhotse(each_way(folder))
    utterances, rejects = by_id(source)
    assert {(u.id, u.text, u.start, u.end, u.split, u.recording) for u in utterances.values()} == {
        ("a", "uno", 0.25, 0.5, "test", "rec1"),
        ("b", "due", 0.5, 1.0, "test", "rec1"),
        ("c", "tre", None, None, "test", "rec1"),
    }
    assert_sounds_like(utterances["b"], clips[1][0])
    assert source.notes == ("Only cuts are read. These are not: supervisions_test.jsonl.",)
    assert [reject for reject in sorted(rejects) if reject[0] == "cuts_test.jsonl.gz"] == [
        ("cuts_test.jsonl.gz", 3, "no plain cut"),
        ("cuts_test.jsonl.gz", 4, "no plain cut"),
        ("cuts_test.jsonl.gz", 5, "no plain cut"),
    ]
    assert len([reject for reject in rejects if reject[0] == "odd_cuts_test.jsonl"]) == len(HOSTILE_CUTS)


def test_lhotse_cuts_with_dev_and_eval(tmp_path, write_files, by_id, clips):
    from lhotse.cut import MonoCut

    recording = recording_of(1, "x.flac", clips[1][0])
    files = {}
    for name in ("train", "dev", "eval", "news"):
        cut = MonoCut(name, 0, 1, 0, recording=recording, supervisions=[supervision(name, 1, 0, 1, "uno")])
        files[f"cuts_{name}.jsonl"] = as_lines([cut.to_dict()])
    source = read_lhotse(write_files(tmp_path / "cuts", files))
    utterances, _ = by_id(source)
    assert {id: u.split for id, u in utterances.items()} == {
        "train": "train", "dev": "validation", "eval": "test", "news": None,
    }  # fmt: skip
    assert source.notes == ("cuts_news.jsonl: not the name of a split, so counted as train.",)


_RECORDING = {
    "id": "r",
    "sources": [],
    "sampling_rate": 16000,
    "num_samples": 9,
    "duration": 1,
    "channel_ids": [0],
}
_SUPERVISION = {"id": "s", "recording_id": "r", "start": 0, "duration": 1, "channel": 0, "text": "x"}
_CUT = {"id": "c", "start": 0, "duration": 1, "channel": 0, "type": "MonoCut", "recording": _RECORDING}
_CUT |= {"supervisions": [_SUPERVISION]}
HOSTILE_CUTS = [
    _CUT,  # no source
    _CUT | {"supervisions": [3]},
    _CUT | {"supervisions": "x"},
    _CUT | {"recording": "x"},
    _CUT | {"recording": _RECORDING | {"sources": [{"type": "file"}]}},
    _CUT | {"recording": _RECORDING | {"sources": [{"type": "file", "channels": [0], "source": 3}]}},
    _CUT | {"start": "x"},
    _CUT | {"type": "Nothing"},
    _CUT | {"supervisions": [_SUPERVISION | {"start": [1]}]},
    _CUT | {"supervisions": [_SUPERVISION | {"channel": "x"}]},
    _CUT | {"supervisions": [_SUPERVISION | {"channel": [[0]]}]},
    _CUT | {"supervisions": [_SUPERVISION | {"custom": "x"}]},
    _CUT | {"supervisions": [_SUPERVISION | {"speaker": {}}]},
    {"type": "MonoCut", "supervisions": [{}]},
    {"sources": [], "supervisions": [{}]},
    {"shape": [1], "supervisions": [{}]},
]


def test_lhotse_that_is_no_use(lhotse_manifests, tmp_path, write_files):
    with pytest.raises(UserError, match=r"no \*cuts\*\.jsonl and no \*supervisions\*\.jsonl"):
        read_lhotse(write_files(tmp_path / "a", {"recordings.jsonl": "{}\n"}))
    with pytest.raises(UserError, match=r"no b_recordings\.jsonl for b_supervisions\.jsonl"):
        read_lhotse(write_files(tmp_path / "b", {"b_supervisions.jsonl": "{}\n"}))
    (tmp_path / "c.jsonl.gz").write_bytes(gzip.compress(b"{}\n" * 1000)[:-8])
    with pytest.raises(UserError, match="is damaged"):
        read_lhotse(tmp_path / "c.jsonl.gz")
