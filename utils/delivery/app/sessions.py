"""What the page keeps for each visitor: a folder, the upload in use, and whether the request was stopped."""

import contextlib
import secrets
import shutil
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

KEPT = 3600.0  # seconds for which files of a visitor who does nothing are kept


class Stopped(Exception):
    """The visitor has stopped the request, begun another one, or left."""


@dataclass(eq=False)
class Session:
    """One request of a visitor, until the next one."""

    folder: Path  # with a name that nobody can guess
    upload: Path | None
    used: float = field(default_factory=time.monotonic)
    is_ready: bool = False  # to be transcribed
    _stopped: threading.Event = field(default_factory=threading.Event)

    @property
    def sound(self) -> Path:
        """Return the path of the recording as the model hears it."""
        return self.folder / "recording.flac"

    def stop(self) -> None:
        self._stopped.set()

    @property
    def is_stopped(self) -> bool:
        return self._stopped.is_set()

    def check(self) -> None:
        """Raise `Stopped` if nobody waits for the answer any more."""
        self.used = time.monotonic()
        if self.is_stopped:
            raise Stopped


class Sessions:
    """The sessions of all visitors. Files are deleted when their visitor leaves or asks for something else.

    Args:
        root: Folder of all files of the page, uploads included.
        kept: Seconds for which files of a visitor who does nothing are kept.
    """

    def __init__(self, root: Path, kept: float = KEPT) -> None:
        self._root, self._kept = root.resolve(), kept
        self._sessions: dict[str, Session] = {}
        self._lock = threading.RLock()

    def begin(self, visitor: str, upload: Path | None) -> Session:
        """Begin a request. The earlier one of this visitor is stopped, and its files are deleted."""
        folder = self._root / "sessions" / secrets.token_urlsafe(24)
        session = Session(folder, upload)
        with self._lock:
            earlier = self._sessions.get(visitor)
            self._sessions[visitor] = session
            self._discard(earlier)
            for other, idle in list(self._sessions.items()):
                if time.monotonic() - idle.used > self._kept:
                    self.end(other)
            folder.mkdir(parents=True)
        return session

    def holds(self, upload: Path) -> bool:
        """Check whether a path is that of an upload: a file in the folder, without detours."""
        try:
            return (
                upload.is_relative_to(self._root)
                and upload.resolve(strict=True) == upload
                and upload.is_file()
            )
        except (OSError, ValueError):  # it is missing, or its name is impossible
            return False

    def find(self, visitor: str) -> Session | None:
        return self._sessions.get(visitor)

    def end(self, visitor: str) -> None:
        """Stop what a visitor has asked for, and delete the files."""
        with self._lock:
            self._discard(self._sessions.pop(visitor, None))

    def _discard(self, session: Session | None) -> None:
        if session is None:
            return
        session.stop()
        shutil.rmtree(session.folder, ignore_errors=True)
        upload = session.upload
        in_use = any(other.upload == upload for other in self._sessions.values())
        if upload is not None and not in_use:
            upload.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                upload.parent.rmdir()
