"""utils/delivery/transcript_files.py: what is written, what counts as done, and what a broken end leaves."""

import dataclasses
import json
import os
from pathlib import Path, PurePath

import pytest

from utils.arguments.parsing import parse_arguments
from utils.arguments.transcribe import TranscribeArguments
from utils.delivery.cues import Layout
from utils.delivery.formats import as_srt, as_txt
from utils.delivery.inputs import GivenFile, find_given_files
from utils.delivery.transcript import Cue, Transcript, Word
from utils.delivery.transcript_files import RECORD, TranscriptFolder, digest_request
from utils.runtime.errors import WriteError

CUES = [
    Cue(0.0, 1.5, [Word(" Ciao.", 0.0, 1.5)]),
    Cue(2.0, 2.5, [Word(" no", 2.0, 2.5)], doubt="loop"),
    Cue(3.0, 5.0, [Word(" no", 3.0, 5.0)], doubt="loop"),
]
TRANSCRIPT = Transcript("it", 6.0, CUES, uncovered=1.25)


@pytest.fixture
def files(tmp_path) -> list[GivenFile]:
    """Two recordings, whose content does not matter here, in two folders."""
    for name in ("a", "b"):
        (tmp_path / "in" / name).mkdir(parents=True)
        (tmp_path / "in" / name / f"{name}.wav").write_bytes(b"RIFF")
    return find_given_files([str(tmp_path / "in")])


def open_folder(
    folder: Path, *formats: str, request: str = "r", layout: Layout | None = None
) -> TranscriptFolder:
    return TranscriptFolder(folder, formats or ("txt",), layout or Layout(), request)


def names_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_all_formats_are_written_under_the_stem_and_recorded(files, tmp_path):
    layout = Layout(8, 1, 10.0)
    summary = open_folder(tmp_path / "out", "txt", "srt", layout=layout).write(files[0], TRANSCRIPT)
    assert names_in(tmp_path / "out") == ["a/a.srt", "a/a.txt", RECORD]
    assert (tmp_path / "out/a/a.txt").read_text() == as_txt(TRANSCRIPT, layout)
    assert (tmp_path / "out/a/a.srt").read_text() == as_srt(TRANSCRIPT, layout)
    assert (summary.duration, summary.language, summary.doubtful, summary.uncovered) == (6.0, "it", 2.5, 1.25)
    (line,) = map(json.loads, (tmp_path / "out" / RECORD).read_text().splitlines())
    assert line["source"] == str(files[0].path)
    assert {
        key: line[key] for key in ("duration", "language", "doubtful", "uncovered")
    } == dataclasses.asdict(summary)


def test_what_was_written_is_done_for_the_same_request_alone(files, tmp_path):
    out = tmp_path / "out"
    assert not open_folder(out).has(files[0])
    open_folder(out).write(files[0], TRANSCRIPT)
    assert open_folder(out).has(files[0])
    assert not open_folder(out).has(files[1])
    assert not open_folder(out, request="other").has(files[0])
    assert not open_folder(out).has(dataclasses.replace(files[0], language="en"))
    assert not open_folder(out).has(dataclasses.replace(files[0], stem=PurePath("other")))
    (out / "a/a.txt").unlink()
    assert not open_folder(out).has(files[0])


@pytest.mark.parametrize("change", ["time", "bytes", "path"])
def test_a_file_that_has_changed_is_not_done(files, tmp_path, change):
    out, (path, other) = tmp_path / "out", [file.path for file in files]
    open_folder(out).write(files[0], TRANSCRIPT)
    written = path.stat().st_mtime_ns
    if change == "bytes":
        path.write_bytes(b"RIFFX")
    os.utime(path, ns=(written, written + (change == "time")))
    if change == "path":
        path.replace(other)
        path = other
    (changed,) = find_given_files([str(path)])
    assert not open_folder(out).has(dataclasses.replace(changed, stem=files[0].stem))


def test_standard_input_is_never_done(tmp_path):
    (stdin,) = find_given_files(["-"])
    open_folder(tmp_path).write(stdin, TRANSCRIPT)
    assert (tmp_path / "stdin.txt").is_file() and not open_folder(tmp_path).has(stdin)


def test_a_transcript_that_another_run_has_replaced_is_not_done(files, tmp_path):
    """Two files of one name, each given alone; and the same file with other lines."""
    one, other = (dataclasses.replace(file, stem=PurePath("a")) for file in files)
    open_folder(tmp_path).write(one, TRANSCRIPT)
    open_folder(tmp_path).write(other, TRANSCRIPT)
    assert open_folder(tmp_path).has(other) and not open_folder(tmp_path).has(one)
    open_folder(tmp_path, request="narrow").write(other, TRANSCRIPT)
    assert not open_folder(tmp_path).has(other)


@pytest.mark.parametrize("end", ['{"key": "ab', '{"key": "ab"', "\xff\n", "[]\n", "\n", '{"stem": "a"}\n'])
def test_a_record_that_was_cut_loses_nothing_else(files, tmp_path, end):
    open_folder(tmp_path).write(files[0], TRANSCRIPT)
    with (tmp_path / RECORD).open("a", encoding="latin-1") as record:
        record.write(end)
    again = open_folder(tmp_path)
    assert again.has(files[0]) and not again.has(files[1])
    again.write(files[1], TRANSCRIPT)
    again.write(dataclasses.replace(files[1], stem=PurePath("c")), TRANSCRIPT)
    third = open_folder(tmp_path)
    assert third.has(files[0]) and third.has(files[1])
    assert third.has(dataclasses.replace(files[1], stem=PurePath("c")))


def test_names_that_are_no_utf8_are_recorded(tmp_path):
    path = tmp_path / os.fsdecode(b"caff\xe8.wav")
    path.write_bytes(b"RIFF")
    (file,) = find_given_files([str(path)])
    open_folder(tmp_path / "out").write(file, TRANSCRIPT)
    assert open_folder(tmp_path / "out").has(file)


def test_what_cannot_be_written_is_told_and_nothing_half_written_stays(files, small_disk):
    disk = small_disk(64 * 1024)
    folder = open_folder(disk, "txt", "json")
    folder.write(files[0], TRANSCRIPT)
    before = {name: (disk / name).read_bytes() for name in names_in(disk)}
    long = dataclasses.replace(TRANSCRIPT, cues=CUES * 1000)
    with pytest.raises(WriteError, match=r"b/b: its transcripts could not be written: No space left"):
        folder.write(files[1], long)
    left = {name: (disk / name).read_bytes() for name in names_in(disk)}
    assert before.items() <= left.items() and set(left) - set(before) <= {"b/b.txt"}
    assert left.get("b/b.txt") in (None, as_txt(long, Layout()).encode())
    assert not open_folder(disk, "txt", "json").has(files[1])


def test_a_folder_where_the_transcript_should_be_is_told(files, tmp_path):
    (tmp_path / "a/a.txt").mkdir(parents=True)
    with pytest.raises(WriteError, match="Is a directory"):
        open_folder(tmp_path).write(files[0], TRANSCRIPT)


# ---- what a request is -------------------------------------------------------------------------------------

OTHERS = {
    "model": "other",
    "language": "it",
    "prompt_terms": "Rossi",
    "audio_context": "full",
    "format": ["srt"],
    "max_line_width": 30,
    "max_line_count": 1,
    "max_reading_speed": 12.0,
    "backend": "ctranslate2",
    "dtype": "float32",
    "task": "translate",
    "num_beams": 2,
    "generation_max_length": 100,
    "seed": 1,
}
WITHOUT_INFLUENCE = {"files": ["b.wav"], "output_dir": "other", "batch_size": 2}


def test_all_that_decides_a_transcript_is_in_the_digest_of_its_request():
    words = ["--model", "m", "--output_dir", "out", "a.wav"]
    arguments = parse_arguments(TranscribeArguments, words)
    digest = digest_request(arguments, "model")
    assert digest == digest_request(parse_arguments(TranscribeArguments, words), "model")
    assert digest != digest_request(arguments, "another model of this name")
    for name, value in OTHERS.items():
        assert digest != digest_request(dataclasses.replace(arguments, **{name: value}), "model"), name
    for name, value in WITHOUT_INFLUENCE.items():
        assert digest == digest_request(dataclasses.replace(arguments, **{name: value}), "model"), name
    fields = {field.name for field in dataclasses.fields(TranscribeArguments)}
    assert fields == OTHERS.keys() | WITHOUT_INFLUENCE.keys()
