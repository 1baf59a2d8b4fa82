"""Check the sounds and codecs of augmentation before long work begins."""

from collections.abc import Iterable

from utils.audio.codecs import missing_codec
from utils.audio.sound_files import folder_problems
from utils.runtime.errors import UserError


def check_sounds(folders: Iterable[str | None], codecs: Iterable[str]) -> None:
    """Decode every file in the folders of augmentation sounds, and check that the codecs exist.

    For hours of noise this takes some time. It is enough if one process of a run does it.

    Args:
        folders: Folders of noise, impulse responses or sounds without speech; None is skipped.
        codecs: Names of `CODECS`.

    Raises:
        UserError: A folder holds no audio or unusable audio, or this build of PyAV lacks a codec.
            All problems are reported together.
    """
    problems = [problem for folder in folders if folder is not None for problem in folder_problems(folder)]
    if missing := [f"{name} needs {lacks}" for name in codecs if (lacks := missing_codec(name))]:
        problems.append(f"codecs: {'; '.join(missing)}, which this build of PyAV lacks. Leave it out.")
    if problems:
        raise UserError("\n       ".join(problems))
