"""What a run starts with: model, data, optimiser and schedule, prepared for the device and the processes."""

from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator, DistributedType
from accelerate.utils import set_seed
from transformers import get_scheduler

from utils.arguments.train import TrainArguments
from utils.model.cross_entropy import CHUNK_TOKENS
from utils.model.kernels.fast_paths import take_fast_paths
from utils.model.kernels.onednn import choose_multiples
from utils.model.loading import LoadedModel
from utils.model.loss import WhisperLoss
from utils.model.whisper import whisper_of
from utils.runtime.allocator import keep_no_freed_memory
from utils.runtime.devices import sum_in_a_fixed_order
from utils.runtime.launch import build_accelerator, loading_whole
from utils.training.checkpoint_weights import register_weights
from utils.training.data import TrainingData, load_data
from utils.training.optimizers import build_optimizer, parameter_groups
from utils.training.step_loading import keep_encoder_states
from utils.training.step_plan import silence_run
from utils.training.trainable_model import load_trainable_model
from utils.training.weight_mixing import check_mixing


@dataclass(frozen=True)
class Setup:
    """What a run starts with."""

    args: TrainArguments
    accelerator: Accelerator
    loaded: LoadedModel
    data: TrainingData
    model: torch.nn.Module  # behind its loss, as Accelerate has prepared it
    optimizer: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LRScheduler
    total_steps: int


def build_setup(args: TrainArguments, accelerator: Accelerator) -> Setup:
    """Load model and data, and prepare them."""
    set_seed(args.seed, device_specific=True)
    if accelerator.device.type == "cpu":
        sum_in_a_fixed_order()
    if args.memory == "low" or args.auto_find_batch_size:
        keep_no_freed_memory()
    with loading_whole(accelerator):
        loaded = load_trainable_model(args, accelerator)
    check_mixing(args, loaded)
    data = load_data(args, loaded, accelerator)
    total_steps = args.max_steps if args.max_steps > 0 else data.plan.count_steps(args.num_train_epochs)
    if not args.dry_run:
        data = keep_encoder_states(args, accelerator, loaded, data, total_steps)
    prepared = prepare_for_training(args, accelerator, loaded, total_steps)
    return Setup(args, accelerator, loaded, data, *prepared, total_steps)


def start_accelerator(args: TrainArguments) -> Accelerator:
    """Accelerate in the launcher's configuration, with the trackers the recipe asks for."""
    return build_accelerator(
        args.per_device_train_batch_size,
        args.max_grad_norm,
        log_with=[name for name in args.report_to if name != "none" and not args.dry_run] or None,
        project_dir=str(Path(args.output_dir) / "logs"),
    )


def prepare_for_training(
    args: TrainArguments, accelerator: Accelerator, loaded: LoadedModel, total_steps: int
) -> tuple[torch.nn.Module, torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """The model behind its loss, AdamW and the schedule, on the device and among the processes."""
    take_fast_paths(
        whisper_of(loaded.model),
        accelerator.device,
        accelerator.mixed_precision,
        is_whole=accelerator.distributed_type in (DistributedType.NO, DistributedType.MULTI_CPU),
        torch_compile=args.torch_compile,
    )
    if args.use_peft:
        from utils.model.adapters import adapter_loss, register_adapter

        model = adapter_loss(loaded.model)
    else:
        model = WhisperLoss(loaded.model)
    model.silence_run = silence_run(args)
    model.multiples = choose_multiples(accelerator.device, accelerator.mixed_precision)
    if args.memory == "low":
        model.chunk_tokens = CHUNK_TOKENS
    optimizer = build_optimizer(
        args.optim,
        parameter_groups(model.named_parameters(), args.weight_decay),
        learning_rate=args.learning_rate,
        betas=(args.adam_beta1, args.adam_beta2),
        epsilon=args.adam_epsilon,
        device=accelerator.device,
    )
    warmup_steps = args.warmup_steps * total_steps if args.warmup_steps < 1 else args.warmup_steps
    # Not prepared: Accelerate would step it once for every process.
    scheduler = get_scheduler(args.lr_scheduler_type, optimizer, round(warmup_steps), total_steps)
    register_weights(accelerator, trained_only=args.use_peft)
    accelerator.register_for_checkpointing(scheduler)
    if args.use_peft:
        register_adapter(accelerator, loaded.model, optimizer, total_steps)
    model, optimizer = accelerator.prepare(model.train(), optimizer)
    return model, optimizer, scheduler
