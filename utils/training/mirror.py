"""Copy a run to another disk while it trains, so that a fresh machine can continue it.

The copy has the layout of the run folder: the newest checkpoint, best/, final/, the snapshots and the logs.
Each folder and file gets its name when it is complete. The checkpoint comes last, so that all others are at
least as new as it is; and a resumed run drops what is newer.
"""

import contextlib
import os
import shutil
import threading
import time
from pathlib import Path

from utils.runtime.files import flush_folder, link_or_copy, move_into_place, scratch_folder, write_failure
from utils.training.checkpoint_files import checkpoint_step, newest_first
from utils.training.clock import RunClock
from utils.training.mixing import AVERAGE_FILE, INTERPOLATION_FILE
from utils.training.model_folders import SNAPSHOTS
from utils.training.run_log import METRICS_FILE, PREDICTIONS, RUN_ID_FILE

MODELS = ("best", "final", "interpolated")
RECORDS = ("train.yaml", METRICS_FILE, RUN_ID_FILE, AVERAGE_FILE, INTERPOLATION_FILE)
LOGS = ("logs", PREDICTIONS)

BLOCK_BYTES = 1 << 24

PATIENCE = 300.0  # seconds without a copied byte, after which the end of a run waits no longer


class RunMirror:
    """Copies a run folder to another disk.

    A thread copies hard links to the files, because training replaces and deletes files meanwhile. If a copy
    is still being made, the next one is left out. A copy that fails is a warning.

    Args:
        run: The run folder.
        folder: The folder on the other disk.
        clock: Records how long a copy takes.
    """

    def __init__(self, run: Path, folder: Path, clock: RunClock) -> None:
        self._run, self._folder, self._clock = run, folder, clock
        self._thread: threading.Thread | None = None
        self._copied: dict[
            str, list[tuple[str, int, int]]
        ] = {}  # by name: the files that the copy was made of
        self._progress = time.monotonic()

    def start(self) -> None:
        """Begin to copy what is new, unless a copy is being made."""
        if self._thread and self._thread.is_alive():
            return
        staged = self._run / ".mirroring"
        try:
            shutil.rmtree(staged, ignore_errors=True)
            for source in mirrored_items(self._run):
                _stage(source, staged / source.relative_to(self._run))
        except OSError as error:
            self._warn(error)
            return
        self._progress = time.monotonic()
        self._thread = threading.Thread(target=self._copy_staged, args=(staged,), daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Copy the newest files, and wait until this is done.

        If the other disk does not take a byte for `PATIENCE`, print a warning and do not wait any longer.
        """
        if self._wait():
            self.start()
            self._wait()

    def _wait(self) -> bool:
        while self._thread and self._thread.is_alive():
            self._thread.join(0.1)
            if time.monotonic() - self._progress > PATIENCE:
                print(f"Warning: {self._folder} takes no more data. The copy there is older than the run.")
                return False
        return True

    def _copy_staged(self, staged: Path) -> None:
        started = time.monotonic()
        try:
            self._folder.mkdir(exist_ok=True)  # not the folders above it: the disk may be unmounted
            self._sweep(".tmp")
            for item in mirrored_items(staged):
                name = item.relative_to(staged).as_posix()
                files = _fingerprint(item)
                target = self._folder / name
                if self._copied.get(name) != files or not target.exists():
                    self._copy(item, target)
                    self._copied[name] = files
            self._drop_what_is_gone(staged)
            self._sweep(".old")
        except OSError as error:
            self._warn(error)
        finally:
            shutil.rmtree(staged, ignore_errors=True)
        self._clock.note("mirror", time.monotonic() - started, between_steps=False)

    def _copy(self, source: Path, target: Path) -> None:
        """Copy a file or a folder. It gets its name when it is complete."""
        temporary = target.with_name(f".{target.name}.tmp")
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            if source.is_dir():
                temporary.mkdir()
                for file in _files(source):
                    self._copy_file(file, temporary / file.relative_to(source))
                move_into_place(temporary, target)
            else:
                self._copy_file(source, temporary)
                temporary.replace(target)
                flush_folder(target.parent)
        except OSError:
            with contextlib.suppress(OSError):
                _delete(temporary)
            raise

    def _copy_file(self, source: Path, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        with source.open("rb", buffering=0) as read, target.open("wb", buffering=0) as written:
            while block := memoryview(read.read(BLOCK_BYTES)):
                while block:
                    block = block[written.write(block) :]
                self._progress = time.monotonic()
            os.fsync(written.fileno())

    def _drop_what_is_gone(self, staged: Path) -> None:
        """Delete older checkpoints, and what the run has deleted."""
        kept = {item.relative_to(staged) for item in mirrored_items(staged)}
        if not any(checkpoint_step(path) >= 0 for path in kept):
            return  # the run has none; an older one is better than none
        for item in dict.fromkeys([*mirrored_items(self._folder), *newest_first(self._folder)]):
            if item.relative_to(self._folder) not in kept:
                _delete(item)

    def _sweep(self, suffix: str) -> None:
        """Delete what a copy that was killed has left."""
        for left in self._folder.rglob(f".*{suffix}"):
            _delete(left)

    def _warn(self, error: OSError) -> None:
        print(
            f"Warning: {self._folder} could not be updated: {write_failure(error)}. What was complete there "
            "stays. Training continues, and tries again at the next checkpoint.",
            flush=True,
        )


def mirrored_items(run: Path) -> list[Path]:
    """List the files and folders of a run that are copied as one, in the order of copying."""
    folders = [run / name for name in MODELS]
    snapshots = sorted(path for path in (run / SNAPSHOTS).glob("*") if not path.name.startswith("."))
    logs = [file for name in LOGS for file in _files(run / name)]
    records = [run / name for name in RECORDS]
    found = [*folders, *snapshots, *logs, *records, *newest_first(run)[:1]]
    return [path for path in found if path.exists() and not path.is_symlink()]


def fetch_run(mirror: Path, run: Path) -> None:
    """Copy a mirrored run into its run folder. The checkpoint gets its name last.

    Raises:
        OSError: The other disk could not be read, or the run folder not written.
    """
    with scratch_folder(run / ".fetching") as scratch:
        for name in MODELS:  # the mirror was replacing this folder when its machine was lost
            if not (mirror / name).exists() and (mirror / f".{name}.old").is_dir():
                (mirror / f".{name}.old").rename(mirror / name)
        for item in mirrored_items(mirror):
            for file in _files(item):
                copy = scratch / file.relative_to(mirror)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, copy)
        for item in mirrored_items(scratch):
            target = run / item.relative_to(scratch)
            target.parent.mkdir(parents=True, exist_ok=True)
            if item.is_dir():
                move_into_place(item, target)
            else:
                item.replace(target)


def _delete(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _files(path: Path) -> list[Path]:
    """List the files in a folder, or the file itself. Links and hidden files are left out."""
    found = [path] if path.is_file() else sorted(path.rglob("*"))
    return [file for file in found if file.is_file() and not file.is_symlink() and file.name[0] != "."]


def _fingerprint(path: Path) -> list[tuple[str, int, int]]:
    """Return name, size and time of each file."""
    return [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in _files(path)]


def _stage(source: Path, target: Path) -> None:
    """Link the files of an item, so that they stay as they are. Copy logs, because they grow."""
    grows = target.name == METRICS_FILE or "logs" in target.parts
    for file in _files(source):
        copy = target / file.relative_to(source) if source.is_dir() else target
        copy.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copy2 if grows else link_or_copy)(str(file), str(copy))
