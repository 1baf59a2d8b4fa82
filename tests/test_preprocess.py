"""preprocess.py from the command line to the folder: what is kept, what is refused, what is never lost."""

import contextlib
import errno
import fcntl
import html
import io
import json
import os
import shlex
import shutil
import subprocess
import sys
import wave
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from preprocess import clip_settings, describe, drawn, main, split_settings
from tests.support.locks import refuse_to_lock
from utils.arguments.parsing import parse_arguments
from utils.arguments.preprocess import PreprocessArguments
from utils.data.selection import draw_fraction
from utils.data.utterance import Utterance
from utils.data.working_folder import working_folder

ROOT = Path(__file__).parent.parent


def write_wav(path: Path, seconds: float = 1.0, hertz: float = 220.0) -> Path:
    """A tone with some noise, so that no two stretches are the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(round(seconds * 16000)) / 16000
    noise = np.random.default_rng(len(str(path)) + round(hertz)).normal(scale=0.01, size=time.size)
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * hertz * time) + noise, 16000)
    return path


def write_manifest(folder: Path, rows: list[dict | str]) -> Path:
    path = folder / "corpus.jsonl"
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def corpus(tmp_path) -> Path:
    """A manifest of 12 good lines, three of them cut from one recording."""
    rows = []
    for n in range(9):
        write_wav(tmp_path / f"clips/{n}.wav", 0.5 + n / 10, 200 + 20 * n)
        rows.append({"audio": f"clips/{n}.wav", "text": f"Frase numero {n}.", "speaker": f"s{n % 2}"})
    write_wav(tmp_path / "clips/long.flac", 40)
    rows += [
        {"audio": "clips/long.flac", "text": f"Pezzo {n}", "start": 10.0 * n, "end": 10.0 * n + 2}
        for n in range(3)
    ]
    return write_manifest(tmp_path, rows)


def run(manifest: Path, output_dir: Path, *more: str) -> dict:
    """Run on a manifest and return the report."""
    words = ["--source", "manifest", "--input", str(manifest), "--language", "it", *more]
    main([*words, "--output_dir", str(output_dir)])
    report = json.loads((output_dir / "data_report.json").read_text(encoding="utf-8"))
    assert report["seen"] == report["kept"] + report["rejected"]
    return report


def read_rejects(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "rejects.jsonl").read_text(encoding="utf-8").splitlines()]


def read_rows(folder: Path) -> dict[str, list[dict]]:
    from datasets import load_from_disk

    return {name: list(split) for name, split in load_from_disk(str(folder)).items()}


def fails(capsys, *words: str) -> str:
    """The one error a user sees; nothing is left behind by the run."""
    with pytest.raises(SystemExit) as exit_:
        main([*words])
    assert exit_.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and "Traceback" not in error
    return error


def test_a_manifest_becomes_a_prepared_dataset(corpus, tmp_path, capsys):
    report = run(corpus, tmp_path / "out")
    assert (report["seen"], report["kept"], report["rejected"]) == (12, 12, 0)
    assert {name: split["utterances"] for name, split in report["splits"].items()} == {
        "train": 9, "validation": 1, "test": 2,
    }  # fmt: skip
    # 0.5 + 0.6 + … + 1.3 s, and three pieces of 2 s
    assert report["hours"] == pytest.approx((8.1 + 6.0) / 3600)
    rows = {row["id"]: row for split in read_rows(tmp_path / "out").values() for row in split}
    assert len(rows) == 12
    row = rows["corpus-000011"]
    assert (row["text"], row["start"], row["end"], row["duration"]) == ("Pezzo 1", 10.0, 12.0, 2.0)
    assert (row["language"], row["speaker"], Path(row["source"]).name) == ("it", None, "long.flac")
    assert soundfile.info(io.BytesIO(row["audio"])).frames == 32000
    arguments = yaml.safe_load((tmp_path / "out/preprocess.yaml").read_text())
    assert arguments["source"] == "manifest" and arguments["seed"] == 42
    output = capsys.readouterr().out
    assert "12 seen, 12 kept" in output and "train.py" in output
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_every_bad_item_gets_a_reason(corpus, tmp_path, tiny_whisper, capsys):
    soundfile.write(tmp_path / "nan.wav", np.array([0.0, np.nan] * 8000), 16000, subtype="FLOAT")
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "noaudio.wav").write_text("I am no audio\n" * 100)
    with wave.open(str(tmp_path / "mute.wav"), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
    write_wav(tmp_path / "31.wav", 31)
    write_wav(tmp_path / "clips/more.wav", 0.5, 900)
    ok = {"audio": "clips/more.wav", "text": "ciao"}
    bad = {
        "no such file": ok | {"audio": "missing.wav"},
        "empty file": ok | {"audio": "empty.wav"},
        "not audio": ok | {"audio": "noaudio.wav"},
        "no samples": ok | {"audio": "mute.wav"},
        "NaN or infinite samples": ok | {"audio": "nan.wav"},
        "too long": ok | {"audio": "31.wav"},
        "too short": ok | {"start": 0.0, "end": 0.05},
        "end not after start": ok | {"start": 0.4, "end": 0.1},
        "start without end": ok | {"start": 0.1},
        "segment beyond the end of the audio": ok | {"start": 0.1, "end": 4.0},
        "empty text": ok | {"text": " \u00a0 "},
        "unknown language": ok | {"language": "klingon"},
        "bad JSON": "{",
        "missing key 'text'": {"audio": "clips/0.wav"},
        "label too long": ok | {"text": "a" * 444},  # a token a byte, with the space one more than fits
    }
    good = corpus.read_text().splitlines()
    manifest = write_manifest(tmp_path, [*good, *bad.values(), ok | {"text": "a" * 443}])
    plain = ["--skip_rules", "repeated_text", "speech_rate"]
    report = run(manifest, tmp_path / "out", "--model_name_or_path", str(tiny_whisper), *plain)
    assert report["kept"] == len(good) + 1
    assert report["reasons"] == dict.fromkeys(bad, 1)
    rejects = {reject["position"]: reject for reject in read_rejects(tmp_path / "out")}
    for line, kind in enumerate(bad, start=len(good) + 1):
        assert rejects[line]["reason"].startswith(kind) and rejects[line]["source"] == str(manifest)
    assert "start and end" in next(
        r["reason"] for r in rejects.values() if r["reason"].startswith("too long")
    )
    assert f"1 × {next(iter(bad))}" in capsys.readouterr().out


def test_two_processes_write_the_same(corpus, tmp_path):
    write_manifest(tmp_path, [*corpus.read_text().splitlines(), {"audio": "no.wav", "text": "a"}])
    one = run(corpus, tmp_path / "one", "--num_proc", "1")
    two = run(corpus, tmp_path / "two", "--num_proc", "2")
    assert one == two and one["rejected"] == 1
    assert read_rows(tmp_path / "one") == read_rows(tmp_path / "two")
    assert read_rejects(tmp_path / "one") == read_rejects(tmp_path / "two")


def test_a_rerun_reuses_and_other_arguments_are_refused(corpus, tmp_path, capsys):
    out = tmp_path / "out"
    run(corpus, out)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    capsys.readouterr()
    run(corpus, out, "--num_proc", "2")  # does not change the result
    assert "already prepared" in capsys.readouterr().out
    words = ["--source", "manifest", "--input", str(corpus), "--language", "en", "--seed", "7"]
    error = fails(capsys, *words, "--output_dir", str(out))
    assert "seed: 42 there, 7 now" in error and "language: it there, en now" in error
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_a_folder_of_someone_else_is_not_touched(corpus, tmp_path, capsys):
    words = ["--source", "manifest", "--input", str(corpus)]
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.doc").write_text("years of work")
    assert "not written by preprocess.py" in fails(capsys, *words, "--output_dir", str(other))
    assert [path.name for path in other.iterdir()] == ["thesis.doc"]
    assert "found a file" in fails(capsys, *words, "--output_dir", str(corpus))
    run(corpus, tmp_path / "empty")  # an empty folder is fine


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--source", "manifest"], "needs --input"),
        (["--source", "manifest", "--input", "missing.jsonl"], "no such manifest"),
        (["--source", "folder", "--input", "missing"], "no such folder"),
        (["--source", "manifest", "--input", "a.zip"], "a.zip: found no manifest, expected one"),
        (["--source", "folder", "--input", "a.zip"], "a.zip: no audio and no transcripts"),
        (["--source", "hub", "--input", "./missing"], "no such folder"),
        (["--source", "manifest", "--input", "corpus.jsonl", "--language", "xx"], "no such language"),
        (["--source", "manifest", "--input", "bad.jsonl"], "no usable utterance"),
        (
            ["--source", "manifest", "--input", "lost.jsonl", "--language", "it"],
            "no usable utterance left. Rejected: 1 × no such file",
        ),
        (["--source", "asterisk", "--language", "auto"], "telephone prompts"),
        (
            ["--input", "corpus.jsonl", "--language", "it", "--model_name_or_path", "./clips"],
            "clips",
        ),
    ],
)
def test_wrong_input_is_one_error(corpus, tmp_path, capsys, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    Path("bad.jsonl").write_text("{}\n")
    zipfile.ZipFile("a.zip", "w").close()
    Path("lost.jsonl").write_text('{"audio": "no.wav", "text": "ciao"}\n')
    assert message in fails(capsys, *words, "--output_dir", "out")
    assert not Path("out").exists() and not list(Path().glob(".*"))


def test_given_splits_and_their_leaks(tmp_path, capsys):
    for n in range(12):
        write_wav(tmp_path / f"{n}.wav", hertz=200 + 20 * n)
    rows = [{"audio": f"{n}.wav", "text": f"Frase {n}", "split": "train"} for n in range(10)]
    rows += [
        {"audio": "10.wav", "text": "FRASE 3!", "split": "dev"},
        {"audio": "11.wav", "text": "Altra", "split": "test"},
    ]
    manifest = write_manifest(tmp_path, rows)
    report = run(manifest, tmp_path / "out")
    sizes = {name: split["utterances"] for name, split in report["splits"].items()}
    assert sizes == {"train": 9, "validation": 1, "test": 1}
    assert (report["shared_texts"], report["leaked_utterances"]) == (0, 0)
    assert read_rejects(tmp_path / "out")[0]["reason"] == "leak: its text is also in validation"
    original = run(manifest, tmp_path / "original", "--as_original")
    assert original["splits"]["train"]["utterances"] == 10
    assert (original["shared_texts"], original["leaked_utterances"]) == (1, 1)
    assert "sentences in more than one of the given splits: 1" in " ".join(capsys.readouterr().out.split())


def test_a_folder_with_timed_transcripts(tmp_path):
    for split, count in (("train", 3), ("test", 2)):
        write_wav(tmp_path / f"data/{split}/child.wav", 10)
        lines = [f"{n}\t{n + 0.8}\tparola {split} {n}\tpiano" for n in range(count)]
        lines += ["senza tab", "5\t4\tindietro", "6\t7\t", "8\t8.3\tcorto", "9\t11\toltre"]
        (tmp_path / f"data/{split}/child.txt").write_text("\n".join(lines))
    main(["--source", "folder", "--input", str(tmp_path / "data"), "--output_dir", str(tmp_path / "out"),
          "--language", "it", "--validation_share", "0"])  # fmt: skip
    rows = read_rows(tmp_path / "out")
    assert [row["text"] for row in rows["train"]] == [f"parola train {n} piano" for n in range(3)]
    assert [row["id"] for row in rows["test"]] == ["test/child_segment_000", "test/child_segment_001"]
    assert {reject["reason"].split(":")[0] for reject in read_rejects(tmp_path / "out")} == {
        "malformed line", "end not after start", "empty text", "segment too short",
        "segment beyond the end of the audio",
    }  # fmt: skip


def test_a_local_hub_folder_leaves_no_cache(tmp_path):
    write_wav(tmp_path / "data/a.wav")
    rows = "".join(json.dumps({"file_name": "a.wav", "sentence": f"frase {n}"}) + "\n" for n in range(1))
    (tmp_path / "data/metadata.jsonl").write_text(rows)
    words = ["--source", "hub", "--input", str(tmp_path / "data"), "--output_dir", str(tmp_path / "out")]
    words += ["--language", "it"]
    done = subprocess.run(
        [sys.executable, "preprocess.py", *words, "--num_proc", "2"],
        cwd=ROOT,
        env=os.environ | {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert read_rows(tmp_path / "out")["train"][0]["text"] == "frase 0"
    assert not [path for path in (tmp_path / "hf").rglob("*") if path.is_file()]
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "hf") == ["data", "out"]


def test_shards_of_an_array_are_put_together(corpus, tmp_path, capsys):
    """64 items make a block: 200 lines are at least three, over two jobs."""
    rows = [
        {"audio": "clips/long.flac", "text": f"Pezzo {n}", "start": n / 10, "end": n / 10 + 1}
        for n in range(150)
    ]
    rows += [{"audio": f"clips/{n}.wav", "text": f"Parola {n}"} for n in range(9)] * 12
    manifest = write_manifest(tmp_path, rows)
    whole = run(manifest, tmp_path / "whole")
    words = ["--source", "manifest", "--input", str(manifest), "--language", "it", "--num_shards", "2"]
    for shard in "10":
        main([*words, "--shard_index", shard, "--output_dir", str(tmp_path / "parts")])
        assert not (tmp_path / "parts").exists()
    assert "Shard 0 of 2 is done" in capsys.readouterr().out
    done = {path: path.stat().st_mtime_ns for path in (tmp_path / ".parts.blocks").glob("*.arrow")}
    assert len(done) >= 2
    assert run(manifest, tmp_path / "parts") == whole
    assert read_rows(tmp_path / "parts") == read_rows(tmp_path / "whole")
    assert not (tmp_path / ".parts.blocks").exists()


def test_a_full_disk_at_the_end_keeps_what_is_done(corpus, tmp_path, capsys, monkeypatch):
    from utils.data import building

    whole = run(corpus, tmp_path / "whole")
    words = ["--source", "manifest", "--input", str(corpus), "--language", "it"]
    with monkeypatch.context() as patches:
        patches.setattr(building, "_write", fill_the_disk)
        error = fails(capsys, *words, "--output_dir", str(tmp_path / "out"))
    assert "No space left" in error and not (tmp_path / "out").exists()
    done = list((tmp_path / ".out.blocks").glob("*.json"))
    assert done and all(index.with_suffix(".arrow").is_file() for index in done)
    assert run(corpus, tmp_path / "out") == whole
    assert not (tmp_path / ".out.blocks").exists()


def fill_the_disk(*_) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_two_runs_into_one_folder_are_refused(corpus, tmp_path, capsys):
    from filelock import FileLock

    (tmp_path / ".out.blocks").mkdir()
    with FileLock(tmp_path / ".out.blocks/lock"):
        words = ["--source", "manifest", "--input", str(corpus), "--output_dir", str(tmp_path / "out")]
        assert "another preprocess.py is using this" in fails(capsys, *words)


@pytest.mark.parametrize("manifest", ["one.jsonl", "no.jsonl"], ids=["idle", "failing"])
def test_a_job_of_an_array_leaves_the_folder_to_the_others(corpus, tmp_path, manifest):
    """Two lines are one block, which is the first job's: the second has nothing to do."""
    (tmp_path / "one.jsonl").write_text("".join(corpus.read_text().splitlines(keepends=True)[:2]))
    blocks = tmp_path / ".out.blocks"
    words = ["--source", "manifest", "--output_dir", str(tmp_path / "out"), "--num_shards", "2"]
    words += ["--input", str(tmp_path / manifest), "--shard_index", "1", "--language", "it"]
    with working_folder(tmp_path / "out", 0), contextlib.suppress(SystemExit):
        main(words)
        assert blocks.is_dir()
    assert blocks.is_dir()
    run(corpus, tmp_path / "out")
    assert not blocks.exists()


def test_a_lock_file_that_a_killed_run_left_is_no_lock(corpus, tmp_path, monkeypatch):
    """Also where the file system has no locks: a file that has to be deleted would stay for ever."""
    monkeypatch.setattr(fcntl, "flock", refuse_to_lock)
    (tmp_path / ".out.blocks").mkdir()
    (tmp_path / ".out.blocks/lock").write_text("")
    assert run(corpus, tmp_path / "out")["kept"] == 12


def test_other_forms_of_the_dataset(corpus, tmp_path, monkeypatch):
    from utils.data.prepared_dataset import load_prepared

    monkeypatch.setenv("WHISPER_FINETUNING_CACHE", str(tmp_path / "cache"))
    run(corpus, tmp_path / "out")
    run(corpus, tmp_path / "out", "--archive", "--also_write", "audiofolder")  # of what is there
    assert len(load_prepared([str(tmp_path / "out.zip")], "train", language="it")) == 9
    again = tmp_path / "again"
    main(
        ["--source", "audiofolder", "--input", str(tmp_path / "out-audiofolder"), "--output_dir", str(again)]
    )
    texts = {row["text"] for split in read_rows(again).values() for row in split}
    assert texts == {row["text"] for split in read_rows(tmp_path / "out").values() for row in split}


def test_other_forms_follow_a_dataset_that_was_prepared_anew(corpus, tmp_path, capsys):
    archive, folder = tmp_path / "out.zip", tmp_path / "out-audiofolder"
    both = ("--archive", "--also_write", "audiofolder")
    run(corpus, tmp_path / "out", *both)
    written = [archive.stat().st_mtime_ns, folder.stat().st_mtime_ns]
    run(corpus, tmp_path / "out", *both)
    assert [archive.stat().st_mtime_ns, folder.stat().st_mtime_ns] == written
    run(corpus, tmp_path / "other", "--skip_rules", "speech_rate", "--test_share", "0")
    shutil.rmtree(tmp_path / "out")
    (tmp_path / "other").rename(tmp_path / "out")  # older than the archive
    run(corpus, tmp_path / "out", *both, "--skip_rules", "speech_rate", "--test_share", "0")
    assert forms_of(tmp_path / "out") == [{"train", "validation"}] * 2
    shutil.rmtree(tmp_path / "out")
    run(corpus, tmp_path / "out", *both)
    assert forms_of(tmp_path / "out") == [{"train", "validation", "test"}] * 2


def forms_of(output_dir: Path) -> list[set[str]]:
    """The splits of the archive and of the audio folder."""
    with zipfile.ZipFile(f"{output_dir}.zip") as archive:
        splits = json.loads(archive.read("dataset_dict.json"))["splits"]
    return [set(splits), {path.name for path in Path(f"{output_dir}-audiofolder").iterdir()}]


def test_other_forms_are_not_written_over_what_is_read_or_someone_elses(corpus, tmp_path, capsys):
    words = ["--source", "audiofolder", "--archive", "--also_write", "audiofolder"]
    words += ["--output_dir", str(tmp_path / "out")]
    run(corpus, tmp_path / "first", "--also_write", "audiofolder")
    own = (tmp_path / "first-audiofolder").rename(tmp_path / "out-audiofolder")
    assert f"{own}: another form" in fails(capsys, *words, "--input", str(own / "train"))
    with zipfile.ZipFile(tmp_path / "out.zip", "w") as archive:
        archive.writestr("thesis.doc", "years of work")
    assert "out.zip: not written by" in fails(capsys, *words, "--input", str(corpus))
    (tmp_path / "out.zip").unlink()
    (own / "thesis.doc").write_text("years of work")
    assert "out-audiofolder: not written by" in fails(capsys, *words, "--input", str(corpus))
    assert (own / "thesis.doc").is_file() and not (tmp_path / "out").exists()


def test_the_next_command_suits_the_machine(corpus, tmp_path, monkeypatch, capsys):
    from utils.report import next_command

    monkeypatch.setattr(next_command, "pick_accelerate_config", lambda: "mps")
    run(corpus, tmp_path / "out")
    assert "--config_file accelerate_configs/mps.yaml train.py" in capsys.readouterr().out
    assert "accelerate_configs/mps.yaml" in (tmp_path / "out/data_report.html").read_text()


def test_the_next_command_can_be_pasted(corpus, tmp_path, monkeypatch, capsys):
    out = tmp_path / "the data & more"
    monkeypatch.setattr("utils.report.next_command.pick_accelerate_config", lambda: "cpu")
    run(corpus, out)
    command = capsys.readouterr().out.split("Next:")[1].strip()
    threads, *words = shlex.split(command)  # a CPU configuration would else get a hint of the launcher
    assert threads == f"OMP_NUM_THREADS={os.cpu_count()}" and words[:2] == ["accelerate", "launch"]
    assert words[words.index("--dataset") :] == [
        "--dataset", str(out), "--language", "it", "--output_dir", "runs/the data & more",
    ]  # fmt: skip
    assert command in html.unescape((out / "data_report.html").read_text())
    monkeypatch.setenv("NEXT_IS_AUTOMATIC", "1")  # make runs it
    run(corpus, out)
    assert "Next:" not in capsys.readouterr().out


def test_an_output_folder_that_is_a_link(corpus, tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to("disk/data")
    run(corpus, tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["data"]
    assert len(read_rows(tmp_path / "disk/data")["train"]) == 9


def test_an_output_folder_that_cannot_be_replaced(corpus, tmp_path, monkeypatch, capsys, small_disk):
    words = ["--source", "manifest", "--input", str(corpus)]
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert "the current folder" in fails(capsys, *words, "--output_dir", ".")
    assert not list(Path().iterdir()) and not list(tmp_path.glob(".*"))
    disk = small_disk(4096)
    assert f"a mount point, which cannot be replaced. Name a folder in it, such as {disk}/data." in (
        fails(capsys, *words, "--output_dir", str(disk))
    )


def test_a_fraction_is_a_subset(corpus, tmp_path):
    whole = {row["id"] for rows in read_rows_of_run(corpus, tmp_path / "a").values() for row in rows}
    some = {row["id"] for rows in read_rows_of_run(corpus, tmp_path / "b", "0.5").values() for row in rows}
    assert some < whole and some


def test_splits_and_fractions_follow_the_seed():
    words = ["--source", "manifest", "--input", "corpus.jsonl", "--output_dir", "out", "--fraction", "0.5"]
    one, other = (parse_arguments(PreprocessArguments, [*words, "--seed", seed]) for seed in ("1", "2"))
    assert (split_settings(one).seed, split_settings(other).seed) == (1, 2)
    items = [Utterance(f"u{n}", b"", "ciao", "corpus", n) for n in range(40)]
    expected = list(draw_fraction(items, 0.5, test_fraction=0.5, seed=1))
    assert list(drawn(items, one)) == expected != list(drawn(items, other))


def test_what_becomes_of_a_clip_is_in_the_name_of_its_block():
    """Else a run that goes on with other values keeps the clips of those before."""
    words = (
        "--source manifest --input corpus.jsonl --output_dir out --align_with_model a --filter_with_model a"
    )

    def described(more: str = "") -> str:
        arguments = parse_arguments(PreprocessArguments, [*words.split(), *more.split()])
        return describe(clip_settings(arguments), arguments)

    others = ["--min_duration 0.2", "--max_duration 29", "--skip_rules duplicate", "--add_rules digits"]
    others += ["--language it", "--align_with_model b", "--min_alignment_confidence 0.6"]
    others += ["--filter_with_model b", "--max_filter_wer 0.7"]
    assert len({described(), *map(described, others)}) == 1 + len(others)
    assert described("--num_proc 2 --seed 1") == described()


def read_rows_of_run(manifest: Path, output_dir: Path, fraction: str = "1") -> dict[str, list[dict]]:
    run(manifest, output_dir, "--fraction", fraction)
    return read_rows(output_dir)


def test_the_result_trains(corpus, tmp_path):
    """What is written is what `load_prepared` and the collator's fast path read."""
    from utils.audio.flac import decode_flac
    from utils.data.prepared_dataset import load_prepared

    run(corpus, tmp_path / "out")
    for split in ("train", "validation", "test"):
        for row in load_prepared([str(tmp_path / "out")], split, language="it"):
            assert len(decode_flac(row["audio"])) / 16000 == row["duration"]
