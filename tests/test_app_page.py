"""The page in a browser: Whisper base beside a random model, real prompts, one server, one browser."""

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import jiwer
import numpy as np
import pysubs2
import pytest
import soundfile

from tests.support.hostile import film_without_sound
from tests.support.link_servers import LinkServer, running
from tests.support.pages import BROWSER_FLAGS

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent
PORT = 7868
BASE, RANDOM = "openai/whisper-base", "whisper"
PATIENCE = 30_000  # ms
PAUSE = np.zeros(8_000, dtype=np.float32)


@pytest.fixture(scope="module")
def spoken(tmp_path_factory, italian_prompts) -> tuple[Path, str]:
    """A file of a few prompts, and what is said in it."""
    path = tmp_path_factory.mktemp("spoken") / "prompts.wav"
    chosen = italian_prompts[:3]
    soundfile.write(
        path, np.concatenate([part for samples, _ in chosen for part in (samples, PAUSE)]), 16_000
    )
    return path, " ".join(text for _, text in chosen)


@pytest.fixture(scope="module")
def long_file(spoken) -> Path:
    samples, rate = soundfile.read(spoken[0], dtype="float32")
    path = spoken[0].with_name("long.flac")
    soundfile.write(path, np.concatenate([samples] * 8), rate)
    return path


@pytest.fixture(scope="module")
def media(spoken) -> Iterator[LinkServer]:
    """A server on this machine that the page may ask; it has the prompts."""
    with running(LinkServer()) as server:
        server.talk = spoken[0].read_bytes()
        yield server


@pytest.fixture(scope="module")
def url(spelling_whisper, tmp_path_factory, media) -> Iterator[str]:
    words = ["--model", BASE, "--baseline", str(spelling_whisper), "--language", "it", "--port", str(PORT)]
    words += ["--max_megabytes", "8", "--max_minutes", "3", "--backend", "ctranslate2", "--dtype", "int8"]
    words += ["--generation_max_length", "60", "--allow_private_links", media.place]
    temporary = tmp_path_factory.mktemp("temporary")
    environment = os.environ | {"TMPDIR": str(temporary), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "app.py"), *words]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, cwd=ROOT) as server:
        try:
            lines = iter(server.stdout.readline, "")
            yield next(line for line in lines if line.startswith("http://")).split()[0]
            assert not [
                path for path in temporary.glob("whisper-app-*/**/*") if path.is_file()
            ]  # all have left
        finally:
            server.terminate()


@pytest.fixture(scope="module")
def browser(spoken, require_program):
    chromium = require_program("chromium")
    from playwright.sync_api import sync_playwright

    flags = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    flags += [f"--use-file-for-fake-audio-capture={spoken[0]}", "--autoplay-policy=no-user-gesture-required"]
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=[*BROWSER_FLAGS, *flags])
        yield opened
        opened.close()


@pytest.fixture
def page(browser, url):
    """The page as a new visitor sees it. It asks nobody but its server."""
    with visiting(browser, url) as opened:
        yield opened


@contextlib.contextmanager
def visiting(browser, url: str, width: int = 1200):
    context = browser.new_context(viewport={"width": width, "height": 900})
    opened, asked = context.new_page(), []
    opened.set_default_timeout(PATIENCE)
    opened.on("request", lambda request: asked.append(request.url))
    opened.goto(url)
    opened.wait_for_selector("#start")
    opened.wait_for_timeout(500)
    yield opened
    context.close()
    time.sleep(0.5)
    assert {url} == {
        re.match(r"\w+://[^/]+/", one).group() for one in asked if not one.startswith(("data", "blob"))
    }


def choose(page, file: Path | dict) -> None:
    """Give a file in place of the one before."""
    page.get_by_role("tab", name="File").click()
    if page.locator(".file-preview").count():
        page.get_by_label("Clear").last.click()
    page.locator("input[type=file]").set_input_files(file)
    page.locator(".file-preview").wait_for()
    page.wait_for_timeout(500)


def told(page, words: str) -> None:
    page.locator("#message", has_text=words).wait_for()


def words_of(page, model: int) -> list[str]:
    return page.locator(".transcript").nth(model).locator(".word").all_inner_texts()


def test_upload_side_by_side_play_download_and_narrow(page, spoken, tmp_path):
    path, text = spoken
    choose(page, path)
    page.click("#start")
    told(page, "Done in")
    heard = words_of(page, 0)
    assert jiwer.wer(text.lower(), " ".join(heard).lower()) < 0.4
    assert page.locator(".transcript").count() == 2 and words_of(page, 1)
    marked = page.locator(".transcript").nth(0).locator(".differs").count()
    assert marked >= len(heard) - 1  # the other model writes letters at random
    starts = [
        float(word.get_attribute("data-start"))
        for word in page.locator(".transcript").nth(0).locator(".word").all()
    ]
    assert starts == sorted(starts) and starts[-1] > 3
    files = {}
    for kind in ("srt", "vtt", "txt", "json"):
        with page.expect_download() as download:
            page.get_by_role("link", name=kind).first.click()
        files[kind] = tmp_path / download.value.suggested_filename
        download.value.save_as(files[kind])
    assert files["srt"].name == "openai-whisper-base.srt"
    for kind in ("srt", "vtt"):
        assert " ".join(line.plaintext for line in pysubs2.load(str(files[kind]))).split() == heard
    assert files["txt"].read_text().split() == heard
    found = [
        word for segment in json.loads(files["json"].read_text())["segments"] for word in segment["words"]
    ]
    assert [word["word"].strip() for word in found] == heard
    place = page.locator(".transcript").nth(0).locator(".word").nth(len(heard) // 2)
    place.click()
    assert plays_from(page, float(place.get_attribute("data-start")))
    page.locator(".time").first.focus()  # by keyboard: two words on, and play
    for key in ("ArrowRight", "ArrowRight", "Enter"):
        page.keyboard.press(key)
    assert plays_from(page, starts[1])
    for width in (1200, 400):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def plays_from(page, start: float) -> bool:
    page.wait_for_timeout(300)
    now, paused = page.evaluate("(a => [a.currentTime, a.paused])(document.querySelector('#player audio'))")
    page.evaluate("document.querySelector('#player audio').pause()")
    return not paused and start <= now < start + 2


def test_neither_then_the_microphone_then_both(page, spoken):
    page.click("#start")
    told(page, "There is nothing to transcribe yet.")
    page.get_by_role("button", name="Record").click()
    page.wait_for_timeout(4000)
    page.get_by_role("button", name="Stop", exact=True).first.click()
    page.wait_for_timeout(1500)
    page.click("#start")
    told(page, "Done in")
    first = set(" ".join(words_of(page, 0)).lower().split())
    assert first & set(spoken[1].lower().replace(",", "").split())
    choose(page, spoken[0])
    page.click("#start")
    page.get_by_text("The microphone is transcribed. Clear it to use the file.").wait_for()
    told(page, "Done in")


def test_stop_ends_the_work_and_another_visitor_who_waits_goes_on(browser, page, url, long_file, spoken):
    choose(page, long_file)
    page.click("#start")
    page.locator(".cue").first.wait_for()
    with visiting(browser, url, width=400) as other:
        choose(other, spoken[0])
        other.click("#start")
        other.locator("#message", has_text="queue:").wait_for()
        page.click("#stop")
        told(page, "Stopped.")
        num_cues = page.locator(".cue").count()
        told(other, "Done in")
        assert (
            page.locator(".cue").count() == num_cues and page.locator("#message").inner_text() == "Stopped."
        )


def test_bad_input_has_one_clear_message_each(page, tmp_path):
    silence = tmp_path / "long.flac"
    soundfile.write(silence, np.zeros(200 * 8_000, dtype=np.float32), 8_000)
    inputs = {
        "The recording cannot be used: not audio: no decoder": ("a.wav", b"ciao\n" * 100),
        "The file is empty: it has 0 bytes.": ("b.wav", b""),
        "the file holds no audio stream": ("c.mp4", film_without_sound()),
        "The recording is longer than 3 minutes.": ("d.flac", silence.read_bytes()),
    }
    for message, (name, data) in inputs.items():
        choose(page, {"name": name, "mimeType": "audio/wav", "buffer": data})
        page.click("#start")
        told(page, message)
        assert str(tmp_path.anchor + "tmp") not in page.locator("#message").inner_text()
    page.get_by_label("Clear").last.click()
    large = {"name": "e.wav", "mimeType": "audio/wav", "buffer": bytes(9_000_000)}
    page.locator("input[type=file]").set_input_files(large)
    page.get_by_text("exceed the maximum allowed size").wait_for()


def test_links(page, media, spoken):
    """The prompts from the one server that is allowed; all else is refused, also where that one leads."""
    page.get_by_role("tab", name="Link").click()
    links = {
        "http://127.0.0.1:9/a.mp3": "127.0.0.1: this host is not on the public internet.",
        "file:///etc/passwd": "file:///etc/passwd: expected a link",
        f"{media.origin}/to/http:%2F%2F10.0.0.1%2Fa.mp3": "10.0.0.1: this host is not on the public",
        f"{media.origin}/endless/a.mp3": "larger than 8 MB",
        f"{media.origin}/talk/a.wav": "Done in",
    }
    for link, message in links.items():
        page.locator("#link input, #link textarea").fill(link)
        page.click("#start")
        told(page, message)
    assert jiwer.wer(spoken[1].lower(), " ".join(words_of(page, 0)).lower()) < 0.4
