"""preprocess.py killed at random moments: the next run goes on, and nothing in the result tells of it."""

import itertools
import json
import math
import os
import random
import subprocess
import sys
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.support.prepared_folders import contents
from tests.support.warm_processes import kill_all, start_warm

ROOT = Path(__file__).resolve().parent.parent
NUM_CLIPS = 700
NUM_KILLS = 6

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def manifest(tmp_path_factory) -> Path:
    """Clips of noise as FLAC, of which every tenth does not exist."""
    folder = tmp_path_factory.mktemp("corpus")
    draws = np.random.default_rng(0)
    lines = []
    for number in range(NUM_CLIPS):
        if number % 10:
            soundfile.write(folder / f"{number}.flac", draws.normal(scale=0.1, size=16_000), 16_000)
        lines.append(json.dumps({"audio": f"{number}.flac", "text": f"parola numero {number}"}))
    (folder / "corpus.jsonl").write_text("\n".join(lines))
    return folder / "corpus.jsonl"


def start(manifest: Path, output_dir: Path) -> BaseProcess:
    """A run whose arguments, which the report shows, are the same for every `output_dir`."""
    output_dir.parent.mkdir(exist_ok=True)
    words = ["--source", "manifest", "--input", str(manifest), "--language", "it", "--num_proc", "2"]
    words = [str(ROOT / "preprocess.py"), *words, "--output_dir", output_dir.name]
    return start_warm(words, output_dir.parent / "log", cwd=output_dir.parent, env=os.environ)


def run_for(process: BaseProcess, seconds: float) -> float:
    """Kill it and its children after so long; gives the seconds to its own end, infinite if killed."""
    began = time.monotonic()
    process.join(seconds)
    took = time.monotonic() - began if process.exitcode == 0 else math.inf
    kill_all([process])
    return took


def test_kill_at_random_moments_leaves_the_same_bytes(manifest, tmp_path):
    shortest_run = run_for(start(manifest, tmp_path / "straight" / "data"), seconds=600)
    straight = contents(tmp_path / "straight" / "data")
    assert len(straight) >= 12
    moments = random.Random(0)
    interrupted = 0
    for number in range(NUM_KILLS):
        output_dir = tmp_path / f"killed-{number}" / "data"
        process = start(manifest, output_dir)
        shortest_run = min(shortest_run, run_for(process, moments.uniform(0.2, shortest_run)))
        interrupted += process.exitcode != 0
        assert not output_dir.exists() or contents(output_dir) == straight  # whole or not at all
        again = start(manifest, output_dir)
        run_for(again, seconds=600)
        assert again.exitcode == 0, (output_dir.parent / "log").read_text()
        assert contents(output_dir) == straight, f"kill {number}"
        assert not list(output_dir.parent.glob(".*"))
    assert interrupted >= NUM_KILLS // 2


def spoken_prompts(count: int) -> list[tuple[np.ndarray, str]]:
    """Real telephone prompts of 2 to 6 s: (samples,) float32 at 16 kHz, and what is said."""
    from utils.audio.reading import decode_audio
    from utils.data.sources.asterisk import read_prompts
    from utils.data.sources.asterisk_download import fetch_prompts
    from utils.data.utterance import Utterance

    prompts = fetch_prompts("it")
    items = read_prompts(prompts.folder, prompts.transcripts, credit="").items
    clips = ((decode_audio(item.audio), item.text) for item in items if isinstance(item, Utterance))
    return list(itertools.islice((clip for clip in clips if 32_000 < len(clip[0]) < 96_000), count))


def test_a_long_plain_recording_is_aligned_and_heard(tmp_path):
    """Real Whisper base: a talk of over 30 s with one plain text, and a clip whose text is another's."""
    clips, texts = zip(*spoken_prompts(14), strict=True)
    gap = np.zeros(8_000, dtype=np.float32)
    talk = np.concatenate([part for clip in clips[:-1] for part in (clip, gap)])
    assert len(talk) > 30 * 16_000
    (tmp_path / "in").mkdir()
    soundfile.write(tmp_path / "in/talk.wav", talk, 16_000)
    (tmp_path / "in/talk.txt").write_text(" ".join(texts[:-1]))
    soundfile.write(tmp_path / "in/wrong.wav", clips[-1], 16_000)
    (tmp_path / "in/wrong.txt").write_text("Il treno parte domani mattina presto.")
    model = "openai/whisper-base"
    words = ["--source", "folder", "--input", "in", "--language", "it", "--output_dir", "out"]
    words += ["--align_with_model", model, "--filter_with_model", model]
    script = [sys.executable, str(ROOT / "preprocess.py")]
    subprocess.run([*script, *words], cwd=tmp_path, check=True, timeout=600)
    assert "wrong.txt" in [reject["source"] for reject in rejects_of(tmp_path / "out")]
    rows = rows_of(tmp_path / "out")
    assert rows and all(0 <= row["start"] < row["end"] <= len(talk) / 16_000 for row in rows)
    edges = np.cumsum([len(clip) + len(gap) for clip in clips[:-1]]) / 16_000  # the ends of the gaps
    for row in rows:  # each begins in a gap or at the very start
        assert row["start"] == 0 or min(abs(edges - 0.25 - row["start"])) < 0.45


def test_a_long_subtitle_is_cut_by_its_text_and_one_with_long_silence_by_its_sound(tmp_path):
    """Real Whisper base: one subtitle over 30 s of speech, one over a prompt with 15 s of silence around."""
    clips, texts = zip(*spoken_prompts(14), strict=True)
    gap, silence = np.zeros(8_000, dtype=np.float32), np.zeros(15 * 16_000, dtype=np.float32)
    talk = np.concatenate([part for clip in clips[:-1] for part in (clip, gap)])
    lone = np.concatenate([silence, clips[-1], silence])
    sound = np.concatenate([silence, talk, lone])
    first, second = len(silence) / 16_000, (len(silence) + len(talk)) / 16_000
    third = len(sound) / 16_000
    assert second - first > 30 and third - second > 30
    (tmp_path / "in").mkdir()
    soundfile.write(tmp_path / "in/talk.wav", sound, 16_000)
    cues = [(first, second, " ".join(texts[:-1])), (second, third - 0.5, texts[-1])]
    lines = "".join(f"{start:.3f}\t{end:.3f}\t{text}\n" for start, end, text in cues)
    (tmp_path / "in/talk.txt").write_text(lines)
    script = [sys.executable, str(ROOT / "preprocess.py"), "--source", "folder", "--input", "in"]
    script += ["--language", "it", "--output_dir"]
    subprocess.run([*script, "plain"], cwd=tmp_path, check=True, timeout=600)
    [row] = rows_of(tmp_path / "plain")
    assert row["text"] == texts[-1] and row["duration"] < len(clips[-1]) / 16_000 + 1
    [reject] = rejects_of(tmp_path / "plain")
    assert reject["reason"].startswith("too long: ") and "--align_with_model" in reject["reason"]
    align = ["--align_with_model", "openai/whisper-base"]
    subprocess.run([*script, "aligned", *align], cwd=tmp_path, check=True, timeout=600)
    rows = rows_of(tmp_path / "aligned")
    parts = [row for row in rows if row["text"] != texts[-1]]
    edges = first + np.cumsum([len(clip) + len(gap) for clip in clips[:-1]]) / 16_000 - 0.25
    assert parts and all(first <= row["start"] < row["end"] <= second for row in parts)
    for row in parts:  # each begins in a gap or at the very start
        assert row["start"] < first + 0.5 or min(abs(edges - row["start"])) < 0.45
    told = "".join(row["text"] for row in sorted(parts, key=lambda row: row["start"]))
    lost = len(" ".join(texts[:-1])) - len(told)
    print(f"{len(parts)} parts, {lost} characters not kept: {rejects_of(tmp_path / 'aligned')}")
    assert lost < 0.2 * len(told)


def rows_of(folder: Path) -> list[dict]:
    """The rows of all splits of a prepared dataset."""
    from datasets import concatenate_datasets, load_from_disk

    return list(concatenate_datasets(list(load_from_disk(str(folder)).values())))


def rejects_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "rejects.jsonl").read_text().splitlines()]
