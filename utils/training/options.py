"""What the arguments say of clips, steps and micro-batches, as records and numbers."""

import dataclasses
from collections.abc import Callable
from typing import TypeVar

from accelerate import Accelerator

from utils.arguments.train import TrainArguments
from utils.audio.augmentation import Augmentation
from utils.audio.augmentation_checks import check_augmentation
from utils.audio.non_speech import NonSpeech, check_non_speech
from utils.audio.spec_augment import SpecAugment
from utils.data.length_batches import StepSize
from utils.model.silence import seconds_of_work
from utils.runtime.devices import default_micro_batch_seconds

Options = TypeVar("Options")


def choose_augmentation(args: TrainArguments, accelerator: Accelerator) -> Augmentation:
    """What may happen to the audio of a clip, looked at before anything long begins."""
    augmentation = _filled(Augmentation, args)
    if accelerator.is_main_process:
        check_augmentation(augmentation)
    return augmentation


def choose_non_speech(args: TrainArguments, accelerator: Accelerator) -> NonSpeech:
    """How many windows without speech there are beside the clips, their folder looked at."""
    non_speech = NonSpeech(args.non_speech_share, args.non_speech_dir)
    if accelerator.is_main_process:
        check_non_speech(non_speech)
    return non_speech


def choose_spec_augment(args: TrainArguments) -> SpecAugment | None:
    """How spectrograms are masked, if they are."""
    return _filled(SpecAugment, args) if args.apply_spec_augment else None


def _filled(record: type[Options], args: TrainArguments) -> Options:
    """A record whose fields are named as the arguments are."""
    values = {field.name: getattr(args, field.name) for field in dataclasses.fields(record)}  # type: ignore[arg-type]
    return record(
        **{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    )


def silence_run(args: TrainArguments) -> int:
    """Positions of silence that one stands for behind a dynamic context; the full one has all of them."""
    return args.silence_run if args.audio_context == "dynamic" else 0


def step_size(args: TrainArguments, accelerator: Accelerator) -> StepSize:
    """The micro-batch asked for, times accumulation, times processes."""
    micro_batches = args.gradient_accumulation_steps * accelerator.num_processes
    if args.batch_audio_seconds is None:
        return StepSize(clips=args.per_device_train_batch_size * micro_batches, silence_run=silence_run(args))
    tokens = args.batch_label_tokens and args.batch_label_tokens * micro_batches
    seconds = args.batch_audio_seconds * micro_batches
    return StepSize(audio_seconds=seconds, label_tokens=tokens, silence_run=silence_run(args))


def limit_micro_batches(args: TrainArguments, accelerator: Accelerator) -> Callable[[float], int]:
    """From an audio context to the most clips of a micro-batch, by the seconds that the encoder works on."""
    default = default_micro_batch_seconds(accelerator.device, lean=args.memory == "low")
    most = min(args.micro_batch_seconds or default, 1 << 30)
    return lambda context: int(most / seconds_of_work(context, silence_run(args)))


def count_workers(args: TrainArguments, accelerator: Accelerator) -> int:
    """Processes that read audio beside this one."""
    if args.dataloader_num_workers is not None:
        return args.dataloader_num_workers
    return 0 if accelerator.device.type == "cpu" else 4
