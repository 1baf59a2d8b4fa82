"""What tests of readers share: prompts as corpora encode them, the same corpus in every container."""

import tarfile
import zipfile
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from tests.support.tones import encode

KINDS = ("folder", "zip", "tar", "tar.gz", "tar.bz2", "tar.xz")
WAYS = ("folder", "zip", "tar.gz")  # audio is read from a path, at its place in a file, or in its turn


def write(folder: Path, files: dict[str, str | bytes]) -> Path:
    """Write files by their names below a folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
    return folder


def pack(folder: Path, kind: str) -> Path:
    """The folder itself, or an archive of what is in it, the last file first."""
    if kind == "folder":
        return folder
    path = folder.with_name(f"{folder.name}.{kind}")
    names = sorted((file.relative_to(folder).as_posix() for file in folder.rglob("*")), reverse=True)
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in names:
                archive.write(folder / name, name)
    else:
        with tarfile.open(path, f"w:{kind.removeprefix('tar').removeprefix('.')}") as archive:
            for name in names:
                archive.add(folder / name, f"./{name}", recursive=False)
    return path


@pytest.fixture(scope="session")
def clips(italian_prompts) -> list[tuple[np.ndarray, str]]:
    """Six real prompts of 1 to 6 s: (samples,) float32 at 16 kHz, and the transcript."""
    return italian_prompts[:6]


@pytest.fixture(scope="session")
def texts(clips) -> list[str]:
    return [text for _, text in clips]


@pytest.fixture(scope="session")
def encoded(clips) -> Callable[[int, str], bytes]:
    """A function that gives a prompt by its number as the bytes of a file: `encoded(0, "mp3")`."""
    return lru_cache(maxsize=None)(lambda number, suffix: encode(clips[number][0], suffix))


@pytest.fixture
def write_files() -> Callable[[Path, dict[str, str | bytes]], Path]:
    return write


@pytest.fixture
def packed() -> Callable[[Path, str], Path]:
    return pack


@pytest.fixture(params=KINDS)
def container(request) -> Callable[[Path], Path]:
    """A function that packs a folder into one kind of container."""
    return lambda folder: pack(folder, request.param)


@pytest.fixture(params=WAYS)
def each_way(request) -> Callable[[Path], Path]:
    """A function that packs a folder so that its audio is read in one of the ways that a reader must know.

    That containers of one way are alike, tests/data/archives/ shows.
    """
    return lambda folder: pack(folder, request.param)


@pytest.fixture
def by_id() -> Callable[[Iterable], tuple[dict, list]]:
    """A function that reads a source twice, finds the same items, and gives utterances by id, and rejects."""
    return _by_id


def _by_id(source) -> tuple[dict, list]:
    from utils.data.utterance import Utterance

    items = list(source.items)
    assert items == list(source.items)
    assert source.total in (len(items), None)
    utterances = [item for item in items if isinstance(item, Utterance)]
    assert len({utterance.id for utterance in utterances}) == len(utterances)
    rejects = [
        (item.source, item.position, item.problem.kind) for item in items if not isinstance(item, Utterance)
    ]
    return {utterance.id: utterance for utterance in utterances}, rejects
