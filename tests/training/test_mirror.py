"""A run folder copied to another disk: whole or not at all, whatever happens to the disk or the process."""

import errno
import json
import os
import signal
import time
from pathlib import Path

import pytest

from utils.training import mirror as mirror_module
from utils.training.clock import RunClock
from utils.training.mirror import RunMirror, fetch_run


def write_files(folder: Path, **contents: str | bytes) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        data = content.encode() if isinstance(content, str) else content
        (folder / f".{name}").write_bytes(data)
        (folder / f".{name}").replace(folder / name)  # a new file, as training writes


def save(run: Path, step: int, weights: bytes = b"w") -> Path:
    folder = run / f"checkpoint-{step}"
    state = json.dumps({"saved_at": step, "state": {}, "files": {}})
    write_files(folder, **{"trainer_state.json": state, "model.safetensors": weights})
    return folder


@pytest.fixture
def run(tmp_path) -> Path:
    run = tmp_path / "run"
    save(run, 1)
    save(run, 2)
    write_files(run / "best", config="best of step 2")
    write_files(run / "snapshots/step-2", weights="2")
    write_files(run / "logs/project", events="a")
    write_files(run / "predictions", **{"step-2.jsonl": "{}"})
    write_files(run / "encoder_states", **{"states.bin": "large"})
    write_files(run, **{"metrics.jsonl": "1\n", "train.yaml": "seed: 42", "run_id.txt": "x"})
    return run


@pytest.fixture
def mirror(run, tmp_path) -> RunMirror:
    (tmp_path / "drive").mkdir()
    return RunMirror(run, tmp_path / "drive/it", RunClock())


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def test_the_newest_checkpoint_the_models_and_the_logs_are_copied_and_fetched_again(run, mirror, tmp_path):
    mirror.finish()
    wanted = {
        name: data
        for name, data in contents(run).items()
        if not name.startswith(("checkpoint-1/", "encoder_states/"))
    }
    assert contents(tmp_path / "drive/it") == wanted
    assert not (run / ".mirroring").exists()
    fetch_run(tmp_path / "drive/it", tmp_path / "fresh")
    assert contents(tmp_path / "fresh") == wanted


def test_what_the_run_deletes_goes_from_the_mirror_and_what_it_changes_comes(run, mirror, tmp_path):
    mirror.finish()
    save(run, 3)
    write_files(run / "best", config="best of step 3")
    write_files(run / "snapshots/step-3", weights="3")
    (run / "snapshots/step-2/weights").unlink()
    (run / "snapshots/step-2").rmdir()
    with (run / "metrics.jsonl").open("a") as log:
        log.write("2\n")
    mirror.finish()
    copy = contents(tmp_path / "drive/it")
    assert [name for name in copy if name.startswith(("check", "snap"))] != []
    assert {name.split("/")[0] for name in copy if name.startswith("check")} == {"checkpoint-3"}
    assert {name for name in copy if name.startswith("snap")} == {"snapshots/step-3/weights"}
    assert copy["best/config"] == b"best of step 3" and copy["metrics.jsonl"] == b"1\n2\n"


def test_what_is_the_same_is_not_copied_again(run, mirror, tmp_path):
    mirror.finish()
    before = (tmp_path / "drive/it/checkpoint-2/model.safetensors").stat().st_ino
    mirror.finish()
    assert (tmp_path / "drive/it/checkpoint-2/model.safetensors").stat().st_ino == before


def test_training_replaces_files_while_they_are_copied(run, mirror, tmp_path, monkeypatch):
    """The copy is that of the moment when it began."""
    copy_file = RunMirror._copy_file

    def replace_and_copy(self: RunMirror, source: Path, target: Path) -> None:
        write_files(run / "best", config="best of step 3")
        copy_file(self, source, target)

    monkeypatch.setattr(RunMirror, "_copy_file", replace_and_copy)
    mirror.start()
    mirror._wait()
    assert contents(tmp_path / "drive/it")["best/config"] == b"best of step 2"


def test_a_full_disk_keeps_the_whole_copy_and_is_a_warning(run, small_disk, capsys):
    disk = small_disk(3 << 20)
    save(run, 2, os.urandom(2 << 20))
    mirror = RunMirror(run, disk / "it", RunClock())
    mirror.finish()
    before = contents(disk)
    save(run, 3, os.urandom(2 << 20))
    mirror.start()
    mirror._wait()
    assert contents(disk) == before and "it/checkpoint-2/model.safetensors" in before
    assert "could not be updated: No space left on device" in capsys.readouterr().out


def test_a_disk_that_is_gone_is_a_warning_and_not_made_anew(run, mirror, tmp_path, capsys):
    (tmp_path / "drive").rmdir()
    mirror.finish()
    assert "could not be updated: No such file or directory" in capsys.readouterr().out
    assert not (tmp_path / "drive").exists()


def test_a_disk_that_hangs_is_not_waited_for(run, mirror, monkeypatch, capsys):
    monkeypatch.setattr(mirror_module, "PATIENCE", 0.3)
    monkeypatch.setattr(RunMirror, "_copy_file", lambda *_: time.sleep(60))
    mirror.start()
    started = time.monotonic()
    mirror.start()  # left out
    mirror.finish()
    assert time.monotonic() - started < 5
    assert capsys.readouterr().out.count("takes no more data") == 1


def test_a_kill_in_the_middle_of_a_copy_leaves_the_former_one(run, mirror, tmp_path, monkeypatch):
    """A process of its own gets SIGKILL when half of the new checkpoint is copied."""
    mirror.finish()
    before = contents(tmp_path / "drive/it")
    save(run, 3, os.urandom(1 << 20))
    copy_file = RunMirror._copy_file

    def die(self: RunMirror, source: Path, target: Path) -> None:
        if source.name == "model.safetensors":
            target.write_bytes(source.read_bytes()[: 1 << 19])
            os.kill(os.getpid(), signal.SIGKILL)
        copy_file(self, source, target)

    child = os.fork()
    if child == 0:
        RunMirror._copy_file = die
        mirror.finish()
        os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    fetch_run(tmp_path / "drive/it", tmp_path / "fresh")
    assert contents(tmp_path / "fresh") == before


def test_a_kill_between_two_renames_loses_no_model(run, mirror, tmp_path):
    mirror.finish()
    copy = tmp_path / "drive/it"
    (copy / "best").rename(copy / ".best.old")
    fetch_run(copy, tmp_path / "fresh")
    assert (tmp_path / "fresh/best/config").read_bytes() == b"best of step 2"


def test_no_links_are_followed_out_of_a_mirror(run, mirror, tmp_path):
    mirror.finish()
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "drive/it/best/link").symlink_to(tmp_path / "secret")
    (tmp_path / "drive/it/final").symlink_to(tmp_path / "run/best")
    fetch_run(tmp_path / "drive/it", tmp_path / "fresh")
    assert not (tmp_path / "fresh/best/link").exists() and not (tmp_path / "fresh/final").exists()


def test_a_mirror_that_breaks_off_a_copy_leaves_nothing_half(run, mirror, tmp_path, monkeypatch, capsys):
    def break_off(self: RunMirror, source: Path, target: Path) -> None:
        target.write_bytes(b"half")
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(RunMirror, "_copy_file", break_off)
    mirror.start()
    mirror._wait()
    assert contents(tmp_path / "drive/it") == {}
    assert "Input/output error" in capsys.readouterr().out


def test_what_killed_copies_have_left_is_swept_away(run, mirror, tmp_path):
    mirror.finish()
    copy = tmp_path / "drive/it"
    before = contents(copy)
    write_files(copy / ".checkpoint-9.tmp", weights="half")
    write_files(copy / ".best.old", config="older")
    (copy / "snapshots/.step-9.tmp").mkdir()
    (copy / ".metrics.jsonl.tmp").write_text("half")
    mirror.finish()
    assert contents(copy) == before and not list(copy.rglob(".*"))
