"""Links to web pages, through yt-dlp in its child process."""

import importlib.util
import socket
import subprocess
import sys
import time

import psutil
import pytest

from tests.support.link_servers import PRIVATE, TALK, LinkServer, refusal, running
from utils.delivery.intake import page_child
from utils.delivery.intake.guarded_proxy import GuardedProxy, LinkLimits
from utils.delivery.intake.links import fetch_link
from utils.delivery.intake.page_download import page_download


@pytest.fixture(scope="module")
def other():
    """Another server that links may reach."""
    with running(LinkServer()) as server:
        yield server


def test_a_page_a_list_and_a_segment_on_several_hosts_are_followed(host, other, tmp_path, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    link = f"{host.origin}/page/{other.origin}/list/{host.origin}/talk.flac/list.m3u8"
    path = fetch_link(link, tmp_path, allow_private={host.place, other.place})
    assert path.read_bytes() == TALK
    assert path.name.startswith("A talk")
    assert list(tmp_path.iterdir()) == [path]


def test_a_segment_on_a_private_host_is_refused(host, secret, tmp_path):
    message = refusal(f"{host.origin}/list.m3u8/{secret.origin}/talk.flac", tmp_path, places={host.place})
    assert PRIVATE in message


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("several.html", "holds several videos"),
        ("live.m3u8", "live stream"),
        ("page//huge.flac", "larger than 1 MB"),
        ("page//bomb.flac", "larger than 1 MB"),
    ],
)
def test_a_page_without_one_finished_video_is_refused(host, tmp_path, path, reason):
    assert reason in refusal(f"{host.origin}/{path}", tmp_path, LinkLimits(1_000_000), {host.place})


def test_the_limit_of_time_ends_the_child(host, tmp_path):
    start = time.monotonic()
    message = refusal(f"{host.origin}/page//drip", tmp_path, LinkLimits(seconds=1.0), {host.place})
    assert "longer than 1 s" in message
    assert time.monotonic() - start < 4


def test_the_child_does_not_outlive_the_download(tmp_path):
    with GuardedProxy(LinkLimits(), ()) as proxy, page_download("http://example.com/", tmp_path, proxy):
        assert started_children()  # it waits for its job
    assert not started_children()


def started_children():
    return [child for child in psutil.Process().children() if "page_child" in " ".join(child.cmdline())]


def test_a_page_needs_yt_dlp(host, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    message = refusal(f"{host.origin}/page//talk.flac", tmp_path, places={host.place})
    assert "pip install yt-dlp" in message


def test_the_child_reaches_nothing_but_the_proxy_and_starts_no_program(host):
    tries = f"""
import runpy, socket, subprocess, sys
child = runpy.run_path({page_child.__file__!r})
child["limit_resources"](12345)
print(*(__import__("resource").getrlimit(kind)[0] for kind in (1, 2, 4)))  # FSIZE, DATA, CORE of Linux
sys.addaudithook(child["allow_only_proxy"]({host.server_port}).check)
socket.create_connection(("127.0.0.1", {host.server_port})).close()
for attempt in (
    lambda: socket.create_connection(("127.0.0.1", 9)),
    lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b"", ("127.0.0.1", 9)),
    lambda: subprocess.run(["true"]),
    lambda: __import__("os").system("true"),
):
    try:
        attempt()
    except PermissionError as error:
        print(error)
"""
    ran = subprocess.run([sys.executable, "-I", "-c", tries], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines() == [
        f"12345 {1 << 30} 0",
        *["only connections to the proxy are allowed"] * 2,
        *["no other programs are allowed"] * 2,
    ]


def test_the_proxy_serves_nobody_without_its_password(host):
    before = len(host.asked)
    with GuardedProxy(LinkLimits(), {host.place}) as proxy:
        with socket.create_connection(proxy.server_address) as client:
            client.sendall(f"GET {host.origin}/talk.flac HTTP/1.1\r\n\r\n".encode())
            assert client.recv(1000) == b""
        with socket.create_connection(proxy.server_address) as client:
            client.sendall(f"CONNECT {host.place} HTTP/1.1\r\n\r\n".encode())
            assert client.recv(1000) == b""
    assert len(host.asked) == before
