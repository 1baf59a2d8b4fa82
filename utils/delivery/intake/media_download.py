"""Download a media file from a link through the guarded proxy, or find out that the link is a web page."""

import re
import ssl
from functools import cache
from pathlib import Path
from urllib.parse import quote, unquote, urljoin, urlsplit

import certifi
import urllib3
from urllib3.exceptions import HTTPError, IncompleteRead, SSLError

from utils.delivery.intake.guarded_proxy import PATIENCE, GuardedProxy
from utils.runtime.errors import UserError

MOST_REDIRECTS = 10  # podcasts are often counted by a chain of several hosts

LONGEST_LINK = 4096  # characters

CHUNK_BYTES = 1 << 16

PAGES = frozenset((
    *("text/html", "application/xhtml+xml", "application/dash+xml"),
    *("application/vnd.apple.mpegurl", "application/x-mpegurl", "audio/mpegurl", "audio/x-mpegurl"),
))  # fmt: skip
"""Content types of web pages and of lists of media segments."""

MEDIA = re.compile(
    r"|(audio|video)/.+|(application|binary)/(x-)?octet-?stream|application/(x-)?(ogg|mp4|matroska|download)"
    r"|application/(x-)?force-download"
)
"""Content types of files that may hold sound. No type, and types for any file, are among them."""

GONE = (404, 410)

RESERVED = "!#$%&'()*+,/:;=?@[]~"  # RFC 3986; the rest of a redirect is quoted, as browsers do

AGENT = "Mozilla/5.0 (compatible; whisper-finetuning)"


def check_link(url: str) -> None:
    """Check the form of a link. Where it leads is checked when it is followed.

    Raises:
        UserError: It is no http or https link, or it holds a password or characters that do not belong there.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port  # reading the port checks it
    except ValueError:
        host = None
    if len(url) > LONGEST_LINK or re.search(r"[\x00-\x20\x7f\\]", url):
        raise UserError(
            f"{for_message(url)}: not a link. Paste only the link, without spaces around or inside it."
        )
    if not host or parts.scheme not in ("http", "https"):
        raise UserError(f"{for_message(url)}: expected a link that begins with http:// or https://.")
    if "@" in parts.netloc:
        raise UserError(
            f"{for_message(parts.hostname or '')}: a link must not hold a name or password before the @."
        )


def for_message(text: str) -> str:
    """Return a stranger's text for a message: printable, at most 200 characters."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:200])


def download_media(url: str, folder: Path, proxy: GuardedProxy) -> Path | None:
    """Download the file behind a link, following redirects. Return None if it is a web page.

    Raises:
        UserError: The link, a redirect or the answer is not acceptable, or the download broke off.
    """
    client = urllib3.ProxyManager(
        proxy.address,
        proxy_headers=urllib3.make_headers(proxy_basic_auth=proxy.credentials),
        ssl_context=_trusted_certificates(),
        retries=False,
        timeout=2 * PATIENCE,  # the proxy gives up first, and knows why
    )
    # asked for without compression, so that the bytes received are the bytes of the file
    headers = {"User-Agent": AGENT, "Accept": "*/*", "Accept-Encoding": "identity"}
    with client:
        for _ in range(MOST_REDIRECTS + 1):
            check_link(url)
            try:
                answer = client.request("GET", url, headers=headers, preload_content=False, redirect=False)
                try:
                    if not (target := answer.get_redirect_location()):
                        return _receive(answer, url, folder, proxy)
                    url = urljoin(url, quote(target, safe=RESERVED))
                finally:
                    answer.close()
            except (HTTPError, ValueError) as error:
                raise UserError(f"{for_message(url)}: {_reason(error, proxy)}.") from None
    raise UserError(f"{for_message(url)}: over {MOST_REDIRECTS} redirects. Give the link of the file itself.")


@cache
def _trusted_certificates() -> ssl.SSLContext:
    """Trust what browsers trust, and what this system adds (SSL_CERT_FILE)."""
    context = ssl.create_default_context(cafile=certifi.where())
    context.load_default_certs()
    return context


def _receive(answer: urllib3.BaseHTTPResponse, url: str, folder: Path, proxy: GuardedProxy) -> Path | None:
    kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    is_blocked = answer.status >= 400 and answer.status < 500 and answer.status not in GONE
    if kind in PAGES and (answer.status < 400 or is_blocked):
        return None  # some sites turn plain clients away, but not yt-dlp
    if answer.status != 200:
        raise UserError(
            f"{for_message(url)}: the server answers {answer.status} {for_message(answer.reason or '')}."
        )
    if not MEDIA.fullmatch(kind):
        raise UserError(
            f"{for_message(url)}: the link leads to {for_message(kind)}, expected audio or video."
        )
    if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise UserError(
            f"{for_message(url)}: the server compresses the file. Download it yourself and upload it."
        )
    length = answer.headers.get("Content-Length", "")
    proxy.expected_bytes = int(length) if length.isdecimal() else None
    if (proxy.expected_bytes or 0) > proxy.limits.size_bytes:
        raise proxy.limits.too_large()
    path = folder / _file_name(url)
    num_bytes = 0
    with path.open("wb") as file:
        for chunk in answer.stream(CHUNK_BYTES, decode_content=False):
            num_bytes += len(chunk)
            if num_bytes > proxy.limits.size_bytes:
                raise proxy.limits.too_large()
            file.write(chunk)
    return path


def _file_name(url: str) -> str:
    """Return a name made from the last part of the link: letters, digits, dots, hyphens and blanks only."""
    last = unquote(urlsplit(url).path).rpartition("/")[2]
    name = re.sub(r"[^\w.-]+", " ", last).strip(" .")
    stem, dot, suffix = name.rpartition(".")
    return f"{stem[:50]}.{suffix[:10]}" if dot else name[:50] or "media"


def _reason(error: Exception, proxy: GuardedProxy) -> str:
    if proxy.trouble:
        return proxy.trouble
    if isinstance(error, SSLError):
        verdict = re.search(r"certificate verify failed: (.*) \(_ssl", str(error))
        return f"no secure connection{f': {for_message(verdict[1])}' if verdict else ''}"
    if isinstance(error, IncompleteRead) or isinstance(error.__cause__, IncompleteRead):
        return "the download broke off. Try again"
    return "the server does not answer as a web server does"
