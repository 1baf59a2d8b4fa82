"""Files and folders whole or not at all, also on a full disk and by writers with errors of their own."""

import os
import shutil
from pathlib import Path

import pytest
import torch

from utils.runtime.errors import WriteError
from utils.runtime.files import (
    delete_folder,
    folder_written_whole,
    move_into_place,
    real_folder,
    write_failure,
    write_text,
)


def write_by_torch(path) -> None:
    torch.save({"weights": torch.zeros(100_000)}, path)


def write_by_safetensors(path) -> None:
    from safetensors.torch import save_file

    save_file({"weights": torch.zeros(100_000)}, path)


def write_by_python(path) -> None:
    write_text(path, "a" * 400_000)


@pytest.mark.parametrize("write", [write_by_torch, write_by_safetensors, write_by_python])
@pytest.mark.parametrize("size", [4096, 100_000, 300_000])
def test_a_full_disk_is_recognised_and_the_folder_before_is_kept(small_disk, write, size):
    disk = small_disk(size)
    (disk / "model").mkdir()
    with (
        pytest.raises(WriteError, match=r"model could not be written: .*The earlier content is kept"),
        folder_written_whole(disk / "model") as temporary,
    ):
        write(temporary / "file")
    assert [path.name for path in disk.iterdir()] == ["model"]


def test_other_errors_are_not_taken_for_a_full_disk():
    assert write_failure(ValueError("no such language")) == ""
    assert write_failure(RuntimeError("CUDA error: an illegal memory access was encountered")) == ""
    assert write_failure(PermissionError(13, "Permission denied", "x")) == "Permission denied"


@pytest.fixture
def disk_calls(monkeypatch) -> list[tuple[str, int]]:
    """What is flushed, renamed and deleted, in order: the call, and the inode of its file or folder."""
    calls: list[tuple[str, int]] = []
    flush, delete = os.fsync, shutil.rmtree

    def note_flush(descriptor: int) -> None:
        calls.append(("flush", os.fstat(descriptor).st_ino))
        flush(descriptor)

    def renaming(rename):
        def note_rename(source, target) -> None:
            calls.append(("rename", Path(source).stat().st_ino))
            rename(source, target)

        return note_rename

    def note_delete(folder, **options) -> None:
        if Path(folder).exists():
            calls.append(("delete", Path(folder).stat().st_ino))
        delete(folder, **options)

    monkeypatch.setattr(os, "fsync", note_flush)
    monkeypatch.setattr(os, "rename", renaming(os.rename))
    monkeypatch.setattr(os, "replace", renaming(os.replace))
    monkeypatch.setattr(shutil, "rmtree", note_delete)
    return calls


def test_a_file_is_on_disk_before_it_has_its_name_and_its_name_is_brought_there_too(tmp_path, disk_calls):
    write_text(tmp_path / "file", "ciao")
    file, folder = (path.stat().st_ino for path in (tmp_path / "file", tmp_path))
    assert disk_calls == [("flush", file), ("rename", file), ("flush", folder)]


def test_a_folder_is_on_disk_before_it_has_its_name_and_the_one_before_goes_last(tmp_path, disk_calls):
    for name in ("new/inner/a", "new/b", "run/a"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    inodes = {path.relative_to(tmp_path).as_posix(): path.stat().st_ino for path in tmp_path.rglob("*")}
    move_into_place(tmp_path / "new", tmp_path / "run")
    contents = {("flush", inodes[name]) for name in ("new", "new/b", "new/inner", "new/inner/a")}
    assert {*disk_calls[:4]} == contents
    assert disk_calls[4:] == [
        ("rename", inodes["run"]),  # never is there a moment without either of them
        ("rename", inodes["new"]),
        ("flush", tmp_path.stat().st_ino),
        ("delete", inodes["run"]),
    ]
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == [
        "run", "run/b", "run/inner", "run/inner/a",
    ]  # fmt: skip


def test_a_folder_gives_up_its_name_before_it_is_deleted(tmp_path, disk_calls):
    (tmp_path / "old").mkdir()
    (tmp_path / "old/file").touch()
    inode = (tmp_path / "old").stat().st_ino
    delete_folder(tmp_path / "old")
    assert disk_calls == [("rename", inode), ("delete", inode)]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("is_there", [True, False])
def test_a_link_stays_and_the_folder_is_written_where_it_leads(tmp_path, is_there):
    if is_there:
        (tmp_path / "disk/data").mkdir(parents=True)
    (tmp_path / "link").symlink_to("disk/data")
    with folder_written_whole(tmp_path / "link") as folder:
        (folder / "file").touch()
    assert (tmp_path / "link").readlink() == Path("disk/data")
    assert [path.name for path in (tmp_path / "disk").rglob("*")] == ["data", "file"]


def test_the_folder_that_a_path_means(tmp_path, monkeypatch):
    (tmp_path / "a/b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a/b")
    assert [real_folder(Path(name)) for name in (".", "..", "c/../..", "c")] == [
        tmp_path / "a/b", tmp_path / "a", tmp_path / "a", Path("c"),
    ]  # fmt: skip
