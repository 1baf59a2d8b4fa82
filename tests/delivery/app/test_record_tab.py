"""The Record tab: its events by themselves, and a browser with a microphone that plays real prompts."""

import contextlib
import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from preprocess import main as preprocess
from tests.support.pages import BROWSER_FLAGS, HOSTILE
from utils.audio.flac import SAMPLE_RATE, decode_flac, encode_flac
from utils.delivery.app.recorder import open_recordings
from utils.delivery.app.sentences import Sentence

OFFLINE = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
HALF = SAMPLE_RATE // 2
PORT = 7867


@pytest.fixture(scope="module")
def gr(tmp_path_factory):
    """Gradio, which reads its settings when it is imported."""
    with pytest.MonkeyPatch.context() as patch:
        for key, value in (OFFLINE | {"GRADIO_TEMP_DIR": str(tmp_path_factory.mktemp("gradio"))}).items():
            patch.setenv(key, value)
        import gradio

        yield gradio


@pytest.fixture
def sentences(italian_prompts) -> list[Sentence]:
    return [Sentence(text) for _, text in italian_prompts[1:6]]


@pytest.fixture
def tab(gr, tmp_path, sentences):
    """The events and components of a tab, and its recordings. Visitors must agree to terms."""
    from utils.delivery.app.record_parts import build_components
    from utils.delivery.app.record_tab import RecordEvents

    with open_recordings(tmp_path / "recordings", sentences[:3], "it", "CC0") as recordings, gr.Blocks():
        parts = build_components(recordings.terms)
        yield RecordEvents(parts, recordings), parts, recordings


@pytest.fixture
def files(tmp_path, italian_prompts) -> list[str]:
    """Recordings of the first sentences, with half a second of silence at both ends."""
    paths = [tmp_path / f"{number}.flac" for number in range(3)]
    for path, (samples, _) in zip(paths, italian_prompts[1:4], strict=True):
        path.write_bytes(encode_flac(np.pad(samples, HALF)))
    return [str(path) for path in paths]


def enter(events, parts):
    return events.enter("Anna", "napoletano", True)[parts.place]


def test_a_take_belongs_to_the_sentence_that_was_read(tab, files):
    """Next is pressed before the sound arrives: the take is still one of the first sentence."""
    events, parts, recordings = tab
    place = events.begin(enter(events, parts))[parts.place]
    place = events.step(place, by=1)[parts.place]
    shown = events.judge(place, files[0])
    take = recordings.take_of(place.speaker, 0)
    assert take is not None and recordings.take_of(place.speaker, 1) is None
    assert len(recordings.read(take)) == len(decode_flac(Path(files[0]).read_bytes()))
    assert "Kept" in shown[parts.booth.message]["value"] and shown[parts.place].index == 1
    assert (take.speaker, take.group, take.terms) == ("Anna", "napoletano", "CC0")


def test_a_doubtful_take_is_kept_on_request(tab, files):
    events, parts, recordings = tab
    samples = decode_flac(Path(files[0]).read_bytes())
    Path(files[0]).write_bytes(encode_flac(samples[: -HALF - SAMPLE_RATE // 8]))
    shown = events.judge(enter(events, parts), files[0])
    assert "Cut at the end" in shown[parts.booth.message]["value"] and shown[parts.booth.keep]["visible"]
    assert recordings.progress(shown[parts.place].speaker).num_recorded == 0
    kept = events.keep_doubtful(shown[parts.place])
    assert recordings.progress(kept[parts.place].speaker).num_recorded == 1
    assert kept[parts.place].doubtful is None and not kept[parts.booth.keep]["visible"]


@pytest.mark.parametrize(
    ("change", "words"),
    [(lambda _: b"", "Empty file"), (lambda _: encode_flac(np.zeros(HALF, np.float32)), "No sound"),
     (lambda data: encode_flac(np.clip(20 * decode_flac(data), -1, 1)), "Too loud")],
)  # fmt: skip
def test_an_unusable_take_cannot_be_kept(tab, files, change, words):
    events, parts, recordings = tab
    Path(files[0]).write_bytes(change(Path(files[0]).read_bytes()))
    shown = events.judge(enter(events, parts), files[0])
    assert words in shown[parts.booth.message]["value"] and not shown[parts.booth.keep]["visible"]
    events.keep_doubtful(shown[parts.place])
    assert recordings.progress(shown[parts.place].speaker).num_recorded == 0


def test_the_last_take_ends_the_list_and_a_redo_replaces(tab, files):
    events, parts, recordings = tab
    place = enter(events, parts)
    for file in files:
        shown = events.judge(place, file)
        place = shown[parts.place]
    assert "All sentences are recorded" in shown[parts.booth.message]["value"]
    first = recordings.take_of(place.speaker, 0)
    place = events.step(place, by=1)[parts.place]
    assert place.index == 0
    shorter = decode_flac(Path(files[0]).read_bytes())[HALF // 2 :]
    Path(files[0]).write_bytes(encode_flac(shorter))
    events.judge(place, files[0])
    assert len(recordings.read(recordings.take_of(place.speaker, 0))) == len(shorter)
    with pytest.raises(FileNotFoundError):
        recordings.read(first)


def test_who_is_let_in(tab, gr):
    events, parts, _ = tab
    message = parts.welcome.message
    assert "agree" in events.enter("Anna", "", False)[message]["value"]
    assert "No name" in events.enter(" ", "", True)[message]["value"]
    known = {"name": "Anna", "group": "Bari", "terms": "CC0"}
    assert events.welcome_back(known)[parts.place].speaker.group == "Bari"
    for strange in (None, "Anna", known | {"terms": "other"}):
        assert parts.place not in events.welcome_back(strange)
    assert parts.place not in events.welcome_back(known | {"name": ["x"] * 100})


def test_ways_through_the_list(tab, files):
    events, parts, _ = tab
    place = events.judge(enter(events, parts), files[0])[parts.place]
    ways = [events.step(place, by=-1), events.step(place, by=1), events.go_to_first_open(place)]
    assert [shown[parts.place].index for shown in ways] == [0, 2, 1]
    assert ways[0][parts.booth.player]["visible"] and not ways[1][parts.booth.player]["visible"]
    assert "1 of 3 sentences" in ways[1][parts.booth.heading]
    assert enter(events, parts).index == 1  # after a restart, too
    left = events.leave(place)
    assert left[parts.place] is None and left[parts.remembered] is None
    assert left[parts.welcome.column]["visible"] and not left[parts.booth.column]["visible"]


def test_a_page_from_before_a_restart_says_so(tab):
    events, parts, _ = tab
    assert "Load this page again" in events.call(events.step, None)[parts.booth.message]["value"]


def test_foreign_text_is_only_text_in_the_tab(tab):
    events, parts, recordings = tab
    recordings.sentences = (Sentence(HOSTILE), Sentence("سلام دنیا Whisper"))
    place = replace(enter(events, parts), speaker=replace(enter(events, parts).speaker, name=HOSTILE))
    shown = events.step(place, by=0)
    for part in (parts.booth.sentence, parts.booth.heading):
        assert "<script" not in shown[part] and "<img" not in shown[part] and "&lt;script&gt;" in shown[part]
    assert 'dir="ltr"' in shown[parts.booth.sentence]
    assert 'dir="rtl"' in events.step(place, by=1)[parts.booth.sentence]


# ---- browser -----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def served(folder: Path, sentences: list[Sentence], port: int):
    """The page of app.py without a model, with its guard; yields its address."""
    from utils.delivery.app.page import PageOptions, build_page
    from utils.delivery.app.record_tab import build_record_tab
    from utils.delivery.app.server import ServerOptions, start

    with open_recordings(folder, sentences, "it", f"CC0 {HOSTILE}") as recordings:
        page = build_page(None, PageOptions([], "it", 60), [partial(build_record_tab, recordings)])
        try:
            yield start(page, ServerOptions("127.0.0.1", port, [], 10**7, 4))
        finally:
            page.close(verbose=False)


def record(page, microphone: Path, samples: np.ndarray) -> None:
    """Let the fake microphone say something, from Record to Stop, and wait for what the tab answers."""
    import soundfile

    soundfile.write(microphone, np.pad(samples, (HALF, 5 * SAMPLE_RATE)), SAMPLE_RATE, subtype="PCM_16")
    page.get_by_role("button", name="Record", exact=True).click()
    page.wait_for_timeout(1000 * len(samples) / SAMPLE_RATE + 1300)
    page.get_by_role("button", name="Stop", exact=True).click()


def similarity(one: np.ndarray, other: np.ndarray) -> float:
    """Largest normalised correlation of two sounds over all shifts, 1 for the same sound."""
    size = 1 << (len(one) + len(other)).bit_length()
    spectrum = np.fft.rfft(one, size) * np.conj(np.fft.rfft(other, size))
    return float(np.fft.irfft(spectrum).max() / np.linalg.norm(one) / np.linalg.norm(other))


@pytest.mark.slow
def test_an_accent_is_recorded_in_a_browser(gr, tmp_path, italian_prompts, sentences, require_program):
    """Five sentences, one overdriven, one skipped, a restart in between; then preprocess.py."""
    chromium = require_program("chromium")
    from playwright.sync_api import sync_playwright

    prompts, microphone = [samples for samples, _ in italian_prompts[1:6]], tmp_path / "microphone.wav"
    fake = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    fake.append(f"--use-file-for-fake-audio-capture={microphone}%noloop")
    folder, asked = tmp_path / "recordings", []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=[*BROWSER_FLAGS, *fake])
        page = browser.new_page(viewport={"width": 400, "height": 900})
        page.on("request", lambda request: asked.append(request.url))
        text, message = page.locator(".record-text"), page.locator(".record-message")
        with served(folder, sentences, PORT) as url:
            page.goto(url)
            page.get_by_label("Speaker").fill("Anna")
            page.get_by_label("Accent").fill("napoletano")
            page.get_by_label("I agree").check()
            page.get_by_role("button", name="Start").click()
            text.get_by_text(sentences[0].text).wait_for()
            record(page, microphone, np.clip(20 * prompts[0], -1, 1))
            message.get_by_text("Too loud").wait_for()
            record(page, microphone, prompts[0])
            text.get_by_text(sentences[1].text).wait_for()
            page.get_by_text("Your recording of sentence 1").wait_for()
            page.get_by_role("button", name="Next").click()
            text.get_by_text(sentences[2].text).wait_for()
            record(page, microphone, prompts[2])
            text.get_by_text(sentences[3].text).wait_for()
        with served(folder, sentences, PORT):
            page.goto(url)
            text.get_by_text(sentences[1].text).wait_for()  # the first without a take; Anna is known
            assert page.get_by_text("2 of 5 sentences").is_visible()
            for number in (1, 3, 4):
                text.get_by_text(sentences[number].text).wait_for()
                record(page, microphone, prompts[number])
            message.get_by_text("All sentences are recorded").wait_for()
            assert page.title() == "Record"
            assert page.evaluate("document.documentElement.scrollWidth") == 400
        browser.close()
    assert all(address.startswith((url, "data:", "blob:")) for address in asked)
    lines = [json.loads(line) for line in (folder / "manifest.jsonl").read_text("utf-8").splitlines()]
    assert len(lines) == 5 == len(list(folder.rglob("*.flac")))
    manifest, output_dir = str(folder / "manifest.jsonl"), tmp_path / "out"
    preprocess(["--source", "manifest", "--input", manifest, "--output_dir", str(output_dir)])
    from datasets import load_from_disk

    rows = {row["text"]: row for split in load_from_disk(str(output_dir)).values() for row in split}
    for sentence, samples in zip(sentences, prompts, strict=True):
        row = rows.pop(sentence.text)
        assert similarity(decode_flac(row["audio"]), samples) > 0.9  # the microphone changes nothing
        assert (row["speaker"], row["group"], row["language"]) == ("Anna", "napoletano", "it")
    assert not rows
