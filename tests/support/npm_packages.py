"""A package of the npm registry, fetched by npm and checked against a digest."""

import base64
import hashlib
import json
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from utils.runtime.downloads import cache_folder, filling_cache
from utils.runtime.files import folder_written_whole


@dataclass(frozen=True)
class NpmPackage:
    """A version, with the digest that the registry publishes for it."""

    name: str
    version: str
    integrity: str


TRANSFORMERS_JS = NpmPackage(
    "@huggingface/transformers",
    "3.8.1",
    "sha512-tsTk4zVjImqdqjS8/AOZg2yNLd1z9S5v+7oUPpXaasDRwEDhB+xnglK1k5cad26lL5/ZIaeREgWWy0bs9y9pPA==",
)


def fetch_npm_package(package: NpmPackage, npm: str) -> Path:
    """The unpacked package in the cache. Skips the test if the registry does not answer."""
    label = f"{package.name.strip('@').replace('/', '--')}-{package.version}"
    target = cache_folder() / "npm" / label
    with filling_cache(f"npm-{label}"):
        if not target.is_dir():
            with folder_written_whole(target) as folder:
                archive = _pack(package, npm, folder)
                with tarfile.open(archive) as packed:
                    packed.extractall(folder, filter="data")
                archive.unlink()
    return target / "package"


def _pack(package: NpmPackage, npm: str, folder: Path) -> Path:
    command = [npm, "pack", "--json", f"{package.name}@{package.version}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        pytest.skip(f"{package.name}: the npm registry does not answer: {done.stderr.strip()[-200:]}")
    archive = folder / json.loads(done.stdout)[0]["filename"].lstrip("@").replace("/", "-")
    digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    assert f"sha512-{digest}" == package.integrity, f"{package.name} is not the package that was pinned"
    return archive
