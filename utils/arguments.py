"""Every script's arguments: one frozen dataclass each, filled by a recipe and overridden by the command line.

Both ways lead through the same parser: a recipe's keys are turned into command-line words and checked one by
one, so that a wrong type or an unknown key in a file gives an error that names the file, the key and the
nearest match.
"""

import argparse
import dataclasses
import difflib
import sys
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

import yaml

from utils.errors import UserError

Arguments = TypeVar("Arguments", bound="ScriptArguments")


def argument(help: str, **options) -> typing.Any:
    """A dataclass field with its help text; a list default is wrapped in a factory.

    Typed like `dataclasses.field` for its caller: as whatever the field holds.
    """
    default = options.pop("default", dataclasses.MISSING)
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata={"help": help}, **options)
    return field(default=default, metadata={"help": help}, **options)


@dataclass(frozen=True, kw_only=True)
class ScriptArguments:
    """What every script has; a subclass adds its own fields and checks them in `problems`."""

    output_dir: str = argument("Folder that receives the result and the resolved arguments.")
    seed: int = argument("Seed of everything drawn at random.", default=42)

    def problems(self) -> list[str]:
        """Say what is wrong with the values taken together, a sentence each; empty when all is well."""
        return []


@dataclass(frozen=True, kw_only=True)
class PreprocessArguments(ScriptArguments):
    """Arguments of preprocess.py."""

    source: Literal[
        "manifest",
        "folder",
        "hub",
        "audiofolder",
        "common_voice",
        "afrispeech",
        "fleurs",
        "ljspeech",
        "librispeech",
        "kaldi",
        "nemo",
        "lhotse",
        "asterisk",
    ] = argument(
        "What is read: a JSONL manifest, a folder of recordings with transcripts beside them, anything "
        "`datasets.load_dataset` reads, a corpus as it is released (a folder, or a .zip or .tar of it), or "
        "the Asterisk telephone prompts (downloaded; it, en or ru). docs/data_format.md shows each."
    )
    input: str | None = argument(
        "Manifest file, folder, archive or dataset name; not used by asterisk.", default=None
    )
    language: str = argument(
        "Language code of utterances that do not carry their own; auto leaves it open.", default="auto"
    )

    dataset_config_name: str | None = argument(
        "Configuration of a Hub dataset, or the language of a release that holds several, such as gl.",
        default=None,
    )
    streaming: bool = argument("Read a Hub dataset as it is downloaded, not stored first.", default=False)
    audio_column_name: str | None = argument(
        "Audio column of a Hub dataset; found when not given.", default=None
    )
    text_column_name: str | None = argument(
        "Text column of a Hub dataset; found when not given.", default=None
    )
    accents: list[str] = argument("Keep these accents alone, such as isizulu (afrispeech).", default=[])
    min_net_votes: int | None = argument(
        "Keep clips with at least so many more up-votes than down-votes (common_voice).", default=None
    )
    use_validated: bool = argument(
        "Train on validated.tsv without the clips of dev and test, not on train.tsv (common_voice).",
        default=False,
    )
    fraction: float = argument("Share of the utterances that is used, drawn by the seed.", default=1.0)
    test_fraction: float | None = argument(
        "The same for a test split that is given; not given: fraction.", default=None
    )

    min_duration: float = argument("Shortest utterance kept, in seconds.", default=0.1)
    max_duration: float = argument(
        "Longest utterance kept, in seconds; Whisper hears at most 30.", default=30.0
    )
    min_segment_duration: float = argument(
        "Shortest segment cut from a timed transcript that is kept, in seconds.", default=0.5
    )
    target_duration: float = argument(
        "Join neighbouring segments of a timed transcript up to so many seconds; 0: each on its own.",
        default=0.0,
    )
    max_gap: float = argument("Longest pause across which segments are joined, in seconds.", default=1.0)
    padding: float = argument(
        "Silence kept before and after each segment where there is some, in seconds.", default=0.0
    )
    tier: str | None = argument("Tier of TextGrid and ELAN files; not given: all with text.", default=None)
    align_with_model: str | None = argument(
        "Model that finds the times of a plain transcript of a recording or stretch over max_duration.",
        default=None,
    )
    min_alignment_confidence: float = argument(
        "Aligned segments of a lower confidence, from 0 to 1, are set aside.", default=0.5
    )

    skip_rules: list[str] = argument(
        "Quality rules switched off; docs/data_format.md lists them.", default=[]
    )
    add_rules: list[str] = argument("Quality rules switched on that are off by default.", default=[])
    filter_with_model: str | None = argument(
        "Model that hears every clip; what is far from its text or in another language is set aside.",
        default=None,
    )
    max_filter_wer: float = argument(
        "Normalised WER of that model's text from which a clip is set aside.", default=0.8
    )
    model_name_or_path: str | None = argument(
        "Model whose tokenizer counts label tokens, so that texts over its limit are rejected here.",
        default=None,
    )

    validation_share: float = argument("Share cut off as validation where the source has none.", default=0.1)
    test_share: float = argument("Share cut off as test where the source has none.", default=0.2)
    as_original: bool = argument(
        "Leave given splits as they are, with their leaks and duplicates, to compare with published figures.",
        default=False,
    )

    num_proc: int = argument("Processes that decode and encode audio.", default=1)
    num_shards: int = argument("Parts of the work, for the jobs of a cluster's array.", default=1)
    shard_index: int | None = argument(
        "Do this part alone, from 0; without it all that is missing is done and put together.", default=None
    )
    archive: bool = argument("Write the dataset as one .zip beside the folder as well.", default=False)
    also_write: Literal["audiofolder"] | None = argument(
        "Write every clip as a WAV file too, with a metadata.jsonl for each split.", default=None
    )
    push_to_hub: bool = argument("Push the prepared dataset to the Hugging Face Hub.", default=False)
    hub_dataset_id: str | None = argument("Name of the dataset on the Hub, user/name.", default=None)
    hub_private_repo: bool = argument(
        "Keep the dataset on the Hub from everybody else; false publishes the speech.", default=True
    )
    hub_license: str | None = argument(
        "Licence stated on the Hub, such as cc-by-4.0; only who holds the rights may state one.", default=None
    )

    def problems(self) -> list[str]:
        found = []
        if self.source != "asterisk" and self.input is None:
            found.append(f"--source {self.source} needs --input: the manifest, folder or dataset to read.")
        if not 0 < self.min_duration <= self.max_duration <= 30:
            found.append(
                f"min_duration {self.min_duration} and max_duration {self.max_duration}: expected "
                "0 < min_duration <= max_duration <= 30 seconds, the length of Whisper's window."
            )
        if min(self.validation_share, self.test_share) < 0 or self.validation_share + self.test_share >= 1:
            found.append(
                f"validation_share {self.validation_share} and test_share {self.test_share}: expected "
                "numbers from 0 whose sum stays below 1, so that something is left to train on."
            )
        for name in ("fraction", "test_fraction"):
            value = getattr(self, name)
            if value is not None and not 0 < value <= 1:
                found.append(f"{name} {value}: expected a share above 0 and at most 1.")
        if self.shard_index is not None and not 0 <= self.shard_index < self.num_shards:
            found.append(
                f"shard_index {self.shard_index}: expected 0 to num_shards - 1, {self.num_shards - 1}."
            )
        found += at_least(self, 1, "num_proc", "num_shards")
        found += at_least(self, 0, "min_segment_duration", "target_duration", "max_gap", "padding")
        if self.push_to_hub:
            found += hub_id_problems("hub_dataset_id", self.hub_dataset_id)
        return found + language_problems(self.language)


@dataclass(frozen=True, kw_only=True)
class TrainArguments(ScriptArguments):
    """Arguments of train.py. Precision, processes, DeepSpeed and FSDP are Accelerate's configuration."""

    model_name_or_path: str = argument(
        "Hub id, model folder, adapter folder or faster-whisper folder to start from."
    )
    dataset: list[str] = argument("One or more folders written by preprocess.py.")
    language: str = argument(
        "Language of rows that do not carry their own; auto forces none.", default="auto"
    )

    dataset_passes: list[float] | None = argument(
        "Passes over each dataset in an epoch, such as 1 0.1 to mix in a tenth of a second one, "
        "another tenth each epoch; not given: one over each.",
        default=None,
    )
    num_train_epochs: float = argument(
        "Passes over the training split; max_steps goes before it.", default=3.0
    )
    max_steps: int = argument("Optimiser steps; -1 follows num_train_epochs.", default=-1)
    per_device_train_batch_size: int = argument("Clips in a micro-batch of one process.", default=8)
    batch_audio_seconds: float | None = argument(
        "Audio seconds of a micro-batch, padding counted, instead of a number of clips.", default=None
    )
    batch_label_tokens: int | None = argument(
        "With batch_audio_seconds: most label tokens of a micro-batch, padding counted.", default=None
    )
    micro_batch_seconds: float | None = argument(
        "A micro-batch of more audio seconds, padding counted, is cut into parts: less memory, same result; "
        "not given: 64 on a CPU, no limit elsewhere.",
        default=None,
    )
    gradient_accumulation_steps: int = argument("Micro-batches to one optimiser step.", default=1)
    learning_rate: float = argument("Peak learning rate.", default=1e-5)
    lr_scheduler_type: Literal["linear", "cosine", "constant_with_warmup"] = argument(
        "Shape of the schedule after the warm-up.", default="linear"
    )
    warmup_steps: float = argument("Warm-up steps; below 1 it is a share of all steps.", default=0.1)
    weight_decay: float = argument("Decoupled weight decay of AdamW.", default=0.0)
    max_grad_norm: float = argument("Gradient norm is clipped to this.", default=1.0)
    gradient_checkpointing: bool = argument("Recompute activations to save memory.", default=False)

    audio_context: Literal["dynamic", "full"] = argument(
        "Encoder input: as long as the clips of the step, or always 30 s.", default="dynamic"
    )
    context_jitter: list[float] = argument(
        "Extra silence of a step in seconds, drawn with equal chance from this list; 0 alone for none.",
        default=[0.0, 0.0, 1.0, 2.0, 4.0, 8.0],
    )

    use_peft: bool = argument("Train a LoRA adapter instead of all weights.", default=False)
    lora_r: int = argument("Rank of the LoRA matrices.", default=16)
    lora_alpha: int = argument("Scale of the LoRA matrices.", default=32)
    lora_dropout: float = argument("Dropout before the LoRA matrices.", default=0.05)
    lora_target_modules: list[str] = argument("Modules that get LoRA matrices.", default=["q_proj", "v_proj"])

    eval_steps: int = argument(
        "Steps between evaluations by generation on the validation split; 0: never.", default=100
    )
    per_device_eval_batch_size: int = argument("Clips decoded at once.", default=16)
    max_train_samples: int | None = argument(
        "Train on at most so many utterances, drawn by the seed.", default=None
    )
    max_eval_samples: int | None = argument(
        "Validate on at most so many utterances, drawn by the seed.", default=500
    )
    generation_max_length: int = argument("Most tokens of a hypothesis.", default=225)
    normalizer: Literal["basic", "english"] = argument(
        "Whisper's text normaliser for normalised WER.", default="basic"
    )

    save_steps: int = argument("Steps between checkpoints; 0: never.", default=100)
    save_total_limit: int = argument("Checkpoints kept; the oldest go first.", default=2)
    resume_from_checkpoint: str | None = argument(
        "latest, or a checkpoint folder: go on from there even if other arguments changed.", default=None
    )
    logging_steps: int = argument("Steps between lines of metrics.jsonl.", default=10)
    report_to: Literal["tensorboard", "none"] = argument(
        "Tracker besides metrics.jsonl.", default="tensorboard"
    )
    dataloader_num_workers: int | None = argument(
        "Worker processes that decode audio; not given: none on a CPU, four beside a GPU.", default=None
    )

    def problems(self) -> list[str]:
        ones = [
            "per_device_train_batch_size",
            "gradient_accumulation_steps",
            "lora_r",
        ]
        ones += ["per_device_eval_batch_size", "save_total_limit", "logging_steps", "generation_max_length"]
        zeros = [
            "eval_steps",
            "save_steps",
            "warmup_steps",
            "weight_decay",
            "learning_rate",
            "max_grad_norm",
            "lora_dropout",
        ]
        found = at_least(self, 1, *ones) + at_least(self, 0, *zeros)
        for name in ("micro_batch_seconds", "batch_audio_seconds", "batch_label_tokens"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                found.append(f"{name} {value}: expected a number above 0.")
        if self.batch_label_tokens is not None and self.batch_audio_seconds is None:
            found.append("batch_label_tokens goes with batch_audio_seconds, which is not given.")
        passes = self.dataset_passes
        if passes is not None and (len(passes) != len(self.dataset) or min(passes, default=0) <= 0):
            found.append(
                f"dataset_passes {passes}: expected a number above 0 for each of the "
                f"{len(self.dataset)} datasets."
            )
        if self.max_steps < 1 and self.num_train_epochs <= 0:
            found.append(
                f"max_steps {self.max_steps}, num_train_epochs {self.num_train_epochs}: one must be above 0."
            )
        if not self.context_jitter or not all(0 <= jitter <= 30 for jitter in self.context_jitter):
            found.append(
                f"context_jitter {self.context_jitter}: expected one or more numbers from 0 to 30 seconds."
            )
        return found + language_problems(self.language)


@dataclass(frozen=True, kw_only=True)
class EvaluateArguments(ScriptArguments):
    """Arguments of evaluate.py."""

    models: list[str] = argument(
        "One or more models; with several, the first is the baseline of the comparison."
    )
    dataset: list[str] = argument("One or more folders written by preprocess.py.")
    split: str = argument("Split to score.", default="test")
    language: str = argument(
        "Language of rows that do not carry their own; auto lets the model detect.", default="auto"
    )
    audio_context: Literal["auto", "full", "dynamic"] = argument(
        "Context to decode in; auto: full, and dynamic too where the model was trained on it.", default="auto"
    )
    per_device_eval_batch_size: int = argument("Clips decoded at once.", default=16)
    max_samples: int | None = argument("Score at most so many utterances, drawn by the seed.", default=None)
    generation_max_length: int = argument("Most tokens of a hypothesis.", default=225)
    normalizer: Literal["basic", "english"] = argument(
        "Whisper's text normaliser for normalised WER.", default="basic"
    )
    bootstrap_samples: int = argument("Resamplings behind each confidence interval.", default=2000)
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = argument(
        "Precision of the weights; auto: bfloat16 where this machine is fast at it, else float32.",
        default="auto",
    )

    def problems(self) -> list[str]:
        ones = ["per_device_eval_batch_size", "generation_max_length", "bootstrap_samples"]
        ones += ["max_samples"] if self.max_samples is not None else []
        found = at_least(self, 1, *ones)
        for name, values in (("models", self.models), ("dataset", self.dataset)):
            doubles = sorted({value for value in values if values.count(value) > 1})
            if doubles:
                found.append(f"{name}: {', '.join(doubles)} given more than once; each is scored once.")
        return found + language_problems(self.language)


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
        unknown = sorted(set(self.dtypes) - {"float32", "bfloat16"})
        if unknown or not self.dtypes:
            found.append(f"dtypes {' '.join(self.dtypes)}: expected float32, bfloat16 or both.")
        return found


@dataclass(frozen=True, kw_only=True)
class TrainSpeedArguments(SpeedArguments):
    """Arguments of benchmarks/train_speed.py."""

    output_dir: str = argument("Folder for runs and results.", default="runs/bench/train")
    model_name_or_path: str = argument("Model to start from.", default="openai/whisper-base")
    max_samples: int = argument("Clips the peer is timed on; drawn anew in each round.", default=48)
    full_epoch: bool = argument(
        "Give the peer the whole training split instead; slow, the measure of its peak memory.", default=False
    )

    def problems(self) -> list[str]:
        found = super().problems()
        if self.max_samples < self.batch_size or self.max_samples % self.batch_size:
            found.append(
                f"max_samples {self.max_samples}: expected a multiple of batch_size {self.batch_size}, "
                "so that the peer sees whole batches."
            )
        return found


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


def at_least(arguments: ScriptArguments, minimum: float, *names: str) -> list[str]:
    """A sentence for every named value below `minimum`."""
    return [
        f"{name} {getattr(arguments, name)}: expected at least {minimum}."
        for name in names
        if getattr(arguments, name) < minimum
    ]


def hub_id_problems(name: str, value: str | None) -> list[str]:
    """A sentence unless the value of argument `name` is a possible `user/name` on the Hub."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    if value is None:
        return [f"push_to_hub needs --{name}: user/name, where the user is you or an organisation of yours."]
    try:
        validate_repo_id(value)
    except HFValidationError:
        pass
    else:
        if "/" in value:
            return []
    return [f"{name} {value!r}: expected user/name of letters, digits, -, _ and . alone, at most 96."]


def language_problems(language: str) -> list[str]:
    """A sentence if Whisper does not know the language by this code; names (italian) count as unknown."""
    from transformers.models.whisper.tokenization_whisper import LANGUAGES, TO_LANGUAGE_CODE

    if language == "auto" or language in LANGUAGES:
        return []
    if language.lower() in TO_LANGUAGE_CODE:
        return [f"language {language!r}: give the code {TO_LANGUAGE_CODE[language.lower()]!r}."]
    near = difflib.get_close_matches(language.lower(), [*LANGUAGES, *TO_LANGUAGE_CODE], n=1)
    hint = f" Did you mean {TO_LANGUAGE_CODE.get(near[0], near[0])!r}?" if near else ""
    return [
        f"language {language!r}: Whisper has no such language.{hint} Expected a code such as it, en or fa."
    ]


class _StrictParser(argparse.ArgumentParser):
    """Raises instead of exiting, so that the caller can say which file or word was wrong."""

    def error(self, message: str) -> typing.NoReturn:
        raise UserError(message)


def parse_arguments(
    kind: type[Arguments], argv: list[str] | None = None, description: str | None = None
) -> Arguments:
    """Read `--config RECIPE.yaml` and the command line into a checked `kind`.

    Args:
        kind: One of the dataclasses above.
        argv: Command-line words without the program's name; `sys.argv[1:]` when not given.
        description: Shown by `--help`; the calling script's docstring.

    Raises:
        UserError: An unknown key or option, a value of the wrong type, a missing value, or values that
            contradict each other. All contradictions are reported at once.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    parser = _build_parser(kind, description)
    config, words = _take_config(words)
    recipe_words = [] if config is None else _recipe_as_words(Path(config), parser, kind)
    arguments, unknown = _parse_known(parser, recipe_words + words, kind)
    if unknown:
        raise UserError(_unknown_message("the command line", unknown[0].split("=")[0], kind))
    problems = arguments.problems()
    if problems:
        raise UserError("\n       ".join(problems))
    return arguments


def _build_parser(kind: type[ScriptArguments], description: str | None) -> argparse.ArgumentParser:
    from transformers.hf_argparser import HfArgumentParser

    class Parser(HfArgumentParser, _StrictParser):
        error = _StrictParser.error

    parser = Parser(
        kind,  # type: ignore[arg-type]
        description=description,
        allow_abbrev=False,
        formatter_class=type(
            "Formatter", (argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter), {}
        ),
    )
    parser.add_argument(
        "--config",
        metavar="RECIPE.yaml",
        help="Recipe that fills these arguments; the command line overrides it.",
    )
    return parser


def _take_config(words: list[str]) -> tuple[str | None, list[str]]:
    """Split `--config FILE` off the other words."""
    finder = _StrictParser(add_help=False, allow_abbrev=False)
    finder.add_argument("--config")
    namespace, rest = finder.parse_known_args(words)
    return namespace.config, rest


def _parse_known(
    parser: argparse.ArgumentParser, words: list[str], kind: type[Arguments]
) -> tuple[Arguments, list[str]]:
    namespace, unknown = parser.parse_known_args(words)
    values = {f.name: getattr(namespace, f.name) for f in dataclasses.fields(kind)}
    return kind(**values), unknown


def _recipe_as_words(path: Path, parser: argparse.ArgumentParser, kind: type[ScriptArguments]) -> list[str]:
    """Turn a recipe's keys into command-line words after checking each key's name and type."""
    types_of = typing.get_type_hints(kind)
    words: list[str] = []
    for key, value in _read_recipe(path).items():
        if key not in types_of:
            raise UserError(_unknown_message(str(path), key, kind))
        if not _has_type(value, types_of[key]):
            raise UserError(
                f"{path}: {key}: found {value!r}, expected {_type_name(types_of[key])}.{_number_hint(value)}"
            )
        if value is not None:
            words += [f"--{key}", *(_as_words(value))]
    return words


def _read_recipe(path: Path) -> dict[str, object]:
    try:
        recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such recipe. The recipes are listed in recipes/README.md.") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path}: not readable as YAML: {error}") from None
    if recipe is None:
        return {}
    if not isinstance(recipe, dict):
        raise UserError(f"{path}: found a {type(recipe).__name__}, expected `key: value` lines.")
    return {str(key): value for key, value in recipe.items()}


def _unknown_message(where: str, key: str, kind: type[ScriptArguments]) -> str:
    names = [f.name for f in dataclasses.fields(kind)]
    near = difflib.get_close_matches(key.lstrip("-").replace("-", "_"), names, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else " --help lists every argument."
    return f"{where}: unknown argument {key!r}.{hint}"


def _has_type(value: object, expected: object) -> bool:
    """Whether a YAML value is of an annotated type; an int passes for a float, a bool for bool alone."""
    origin = typing.get_origin(expected)
    if origin in (types.UnionType, typing.Union):
        return any(_has_type(value, option) for option in typing.get_args(expected))
    if origin is Literal:
        return value in typing.get_args(expected)
    if origin is list:
        return isinstance(value, list) and all(
            _has_type(item, typing.get_args(expected)[0]) for item in value
        )
    if expected is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if expected is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, expected)  # type: ignore[arg-type]


def _type_name(expected: object) -> str:
    origin = typing.get_origin(expected)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(_type_name(option) for option in typing.get_args(expected))
    if origin is Literal:
        return "one of " + ", ".join(map(str, typing.get_args(expected)))
    if origin is list:
        return f"a list of {_type_name(typing.get_args(expected)[0])}"
    names = {
        str: "text",
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        type(None): "nothing",
    }
    return names.get(expected, str(expected))  # type: ignore[call-overload]


def _number_hint(value: object) -> str:
    """YAML 1.1 reads 1e-5 as text; say so."""
    try:
        float(str(value))
    except ValueError:
        return ""
    return (
        f" YAML reads {value} as text: write it with a decimal point, 1.0e-5."
        if isinstance(value, str)
        else ""
    )


def _as_words(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else [str(value)]


def arguments_as_yaml(arguments: ScriptArguments) -> str:
    """The resolved arguments as the YAML that would give them again."""
    return yaml.safe_dump(dataclasses.asdict(arguments), sort_keys=False, allow_unicode=True)


def differing_arguments(
    arguments: ScriptArguments, path: Path, *, ignored: tuple[str, ...] = ("output_dir",)
) -> list[str]:
    """Compare resolved arguments with those an earlier run wrote beside its result.

    Args:
        arguments: Those of this run.
        path: YAML written by `arguments_as_yaml`. An argument it lacks (it is from an older version)
            counts as having had its default.
        ignored: Arguments that do not change the result, such as the folder's own name.

    Returns:
        A sentence for each argument that differs: `language: it there, en now`. Empty when all are equal.

    Raises:
        UserError: The file is missing or is no YAML of arguments.
    """
    if not path.is_file():
        raise UserError(f"{path}: missing, so nobody can tell which arguments the result beside it had.")
    earlier = _read_recipe(path)
    found = []
    for field_ in dataclasses.fields(arguments):
        if field_.name in ignored:
            continue
        now = getattr(arguments, field_.name)
        there = earlier.get(field_.name, _default_of(field_))
        if there != now:
            found.append(f"{field_.name}: {_shown(there)} there, {_shown(now)} now")
    return found


def _default_of(field_: dataclasses.Field) -> object:
    if field_.default_factory is not dataclasses.MISSING:
        return field_.default_factory()
    return None if field_.default is dataclasses.MISSING else field_.default


def _shown(value: object) -> str:
    return "none" if value is None else str(value)
