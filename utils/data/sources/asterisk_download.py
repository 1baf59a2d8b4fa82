"""Downloads Asterisk's telephone prompts from Debian's mirrors or the project's own server."""

import gzip
import hashlib
import re
import shutil
import tarfile
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from utils.runtime.downloads import (
    CHUNK_BYTES,
    DOWNLOAD_PATIENCE,
    SOCKET_PATIENCE,
    SourceUnavailable,
    cache_folder,
    file_digest,
    filling_cache,
    run_downloader,
)
from utils.runtime.errors import UserError
from utils.runtime.files import folder_written_whole

MAX_PROMPTS_BYTES = 64_000_000  # the largest corpus has 12 MB

MAX_PROMPT_MEMBERS = 5000

SOUNDS_VERSION = "1.6.1"

SOUNDS_URL = "https://downloads.asterisk.org/pub/telephony/sounds/releases"


@dataclass(frozen=True)
class Corpus:
    """Telephone prompts of one language, with the digest of the files, the credit and the licence."""

    digest: str
    credit: str
    licence: str


@dataclass(frozen=True)
class Prompts:
    """Telephone prompts on disk.

    `transcripts` are pairs (key, text) from the speaker's script. The key `digits/1` belongs to
    `digits/1.g722` in `folder`. A few keys have no file or no text. Tones and silences are described in
    brackets.
    """

    folder: Path
    transcripts: list[tuple[str, str]]
    credit: str
    licence: str


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


def fetch_prompts(language: str, *, sounds_url: str = SOUNDS_URL) -> Prompts:
    """Return the Asterisk telephone prompts of `language`. Download them if they are not in the cache.

    If the system has apt-get, Debian's packages are tried first, then the tarball under `sounds_url`. Both
    have the same files (16 kHz g722). This is checked by a digest.

    Raises:
        UserError: There are no prompts in that language, or every download failed.
    """
    if language not in CORPORA:
        raise UserError(f"language {language!r}: no telephone prompts. Choose from {', '.join(CORPORA)}.")
    corpus = CORPORA[language]
    folder = cache_folder() / "prompts" / f"{language}-{corpus.digest[:16]}"
    if not _holds(folder, corpus):
        with filling_cache(f"prompts-{language}"):
            if not _holds(folder, corpus):
                _fetch_corpus(language, corpus, folder, sounds_url)
    transcripts = _read_transcripts(folder / f"core-sounds-{language}.txt")
    return Prompts(folder, transcripts, corpus.credit, corpus.licence)


def _fetch_corpus(language: str, corpus: Corpus, folder: Path, sounds_url: str) -> None:
    """Download the prompts to `folder` from the first source with the right files.

    Raises:
        UserError: No source has them.
    """
    refusals = []
    for fetch in (_fetch_debian, _fetch_upstream):
        try:
            with folder_written_whole(folder) as temporary:
                fetch(language, temporary, sounds_url)
                digest = _content_digest(temporary)
                if digest != corpus.digest:
                    raise SourceUnavailable(f"has other files: digest {digest}, expected {corpus.digest}")
        except SourceUnavailable as error:
            refusals.append(f"{fetch.__name__.removeprefix('_fetch_')}: {error}")
        else:
            print(f"{corpus.credit}. Licence: {corpus.licence}. In {folder}")
            return
    raise UserError(
        f"telephone prompts in {language!r}: all downloads failed. {'; '.join(refusals)}. Check the network. "
        "If apt's lists are empty, run `apt-get update` as root. Or use your own recordings: "
        "preprocess.py --source folder."
    )


def _fetch_debian(language: str, target: Path, _: str) -> None:
    """Download Debian's packages without root rights, and extract the prompts."""
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise SourceUnavailable("this system has no apt-get")
    packages = [f"asterisk-core-sounds-{language}-g722", f"asterisk-core-sounds-{language}"]
    print(f"Fetching {' and '.join(packages)}, about 11 MB, from Debian")
    with tempfile.TemporaryDirectory() as temporary:
        options = ["-o", "Acquire::Retries=2", "-o", f"Acquire::http::Timeout={SOCKET_PATIENCE:.0f}"]
        run_downloader(["apt-get", "--quiet", *options, "download", *packages], cwd=temporary)
        for package in packages:
            archive = Path(temporary) / f"{package}.tar"
            found = sorted(Path(temporary).glob(f"{package}_*.deb"))
            if len(found) != 1:
                raise SourceUnavailable(f"apt-get downloaded no {package}")
            # the tar gets the same safe reading as upstream's tar; dpkg-deb itself writes no files
            with archive.open("wb") as output:
                run_downloader(["dpkg-deb", "--fsys-tarfile", str(found[0])], output=output)
            _extract_prompts(archive, language, target)


def _fetch_upstream(language: str, target: Path, sounds_url: str) -> None:
    """Download the Asterisk project's tarball and extract the prompts."""
    name = f"asterisk-core-sounds-{language}-g722-{SOUNDS_VERSION}.tar.gz"
    print(f"Fetching {name}, about 11 MB, from {sounds_url}")
    with tempfile.TemporaryDirectory() as temporary:
        archive = Path(temporary) / name
        download_sounds(f"{sounds_url}/{name}", archive, MAX_PROMPTS_BYTES)
        _extract_prompts(archive, language, target)


def download_sounds(url: str, path: Path, max_bytes: int) -> None:
    """Download `url` to `path`.

    Raises:
        SourceUnavailable: The server does not answer, the file is larger than `max_bytes`, or the download
            takes too long.
    """
    deadline = time.monotonic() + DOWNLOAD_PATIENCE
    try:
        with urllib.request.urlopen(url, timeout=SOCKET_PATIENCE) as response, path.open("wb") as file:
            while chunk := response.read(CHUNK_BYTES):
                file.write(chunk)
                if file.tell() > max_bytes or time.monotonic() > deadline:
                    raise SourceUnavailable(
                        f"{url} has over {max_bytes:,} bytes or took over {DOWNLOAD_PATIENCE:.0f} s"
                    )
    except (OSError, ValueError) as error:  # urllib's errors are OSErrors
        raise SourceUnavailable(f"{url}: {error}") from None


def _extract_prompts(archive: Path, language: str, target: Path) -> None:
    """Extract only the prompts and their script from a tar file to `target`.

    Names must match the expected pattern, and this function writes the files itself. So no member (link,
    device, `../`) can write outside `target`.
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
                    with gzip.open(content) if match[2] else content as plain:
                        path.write_bytes(plain.read(MAX_PROMPTS_BYTES))
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise SourceUnavailable(f"{archive.name} is not a complete archive ({error})") from None


def _holds(folder: Path, corpus: Corpus) -> bool:
    try:
        return _content_digest(folder) == corpus.digest
    except FileNotFoundError:  # another process is replacing a damaged copy; the caller checks again
        return False


def _content_digest(folder: Path) -> str:
    """Compute the sha256 of the sorted lines "sha256  relative name" of all files below `folder`."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    lines = sorted(f"{file_digest(path)}  {path.relative_to(folder).as_posix()}\n" for path in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _read_transcripts(path: Path) -> list[tuple[str, str]]:
    """Read the lines `key: text` of a speaker's script. Lines that begin with `;` are comments."""
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    parted = [line.partition(":") for line in lines if ":" in line and not line.startswith(";")]
    return [(key.strip(), text.strip()) for key, _, text in parted]
