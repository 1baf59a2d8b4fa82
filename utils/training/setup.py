"""Set up a run: model, data, optimiser and schedule, prepared for the device and the processes."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from accelerate import Accelerator, DistributedType
from accelerate.utils import set_seed
from peft import PeftModel
from transformers import get_scheduler

from utils.arguments.train import TrainArguments
from utils.model.adapters import adapter_loss, register_adapter
from utils.model.kernels.fast_paths import take_fast_paths
from utils.model.kernels.onednn import choose_multiples
from utils.model.loading import LoadedModel
from utils.model.loss import CHUNK_TOKENS, WhisperLoss
from utils.model.whisper import whisper_of
from utils.runtime.devices import sum_in_a_fixed_order
from utils.runtime.interruption import StopRequest
from utils.runtime.launch import build_accelerator, is_sharded, loading_whole
from utils.runtime.out_of_memory import keep_no_freed_memory
from utils.training.after_training import check_mixing
from utils.training.checkpoint_weights import register_weights
from utils.training.data import TrainingData, load_data
from utils.training.disk_plan import plan_disk
from utils.training.encoder_cache import FixedEncoding, open_encoder_cache
from utils.training.optimizers import build_optimizer, parameter_groups
from utils.training.options import silence_run
from utils.training.pace import Pace
from utils.training.run import Run
from utils.training.run_log import RunLog
from utils.training.trainable_model import load_trainable_model


def start_accelerator(args: TrainArguments) -> Accelerator:
    """Start Accelerate with the launcher's configuration and the trackers of the recipe."""
    return build_accelerator(
        args.per_device_train_batch_size,
        args.max_grad_norm,
        log_with=[name for name in args.report_to if name != "none" and not args.dry_run] or None,
        project_dir=str(Path(args.output_dir) / "logs"),
    )


def build_run(args: TrainArguments, accelerator: Accelerator, stop_request: StopRequest | None = None) -> Run:
    """Load model and data, and prepare them for the first step."""
    set_seed(args.seed, device_specific=True)
    if accelerator.device.type == "cpu":
        sum_in_a_fixed_order()
    if args.memory == "low" or args.auto_find_batch_size:
        keep_no_freed_memory()
    with loading_whole(accelerator):
        loaded = load_trainable_model(args, accelerator)
    check_mixing(args, loaded)
    data = load_data(args, loaded, accelerator)
    pace = Pace(args.max_steps if args.max_steps > 0 else data.plan.count_steps(args.num_train_epochs))
    encoding = choose_fixed_encoding(args, accelerator, data, pace.total_steps)
    folder = Path(args.output_dir) / "encoder_states"
    cache = encoding.cache_in(folder, loaded, accelerator.mixed_precision) if encoding else None
    disk = plan_disk(args, loaded, cache.num_bytes if cache else 0)
    if encoding is not None and disk.caches and not args.dry_run:
        audio = (row["audio"] for row in data.clips.rows)
        cache = open_encoder_cache(accelerator, folder, loaded, encoding, audio)
        data = replace(data, encoder_cache=cache)
    return Run(
        args,
        accelerator,
        stop_request or StopRequest(),
        loaded,
        data,
        *prepare_for_training(args, accelerator, loaded, pace),
        pace,
        disk,
        RunLog(Path(args.output_dir), accelerator),
    )


def choose_fixed_encoding(
    args: TrainArguments, accelerator: Accelerator, data: TrainingData, total_steps: int
) -> FixedEncoding | None:
    """Return the settings of an encoder whose outputs can be cached.

    None if a cache is useless or impossible. A cache is useless if there is only one epoch. It is impossible
    if the encoder is trained or sharded, or if the audio changes.
    """
    if data.contexts is None or total_steps <= data.plan.count_steps(1) or is_sharded(accelerator):
        return None
    multiples = choose_multiples(accelerator.device, accelerator.mixed_precision)
    return FixedEncoding(data.contexts, silence_run(args), multiples.positions)


def prepare_for_training(
    args: TrainArguments, accelerator: Accelerator, loaded: LoadedModel, pace: Pace
) -> tuple[torch.nn.Module, torch.optim.Optimizer, torch.optim.lr_scheduler.LambdaLR]:
    """Prepare the model inside its loss, AdamW and the schedule for the device and the processes."""
    whisper = loaded.model
    take_fast_paths(
        whisper_of(whisper),
        accelerator.device,
        accelerator.mixed_precision,
        is_whole=accelerator.distributed_type in (DistributedType.NO, DistributedType.MULTI_CPU),
        torch_compile=args.torch_compile,
    )
    model = adapter_loss(whisper) if isinstance(whisper, PeftModel) else WhisperLoss(whisper)
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
    total_steps = pace.total_steps
    warmup_steps = args.warmup_steps * total_steps if args.warmup_steps < 1 else args.warmup_steps
    # Not prepared: Accelerate would step the scheduler once per process.
    scheduler = get_scheduler(args.lr_scheduler_type, optimizer, round(warmup_steps), total_steps)
    scheduler.lr_lambdas = [partial(pace.follow, schedule) for schedule in scheduler.lr_lambdas]
    register_weights(accelerator, trained_only=args.use_peft)
    accelerator.register_for_checkpointing(scheduler)
    if isinstance(whisper, PeftModel):
        register_adapter(accelerator, whisper, optimizer, total_steps)
    model, optimizer = accelerator.prepare(model.train(), optimizer)
    return model, optimizer, scheduler
