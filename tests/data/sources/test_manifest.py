"""Manifests: every good line becomes an utterance, every bad one a reject with its place and reason."""

import itertools
import json
import random
import tracemalloc

import pytest

from tests.support.small_corpora import parts, write_manifest, write_wav
from utils.data.decoding import decode_recording
from utils.data.fields import read_language
from utils.data.sources.manifest import read_manifest
from utils.data.utterance import TimedText, Utterance
from utils.runtime.errors import UserError

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
        ('{"audio" "a.wav"}', "bad JSON: Expecting ':' delimiter: character 10 of the line"),
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
        (GOOD | {"start": "one", "end": 2}, "wrong type of 'start'"),
        (
            GOOD | {"start": "1,234", "end": 2000},
            "wrong type of 'start': found '1,234', expected seconds such as",
        ),
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


@pytest.mark.parametrize("kind", ["folder", "zip", "tar.gz"])
def test_a_manifest_with_its_audio_in_an_archive(tmp_path, packed, kind):
    spelt = "citta\u0300.wav"  # in the archive as macOS writes it
    for name, seconds in (("b.wav", 3), (spelt, 1)):
        write_wav(tmp_path / "x/corpus/clips" / name, seconds)
    lines = [
        {"audio": "clips/b.wav", "text": "uno", "start": 0, "end": "1,5"},
        {"audio": "clips/citt\u00e0.wav", "text": "due"},
        {"audio": "clips/b.wav", "text": "tre", "start": 1.5, "end": 3},
    ]
    lines += [{"audio": name, "text": "no"} for name in ("no.wav", "../../etc/passwd")]
    path = write_manifest(tmp_path / "x/corpus", lines)
    path.with_name("other.jsonl").write_text('{"name": "no manifest"}\n')
    utterances, rejects = parts(read_manifest(packed(tmp_path / "x", kind)))
    usable = [u for u in utterances if u.text != "no"]
    assert sorted((u.text, u.start, len(decode_recording(u.audio))) for u in usable) == [
        ("due", None, 16_000), ("tre", 1.5, 48_000), ("uno", 0.0, 48_000),
    ]  # fmt: skip
    assert not any(
        getattr(u.audio, "needs_order", False) for u in usable
    )  # a tar.gz is read in its own order
    if kind != "folder":
        assert {r.problem.kind for r in rejects} == {"no such file", "path outside the corpus"}


def test_a_folder_of_several_manifests(tmp_path):
    path = write_manifest(tmp_path, [GOOD])
    path.with_name("other.jsonl").write_bytes(path.read_bytes())
    with pytest.raises(UserError, match=r"found 2 manifests: corpus\.jsonl, other\.jsonl, expected"):
        read_manifest(tmp_path)


PART = {"start": 0, "end": 1, "text": "ciao"}


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"segments": "ciao"}, "wrong type of 'segments'"),
        ({"segments": [3]}, "wrong type of 'segments'"),
        ({"segments": [PART | {"text": 3}]}, "malformed segments: keys 'start', 'end', 'text'"),
        ({"segments": [{"text": "ciao"}]}, "malformed segments"),
        ({"segments": [PART | {"end": 0}]}, "end not after start"),
        ({"segments": [PART | {"end": "soon"}]}, "wrong type of 'end'"),
        ({"segments": [PART, PART | {"text": " "}]}, "malformed segments: no text"),
        (
            {"segments": [PART], "start": 2, "end": 2.9},
            "malformed segments: no text, or not within the utterance",
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
    with pytest.raises(UserError, match=r"no usable utterance\. It has no items"):
        read_manifest(write_manifest(tmp_path, []))


def test_manifest_with_dev_and_eval(tmp_path):
    lines = [GOOD | {"split": split} for split in ("training", "eval2000", "dev", "held-out")]
    utterances, rejects = parts(read_manifest(write_manifest(tmp_path, lines)))
    assert [u.split for u in utterances] == ["train", "test", "validation"]
    assert [(r.position, r.problem.kind) for r in rejects] == [(4, "unknown split")]
