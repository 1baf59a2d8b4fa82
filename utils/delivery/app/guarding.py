"""Let through only the requests that the page makes, and tell browsers to load nothing from elsewhere."""

import posixpath
import re
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
        if scope["type"] == "http" and not self._is_allowed(scope["path"]):
            await _refuse(send)
            return

        async def send_with_headers(message: "Message") -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *HEADERS]
            await send(message)

        await self._app(scope, receive, send_with_headers)

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


async def _refuse(send: "Send") -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), *HEADERS]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": b"Not available."})
