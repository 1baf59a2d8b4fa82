"""A sheet of spectrograms for docs/augmentation.md: the same real prompt under each augmentation.

The prompt is spoken by Allison Smith (Asterisk core sounds in English, CC BY-SA 3.0).

    python benchmarks/augmentation_pictures.py
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.arguments import AugmentationPicturesArguments
from utils.arguments.parsing import parse_arguments
from utils.runtime.errors import UserError, user_errors_end_the_script

if TYPE_CHECKING:
    import numpy as np
    import torch

SAMPLE_RATE = 16_000
COLUMNS = 3
NUM_COLORS = 20


def main(argv: list[str] | None = None) -> None:
    args = parse_arguments(AugmentationPicturesArguments, argv, __doc__)
    samples = read_prompt(args.prompt)
    pictures = {name: log_mel_of(changed) for name, changed in vary(samples, args.seed).items()}
    pictures["SpecAugment"] = mask(pictures["the prompt as it is"], args.seed)
    path = Path(args.output_dir) / "augmentation.png"
    draw_sheet(pictures, path)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


def read_prompt(key: str) -> "np.ndarray":
    """(samples,) of one English prompt.

    Raises:
        UserError: There is no such prompt.
    """
    from utils.audio.reading import decode_audio
    from utils.data.sources.asterisk_download import fetch_prompts

    path = fetch_prompts("en").folder / f"{key}.g722"
    if not path.is_file():
        raise UserError(f"{path}: no such prompt. Give another --prompt, such as the name of a file there.")
    return decode_audio(path)


def vary(samples: "np.ndarray", seed: int) -> "dict[str, np.ndarray]":
    """The prompt under each augmentation alone."""
    import numpy as np

    from utils.audio.acoustics import colored_noise, mix_noise, reverberate, room_response
    from utils.audio.augmentation import change_speed
    from utils.audio.codecs import through_codec

    def noise(kind: str) -> "np.ndarray":
        drawn = colored_noise(len(samples), kind, np.random.default_rng(seed))
        return mix_noise(samples, drawn, snr_db=10.0)

    return {
        "the prompt as it is": samples,
        "speed 1.1": change_speed(samples, 1.1),
        "15 dB quieter": samples * np.float32(10 ** (-15 / 20)),
        "pink noise at 10 dB": noise("pink"),
        "babble at 10 dB": noise("babble"),
        "room, RT60 0.6 s": reverberate(samples, room_response(0.6, np.random.default_rng(seed))),
        "codec alaw": through_codec(samples, "alaw"),
        "codec gsm": through_codec(samples, "gsm"),
        "codec amr, 4.75 kbit/s": through_codec(samples, "amr", 4750),
        "codec opus, 6 kbit/s": through_codec(samples, "opus", 6000),
        "codec mp3, 8 kbit/s": through_codec(samples, "mp3", 8000),
    }


def log_mel_of(samples: "np.ndarray") -> "torch.Tensor":
    """(1, 80, frames) as Whisper sees it."""
    from transformers import WhisperFeatureExtractor

    from utils.audio.log_mel import log_mel, pad_waveforms

    context = len(samples) // 160 * 160 / SAMPLE_RATE
    return log_mel(pad_waveforms([samples], context), WhisperFeatureExtractor(feature_size=80))


def mask(features: "torch.Tensor", seed: int) -> "torch.Tensor":
    from utils.audio.augmentation_options import SpecAugment
    from utils.audio.spec_augment import spec_augment

    settings = SpecAugment(mask_time_prob=0.1, mask_feature_prob=0.15)
    return spec_augment(features, [features.shape[2]], settings, [(seed,)])


def draw_sheet(pictures: "dict[str, torch.Tensor]", path: Path) -> None:
    """All log-mel spectrograms on one scale, as a small PNG of few colours."""
    import io

    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt
    from PIL import Image

    rows = -(-len(pictures) // COLUMNS)
    figure, axes = plt.subplots(rows, COLUMNS, figsize=(10, 1.75 * rows), sharey=True, layout="constrained")
    longest = max(picture.shape[2] for picture in pictures.values()) / 100
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, (title, picture) in zip(axes.flat, pictures.items(), strict=False):
        axis.set_axis_on()
        seconds = picture.shape[2] / 100
        axis.imshow(
            picture[0],
            origin="lower",
            aspect="auto",
            cmap="magma",
            vmin=-1,
            vmax=1.5,
            extent=(0, seconds, 0, 80),
        )
        axis.set_xlim(0, longest)
        axis.set_title(title, fontsize=9)
        axis.tick_params(labelsize=7)
    figure.supxlabel("seconds", fontsize=8)
    figure.supylabel("mel band", fontsize=8)
    whole = io.BytesIO()
    figure.savefig(whole, dpi=72)
    plt.close(figure)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.open(whole).convert("RGB").quantize(NUM_COLORS, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    with user_errors_end_the_script():
        main()
