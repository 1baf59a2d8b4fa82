"""Whether augmentation can do what it is asked to, looked at before anything long begins."""

import math
from collections.abc import Callable

from utils.audio.augmentation import FASTEST, PROBABILITIES, SLOWEST, Augmentation
from utils.audio.codecs import CODECS, missing_codec
from utils.audio.sound_files import folder_problems
from utils.runtime.errors import UserError


def check_augmentation(augmentation: Augmentation) -> None:
    """Look at every value, and decode every file of the folders that will be drawn from.

    That takes a while for hours of noise; one process of a run is enough.

    Raises:
        UserError: A value is out of its range, a codec is unknown or missing here, a folder holds no audio or
            some that cannot be used. All is reported at once.
    """
    problems = _value_problems(augmentation)
    for probability, folder in (
        (augmentation.noise_probability, augmentation.noise_dir),
        (augmentation.reverb_probability, augmentation.reverb_dir),
    ):
        if probability > 0 and folder is not None:
            problems += folder_problems(folder)
    if problems:
        raise UserError("\n       ".join(problems))


def _value_problems(augmentation: Augmentation) -> list[str]:
    found = []
    for name in PROBABILITIES:
        value = getattr(augmentation, name)
        if not 0 <= value <= 1:
            found.append(f"{name} {value}: expected a share from 0 to 1.")
    in_range: dict[str, tuple[Callable[[float], bool], str]] = {
        "reverb_rt60": (lambda value: 0.05 <= value <= 3, "seconds from 0.05 to 3"),
        "noise_snr_db": (math.isfinite, "decibels"),
        "gain_db": (math.isfinite, "decibels"),
    }
    for name, (is_possible, unit) in in_range.items():
        values = getattr(augmentation, name)
        if len(values) != 2 or not all(map(is_possible, values)) or values[0] > values[1]:
            found.append(f"{name} {values}: expected the lowest and the highest value, {unit}.")
    factors = augmentation.speed_factors
    if not factors or not all(SLOWEST <= factor <= FASTEST for factor in factors):
        found.append(f"speed_factors {factors}: expected one or more numbers from {SLOWEST} to {FASTEST}.")
    return found + _codec_problems(augmentation.codecs)


def _codec_problems(codecs: tuple[str, ...]) -> list[str]:
    unknown = [name for name in codecs if name not in CODECS]
    if unknown or not codecs:
        return [f"codecs {' '.join(codecs)}: expected one or more of {', '.join(CODECS)}."]
    missing = [f"{name} needs {lacks}" for name in codecs if (lacks := missing_codec(name))]
    return [f"codecs: {'; '.join(missing)}, which this build of PyAV lacks. Leave it out."] if missing else []
