"""Download files with a cache, limits of size and time, and checksums."""

import contextlib
import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from utils.runtime.errors import UserError
from utils.runtime.locking import sole_holder

LOCK_PATIENCE = 1800.0  # seconds: another process may be downloading and converting

DOWNLOAD_PATIENCE = 900.0

SOCKET_PATIENCE = 20.0

CHUNK_BYTES = 1 << 20


class SourceUnavailable(Exception):
    """Raised if one of several sources fails. The message says why."""


def cache_folder() -> Path:
    """Return the folder for downloaded and converted files.

    `WHISPER_FINETUNING_CACHE` names another folder.
    """
    if chosen := os.environ.get("WHISPER_FINETUNING_CACHE"):
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "whisper-finetuning"


@contextlib.contextmanager
def filling_cache(name: str) -> Iterator[None]:
    """Let only one process at a time fill the cache entry `name`. The other processes wait.

    Raises:
        UserError: The cache is not writable, or another process holds the lock for too long.
    """
    cache = cache_folder()
    refusal = f"{cache}: another process has locked the cache for over half an hour. Stop that process."
    try:
        (cache / "locks").mkdir(parents=True, exist_ok=True)
        with sole_holder(cache / "locks" / f"{name}.lock", refusal, LOCK_PATIENCE):
            yield
    except OSError as error:
        raise UserError(
            f"{cache}: cannot write to the cache: {error}. "
            "Free some space, or set WHISPER_FINETUNING_CACHE to a folder that you can write to."
        ) from None


def file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def run_downloader(
    command: list[str], cwd: str | None = None, output: IO[bytes] | int = subprocess.DEVNULL
) -> None:
    """Run `command` without showing its messages.

    Raises:
        SourceUnavailable: The command fails or takes too long. The message ends with the last line of its
            output.
    """
    environment = os.environ | {"LC_ALL": "C"}
    try:
        subprocess.run(
            command,
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.PIPE,
            timeout=DOWNLOAD_PATIENCE,
            check=True,
        )
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip().splitlines()
        raise SourceUnavailable(f"{Path(command[0]).name}: {said[-1] if said else error}") from None
    except (subprocess.TimeoutExpired, OSError) as error:
        raise SourceUnavailable(str(error)) from None
