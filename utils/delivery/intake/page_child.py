"""Run yt-dlp on one page, in a process of its own that may talk to the guarded proxy alone.

`page_download.py` starts this file with `python -I`, so it imports nothing of `utils/`. It reads a job from
standard input and prints the outcome, both as JSON. The media file is then the only file in the current
folder.
"""

import json
import os
import sys
from pathlib import Path
from typing import TypedDict

# Formats that yt-dlp can download itself; the best sound comes first, then the smallest picture with sound.
NATIVE = "[protocol~='^(https?|m3u8_native|http_dash_segments)$']"
FORMATS = f"bestaudio{NATIVE}/best{NATIVE}[height<=480]/best{NATIVE}/bestaudio*{NATIVE}"

LIVE = ("is_live", "is_upcoming", "post_live")

MEMORY_BYTES = 1 << 30  # against pages that are bombs when they are decompressed

LONGEST_MESSAGE = 300  # characters

RUNTIME = "deno"  # runs the scripts of YouTube for yt-dlp, without access to files and network


class PageJob(TypedDict):
    """What to download."""

    url: str
    proxy: str  # with name and password
    port: int  # of the proxy
    size_bytes: int


def main() -> None:
    job: PageJob = json.load(sys.stdin)
    limit_resources(job["size_bytes"])
    sys.addaudithook(allow_only_proxy(job["port"]).check)
    print(json.dumps({"problem": download(job)}))


class allow_only_proxy:
    """An audit hook that refuses network connections past the proxy, and other programs."""

    def __init__(self, port: int) -> None:
        self._proxy = ("127.0.0.1", port)

    def check(self, event: str, arguments: tuple) -> None:
        """Refuse an event (https://docs.python.org/3/library/audit_events.html) by a PermissionError."""
        if event in ("socket.connect", "socket.sendto", "socket.bind") and arguments[1] != self._proxy:
            raise PermissionError("only connections to the proxy are allowed")
        is_program = event in ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "pty.spawn")
        is_other = event == "subprocess.Popen" and Path(str(arguments[0])).stem != RUNTIME
        if is_program or is_other:
            raise PermissionError("no other programs are allowed")


def limit_resources(size_bytes: int) -> None:
    """Limit the size of files and the memory of this process, where the system can."""
    try:
        import resource
    except ImportError:  # Windows
        return
    wanted = (
        (resource.RLIMIT_FSIZE, size_bytes),
        (resource.RLIMIT_DATA, MEMORY_BYTES),
        (resource.RLIMIT_CORE, 0),
    )
    for kind, most in wanted:
        try:
            resource.setrlimit(kind, (most, most))
        except (ValueError, OSError):  # macOS has no limit of memory
            continue


def download(job: PageJob) -> str:
    """Download the one video of a page. Return an empty text, or why it failed."""
    import yt_dlp

    class Silent:
        debug = info = warning = error = staticmethod(lambda message: None)

    options = {
        "proxy": job["proxy"],
        "format": FORMATS,
        "max_filesize": job["size_bytes"],
        "outtmpl": "%(title).80B.%(ext)s",
        "windowsfilenames": True,
        "noplaylist": True,
        "extract_flat": "in_playlist",
        "playlistend": 2,
        "external_downloader": {"default": "native"},
        "ffmpeg_location": os.devnull + "/none",
        "fixup": "never",
        "cachedir": False,
        "nopart": True,
        "logger": Silent(),
        "noprogress": True,
        "retries": 3,
        "fragment_retries": 3,
        "extractor_retries": 1,
        "skip_unavailable_fragments": False,
        "js_runtimes": {RUNTIME: {}},
    }
    try:
        with yt_dlp.YoutubeDL(options) as downloader:
            info = downloader.extract_info(job["url"], download=False)
            if info.get("_type") in ("playlist", "multi_video"):
                entries = list(info["entries"])
                if len(entries) != 1:
                    return "the page holds several videos, or none. Give the link of one of them"
                info = downloader.process_ie_result(entries[0], download=False)
            if info.get("is_live") or info.get("live_status") in LIVE:
                return "the link is a live stream. Give the link of a recording"
            downloader.process_info(info)
    except (yt_dlp.utils.YoutubeDLError, OSError, MemoryError) as error:
        return plain(error)
    return ""


def plain(error: Exception) -> str:
    """Return the message of an error without yt-dlp's advice for its own command line."""
    cause = getattr(error, "exc_info", None) or (None, None, None)
    message = getattr(cause[1], "orig_msg", None) or str(cause[1] or error) or type(error).__name__
    message = message.removeprefix("ERROR: ").partition("; please report")[0].partition(". Use --")[0]
    return "".join(letter if letter.isprintable() else " " for letter in message)[:LONGEST_MESSAGE].rstrip(
        ". "
    )


if __name__ == "__main__":
    main()
