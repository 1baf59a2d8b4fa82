"""Download the recording behind a stranger's link."""

from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from utils.delivery.intake.guarded_proxy import GuardedProxy, LinkLimits
from utils.delivery.intake.media_download import check_link, download_media
from utils.delivery.intake.page_download import page_download

TICK = 0.2  # seconds between two reports

Found = TypeVar("Found")

Report = Callable[[int, int | None], None]
"""Called with the bytes received so far, and the size of the file if the server has told it."""


def fetch_link(
    url: str,
    folder: Path,
    limits: LinkLimits = LinkLimits(),  # noqa: B008, frozen
    *,
    report: Report = lambda num_bytes, expected_bytes: None,
    allow_private: Collection[str] = (),
) -> Path:
    """Download the audio or video behind a link into `folder`.

    The answer of the server decides how. A web page or a list of media segments, by its content type, is
    given to yt-dlp: YouTube, archive.org, the pages of Dropbox and Google Drive, a newspaper with a player.
    Audio, video and files of no particular type are downloaded as they are: a podcast's MP3, a link that
    ends in `?dl=1`. Everything else, such as a picture, is refused. No list of hosts is kept. Both ways go
    through a `GuardedProxy`.

    Args:
        url: An http or https link.
        folder: A folder for the files of one visitor. A file of the same name is replaced.
        limits: Of the size and the time. The time includes everything but the last answer of a name server.
        report: Called five times a second, in this thread. If it raises an error, the download ends,
            nothing stays in `folder`, and the error is raised again. So a caller can cancel.
        allow_private: Addresses with ports, such as `127.0.0.1:8080`, that links may reach although they
            are not public. For tests alone, and for media servers of one's own.

    Returns:
        Path of the file. Its content is unchecked: see `decode_in_child`.

    Raises:
        UserError: The link is refused, leads to nothing usable, or passes a limit.
    """
    url = url.strip()
    check_link(url)
    folder.mkdir(parents=True, exist_ok=True)
    with (
        TemporaryDirectory(prefix=".link-", dir=folder) as scratch,
        ThreadPoolExecutor(1) as pool,
        GuardedProxy(limits, allow_private) as proxy,  # closed first, which ends a download that still runs
    ):
        part = Path(scratch)
        found = _watch(pool.submit(download_media, url, part, proxy), proxy, report)
        if found is None:
            with page_download(url, part, proxy) as wait_for_file:
                found = _watch(pool.submit(wait_for_file), proxy, report)
        return found.replace(folder / found.name)


def _watch(download: Future[Found], proxy: GuardedProxy, report: Report) -> Found:
    """Wait for a download. Raise the reason to end it, its own error, or that of `report`."""
    while not download.done():
        proxy.check()
        report(proxy.num_bytes, proxy.expected_bytes)
        wait([download], TICK)
    if download.exception() is not None:
        proxy.check()  # why the proxy closed the connection, which is all that the client saw
    return download.result()
