"""Web servers on this machine that answer as the hosts behind strangers' links may, the hostile ones too."""

import gzip
import socket
import ssl
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.support.tones import flac_tone
from utils.delivery.intake.guarded_proxy import LinkLimits
from utils.delivery.intake.links import fetch_link
from utils.runtime.errors import UserError

PRIVATE = "not on the public internet"

TALK = flac_tone(1.0)

PAGE = "<html><head><title>A talk</title></head><body>{}</body></html>"


class LinkServer(ThreadingHTTPServer):
    """Answers `/what/argument` by the function of that name in `_Answers`, and notes what was asked."""

    daemon_threads = True

    def __init__(self, host: str = "127.0.0.1", certificate: Path | None = None) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, 0), _Answers)
        self.asked: list[str] = []
        self.talk = TALK
        self.ended = threading.Event()
        self.place = f"[{host}]:{self.server_port}" if ":" in host else f"{host}:{self.server_port}"
        self.origin = f"http://{self.place}"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.socket = context.wrap_socket(self.socket, server_side=True)

    def server_bind(self) -> None:
        ThreadingHTTPServer.server_bind(self)
        self.server_port = self.server_address[1]

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that go away, which is what the tests are about."""


@contextmanager
def running(server: LinkServer) -> Iterator[LinkServer]:
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield server
    finally:
        server.ended.set()
        server.shutdown()
        server.server_close()


def refusal(url: str, folder: Path, limits: LinkLimits = LinkLimits(), places: Collection[str] = ()) -> str:  # noqa: B008
    """The message for a link that is refused. Nothing stays in the folder."""
    with pytest.raises(UserError) as error:
        fetch_link(url, folder, limits, allow_private=places)
    assert list(folder.iterdir()) == [] if folder.exists() else True
    return str(error.value)


class _Answers(BaseHTTPRequestHandler):
    server: LinkServer

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        self.server.asked.append(path)
        what, _, argument = path[1:].partition("/")
        answer: Callable[[str], None] = getattr(self, f"_{what.partition('.')[0]}")
        answer(unquote(argument))

    do_HEAD = do_GET

    def _send(self, kind: str, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in ({"Content_Type": kind, "Content_Length": str(len(body))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def _talk(self, argument: str) -> None:
        self._send("audio/flac", self.server.talk)

    def _typeless(self, argument: str) -> None:
        self._send("application/octet-stream", TALK)

    def _to(self, target: str) -> None:
        self._send("text/html", b"moved", 302, Location=target)

    def _loop(self, argument: str) -> None:
        self._to("/loop")

    def _picture(self, argument: str) -> None:
        self._send("image/png", b"\x89PNG")

    def _missing(self, argument: str) -> None:
        self._send("text/html", b"<html>not here</html>", 404)

    def _headless(self, argument: str) -> None:
        self.wfile.write(b"\x00\x01 not HTTP at all\r\n\r\n")

    def _endless(self, argument: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "audio/mpeg")
        self.end_headers()
        while not self.server.ended.is_set():
            self.wfile.write(bytes(1 << 16))

    def _drip(self, argument: str) -> None:
        """One byte now and then, already within the header if the argument says so."""
        if argument == "header":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        else:
            self.send_response(200)
            self.send_header("Content-Type", "audio/mpeg")
            self.end_headers()
        while not self.server.ended.wait(0.05):
            self.wfile.write(b"a")
            self.wfile.flush()

    def _short(self, argument: str) -> None:
        self._send("audio/flac", TALK, Content_Length=str(len(TALK) + 1000))

    def _stalled(self, argument: str) -> None:
        self._short(argument)
        self.wfile.flush()
        self.server.ended.wait(5)

    def _huge(self, argument: str) -> None:
        self._send("audio/flac", b"", Content_Length=str(1 << 40))

    def _bomb(self, argument: str) -> None:
        self._send("audio/flac", gzip.compress(bytes(1 << 24)), Content_Encoding="gzip")

    def _page(self, source: str) -> None:
        self._send("text/html", PAGE.format(f'<video src="{source}"></video>').encode())

    def _several(self, argument: str) -> None:
        videos = "".join(f'<video src="/talk/{number}.flac"></video>' for number in range(3))
        self._send("text/html", PAGE.format(videos).encode())

    def _list(self, source: str) -> None:
        """A list of one segment. The first segment is at `source`, which may be another host."""
        source = source.removesuffix("/list.m3u8")  # yt-dlp knows a list by its ending
        text = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{source}\n#EXT-X-ENDLIST\n"
        self._send("application/vnd.apple.mpegurl", text.encode())

    def _live(self, argument: str) -> None:
        text = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:7\n#EXTINF:1,\n/talk.flac\n"
        self._send("application/vnd.apple.mpegurl", text.encode())

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""
