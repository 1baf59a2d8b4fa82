"""Links to media files, and to what is none."""

import socket
import subprocess
import threading
import time

import pytest

from tests.support.link_servers import PRIVATE, TALK, LinkServer, refusal, running
from utils.delivery.intake import media_download
from utils.delivery.intake.guarded_proxy import LinkLimits
from utils.delivery.intake.links import fetch_link
from utils.runtime.errors import UserError


@pytest.mark.parametrize(
    "path", ["talk/my%20talk.flac", "typeless/my%20talk.flac", "to//talk/my%20talk.flac"]
)
def test_a_media_file_is_downloaded_under_its_name(host, tmp_path, path):
    reports = []
    path = fetch_link(
        f" {host.origin}/{path}\n",
        tmp_path,
        report=lambda *report: reports.append(report),
        allow_private={host.place},
    )
    assert path == tmp_path / "my talk.flac"
    assert path.read_bytes() == TALK
    assert list(tmp_path.iterdir()) == [path]
    assert reports


@pytest.mark.parametrize(
    "name",
    [
        *("127.0.0.1", "127.1", "0x7f.1", "2130706433", "0177.0.0.1", "0", "localhost"),
        *("169.254.169.254", "100.64.0.1", "10.1.2.3", "192.168.1.1", "172.16.0.1", "224.0.0.1"),
        *("[::1]", "[::]", "[::ffff:127.0.0.1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]"),
        *("[fe80::1]", "[fe80::1%25lo]", "[fc00::1]"),
    ],
)
def test_a_private_host_is_refused_in_any_spelling(tmp_path, name):
    assert PRIVATE in refusal(f"http://{name}/talk.mp3", tmp_path)


@pytest.mark.parametrize("name", ["localhost.", "127.0.0.1."])
def test_a_dot_at_the_end_of_a_private_name_does_not_help(tmp_path, name):
    message = refusal(f"http://{name}/talk.mp3", tmp_path)
    assert PRIVATE in message or f"there is no host {name}" in message  # as the system resolves it


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("file:///etc/passwd", "begins with http"),
        ("ftp://example.com/a.mp3", "begins with http"),
        ("//example.com/a.mp3", "begins with http"),
        ("http:///a.mp3", "begins with http"),
        ("http://example.com:99999/a.mp3", "begins with http"),
        ("http://good@127.0.0.1/a.mp3", "name or password"),
        ("http://user:word@example.com/", "name or password"),
        ("http://example.com\\@127.0.0.1/", "not a link"),
        ("http://example.com/a b.mp3", "not a link"),
        ("http://example.com/\r\nHost: x", "not a link"),
        ("http://example.com/" + "a" * 5000, "not a link"),
        ("http://nowhere.invalid/a.mp3", "no host nowhere.invalid"),
    ],
)
def test_what_is_no_usable_link_is_refused(tmp_path, url, reason):
    assert reason in refusal(url, tmp_path)


def test_a_redirect_to_a_private_host_is_refused(host, secret, tmp_path):
    message = refusal(f"{host.origin}/to/{secret.origin}/talk.flac", tmp_path, places={host.place})
    assert PRIVATE in message


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("to/file:///etc/passwd", "begins with http"),
        ("to/http://good@127.0.0.1/", "name or password"),
        ("loop", "over 10 redirects"),
        ("picture.png", "image/png, expected audio or video"),
        ("missing.mp3", "the server answers 404"),
        ("headless", "does not answer as a web server does"),
        ("short.flac", "broke off"),
        ("huge.flac", "larger than"),
        ("bomb.flac", "compresses the file"),
    ],
)
def test_a_bad_answer_is_refused(host, tmp_path, path, reason):
    assert reason in refusal(f"{host.origin}/{path}", tmp_path, places={host.place})


def test_an_endless_stream_ends_at_the_limit_of_size(host, tmp_path):
    assert "larger than 1.049 MB" in refusal(
        f"{host.origin}/endless", tmp_path, LinkLimits(1 << 20), {host.place}
    )


@pytest.mark.parametrize("path", ["drip", "drip/header"])
def test_a_slow_drip_ends_at_the_limit_of_time(host, tmp_path, path):
    start = time.monotonic()
    message = refusal(f"{host.origin}/{path}", tmp_path, LinkLimits(seconds=0.5), {host.place})
    assert "longer than 0.5 s" in message
    assert time.monotonic() - start < 3


def test_an_error_of_the_report_cancels(host, tmp_path):
    class Cancelled(Exception):
        pass

    def cancel(num_bytes, expected_bytes):
        if num_bytes:
            raise Cancelled

    start = time.monotonic()
    with pytest.raises(Cancelled):
        fetch_link(f"{host.origin}/drip", tmp_path, report=cancel, allow_private={host.place})
    assert time.monotonic() - start < 3
    assert list(tmp_path.iterdir()) == []


def test_the_report_knows_the_size_that_the_server_tells(host, tmp_path):
    reports = []
    with pytest.raises(UserError):
        fetch_link(
            f"{host.origin}/stalled.flac",
            tmp_path,
            LinkLimits(seconds=0.5),
            report=lambda *report: reports.append(report),
            allow_private={host.place},
        )
    assert reports[-1][0] > len(TALK)  # the header counts too
    assert reports[-1][1] == len(TALK) + 1000


def test_a_name_is_resolved_once_and_to_a_checked_address(host, tmp_path, monkeypatch):
    answers = ["127.0.0.1", "10.0.0.1", "10.0.0.1"]  # the second answer must never be asked for
    real = socket.getaddrinfo

    def resolve(name, port, *args, **kwargs):
        return real(answers.pop(0) if name == "talks.example" else name, port, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    port = host.server_port
    fetch_link(f"http://talks.example:{port}/talk.flac", tmp_path, allow_private={host.place})
    assert answers == ["10.0.0.1", "10.0.0.1"]
    assert PRIVATE in refusal(f"http://talks.example:{port}/talk.flac", tmp_path / "b", places={host.place})


def test_proxies_of_the_environment_are_not_used(host, secret, tmp_path, monkeypatch):
    monkeypatch.setenv("http_proxy", secret.origin)
    assert fetch_link(f"{host.origin}/talk.flac", tmp_path, allow_private={host.place}).read_bytes() == TALK


def test_a_server_with_an_ipv6_address_is_reached(tmp_path):
    try:
        server = LinkServer("::1")
    except OSError:
        pytest.skip("this machine has no IPv6")
    with running(server):
        path = fetch_link(f"{server.origin}/talk.flac", tmp_path, allow_private={server.place})
    assert path.read_bytes() == TALK


def test_a_certificate_must_be_trusted_and_for_the_name_in_the_link(tmp_path, monkeypatch, require_program):
    certificate = tmp_path / "certificate.pem"
    subprocess.run(
        [
            *(require_program("openssl"), "req", "-x509", "-newkey", "ec"),
            *("-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-keyout", certificate, "-out", tmp_path / "public.pem", "-days", "2"),
            *("-subj", "/CN=talks.example", "-addext", "subjectAltName=DNS:talks.example"),
        ],
        check=True,
        capture_output=True,
    )
    with certificate.open("a") as file:
        file.write((tmp_path / "public.pem").read_text())
    real = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda name, *args, **kwargs: real("127.0.0.1", *args, **kwargs)
    )
    with running(LinkServer(certificate=certificate)) as server:
        link = f"https://talks.example:{server.server_port}/talk.flac"
        other = f"https://others.example:{server.server_port}/talk.flac"
        assert "no secure connection: self" in refusal(link, tmp_path / "out", places={server.place})
        media_download._trusted_certificates.cache_clear()
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "public.pem"))
        assert fetch_link(link, tmp_path / "out", allow_private={server.place}).read_bytes() == TALK
        message = refusal(other, tmp_path / "more", places={server.place})
        assert "certificate is not valid for 'others.example'" in message
    media_download._trusted_certificates.cache_clear()


def test_several_links_are_fetched_at_once(host, tmp_path):
    folders = [tmp_path / str(number) for number in range(4)]
    threads = [
        threading.Thread(
            target=fetch_link,
            args=(f"{host.origin}/talk.flac", folder),
            kwargs={"allow_private": {host.place}},
        )
        for folder in folders
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [(folder / "talk.flac").read_bytes() for folder in folders] == [TALK] * 4
