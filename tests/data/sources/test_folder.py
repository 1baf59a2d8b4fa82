"""Folders: recordings with transcripts beside them, and what becomes of everything else in them."""

import os
from pathlib import Path

import pytest

from tests.support.small_corpora import parts, write_manifest, write_wav
from utils.data.decoding import decode_recording
from utils.data.sources.folder import read_folder
from utils.data.sources.manifest import read_manifest
from utils.data.utterance import Reject, TimedText, Utterance
from utils.runtime.errors import UserError
from utils.runtime.problems import Problem


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
    lines = [{"audio": f"{written}.{extension}", "text": "ciao"} for extension in ("wav", "mp3")]
    path = write_manifest(tmp_path, lines)
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
        ("good.wav", "two recordings of one name"),
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
    assert source.notes == (f"{tmp_path}: files that are neither audio nor a transcript: 3, skipped.",)


def test_texts_about_the_data_are_no_transcripts(tmp_path):
    for name in ("a.txt", "readme.txt", "sub/README.it.txt", "LICENSE-2.0.txt", "Licence.srt", "notice.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("ciao")
    for name in ("a.wav", "notice.wav"):
        write_wav(tmp_path / name)
    (tmp_path / "readmes.txt").write_text("ciao")
    source = read_folder(tmp_path, min_segment_duration=0.5, max_duration=30.0)
    utterances, rejects = parts(source)
    assert [u.id for u in utterances] == ["a", "notice"]  # beside a recording, it is one
    assert [r.source for r in rejects] == ["readmes.txt"]
    assert source.notes == (f"{tmp_path}: files that are neither audio nor a transcript: 4, skipped.",)


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_an_archive_is_read_like_its_folder(tmp_path, packed, kind):
    """In it, all files are in one folder more, which is not the name of a split."""
    top = tmp_path / "pack/corpus"
    for name in ("train/anna/a.wav", "test/b.wav", "test/c.wav"):
        write_wav(top / name, 5)
    (top / "README.txt").write_text("About")
    (top / "train/anna/a.TextGrid").write_text(TEXTGRID, encoding="utf-16")
    (top / "test/b.txt").write_text("ciao")
    (top / "test/lonely.srt").write_text(SRT)
    (top / "test/c.json").write_bytes(b"\xff")
    (top / "test/link.wav").symlink_to("b.wav")
    there, rejects = folder_parts(top)
    found, refused = folder_parts(packed(tmp_path / "pack", kind))
    expected = [(f"corpus/{u.id}", u.text, u.start, u.end, u.split, u.speaker) for u in there]
    assert sorted((u.id, u.text, u.start, u.end, u.split, u.speaker) for u in found) == sorted(expected)
    assert {u.id: len(decode_recording(u.audio)) for u in found} == dict.fromkeys(
        [u.id for u in found], 80_000
    )
    assert not any(getattr(u.audio, "needs_order", False) for u in found)  # a tar.gz is read in its own order
    kinds = {f"corpus/{r.source}": r.problem.kind for r in rejects}
    if kind != "zip":  # which has the file that the link leads to
        kinds["corpus/test/link.wav"] = "link"
    assert {r.source: r.problem.kind for r in refused} == kinds


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
    assert source.notes == (f"{tmp_path}: links to folders: 1, not followed. Give such a folder as --input.",)


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
    with pytest.raises(UserError, match=r"no audio and no transcripts"):
        folder_parts(tmp_path)
    write_wav(tmp_path / "a.wav")
    with pytest.raises(UserError, match=r"no usable utterance.*no transcript"):
        folder_parts(tmp_path)


def test_folder_tells_which_subfolders_have_no_split_in_their_names(tmp_path):
    for name in ("train", "dev", "eval1/a", "stuff/b"):
        write_wav(tmp_path / name / "x.wav")
        (tmp_path / name / "x.txt").write_text("ciao")
    source = read_folder(tmp_path, min_segment_duration=0.5, max_duration=30.0)
    assert {u.id: u.split for u in parts(source)[0]} == {
        "train/x": "train", "dev/x": "validation", "eval1/a/x": "test", "stuff/b/x": None,
    }  # fmt: skip
    assert source.notes == ("stuff: not the name of a split, so counted as train.",)
