"""A proxy on this machine through which links are downloaded: the only door to the network, with limits.

It speaks HTTP with absolute addresses and CONNECT (RFC 9110, sections 7.6 and 9.3.6). TLS passes through it
unopened, so the client still checks the certificate against the name in the link. The proxy resolves each
name itself and connects to the address that it has checked. So neither a redirect nor a second answer of a
name server leads to a private network, whatever the client does.
"""

import secrets
import selectors
import socket
import socketserver
import threading
import time
from base64 import b64encode
from collections.abc import Collection
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from types import TracebackType
from urllib.parse import urlsplit

from utils.delivery.intake.addresses import Unreachable, connect_checked
from utils.runtime.errors import UserError

LOOPBACK = "127.0.0.1"

PATIENCE = 30.0  # seconds without a byte

RELAYED_BYTES = 1 << 16

LARGEST_BODY = 1 << 20  # bytes of a request

AROUND_THE_MEDIA = 1 << 24  # bytes of pages, scripts, headers and TLS, allowed beyond the size of the file

# RFC 9110, section 7.6.1; Host is written anew from the address
_OF_THE_HOP = ("connection", "host", "keep-alive", "proxy-authorization", "proxy-connection", "te", "upgrade")


@dataclass(frozen=True)
class LinkLimits:
    """How much a link may cost."""

    size_bytes: int = 1 << 30  # of the file
    seconds: float = 900.0  # for everything together

    def too_large(self) -> UserError:
        return UserError(
            f"The file behind the link is larger than {self.size_bytes / 1e6:.4g} MB. "
            "Give a shorter recording."
        )

    def too_slow(self) -> UserError:
        return UserError(
            f"The download took longer than {self.seconds:g} s. Download the file yourself and upload it."
        )


class GuardedProxy(socketserver.ThreadingTCPServer):
    """The proxy for one link, open inside a `with` block. Leaving the block closes all its connections."""

    daemon_threads = True
    block_on_close = False
    server_address: tuple[str, int]

    def __init__(self, limits: LinkLimits, allow_private: Collection[str]) -> None:
        super().__init__((LOOPBACK, 0), _Relay)
        self.limits, self.allow_private = limits, allow_private
        self.deadline = time.monotonic() + limits.seconds
        self.num_bytes = 0  # received from servers
        self.expected_bytes: int | None = None  # set by whoever reads the header of the file
        self.refusal: UserError | None = None  # ends the download
        self.trouble = ""  # of the latest connection that failed; another one may succeed
        self.credentials = f"link:{secrets.token_hex(16)}"  # nobody else on this machine may use the proxy
        self._open = set[socket.socket]()
        self._lock = threading.Lock()

    @property
    def address(self) -> str:
        return f"http://{LOOPBACK}:{self.server_address[1]}"

    def __enter__(self) -> "GuardedProxy":
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown()
        self.server_close()
        with self._lock:
            for connection in self._open:
                _shut(connection)

    def check(self) -> None:
        """Raise the reason for which the download must end, if there is one.

        Raises:
            UserError: A limit is passed, or a private address was asked for.
        """
        if self.refusal is not None:
            raise self.refusal
        if time.monotonic() > self.deadline:
            raise self.limits.too_slow()

    def count(self, num_bytes: int) -> None:
        with self._lock:
            self.num_bytes += num_bytes
        if self.num_bytes > self.limits.size_bytes + AROUND_THE_MEDIA:
            raise self.limits.too_large()

    def process_request(self, request: socket.socket, client_address: object) -> None:  # type: ignore[override]
        self.hold(request)
        super().process_request(request, client_address)  # type: ignore[arg-type]

    def shutdown_request(self, request: socket.socket) -> None:  # type: ignore[override]
        self.release(request)
        super().shutdown_request(request)

    def hold(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.add(connection)

    def release(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.discard(connection)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a connection that breaks is reported by the client that used it."""


class _Relay(BaseHTTPRequestHandler):
    """One connection of the client. On any failure it is closed, and the proxy knows the reason."""

    server: GuardedProxy
    timeout = PATIENCE

    def do_CONNECT(self) -> None:
        host, _, port = self.path.rpartition(":")
        with self._reach(host.strip("[]"), int(port)) as remote:
            self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            self._relay(remote, both_ways=True)

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if parts.scheme != "http" or not parts.hostname:
            return
        with self._reach(parts.hostname, parts.port or 80) as remote:
            body = self.rfile.read(min(int(self.headers.get("Content-Length", 0)), LARGEST_BODY))
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            lines = [f"{self.command} {target} HTTP/1.1", f"Host: {parts.netloc.rpartition('@')[2]}"]
            lines += [f"{name}: {value}" for name, value in self.headers.items() if _is_passed(name)]
            # one request a connection: the next may be for another host
            remote.sendall("\r\n".join([*lines, "Connection: close", "\r\n"]).encode("latin-1") + body)
            self._relay(remote, both_ways=False)

    do_HEAD = do_POST = do_GET

    def parse_request(self) -> bool:
        """Read the head of a request. Refuse those without the password."""
        expected = f"Basic {b64encode(self.server.credentials.encode()).decode()}"
        return super().parse_request() and secrets.compare_digest(
            self.headers.get("Proxy-Authorization", "").encode(), expected.encode()
        )

    def _reach(self, host: str, port: int) -> socket.socket:
        try:
            remote = connect_checked(host, port, self.server.allow_private)
        except UserError as error:
            self.server.refusal = error
            raise
        except Unreachable as error:
            self.server.trouble = str(error)
            raise
        return remote

    def _relay(self, remote: socket.socket, both_ways: bool) -> None:
        """Copy bytes until one side ends or is silent for too long."""
        self.server.hold(remote)
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(remote, selectors.EVENT_READ, self.connection)
                if both_ways:
                    selector.register(self.connection, selectors.EVENT_READ, remote)
                while ready := selector.select(PATIENCE):
                    for key, _ in ready:
                        data = key.fileobj.recv(RELAYED_BYTES)  # type: ignore[union-attr]
                        if not data:
                            return
                        if key.fileobj is remote:
                            self.server.count(len(data))
                        key.data.sendall(data)
            self.server.trouble = f"the server sent nothing for {PATIENCE:g} s"
        except UserError as error:
            self.server.refusal = error
        finally:
            self.server.release(remote)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: standard error belongs to the script."""


def _is_passed(name: str) -> bool:
    return name.lower() not in _OF_THE_HOP


def _shut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:  # already closed by the other side
        return
