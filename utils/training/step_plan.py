"""How large a step is, in which order steps come, and how micro-batches are cut."""

from collections.abc import Callable
from functools import partial

from accelerate import Accelerator

from utils.arguments.train import TrainArguments
from utils.data.length_batches import StepSize
from utils.model.loading import LoadedModel
from utils.model.silence import seconds_of_work
from utils.runtime.devices import default_micro_batch_seconds
from utils.training.clip_rows import DrawOptions, TrainingClip
from utils.training.clips import TrainingClips
from utils.training.fixed_contexts import draw_in_contexts, fixed_contexts
from utils.training.fixed_encoder import encoder_is_fixed
from utils.training.steps import StepPlan


def fix_contexts(
    args: TrainArguments,
    accelerator: Accelerator,
    loaded: LoadedModel,
    clips: list[TrainingClip],
    options: DrawOptions,
) -> list[float] | None:
    """One context for each clip where the encoder would give the same for it in every epoch; else None."""
    is_varied = args.apply_spec_augment or not options.is_the_same_every_epoch
    if is_varied or not encoder_is_fixed(loaded.model):
        return None
    return fixed_contexts(
        [clip.duration for clip in clips],
        step_size(args, accelerator),
        audio_context=args.audio_context,
        jitter=args.context_jitter,
        seed=args.seed,
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


def plan_steps(
    args: TrainArguments, accelerator: Accelerator, clips: TrainingClips, contexts: list[float] | None
) -> StepPlan:
    """The steps of the run, in contexts of their own or in those that are fixed for each clip."""
    return StepPlan(
        clips.draw if contexts is None else partial(draw_in_contexts, clips.draw, contexts),
        step_size(args, accelerator),
        audio_context=args.audio_context,
        jitter=args.context_jitter,
        seed=args.seed,
    )


def limit_micro_batches(args: TrainArguments, accelerator: Accelerator) -> Callable[[float], int]:
    """From an audio context to the most clips of a micro-batch, by the seconds that the encoder works on."""
    default = default_micro_batch_seconds(accelerator.device, lean=args.memory == "low")
    most = min(args.micro_batch_seconds or default, 1 << 30)
    return lambda context: int(most / seconds_of_work(context, silence_run(args)))
