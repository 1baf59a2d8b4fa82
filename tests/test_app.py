"""app.py before it serves: what is missing ends it with status 2. One whole start on a tiny model."""

import importlib.util
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

import app
from utils.arguments.parsing import parse_arguments
from utils.delivery.app.server import prepare_gradio

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def own_environment(monkeypatch):
    """What the script sets for gradio ends with the test."""
    monkeypatch.setattr(os, "environ", os.environ.copy())


def ended(capsys, *words: str) -> str:
    with pytest.raises(SystemExit) as caught:
        app.main(list(words))
    assert caught.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("word", ["--model", "--baseline"])
def test_a_missing_model_ends_the_script(capsys, tiny_whisper, word):
    words = {"--model": str(tiny_whisper)} | {word: "./no/such/model"}
    told = ended(capsys, *(part for pair in words.items() for part in pair))
    assert told.startswith("error: ./no/such/model: no such folder.") and "Traceback" not in told


def test_nothing_is_asked_or_reported_if_the_models_are_here(tiny_whisper, tmp_path):
    prepare_gradio(tmp_path, [str(tiny_whisper), "openai/whisper-base"])
    assert "HF_HUB_OFFLINE" not in os.environ and os.environ["GRADIO_TEMP_DIR"] == str(tmp_path)
    prepare_gradio(tmp_path, [str(tiny_whisper)])
    assert os.environ["HF_HUB_OFFLINE"] == "1" and os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"


def test_missing_packages_are_named_before_any_work(capsys, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    pinned = [line for line in (ROOT / "requirements-app.txt").read_text().splitlines() if "==" in line]
    assert f"Run: pip install {' '.join(pinned)}\n" in ended(capsys, "--model", "./none")


def test_a_bad_file_of_users_ends_the_script(capsys, tmp_path):
    told = ended(capsys, "--model", "./none", "--auth_file", str(tmp_path / "none.txt"))
    assert "expected a file of user:password lines" in told


@pytest.mark.parametrize("words", [[], ["--record", "s.txt", "--baseline", "openai/whisper-base"]])
def test_without_a_model_people_can_only_record(capsys, words):
    assert "no --model: give the model to try, or only --record" in ended(capsys, *words)


def test_what_cannot_be_recorded_ends_the_script(capsys, tmp_path):
    told = ended(capsys, "--record", str(tmp_path / "none.txt"), "--record_dir", str(tmp_path / "out"))
    assert "none.txt" in told and not (tmp_path / "out").exists()


@pytest.mark.parametrize("words", [["--tabs", "camera"], ["--max_waiting", "0"], ["--language", "italian"]])
def test_impossible_flags_are_refused(words):
    from utils.runtime.errors import UserError

    with pytest.raises(UserError, match=words[0].strip("-")):
        parse_arguments(app.AppArguments, ["--model", "m", *words])


@pytest.mark.slow
def test_users_and_limits_reach_the_server_and_nothing_is_left(tiny_whisper, tmp_path):
    """A page of one tab on a tiny model, open to users alone; SIGTERM ends it and its folder."""
    (tmp_path / "users.txt").write_text("ada:secret\n")
    words = ["--model", str(tiny_whisper), "--tabs", "link", "--port", "7869", "--host", "0.0.0.0"]
    words += ["--auth_file", str(tmp_path / "users.txt")]
    environment = os.environ | {"TMPDIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "app.py"), *words]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as server:
        line = server.stdout.readline()
        url = re.search(r"http://\S+", line).group().replace("0.0.0.0", "127.0.0.1")
        assert status_of(f"{url}config") == 401 and status_of(f"{url}gradio_api/upload") in (401, 405)
        assert len(list(tmp_path.glob("whisper-app-*"))) == 1
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=30) == 0
    assert not list(tmp_path.glob("whisper-app-*"))


def status_of(url: str) -> int:
    try:
        with urllib.request.urlopen(url) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
