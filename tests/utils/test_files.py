"""Files and folders whole or not at all, also on a full disk and by writers with errors of their own."""

from pathlib import Path

import pytest
import torch

from utils.errors import WriteError
from utils.files import delete_folder, folder_written_whole, real_folder, write_failure, write_text


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
        pytest.raises(WriteError, match=r"model could not be written: .*What was there before is kept"),
        folder_written_whole(disk / "model") as temporary,
    ):
        write(temporary / "file")
    assert [path.name for path in disk.iterdir()] == ["model"]


def test_other_errors_are_not_taken_for_a_full_disk():
    assert write_failure(ValueError("no such language")) == ""
    assert write_failure(RuntimeError("CUDA error: an illegal memory access was encountered")) == ""
    assert write_failure(PermissionError(13, "Permission denied", "x")) == "Permission denied"


def test_a_folder_goes_under_another_name(tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "old/file").touch()
    delete_folder(tmp_path / "old")
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
