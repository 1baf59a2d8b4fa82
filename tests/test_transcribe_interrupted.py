"""transcribe.py killed, interrupted, without disk, among broken files: what is finished stays."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

import transcribe
from tests.support.dying import DYING
from tests.support.hostile import SOUNDS, build_folder
from tests.support.warm_processes import start_warm
from utils.delivery import groups
from utils.delivery.transcript_files import RECORD, TranscriptFolder

ROOT = Path(__file__).parent.parent
NUM_FILES = 30
FORMATS = ("txt", "json")

KILLED_SCRIPT = f"""{DYING}
import transcribe
from utils.delivery import groups

groups.GROUP_SECONDS = 3.0  # of two or three files
if __name__ == "__main__":
    transcribe.main(sys.argv[1:])
"""


@pytest.fixture(scope="module")
def many(italian_prompts, tmp_path_factory) -> Path:
    """Thirty recordings of 1.2 s, each of another second of speech."""
    folder = tmp_path_factory.mktemp("many")
    speech = np.concatenate([samples for samples, _ in italian_prompts])
    for number, start in enumerate(np.linspace(0, len(speech) - 19_200, NUM_FILES).astype(int)):
        soundfile.write(folder / f"{number:02}.wav", speech[start : start + 19_200], 16_000)
    return folder


@pytest.fixture
def words(spelling_whisper, many, tmp_path) -> Callable[..., list[str]]:
    """A function that gives the command line for some of the recordings."""

    def line(out: object = None, files: object = None) -> list[str]:
        options = ["--model", str(spelling_whisper), "--dtype", "float32", "--generation_max_length", "16"]
        options += ["--language", "it", "--format", *FORMATS, "--output_dir", str(out or tmp_path / "out")]
        return [*options, str(files or many)]

    return line


def finished(folder: Path) -> dict[str, int]:
    """When the transcripts of the recorded files were written."""
    lines = (folder / RECORD).read_text().splitlines() if (folder / RECORD).is_file() else []
    names = [Path(json.loads(line)["source"]).stem for line in lines if line.endswith("}")]
    return {f"{n}.{kind}": (folder / f"{n}.{kind}").stat().st_mtime_ns for n in names for kind in FORMATS}


def exit_of(words: list[str]) -> object:
    with pytest.raises(SystemExit) as ended:
        transcribe.main(words)
    return ended.value.code


@pytest.mark.slow
def test_killed_at_any_write_the_next_run_does_the_rest_alone(words, tmp_path):
    """A recording takes four flushes: of two formats, and of the folder for each."""
    (tmp_path / "killed.py").write_text(KILLED_SCRIPT)
    out, before = tmp_path / "killed", dict[str, int]()
    for number, flushes in enumerate((9, 34, 45, 10**6)):
        environment = os.environ | {"FLUSHES": str(flushes)}
        command = [str(tmp_path / "killed.py"), *words(out)]
        process = start_warm(command, tmp_path / f"log{number}", cwd=tmp_path, env=environment)
        process.join(300)
        log = (tmp_path / f"log{number}").read_text()
        assert process.exitcode == (0 if flushes == 10**6 else -signal.SIGKILL), log
        for path in out.glob("*.json"):
            json.loads(path.read_text())  # whole
        now = finished(out)
        assert before.items() <= now.items() and len(now) > len(before)
        before = now
    assert "done before" in log
    assert len(before) == 2 * NUM_FILES
    transcribe.main(words(tmp_path / "straight"))
    straight = tmp_path / "straight"
    assert sorted(path.name for path in out.iterdir()) == sorted(path.name for path in straight.iterdir())
    for path in straight.glob("*.txt"):
        assert (out / path.name).read_bytes() == path.read_bytes()


def test_ctrl_c_ends_with_130_and_keeps_what_is_finished(words, tmp_path, monkeypatch, capsys, request):
    monkeypatch.setattr(groups, "GROUP_SECONDS", 3.0)
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may start tests without it
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, usual))
    write, written = TranscriptFolder.write, []

    def write_and_interrupt(folder, file, transcript):
        written.append(file)
        summary = write(folder, file, transcript)
        if len(written) == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return summary

    monkeypatch.setattr(TranscriptFolder, "write", write_and_interrupt)
    assert exit_of(words()) == 130
    told = capsys.readouterr().err
    assert told.count("error:") == 1 and "Finished work is kept" in told
    before = finished(tmp_path / "out")
    assert len(before) == 2 * 4
    transcribe.main(words())
    assert "4 done before" in capsys.readouterr().out
    now = finished(tmp_path / "out")
    assert before.items() <= now.items() and len(now) == 2 * NUM_FILES


def test_a_full_disk_is_told_and_keeps_what_is_finished(words, small_disk, monkeypatch, capsys):
    monkeypatch.setattr(groups, "GROUP_SECONDS", 3.0)
    disk = small_disk(64 * 1024)
    assert exit_of(words(disk / "out")) == 2
    told = capsys.readouterr().err
    assert told.count("error:") == 1 and "No space left on device" in told and "Traceback" not in told
    before = finished(disk / "out")
    assert 0 < len(before) < 2 * NUM_FILES
    assert not [path for path in (disk / "out").iterdir() if path.suffix == ".tmp"]
    for path in (disk / "out").glob("*.json"):
        json.loads(path.read_text())


# ---- among broken files ------------------------------------------------------------------------------------

BROKEN = {
    *("empty file", "no samples", "not audio", "broken audio", "truncated", "unreadable file"),
    *("NaN or infinite samples", "samples out of range", "not a file", "no such file"),
}


@pytest.fixture
def hostile(tmp_path) -> Path:
    build_folder(tmp_path / "data")
    (tmp_path / "data" / "suoni" / os.fsdecode(b"latin\xe8.wav")).write_bytes(b"")
    (tmp_path / "data" / "list.jsonl").write_text(
        "\n".join(
            json.dumps({"audio": name})
            for name in (
                "coppie/pipe.wav",
                "coppie/directory.wav",
                "/dev/zero",
                "http://127.0.0.1:9/a.wav",
                "nul\0.wav",
                "a/" * 3000,
                "list.jsonl",
                "coppie/loop.wav",
                "suoni/good_wav.wav",
            )
        )
    )
    return tmp_path / "data"


def test_among_hostile_files_each_is_named_or_done(hostile, brief_whisper, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(groups, "LONGEST_RECORDING", 60.0)
    out = tmp_path / "out"
    options = ["--model", str(brief_whisper), "--language", "it", "--output_dir", str(out)]
    assert exit_of([*options, str(hostile), str(hostile / "list.jsonl")]) == 1
    told = capsys.readouterr()
    assert "Traceback" not in told.err
    failed = {}
    for line in told.out.split(f"{hostile}/")[1:]:
        name, _, reason = line.partition(": failed: ")
        if reason:
            failed[name] = reason.split(":")[0].strip()
    done = {Path(json.loads(line)["source"]) for line in (out / RECORD).read_text().splitlines()}
    for name, (fate, _) in SOUNDS.items():
        path = Path("suoni", name)
        path = path.with_stem(f"{path.stem}_{path.suffix[1:]}")
        fates = set(fate.split(" | "))
        if fates <= BROKEN or name == "three_hours.flac":
            assert failed[str(path)] in fates, name
        elif not fates & BROKEN:
            assert hostile / path in done and str(path) not in failed, name
        else:
            assert (hostile / path in done) != (str(path) in failed), name
    assert failed["suoni/latin\ufffd.wav"] == "empty file"
    assert {"coppie/pipe.wav", "coppie/directory.wav", "coppie/loop.wav", "list.jsonl"} <= failed.keys()
    for word in ("/dev/zero: failed: not a file", "http:/127.0.0.1:9/a.wav: failed: no such file"):
        assert word in told.out
    names = list((hostile / "nomi").rglob("*.wav"))
    assert len(names) == 11 and set(names) <= done
    assert f"{len(done)} files, " in told.out and "failed." in told.out
    assert {path.name for path in tmp_path.iterdir()} == {"data", "out", "outside.wav"}
    written = [path for path in out.rglob("*") if path.is_file() and path.name not in (".lock", RECORD)]
    assert len(written) == len(done) and all(path.suffix == ".txt" for path in written)
