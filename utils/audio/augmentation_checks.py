"""Whether the sounds and codecs of augmentation are there, looked at before anything long begins."""

from collections.abc import Iterable

from utils.audio.codecs import missing_codec
from utils.audio.sound_files import folder_problems
from utils.runtime.errors import UserError


def check_sounds(folders: Iterable[str | None], codecs: Iterable[str]) -> None:
    """Decode every file of the folders that will be drawn from, and look for the codecs.

    That takes a while for hours of noise; one process of a run is enough.

    Args:
        folders: Of noise, impulse responses or sounds without speech; None is left out.
        codecs: Names of `CODECS`.

    Raises:
        UserError: A folder holds no audio or some that cannot be used, or this build of PyAV lacks a codec.
            All is reported at once.
    """
    problems = [problem for folder in folders if folder is not None for problem in folder_problems(folder)]
    if missing := [f"{name} needs {lacks}" for name in codecs if (lacks := missing_codec(name))]:
        problems.append(f"codecs: {'; '.join(missing)}, which this build of PyAV lacks. Leave it out.")
    if problems:
        raise UserError("\n       ".join(problems))
