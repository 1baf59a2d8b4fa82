"""Flags for changes to the audio of training clips."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from utils.runtime.flags import argument, share

SLOWEST, FASTEST = 0.5, 2.0

CodecName = Literal["telephone", "alaw", "ulaw", "gsm", "amr", "opus", "mp3"]


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Which changes a clip may get, and how often. The default changes nothing."""

    group_name: ClassVar = "augmentation"

    speed_factors: list[float] = argument(
        "Change the speed by one of these, such as 0.9 1 1.1.",
        default=[1.0],
        at_least=SLOWEST,
        at_most=FASTEST,
    )
    noise_probability: float = share("Add noise to this share of the clips.")
    noise_dir: str | None = argument(
        "Folder of noise recordings. Not given: noise is generated.", default=None
    )
    noise_snr_db: list[float] = argument(
        "Lowest and highest signal-to-noise ratio, in dB.", default=[5.0, 30.0], advanced=True
    )
    reverb_probability: float = share("Add the echo of a room to this share of the clips.")
    reverb_dir: str | None = argument(
        "Folder of room impulse responses. Not given: rooms are generated.", default=None, advanced=True
    )
    reverb_rt60: list[float] = argument(
        "Shortest and longest reverberation time (RT60) of generated rooms, in seconds.",
        default=[0.15, 0.7],
        advanced=True,
        at_least=0.05,
        at_most=3,
    )
    gain_probability: float = share("Make this share of the clips louder or softer.", advanced=True)
    gain_db: list[float] = argument(
        "Lowest and highest change of the level, in dB.", default=[-15.0, 6.0], advanced=True
    )
    codec_probability: float = share("Send this share of the clips through a codec.")
    codecs: list[CodecName] = argument(
        "Codecs to choose from. telephone is the telephone band without a codec.",
        default=["telephone", "alaw", "ulaw", "gsm", "amr", "opus", "mp3"],
        advanced=True,
    )

    @property
    def changes_audio(self) -> bool:
        """Check whether any change is possible."""
        kinds = ("noise", "reverb", "gain", "codec")
        return self.speed_factors != [1.0] or any(getattr(self, f"{kind}_probability") for kind in kinds)

    def problems(self) -> list[str]:
        found = []
        for name in ("noise_snr_db", "reverb_rt60", "gain_db"):
            values = getattr(self, name)
            if len(values) != 2 or not all(map(math.isfinite, values)) or values[0] > values[1]:
                found.append(f"{name} {values}: expected two numbers, the lower one first.")
        for kind in ("noise", "reverb"):
            if getattr(self, f"{kind}_dir") is not None and not getattr(self, f"{kind}_probability"):
                found.append(f"{kind}_dir needs {kind}_probability above 0.")
        return found


@dataclass(frozen=True, kw_only=True)
class SpecAugment:
    """How much of a spectrogram is masked; names and defaults as in transformers' `WhisperConfig`.

    A share (`_prob`) is the part that is masked on average. At most half of an axis is masked, so that very
    short clips keep some of their speech.
    """

    group_name: ClassVar = "augmentation"

    apply_spec_augment: bool = argument("Mask parts of the spectrogram (SpecAugment).", default=False)
    mask_time_prob: float = share("Share of the frames that SpecAugment masks.", default=0.05, advanced=True)
    mask_time_length: int = argument(
        "Length of a mask over time, in frames of 10 ms.", default=10, advanced=True, at_least=1
    )
    mask_time_min_masks: int = argument(
        "Smallest number of masks over time.", default=2, advanced=True, at_least=0
    )
    mask_feature_prob: float = share("Share of the mel bands that SpecAugment masks.", advanced=True)
    mask_feature_length: int = argument(
        "Width of a mask over frequency, in mel bands.", default=10, advanced=True, at_least=1
    )
    mask_feature_min_masks: int = argument(
        "Smallest number of masks over frequency.", default=0, advanced=True, at_least=0
    )


@dataclass(frozen=True, kw_only=True)
class NonSpeech:
    """How many windows without speech an epoch has, and where they come from."""

    group_name: ClassVar = "augmentation"

    non_speech_share: float = share(
        "Add clips without speech or text, so that the model invents fewer words. 0.1: one for ten clips."
    )
    non_speech_dir: str | None = argument(
        "Folder of recordings without speech, for half of the added clips. Not given: all are generated.",
        default=None,
        advanced=True,
    )

    def problems(self) -> list[str]:
        if self.non_speech_dir is not None and not self.non_speech_share:
            return ["non_speech_dir needs non_speech_share above 0."]
        return []
