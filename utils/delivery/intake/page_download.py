"""Download the video of a web page with yt-dlp, in a child process behind the guarded proxy."""

import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from utils.delivery.intake import page_child
from utils.delivery.intake.guarded_proxy import GuardedProxy
from utils.delivery.intake.media_download import for_message
from utils.runtime.errors import UserError

PASSED_ON = ("PATH", "SYSTEMROOT", "SSL_CERT_FILE", "SSL_CERT_DIR")
"""Variables of the environment that the child gets. It gets no proxies and no tokens."""


@contextlib.contextmanager
def page_download(url: str, folder: Path, proxy: GuardedProxy) -> Iterator[Callable[[], Path]]:
    """Start yt-dlp on a page. Yield a function that waits for the media file; kill yt-dlp at the end.

    Args:
        url: Link of the page.
        folder: An empty folder for the file.
        proxy: The only way of yt-dlp to the network.

    Raises:
        UserError: yt-dlp is not installed. The function raises it too: yt-dlp fails, or leaves no file
            within the limits. yt-dlp calls it a success if a file is too large and is not downloaded.
    """
    if importlib.util.find_spec("yt_dlp") is None:
        raise UserError(
            f"{for_message(url)}: the link is a web page. "
            "yt-dlp, which finds the video of a page, is not installed. "
            "Install it with `pip install yt-dlp`, or give the link of an audio or video file."
        )
    environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    place = {"HOME": str(folder), "TMPDIR": str(folder), "YTDLP_NO_PLUGINS": "1"}
    child = subprocess.Popen(
        [sys.executable, "-I", "-X", "utf8", str(Path(page_child.__file__).resolve())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=folder,
        env=environment | place,
        start_new_session=True,
    )
    job: page_child.PageJob = {
        "url": url,
        "proxy": proxy.address.replace("://", f"://{proxy.credentials}@"),
        "port": proxy.server_address[1],
        "size_bytes": proxy.limits.size_bytes,
    }
    try:
        yield lambda: _wait_for_file(child, job, folder, proxy)
    finally:
        _kill_group(child)


def _wait_for_file(
    child: "subprocess.Popen[bytes]", job: page_child.PageJob, folder: Path, proxy: GuardedProxy
) -> Path:
    outcome, _ = child.communicate(json.dumps(job).encode())
    try:
        problem = json.loads(outcome)["problem"]
    except (ValueError, KeyError, TypeError):  # killed, by us or for its memory
        problem = "yt-dlp stopped without a result"
    files = [path for path in folder.iterdir() if path.is_file() and not path.is_symlink()]
    size_bytes = max((path.stat().st_size for path in files), default=0)
    if (not problem and not files) or size_bytes >= proxy.limits.size_bytes:
        raise proxy.limits.too_large()
    if problem or len(files) != 1:
        raise UserError(
            f"{for_message(job['url'])}: {for_message(str(problem)) or 'yt-dlp left several files'}."
        )
    return files[0]


def _kill_group(child: "subprocess.Popen[bytes]") -> None:
    """Kill the child and what it may have started. It leads a process group of its own."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg") and child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
        else:
            child.kill()
    child.wait()
