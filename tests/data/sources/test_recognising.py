"""The kind of a corpus is recognised by what is in it, in a folder as in an archive."""

import json
from pathlib import Path

import pytest

from utils.data.sources.recognising import recognise
from utils.runtime.errors import UserError

CV = "client_id\tpath\tsentence\n"
CORPORA: dict[str, dict[str, str]] = {
    "manifest": {"corpus.jsonl": '\n{"audio": "a.wav", "text": "ciao"}\n', "a.wav": ""},
    "folder": {"README.txt": "About", "anna/a.wav": "", "anna/a.TextGrid": "", "b.wav": ""},
    "common_voice": {"cv/it/train.tsv": CV, "cv/it/dev.tsv": CV, "cv/it/clips/a.mp3": ""},
    "afrispeech": {"intron-train-public.csv": 'idx,"transcript",audio_paths,accent\n', "train/a/b.wav": ""},
    "fleurs": {"it_it/train.tsv": "7\ta.wav\tCiao.\tciao\tc i a o\t9\tMALE\n", "it_it/audio/train/a.wav": ""},
    "ljspeech": {"metadata.csv": "LJ001-0001|Ciao|ciao\n", "wavs/LJ001-0001.wav": ""},
    "librispeech": {"dev/84/121/84-121.trans.txt": "84-121-0 CIAO\n", "dev/84/121/84-121-0.flac": ""},
    "kaldi": {"data/train/wav.scp": "a a.wav\n", "data/train/text": "a ciao\n"},
    "nemo": {"train.json": '{"audio_filepath": "a.wav", "duration": 1, "text": "ciao"}\n'},
    "lhotse": {"supervisions.jsonl": '{"recording_id": "a"}\n', "recordings.jsonl": '{"id": "a"}\n'},
    "audiofolder": {"train/metadata.csv": "file_name;text\na.wav;ciao\n", "train/a.wav": ""},
    "hub": {"dataset_dict.json": "{}", "rejects.jsonl": '{"source": "a", "position": 1}\n'},
}  # fmt: skip


@pytest.mark.parametrize("kind", ["folder", "zip", "tar.gz"])
@pytest.mark.parametrize("source", CORPORA)
def test_what_a_corpus_shows(tmp_path, write_files, packed, source, kind):
    found = recognise(str(packed(write_files(tmp_path / "corpus", CORPORA[source]), kind)))
    assert found.source == source
    named = [name for name in CORPORA[source] if name in found.reason]
    assert named and str(found).endswith(f"because {found.reason}; --source overrides.")


def test_other_forms(tmp_path, write_files):
    (tmp_path / "corpus").mkdir()
    forms = {
        "lhotse": {"x_cuts_train.jsonl": '{"id": "a", "supervisions": []}\n'},
        "audiofolder": {"metadata.jsonl": '{"file_name": "a.wav", "text": "ciao"}\n'},
        "hub": {"data/train-0.parquet": "PAR1"},
        "common_voice": {"validated.tsv": CV},
        "folder": {"a.mp3": "", "a.json": "{}"},
    }
    for source, files in forms.items():
        assert recognise(str(write_files(tmp_path / source, files))).source == source


@pytest.mark.parametrize("source", ["manifest", "nemo"])
def test_a_file(tmp_path, write_files, source):
    folder = write_files(tmp_path, CORPORA[source])
    (name,) = (name for name in CORPORA[source] if "json" in name)
    (folder / "b.wav").touch()
    (folder / "b.txt").write_text("not looked at")
    assert recognise(str(folder / name)).source == source


def message_of(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        recognise(str(path))
    return str(caught.value)


def test_a_table_alone_is_no_corpus(tmp_path, write_files):
    write_files(tmp_path, CORPORA["common_voice"])
    assert "so it is a part of Common Voice. Give its folder." in message_of(tmp_path / "cv/it/train.tsv")


def test_several_kinds_are_listed(tmp_path, write_files):
    write_files(tmp_path, CORPORA["manifest"] | CORPORA["folder"])
    told = message_of(tmp_path)
    assert "this may be a manifest, because corpus.jsonl has lines" in told
    assert "or recordings with transcripts, because anna/a.wav has a.TextGrid beside it" in told
    assert "Choose --source manifest or --source folder, or give a folder inside." in told


def test_an_unknown_kind_tells_what_was_looked_for(tmp_path, write_files):
    files = {"a.wav": "", "b.txt": "ciao", "train.tsv": "x\ty\n", "data.json": json.dumps([1]), "b.csv": '"'}
    told = message_of(write_files(tmp_path, files))
    assert all(f"\n         {source}: " in told for source in CORPORA)
    assert "--source" in told and "manifest" in told


def test_tables_that_are_none(tmp_path):
    (tmp_path / "train.tsv").write_bytes(b"\xff\xfe" + CV.encode("utf-16-le"))
    (tmp_path / "corpus.jsonl").write_bytes(b"[" * (2 << 20))
    assert "no known kind of corpus" in message_of(tmp_path)


def test_names_of_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    told = message_of(Path("user/speech"))
    assert "add --source hub, or download it and give --input speech" in told
    assert told.endswith("hf download user/speech --repo-type dataset --local-dir speech")
    told = message_of(Path("google/fleurs"))
    assert told.endswith("add --source fleurs --dataset_config_name it_it.")
    told = message_of(Path("intronhealth/afrispeech-200"))  # has a script, so the source hub cannot read it
    assert "--source hub" not in told and told.endswith("--repo-type dataset --local-dir afrispeech-200")
    for path in ("data/it", "corpus.zip", "/no/where", "a/b/c"):
        assert message_of(Path(path)) == f"{path}: no such file or folder."
