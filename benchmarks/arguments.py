"""Arguments of the benchmarks."""

from dataclasses import dataclass
from typing import Literal

from utils.arguments.fields import ScriptArguments, language_problems
from utils.runtime.flags import argument


def dtype_problems(names: list[str]) -> list[str]:
    """A sentence where precisions to measure are none or unknown."""
    if names and set(names) <= {"float32", "bfloat16"}:
        return []
    return [f"dtypes {' '.join(names)}: expected float32, bfloat16 or both."]


def at_least(arguments: ScriptArguments, minimum: float, *names: str) -> list[str]:
    """A sentence for every named value below `minimum`; what is not given is None, and right."""
    values = {name: getattr(arguments, name) for name in names}
    return [
        f"{name} {value}: expected at least {minimum}."
        for name, value in values.items()
        if value is not None and value < minimum
    ]


@dataclass(frozen=True, kw_only=True)
class PeerArguments(ScriptArguments):
    """Arguments of the peers in benchmarks/, peer_seq2seq_trainer.py and peer_pipeline.py."""

    model_name_or_path: str = argument("Model to train or to decode with.")
    dataset: str = argument("Folder written by preprocess.py.")
    split: str = argument("Split that the clips are taken from.")
    language: str = argument("Language of rows that do not carry their own.")
    dtype: Literal["float32", "bfloat16"] = argument("Precision.", default="float32")
    batch_size: int = argument("Clips in a batch.", default=8)
    max_samples: int | None = argument("Clips measured, drawn by the seed; all when not given.", default=None)

    def problems(self) -> list[str]:
        return at_least(self, 1, "batch_size") + language_problems(self.language)


@dataclass(frozen=True, kw_only=True)
class SpeedArguments(ScriptArguments):
    """What the side-by-side measurements share."""

    dataset: str = argument("Folder written by preprocess.py.", default="data/demo")
    language: str = argument("Language of rows that do not carry their own.", default="it")
    batch_size: int = argument("Clips in a batch, on both sides.", default=8)
    dtypes: list[str] = argument(
        "Precisions measured, float32 and bfloat16.", default=["float32", "bfloat16"]
    )
    rounds: int = argument("Repetitions, the sides taking turns; the median counts.", default=3)

    def problems(self) -> list[str]:
        found = at_least(self, 1, "batch_size", "rounds") + language_problems(self.language)
        return found + dtype_problems(self.dtypes)


@dataclass(frozen=True, kw_only=True)
class TrainSpeedArguments(SpeedArguments):
    """Arguments of benchmarks/train_speed.py."""

    output_dir: str = argument("Folder for runs and results.", default="runs/bench/train")
    model_name_or_path: str = argument("Model to start from.", default="openai/whisper-base")
    max_samples: int = argument("Clips the peer is timed on; drawn anew in each round.", default=48)
    full_epoch: bool = argument(
        "Give the peer the whole training split instead; slow, the measure of its peak memory.", default=False
    )
    clip_seconds: float | None = argument(
        "Join clips to nearly so many seconds; not given: train on the clips as they are.", default=None
    )
    num_clips: int = argument("With clip_seconds: joined clips.", default=96)
    random_shape: Literal["tiny", "small", "large-v3"] | None = argument(
        "A model of random weights in this shape instead; model_name_or_path gives its tokenizer.",
        default=None,
    )
    train_options: list[str] = argument(
        "More arguments for train.py, such as memory=low or torch_compile=true.", default=[]
    )

    def problems(self) -> list[str]:
        found = super().problems() + at_least(self, self.batch_size, "num_clips")
        if self.clip_seconds is not None and not 1 <= self.clip_seconds <= 30:
            found.append(f"clip_seconds {self.clip_seconds}: expected 1 to 30, Whisper's window.")
        found += [
            f"train_options {option}: expected name=value, such as memory=low."
            for option in self.train_options
            if "=" not in option
        ]
        if self.max_samples < self.batch_size or self.max_samples % self.batch_size:
            found.append(
                f"max_samples {self.max_samples}: expected a multiple of batch_size {self.batch_size}, "
                "so that the peer sees whole batches."
            )
        return found


@dataclass(frozen=True, kw_only=True)
class StepProfileArguments(ScriptArguments):
    """Arguments of benchmarks/step_profile.py."""

    output_dir: str = argument("Folder for the result.", default="runs/bench/profile")
    model_name_or_path: str = argument("Model to train.", default="openai/whisper-base")
    dataset: str = argument("Folder written by preprocess.py.", default="data/demo")
    language: str = argument("Language of rows that do not carry their own.", default="it")
    dtypes: list[str] = argument(
        "Precisions measured, float32 and bfloat16.", default=["float32", "bfloat16"]
    )
    batch_sizes: list[int] = argument("Clips in a batch.", default=[8, 16])
    silence_run: int = argument("How silence is condensed, as in train.py.", default=128)
    num_steps: int = argument("Steps measured, the first of an epoch.", default=10)
    rounds: int = argument("Repetitions after one to warm up; each step's fastest counts.", default=3)
    clock: Literal["wall", "cpu"] = argument(
        "cpu counts the processor's own time; for a busy machine, with OMP_NUM_THREADS=1.", default="wall"
    )
    torch_compile: bool = argument("Compile the layers.", default=False)

    def problems(self) -> list[str]:
        found = at_least(self, 1, "num_steps", "rounds") + dtype_problems(self.dtypes)
        if min(self.batch_sizes, default=0) < 1:
            found.append(f"batch_sizes {self.batch_sizes}: expected numbers from 1.")
        return found + language_problems(self.language)


@dataclass(frozen=True, kw_only=True)
class PreprocessSpeedArguments(ScriptArguments):
    """Arguments of benchmarks/preprocess_speed.py."""

    output_dir: str = argument("Folder for corpora, runs and results.", default="runs/bench/preprocess")
    dataset: str = argument(
        "Folder written by preprocess.py; its clips are copied as MP3.", default="data/demo"
    )
    copies: int = argument("How often each clip is copied, each time at another level.", default=4)
    num_proc: int = argument("Processes, on both sides.", default=2)
    rounds: int = argument("Repetitions, the sides taking turns; the median counts.", default=3)

    def problems(self) -> list[str]:
        return at_least(self, 1, "copies", "num_proc", "rounds")


@dataclass(frozen=True, kw_only=True)
class FeatureMapArguments(ScriptArguments):
    """Arguments of benchmarks/peer_feature_map.py."""

    manifest: str = argument("JSON lines with audio and text.")
    num_proc: int = argument("Processes of `Dataset.map`.", default=2)


@dataclass(frozen=True, kw_only=True)
class DecodeSpeedArguments(SpeedArguments):
    """Arguments of benchmarks/decode_speed.py."""

    output_dir: str = argument("Folder for runs and results.", default="runs/bench/decode")
    model_name_or_path: str = argument("Tuned model, trained on dynamic context.", default="runs/demo/best")
    split: str = argument("Split to decode.", default="test")
    max_samples: int = argument("Clips decoded; drawn anew by each round's seed.", default=48)
    clip_seconds: float | None = argument("Join the training clips up to so many seconds.", default=None)


@dataclass(frozen=True, kw_only=True)
class FasterWhisperArguments(PeerArguments):
    """Arguments of benchmarks/peer_faster_whisper.py; `dtype` is a precision of CTranslate2."""

    dtype: str = argument("Precision, such as float32 or int8.", default="float32")  # type: ignore[assignment]
    num_beams: int = argument("Width of the beam.", default=1)


@dataclass(frozen=True, kw_only=True)
class CTranslate2SpeedArguments(DecodeSpeedArguments):
    """Arguments of benchmarks/ctranslate2_speed.py."""

    output_dir: str = argument("Folder for runs and results.", default="runs/bench/ctranslate2")
    dtypes: list[str] = argument("Precisions of CTranslate2 measured.", default=["float32", "int8"])
    num_beams: int = argument("Width of the beam, on both sides.", default=1)

    def problems(self) -> list[str]:
        return at_least(self, 1, "batch_size", "rounds", "num_beams") + language_problems(self.language)


@dataclass(frozen=True, kw_only=True)
class SameAsGenerateArguments(ScriptArguments):
    """Arguments of benchmarks/same_as_generate.py."""

    output_dir: str = argument("Folder for the result.", default="runs/bench/same")
    model_name_or_path: str = argument("Model to decode with.", default="openai/whisper-base")
    dataset: str = argument("Folder written by preprocess.py.", default="data/demo")
    split: str = argument("Split to decode.", default="train")
    language: str = argument("Language of all clips.", default="it")
    dtype: Literal["float32", "bfloat16"] = argument("Precision.", default="float32")
    batch_size: int = argument("Clips in a batch, on both sides.", default=8)
    max_length: int = argument("Most tokens of a hypothesis, the prompt included.", default=225)
    max_samples: int = argument("Clips, drawn by the seed.", default=200)

    def problems(self) -> list[str]:
        return at_least(self, 1, "batch_size", "max_length", "max_samples")


@dataclass(frozen=True, kw_only=True)
class LongFormArguments(ScriptArguments):
    """Arguments of benchmarks/long_form.py."""

    output_dir: str = argument("Folder for recordings and results.", default="runs/bench/long_form")
    model_name_or_path: str = argument("Model to decode with.", default="openai/whisper-base")
    language: str = argument("Language of the prompts: it, en or ru.", default="en")
    minutes: float = argument("Length of the joined recording.", default=20.0)
    ways: list[str] = argument("Ways to decode: sequential, chunked.", default=["sequential", "chunked"])
    dtype: Literal["auto", "float32", "bfloat16"] = argument("Precision.", default="auto")
    normalizer: Literal["basic", "english"] = argument("Text normaliser.", default="basic")


@dataclass(frozen=True, kw_only=True)
class AlignmentAccuracyArguments(ScriptArguments):
    """Arguments of benchmarks/alignment_accuracy.py."""

    output_dir: str = argument("Folder for the result.", default="runs/bench/alignment")
    model_name_or_path: str = argument("Model that aligns.", default="openai/whisper-base")
    language: str = argument("Language of the prompts: it, en or ru.", default="it")
    minutes: float = argument("Length of each recording.", default=60.0)
    dtype: Literal["float32", "bfloat16"] = argument("Precision of the model.", default="float32")
    batch_size: int = argument("Windows of up to 28 s in a batch.", default=8)
    max_duration: float = argument("Most seconds of a segment.", default=30.0)
    min_confidence: float = argument("Segments below it count as set aside.", default=0.5)

    def problems(self) -> list[str]:
        return at_least(self, 1, "batch_size", "minutes", "max_duration") + language_problems(self.language)


@dataclass(frozen=True, kw_only=True)
class AlignmentTrainingArguments(ScriptArguments):
    """Arguments of benchmarks/alignment_training.py."""

    output_dir: str = argument(
        "Folder for recordings, runs and results.", default="runs/bench/alignment_training"
    )
    dataset: str = argument(
        "Folder written by preprocess.py; its training clips make the recordings.", default="data/demo"
    )
    language: str = argument("Language of rows that do not carry their own.", default="it")
    model_name_or_path: str = argument(
        "Model that aligns, that is trained, and that is scored untuned.", default="openai/whisper-base"
    )
    recipe: str = argument("Recipe of both trainings.", default="recipes/starter.yaml")
    minutes: float = argument("Length of each recording.", default=5.0)
    segment_duration: float = argument("Most seconds of a segment.", default=10.0)
    per_device_train_batch_size: int = argument("Segments in a batch.", default=2)
    max_steps: int = argument("Optimiser steps of each training.", default=140)

    def problems(self) -> list[str]:
        positive = ("segment_duration", "per_device_train_batch_size", "max_steps")
        return at_least(self, 1, *positive) + at_least(self, 0, "minutes") + language_problems(self.language)


@dataclass(frozen=True, kw_only=True)
class AugmentationPicturesArguments(ScriptArguments):
    """Arguments of benchmarks/augmentation_pictures.py."""

    output_dir: str = argument("Folder for the picture.", default="docs/pictures")
    prompt: str = argument("English prompt that is varied.", default="vm-nobodyavail")


@dataclass(frozen=True, kw_only=True)
class AugmentationCostArguments(ScriptArguments):
    """Arguments of benchmarks/augmentation_cost.py."""

    output_dir: str = argument("Folder for the result.", default="runs/bench/augmentation")
    seconds: list[float] = argument("Lengths of the clips.", default=[2.0, 10.0, 30.0])
    rounds: int = argument("Repetitions; the median counts.", default=15)

    def problems(self) -> list[str]:
        return at_least(self, 1, "rounds")


@dataclass(frozen=True, kw_only=True)
class TelephoneArguments(ScriptArguments):
    """Arguments of benchmarks/telephone.py."""

    output_dir: str = argument("Folder for data, runs and the result.", default="runs/bench/telephone")
    model_name_or_path: str = argument("Model to score and to start from.", default="openai/whisper-base")
    lines: list[str] = argument(
        "Lines that the test clips go through, each a chain of codecs.", default=["alaw", "gsm", "alaw+gsm"]
    )
    max_samples: int = argument("Test clips scored, drawn by the seed.", default=150)
    untuned_only: bool = argument("Score the untuned model alone, train nothing.", default=False)
    num_train_epochs: float = argument("Passes over the training clips.", default=3.0)
    learning_rate: float = argument("Peak learning rate.", default=2e-5)
    batch_size: int = argument("Clips in a batch, in training and decoding.", default=8)
    codec_probability: float = argument(
        "Share of the training clips that go through a codec of the lines.", default=0.6
    )

    def problems(self) -> list[str]:
        return at_least(self, 1, "batch_size", "max_samples")


@dataclass(frozen=True, kw_only=True)
class SweepArguments(ScriptArguments):
    """Arguments of benchmarks/sweep.py."""

    output_dir: str = argument("Folder for data and runs.", default="runs/bench/sweep")
    results_dir: str | None = argument(
        "Folder of a small file for every run, which is then not run again. Default: results in output_dir.",
        default=None,
    )
    model_name_or_path: str = argument("Model to start from.", default="openai/whisper-base")
    ways: list[str] = argument(
        "Ways of training, in the order they are run.",
        default=[
            *("full", "full-context", "lora", "dora", "adalora", "int8-lora", "nf4-lora", "frozen-encoder"),
            *("no-silence", "jitter"),
        ],
    )
    languages: list[str] = argument("Languages of the prompts: it, ru or en.", default=["it"])
    seeds: list[int] = argument("Seeds of the training, one after the other.", default=[1, 2, 3])
    seed: int = argument("Decides which prompts are for training and which for the test.", default=13)
    max_runs: int | None = argument("End after so many further models; not given: all.", default=None)
    num_train_epochs: float = argument("Passes over the training clips.", default=3.0)
    per_device_train_batch_size: int = argument("Clips in a batch.", default=8)
    learning_rate: float = argument("Peak learning rate where all weights are trained.", default=2e-5)
    save_steps: int = argument("Steps between checkpoints.", default=50)
    max_samples: int | None = argument(
        "Test clips scored, drawn by the seed; all when not given.", default=None
    )

    def problems(self) -> list[str]:
        return at_least(self, 1, "per_device_train_batch_size", "save_steps", "max_samples")


@dataclass(frozen=True, kw_only=True)
class ForgettingArguments(ScriptArguments):
    """Arguments of benchmarks/forgetting.py."""

    output_dir: str = argument("Folder for data, runs and the result.", default="runs/bench/forgetting")
    seed: int = argument("Decides splits, order and samples.", default=13)
    model_name_or_path: str = argument("Model to start from.", default="openai/whisper-base")
    language: str = argument("Language of the prompts to train on.", default="it")
    guard_language: str = argument("Language of the prompts that may not get worse.", default="en")
    guard_tolerance: float = argument("By how much they may, as a fraction.", default=0.0)
    alphas: list[float] = argument("Shares of the tuned weights.", default=[0.2, 0.4, 0.6, 0.8, 1.0])
    num_train_epochs: float = argument("Passes over the training clips.", default=3.0)
    learning_rate: float = argument("Peak learning rate.", default=2e-5)
    batch_size: int = argument("Clips in a batch.", default=8)
    max_samples: int | None = argument(
        "Clips scored of each split, drawn by the seed; all of test when not given.", default=None
    )

    def problems(self) -> list[str]:
        return at_least(self, 1, "batch_size", "max_samples")


@dataclass(frozen=True, kw_only=True)
class TunedArguments(ScriptArguments):
    """What the benchmarks share that tune a model with and without something."""

    dataset: str = argument("Folder written by preprocess.py.", default="data/demo")
    language: str = argument("Language of rows that do not carry their own.", default="it")
    model_name_or_path: str = argument("Model to score and to start from.", default="openai/whisper-base")
    recipe: str = argument("Recipe of both trainings.", default="recipes/starter.yaml")
    max_steps: int = argument("Optimiser steps of each training.", default=150)
    batch_size: int = argument("Clips in a batch, in training and decoding.", default=8)

    def problems(self) -> list[str]:
        return at_least(self, 1, "batch_size", "max_steps") + language_problems(self.language)


@dataclass(frozen=True, kw_only=True)
class HallucinationArguments(TunedArguments):
    """Arguments of benchmarks/hallucination.py."""

    output_dir: str = argument("Folder for runs and results.", default="runs/bench/hallucination")
    durations: list[float] = argument(
        "Seconds of the windows without speech, each in every kind.", default=[2.0, 5.0, 10.0, 30.0]
    )
    non_speech_share: float = argument(
        "Windows without speech in training, as a share of the clips.", default=0.1
    )

    def problems(self) -> list[str]:
        found = super().problems()
        if not self.durations or not all(0.1 <= seconds <= 30 for seconds in self.durations):
            found.append(f"durations {self.durations}: expected one or more numbers from 0.1 to 30 seconds.")
        if not 0 < self.non_speech_share <= 1:
            found.append(f"non_speech_share {self.non_speech_share}: expected a share above 0, 1 at most.")
        return found


@dataclass(frozen=True, kw_only=True)
class TimestampsArguments(TunedArguments):
    """Arguments of benchmarks/timestamps.py."""

    output_dir: str = argument("Folder for runs and results.", default="runs/bench/timestamps")
    batch_size: int = argument("Examples in a batch; the stitched ones are long.", default=4)
    stitch_probability: float = argument(
        "Share of the examples that are stitched, in two of three.", default=0.3
    )
    timestamp_probability: float = argument("Share whose times are learnt, in one of three.", default=0.5)
    max_windows: int = argument("Stitched windows of test prompts that are decoded.", default=24)

    def problems(self) -> list[str]:
        return super().problems() + at_least(self, 1, "max_windows")
