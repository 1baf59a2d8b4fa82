import os

import pytest

from utils.runtime.disk_budget import DiskBudget, folder_bytes, read_size, show_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("12G", 12 * 10**9),
        ("800M", 8 * 10**8),
        ("1.5TB", 15 * 10**11),
        ("64 kb", 64_000),
        *((wrong, None) for wrong in ("12", "G", "-1G", "1,5G", "12 Gi", "")),
    ],
)
def test_sizes_as_people_write_them(text, size):
    assert read_size(text) == size


def test_sizes_for_people():
    assert [show_size(12e9), show_size(8.04e8), show_size(40_000)] == ["12.00 GB", "804.0 MB", "0.0 MB"]


def test_what_files_take_on_disk(tmp_path):
    """Links count once; the hole in a sparse file takes nothing."""
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/file").write_bytes(os.urandom(1 << 20))
    os.link(tmp_path / "deep/file", tmp_path / "link")
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 30)
    assert folder_bytes(tmp_path) == pytest.approx(1 << 20, rel=0.02)
    assert folder_bytes(tmp_path / "missing") == 0


def test_a_budget_is_a_smaller_disk(tmp_path):
    (tmp_path / "file").write_bytes(os.urandom(1 << 20))
    budget = DiskBudget(tmp_path, 3 << 20)
    assert budget.free_bytes() == pytest.approx(2 << 20, rel=0.02)
    assert budget.why_too_small(1 << 20) == ""
    assert budget.why_too_small(5 << 20) == "the disk, or disk_budget, has 2.1 MB left, 5.2 MB are needed"
    assert DiskBudget(tmp_path).free_bytes() > 4 << 20
    assert DiskBudget(tmp_path).why_too_small(1 << 60).startswith("the disk has ")
