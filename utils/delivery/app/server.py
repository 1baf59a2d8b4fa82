"""Serve the page: to whom, with which limits, and with nothing but the page's own files."""

import ipaddress
import os
import signal
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.runtime.errors import UserError

if TYPE_CHECKING:
    import gradio as gr

STYLE = Path(__file__).with_name("page.css")

SYSTEM_FONTS = ("system-ui", "Segoe UI", "Roboto", "Noto Sans", "sans-serif")

FOR_GRADIO = {  # read when gradio is imported: no request leaves this machine
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "GRADIO_SSR_MODE": "False",
    "GRADIO_SHARE": "False",
}


@dataclass(frozen=True)
class ServerOptions:
    """Where the page is served, and its limits."""

    host: str
    port: int
    users: Sequence[tuple[str, str]]  # name and password; none: everybody who reaches the page
    max_bytes: int  # of an upload
    max_waiting: int  # requests


def prepare_gradio(folder: Path, models: Sequence[str]) -> None:
    """Set what gradio reads when it is imported. Its temporary files go into this folder.

    If all models are on this machine, the Hub is not asked for anything either.
    """
    os.environ.update(FOR_GRADIO, GRADIO_TEMP_DIR=str(folder))
    if all(Path(model).expanduser().is_dir() for model in models):
        os.environ.setdefault("HF_HUB_OFFLINE", "1")


def read_users(path: Path) -> list[tuple[str, str]]:
    """Read a file with one `user:password` in each line.

    Raises:
        UserError: It cannot be read, is empty, or has another line. The message shows no password.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise UserError(f"{path}: {reason}; expected a file of user:password lines.") from None
    users = []
    for number, line in enumerate(lines, 1):
        name, colon, password = line.partition(":")
        if not line.strip():
            continue
        if not name.strip() or not colon or not password:
            raise UserError(f"{path}: line {number}: expected user:password.")
        users.append((name.strip(), password))
    if not users:
        raise UserError(f"{path}: no user; expected a user:password in each line.")
    return users


def open_warning(host: str, users: Sequence[tuple[str, str]]) -> str | None:
    """Return what to tell if others than the users of this machine reach the page without a password."""
    try:
        is_local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_local = host == "localhost"
    if is_local or users:
        return None
    return (
        f"warning: --host {host} without --auth_file: everybody who reaches this machine can use the page, "
        "without a password. Give --auth_file FILE, with a user:password in each line."
    )


def serve(page: "gr.Blocks", options: ServerOptions) -> None:
    """Serve the page until Ctrl-C or SIGTERM.

    Raises:
        UserError: The address or the port cannot be used.
    """
    if warning := open_warning(options.host, options.users):
        print(warning, flush=True)
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    url = start(page, options)
    print(f"{url}  (Ctrl-C ends it)", flush=True)
    try:
        ended.wait()
    except KeyboardInterrupt:
        print("Ended.")
    finally:
        page.close(verbose=False)


def start(page: "gr.Blocks", options: ServerOptions) -> str:
    """Serve the page in threads, and return its address."""
    from starlette.middleware import Middleware

    from utils.delivery.app.guarding import RequestGuard

    page.queue(max_size=options.max_waiting, default_concurrency_limit=1, api_open=False)
    guard = Middleware(RequestGuard, folder=os.environ["GRADIO_TEMP_DIR"])
    try:
        _, url, _ = page.launch(
            server_name=options.host,
            server_port=options.port,
            auth=list(options.users) or None,
            max_file_size=options.max_bytes,
            app_kwargs={"middleware": [guard]},
            prevent_thread_lock=True,
            **_fixed_options(),
        )
    except OSError as error:
        raise UserError(
            f"--host {options.host} --port {options.port}: cannot listen there ({error}). "
            "Another program may use this port: choose another one."
        ) from None
    return url


def _build_theme() -> "gr.themes.Base":
    """Return a theme with the fonts of the visitor's system: none is fetched."""
    import gradio as gr

    theme = gr.themes.Base(
        primary_hue="sky", neutral_hue="gray", font=SYSTEM_FONTS, font_mono=("ui-monospace", "monospace")
    )
    # white on it has a contrast of 5.9
    return theme.set(
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
    )


def _fixed_options() -> dict[str, Any]:
    return {
        "quiet": True,
        "share": False,
        "show_error": False,  # a message of Python is not for visitors
        "footer_links": [],
        "run_history": False,
        "enable_monitoring": False,
        "ssr_mode": False,
        "mcp_server": False,
        "pwa": False,
        "strict_cors": True,
        "theme": _build_theme(),
        "css": STYLE.read_text(encoding="utf-8"),
    }
