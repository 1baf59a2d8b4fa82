"""Folders of recordings: takes, the manifest, going on after a stop or a kill, and preprocess.py."""

import json
import os
import signal
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from preprocess import main as preprocess
from utils.audio.flac import SAMPLE_RATE
from utils.audio.reading import decode_audio
from utils.data.sources.manifest import read_manifest
from utils.delivery.app.recorder import open_recordings
from utils.delivery.app.sentences import Sentence
from utils.delivery.app.takes import Speaker, read_speaker
from utils.runtime.errors import UserError
from utils.runtime.problems import BadItem

LIST = tuple(Sentence(text) for text in ("Uno.", "Due.", "Tre.", "Quattro."))
ANNA, BRUNO = Speaker("Anna", "napoletano", "CC0 1.0"), Speaker("Bruno")


def sound(number: int, seconds: float = 0.01) -> np.ndarray:
    """Samples that tell one take from another."""
    return np.full(round(seconds * SAMPLE_RATE), number / 1024, dtype=np.float32)


def lines_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text("utf-8").splitlines()]


def files_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*.flac")}


acts = st.lists(st.tuples(st.sampled_from([ANNA, BRUNO]), st.integers(0, 3), st.booleans()), max_size=8)


@settings(max_examples=15, deadline=None)
@given(acts, st.permutations(LIST))
def test_recordings_are_found_again(done, order):
    """Whatever is recorded, in any order and with restarts, also with a list whose lines were moved."""
    with tempfile.TemporaryDirectory() as name:
        folder, expected = Path(name), {}
        for number, (speaker, index, is_moved) in enumerate(done, 1):
            sentences = order if is_moved else LIST
            with open_recordings(folder, sentences, "it") as recordings:
                recordings.keep(speaker, index, sound(number))
                expected[speaker.name, sentences[index].text] = number
        with open_recordings(folder, order, "it") as recordings:
            for speaker in (ANNA, BRUNO):
                recorded = [text for name, text in expected if name == speaker.name]
                left = [index for index, sentence in enumerate(order) if sentence.text not in recorded]
                assert recordings.next_open(speaker) == (left[0] if left else None)
                progress = recordings.progress(speaker)
                assert (progress.num_recorded, progress.num_sentences) == (len(recorded), 4)
                assert progress.seconds == pytest.approx(0.01 * len(recorded))
                for index, sentence in enumerate(order):
                    take = recordings.take_of(speaker, index)
                    assert (take is not None) == (sentence.text in recorded)
                    if take is not None:
                        samples = recordings.read(take)
                        assert samples == pytest.approx(sound(expected[take.key]))
        if expected:
            items = list(read_manifest(folder / "manifest.jsonl").items)
            found = {(u.speaker, u.text): round(decode_audio(u.audio)[0] * 1024) for u in items}
            assert found == expected and len(items) == len(expected) == len(files_of(folder))


def test_a_line_of_the_manifest(tmp_path):
    with open_recordings(tmp_path / "new", [Sentence("È tardi.", "s-7")], "it", "CC0 1.0") as recordings:
        recordings.keep(ANNA, 0, sound(1))
    (line,) = lines_of(tmp_path / "new")
    assert line.pop("recorded").endswith("+00:00") and line.pop("audio") in files_of(tmp_path / "new")
    assert line == {
        "text": "È tardi.", "speaker": "Anna", "language": "it", "group": "napoletano", "terms": "CC0 1.0",
        "sentence_id": "s-7",
    }  # fmt: skip


def test_the_next_sentence_is_the_next_without_a_take(tmp_path):
    with open_recordings(tmp_path, LIST) as recordings:
        recordings.keep(ANNA, 2, sound(1))
        assert [recordings.next_open(ANNA, start) for start in range(5)] == [0, 1, 3, 3, 0]
        assert recordings.next_open(BRUNO, 2) == 2


def test_a_take_whose_file_was_deleted_is_recorded_again(tmp_path):
    with open_recordings(tmp_path, LIST) as recordings:
        gone, broken, kept = (recordings.keep(ANNA, index, sound(index + 1)) for index in range(3))
    (tmp_path / gone.audio).unlink()
    (tmp_path / broken.audio).write_bytes(b"fLaC")
    with open_recordings(tmp_path, LIST) as recordings:
        assert recordings.next_open(ANNA) == 0 and recordings.progress(ANNA).num_recorded == 1
        recordings.keep(ANNA, 3, sound(9))
    assert [line["text"] for line in lines_of(tmp_path)] == [kept.text, "Quattro."]


def test_keys_of_others_stay(tmp_path):
    with open_recordings(tmp_path, LIST) as recordings:
        recordings.keep(ANNA, 0, sound(1))
    (line,) = lines_of(tmp_path)
    added = line | {"split": "test", "device": {"name": "phone"}}
    (tmp_path / "manifest.jsonl").write_text(json.dumps(added) + "\n", encoding="utf-8")
    with open_recordings(tmp_path, LIST) as recordings:
        recordings.keep(ANNA, 1, sound(2))
    assert lines_of(tmp_path)[0] == added


@pytest.mark.parametrize("flush", [1, 2, 3, 4])
def test_a_kill_during_a_redo_leaves_one_of_both_takes(tmp_path, flush):
    """Killed at each flush: of the take, its folder, the manifest, and the folder of that."""
    with open_recordings(tmp_path, LIST) as recordings:
        recordings.keep(ANNA, 0, sound(1))
        if (child := os.fork()) == 0:
            die_at(flush)
            recordings.keep(ANNA, 0, sound(2))
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    with open_recordings(tmp_path, LIST) as recordings:
        take = recordings.take_of(ANNA, 0)
        assert recordings.read(take) == pytest.approx(sound(2 if flush == 4 else 1))
    assert len(lines_of(tmp_path)) == 1


def die_at(flush: int) -> None:
    left = iter(range(flush - 1, -1, -1))
    os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL) if next(left) == 0 else None


def test_a_full_disk_keeps_the_earlier_take(small_disk):
    folder = small_disk(100_000) / "recordings"
    noise = np.random.default_rng(1).uniform(-1, 1, 3 * SAMPLE_RATE).astype(np.float32)
    with open_recordings(folder, LIST) as recordings:
        recordings.keep(ANNA, 0, sound(1))
        with pytest.raises(OSError, match="No space left"):
            recordings.keep(ANNA, 0, noise)
        assert recordings.read(recordings.take_of(ANNA, 0)) == pytest.approx(sound(1))
    assert len(files_of(folder)) == 1 == len(lines_of(folder))


def test_a_folder_in_use_is_refused(tmp_path):
    with (
        open_recordings(tmp_path, LIST),
        pytest.raises(UserError, match="another program records into this folder"),
        open_recordings(tmp_path, LIST),
    ):
        pass


GOOD = {"audio": "speaker-01234567/0123456789abcdef.flac", "text": "Uno.", "speaker": "Anna"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (json.dumps(GOOD | {"audio": "../../etc/passwd"}), "line 2 .*unexpected 'audio'"),
        (json.dumps(GOOD | {"audio": GOOD["audio"] + "\n"}), "unexpected 'audio'"),
        (json.dumps(GOOD | {"text": 7}), "wrong type of 'text'"),
        (json.dumps({"audio": GOOD["audio"], "text": "Uno."}), "missing key 'speaker'"),
        (json.dumps(GOOD | {"note": "\ud800"}), "broken characters"),
        ("{", "bad JSON"),
    ],
)
def test_a_manifest_of_someone_else_is_refused(tmp_path, line, message):
    (tmp_path / "manifest.jsonl").write_text(json.dumps(GOOD) + "\n" + line + "\n", encoding="utf-8")
    with pytest.raises(UserError, match=message), open_recordings(tmp_path, LIST):
        pass


def test_an_unknown_language_is_refused(tmp_path):
    with pytest.raises(UserError, match="unknown language"), open_recordings(tmp_path, LIST, "Italian"):
        pass


@pytest.mark.parametrize("name", ["../../taken", "/taken", "CON", "a" * 60, "Ж\u202eж", "."])
def test_no_name_becomes_a_path(tmp_path, name):
    folder = tmp_path / "recordings"
    with open_recordings(folder, LIST) as recordings:
        recordings.keep(read_speaker(name), 0, sound(1))
    assert {path.name for path in tmp_path.rglob("*")} >= {"recordings", "manifest.jsonl"}
    (file,) = folder.rglob("*.flac")
    assert file.parent.parent == folder and file.parent.name.startswith("speaker-")
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize(
    ("typed", "problem"),
    [
        (("", ""), "no name"),
        (("\x00 \n", ""), "no name"),
        ((None, "x"), "no name"),
        (("a" * 61, ""), "name too long"),
        (("Anna", "b" * 61), "accent too long"),
        (("<|it|>", ""), "unusable name"),
        (("\udc80", ""), "unusable name"),
    ],
)
def test_unusable_names(typed, problem):
    with pytest.raises(BadItem, match=problem):
        read_speaker(*typed)


def test_capitals_do_not_make_another_speaker(tmp_path):
    with open_recordings(tmp_path, LIST) as recordings:
        recordings.keep(ANNA, 0, sound(1))
        assert recordings.known_speaker(read_speaker(" ANNA ", " Bari ")) == Speaker("Anna", "Bari")
        assert recordings.known_speaker(read_speaker("Annalisa")) == Speaker("Annalisa")


def test_the_manifest_is_prepared(tmp_path, italian_prompts):
    """Two speakers read the same list; preprocess.py keeps every take, its text, accent and terms."""
    sentences = [Sentence(text, f"p{number}") for number, (_, text) in enumerate(italian_prompts)]
    with open_recordings(tmp_path / "in", sentences, "it", "CC0 1.0") as recordings:
        for index, (samples, _) in enumerate(italian_prompts):
            recordings.keep(ANNA, index, samples)
            recordings.keep(BRUNO, index, samples[::-1])
    manifest, output_dir = tmp_path / "in" / "manifest.jsonl", tmp_path / "out"
    preprocess(["--source", "manifest", "--input", str(manifest), "--output_dir", str(output_dir)])
    from datasets import load_from_disk

    rows = [row for split in load_from_disk(str(output_dir)).values() for row in split]
    assert (output_dir / "rejects.jsonl").read_text() == ""
    found = sorted((row["speaker"], row["text"], row["sentence_id"]) for row in rows)
    names = ("Anna", "Bruno")
    assert found == sorted((name, sentence.text, sentence.id) for name in names for sentence in sentences)
    assert {(row["language"], row["group"], row["terms"]) for row in rows} == {
        ("it", "napoletano", "CC0 1.0"),
        ("it", None, None),
    }
    durations = [len(samples) / SAMPLE_RATE for samples, _ in italian_prompts]
    assert sum(row["duration"] for row in rows) == pytest.approx(2 * sum(durations), abs=0.01)
