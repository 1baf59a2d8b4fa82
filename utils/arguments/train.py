"""Arguments of train.py."""

import dataclasses
import importlib.util
import re
from dataclasses import dataclass
from typing import Literal

from utils.arguments.fields import ScriptArguments, argument, at_least, language_problems
from utils.runtime.resolved_arguments import default_of

TRACKERS = {  # by import name: what to install
    "tensorboard": "tensorboard==2.21.0",
    "trackio": "trackio==0.43.0",
    "wandb": "wandb",
    "mlflow": "mlflow",
}


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
        "Where memory runs out in a step, halve the micro-batch, do the step again and go on so; on a CPU, "
        "where running out ends the process, try the largest step before training. Same result.",
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
        "Estimate steps, memory, time and disk from a few measured steps, write nothing, and stop.",
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
        defaults = {field_.name: default_of(field_) for field_ in dataclasses.fields(self)}
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
