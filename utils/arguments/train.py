"""The arguments of train.py, in groups.

Those of audio and adapters are in utils/audio and utils/model.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from utils.arguments.during_training import MemoryFlags, SavingFlags, ValidationFlags
from utils.arguments.fields import ScriptArguments, language_problems, term_list_problems, tracker_problems
from utils.arguments.model_hub import TrainingHubFlags
from utils.audio.augmentation_options import Augmentation, NonSpeech, SpecAugment
from utils.model.adapter_options import AdapterOptions
from utils.runtime.flags import argument, share


@dataclass(frozen=True, kw_only=True)
class ModelFlags:
    """The model, and the weights to train."""

    group_name: ClassVar = "what is trained"

    model_name_or_path: str = argument(
        "Model to start from: a Hub id or a folder. It may be an adapter or a faster-whisper model."
    )
    task: Literal["transcribe", "translate"] = argument(
        "Write the spoken words, or their English translation.", default="transcribe"
    )
    freeze_encoder: bool = argument("Do not train the encoder.", default=False)
    freeze_feature_encoder: bool = argument(
        "Do not train the encoder's two convolutions.", default=False, advanced=True
    )
    freeze_encoder_layers: int = argument(
        "Freeze this number of the lowest encoder layers, and the convolutions.",
        default=0,
        advanced=True,
        at_least=0,
    )
    add_language: str | None = argument(
        "Add a token for a language that Whisper does not know. Give its code, such as fur.",
        default=None,
        advanced=True,
    )
    init_language_from: str | None = argument(
        "Copy the embedding of the new token from this language. Not given: the mean of all.",
        default=None,
        advanced=True,
    )


@dataclass(frozen=True, kw_only=True)
class DataFlags:
    """The training clips, and the model's inputs and labels for them."""

    group_name: ClassVar = "data"

    dataset: list[str] = argument("Folders that preprocess.py wrote.")
    language: str = argument("Language of clips whose row has none. auto: all rows have one.", default="auto")
    dataset_passes: list[float] | None = argument(
        "Passes over each dataset in one epoch. 1 0.1: all of the first, and a new tenth of the second.",
        default=None,
        advanced=True,
        above=0,
    )
    max_train_samples: int | None = argument(
        "Train on at most this number of clips, drawn at random.", default=None, at_least=1
    )
    merge_validation: bool = argument(
        "Train on the validation split too, to compare with published results.", default=False, advanced=True
    )
    do_lower_case: bool = argument("Train and validate on lower-case texts.", default=False, advanced=True)
    timestamp_probability: float = argument(
        "Share of examples with timestamps.", default=0.0, at_least=0, at_most=1
    )
    condition_on_prev_probability: float = share(
        "Share of the examples that get the previous text of their recording as a prompt.",
        advanced=True,
    )
    prompt_terms_file: str | None = argument(
        "List of names and terms, one on each line. On half of the examples, those that are said are a "
        "prompt, with others as decoys.",
        default=None,
        advanced=True,
    )
    stitch_probability: float = share(
        "Share of the examples that are joined with the next clips of their speaker, up to 30 s.",
        advanced=True,
    )
    dataloader_num_workers: int | None = argument(
        "Worker processes that decode audio. Not given: none on a CPU, four with a GPU.",
        default=None,
        advanced=True,
        at_least=0,
    )

    def problems(self) -> list[str]:
        return term_list_problems(self.prompt_terms_file)


@dataclass(frozen=True, kw_only=True)
class StepFlags:
    """The number of steps, and their size."""

    group_name: ClassVar = "steps"

    num_train_epochs: float = argument("Passes over the training data.", default=3.0)
    max_steps: int = argument("Steps. Above 0, this overrides num_train_epochs.", default=-1)
    max_hours: float | None = argument(
        "End within this number of hours, with fewer steps if necessary. All sessions of a run count.",
        default=None,
        advanced=True,
        above=0,
    )
    per_device_train_batch_size: int = argument("Number of clips in a micro-batch.", default=8, at_least=1)
    gradient_accumulation_steps: int = argument("Micro-batches in one optimiser step.", default=1, at_least=1)
    batch_audio_seconds: float | None = argument(
        "Fill each micro-batch up to this number of seconds, not to a number of clips.",
        default=None,
        advanced=True,
        above=0,
    )
    torch_compile: bool = argument(
        "Compile the layers, which takes a minute at each start.", default=False, advanced=True
    )


@dataclass(frozen=True, kw_only=True)
class OptimizerFlags:
    """AdamW and its learning rate."""

    group_name: ClassVar = "optimiser"

    learning_rate: float = argument("Highest learning rate.", default=1e-5, at_least=0)
    lr_scheduler_type: Literal["linear", "cosine", "constant_with_warmup"] = argument(
        "Schedule after the warm-up.", default="linear"
    )
    warmup_steps: float = argument("Warm-up steps. Below 1: share of all steps.", default=0.1, at_least=0)
    weight_decay: float = argument(
        "Weight decay of all weights except biases and norms.", default=0.0, at_least=0
    )
    max_grad_norm: float = argument(
        "Clip the gradient to this norm. 0: do not clip.", default=1.0, advanced=True, at_least=0
    )
    optim: Literal["adamw_torch_fused", "adamw_torch", "adamw_bnb_8bit"] = argument(
        "AdamW: fused (the fastest), plain, or with its state in 8 bits (a quarter of the memory).",
        default="adamw_torch_fused",
        advanced=True,
    )
    adam_beta1: float = argument("AdamW's beta1.", default=0.9, advanced=True, at_least=0, below=1)
    adam_beta2: float = argument("AdamW's beta2.", default=0.999, advanced=True, at_least=0, below=1)
    adam_epsilon: float = argument("AdamW's epsilon.", default=1e-8, advanced=True, above=0)


@dataclass(frozen=True, kw_only=True)
class ContextFlags:
    """The length of the encoder input."""

    group_name: ClassVar = "audio context"

    audio_context: Literal["dynamic", "full"] = argument(
        "Encoder input: as long as the clips (fast), or always 30 s.", default="dynamic"
    )
    silence_run: int = argument(
        "With dynamic: after 1 s of silence, one position represents this many silent ones. 0: no silence.",
        default=128,
        advanced=True,
        at_least=0,
        at_most=1500,
    )
    context_jitter: list[float] = argument(
        "With dynamic: seconds of silence to add. Each step takes one of these at random.",
        default=[0.0],
        advanced=True,
        at_least=0,
        at_most=30,
    )


@dataclass(frozen=True, kw_only=True)
class TrainArguments(
    TrainingHubFlags, MemoryFlags, SavingFlags, ValidationFlags, NonSpeech, SpecAugment, Augmentation,
    AdapterOptions, ContextFlags, OptimizerFlags, StepFlags, DataFlags, ModelFlags, ScriptArguments,
):  # fmt: skip
    """The arguments of train.py. Accelerate's configuration sets precision, processes, DeepSpeed and FSDP."""

    def problems(self) -> list[str]:
        found = []
        for name, values in (("dataset_passes", self.dataset_passes), ("dataset_tags", self.dataset_tags)):
            if values and len(values) != len(self.dataset):
                found.append(f"{name} {values}: expected {len(self.dataset)}, one for each dataset.")
        if self.max_steps < 1 and self.num_train_epochs <= 0:
            found.append("max_steps, num_train_epochs: expected at least one of them above 0.")
        frozen = [name for name in vars(self) if name.startswith("freeze_") and getattr(self, name)]
        if self.use_peft and frozen:
            found.append(f"{', '.join(frozen)}: not allowed with use_peft, which freezes all weights.")
        if self.average_checkpoints == 1:
            found.append("average_checkpoints 1: expected 0, or at least 2.")
        for name in ("early_stopping_patience", "average_checkpoints"):
            if getattr(self, name) and self.eval_steps == 0:
                found.append(f"{name} needs evaluations. Set --eval_steps above 0.")
        if self.max_hours is not None and self.use_peft and self.peft_type == "adalora":
            found.append("max_hours: not with adalora, which must know the number of steps at the start.")
        if self.mirror_dir is not None and _is_inside(self.mirror_dir, self.output_dir):
            found.append(f"mirror_dir {self.mirror_dir}: expected a folder outside of output_dir.")
        validates = self.eval_steps or self.eval_on_start or self.interpolation_alphas
        if self.merge_validation and self.eval_split == "validation" and validates:
            found.append(
                "merge_validation: clips of the training cannot choose the best model. "
                "Add --eval_split test, or --eval_steps 0."
            )
        if self.guard_datasets and not self.interpolation_alphas:
            found.append("guard_datasets needs interpolation_alphas, such as 0.25 0.5 0.75 1.")
        if self.interpolation_alphas and self.add_language is not None:
            found.append("interpolation_alphas: not with add_language; the base model lacks the new token.")
        found += self._new_language_problems() + tracker_problems(self.report_to)
        if self.language == self.add_language:
            return found
        return found + language_problems(self.language, self.model_name_or_path)

    def _new_language_problems(self) -> list[str]:
        found, code = [], self.add_language
        if code is not None and not re.fullmatch("[a-z]{2,3}(-[a-z0-9]{2,8})?", code):
            found.append(f"add_language {code!r}: expected a code of lower-case letters, such as fur.")
        elif code not in (None, self.language):
            found.append(f"add_language {code}, language {self.language}: expected the same code.")
        if self.init_language_from is not None and code is None:
            found.append("init_language_from needs add_language.")
        if self.model_name_or_path.endswith(".en"):
            language = self.language if self.language not in ("auto", "en") else None
            for asked in (language, code, "translate" if self.task == "translate" else None):
                if asked is not None:
                    only = f"{self.model_name_or_path} only transcribes English"
                    found.append(f"{asked}: {only}. Use the model without .en.")
        return found


def _is_inside(folder: str, parent: str) -> bool:
    return Path(folder).resolve().is_relative_to(Path(parent).resolve())
