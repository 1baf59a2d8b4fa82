"""Turn the arguments into settings for clips, steps and micro-batches."""

from collections.abc import Callable

from accelerate import Accelerator

from utils.arguments.train import TrainArguments
from utils.audio.augmentation_checks import check_sounds
from utils.data.length_batches import StepSize
from utils.model.silence import seconds_of_work
from utils.runtime.devices import default_micro_batch_seconds


def check_augmentation(args: TrainArguments, accelerator: Accelerator) -> None:
    """Check the sounds and codecs for augmentation, on the main process, before any long work."""
    if accelerator.is_main_process:
        codecs = args.codecs if args.codec_probability else ()
        check_sounds((args.noise_dir, args.reverb_dir, args.non_speech_dir), codecs)


def silence_run(args: TrainArguments) -> int:
    """Return how many positions of silence one position represents. 0 for the full context."""
    return args.silence_run if args.audio_context == "dynamic" else 0


def step_size(args: TrainArguments, accelerator: Accelerator) -> StepSize:
    """Return the step size: micro-batch size times accumulation steps times number of processes."""
    micro_batches = args.gradient_accumulation_steps * accelerator.num_processes
    if args.batch_audio_seconds is None:
        return StepSize(clips=args.per_device_train_batch_size * micro_batches, silence_run=silence_run(args))
    return StepSize(audio_seconds=args.batch_audio_seconds * micro_batches, silence_run=silence_run(args))


def limit_micro_batches(args: TrainArguments, accelerator: Accelerator) -> Callable[[float], int]:
    """Return a function from an audio context to the largest number of clips in a micro-batch."""
    default = default_micro_batch_seconds(accelerator.device, lean=args.memory == "low")
    most = min(args.micro_batch_seconds or default, 1 << 30)
    return lambda context: int(most / seconds_of_work(context, silence_run(args)))


def count_workers(args: TrainArguments, accelerator: Accelerator) -> int:
    """Return the number of worker processes that read audio."""
    if args.dataloader_num_workers is not None:
        return args.dataloader_num_workers
    return 0 if accelerator.device.type == "cpu" else 4
