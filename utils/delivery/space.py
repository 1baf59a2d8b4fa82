"""Write a Hugging Face Space: a page that transcribes with a model, on ZeroGPU or on a CPU."""

import json
from collections.abc import Mapping
from pathlib import Path

from utils.audio.libraries import SAFE_FORMATS
from utils.delivery.exporting import RECORD
from utils.delivery.exports.checks import find_half_problems
from utils.delivery.exports.export_format import ExportSource
from utils.delivery.exports.hugging_face import write_whole_model
from utils.delivery.transcript_files import digest_value
from utils.evaluation.evaluation_folder import fingerprint
from utils.model.resolving import looks_like_path
from utils.model.saving import ARGUMENTS_FILE, RESULTS_FILE
from utils.model.whisper import whisper_of
from utils.runtime.errors import UserError
from utils.runtime.files import write_json, write_text
from utils.runtime.templates import open_templates

TEMPLATES = Path(__file__).with_name("templates") / "space"

FILES = {RECORD, "README.md", "app.py", "requirements.txt", "model"}

GRADIO = "6.31.0"  # with which the page was tried

PYTHON = "3.12"  # of ZeroGPU


def refuse_foreign_folder(folder: Path) -> None:
    """Check that nothing but the Space of an earlier run would be replaced.

    Raises:
        UserError: It is a file, or a folder with something else, such as a clone of the Space.
    """
    names = {file.name for file in folder.iterdir()} if folder.is_dir() else set()
    is_space = not names or (RECORD in names and names <= FILES)
    if folder.is_file() or not is_space:
        raise UserError(
            f"{folder}: found something other than a Space that export.py wrote. Choose another folder for "
            "--space, and copy the files from there."
        )


def describe_space_request(model: str, language: str, hub_model_id: str | None) -> str:
    """Return a digest of everything that changes a Space."""
    templates = [file.read_text(encoding="utf-8") for file in sorted(TEMPLATES.iterdir())]
    return digest_value([language, hub_model_id, templates, fingerprint(Path(model).expanduser(), set())])


def write_space(
    source: ExportSource, folder: Path, request: str, *, language: str, hub_model_id: str | None
) -> None:
    """Write all files of a Space.

    Args:
        source: The model. If it is not on the Hub, the folder gets it too: merged, in float16, or in float32
            if a weight is too large for float16.
        folder: Existing, empty folder.
        request: Digest for the record of a finished Space.
        language: Language code of the recordings. auto: that of the training, or else the model detects it.
        hub_model_id: Name of the whole model on the Hub, user/name.

    Raises:
        UserError: The model does not know the language.
    """
    from transformers import __version__

    model = whisper_of(source.loaded.model)
    speech, title = _describe_speech(source, language)
    head = _head(source, title, hub_model_id)
    values = {"title": title, "head": head, "speech": speech, "hub_model_id": hub_model_id}
    _fill_templates(folder, values | {"formats": SAFE_FORMATS, "gradio": GRADIO, "transformers": __version__})
    if hub_model_id is None:
        write_whole_model(source, folder / "model", "float32" if find_half_problems(model) else "float16")
        for name in (ARGUMENTS_FILE, RESULTS_FILE):  # they name folders of this machine
            (folder / "model" / name).unlink(missing_ok=True)
    write_json(folder / RECORD, {"request": request})


def _describe_speech(source: ExportSource, language: str) -> tuple[dict[str, str], str]:
    """Return what `generate` is told of the recordings, and a title that says it to people."""
    from transformers.models.whisper.tokenization_whisper import LANGUAGES

    config = whisper_of(source.loaded.model).generation_config
    code = source.arguments.get("language", "auto") if language == "auto" else language
    if not getattr(config, "is_multilingual", False):
        if code not in ("auto", "en"):
            raise UserError(
                f"{source.name}: knows only English, but language is {code}. Leave --language out."
            )
        return {}, "Transcribe English with Whisper"
    speech = {"task": source.task} | ({} if code == "auto" else {"language": f"<|{code}|>"})
    if code != "auto" and speech["language"] not in getattr(config, "lang_to_id", {}):
        raise UserError(f"{source.name}: does not know the language {code}. Give another --language.")
    spoken = "speech" if code == "auto" else LANGUAGES.get(code, code).title()
    verb = "Translate" if source.task == "translate" else "Transcribe"
    return speech, f"{verb} {spoken}{' into English' * (verb == 'Translate')} with Whisper"


def _head(source: ExportSource, title: str, hub_model_id: str | None) -> str:
    """Return the YAML head of README.md, by which the Hub builds the Space."""
    from huggingface_hub import SpaceCardData

    base = source.arguments.get("model_name_or_path", source.name)
    is_local = looks_like_path(base) or Path(base).exists()
    card = SpaceCardData(
        title=title,
        emoji="🎙️",
        colorFrom="indigo",
        colorTo="blue",
        sdk="gradio",
        sdk_version=GRADIO,
        python_version=PYTHON,
        app_file="app.py",
        models=[hub_model_id] if hub_model_id else None if is_local else [base],
        preload_from_hub=[hub_model_id] if hub_model_id else None,
        tags=["whisper", "automatic-speech-recognition"],
    )
    return str(card)


def _fill_templates(folder: Path, values: Mapping[str, object]) -> None:
    environment = open_templates(TEMPLATES, is_html=False, literal=json.dumps)  # JSON of texts is also Python
    for name in environment.list_templates():
        write_text(folder / name.removesuffix(".jinja"), environment.get_template(name).render(values))
