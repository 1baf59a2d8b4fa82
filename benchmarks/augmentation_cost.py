"""What each augmentation costs: processor microseconds for a second of audio, on one thread.

Clips are real telephone prompts put end to end and cut to each length. Each augmentation is timed alone, at a
probability of 1, with a new seed each time; the median of the rounds counts. Processor time, so that a busy
neighbour does not show as much as in wall-clock time.

    python benchmarks/augmentation_cost.py
"""

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.arguments import AugmentationCostArguments
from utils.arguments.parsing import parse_arguments
from utils.runtime.errors import user_errors_end_the_script
from utils.runtime.files import write_json

if TYPE_CHECKING:
    import numpy as np

    from utils.audio.augmentation_options import Augmentation

SAMPLE_RATE = 16_000


def main(argv: list[str] | None = None) -> None:
    args = parse_arguments(AugmentationCostArguments, argv, __doc__)
    from utils.audio.flac import decode_flac, encode_flac

    folder = Path(args.output_dir)
    speech = join_prompts(max(args.seconds))
    kinds = build_kinds(write_noise(speech, folder / "noise"))
    costs: dict[str, dict[float, float]] = {}
    for seconds in args.seconds:
        samples = speech[: round(seconds * SAMPLE_RATE)]
        flac = encode_flac(samples)
        decode = time_rounds(lambda _, flac=flac: decode_flac(flac), args.rounds)
        costs.setdefault("for comparison: decoding FLAC", {})[seconds] = decode / seconds
        for name, (augmentation, speed) in kinds.items():
            spent = time_augmentation(samples, augmentation, speed, args.rounds, args.seed)
            costs.setdefault(name, {})[seconds] = spent / seconds
        spent = time_spec_augment(samples, args.rounds, args.seed)
        costs.setdefault("SpecAugment, a clip of a batch of 8", {})[seconds] = spent / seconds
    write_json(folder / "augmentation_cost.json", costs)
    print_table(costs, args.seconds)


def join_prompts(seconds: float) -> "np.ndarray":
    """(samples,) of Italian prompts end to end."""
    import numpy as np

    from utils.audio.reading import decode_audio
    from utils.data.sources.asterisk_download import fetch_prompts

    prompts, clips, num_samples = fetch_prompts("it"), list[np.ndarray](), 0
    for path in sorted(prompts.folder.glob("*.g722")):
        clips.append(decode_audio(path))
        num_samples += len(clips[-1])
        if num_samples >= seconds * SAMPLE_RATE:
            break
    return np.concatenate(clips)


def write_noise(speech: "np.ndarray", folder: Path) -> Path:
    """A folder with one file, the speech backwards, to draw noise from."""
    import soundfile

    folder.mkdir(parents=True, exist_ok=True)
    soundfile.write(folder / "backwards.wav", speech[::-1], SAMPLE_RATE)
    return folder


def build_kinds(noise: Path) -> "dict[str, tuple[Augmentation, float]]":
    """Each augmentation alone, and its speed factor."""
    from utils.audio.augmentation_options import Augmentation
    from utils.audio.codecs import CODECS

    nothing = Augmentation()
    return {
        "speed": (nothing, 1.1),
        "gain": (replace(nothing, gain_probability=1.0), 1.0),
        "noise, generated": (replace(nothing, noise_probability=1.0), 1.0),
        "noise, from a folder": (replace(nothing, noise_probability=1.0, noise_dir=str(noise)), 1.0),
        "room, generated": (replace(nothing, reverb_probability=1.0), 1.0),
    } | {f"codec {name}": (replace(nothing, codec_probability=1.0, codecs=(name,)), 1.0) for name in CODECS}


def time_augmentation(
    samples: "np.ndarray", augmentation: "Augmentation", speed: float, rounds: int, seed: int
) -> float:
    """Median processor microseconds."""
    from utils.audio.augmentation import augment, change_speed

    return time_rounds(
        lambda number: augment(change_speed(samples, speed), augmentation, seed=(seed, number)), rounds
    )


def time_spec_augment(samples: "np.ndarray", rounds: int, seed: int) -> float:
    """Median processor microseconds for one clip of a batch of 8."""
    import torch

    from utils.audio.augmentation_options import SpecAugment
    from utils.audio.spec_augment import spec_augment

    torch.set_num_threads(1)
    frames = len(samples) // 160
    features = torch.randn(8, 80, frames)
    settings = SpecAugment(mask_feature_prob=0.05)

    def mask(number: int) -> None:
        spec_augment(features, [frames] * 8, settings, [(seed, number, clip) for clip in range(8)])

    return time_rounds(mask, rounds) / 8


def time_rounds(work: Callable[[int], object], rounds: int) -> float:
    """Median processor microseconds of `work(number)`; the first call does not count."""
    spent = []
    for number in range(rounds + 1):
        began = time.process_time()
        work(number)
        spent.append(1e6 * (time.process_time() - began))
    return statistics.median(spent[1:])


def print_table(costs: dict[str, dict[float, float]], lengths: list[float]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("augmentation", title="Processor microseconds for a second of audio")
    for seconds in lengths:
        table.add_column(f"clips of {seconds:g} s", justify="right")
    for name, by_length in costs.items():
        table.add_row(name, *(f"{by_length[seconds]:,.0f}" for seconds in lengths))
    Console(width=110).print(table)


if __name__ == "__main__":
    with user_errors_end_the_script():
        main()
