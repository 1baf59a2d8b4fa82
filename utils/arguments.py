"""Every script's arguments: one frozen dataclass each, filled by a recipe and overridden by the command line.

Both ways lead through the same parser: a recipe's keys are turned into command-line words and checked one by
one, so that a wrong type or an unknown key in a file gives an error that names the file, the key and the
nearest match.
"""

import argparse
import dataclasses
import difflib
import importlib.util
import json
import re
import sys
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

import yaml

from utils.errors import UserError

Arguments = TypeVar("Arguments", bound="ScriptArguments")

TRACKERS = {  # by import name: what to install
    "tensorboard": "tensorboard==2.21.0",
    "trackio": "trackio==0.43.0",
    "wandb": "wandb",
    "mlflow": "mlflow",
}


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
        "Language of rows that do not carry their own; with auto each needs one.", default="auto"
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
        "Seconds that the encoder works on in a micro-batch, instead of a number of clips.", default=None
    )
    batch_label_tokens: int | None = argument(
        "With batch_audio_seconds: most label tokens of a micro-batch, padding counted.", default=None
    )
    micro_batch_seconds: float | None = argument(
        "A micro-batch on which the encoder works for more seconds is cut up: less memory, same result; "
        "not given: 64 on a CPU, no limit elsewhere; with memory low 30 and 120.",
        default=None,
    )
    auto_find_batch_size: bool = argument(
        "Measure before training how many clips of each length fit into memory, and cut micro-batches to "
        "that instead; same result.",
        default=False,
    )
    memory: Literal["fast", "low"] = argument(
        "low: smaller micro-batches, freed memory given back at once, the vocabulary's logits in chunks; "
        "same result, somewhat slower.",
        default="fast",
    )
    gradient_accumulation_steps: int = argument("Micro-batches to one optimiser step.", default=1)
    learning_rate: float = argument("Peak learning rate.", default=1e-5)
    lr_scheduler_type: Literal["linear", "cosine", "constant_with_warmup"] = argument(
        "Shape of the schedule after the warm-up.", default="linear"
    )
    warmup_steps: float = argument("Warm-up steps; below 1 it is a share of all steps.", default=0.1)
    weight_decay: float = argument(
        "Decoupled weight decay of AdamW, on all but biases and norms.", default=0.0
    )
    max_grad_norm: float = argument("Gradient norm is clipped to this; 0: not at all.", default=1.0)
    gradient_checkpointing: bool = argument("Recompute activations to save memory.", default=False)
    torch_compile: bool = argument(
        "Compile the layers; takes a minute or more at the start of every run, and a C++ compiler on a CPU.",
        default=False,
    )

    audio_context: Literal["dynamic", "full"] = argument(
        "Encoder input: as long as the clips of the step, or always 30 s.", default="dynamic"
    )
    silence_run: int = argument(
        "Of the silence up to 30 s, after its first second, one position stands for so many; 0 leaves it all "
        "out, for runtimes that can shorten the audio context and nothing else.",
        default=128,
    )
    context_jitter: list[float] = argument(
        "Extra silence of a step in seconds, drawn with equal chance from this list.", default=[0.0]
    )

    freeze_encoder: bool = argument("Leave the encoder as it is.", default=False)
    freeze_feature_encoder: bool = argument(
        "Leave the encoder's two convolutions as they are.", default=False
    )
    freeze_encoder_layers: int = argument(
        "Leave so many of the encoder's lowest layers as they are, and the convolutions.", default=0
    )
    freeze_embeddings: bool = argument(
        "Leave token embedding, output projection and decoder positions as they are.", default=False
    )
    use_peft: bool = argument("Train an adapter beside the weights instead of all weights.", default=False)
    peft_type: Literal["lora", "adalora"] = argument(
        "Kind of adapter; adalora spends the ranks on the modules where they matter most.", default="lora"
    )
    lora_r: int = argument("Rank of the LoRA matrices; with adalora the mean rank at the end.", default=16)
    lora_alpha: int = argument("Scale of the LoRA matrices.", default=32)
    lora_dropout: float = argument("Dropout before the LoRA matrices.", default=0.05)
    lora_target_modules: list[str] = argument(
        "Linear layers that get LoRA matrices: names, regular expressions over whole dotted names, or "
        "all-linear alone.",
        default=["q_proj", "v_proj"],
    )
    init_r: int | None = argument(
        "Rank at the start with adalora; not given: half as much again as lora_r.", default=None
    )
    use_rslora: bool = argument("Scale LoRA by alpha over the root of the rank.", default=False)
    use_dora: bool = argument("LoRA for direction and magnitude apart (DoRA).", default=False)
    load_in_8bit: bool = argument("Keep the weights beside an adapter in 8 bits.", default=False)
    load_in_4bit: bool = argument("Keep the weights beside an adapter in 4 bits (QLoRA).", default=False)
    bnb_4bit_quant_type: Literal["nf4", "fp4"] = argument("Which 4 bits.", default="nf4")
    bnb_4bit_use_double_quant: bool = argument("Quantise the scales of 4-bit weights too.", default=True)
    add_language: str | None = argument(
        "Code of a language Whisper has no token for: it gets one.", default=None
    )
    init_language_from: str | None = argument(
        "Language whose token the new one starts from; not given: the mean of all.", default=None
    )
    task: Literal["transcribe", "translate"] = argument(
        "What the texts are: what is said, or its translation into English.", default="transcribe"
    )
    do_lower_case: bool = argument("Learn all texts in lower case, and validate against such.", default=False)
    optim: Literal["adamw_torch_fused", "adamw_torch", "adamw_bnb_8bit"] = argument(
        "AdamW of PyTorch, in one kernel or several, or with moments in 8 bits.", default="adamw_torch_fused"
    )
    adam_beta1: float = argument("Decay of AdamW's first moment.", default=0.9)
    adam_beta2: float = argument("Decay of AdamW's second moment.", default=0.999)
    adam_epsilon: float = argument("Added to AdamW's denominator.", default=1e-8)

    timestamp_probability: float = argument("Share of examples whose times are learnt too.", default=0.0)
    condition_on_prev_probability: float = argument(
        "Share of examples that are given the text before them: previous_text, else the clips before in the "
        "recording, of one speaker where speakers are known.",
        default=0.0,
    )
    stitch_probability: float = argument(
        "Share of examples that are joined with those after them in the dataset, of one speaker where "
        "speakers are known, up to 30 s.",
        default=0.0,
    )
    speed_factors: list[float] = argument("Speeds drawn with equal chance.", default=[1.0])
    reverb_probability: float = argument("Share of clips put into a room.", default=0.0)
    reverb_dir: str | None = argument(
        "Folder of impulse responses; not given: rooms are generated.", default=None
    )
    reverb_rt60: list[float] = argument(
        "Range of a generated room's reverberation time in seconds.", default=[0.15, 0.7]
    )
    noise_probability: float = argument("Share of clips with noise.", default=0.0)
    noise_dir: str | None = argument("Folder of noises; not given: noise is generated.", default=None)
    noise_snr_db: list[float] = argument("Range of speech over noise in dB.", default=[5.0, 30.0])
    gain_probability: float = argument("Share of clips made louder or softer.", default=0.0)
    gain_db: list[float] = argument("Range of the change of loudness in dB.", default=[-15.0, 6.0])
    codec_probability: float = argument("Share of clips sent through a codec or telephone.", default=0.0)
    codecs: list[str] = argument(
        "Codecs drawn with equal chance.",
        default=["telephone", "alaw", "ulaw", "gsm", "amr", "opus", "mp3"],
    )
    non_speech_share: float = argument(
        "Windows of noise and silence with an empty text beside the clips, as a share of these, against "
        "words made up where nobody speaks.",
        default=0.0,
    )
    non_speech_dir: str | None = argument(
        "Folder of recordings without speech for half of these windows; not given: all are generated.",
        default=None,
    )
    apply_spec_augment: bool = argument("Mask parts of the spectrogram.", default=False)
    mask_time_prob: float = argument("Share of the frames that are masked.", default=0.05)
    mask_time_length: int = argument("Frames of a mask.", default=10)
    mask_time_min_masks: int = argument("Fewest masks over time.", default=2)
    mask_feature_prob: float = argument("Share of the mel bands that are masked.", default=0.0)
    mask_feature_length: int = argument("Mel bands of a mask.", default=10)
    mask_feature_min_masks: int = argument("Fewest masks over mel bands.", default=0)

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
    generation_max_length: int = argument("Most tokens of a hypothesis, prompt included.", default=448)
    normalizer: Literal["basic", "english", "script-safe"] = argument(
        "Text normaliser for normalised WER: Whisper's two, or one that keeps vowel signs.", default="basic"
    )

    dry_run: bool = argument(
        "Check the labels, estimate steps, memory, time and disk from a few measured steps, write nothing, "
        "and stop.",
        default=False,
    )
    save_steps: int = argument("Steps between checkpoints; 0: never.", default=100)
    save_total_limit: int = argument("Checkpoints kept; the oldest go first.", default=2)
    resume_from_checkpoint: str | None = argument(
        "latest, or a checkpoint folder: go on from there even if other arguments changed; the same command "
        "again goes on from what it has saved since.",
        default=None,
    )
    logging_steps: int = argument("Steps between lines of metrics.jsonl.", default=10)
    max_skipped_steps: int = argument(
        "Stop after so many steps in a row whose loss or gradient is not finite; their updates are left out.",
        default=5,
    )
    dataloader_num_workers: int | None = argument(
        "Worker processes that decode audio; not given: none on a CPU, four beside a GPU.", default=None
    )

    metric_for_best_model: Literal["normalized_wer", "raw_wer", "normalized_cer", "raw_cer"] = argument(
        "Validation metric, lower is better, that chooses best/ and ends training.", default="normalized_wer"
    )
    eval_on_start: bool = argument("Evaluate once before the first step.", default=False)
    early_stopping_patience: int | None = argument(
        "Stop after so many evaluations in a row without a better metric; not given: never.", default=None
    )
    early_stopping_threshold: float = argument(
        "How much lower the metric must be to count as better for that.", default=0.0
    )
    samples_shown: int = argument(
        "Transcripts shown at each evaluation, drawn by the seed, and the worst besides; 0: none.", default=3
    )
    report_to: list[str] = argument(
        "Trackers besides metrics.jsonl: tensorboard, trackio, wandb, mlflow; or none.",
        default=["tensorboard"],
    )
    project: str = argument("Name of the project in the trackers.", default="whisper-finetuning")

    average_checkpoints: int = argument(
        "After training average the weights of the best so many evaluations, for best/ if that is better; "
        "0: do not.",
        default=0,
    )
    interpolation_alphas: list[float] = argument(
        "After training mix base and tuned weights in these shares of the tuned ones, such as 0.25 0.5 0.75 "
        "1, and save the best mixture as interpolated/.",
        default=[],
    )
    guard_datasets: list[str] = argument(
        "Prepared datasets, of other languages say, on which a mixture may not be worse than the base model.",
        default=[],
    )
    guard_tolerance: float = argument("By how much it may be, as a fraction.", default=0.01)
    max_guard_samples: int | None = argument(
        "Decode at most so many utterances of each, drawn by the seed.", default=200
    )

    def problems(self) -> list[str]:
        found = self._number_problems() + self._example_problems()
        for name in ("micro_batch_seconds", "batch_audio_seconds", "batch_label_tokens"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                found.append(f"{name} {value}: expected a number above 0.")
        if self.auto_find_batch_size and self.micro_batch_seconds is not None:
            found.append("auto_find_batch_size and micro_batch_seconds: expected one of them.")
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
        if not 0 <= self.silence_run <= 1500:
            found.append(f"silence_run {self.silence_run}: expected a whole number from 0 to 1500.")
        found += self._adapter_problems() + self._optimizer_problems() + self._new_language_problems()
        found += self._ending_problems()
        if self.language == self.add_language:
            return found
        return found + language_problems(self.language, self.model_name_or_path)

    def _example_problems(self) -> list[str]:
        """What is wrong with the values that draw, change and mask examples; of audio, the folders alone."""
        found = at_least(self, 1, "mask_time_length", "mask_feature_length")
        found += at_least(self, 0, "mask_time_min_masks", "mask_feature_min_masks")
        shares = ["timestamp_probability", "condition_on_prev_probability", "stitch_probability"]
        for name in (*shares, "non_speech_share", "mask_time_prob", "mask_feature_prob"):
            if not 0 <= getattr(self, name) <= 1:
                found.append(f"{name} {getattr(self, name)}: expected a share from 0 to 1.")
        folders = {
            "non_speech_dir": "non_speech_share",
            "noise_dir": "noise_probability",
            "reverb_dir": "reverb_probability",
        }
        for folder, share in folders.items():
            if getattr(self, folder) is not None and not getattr(self, share):
                found.append(f"{folder} goes with {share}, which is 0.")
        return found

    def _adapter_problems(self) -> list[str]:
        found = at_least(self, 0, "freeze_encoder_layers")
        frozen = [field_.name for field_ in dataclasses.fields(self) if field_.name.startswith("freeze_")]
        frozen = [name for name in frozen if getattr(self, name)]
        if self.use_peft and frozen:
            found.append(f"{', '.join(frozen)} with use_peft: an adapter leaves all weights as they are.")
        asked = [
            name for name in ("use_rslora", "use_dora", "load_in_8bit", "load_in_4bit") if getattr(self, name)
        ]
        asked += ["peft_type adalora"] if self.peft_type == "adalora" else []
        asked += self._changed("lora_r", "lora_alpha", "lora_dropout", "lora_target_modules")
        if asked and not self.use_peft:
            found.append(f"{', '.join(asked)} without use_peft: these are for adapters.")
        four_bits = self._changed("bnb_4bit_quant_type", "bnb_4bit_use_double_quant")
        if four_bits and not self.load_in_4bit:
            found.append(f"{', '.join(four_bits)} without load_in_4bit: these are for 4 bits.")
        if self.load_in_8bit and self.load_in_4bit:
            found.append("load_in_8bit and load_in_4bit: expected one of them.")
        if self.peft_type == "adalora" and (self.use_dora or self.use_rslora):
            found.append("use_dora, use_rslora: these are variants of lora, not of adalora.")
        if self.init_r is not None and self.peft_type != "adalora":
            found.append("init_r: of adalora alone; the rank of lora is lora_r.")
        elif self.init_r is not None and self.init_r <= self.lora_r:
            found.append(
                f"init_r {self.init_r}: expected more than lora_r {self.lora_r}, what is left of it."
            )
        return found

    def _changed(self, *names: str) -> list[str]:
        """Those of the named arguments that do not have their default."""
        defaults = {field_.name: _default_of(field_) for field_ in dataclasses.fields(self)}
        return [name for name in names if getattr(self, name) != defaults[name]]

    def _optimizer_problems(self) -> list[str]:
        found = [
            f"{name} {getattr(self, name)}: expected a number from 0 and below 1."
            for name in ("adam_beta1", "adam_beta2")
            if not 0 <= getattr(self, name) < 1
        ]
        if self.adam_epsilon <= 0:
            found.append(f"adam_epsilon {self.adam_epsilon}: expected a number above 0.")
        return found

    def _new_language_problems(self) -> list[str]:
        found = []
        if self.add_language is not None and not re.fullmatch(
            "[a-z]{2,3}(-[a-z0-9]{2,8})?", self.add_language
        ):
            found.append(
                f"add_language {self.add_language!r}: expected a code of lower-case letters, such as fur."
            )
        elif self.add_language not in (None, self.language):
            found.append(
                f"add_language {self.add_language} with language {self.language}: expected the same."
            )
        if self.init_language_from is not None and self.add_language is None:
            found.append("init_language_from without add_language: there is no new token to start.")
        if self.add_language is not None and self.freeze_embeddings:
            found.append("add_language with freeze_embeddings: the new token would never be learnt.")
        if self.model_name_or_path.endswith(".en"):
            others = self.language if self.language not in ("auto", "en") else None
            wanted = [others, self.add_language, "translate" if self.task == "translate" else None]
            found += [
                f"{word}: {self.model_name_or_path} transcribes English alone. Take the model without .en."
                for word in wanted
                if word is not None
            ]
        return found

    def _number_problems(self) -> list[str]:
        """Numbers that are too low, or too high."""
        ones = ["per_device_train_batch_size", "gradient_accumulation_steps", "lora_r", "save_total_limit"]
        ones += ["per_device_eval_batch_size", "logging_steps", "generation_max_length", "max_skipped_steps"]
        ones += ["max_train_samples", "max_eval_samples", "max_guard_samples"]
        zeros = ["eval_steps", "save_steps", "warmup_steps", "weight_decay", "learning_rate", "max_grad_norm"]
        zeros += ["lora_dropout", "dataloader_num_workers"]
        found = at_least(self, 1, *ones) + at_least(self, 0, *zeros)
        if self.lora_dropout >= 1:
            found.append(f"lora_dropout {self.lora_dropout}: expected less than 1.")
        return found

    def _ending_problems(self) -> list[str]:
        """What is wrong with the values that evaluate, stop, report and make more of the finished weights."""
        found = at_least(self, 0, "early_stopping_threshold", "samples_shown", "guard_tolerance")
        found += at_least(self, 1, "early_stopping_patience")
        if self.average_checkpoints < 0 or self.average_checkpoints == 1:
            found.append(f"average_checkpoints {self.average_checkpoints}: expected 0, or 2 and more.")
        for name in ("early_stopping_patience", "average_checkpoints"):
            if getattr(self, name) and self.eval_steps == 0:
                found.append(f"{name} needs evaluations: give --eval_steps.")
        wrong = [alpha for alpha in self.interpolation_alphas if not 0 < alpha <= 1]
        if wrong:
            found.append(f"interpolation_alphas {wrong}: expected shares above 0, 1 at most.")
        if self.guard_datasets and not self.interpolation_alphas:
            found.append("guard_datasets guards interpolation_alphas: give some, such as 0.25 0.5 0.75 1.")
        if self.interpolation_alphas and self.add_language is not None:
            found.append("interpolation_alphas with add_language: the base model has no token to mix with.")
        return found + tracker_problems(self.report_to)


@dataclass(frozen=True, kw_only=True)
class EvaluateArguments(ScriptArguments):
    """Arguments of evaluate.py."""

    models: list[str] = argument(
        "One or more models; with several, the first is the baseline of the comparison."
    )
    dataset: list[str] = argument("One or more folders written by preprocess.py.", default=[])
    recordings: list[str] = argument(
        "Manifests (JSONL) of recordings of any length, each scored as a whole.", default=[]
    )
    long_form: Literal["sequential", "chunked"] = argument(
        "How recordings are decoded: window after window by timestamps, or cut at pauses and in batches.",
        default="sequential",
    )
    guard_datasets: list[str] = argument(
        "Folders of other languages or domains, on which a tuned model may not get worse.", default=[]
    )
    guard_tolerance: float = argument(
        "By how much the WER on a guard dataset may rise, as a fraction.", default=0.01
    )
    split: str = argument("Split to score.", default="test")
    language: str = argument(
        "Language of rows that do not carry their own; auto lets the model detect.", default="auto"
    )
    task: Literal["auto", "transcribe", "translate"] = argument(
        "What all models do; auto: what the tuned ones were trained for.", default="auto"
    )
    backend: Literal["transformers", "ctranslate2", "faster-whisper"] = argument(
        "What decodes; ctranslate2 and faster-whisper convert the model first.", default="transformers"
    )
    num_beams: int = argument("Width of the beam, 1 is greedy; more need another backend.", default=1)
    audio_context: Literal["auto", "full", "dynamic"] = argument(
        "Context to decode in; auto: full, and dynamic too where the model was trained on it.", default="auto"
    )
    per_device_eval_batch_size: int = argument("Clips decoded at once.", default=16)
    max_samples: int | None = argument("Score at most so many utterances, drawn by the seed.", default=None)
    generation_max_length: int = argument("Most tokens of a hypothesis, prompt included.", default=448)
    normalizer: Literal["basic", "english", "script-safe"] = argument(
        "Text normaliser for normalised WER: Whisper's two, or one that keeps vowel signs.", default="basic"
    )
    bootstrap_samples: int = argument("Resamplings behind each confidence interval.", default=2000)
    probe_hallucination: bool = argument(
        "Let the models transcribe silence, noise and music as well, in which nobody speaks.", default=True
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16", "int8"] = argument(
        "Precision of the weights; auto: bfloat16 where this machine is fast at it, float16 on older NVIDIA "
        "GPUs, else float32. int8 needs another backend.",
        default="auto",
    )

    def problems(self) -> list[str]:
        ones = ["per_device_eval_batch_size", "generation_max_length", "bootstrap_samples", "num_beams"]
        ones += ["max_samples"] if self.max_samples is not None else []
        found = at_least(self, 1, *ones)
        for name, values in (
            ("models", self.models),
            ("dataset", [*self.dataset, *self.guard_datasets, *self.recordings]),
        ):
            doubles = sorted({value for value in values if values.count(value) > 1})
            if doubles:
                found.append(f"{name}: {', '.join(doubles)} given more than once; each is scored once.")
        return found + self._backend_problems() + language_problems(self.language, *self.models)

    def _backend_problems(self) -> list[str]:
        found = []
        if not self.dataset and not self.recordings:
            found.append("dataset: give one or more prepared folders, or --recordings.")
        if self.backend == "ctranslate2" and self.recordings and self.long_form == "sequential":
            found.append("long_form sequential: ctranslate2 has no timestamps here; use --long_form chunked.")
        others = "use --backend ctranslate2 or faster-whisper"
        if self.backend == "transformers" and self.num_beams > 1:
            found.append(f"num_beams {self.num_beams}: transformers decodes greedily here; {others}.")
        if self.backend == "transformers" and self.dtype == "int8":
            found.append(f"dtype int8: {others}.")
        if self.backend == "faster-whisper" and self.audio_context == "dynamic":
            found.append("audio_context dynamic: faster-whisper knows the full one only.")
        if self.guard_tolerance < 0:
            found.append(f"guard_tolerance {self.guard_tolerance}: expected at least 0.")
        return found


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


def tracker_problems(names: list[str]) -> list[str]:
    """A sentence for every tracker that is not known or not installed."""
    found = []
    for name in names:
        if name not in (*TRACKERS, "none"):
            found.append(f"report_to {name}: expected {', '.join(TRACKERS)} or none.")
        elif name != "none" and importlib.util.find_spec(name) is None:
            found.append(f"report_to {name}: not installed here. Run: pip install {TRACKERS[name]}")
    if "none" in names and len(names) > 1:
        found.append(f"report_to {' '.join(names)}: expected none alone, or trackers.")
    return found


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


def language_problems(language: str, *models: str) -> list[str]:
    """A sentence if Whisper does not know the language by this code; names (italian) count as unknown.

    A language that one of the models, a local folder, was given a token for is known.
    """
    from transformers.models.whisper.tokenization_whisper import LANGUAGES, TO_LANGUAGE_CODE

    if language == "auto" or language in LANGUAGES or any(_has_token(model, language) for model in models):
        return []
    if language.lower() in TO_LANGUAGE_CODE:
        return [f"language {language!r}: give the code {TO_LANGUAGE_CODE[language.lower()]!r}."]
    near = difflib.get_close_matches(language.lower(), [*LANGUAGES, *TO_LANGUAGE_CODE], n=1)
    hint = f" Did you mean {TO_LANGUAGE_CODE.get(near[0], near[0])!r}?" if near else ""
    return [
        f"language {language!r}: Whisper has no such language.{hint} Expected a code such as it, en or fa."
    ]


def _has_token(model: str, language: str) -> bool:
    try:
        config = json.loads((Path(model) / "generation_config.json").read_text(encoding="utf-8"))
        return f"<|{language}|>" in config["lang_to_id"]
    except (OSError, ValueError, KeyError, TypeError):
        return False


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
    problems = at_least(arguments, 0, "seed") + arguments.problems()
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
    defaults = {f.name: _default_of(f) for f in dataclasses.fields(kind)}
    words: list[str] = []
    for key, value in _read_recipe(path).items():
        if key not in types_of:
            raise UserError(_unknown_message(str(path), key, kind))
        if not _has_type(value, types_of[key]):
            raise UserError(f"{path}: {key}: found {value!r}, expected {_type_name(types_of[key])}.")
        if value == [] and defaults[key] != []:
            raise UserError(f"{path}: {key}: found an empty list, expected at least one value.")
        if value is not None and value != []:
            words += [f"--{key}", *(_as_words(value))]
    return words


def _with_exponents(resolvers: dict[str, list[tuple[str, re.Pattern[str]]]]) -> dict[str, list]:
    """PyYAML's rules for plain scalars by first character, and YAML 1.2's: 1e-5 and 1.5e3 are numbers."""
    number = ("tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"))
    return {**resolvers, **{first: [number, *resolvers.get(first, [])] for first in "-+0123456789"}}


class _RecipeLoader(yaml.SafeLoader):
    """Reads 1e-5 and 1.5e3 as the numbers they are in YAML 1.2; in PyYAML's 1.1 they are text."""

    yaml_implicit_resolvers = _with_exponents(yaml.SafeLoader.yaml_implicit_resolvers)


class _RecipeDumper(yaml.SafeDumper):
    """Quotes the texts that `_RecipeLoader` would take for numbers, such as a folder named 12e4."""

    yaml_implicit_resolvers = _with_exponents(yaml.SafeDumper.yaml_implicit_resolvers)


def _read_recipe(path: Path) -> dict[str, object]:
    try:
        recipe = yaml.load(path.read_text(encoding="utf-8"), _RecipeLoader)
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


def _as_words(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else [str(value)]


def arguments_as_yaml(arguments: ScriptArguments) -> str:
    """The resolved arguments as the YAML that would give them again."""
    return yaml.dump(dataclasses.asdict(arguments), Dumper=_RecipeDumper, sort_keys=False, allow_unicode=True)


BEFORE: dict[str, object] = {"silence_run": 0}  # what was done before there were such arguments


def differing_arguments(
    arguments: ScriptArguments, path: Path, *, ignored: tuple[str, ...] = ("output_dir",)
) -> list[str]:
    """Compare resolved arguments with those an earlier run wrote beside its result.

    Args:
        arguments: Those of this run.
        path: YAML written by `arguments_as_yaml`. An argument it lacks (it is from an older version)
            counts as having had its default, or what was done before there was one.
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
        there = earlier.get(field_.name, BEFORE.get(field_.name, _default_of(field_)))
        if there != now:
            found.append(f"{field_.name}: {_shown(there)} there, {_shown(now)} now")
    return found


def _default_of(field_: dataclasses.Field) -> object:
    if field_.default_factory is not dataclasses.MISSING:
        return field_.default_factory()
    return None if field_.default is dataclasses.MISSING else field_.default


def _shown(value: object) -> str:
    return "none" if value is None else str(value)
