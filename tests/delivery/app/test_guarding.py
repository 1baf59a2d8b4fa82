"""Requests that the page makes pass; all others, and those that name foreign files, do not."""

import json

import pytest
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from utils.delivery.app.guarding import LARGEST_CALL, LOST, RequestGuard


@pytest.fixture
def own(tmp_path):
    """An upload, with links beside it that lead out."""
    folder = tmp_path / "root" / "1f"
    folder.mkdir(parents=True)
    (tmp_path / "secret").write_text("x")
    (folder / "link.wav").symlink_to(tmp_path / "secret")
    (folder / "a b.wav").write_text("x")
    return folder / "a b.wav"


@pytest.fixture
def client(own):
    async def echo(scope, receive, send):
        body = (await receive())["body"]
        await PlainTextResponse(body or b"inside")(scope, receive, send)

    return TestClient(RequestGuard(echo, str(own.parent.parent)))


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/config", "/theme.css?v=1", "/login", "/assets/index-1.js", "/static/fonts/x.woff2"),
        *(
            "/gradio_api/upload?upload_id=1",
            "/gradio_api/queue/data?session_hash=a",
            "/gradio_api/heartbeat/a1",
        ),
        *("/gradio_api/cancel", "/gradio_api/startup-events"),
    ],
)
def test_what_the_page_asks_for_passes_under_a_policy(client, path):
    answer = client.get(path)
    assert answer.text == "inside" and "default-src 'self'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/gradio_api/info",
            "/gradio_api/call/take",
            "/gradio_api/proxy=http://127.0.0.1:9/",
            "/monitoring",
        ),
        *(
            "/gradio_api/component_server",
            "/gradio_api/deep_link",
            "/docs",
            "/openapi.json",
            "/gradio_api/mcp",
        ),
        *(
            "/assets/..%2f..%2fapp.py",
            "/static/%2e%2e/x",
            "/file=/etc/passwd",
            "/config/x",
            "/gradio_api/file/x",
        ),
    ],
)
def test_side_doors_are_closed(client, path):
    assert client.get(path).status_code == 403


def test_only_files_of_the_folder_are_given_out(client, own, tmp_path):
    assert client.get(f"/gradio_api/file={own}").text == "inside"
    names = ["/etc/passwd", tmp_path / "secret", own.parent, own.parent / "link.wav", own.parent / "none.wav"]
    names += [own.parent / "../../secret", own.parent / "..%2f..%2fsecret", own.parent / "%252e%252e/secret"]
    names += ["http://127.0.0.1:9/x", "https://huggingface.co/", "file:///etc/passwd", "", f"{own}%00.txt"]
    for name in names:
        assert client.get(f"/gradio_api/file={name}").status_code == 403, name


def call(client, data: object, path: str = "/gradio_api/queue/join"):
    return client.post(path, content=data if isinstance(data, bytes) else json.dumps(data))


def test_calls_with_own_uploads_pass_unchanged(client, own):
    for data in ({"data": [None, {"path": str(own)}, "x"]}, {"data": ["auto"]}):
        assert json.loads(call(client, data).text) == data


def test_calls_with_other_paths_never_reach_gradio(client, own):
    paths = ["/etc/passwd", "http://127.0.0.1:9/x", str(own.parent / "link.wav"), None, 3, ["/etc/passwd"]]
    calls = [{"data": [{"a": [{"path": path, "meta": {"_type": "gradio.FileData"}}]}]} for path in paths]
    broken = [b"{", b"[" * 50_000, b'"' + b"x" * LARGEST_CALL + b'"', b"\xff"]
    for data in (*calls, *broken):
        for path in ("/gradio_api/queue/join", "/gradio_api/run/predict"):
            answer = call(client, data, path)
            assert (answer.status_code, answer.json()) == (403, {"detail": LOST})
