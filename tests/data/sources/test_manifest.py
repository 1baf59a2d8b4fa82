"""Readers: every good item becomes an utterance, every bad one a reject with its place and reason."""

import itertools
import json
import os
import random
import tracemalloc
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from utils.data.fields import read_language, whisper_language
from utils.data.sources.asterisk import read_prompts
from utils.data.sources.folder import read_folder
from utils.data.sources.hub import read_hub
from utils.data.sources.manifest import read_manifest
from utils.data.split_names import split_name, splits_of_names
from utils.data.utterance import Reject, Source, TimedText, Utterance
from utils.runtime.errors import UserError
from utils.runtime.problems import Problem


def write_wav(path: Path, seconds: float = 1.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(round(seconds * 16000)) / 16000
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * 220 * time), 16000)
    return path


def write_manifest(folder: Path, lines: list[dict | str | bytes]) -> Path:
    encoded = [
        line if isinstance(line, bytes) else (line if isinstance(line, str) else json.dumps(line)).encode()
        for line in lines
    ]
    path = folder / "corpus.jsonl"
    path.write_bytes(b"\n".join(encoded) + b"\n")
    return path


def parts(source: Source) -> tuple[list[Utterance], list[Reject]]:
    items = list(source.items)
    assert source.total in (None, len(items))
    return [i for i in items if isinstance(i, Utterance)], [i for i in items if isinstance(i, Reject)]


GOOD = {"audio": "a.wav", "text": "ciao"}


def test_manifest_keeps_everything_it_is_given(tmp_path):
    line = {"audio": "clips/a.wav", "text": " Ciao  bella ", "start": 1, "end": 2.5, "language": "it"}
    line |= {
        "speaker": 7,
        "group": "north",
        "split": "dev",
        "age": 30,
        "device": "phone",
        "tags": ["a"],
        "id": "x",
    }
    utterances, rejects = parts(read_manifest(write_manifest(tmp_path, [line])))
    assert not rejects
    assert utterances == [
        Utterance(
            id="corpus-000001",
            audio=tmp_path / "clips/a.wav",
            text="Ciao bella",
            source=str(tmp_path / "corpus.jsonl"),
            position=1,
            start=1.0,
            end=2.5,
            language="it",
            speaker="7",
            group="north",
            split="validation",
            extra={"age": 30, "device": "phone", "tags": '["a"]', "original_id": "x"},
        )
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{not json", "bad JSON"),
        ("[" * 100_000, "bad JSON"),
        ('["a list"]', "bad JSON: found a list"),
        (b'{"audio": "a.wav", "text": "\xff"}', "not UTF-8"),
        ({"text": "ciao"}, "missing key 'audio'"),
        ({"audio": "a.wav"}, "missing key 'text': found 'audio'"),
        (GOOD | {"audio": 3}, "wrong type of 'audio'"),
        (GOOD | {"audio": ""}, "empty audio path"),
        (GOOD | {"text": None}, "wrong type of 'text'"),
        (GOOD | {"text": "  \t"}, "empty text"),
        (GOOD | {"text": "ciao <|endoftext|>"}, "control token"),
        ('{"audio": "a.wav", "text": "\\ud800"}', "broken characters"),
        (GOOD | {"start": 1.0}, "start without end"),
        (GOOD | {"end": 1.0}, "end without start"),
        (GOOD | {"start": 2.0, "end": 1.0}, "end not after start"),
        (GOOD | {"start": "1", "end": 2}, "wrong type of 'start'"),
        (GOOD | {"start": True, "end": 2}, "wrong type of 'start'"),
        (GOOD | {"start": -1, "end": 2}, "time out of range"),
        ('{"audio": "a.wav", "text": "a", "start": 0, "end": NaN}', "time out of range"),
        ('{"audio": "a.wav", "text": "a", "start": 0, "end": 1' + "0" * 400 + "}", "time out of range"),
        (GOOD | {"language": "xx"}, "unknown language: 'xx'"),
        (GOOD | {"language": "Italian"}, "unknown language: 'Italian', write 'it'"),
        (GOOD | {"language": 3}, "wrong type of 'language'"),
        (GOOD | {"split": "sometimes"}, "unknown split"),
        (GOOD | {"speaker": ["a"]}, "wrong type of 'speaker'"),
    ],
)
def test_bad_manifest_lines(tmp_path, line, reason):
    path = write_manifest(tmp_path, [GOOD, "", line, GOOD])
    utterances, rejects = parts(read_manifest(path))
    assert [u.position for u in utterances] == [1, 4]
    assert [(r.source, r.position) for r in rejects] == [(str(path), 3)]
    assert str(rejects[0].problem).startswith(reason)


def test_manifest_lines_of_one_recording_come_together(tmp_path):
    cut = [{"audio": f"{name}.wav", "text": "x", "start": n, "end": n + 1} for n, name in enumerate("abab")]
    utterances, _ = parts(read_manifest(write_manifest(tmp_path, [*cut, GOOD])))
    assert [u.position for u in utterances] == [1, 3, 2, 4, 5]


def test_manifest_is_read_anew_each_time(tmp_path):
    cut = [{"audio": f"{name}.wav", "text": "x", "start": n, "end": n + 1} for n, name in enumerate("abab")]
    for lines in (cut, [GOOD, "{", GOOD]):
        source = read_manifest(write_manifest(tmp_path, lines))
        assert list(source.items) == list(source.items)


def test_lines_come_together_as_a_stable_sort_by_first_place_would_have_them(tmp_path):
    draw = random.Random(0)
    lines: list[dict | str] = []
    for n in range(300):
        row = {"audio": f"{draw.randrange(20)}.wav", "text": f"è {n}" * draw.randrange(1, 9)}
        if draw.random() < 0.7:
            row |= {"start": n, "end": n + 1}
        lines += [""] * draw.randrange(2) + [row if draw.random() < 0.9 else f"{{bad {n}"]
    expected, first = [], {}
    for number, line in enumerate(lines, start=1):
        if line == "":
            continue
        cut = isinstance(line, dict) and "start" in line
        expected.append((first.setdefault(line["audio"], number) if cut else number, number))
    source = read_manifest(write_manifest(tmp_path, lines))
    assert [item.position for item in source.items] == [number for _, number in sorted(expected)]
    assert source.total == len(expected)


def test_a_long_manifest_is_not_held_in_memory(tmp_path):
    path = tmp_path / "corpus.jsonl"
    with path.open("w") as file:
        for n in range(2_000):
            row = {
                "audio": f"{n % 50}.wav",
                "text": "ciao",
                "note": "parola " * 400,
                "start": n,
                "end": n + 1,
            }
            file.write(json.dumps(row) + "\n")
    # the first time languages are imported; of two readings one may double Python's table of interned strings
    assert read_language("it") and list(itertools.islice(read_manifest(path).items, 100))
    peaks = []
    for _ in range(2):
        tracemalloc.start()
        source = read_manifest(path)
        count = sum(isinstance(item, Utterance) for item in source.items)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert count == source.total == 2_000
    assert path.stat().st_size > 5_000_000 and min(peaks) < 500_000


def test_a_line_without_end_is_rejected_and_the_next_one_read(tmp_path, monkeypatch):
    monkeypatch.setattr("utils.data.sources.manifest.MOST_LINE_BYTES", 100)
    exactly = json.dumps(GOOD | {"text": "x" * 69})
    assert len(exactly) + 1 == 100
    utterances, rejects = parts(read_manifest(write_manifest(tmp_path, [exactly, "x" * 350, "", GOOD])))
    assert [u.position for u in utterances] == [1, 4]
    assert [(r.position, r.problem.kind) for r in rejects] == [(2, "line too long")]


def test_manifest_lines_with_timed_text_and_context(tmp_path):
    segments = [
        {"start": 0, "end": 0.5, "text": " Ciao "},
        {"start": 0.6, "end": 1.52, "text": "bella gente"},
    ]
    line = {"audio": "a.wav", "text": "Ciao bella gente", "start": 3, "end": 4.5, "segments": segments}
    line |= {"previous_text": " Prima  di ciò ", "recording": 12}
    (utterance,), rejects = parts(read_manifest(write_manifest(tmp_path, [line])))
    assert not rejects
    assert utterance.segments == (TimedText(0, 0.5, "Ciao"), TimedText(0.6, 1.5, "bella gente"))
    assert utterance.previous_text == "Prima di ciò" and utterance.recording == "12"
    assert utterance.extra == {"recording": 12}


PART = {"start": 0, "end": 1, "text": "ciao"}


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"segments": "ciao"}, "wrong type of 'segments'"),
        ({"segments": [3]}, "wrong type of 'segments'"),
        ({"segments": [PART | {"text": 3}]}, "malformed segments: keys 'start', 'end', 'text'"),
        ({"segments": [{"text": "ciao"}]}, "malformed segments"),
        ({"segments": [PART | {"end": 0}]}, "end not after start"),
        ({"segments": [PART | {"end": "1"}]}, "wrong type of 'end'"),
        ({"segments": [PART, PART | {"text": " "}]}, "malformed segments: no text"),
        (
            {"segments": [PART], "start": 2, "end": 2.9},
            "malformed segments: no text, or beyond the utterance",
        ),
        (
            {"segments": [PART | {"start": 0.5, "text": "ci"}, PART | {"text": "ao"}]},
            "malformed segments: out of",
        ),
        ({"segments": [PART, PART]}, "segments without the text"),
        ({"segments": []}, "segments without the text"),
        ({"previous_text": 3}, "wrong type of 'previous_text'"),
        ({"previous_text": "a <|nospeech|>"}, "control token in the text"),
        ({"recording": 1.5}, "wrong type of 'recording'"),
    ],
)
def test_bad_timed_text_of_manifest_lines(tmp_path, columns, reason):
    utterances, rejects = parts(read_manifest(write_manifest(tmp_path, [GOOD, GOOD | columns])))
    assert len(utterances) == 1 and str(rejects[0].problem).startswith(reason)


def test_manifest_that_is_no_use(tmp_path):
    with pytest.raises(UserError, match="no such manifest"):
        read_manifest(tmp_path / "no.jsonl")
    with pytest.raises(UserError, match=r"no usable utterance.*2 × missing key 'text'.*corpus\.jsonl, 1"):
        read_manifest(write_manifest(tmp_path, [{"audio": "a"}, {"audio": "b"}, "{"]))
    with pytest.raises(UserError, match=r"no usable utterance\. It holds no items"):
        read_manifest(write_manifest(tmp_path, []))


def folder_parts(folder: Path, **options) -> tuple[list[Utterance], list[Reject]]:
    return parts(read_folder(folder, min_segment_duration=0.5, max_duration=30.0, **options))


def test_folder_of_plain_and_timed_texts(tmp_path):
    write_wav(tmp_path / "train/a.wav")
    (tmp_path / "train/a.txt").write_text("\ufeffCiao\nbella\n", encoding="utf-8")
    write_wav(tmp_path / "test/deep/b.flac", 5)
    (tmp_path / "test/deep/b.txt").write_text("0\t1\tuno\n1 2 due\n2\t1\ttre\n3\t4\tquattro\tcinque\n")
    utterances, rejects = folder_parts(tmp_path)
    assert [(u.id, u.text, u.start, u.end, u.split) for u in utterances] == [
        ("test/deep/b_segment_000", "uno", 0.0, 1.0, "test"),
        ("test/deep/b_segment_001", "quattro cinque", 3.0, 4.0, "test"),
        ("train/a", "Ciao bella", None, None, "train"),
    ]
    assert [(r.source, r.position, r.problem.kind) for r in rejects] == [
        ("test/deep/b.txt", 2, "malformed line"),
        ("test/deep/b.txt", 3, "end not after start"),
    ]


NFC, NFD = "citt\u00e0", "citta\u0300"  # à as one character, and as a with a mark


@pytest.mark.parametrize(("written", "there"), [(NFC, NFD), (NFD, NFC), (NFC, NFC)])
def test_names_in_another_spelling(tmp_path, written, there):
    write_wav(tmp_path / f"{there}.wav")
    path = write_manifest(tmp_path, [GOOD | {"audio": f"{written}.wav"}, GOOD | {"audio": f"{written}.mp3"}])
    utterances, _ = parts(read_manifest(path))
    assert [u.audio for u in utterances] == [tmp_path / f"{there}.wav", tmp_path / f"{written}.mp3"]
    path.unlink()
    (tmp_path / f"{written}.txt").write_text("ciao")
    utterances, rejects = folder_parts(tmp_path)
    assert [(u.text, u.audio) for u in utterances] == [("ciao", tmp_path / f"{there}.wav")] and not rejects


def test_folder_says_what_stands_alone(tmp_path):
    for name in ("good.wav", "good.flac", "mute.wav", "empty.wav", "latin.wav"):
        write_wav(tmp_path / name)
    (tmp_path / "good.txt").write_text("ciao")
    (tmp_path / "empty.txt").write_text(" \n")
    (tmp_path / "latin.txt").write_bytes(b"perch\xe9")
    (tmp_path / "lonely.txt").write_text("ciao")
    (tmp_path / ".hidden.wav").write_bytes(b"x")
    utterances, rejects = folder_parts(tmp_path)
    assert [u.audio.name for u in utterances if isinstance(u.audio, Path)] == ["good.flac"]
    assert {(r.source, r.problem.kind) for r in rejects} == {
        ("good.wav", "two recordings of one stem"),
        ("mute.wav", "no transcript"),
        ("empty.txt", "empty text"),
        ("latin.txt", "unreadable transcript"),
        ("lonely.txt", "no recording"),
    }


SRT = "1\n00:00:00,000 --> 00:00:01,000\nuno\n\n2\n00:00:01,200 --> 00:00:02,000\ndue\n"
VTT = "WEBVTT\n\n00:00.000 --> 00:01.000\n<v Anna>uno\n\n00:01.200 --> 00:02.000\n<v Anna>due\n"
WHISPER = '{"segments": [{"start": 0, "end": 1, "text": " uno"}, {"start": 1.2, "end": 2, "text": " due"}]}'
TEXTGRID = """File type = "ooTextFile"
Object class = "TextGrid"

0 5 <exists> 2
"IntervalTier" "voce" 0 5 2 0 1 "uno" 1.2 2 "due"
"IntervalTier" "nota" 0 5 1 3 4 "tosse"
"""
EAF = """<?xml version="1.0" encoding="UTF-8"?><ANNOTATION_DOCUMENT><TIME_ORDER>
<TIME_SLOT TIME_SLOT_ID="t1" TIME_VALUE="0"/><TIME_SLOT TIME_SLOT_ID="t2" TIME_VALUE="1000"/></TIME_ORDER>
<TIER TIER_ID="voce"><ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" TIME_SLOT_REF1="t1"
TIME_SLOT_REF2="t2"><ANNOTATION_VALUE>uno</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION></TIER>
</ANNOTATION_DOCUMENT>"""


def test_folder_of_every_kind_of_transcript(tmp_path):
    contents = {
        "srt": SRT,
        "VTT": VTT,
        "json": WHISPER,
        "TextGrid": TEXTGRID,
        "eaf": EAF,
        "labels": "0\t1\tuno\n",
    }
    for extension, content in contents.items():
        stem = f"{extension.lower()} 🎙 x"
        write_wav(tmp_path / f"{stem}.wav", 5)
        encoding = "utf-16" if extension == "TextGrid" else "utf-8"
        (tmp_path / f"{stem}.{extension}").write_text(content, encoding=encoding)
    utterances, rejects = folder_parts(tmp_path, tier="voce")
    texts: dict[str | None, list[str]] = {}
    for utterance in utterances:
        texts.setdefault(utterance.recording, []).append(utterance.text)
    two, one = ["uno", "due"], ["uno"]
    expected = {"eaf": one, "json": two, "labels": one, "srt": two, "textgrid": two, "vtt": two}
    assert list(texts.items()) == [(f"{name} 🎙 x", found) for name, found in expected.items()]
    assert not rejects


def test_pieces_of_a_folder_are_joined(tmp_path):
    write_wav(tmp_path / "a.wav", 5)
    (tmp_path / "a.vtt").write_text(VTT + "\n00:04.000 --> 00:04.200\ntardi\n")
    (utterance,), (reject,) = folder_parts(tmp_path, target_duration=25.0, max_gap=0.5)
    assert utterance == Utterance(
        id="a_segment_000",
        audio=tmp_path / "a.wav",
        text="uno due",
        source="a.vtt",
        position=3,
        start=0.0,
        end=2.0,
        speaker="Anna",
        recording="a",
        segments=(TimedText(0, 1, "uno"), TimedText(1.2, 2, "due")),
    )
    assert reject == Reject("a.vtt", 9, Problem("segment too short", "0.2 s, expected at least 0.5 s"))
    apart, _ = folder_parts(tmp_path, target_duration=25.0, max_gap=0.1, padding=0.5)
    assert [(u.start, u.end, u.previous_text) for u in apart] == [(0, 1.1, None), (1.1, 2.5, "uno")]


def test_of_several_transcripts_the_preferred_is_used(tmp_path):
    write_wav(tmp_path / "a.wav")
    for extension, content in {"json": WHISPER, "txt": "uno due", "srt": SRT, "eaf": EAF}.items():
        (tmp_path / f"a.{extension}").write_text(content)
    utterances, rejects = folder_parts(tmp_path)
    assert [u.source for u in utterances] == ["a.eaf"]
    assert [(r.source, str(r.problem)) for r in rejects] == [
        (f"a.{extension}", "another transcript: a.eaf is used") for extension in ("srt", "txt", "json")
    ]


def test_utterances_of_a_recording_stand_together(tmp_path):
    write_wav(tmp_path / "a.wav", 5)
    (tmp_path / "a.txt").write_text("0\t1\tuno\nx\n2\t3\tdue\n")
    items = list(read_folder(tmp_path, min_segment_duration=0.5, max_duration=30.0).items)
    assert [type(item) for item in items] == [Utterance, Utterance, Reject]


def test_every_file_of_a_folder_is_accounted_for(tmp_path):
    write_wav(tmp_path / "a.wav")
    (tmp_path / "a.txt").write_text("ciao")
    for name in ("photo.jpg", "table.csv", "dataset.json", "sub/.hidden.txt", ".git/x.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    for name in (
        "broken.srt",
        "no_times.srt",
        "no.TextGrid",
        "no.eaf",
        "no_whisper.json",
        "link.txt",
        "big.txt",
    ):
        write_wav(tmp_path / f"{Path(name).stem}.wav")
    (tmp_path / "broken.srt").write_bytes(b"\xff\xfe\x00")
    for name in ("no_times.srt", "no.TextGrid", "no_whisper.json"):
        (tmp_path / name).write_text("" if name == "no_times.srt" else "{}")
    (tmp_path / "no.eaf").write_text("<a/>")
    (tmp_path / "link.txt").symlink_to("nowhere")
    (tmp_path / "big.txt").touch()
    os.truncate(tmp_path / "big.txt", 65 << 20)
    (tmp_path / "pipe.wav").write_bytes(b"")
    os.mkfifo(tmp_path / "pipe.txt")
    source = read_folder(tmp_path, min_segment_duration=0.5, max_duration=30.0)
    utterances, rejects = parts(source)
    assert [u.id for u in utterances] == ["a"]
    assert {(r.source, r.problem.kind) for r in rejects} == {
        ("broken.srt", "unreadable transcript"),
        ("no_times.srt", "empty transcript"),
        ("no.TextGrid", "not a TextGrid"),
        ("no.eaf", "another transcript"),
        ("no_whisper.json", "not a Whisper transcript"),
        ("link.txt", "unreadable transcript"),
        ("pipe.txt", "unreadable transcript"),
        ("big.txt", "transcript too large"),
    }
    assert source.notes == (f"{tmp_path}: files that are neither audio nor a transcript: 3, passed over.",)


def test_links_of_a_folder_lead_nowhere_twice(tmp_path):
    write_wav(tmp_path / "data/a.wav")
    (tmp_path / "data/a.txt").write_text("ciao")
    (tmp_path / "data/up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "data/itself.txt").symlink_to("itself.txt")
    (tmp_path / "copy.wav").symlink_to("data/a.wav")
    (tmp_path / "copy.txt").symlink_to("data/a.txt")
    source = read_folder(tmp_path, min_segment_duration=0.5, max_duration=30.0)
    utterances, rejects = parts(source)
    assert [u.id for u in utterances] == ["copy", "data/a"]
    assert [(r.source, r.problem.kind) for r in rejects] == [("data/itself.txt", "no recording")]
    assert source.notes == (f"{tmp_path}: links to folders: 1, not followed; give such a folder as --input.",)


def test_names_of_a_folder_that_are_no_utf8(tmp_path):
    write_wav(tmp_path / "a.wav")
    (tmp_path / "a.wav").rename(tmp_path / os.fsdecode(b"\xff.wav"))
    (tmp_path / os.fsdecode(b"\xff.txt")).write_text("ciao")
    (utterance,), rejects = folder_parts(tmp_path)
    assert utterance.id == "\ufffd" and not rejects


def test_a_folder_is_read_anew_each_time_and_lazily(tmp_path):
    for number in range(5):
        write_wav(tmp_path / f"{number}/a.wav")
        (tmp_path / f"{number}/a.txt").write_text("ciao")
    source = read_folder(tmp_path, min_segment_duration=0.5, max_duration=30.0)
    assert list(source.items) == list(source.items)
    items = iter(source.items)
    assert isinstance(next(items), Utterance)
    (tmp_path / "4/a.txt").write_text("cambiato")
    assert [item.text for item in items if isinstance(item, Utterance)] == ["ciao"] * 3 + ["cambiato"]


def test_folder_that_is_no_use(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        folder_parts(tmp_path / "no")
    with pytest.raises(UserError, match=r"no audio and no \.txt"):
        folder_parts(tmp_path)
    write_wav(tmp_path / "a.wav")
    with pytest.raises(UserError, match=r"no usable utterance.*no transcript"):
        folder_parts(tmp_path)


def test_prompts(tmp_path):
    for key in ("hello", "digits/1", "beep", "tones", "silence/1", "unlisted", "muted", "bye"):
        (tmp_path / key).parent.mkdir(exist_ok=True)
        (tmp_path / f"{key}.g722").write_bytes(b"x")
    transcripts = [("hello", "Ciao [!] (in inglese)."), ("digits/1", "uno"), ("lost", "Perso")]
    transcripts += [("muted", "Muto. bye: Ciao. hello: Ciao."), ("bye", "bye: A dopo: ciao.")]
    transcripts += [("beep", "un suono beep"), ("tones", "[toni]")]
    transcripts += [("silence/1", "1 second of silence")]
    source = read_prompts(tmp_path, transcripts, credit="Someone, CC BY")
    utterances, rejects = parts(source)
    assert [(u.id, u.text, u.audio) for u in utterances] == [
        ("hello", "Ciao .", tmp_path / "hello.g722"),
        ("digits/1", "uno", tmp_path / "digits/1.g722"),
        ("bye", "A dopo: ciao.", tmp_path / "bye.g722"),
    ]
    assert {(r.source, r.problem.kind) for r in rejects} == {
        ("beep.g722", "no speech"),
        ("tones.g722", "no speech"),
        ("muted.g722", "faulty transcript"),
        ("silence/1.g722", "no speech"),
        ("lost.g722", "no recording"),
        ("unlisted.g722", "no transcript"),
    }
    assert source.credit == "Someone, CC BY"


@pytest.fixture
def audio_folder(tmp_path) -> Path:
    """An audio folder as the Hub has them: splits, metadata.jsonl, named columns."""
    folder = tmp_path / "audio_folder"
    for split in ("train", "test"):
        rows = []
        for n in range(3):
            write_wav(folder / split / f"{n}.wav")
            rows.append(
                {"file_name": f"{n}.wav", "transcription": f"frase {n}", "client_id": f"s{n}", "age": n}
            )
        rows[1]["transcription"] = "  "
        text = "".join(json.dumps(row | {"locale": "sv-SE"}) + "\n" for row in rows)
        (folder / split / "metadata.jsonl").write_text(text)
    return folder


def test_hub_reads_an_audio_folder(audio_folder, tmp_path):
    source = read_hub(str(audio_folder), local_cache=tmp_path / "cache")
    utterances, rejects = parts(source)
    assert [(u.text, u.split, u.speaker, u.language) for u in utterances] == [
        ("frase 0", "train", "s0", "sv"),
        ("frase 2", "train", "s2", "sv"),
        ("frase 0", "test", "s0", "sv"),
        ("frase 2", "test", "s2", "sv"),
    ]
    assert utterances[0].extra == {"age": 0, "locale": "sv-SE"}
    assert Path(str(utterances[0].audio)).is_file()
    assert [(r.source, r.position, r.problem.kind) for r in rejects] == [
        (f"{audio_folder}:train", 1, "empty text"),
        (f"{audio_folder}:test", 1, "empty text"),
    ]


def test_hub_reads_bytes_paths_and_saved_datasets(audio_folder, tmp_path):
    from datasets import Dataset, DatasetDict

    raw = (audio_folder / "train/0.wav").read_bytes()
    parquet = tmp_path / "parquet"
    parquet.mkdir()
    rows = {"audio": [{"bytes": raw, "path": "a.wav"}] * 2, "sentence": ["uno", None]}
    Dataset.from_dict(rows).to_parquet(parquet / "train.parquet")
    utterances, rejects = parts(read_hub(str(parquet), local_cache=tmp_path / "cache"))
    assert [u.audio for u in utterances] == [raw] and rejects[0].problem.kind == "wrong type of 'sentence'"

    csv = tmp_path / "csv"
    csv.mkdir()
    (csv / "dev.csv").write_text(f"path,sentence\n{audio_folder}/train/0.wav,uno\n,due\n")
    utterances, rejects = parts(read_hub(str(csv), local_cache=tmp_path / "cache"))
    assert [u.audio for u in utterances] == [audio_folder / "train/0.wav"]
    assert rejects[0].problem.kind == "no audio"

    DatasetDict({"dev": Dataset.from_dict({"audio": [raw], "text": ["uno"]})}).save_to_disk(
        tmp_path / "saved"
    )
    utterances, _ = parts(read_hub(str(tmp_path / "saved"), local_cache=tmp_path / "cache"))
    assert [(u.audio, u.text, u.split) for u in utterances] == [(raw, "uno", "validation")]


def test_hub_names_the_columns_it_found(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "train.csv").write_text("path,words\na.wav,ciao\n")
    with pytest.raises(UserError, match=r"no text column.*found path, words.*--text_column_name"):
        read_hub(str(folder), local_cache=tmp_path / "cache")
    with pytest.raises(UserError, match=r"no column 'lyrics'; found path, words"):
        read_hub(str(folder), text_column_name="lyrics", local_cache=tmp_path / "cache")
    with pytest.raises(UserError, match=r"no column 'sound'.*--audio_column_name"):
        read_hub(
            str(folder), text_column_name="words", audio_column_name="sound", local_cache=tmp_path / "cache"
        )
    utterances, _ = parts(read_hub(str(folder), text_column_name="words", local_cache=tmp_path / "cache"))
    assert [u.text for u in utterances] == ["ciao"]


def test_hub_input_that_is_no_use(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        read_hub(str(tmp_path / "no"), local_cache=tmp_path / "cache")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="datasets cannot load it"):
        read_hub(str(tmp_path / "empty"), local_cache=tmp_path / "cache")


def test_hub_leaves_datasets_as_it_was(audio_folder, tmp_path):
    from datasets import Audio

    before = Audio.encode_example
    read_hub(str(audio_folder), local_cache=tmp_path / "cache")
    assert Audio.encode_example is before


def test_a_hub_dataset_with_validation_and_eval(tmp_path):
    from datasets import Dataset, DatasetDict

    rows = Dataset.from_dict({"audio": [b"a", b"b"], "text": ["uno", "due"]})
    DatasetDict(dict.fromkeys(("train", "validation", "eval", "news"), rows)).save_to_disk(tmp_path / "saved")
    source = read_hub(str(tmp_path / "saved"), local_cache=tmp_path / "cache")
    utterances, _ = parts(source)
    assert Counter(u.split for u in utterances) == {"train": 2, "validation": 2, "test": 2}
    assert source.notes == ("Splits not read: news.",)


def test_split_names():
    names = {
        "train": ("train", "train-360", "training", "train960"),
        "validation": (
            "dev",
            "Valid",
            "val",
            "eval",
            "eval2000",
            "evaluation",
            "dev93",
            "devel",
            "train_dev",
        ),
        "test": ("test.clean", "testing", "test1", "test[:10%]"),
        None: ("validated", "other", "2000", "tested", "evaluations"),
    }
    for split, spellings in names.items():
        assert {name: split_name(name) for name in spellings} == dict.fromkeys(spellings, split)


def test_eval_is_test_beside_a_set_for_validation():
    assert splits_of_names(["train", "dev", "eval1", "Evaluation"]) == {
        "train": "train", "dev": "validation", "eval1": "test", "Evaluation": "test",
    }  # fmt: skip
    assert splits_of_names(["train", "eval92", "test"]) == {
        "train": "train", "eval92": "validation", "test": "test",
    }  # fmt: skip


def test_manifest_with_dev_and_eval(tmp_path):
    lines = [GOOD | {"split": split} for split in ("training", "eval2000", "dev", "held-out")]
    utterances, rejects = parts(read_manifest(write_manifest(tmp_path, lines)))
    assert [u.split for u in utterances] == ["train", "test", "validation"]
    assert [(r.position, r.problem.kind) for r in rejects] == [(4, "unknown split")]


def test_folder_tells_which_subfolders_have_no_split_in_their_names(tmp_path):
    for name in ("train", "dev", "eval1/a", "stuff/b"):
        write_wav(tmp_path / name / "x.wav")
        (tmp_path / name / "x.txt").write_text("ciao")
    source = read_folder(tmp_path, min_segment_duration=0.5, max_duration=30.0)
    assert {u.id: u.split for u in parts(source)[0]} == {
        "train/x": "train", "dev/x": "validation", "eval1/a/x": "test", "stuff/b/x": None,
    }  # fmt: skip
    assert source.notes == ("stuff: no split in its name, counted as train.",)


def test_whisper_language():
    names = ["it", "IT", "Italian", "sv-SE", "zh_CN", "isizulu", ""]
    assert [whisper_language(name) for name in names] == ["it", "it", "it", "sv", "zh", None, None]
