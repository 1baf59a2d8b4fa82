"""Serve a page on which people try a model: with a microphone, a file or a link.

On any computer:

    python app.py --model runs/it/best

Beside the model from which it was tuned, for a network of colleagues:

    python app.py --model runs/it/best --baseline openai/whisper-base --host 0.0.0.0 --auth_file users.txt

To record sentences that a model can be trained on:

    python app.py --record sentences.txt --language it --record_dir recordings
"""

import contextlib
import importlib.util
import os
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from utils.arguments.app import AppArguments
from utils.arguments.parsing import parse_arguments
from utils.runtime.errors import UserError, user_errors_end_the_script

if TYPE_CHECKING:
    from utils.delivery.app.models import NamedReader
    from utils.delivery.app.page import TabBuilder
    from utils.delivery.app.service import TranscriptionService
    from utils.delivery.cues import Layout

NEEDED = {"gradio": "gradio==6.31.0", "yt_dlp": "yt-dlp==2026.10.26"}  # by import name; requirements-app.txt


def main(argv: list[str] | None = None) -> None:
    os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")  # read when torch is imported
    with user_errors_end_the_script():
        arguments = parse_arguments(AppArguments, argv, __doc__)
        check_installed()
        with tempfile.TemporaryDirectory(prefix="whisper-app-") as folder:
            serve_models(arguments, Path(folder).resolve())


def check_installed() -> None:
    """Name the packages that the page needs and that are missing."""
    missing = [pin for name, pin in NEEDED.items() if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"app.py needs {' and '.join(missing)}. Run: pip install {' '.join(missing)}")


def serve_models(arguments: AppArguments, folder: Path) -> None:
    """Load the models and serve them until Ctrl-C. All temporary files are in the folder."""
    from utils.delivery.app.server import ServerOptions, prepare_gradio, read_users, serve

    prepare_gradio(folder, names_of_models(arguments))
    users = read_users(Path(arguments.auth_file).expanduser()) if arguments.auth_file else []
    max_bytes = arguments.max_megabytes * 1_000_000
    options = ServerOptions(arguments.host, arguments.port, users, max_bytes, arguments.max_waiting)
    with contextlib.ExitStack() as stack:
        more_tabs = [stack.enter_context(open_record_tab(arguments))] if arguments.record else []
        service = stack.enter_context(open_service(arguments, folder)) if names_of_models(arguments) else None
        from utils.delivery.app.page import PageOptions, build_page
        from utils.delivery.app.sessions import KEPT

        page = build_page(service, PageOptions(arguments.tabs, arguments.language, KEPT), more_tabs)
        serve(page, options)


def names_of_models(arguments: AppArguments) -> list[str]:
    return [name for name in (arguments.model, arguments.baseline) if name is not None]


@contextlib.contextmanager
def open_record_tab(arguments: AppArguments) -> "Iterator[TabBuilder]":
    """Read the sentences, and open the folder of recordings for as long as the page is served."""
    from utils.delivery.app.recorder import open_recordings
    from utils.delivery.app.sentences import read_sentences

    language = None if arguments.language == "auto" else arguments.language
    sentences = read_sentences(Path(str(arguments.record)), language)
    with open_recordings(Path(arguments.record_dir), sentences, language, arguments.record_terms) as found:
        from utils.delivery.app.record_tab import build_record_tab

        yield partial(build_record_tab, found)


@contextlib.contextmanager
def open_service(arguments: AppArguments, folder: Path) -> "Iterator[TranscriptionService]":
    """Load the models, and build what answers the visitors."""
    from utils.delivery.app.models import PageModels
    from utils.delivery.app.service import TranscriptionService
    from utils.delivery.app.sessions import Sessions
    from utils.delivery.app.taking import Limits
    from utils.delivery.cues import Layout
    from utils.runtime.progress import silence_libraries

    silence_libraries()
    layout = Layout(arguments.max_line_width, arguments.max_line_count, arguments.max_reading_speed)
    limits = Limits(
        60 * arguments.max_minutes,
        arguments.max_megabytes * 1_000_000,
        60 * arguments.max_work_minutes,
        arguments.allow_private_links,
    )
    with contextlib.ExitStack() as stack:
        readers = [stack.enter_context(reader) for reader in open_readers(arguments, layout)]
        yield TranscriptionService(PageModels(readers), Sessions(folder), limits, layout)


def open_readers(
    arguments: AppArguments, layout: "Layout"
) -> "Iterator[contextlib.AbstractContextManager[NamedReader]]":
    """Check that all models exist, then load the first, and the baseline if there is one."""
    from utils.delivery.app.models import open_named_reader
    from utils.evaluation.backends.transcriber import BackendOptions
    from utils.evaluation.models import find_task
    from utils.runtime.devices import pick_device

    names = names_of_models(arguments)
    task = find_task(names, arguments.task)
    limits = arguments.generation_max_length, task, arguments.num_beams
    options = BackendOptions(pick_device(), arguments.dtype, *limits)
    for name in names:
        spoken = {arguments.language} - {"auto"} if name == arguments.model else set()
        yield open_named_reader(
            name,
            arguments.backend,
            options,
            languages=spoken,
            audio_context=arguments.audio_context,
            batch_size=arguments.batch_size,
            layout=layout,
            prompt_terms=arguments.prompt_terms,
        )


if __name__ == "__main__":
    main()
