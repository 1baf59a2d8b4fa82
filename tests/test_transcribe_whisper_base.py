"""transcribe.py with the real Whisper base on real speech: words, their times, and all formats."""

import csv
import io
import json
from pathlib import Path

import av
import numpy as np
import pysubs2
import pytest
import soundfile

import transcribe
from tests.support.joined_prompts import Talk, join_prompts
from utils.model.registry_copies import fetch_faster_whisper
from utils.scoring.error_rates import error_rates, score_utterances

BASE = "openai/whisper-base"
FORMATS = ("txt", "srt", "vtt", "tsv", "json")


def segments_of(path: Path) -> list[dict]:
    return json.loads(path.read_text(encoding="utf-8"))["segments"]


@pytest.fixture(scope="module")
def chosen(italian_prompts) -> list[tuple[np.ndarray, str]]:
    """Six prompts; two others are almost the same text as one of these, and the model leaves such out."""
    return [italian_prompts[number] for number in (0, 1, 3, 4, 6, 7)]


@pytest.fixture(scope="module")
def talk(chosen) -> Talk:
    """The prompts, then four of them again: about 35 s, two windows."""
    return join_prompts([*chosen, *chosen[:4]])


@pytest.fixture(scope="module")
def read_talk(talk, tmp_path_factory) -> Path:
    """What the real model wrote of it, as a video with sound."""
    place = tmp_path_factory.mktemp("talk")
    write_film(place / "talk.mp4", talk.samples)
    words = ["--model", BASE, str(place / "talk.mp4"), "--language", "it", "--format", *FORMATS]
    transcribe.main([*words, "--dtype", "float32", "--output_dir", str(place / "out")])
    return place / "out"


def write_film(path: Path, samples: np.ndarray) -> None:
    """Write pictures and lossless sound as MP4."""
    with av.open(str(path), "w", format="mp4") as output:
        pictures = output.add_stream("mpeg4", rate=10)
        pictures.width = pictures.height = 32
        sound = output.add_stream("flac", rate=16_000, layout="mono")
        output.mux(pictures.encode(av.VideoFrame(32, 32, "rgb24")))
        output.mux(pictures.encode(None))
        whole = np.rint(np.clip(samples, -1, 1) * 32767).astype(np.int16)
        for start in range(0, len(whole), 1024):
            frame = av.AudioFrame.from_ndarray(whole[None, start : start + 1024], format="s16", layout="mono")
            frame.sample_rate, frame.pts = 16_000, start
            output.mux(sound.encode(frame))
        output.mux(sound.encode(None))


def wer_of(texts: list[str], references: list[str]) -> float:
    """Word error rate after Whisper's own normaliser for all languages."""
    scored = score_utterances(references, references, texts, "basic")
    return error_rates(scored).normalized_wer


def test_the_words_of_a_real_talk_have_their_times(read_talk, talk):
    words = [word for segment in segments_of(read_talk / "talk.json") for word in segment["words"]]
    starts, ends = (np.array([word[side] for word in words]) for side in ("start", "end"))
    late = [np.abs(starts - onset).min() for onset in talk.onsets]
    early = [np.abs(ends - end).min() for end in talk.ends]
    print(f"median of {len(late)} starts {np.median(late):.3f} s, of ends {np.median(early):.3f} s off")
    assert np.median(late) < 0.05 and max(late) < 0.3
    assert np.median(early) < 0.15
    assert (starts <= ends).all() and (np.diff(starts) >= 0).all()


def test_a_real_talk_is_read_well(read_talk, talk):
    """Whisper base makes errors in 24 % of all prompts, and in fewer of these."""
    assert wer_of([(read_talk / "talk.txt").read_text()], [talk.text]) < 0.24


def test_a_real_talk_is_the_same_in_all_formats(read_talk):
    expected = {".lock", "transcribed.jsonl", *(f"talk.{name}" for name in FORMATS)}
    assert {path.name for path in read_talk.iterdir()} == expected
    segments = segments_of(read_talk / "talk.json")
    text = " ".join(segment["text"] for segment in segments)
    assert " ".join((read_talk / "talk.txt").read_text().split()) == text
    rows = list(csv.reader(io.StringIO((read_talk / "talk.tsv").read_text()), delimiter="\t"))[1:]
    assert [row[2] for row in rows] == [segment["text"] for segment in segments]
    assert [int(row[0]) for row in rows] == [round(1000 * segment["start"]) for segment in segments]
    for name in ("srt", "vtt"):
        events = pysubs2.load(str(read_talk / f"talk.{name}"))
        assert [event.plaintext.replace("\n", " ") for event in events] == [s["text"] for s in segments]
        assert [event.start for event in events] == [round(1000 * segment["start"]) for segment in segments]
        assert all(len(line) <= 42 for event in events for line in event.plaintext.split("\n"))
        assert all(event.end - event.start <= 7000 for event in events)


@pytest.mark.slow
def test_terms_help_the_real_model(italian_prompts, tmp_path):
    """Without them it writes Canceletto and, of another prompt, Loginoperatore."""
    for number in (3, 5):
        soundfile.write(tmp_path / f"{number}.wav", italian_prompts[number][0], 16_000)
    words = ["--model", str(fetch_faster_whisper(BASE)), "--backend", "ctranslate2", "--dtype", "int8"]
    words += ["--language", "it", str(tmp_path)]
    terms = ["--prompt_terms", "Login operatore, casella vocale, tasto cancelletto"]
    transcribe.main([*words, "--output_dir", str(tmp_path / "plain")])
    transcribe.main([*words, "--output_dir", str(tmp_path / "told"), *terms])
    references = [italian_prompts[number][1] for number in (3, 5)]
    plain, told = (
        wer_of([(tmp_path / name / f"{number}.txt").read_text() for number in (3, 5)], references)
        for name in ("plain", "told")
    )
    assert told < plain


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["ctranslate2", "faster-whisper"])
def test_engines_with_the_real_model_in_int8(backend, italian_prompts, tmp_path):
    """Its own form is not converted; faster-whisper skips what a random model writes."""
    samples, text = italian_prompts[4]
    soundfile.write(tmp_path / "a.wav", samples, 16_000)
    words = ["--model", str(fetch_faster_whisper(BASE)), "--backend", backend, "--dtype", "int8"]
    words += ["--num_beams", "2", "--prompt_terms", "password, cancelletto", "--format", "json", "txt"]
    transcribe.main([*words, "--output_dir", str(tmp_path / "out"), str(tmp_path / "a.wav")])
    assert wer_of([(tmp_path / "out" / "a.txt").read_text()], [text]) < 0.3
    found = json.loads((tmp_path / "out" / "a.json").read_text())
    assert found["language"] == "it"
    words = [word for segment in found["segments"] for word in segment["words"]]
    times = [time for word in words for time in (word["start"], word["end"])]
    assert len(words) >= 8 and times == sorted(times) and times[-1] <= len(samples) / 16_000 + 0.001
