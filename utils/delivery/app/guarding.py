"""Let through only the requests that the page makes, and tell browsers to load nothing from elsewhere."""

import json
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

OF_THE_PAGE = re.compile(
    r"/(config|theme\.css|favicon\.ico|robots\.txt|manifest\.json|login|logout|login_check|user)?/?"
    r"|/(assets|static|svelte)/.*"
    r"|/gradio_api/(upload|upload_progress|cancel|reset|app_id|startup-events|run/predict|queue/(join|data))/?"
    r"|/gradio_api/heartbeat/\w+"
)
"""Paths of requests without side doors: no other functions, no proxy, no list of functions."""

FILES = "/gradio_api/file="

CALLS = re.compile(r"/gradio_api/(run/predict|queue/join)/?")
"""Paths of requests that call a function of the page. Their bodies name uploads."""

LARGEST_CALL = 100_000  # bytes

LOST = "The recording is no longer here. Give it again."

POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval'",  # gradio's own
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "media-src 'self' data: blob:",
        "connect-src 'self' data: blob:",
        "worker-src 'self' blob:",
        "font-src 'self' data:",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
    )
)

HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
]


class RequestGuard:
    """ASGI middleware around gradio, which has many more routes than the page needs.

    Args:
        app: The application inside.
        folder: Folder of the page's temporary files. No other file is given out.
    """

    def __init__(self, app: "ASGIApp", folder: str) -> None:
        self._app, self._folder = app, Path(folder).resolve()

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if not self._is_allowed(scope["path"]):
            await _refuse(send)
            return
        if CALLS.fullmatch(scope["path"]):
            body = await _read_body(receive)
            if not self._names_only_uploads(body):
                await _refuse(send, LOST)
                return
            receive = _again(body, receive)

        async def send_with_headers(message: "Message") -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *HEADERS]
            await send(message)

        await self._app(scope, receive, send_with_headers)

    def _names_only_uploads(self, body: bytes) -> bool:
        """Check every path in the body of a call. Gradio would fetch an address that stands in its place."""
        if len(body) > LARGEST_CALL:
            return False
        try:
            paths = list(_paths_in(json.loads(body)))
        except (ValueError, RecursionError):
            return False
        return all(isinstance(path, str) and self._is_own_file(path) for path in paths)

    def _is_allowed(self, path: str) -> bool:
        if path.startswith(FILES):
            return self._is_own_file(path.removeprefix(FILES))
        return ".." not in path and OF_THE_PAGE.fullmatch(posixpath.normpath(path)) is not None

    def _is_own_file(self, name: str) -> bool:
        """Check that a name, also after decoding once more, is a plain path of a file in the folder."""
        if name != unquote(name) or "\0" in name or not name.startswith("/"):
            return False
        path = Path(name)
        return ".." not in path.parts and path.resolve().is_relative_to(self._folder) and path.is_file()


async def _refuse(send: "Send", reason: str = "Not available.") -> None:
    """Answer in the form in which the page shows the reason."""
    headers = [(b"content-type", b"application/json"), *HEADERS]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps({"detail": reason}).encode()})


def _paths_in(value: object) -> Iterator[object]:
    """Yield what stands as `path` anywhere in a value of JSON."""
    if isinstance(value, dict):
        if "path" in value:
            yield value["path"]
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _paths_in(item)


async def _read_body(receive: "Receive") -> bytes:
    """Return the body of a request, or its first part if it is too large for a call."""
    body = b""
    while len(body) <= LARGEST_CALL:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body", False):
            break
    return body


def _again(body: bytes, receive: "Receive") -> "Receive":
    """Return a function that gives a body that was read already, and then what else comes."""
    left = [body]

    async def receive_again() -> "Message":
        if left:
            return {"type": "http.request", "body": left.pop(), "more_body": False}
        return await receive()

    return receive_again
