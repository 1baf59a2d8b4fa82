"""A prepared dataset goes to a Hub on this machine and comes back the same, byte for byte.

Never run against the live Hub. The server in tests/support/hub_server.py checks digests and sizes itself;
what comes back is read in fresh processes by `datasets.load_dataset` and by our own reader.
"""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import pyarrow.parquet
import pytest
import soundfile
import yaml

from preprocess import main
from tests.support.hub_server import (
    ORGANISATION,
    READ_TOKEN,
    TOKEN,
    USER,
    File,
    Hub,
    become_client,
    running_hub,
)
from utils.arguments.parsing import parse_arguments
from utils.arguments.preprocess import PreprocessArguments
from utils.data.delivery.hub_errors import check_login
from utils.data.delivery.hub_push import push_dataset
from utils.data.sources.hub import read_hub
from utils.runtime.errors import UserError

ROOT = Path(__file__).resolve().parents[3]
NAME = f"{USER}/prompts"
PUSH = ["--push_to_hub", "--hub_dataset_id", NAME]


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running_hub() as server:
        yield server


@pytest.fixture(scope="module")
def manifest(italian_prompts, tmp_path_factory) -> Path:
    """Six real prompts in all three splits; two are cut from one file, with timed text."""
    folder = tmp_path_factory.mktemp("corpus")
    rows = []
    for number, (samples, text) in enumerate(italian_prompts[:6]):
        soundfile.write(folder / f"{number}.wav", samples, 16_000)
        rows.append({"audio": f"{number}.wav", "text": text, "speaker": f"s{number}", "age": 20 + number})
        rows[-1]["split"] = ("train", "train", "train", "train", "validation", "test")[number]
    rows[0] |= {"group": "telephone", "previous_text": "Buongiorno."}
    first, second = rows[1]["text"][:5], rows[1]["text"][5:]
    rows[1]["segments"] = [
        {"start": 0.0, "end": 0.4, "text": first},
        {"start": 0.4, "end": 0.8, "text": second},
    ]
    rows[2] |= {"start": 0.1, "end": 0.9}
    rows.append({"audio": "missing.wav", "text": "Non c'è."})
    path = folder / "corpus.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def preprocess(variables: dict[str, str], *words: str, fails: bool = False) -> str:
    """Run the script in a process of its own; returns what it prints."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    command = [sys.executable, "preprocess.py", *words]
    done = subprocess.run(command, cwd=ROOT, env=clean | variables, capture_output=True, text=True)
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == (2 if fails else 0), done.stderr
    return done.stderr if fails else done.stdout


@pytest.fixture(scope="module")
def prepared_prompts(manifest, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("prepared") / "prompts"
    main(source_words(manifest, folder))
    return folder


def source_words(manifest: Path, folder: Path) -> list[str]:
    words = ["--source", "manifest", "--input", str(manifest), "--language", "it", "--as_original", "true"]
    return [*words, "--output_dir", str(folder)]


@pytest.fixture
def push(hub, manifest, prepared_prompts, tmp_path) -> Callable[..., str]:
    """A function that pushes the prepared prompts as a user does, by the command that prepared them."""

    def run(*more: str, fails: bool = False, token: str | None = TOKEN) -> str:
        variables = hub.environment(tmp_path / "home", token)
        return preprocess(variables, *source_words(manifest, prepared_prompts), *PUSH, *more, fails=fails)

    return run


def rows_of(folder: Path) -> dict[str, list[dict]]:
    from datasets import load_from_disk

    return {split: list(rows) for split, rows in load_from_disk(str(folder)).items()}


LOAD = """
import json, sys
from datasets import Audio, load_dataset
name, streaming = sys.argv[1], sys.argv[2] == "stream"
found = {}
for split, rows in load_dataset(name, streaming=streaming).items():
    assert isinstance(rows.features["audio"], Audio) and rows.features["audio"].sampling_rate == 16000
    rows = [(row, row["audio"]) for row in rows.cast_column("audio", Audio(decode=False))]
    found[split] = [row | {"audio": sound["bytes"].hex(), "path": sound["path"]} for row, sound in rows]
print(json.dumps(found))
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["table", "stream"])
def test_anybody_can_load_what_was_pushed(how, hub, push, prepared_prompts, tmp_path):
    assert "only you" in push()
    environment = os.environ | hub.environment(tmp_path / "other-home")
    done = subprocess.run(
        [sys.executable, "-c", LOAD, NAME, how], env=environment, capture_output=True, text=True, check=True
    )
    loaded, expected = json.loads(done.stdout), rows_of(prepared_prompts)
    assert list(loaded) == ["train", "validation", "test"]
    for split, rows in expected.items():
        assert len(rows) == len(loaded[split]) > 0
        for row, found in zip(rows, loaded[split], strict=True):
            assert found.pop("path") == f"{row['id']}.flac"
            assert bytes.fromhex(found.pop("audio")) == row.pop("audio")
            assert found.pop("source") == Path(row.pop("source")).name  # not where it lay on this machine
            assert found == row


@pytest.mark.slow
def test_our_own_reader_finds_the_same_utterances(hub, push, prepared_prompts, tmp_path):
    push()
    words = ["--source", "hub", "--input", NAME, "--language", "it", "--as_original", "true"]
    for how in ("false", "true"):
        folder = tmp_path / f"again-{how}"
        variables = hub.environment(tmp_path / f"home-{how}")
        preprocess(variables, *words, "--streaming", how, "--output_dir", str(folder))
        expected, found = rows_of(prepared_prompts), rows_of(folder)
        assert list(found) == list(expected)
        for split, rows in expected.items():
            assert [comparable(row) for row in found[split]] == [comparable(row) for row in rows]
    train = {row["text"]: row for row in found["train"]}
    assert [row["previous_text"] for row in train.values()].count("Buongiorno.") == 1
    assert {row["original_source"] for row in train.values()} == {f"{n}.wav" for n in range(4)}
    assert {row["original_start"] for row in train.values()} == {None, 0.1}


def comparable(row: dict) -> dict:
    """All that a row must keep; where it lay before goes by another name when it is read again."""
    return {
        name: value
        for name, value in row.items()
        if name not in ("source", "start", "end") and not name.startswith("original_")
    }


@pytest.mark.slow
def test_a_push_through_xet(hub, manifest, prepared_prompts, tmp_path, push):
    """The real client of Xet stores the very shards that were sent as plain files before."""
    push()
    shards = dict(hub.repos.pop(("dataset", NAME)).files)
    sent, hub.xet_storage = list(hub.uploaded), tmp_path / "xet"
    hub.xet_storage.mkdir()
    variables = hub.environment(tmp_path / "home-xet")
    del variables["HF_HUB_DISABLE_XET"]
    preprocess(variables, *source_words(manifest, prepared_prompts), *PUSH)
    assert hub.repos["dataset", NAME].files == shards  # the server checked the digests that Xet computed
    assert hub.uploaded == sent  # nothing as plain files
    stored = [path for path in hub.xet_storage.rglob("xorbs/default.*") if path.stat().st_size]
    assert stored, list(hub.xet_storage.rglob("*"))


@pytest.mark.slow
def test_a_killed_push_goes_on(hub, push, manifest, prepared_prompts, tmp_path):
    hub.break_after = 1
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    command = [sys.executable, "preprocess.py", *source_words(manifest, prepared_prompts), *PUSH]
    environment = clean | hub.environment(tmp_path / "home")
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL) as process:
        assert hub.is_broken.wait(60)
        process.kill()
    assert len(hub.uploaded) == 1 and len(hub.repos["dataset", NAME].commits) == 1  # nothing is seen of it
    hub.break_after = None
    push()
    assert len(hub.uploaded) == len(set(hub.uploaded)) == 3
    assert len(hub.repos["dataset", NAME].commits) == 2


@pytest.mark.slow  # the Hub's client waits and tries again before it gives up
def test_a_dead_line_is_told_and_the_next_push_goes_on(hub, push):
    hub.break_after = 2
    error = push(fails=True)
    assert "no connection to the Hub" in error and "Run the same command again" in error
    hub.break_after = None
    push()
    assert len(hub.uploaded) == len(set(hub.uploaded)) == 3


# ---- the card, and what is refused -------------------------------------------------------------------------


@pytest.fixture
def as_user(hub, tmp_path, monkeypatch) -> Callable[[str | None], None]:
    """A function that makes this process one that talks to the Hub of the test, with a token or without."""

    def become(token: str | None) -> None:
        become_client(monkeypatch, hub, tmp_path, token)

    become(TOKEN)
    return become


def test_what_lies_on_the_hub(hub, as_user, prepared_prompts, tmp_path):
    """The same clips, read with pyarrow alone and by our own reader; the viewer is told that it is audio."""
    push_dataset(prepared_prompts, NAME, shard_bytes=60_000)
    expected = {row["id"]: row for rows in rows_of(prepared_prompts).values() for row in rows}
    for path, file in hub.repos["dataset", NAME].files.items():
        if path.endswith(".parquet"):
            table = pyarrow.parquet.read_table(io.BytesIO(file.content))
            metadata = json.loads(table.schema.metadata[b"huggingface"])
            assert metadata["info"]["features"]["audio"] == {"sampling_rate": 16_000, "_type": "Audio"}
            for row in table.to_pylist():
                sound = row["audio"]
                assert sound == {"bytes": expected[row["id"]]["audio"], "path": f"{row['id']}.flac"}
        (tmp_path / "copy" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "copy" / path).write_bytes(file.content)
    items = list(read_hub(str(tmp_path / "copy"), local_cache=tmp_path / "read").items)
    assert {item.id for item in items} == set(expected) and len(items) == 6
    for item in items:
        row = expected[item.id]
        assert (item.audio, item.text, item.speaker) == (row["audio"], row["text"], row["speaker"])
        assert (item.group, item.previous_text) == (row["group"], row["previous_text"])
        assert [asdict(segment) for segment in item.segments] == (row["segments"] or [])
        assert item.extra["age"] == row["age"] and "original_id" not in item.extra


def test_the_same_bytes_each_time(hub, as_user, prepared_prompts):
    first = push_dataset(prepared_prompts, NAME)
    sent = list(hub.uploaded)
    assert push_dataset(prepared_prompts, NAME) == first
    assert hub.uploaded == sent and len(sent) == 3  # a shard for each split
    assert len(hub.repos["dataset", NAME].commits) == 2  # the Hub's first and ours


def test_shards_that_are_no_longer_used_are_taken_away(hub, as_user, prepared_prompts):
    first = push_dataset(prepared_prompts, NAME, shard_bytes=60_000)
    many, splits = shards_of(hub), ("test", "train", "validation")
    assert first.num_shards == len(many) > 3 and first.private
    repository = hub.repos["dataset", NAME]
    repository.commit(
        repository.files
        | {f"data/{split}-00007-of-00009.parquet": repository.files[many[0]] for split in splits}
    )
    push_dataset(prepared_prompts, NAME)
    assert shards_of(hub) == [f"data/{split}-00000-of-00001.parquet" for split in splits]


def shards_of(hub: Hub) -> list[str]:
    return sorted(path for path in hub.repos["dataset", NAME].files if path.endswith(".parquet"))


def test_the_card_tells_what_is_there_and_keeps_what_others_wrote(hub, as_user, prepared_prompts):
    pushed = push_dataset(prepared_prompts, NAME, hidden_arguments=("output_dir",))
    assert not pushed.has_license
    repo = hub.repos["dataset", NAME]
    card = repo.files["README.md"].content.decode()
    head = yaml.safe_load(card.split("---")[1])
    assert head["language"] == ["it"] and head["size_categories"] == ["n<1K"]
    assert head["task_categories"] == ["automatic-speech-recognition"]
    counts = {split["name"]: split["num_examples"] for split in head["dataset_info"]["splits"]}
    assert counts == {"train": 4, "validation": 1, "test": 1}
    assert "| train | 4 |" in card and "1 of 7 items" in card and "| no such file | 1 |" in card
    assert str(prepared_prompts.parent) not in card and "input: corpus.jsonl" in card
    edited = card.replace("---\n\n<!--", "license: cc-by-4.0\n---\n\nRead this first.\n\n<!--")
    assert edited != card
    repo.commit(repo.files | {"README.md": File(edited.encode(), False)})
    assert push_dataset(prepared_prompts, NAME, hidden_arguments=("output_dir",)).has_license
    again = repo.files["README.md"].content.decode()
    assert "Read this first." in again and yaml.safe_load(again.split("---")[1])["license"] == "cc-by-4.0"
    assert again.count("# Prompts") == 1 and "No licence is stated" not in again


def refusal(folder: Path, name: str = NAME, **options) -> str:
    with pytest.raises(UserError) as caught:
        push_dataset(folder, name, **options)
    return str(caught.value)


@pytest.mark.parametrize(
    ("token", "name", "expected"),
    [
        (None, NAME, "not logged in"),
        ("hf_wrong", NAME, "does not accept the token"),
        (READ_TOKEN, NAME, "no permission to push"),
        (TOKEN, "somebody/prompts", "no permission to push"),
    ],
)
def test_who_has_no_right_is_told_so(token, name, expected, hub, as_user, prepared_prompts):
    as_user(token)
    assert expected in refusal(prepared_prompts, name)
    assert not hub.repos and not hub.uploaded


def test_an_organisation_can_own_it(hub, as_user, prepared_prompts):
    pushed = push_dataset(prepared_prompts, f"{ORGANISATION}/prompts", private=False, license="cc-by-4.0")
    assert not pushed.private and pushed.has_license
    assert not hub.repos["dataset", f"{ORGANISATION}/prompts"].private


def test_speech_is_not_published_by_accident(hub, as_user, prepared_prompts):
    hub.create("dataset", NAME, private=False)
    assert "--hub_private_repo false" in refusal(prepared_prompts)
    with pytest.raises(UserError, match="is public on the Hub"):
        check_login(NAME, "dataset", private=True)
    assert not hub.uploaded
    assert not push_dataset(prepared_prompts, NAME, private=False).private


def test_another_dataset_is_not_overwritten(hub, as_user, prepared_prompts):
    repo = hub.create("dataset", NAME, private=True)
    theirs = {"README.md": File(b"# Mine\n", False), "data/train-00000-of-00001.parquet": File(b"PAR1", True)}
    repo.commit(repo.files | theirs)
    assert "another dataset of this name" in refusal(prepared_prompts)
    assert repo.files["README.md"].content == b"# Mine\n" and not hub.uploaded


def test_what_is_wrong_is_told_before_the_work(hub, as_user, monkeypatch):
    from huggingface_hub import constants

    check_login(NAME, "dataset", private=True, license="cc-by-4.0")
    assert not hub.repos
    with pytest.raises(UserError, match='"license" must be one of'):
        check_login(NAME, "dataset", private=True, license="do what you want")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match="no connection to the Hub at"):
        check_login(NAME, "dataset", private=True)


@pytest.mark.parametrize("name", ["prompts", "a/b/c", "anna/", "anna/a b", "anna/a--b", None])
def test_a_name_that_cannot_be_is_told_at_once(name, tmp_path):
    words = ["--source", "asterisk", "--language", "it", "--output_dir", str(tmp_path / "out")]
    words += ["--push_to_hub", *(["--hub_dataset_id", name] if name else [])]
    with pytest.raises(UserError, match="hub_dataset_id"):
        parse_arguments(PreprocessArguments, words)


def test_a_file_names_no_folder_of_this_machine(hub, as_user, prepared_prompts):
    push_dataset(prepared_prompts, NAME)
    files, folder = hub.repos["dataset", NAME].files, str(prepared_prompts.parent.parent).encode()
    assert not [path for path, file in files.items() if folder in file.content]
