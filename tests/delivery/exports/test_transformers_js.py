"""transformers.js in a browser transcribes with an exported folder, and asks nobody but this machine."""

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.support.npm_packages import TRANSFORMERS_JS, fetch_npm_package
from tests.support.pages import BROWSER_FLAGS
from utils.delivery.exports.export_format import load_export_source
from utils.delivery.exports.onnx import ONNX
from utils.delivery.runtimes.onnx_runtime import open_onnx_runtime
from utils.delivery.runtimes.runtime import Way

BASE = "openai/whisper-base"

TRANSCRIBE = """async dtype => {
    const { env, pipeline } = await import("/dist/transformers.min.js");
    env.allowRemoteModels = false;
    env.allowLocalModels = true;
    env.localModelPath = "/models/";
    env.useBrowserCache = false;
    env.backends.onnx.wasm.wasmPaths = `${location.origin}/dist/`;
    env.backends.onnx.wasm.numThreads = 1;
    const recognise = await pipeline("automatic-speech-recognition", "whisper", { dtype, device: "wasm" });
    const samples = new Float32Array(await (await fetch("/samples.f32")).arrayBuffer());
    const options = { language: "it", return_timestamps: "word" };
    return [await recognise(samples, { language: "it" }), await recognise(samples, options)];
}"""


class SilentHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_) -> None:
        pass


@pytest.fixture
def served(tmp_path) -> Iterator[tuple[Path, str]]:
    """A folder, and its address on this machine."""
    handler = functools.partial(SilentHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield tmp_path, f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "dtype"), [("float32", "fp32"), ("int8", "q8")])
def test_a_browser_writes_what_onnx_runtime_writes(
    served, italian_prompts, require_program, precision, dtype
):
    from playwright.sync_api import sync_playwright

    folder, address = served
    (folder / "dist").symlink_to(fetch_npm_package(TRANSFORMERS_JS, require_program("npm")) / "dist")
    (folder / "models" / "whisper").mkdir(parents=True)
    ONNX.write(load_export_source(BASE), folder / "models" / "whisper", precision)
    (folder / "index.html").write_text("<!doctype html><link rel='icon' href='data:,'>")
    samples, _ = italian_prompts[0]
    samples.astype("<f4").tofile(folder / "samples.f32")
    with open_onnx_runtime(folder / "models" / "whisper", 1) as runtime:
        expected = runtime.transcribe(samples, "it", Way()).text
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=require_program("chromium"), args=BROWSER_FLAGS)
        page, asked = browser.new_page(), []
        page.set_default_timeout(300_000)
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address)
        plain, timed = page.evaluate(TRANSCRIBE, dtype)
        browser.close()
    assert all(url.startswith((address, "blob:", "data:")) for url in asked)
    assert plain["text"].strip() == expected and len(expected.split()) > 1
    check_words(timed["chunks"], len(samples) / 16_000)


def check_words(chunks: list[dict], duration: float) -> None:
    """Words that follow each other through the clip, so that the cross-attentions are those of the heads."""
    times = np.array([chunk["timestamp"] for chunk in chunks])
    assert len(chunks) > 1 and (np.diff(times.ravel()) >= 0).all()
    assert times[0, 0] < 0.3 * duration and 0.7 * duration < times[-1, 1] <= duration + 0.1
