"""Models go to a Hub on this machine, and come back from it as its users load them.

Never run against the live Hub. The server in tests/support/hub_server.py checks digests and sizes itself.
"""

import contextlib
import io
import json
import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml
from huggingface_hub import ModelCard, snapshot_download

import export
import train
from tests.support.hub_server import (
    READ_TOKEN,
    TOKEN,
    USER,
    File,
    Hub,
    Repo,
    become_client,
    running_hub,
)
from tests.support.made_up_results import build_result
from tests.support.real_vocabulary import build_source
from utils.arguments.parsing import parse_arguments
from utils.arguments.train import TrainArguments
from utils.delivery.export_push import repository_of
from utils.delivery.exports.hugging_face import write_whole_model
from utils.delivery.model_push import HubTarget, check_push, publishable_files, push_files
from utils.delivery.training_push import RunPush, push_model_folder
from utils.evaluation.evaluation_folder import fingerprint
from utils.runtime.errors import UserError

BASE = f"{USER}/tiny"

pytestmark = pytest.mark.usefixtures("fresh_accelerator")


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("home-of-the-client")


@pytest.fixture(scope="module")
def hub(home, brief_whisper) -> Iterator[Hub]:
    """A Hub that has a base model; every test uses names of its own."""
    with running_hub() as server, pytest.MonkeyPatch.context() as patch:
        become_client(patch, server, home)
        repo = server.create("model", BASE, private=False)
        files = {path.name: path.read_bytes() for path in brief_whisper.iterdir()}
        large = (".safetensors",)
        repo.commit(repo.files | {name: File(each, name.endswith(large)) for name, each in files.items()})
        server.stored |= {file.oid: file.content for file in repo.files.values() if file.is_large}
        yield server
        shown = b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file())
        assert TOKEN.encode() not in shown


@pytest.fixture(scope="module")
def adapter_run(hub, build_prepared, tmp_path_factory) -> tuple[Path, str]:
    """A run that trained an adapter and pushed it after every save and at the end, and what it printed."""
    folder = tmp_path_factory.mktemp("home-of-anna")
    data = build_prepared(folder / "it", {"train": 8, "validation": 2})
    (data / "preprocess.yaml").write_text("source: hub\ninput: choir/italian\ndataset_config_name: it\n")
    words = f"--model_name_or_path {BASE} --dataset {data} --language it --report_to none --max_steps 2"
    words += " --eval_steps 1 --save_steps 1 --generation_max_length 8 --use_peft --learning_rate 1e-3"
    words += f" --push_to_hub --hub_model_id {USER}/it --hub_strategy every_save --hub_license mit"
    run = folder / "run"
    with pytest.MonkeyPatch.context() as patch:
        told: list[str] = []
        patch.setattr("builtins.print", lambda *words, **_: told.append(" ".join(map(str, words))))
        train.main([*words.split(), "--output_dir", str(run)])
    return run, "\n".join(told)


def repo_of(hub: Hub, name: str) -> Repo:
    return hub.repos["model", f"{USER}/{name}"]


def card_of(hub: Hub, name: str) -> ModelCard:
    return ModelCard(repo_of(hub, name).files["README.md"].content.decode())


def assert_nothing_private(repo: Repo, *places: Path) -> None:
    for path, file in repo.files.items():
        for private in (TOKEN, *map(str, places), "/tmp/", str(Path.home()) + "/"):
            assert private.encode() not in file.content, (path, private)
        assert not re.search(r"optim|random_states|trainer_state|export\.json", path)


# ---- train.py ----------------------------------------------------------------------------------------------


def test_a_run_pushes_its_best_model_and_others_can_load_it(hub, adapter_run):
    run, told = adapter_run
    repo, card = repo_of(hub, "it"), card_of(hub, "it")
    assert f"On the Hub: {hub.url}/{USER}/it (only you" in told and "Warning" not in told
    # made, after step 1, at the end: then the card has all evaluations
    assert repo.private and len(repo.commits) == 3
    assert hub.asked.count(f"POST /api/models/{USER}/it/preupload/main") == 2  # after step 1 and at the end
    assert {"adapter_model.safetensors", "adapter_config.json", "train.yaml"} <= set(repo.files)
    best = (run / "best/adapter_model.safetensors").read_bytes()
    assert repo.files["adapter_model.safetensors"].content == best
    assert (card.data.base_model, card.data.base_model_relation, card.data.license) == (
        BASE,
        "adapter",
        "mit",
    )
    assert card.data.datasets == ["choir/italian"] and card.data.language == ["it"]
    assert card.data.eval_results[0].dataset_config == "it"
    assert_nothing_private(repo, run.parent)
    assert yaml.safe_load(repo.files["train.yaml"].content)["dataset"] == ["it"]
    assert str(run.parent) in (run / "best/train.yaml").read_text()  # here it stays as it is
    assert not (run / ".pushing").exists()
    assert "license: mit" in (run / "best/README.md").read_text() and TOKEN not in told
    assert not [path for path in run.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]


def test_the_same_command_again_pushes_and_changes_nothing(hub, adapter_run, capsys):
    run, _ = adapter_run
    words = yaml.safe_load((run / "train.yaml").read_text())
    sent, commits = list(hub.uploaded), len(repo_of(hub, "it").commits)
    (run / "recipe.yaml").write_text(yaml.safe_dump(words))
    train.main(["--config", str(run / "recipe.yaml")])
    assert "already trained" in capsys.readouterr().out
    assert hub.uploaded == sent and len(repo_of(hub, "it").commits) == commits


def test_the_code_of_an_adapters_card_runs(hub, adapter_run, tmp_path, capsys):
    run_blocks(card_of(hub, "it").text, tmp_path)
    assert capsys.readouterr().out


def run_blocks(card: str, folder: Path) -> None:
    """Run every block of Python as it is printed, in a folder with the recordings that it names."""
    sound = np.random.default_rng(0).normal(0, 0.1, 16_000)
    for name in ("talk.wav", "talk.mp3"):
        soundfile.write(folder / name, sound, 16_000)
    blocks = re.findall(r"^```python\n(.*?)^```", card, re.MULTILINE | re.DOTALL)
    assert blocks
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for block in blocks:
            exec(compile(block, "card", "exec"), {})


def test_what_is_wrong_is_told_before_training(hub, tiny_whisper, prepared, tmp_path, monkeypatch, home):
    def refusal(name: str, *more: str) -> str:
        words = f"--model_name_or_path {tiny_whisper} --dataset {prepared} --language it --push_to_hub"
        words += f" --hub_model_id {name} --output_dir {tmp_path / 'run'}"
        with pytest.raises(UserError) as caught:
            train.main([*words.split(), *more])
        assert not (tmp_path / "run").exists()
        return str(caught.value)

    assert "no permission to push" in refusal("somebody/it")
    assert "nobody else could load an adapter" in refusal(f"{USER}/new", "--use_peft")
    assert '"license" must be one of' in refusal(f"{USER}/new", "--hub_license", "do what you want")
    hub.create("model", f"{USER}/public", private=False)
    assert "is public on the Hub" in refusal(f"{USER}/public")
    theirs = hub.create("model", f"{USER}/theirs", private=True)
    theirs.commit(theirs.files | {"model.safetensors": File(b"theirs", True)})
    assert "another model of this name" in refusal(f"{USER}/theirs")
    assert "hub_model_id 'it': expected user/name" in refusal("it")
    become_client(monkeypatch, hub, home, READ_TOKEN)
    assert "The token may only read" in refusal(f"{USER}/new")
    become_client(monkeypatch, hub, home, None)
    assert "not logged in" in refusal(f"{USER}/new")
    assert ("model", f"{USER}/new") not in hub.repos


def test_only_the_first_process_pushes(hub, tmp_path, monkeypatch):
    words = f"--model_name_or_path {BASE} --dataset data/it --language it --output_dir {tmp_path / 'run'}"
    words += f" --push_to_hub --hub_model_id {USER}/new"
    args = parse_arguments(TrainArguments, words.split())
    for rank, does in (("0", True), ("1", False)):
        monkeypatch.setenv("RANK", rank)
        assert (train.plan_push(args, "") is not None) is does


def test_a_push_that_fails_keeps_the_model_and_says_how_to_repeat_it(hub, adapter_run, monkeypatch, capsys):
    from huggingface_hub import constants

    run, _ = adapter_run
    push = RunPush(run, HubTarget(f"{USER}/later"), "python train.py --again", after_saving=True)
    with monkeypatch.context() as broken:
        broken.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
        push.start_if_asked()
        with pytest.raises(UserError) as caught:
            push.finish()
    assert "Training goes on" in capsys.readouterr().out
    assert "no connection" in str(caught.value) and f"kept in {run / 'best'}" in str(caught.value)
    assert str(caught.value).endswith("python train.py --again") and (run / "best").is_dir()
    push.finish()
    assert "adapter_config.json" in repo_of(hub, "later").files


# ---- one commit, continued, and what is kept ---------------------------------------------------------------


@pytest.fixture
def folder(adapter_run, tmp_path) -> Path:
    """A whole model in three large files, with what must stay here beside it."""
    folder = tmp_path / "best"
    folder.mkdir()
    for number in (1, 2, 3):
        (folder / f"model-0000{number}-of-00003.safetensors").write_bytes(bytes([number]) * 1_000)
    for name in ("optimizer.bin", "random_states_0.pkl", "trainer_state.json", ".lock"):
        (folder / name).write_bytes(b"private")
    shutil.copyfile(adapter_run[0] / "best/train_results.json", folder / "train_results.json")
    arguments = (
        "model_name_or_path: /home/anna/base\nlanguage: it\ndataset: [/home/anna/it, ~/more, data/b]\n"
    )
    (folder / "train.yaml").write_text(arguments)
    return folder


def test_an_interrupted_push_is_completed_by_the_next_one(hub, folder):
    target, before = HubTarget(f"{USER}/cut"), len(hub.uploaded)
    hub.break_after = before + 1
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("time.sleep", lambda seconds: None)  # the client waits before it tries again
            with pytest.raises(UserError, match="no connection to the Hub"):
                push_model_folder(folder, target, None)
    finally:
        hub.break_after = None
    assert len(repo_of(hub, "cut").commits) == 1  # nothing is seen of it
    push_model_folder(folder, target, None)
    sent = hub.uploaded[before:]
    assert len(sent) == len(set(sent)) == 3 and len(repo_of(hub, "cut").commits) == 2


def test_what_is_private_stays_and_what_is_old_goes(hub, folder):
    target = HubTarget(f"{USER}/shape", private=False)
    assert not push_model_folder(folder, target, None).private
    repo = repo_of(hub, "shape")
    names = {f"model-0000{number}-of-00003.safetensors" for number in (1, 2, 3)}
    others = {".gitattributes", "README.md", "train.yaml", "train_results.json"}
    assert set(repo.files) == names | others
    shown = yaml.safe_load(repo.files["train.yaml"].content)
    assert shown["dataset"] == ["it", "more", "data/b"] and shown["model_name_or_path"] == "base"
    repo.commit(repo.files | {"notes.txt": File(b"of a person", False)})
    for name in names:
        (folder / name).unlink()
    (folder / "model.safetensors").write_bytes(b"one")
    push_model_folder(folder, target, None)
    assert set(repo.files) == others | {"model.safetensors", "notes.txt"}
    with pytest.raises(UserError, match="is public on the Hub"):
        check_push(HubTarget(f"{USER}/shape"))


def test_text_that_people_wrote_is_kept_and_a_broken_card_is_told(hub, folder):
    target = HubTarget(f"{USER}/edited")
    push_model_folder(folder, target, None)
    repo = repo_of(hub, "edited")
    card = repo.files["README.md"].content.decode().replace("---\n\n<!--", "---\n\nRead this.\n\n<!--")
    repo.commit(repo.files | {"README.md": File(card.encode(), False)})
    push_model_folder(folder, target, None)
    assert "Read this." in card_of(hub, "edited").text and len(repo.commits) == 3
    repo.commit(repo.files | {"README.md": File(b"---\na: [\n---\n" + card.encode(), False)})
    with pytest.raises(UserError, match="its head is not YAML"):
        push_files({}, lambda card: "", target)


def test_another_model_is_not_overwritten(hub, folder):
    """Also if it appeared on the Hub after the check before training."""
    repo = hub.create("model", f"{USER}/others", private=True)
    repo.commit(repo.files | {"README.md": File(b"# Mine\n", False), "config.json": File(b"{}", False)})
    with pytest.raises(UserError, match="another model of this name"):
        push_model_folder(folder, HubTarget(f"{USER}/others"), None)
    assert repo.files["README.md"].content == b"# Mine\n" and len(repo.files) == 3


def test_an_adapter_of_a_local_model_is_not_pushed(tmp_path):
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(tmp_path)}))
    with pytest.raises(UserError, match="nobody else could load it"):
        publishable_files(tmp_path)


# ---- export.py ---------------------------------------------------------------------------------------------


def test_names_of_repositories():
    assert repository_of("anna/it", "huggingface") == "anna/it"
    assert repository_of("anna/it", "ctranslate2") == "anna/it-ct2"
    assert repository_of("anna/it-ct2", "ctranslate2") == "anna/it-ct2"


@pytest.fixture(scope="module")
def best(hub, tmp_path_factory) -> Path:
    """A model of random weights with the real vocabulary, as train.py leaves it, with results beside it."""
    folder = tmp_path_factory.mktemp("home-of-anna") / "best"
    folder.mkdir()
    source = build_source()
    with torch.no_grad():  # else it writes on to the limit
        decoder = source.loaded.model.model.decoder
        decoder.embed_tokens.weight[source.loaded.processor.tokenizer.eos_token_id] = 1.0
        decoder.layer_norm.bias += 1.0
    write_whole_model(source, folder, "float32")
    (folder / "train.yaml").write_text(
        f"model_name_or_path: openai/whisper-base\nlanguage: it\ndataset: [{folder.parent}/it]\n"
    )
    (folder / "README.md").write_text("Trained for an hour.")
    report = folder.parent / "report"
    report.mkdir()
    result = build_result(str(folder), 0.25)
    rows = [asdict(replace(result, dataset=f"{folder.parent}/it"))]
    inputs = {str(folder): fingerprint(folder, set())}
    (report / "evaluation_results.json").write_text(json.dumps({"results": rows, "inputs": inputs}))
    return folder


def export_words(best: Path, output_dir: Path, *more: str) -> list[str]:
    words = f"--model {best} --output_dir {output_dir} --no_parity --push_to_hub --hub_model_id {USER}/real"
    return [*words.split(), *more]


@pytest.fixture(scope="module")
def family(hub, best) -> tuple[list[str], str]:
    """The command that exported and pushed three formats, and what it printed."""
    more = ["--format", "huggingface", "ctranslate2", "ggml", "--hub_license", "mit"]
    words = export_words(best, best.parent / "out", *more)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        export.main(words)
    return words, printed.getvalue()


def test_exports_are_pushed_as_a_family(hub, best, family, capsys):
    words, printed = family
    assert printed.count("On the Hub:") == 3
    whole, ct2, ggml = (card_of(hub, name) for name in ("real", "real-ct2", "real-ggml"))
    assert (whole.data.base_model, whole.data.base_model_relation) == ("openai/whisper-base", "finetune")
    for card, library in ((ct2, "ctranslate2"), (ggml, "whisper.cpp")):
        assert (card.data.base_model, card.data.base_model_relation) == (f"{USER}/real", "quantized")
        assert card.data.library_name == library and card.data.eval_results is None
    assert all(card.data.license == "mit" for card in (whole, ct2, ggml))
    assert {each.metric_value for each in whole.data.eval_results} >= {25.0}
    assert f"({hub.url}" not in whole.text and f"{USER}/real-ct2" in whole.text
    for name, files in {
        "real": {"model.safetensors", "train.yaml", "EXPORT.md"},
        "real-ct2": {"model.bin", "TRAINING.md"},
        "real-ggml": {"ggml-model.bin", "TRAINING.md"},
    }.items():
        assert files <= set(repo_of(hub, name).files) and repo_of(hub, name).private
        assert_nothing_private(repo_of(hub, name), best.parent)
    sent = list(hub.uploaded)
    export.main(words)
    assert capsys.readouterr().out.count("already exported") == 3
    assert hub.uploaded == sent and len(repo_of(hub, "real-ct2").commits) == 2
    export.main([*words, "--hub_license", "apache-2.0"])  # states another licence about what is there
    assert capsys.readouterr().out.count("already exported") == 3 and hub.uploaded == sent
    assert card_of(hub, "real-ct2").data.license == "apache-2.0"


@pytest.mark.slow
@pytest.mark.usefixtures("family")
def test_the_code_of_the_cards_runs(hub, best, tmp_path, monkeypatch):
    card, ggml = card_of(hub, "real").text, card_of(hub, "real-ggml").text
    shell = re.search(r"^```bash\npython export\.py (.*)\n```", card, re.MULTILINE)
    assert shell is not None
    monkeypatch.chdir(tmp_path)
    export.main(shlex.split(shell[1]))
    assert "hf download anna/real-ggml --local-dir real-ggml\n" in ggml
    snapshot_download(f"{USER}/real-ggml", local_dir="real-ggml")  # as that command does
    for text in (card, card_of(hub, "real-ct2").text, ggml):
        run_blocks(text, tmp_path)


def test_a_report_must_be_of_this_very_model(hub, best, tmp_path, capsys):
    other = Path(shutil.copytree(best, tmp_path / "best"))
    (other / "train.yaml").write_text("language: it\n")
    words = export_words(other, tmp_path / "out", "--format", "ctranslate2")
    with pytest.raises(SystemExit):
        export.main([*words, "--report", str(best.parent / "report")])
    assert "no results of" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        export.main([*words, "--report", str(tmp_path)])
    assert "Expected a folder of evaluate.py" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
