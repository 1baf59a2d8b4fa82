"""What all tests share: a tiny random Whisper, datasets of tones, real prompts, skips with a reason."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.support.tiny_whisper import build_tiny_whisper, let_it_end_soon, let_it_spell
from tests.support.tones import write_prepared_tones

pytest_plugins = ["tests.support.cpu_times"]
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture(scope="session")
def tiny_whisper(tmp_path_factory) -> Path:
    """Folder of a tiny random multilingual Whisper that every loader accepts."""
    return build_tiny_whisper(tmp_path_factory.mktemp("tiny") / "whisper")


@pytest.fixture(scope="session")
def brief_whisper(tmp_path_factory) -> Path:
    """Another that ends after one token, where it does not matter what a model writes."""
    return let_it_end_soon(build_tiny_whisper(tmp_path_factory.mktemp("brief") / "whisper"))


@pytest.fixture(scope="session")
def spelling_whisper(tmp_path_factory) -> Path:
    """Another that writes letters, by what it hears; the first writes no text at all."""
    return let_it_spell(build_tiny_whisper(tmp_path_factory.mktemp("spelling") / "whisper"))


@pytest.fixture(scope="session")
def prepared(tmp_path_factory) -> Path:
    """Prepared dataset: 40 clips to train on, 6 to validate on, 6 to test on."""
    return write_prepared_tones(
        tmp_path_factory.mktemp("prepared") / "it", {"train": 40, "validation": 6, "test": 6}
    )


@pytest.fixture(scope="session")
def build_prepared() -> Callable[..., Path]:
    """A function that writes a prepared dataset of the given split sizes and language."""
    return write_prepared_tones


@pytest.fixture(scope="session")
def italian_prompts() -> list[tuple[np.ndarray, str]]:
    """Eight real telephone prompts of 1 to 6 s: (samples,) float32 at 16 kHz, and the transcript."""
    from utils.audio.reading import decode_audio
    from utils.data.sources.asterisk_download import fetch_prompts

    prompts = fetch_prompts("it")
    clips = []
    for key, text in prompts.transcripts:
        path = next(iter(prompts.folder.rglob(f"{key}.g722")), None)
        if path is None or not 8_000 < path.stat().st_size < 48_000 or "[" in text:  # 8,000 bytes a second
            continue
        clips.append((decode_audio(path), text))
        if len(clips) == 8:
            break
    return clips


@pytest.fixture(scope="session")
def require_program() -> Callable[[str], str]:
    """A function that gives a system program's path, and skips the test where there is none.

    With REQUIRE_SYSTEM_PROGRAMS=1, as .ci/run sets it, the test fails instead: nothing is skipped unseen.
    """
    return _require_program


@pytest.fixture
def demo(require_program) -> Path:
    """Folder that `make demo` leaves, with data/demo beside it; a finished one in this checkout is reused."""
    from filelock import FileLock

    root = Path(__file__).parents[1]
    with FileLock(root / ".venv" / "demo.lock"):
        subprocess.run([require_program("make"), "demo"], cwd=root, check=True, timeout=60 * 60)
    return root / "runs" / "demo"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of the demo, the longest of all, come first and one after the other."""
    items.sort(key=lambda item: "demo" not in getattr(item, "fixturenames", ()))


def _require_program(name: str) -> str:
    path = shutil.which(name)
    if path is not None:
        return path
    if os.environ.get("REQUIRE_SYSTEM_PROGRAMS") == "1":
        pytest.fail(f"{name} is not installed: add its package to .ci/run.")
    pytest.skip(f"{name} is not installed")


@pytest.fixture
def small_disk(tmp_path_factory) -> Iterator[Callable[[int], Path]]:
    """A function that mounts a file system of so many bytes in memory; needs root on Linux."""
    mounted: list[Path] = []

    def mount(size_bytes: int) -> Path:
        folder = tmp_path_factory.mktemp("disk")
        command = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(folder)]
        if (
            shutil.which("mount") is None
            or subprocess.run(command, capture_output=True, check=False).returncode
        ):
            pytest.skip("mounting a small file system needs root on Linux")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests of hardware that this machine lacks; torch is imported for these only."""
    wanted = {mark.name for mark in item.iter_markers()} & {"gpu", "mps"}
    if not wanted:
        return
    import torch

    if "gpu" in wanted and not torch.cuda.is_available():
        pytest.skip("no NVIDIA GPU here")
    if "mps" in wanted and not torch.backends.mps.is_available():
        pytest.skip("no Apple GPU here")


@pytest.fixture
def fresh_accelerator():
    """Accelerate keeps its state in the process; with this every run in a test starts anew."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
