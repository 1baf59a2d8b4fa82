"""Find out what models support: their task, their languages and their contexts."""

from collections.abc import Sequence, Set
from dataclasses import replace

from utils.evaluation.backends.transcriber import Transcriber
from utils.evaluation.material import Material
from utils.model.languages import check_languages, language_codes
from utils.model.loading import read_training_arguments
from utils.model.resolving import resolve_model
from utils.runtime.errors import UserError


def find_task(models: Sequence[str], task: str) -> str:
    """Check that every model exists before the first is decoded, and find their common task.

    Returns:
        The given task. If it is `auto`, the task that the models were trained for. If none is known,
        `transcribe`.

    Raises:
        UserError: Models do not exist (all reported together), or were trained for different tasks.
    """
    problems, tasks = [], {}
    for model in models:
        try:
            tasks[model] = read_training_arguments(resolve_model(model)).get("task")
        except UserError as error:
            problems.append(str(error))
    if problems:
        raise UserError("\n       ".join(problems))
    if task != "auto":
        return task
    known = {model: task for model, task in tasks.items() if task is not None}
    if len(set(known.values())) > 1:
        found = ", ".join(f"{model}: {task}" for model, task in known.items())
        raise UserError(f"models trained for different tasks ({found}). Give --task for all of them.")
    return next(iter(known.values()), "transcribe")


def in_known_languages(material: Material, transcriber: Transcriber, name: str) -> Material:
    """Replace languages for which the model has no token by None, so that it detects the language there.

    So a model with an added language can be compared with its base model.

    Raises:
        UserError: The model knows only English and the data has other languages, or the backend refuses a
            language.
    """
    spoken = {code for code in material.evaluation_set.languages if code is not None}
    known = language_codes(transcriber.loaded.model)
    refuse_unknown_languages(spoken & known if known else spoken, transcriber, name)
    if not known or spoken <= known:
        return material
    evaluation_set = replace(material.evaluation_set, detected_languages=sorted(spoken - known))
    told = zip(material.recordings, evaluation_set.told_languages, strict=False)
    recordings = [replace(recording, language=code) for recording, code in told]
    return Material(evaluation_set, material.rows, recordings)


def refuse_unknown_languages(spoken: Set[str], transcriber: Transcriber, name: str) -> None:
    """Check that a model and its backend know these languages.

    Raises:
        UserError: The model has no token for a language, or the backend refuses one that was added.
    """
    from transformers.models.whisper.tokenization_whisper import LANGUAGES

    if not transcriber.takes_added_languages and not spoken <= LANGUAGES.keys():
        others = ", ".join(sorted(spoken - LANGUAGES.keys()))
        raise UserError(
            f"the backend does not support the added language {others}. Use --backend ctranslate2."
        )
    check_languages(transcriber.loaded.model, sorted(spoken), name)


def choose_contexts(audio_context: str, transcriber: Transcriber, name: str, backend: str) -> list[str]:
    """Choose the contexts in which to decode.

    With `auto`, only models trained in the dynamic context are decoded in it.

    Raises:
        UserError: The dynamic context is requested, but the backend cannot decode the model in it.
    """
    if audio_context == "auto":
        both = transcriber.loaded.dynamic_context and transcriber.takes_dynamic_context
        return ["full", "dynamic"] if both else ["full"]
    if audio_context == "dynamic" and not transcriber.takes_dynamic_context:
        raise UserError(
            f"--audio_context dynamic of {name} with --backend {backend}: it cannot condense the silence "
            "that the model expects behind a clip. Use --audio_context auto or full, --backend transformers, "
            "or a model trained with --silence_run 0 (docs/training.md)."
        )
    return [audio_context]
