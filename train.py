"""Fine-tune Whisper on prepared datasets; ends in an ordinary Hugging Face model folder.

On a CPU:
    accelerate launch --config_file accelerate_configs/cpu.yaml train.py --config recipes/starter.yaml \\
        --model_name_or_path openai/whisper-base --dataset data/it --language it --output_dir runs/it

On one NVIDIA GPU:
    accelerate launch --config_file accelerate_configs/single_gpu.yaml train.py \\
        --config recipes/starter.yaml --model_name_or_path openai/whisper-small --dataset data/it \\
        --language it --output_dir runs/it
"""

import hashlib
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from utils.arguments import TrainArguments, arguments_as_yaml, differing_arguments, parse_arguments
from utils.errors import UserError, user_errors_end_the_script

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator
    from datasets import Dataset

    from utils.batching import Step, StepPlan
    from utils.checkpoints import TrainingState
    from utils.collators import Batch
    from utils.examples import TrainingClips
    from utils.modeling import LoadedModel
    from utils.runlog import RunLog


@dataclass(frozen=True)
class TrainingData:
    """What is trained on, in which steps, and what is validated on."""

    clips: "TrainingClips"
    ids: list[str]
    plan: "StepPlan"
    validation: "Dataset"


def main(argv: list[str] | None = None) -> None:
    args = parse_arguments(TrainArguments, argv, __doc__)
    output_dir = Path(args.output_dir)
    if is_finished(args, output_dir):
        print(f"{output_dir / 'final'} is there already, trained with these arguments. Next: evaluate.py")
        return

    os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")  # read when torch is imported
    from accelerate.utils import set_seed

    from utils.checkpoints import TrainingState, find_checkpoint, load_checkpoint, save_checkpoint
    from utils.distributed import loading_whole
    from utils.hardware import sum_in_a_fixed_order
    from utils.progress import audio_progress, silence_libraries
    from utils.runlog import RunLog

    silence_libraries()
    accelerator = start_accelerator(args)
    set_seed(args.seed, device_specific=True)
    if accelerator.device.type == "cpu":
        sum_in_a_fixed_order()
    checkpoint = find_checkpoint(output_dir, args.resume_from_checkpoint)
    with loading_whole(accelerator):
        loaded = load_trainable_model(args)
    data = load_data(args, loaded, accelerator)
    total_steps = args.max_steps if args.max_steps > 0 else data.plan.count_steps(args.num_train_epochs)
    model, optimizer, scheduler = prepare_for_training(args, accelerator, loaded, total_steps)

    state = load_checkpoint(accelerator, checkpoint) if checkpoint else TrainingState()
    log = RunLog(output_dir / "metrics.jsonl", accelerator)
    log.drop_after(state.step)
    announce(args, accelerator, loaded, data, total_steps, state.step)

    with audio_progress("training", total_steps, shown=accelerator.is_main_process) as progress:
        progress.skip(state.step)
        for step, micro_batches in load_steps(args, accelerator, data, loaded, state.step, total_steps):
            loss_sum = accumulate_gradients(accelerator, model, micro_batches, step.num_targets, loaded)
            grad_norm = update_weights(args, accelerator, model, optimizer, scheduler)

            count_step(state, step, data, accelerator.reduce(loss_sum).item())
            loss, learning_rate = state.loss_sum / state.loss_tokens, scheduler.get_last_lr()[0]
            progress.advance(1, step.audio_seconds, f"loss {loss:.3f}  lr {learning_rate:.1e}")
            if is_due(state.step, args.logging_steps, total_steps):
                rate = progress.audio_seconds_per_second
                log_training(log, state, step, learning_rate, grad_norm, rate)
            if is_due(state.step, args.eval_steps, total_steps):
                with progress.paused():
                    evaluate_and_keep_best(args, accelerator, model, loaded, data.validation, state, log)
            if is_due(state.step, args.save_steps, total_steps):
                save_checkpoint(accelerator, output_dir, state, args.save_total_limit)

    save_model(args, accelerator, model, loaded, state, output_dir / "final")
    accelerator.end_training()
    best = f"best: {output_dir / 'best'}, from step {state.best_step}. " if state.best_step else ""
    accelerator.print(f"Done: {output_dir / 'final'}; {best}Next: evaluate.py on the test split.")


def is_finished(args: TrainArguments, output_dir: Path) -> bool:
    """Whether this very run has ended already.

    Raises:
        UserError: The folder holds a run with other arguments, and no checkpoint was asked for.
    """
    if not (output_dir / "train.yaml").exists():
        return False
    free = ("output_dir", "resume_from_checkpoint")
    differences = differing_arguments(args, output_dir / "train.yaml", ignored=free)
    if differences and args.resume_from_checkpoint is None:
        raise UserError(
            f"{output_dir} holds a run with other arguments: {'; '.join(differences)}. Give another "
            "--output_dir, or --resume_from_checkpoint latest to go on from its newest checkpoint."
        )
    return not differences and (output_dir / "final").exists()


def start_accelerator(args: TrainArguments) -> "Accelerator":
    """Accelerate in the launcher's configuration, with the tracker the recipe asks for."""
    from utils.distributed import build_accelerator

    accelerator = build_accelerator(
        args.per_device_train_batch_size,
        args.max_grad_norm,
        log_with=None if args.report_to == "none" else args.report_to,
        project_dir=args.output_dir,
    )
    accelerator.init_trackers("logs")
    return accelerator


def load_trainable_model(args: TrainArguments) -> "LoadedModel":
    """The model with the parameters that are to be trained marked, on the CPU, in float32."""
    from utils.modeling import add_lora, load_model, whisper_of

    loaded = load_model(args.model_name_or_path, keep_adapter=args.use_peft)
    model = loaded.model
    if args.use_peft and whisper_of(model) is model:
        model = add_lora(
            model,
            args.model_name_or_path,
            r=args.lora_r,
            alpha=args.lora_alpha,
            dropout=args.lora_dropout,
            target_modules=args.lora_target_modules,
        )
    if args.gradient_checkpointing:
        whisper_of(model).gradient_checkpointing_enable({"use_reentrant": False})
    whisper_of(model).model.encoder.embed_positions.requires_grad_(False)  # sinusoids, fixed in Whisper
    return replace(loaded, model=model)


def load_data(args: TrainArguments, loaded: "LoadedModel", accelerator: "Accelerator") -> TrainingData:
    """The training and validation splits; labels too long for Whisper are set aside."""
    from utils.dataset import draw_rows, load_prepared
    from utils.examples import DrawOptions, TrainingClips, read_clips
    from utils.labels import MAX_LABEL_TOKENS, LabelWriter
    from utils.modeling import check_languages

    sizes = [len(load_prepared([folder], "train", language="auto")) for folder in args.dataset]
    rows = load_prepared(args.dataset, "train", language=args.language)
    rows = rows.add_column("dataset", [number for number, size in enumerate(sizes) for _ in range(size)])
    rows = draw_rows(rows, args.max_train_samples, args.seed)
    languages = check_languages(loaded.model, rows["language"], args.model_name_or_path)
    tokenizer = loaded.processor.tokenizer
    writer = LabelWriter(tokenizer)
    clips = read_clips(rows, tokenizer, languages, list(rows["text"]))
    num_targets = [writer.count_targets([clip.text], clip.language) for clip in clips]
    fitting = [index for index, number in enumerate(num_targets) if number <= MAX_LABEL_TOKENS]
    if len(fitting) < len(clips):
        set_aside_long_labels(args, accelerator, list(rows["id"]), num_targets)
    if not fitting:
        raise UserError(f"{', '.join(args.dataset)}: no utterance of the training split can be trained on.")
    rows, clips = rows.select(fitting), [clips[index] for index in fitting]
    options = DrawOptions(passes=tuple(args.dataset_passes or [1.0] * len(args.dataset)))
    training = TrainingClips(rows, clips, rows["dataset"], writer, options, args.seed)
    validation = rows.select([])
    if args.eval_steps:
        validation = load_prepared(args.dataset, "validation", language=args.language)
    validation = draw_rows(validation, args.max_eval_samples, args.seed)
    return TrainingData(training, list(rows["id"]), plan_steps(args, accelerator, training), validation)


def set_aside_long_labels(
    args: TrainArguments, accelerator: "Accelerator", ids: list[str], num_targets: list[int]
) -> None:
    """Write the utterances whose labels Whisper's decoder cannot hold to rejects.jsonl."""
    from utils.files import write_jsonl
    from utils.labels import MAX_LABEL_TOKENS

    rejects = [
        {
            "source": row_id,
            "position": "train",
            "reason": f"{number} label tokens, expected at most {MAX_LABEL_TOKENS}",
        }
        for row_id, number in zip(ids, num_targets, strict=True)
        if number > MAX_LABEL_TOKENS
    ]
    if accelerator.is_main_process:
        write_jsonl(Path(args.output_dir) / "rejects.jsonl", rejects)
        print(
            f"{len(rejects)} utterances have labels too long for Whisper: "
            f"set aside in {args.output_dir}/rejects.jsonl"
        )


def plan_steps(args: TrainArguments, accelerator: "Accelerator", clips: "TrainingClips") -> "StepPlan":
    """The steps of the run: each has the micro-batch asked for, times accumulation, times processes."""
    from utils.batching import StepPlan, StepSize

    micro_batches = args.gradient_accumulation_steps * accelerator.num_processes
    if args.batch_audio_seconds is None:
        size = StepSize(clips=args.per_device_train_batch_size * micro_batches)
    else:
        tokens = args.batch_label_tokens and args.batch_label_tokens * micro_batches
        size = StepSize(audio_seconds=args.batch_audio_seconds * micro_batches, label_tokens=tokens)
    return StepPlan(
        clips.draw,
        size,
        audio_context=args.audio_context,
        jitter=args.context_jitter,
        seed=args.seed,
    )


def prepare_for_training(
    args: TrainArguments, accelerator: "Accelerator", loaded: "LoadedModel", total_steps: int
) -> tuple["torch.nn.Module", "torch.optim.Optimizer", "torch.optim.lr_scheduler.LRScheduler"]:
    """The model behind its loss, fused AdamW and the schedule, on the device and among the processes."""
    import torch
    from transformers import get_scheduler

    from utils.modeling import WhisperLoss

    model = WhisperLoss(loaded.model)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(
        parameters, lr=args.learning_rate, weight_decay=args.weight_decay, fused=True
    )
    warmup_steps = args.warmup_steps * total_steps if args.warmup_steps < 1 else args.warmup_steps
    # Not prepared: Accelerate would step it once for every process.
    scheduler = get_scheduler(args.lr_scheduler_type, optimizer, round(warmup_steps), total_steps)
    accelerator.register_for_checkpointing(scheduler)
    model, optimizer = accelerator.prepare(model.train(), optimizer)
    return model, optimizer, scheduler


def load_steps(
    args: TrainArguments,
    accelerator: "Accelerator",
    data: TrainingData,
    loaded: "LoadedModel",
    first: int,
    last: int,
) -> Iterator[tuple["Step", list["Batch"]]]:
    """Yield the optimiser steps, each with this process's micro-batches."""
    from functools import partial

    from utils import collators
    from utils.batching import Step
    from utils.hardware import default_micro_batch_seconds

    most_seconds = args.micro_batch_seconds or default_micro_batch_seconds(accelerator.device)
    own_share = partial(
        Step.micro_batches,
        num_processes=accelerator.num_processes,
        process_index=accelerator.process_index,
        accumulation=args.gradient_accumulation_steps,
        clips_that_fit=lambda context: int(min(most_seconds / context, len(data.ids))),
    )
    on_cpu = accelerator.device.type == "cpu"
    num_workers = args.dataloader_num_workers
    return collators.load_steps(
        data.plan,
        collators.MicroBatches(data.clips, loaded.model.config.pad_token_id),
        first,
        last,
        own_share=own_share,
        num_workers=(0 if on_cpu else 4) if num_workers is None else num_workers,
        pin_memory=accelerator.device.type == "cuda",
        seed=args.seed,
    )


def accumulate_gradients(
    accelerator: "Accelerator",
    model: "torch.nn.Module",
    micro_batches: list["Batch"],
    num_tokens: int,
    loaded: "LoadedModel",
) -> "torch.Tensor":
    """Backward through a step's micro-batches; each target token of the whole step weighs the same.

    Processes average their gradients, which is undone here; they exchange them at the last micro-batch. Not
    `accelerator.accumulate`, because the number of micro-batches changes from step to step.

    Returns:
        This process's summed loss, a detached scalar.
    """
    from contextlib import nullcontext

    from utils.features import log_mel

    scale = accelerator.num_processes / num_tokens
    losses = []
    on_device = (batch.to(accelerator.device) for batch in micro_batches)
    for number, batch in enumerate(on_device, start=1):
        accelerator.sync_gradients = number == len(micro_batches)
        with nullcontext() if accelerator.sync_gradients else accelerator.no_sync(model):
            features = log_mel(batch.waveforms, loaded.processor.feature_extractor)
            loss_sum = model(features, batch.decoder_input_ids, batch.labels)
            accelerator.backward(loss_sum * scale)
            losses.append(loss_sum.detach())
    return sum(losses[1:], losses[0])


def update_weights(
    args: TrainArguments,
    accelerator: "Accelerator",
    model: "torch.nn.Module",
    optimizer: "torch.optim.Optimizer",
    scheduler: "torch.optim.lr_scheduler.LRScheduler",
) -> float:
    """Clip, step, move the schedule on, forget the gradients; returns the gradient norm before clipping."""
    from utils.distributed import clip_gradients

    norm = clip_gradients(accelerator, model, args.max_grad_norm)
    optimizer.step()
    scheduler.step()
    optimizer.zero_grad()
    return norm


def is_due(step: int, interval: int, total_steps: int) -> bool:
    """Whether something done every `interval` steps, and at the end, is due; an interval of 0 means never."""
    return interval > 0 and (step % interval == 0 or step == total_steps)


def count_step(state: "TrainingState", step: "Step", data: TrainingData, loss_sum: float) -> None:
    """Enter a finished step into the state that a checkpoint saves.

    Raises:
        UserError: The loss is not finite; the weights of this step are lost, the last checkpoint is not.
    """
    if not math.isfinite(loss_sum):
        raise UserError(
            f"the loss became {loss_sum} at step {step.number + 1}. The last checkpoint is kept. "
            "Lower learning_rate, warm up longer, or train without fp16."
        )
    state.step = step.number + 1
    state.loss_sum += loss_sum
    state.loss_tokens += step.num_targets
    state.audio_seconds += step.audio_seconds
    ids = "\n".join(data.ids[row] for example in step.examples for row in example.rows)
    state.order = hashlib.sha256(f"{state.order}\n{ids}".encode()).hexdigest()[:16]


def log_training(
    log: "RunLog", state: "TrainingState", step: "Step", learning_rate: float, grad_norm: float, rate: float
) -> None:
    """Write one training record and start the next mean."""
    from utils.hardware import peak_memory_bytes

    log.write(
        state.step,
        epoch=step.epoch,
        loss=state.loss_sum / state.loss_tokens,
        learning_rate=learning_rate,
        grad_norm=grad_norm,
        audio_context=step.context,
        audio_seconds=state.audio_seconds,
        audio_seconds_per_second=rate,
        peak_memory_bytes=peak_memory_bytes(),
        order=state.order,
    )
    state.loss_sum, state.loss_tokens = 0.0, 0


def evaluate_and_keep_best(
    args: TrainArguments,
    accelerator: "Accelerator",
    model: "torch.nn.Module",
    loaded: "LoadedModel",
    rows: "Dataset",
    state: "TrainingState",
    log: "RunLog",
) -> None:
    """Decode the validation split in the full context; save to best/ what has the lowest normalised WER."""
    from utils.distributed import transcribe_on_all_processes
    from utils.metrics import word_error_rates

    hypotheses = transcribe_on_all_processes(
        accelerator,
        model,
        loaded.processor,
        rows,
        batch_size=args.per_device_eval_batch_size,
        max_length=args.generation_max_length,
    )
    raw_wer, normalized_wer = word_error_rates(list(rows["text"]), hypotheses, args.normalizer)
    log.write(state.step, eval_wer=raw_wer, eval_normalized_wer=normalized_wer, eval_utterances=len(rows))
    is_best = state.best_wer is None or normalized_wer < state.best_wer
    best = "the best so far" if is_best else f"best: {100 * state.best_wer:.2f} % at step {state.best_step}"
    accelerator.print(
        f"step {state.step}: validation WER {100 * raw_wer:.2f} % raw, "
        f"{100 * normalized_wer:.2f} % normalised ({best})"
    )
    if is_best:
        state.best_wer, state.best_step = normalized_wer, state.step
        save_model(args, accelerator, model, loaded, state, Path(args.output_dir) / "best")


def save_model(
    args: TrainArguments,
    accelerator: "Accelerator",
    model: "torch.nn.Module",
    loaded: "LoadedModel",
    state: "TrainingState",
    folder: Path,
) -> None:
    """Write the model (or its adapter) as a folder that `from_pretrained` loads."""
    from utils.distributed import whole_model
    from utils.model_card import build_model_card
    from utils.modeling import count_parameters, save_model_folder

    whole = whole_model(accelerator, model)
    if accelerator.is_main_process:
        results = {
            "step": state.step,
            "best_step": state.best_step,
            "best_normalized_wer": state.best_wer,
            "audio_hours_trained_on": state.audio_seconds / 3600,
            "trainable_parameters": count_parameters(loaded.model)[0],
        }
        card = build_model_card(
            base_model=args.model_name_or_path,
            languages=[] if args.language == "auto" else [args.language],
            datasets=args.dataset,
            results=results,
            use_peft=args.use_peft,
        )
        save_model_folder(
            folder,
            whole,
            loaded.processor,
            arguments_yaml=arguments_as_yaml(args),
            results=results,
            card=card,
        )
    accelerator.wait_for_everyone()


def announce(
    args: TrainArguments,
    accelerator: "Accelerator",
    loaded: "LoadedModel",
    data: TrainingData,
    total_steps: int,
    first_step: int,
) -> None:
    """Write the resolved arguments and say what is about to be trained."""
    from utils.files import write_text
    from utils.modeling import trainable_parameters_line

    if not accelerator.is_main_process:
        return
    write_text(Path(args.output_dir) / "train.yaml", arguments_as_yaml(args))
    print(trainable_parameters_line(loaded.model))
    first_epoch = data.clips.draw(0)
    hours = sum(example.duration for example in first_epoch) / 3600
    machine = f"{accelerator.num_processes} x {accelerator.device.type}"
    print(
        f"{len(data.ids)} clips ({hours:.2f} h an epoch) for training, "
        f"{len(data.validation)} for validation; {total_steps} steps of {data.plan.size} on {machine}, "
        f"precision {accelerator.mixed_precision}, {args.audio_context} audio context"
        + (f"; going on from step {first_step}" if first_step else "")
    )


if __name__ == "__main__":
    with user_errors_end_the_script():
        main()
