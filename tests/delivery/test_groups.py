"""utils/delivery/groups.py: recordings that are decoded together, and the work that is counted."""

import json
from collections.abc import Callable

import numpy as np
import pytest

from tests.support.tones import flac_tone
from utils.delivery import groups
from utils.delivery.groups import GroupCounter, count_failure, load_groups, work_of
from utils.delivery.inputs import find_given_files
from utils.delivery.transcribing import LoadedRecording
from utils.runtime.progress import audio_progress


@pytest.fixture
def given(tmp_path) -> Callable:
    """A function that writes tones of so many seconds, and gives them as files of a manifest in order."""

    def write(*seconds: float, languages: dict[int, str] | None = None) -> list:
        lines = []
        for number, length in enumerate(seconds):
            (tmp_path / f"{number}.flac").write_bytes(flac_tone(length) if length else b"no sound")
            lines.append({"audio": f"{number}.flac", "language": (languages or {}).get(number)})
        (tmp_path / "list.jsonl").write_text("\n".join(map(json.dumps, lines)))
        return find_given_files([str(tmp_path / "list.jsonl")])

    return write


def load(files, language="auto") -> tuple[list[list[str]], dict[str, str]]:
    failed: dict[str, str] = {}
    found = load_groups(files, language, lambda file, reason: failed.__setitem__(file.path.stem, reason))
    return [[file.path.stem for file in group] for group in found], failed


def test_groups_are_filled_to_a_limit_in_order_and_a_longer_recording_is_alone(given, monkeypatch):
    monkeypatch.setattr(groups, "GROUP_SECONDS", 2.0)
    found, failed = load(given(1.0, 1.0, 0.5, 3.0, 0.5, 0.5))
    assert (found, failed) == ([["0", "1"], ["2"], ["3"], ["4", "5"]], {})


def test_what_cannot_be_decoded_is_told_and_the_others_are_there(given, monkeypatch):
    monkeypatch.setattr(groups, "LONGEST_RECORDING", 1.5)
    found, failed = load(given(0.0, 1.0, 0.0, 2.0, 1.0))
    assert found == [["1", "4"]] and list(failed) == ["0", "2", "3"]
    assert "no samples" in failed["0"] and failed["3"].startswith("too long: over 1.5 s")
    assert load(given(0.0)) == ([], {"0": failed["0"]})


def test_a_files_own_language_goes_before_the_common_one(given):
    files = given(0.5, 0.5, 0.5, languages={1: "fa", 2: "auto"})
    for language, expected in (("auto", [None, "fa", None]), ("it", ["it", "fa", None])):
        (group,) = load_groups(files, language, lambda file, reason: None)
        assert [recording.language for recording in group.values()] == expected


def test_the_work_of_a_group_is_its_files_bytes_however_much_is_speech(given):
    files = given(1.0, 3.0)
    recordings = [LoadedRecording(np.zeros(16_000 * n, dtype=np.float32), None, []) for n in (1, 3)]
    total = sum(file.path.stat().st_size for file in files)
    with audio_progress("files", total, shown=False) as progress:
        counter = GroupCounter(progress, dict(zip(files, recordings, strict=True)))
        counter.count(1, 1.5)
        half = files[1].path.stat().st_size / 2
        assert (progress._done, progress._audio_seconds) == (pytest.approx(half), 1.5)
        counter.finish()
    assert (progress._done, progress._audio_seconds) == (pytest.approx(total), 4.0)


def test_a_failed_file_is_done_work_without_audio(given):
    files, failed = given(0.0, 1.0), {}
    with audio_progress("files", 100, shown=False) as progress:
        count_failure(progress, failed, files[0], "broken")
        assert (progress._done, progress._audio_seconds) == (len(b"no sound"), 0.0)
    assert failed == {files[0]: "broken"}


def test_standard_input_and_missing_files_count_a_little(tmp_path):
    (tmp_path / "empty.wav").touch()
    files = find_given_files(["-", str(tmp_path / "empty.wav")])
    assert [work_of(file) for file in files] == [1, 1]
