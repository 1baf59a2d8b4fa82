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
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from utils.arguments import TrainArguments, arguments_as_yaml, differing_arguments, parse_arguments
from utils.errors import UserError, user_errors_end_the_script

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator
    from datasets import Dataset

    from utils.batching import Step
    from utils.checkpoints import TrainingState
    from utils.collators import Batch
    from utils.modeling import LoadedModel
    from utils.runlog import RunLog


# mixtures of finished weights: may be asked for, and changed, after training
MIXING_ARGUMENTS = ("interpolation_alphas", "guard_dataset", "guard_tolerance", "max_guard_samples")
FREE_ARGUMENTS = (
    *("output_dir", "resume_from_checkpoint", "report_to", "project", "samples_shown"),
    *MIXING_ARGUMENTS,
)


@dataclass(frozen=True)
class TrainingData:
    """The training split with what is needed of every clip before its audio is."""

    rows: "Dataset"
    ids: list[str]
    durations: list[float]
    labels: list[list[int]]


def main(argv: list[str] | None = None) -> None:
    args = parse_arguments(TrainArguments, argv, __doc__)
    output_dir = Path(args.output_dir)
    os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")  # read when torch is imported
    is_trained = is_finished(args, output_dir)
    if is_trained and not any(mixing_left(args, output_dir)):
        print(f"{output_dir / 'final'} is there already, trained with these arguments. Next: evaluate.py")
        return

    from utils.mixing import describe_run
    from utils.progress import silence_libraries

    silence_libraries()
    accelerator = start_accelerator(args)
    if not is_trained:
        fine_tune(args, accelerator)
    mix_weights(args, accelerator)
    accelerator.end_training()
    accelerator.print(describe_run(output_dir))


def fine_tune(args: TrainArguments, accelerator: "Accelerator") -> None:
    """Train from the start or the newest checkpoint to the end; leaves best/ and final/."""
    from accelerate.utils import set_seed

    from utils.checkpoints import TrainingState, find_checkpoint, load_checkpoint, save_checkpoint
    from utils.distributed import loading_whole
    from utils.hardware import sum_in_a_fixed_order
    from utils.mixing import forget_mixtures
    from utils.progress import audio_progress
    from utils.runlog import RunLog

    output_dir = Path(args.output_dir)
    set_seed(args.seed, device_specific=True)
    if accelerator.device.type == "cpu":
        sum_in_a_fixed_order()
    checkpoint = find_checkpoint(output_dir, args.resume_from_checkpoint)
    with loading_whole(accelerator):
        loaded = load_trainable_model(args)
    check_mixing(args, loaded)
    data, validation_rows = load_splits(args, loaded, accelerator)
    total_steps = count_steps(args, accelerator, len(data.ids))
    model, optimizer, scheduler = prepare_for_training(args, accelerator, loaded, total_steps)

    state = load_checkpoint(accelerator, checkpoint) if checkpoint else TrainingState()
    state.judge_by(args.metric_for_best_model)
    log = RunLog(output_dir, accelerator)
    log.drop_after(state.step if checkpoint else -1)
    log.start_trackers(args.project, asdict(args), state.step)
    announce(args, accelerator, loaded, data, len(validation_rows), total_steps, state.step)

    forget_mixtures(accelerator, output_dir)
    if args.eval_on_start and state.step == 0:
        evaluate_and_keep_best(args, accelerator, model, loaded, validation_rows, state, log)
    if patience_is_over(args, state):
        total_steps = state.step
    with audio_progress("training", total_steps, shown=accelerator.is_main_process) as progress:
        progress.skip(state.step)
        for step, micro_batches in load_steps(args, accelerator, data, loaded, state.step, total_steps):
            num_tokens = sum(len(data.labels[index]) for index in step.indices)
            loss_sum = accumulate_gradients(accelerator, model, micro_batches, num_tokens, loaded)
            grad_norm = update_weights(args, accelerator, model, optimizer, scheduler)

            count_step(state, step, data, accelerator.reduce(loss_sum).item(), num_tokens)
            loss, learning_rate = state.loss_sum / state.loss_tokens, scheduler.get_last_lr()[0]
            progress.advance(1, seconds_of(step, data), f"loss {loss:.3f}  lr {learning_rate:.1e}")
            if is_due(state.step, args.logging_steps, total_steps):
                rate = progress.audio_seconds_per_second
                log_training(log, state, step, learning_rate, grad_norm, rate)
            if is_due(state.step, args.eval_steps, total_steps):
                with progress.paused():
                    evaluate_and_keep_best(args, accelerator, model, loaded, validation_rows, state, log)
            if patience_is_over(args, state):
                total_steps = state.step  # what is due at the end is due now
            if is_due(state.step, args.save_steps, total_steps):
                save_checkpoint(accelerator, output_dir, state, args.save_total_limit)
            if state.step == total_steps:
                break

    save_model(args, accelerator, model, loaded, state, output_dir / "final")
    accelerator.free_memory()


def is_finished(args: TrainArguments, output_dir: Path) -> bool:
    """Whether this very run has ended already.

    Raises:
        UserError: The folder holds a run with other arguments, and no checkpoint was asked for.
    """
    if not (output_dir / "train.yaml").exists():
        return False
    differences = differing_arguments(args, output_dir / "train.yaml", ignored=FREE_ARGUMENTS)
    if differences and args.resume_from_checkpoint is None:
        raise UserError(
            f"{output_dir} holds a run with other arguments: {'; '.join(differences)}. Give another "
            "--output_dir, or --resume_from_checkpoint latest to go on from its newest checkpoint."
        )
    of_final = output_dir / "final" / "train.yaml"  # an older one while a run goes on beyond its end
    return (
        not differences
        and of_final.exists()
        and not differing_arguments(args, of_final, ignored=FREE_ARGUMENTS)
    )


def start_accelerator(args: TrainArguments) -> "Accelerator":
    """Accelerate in the launcher's configuration, with the trackers the recipe asks for."""
    from utils.distributed import build_accelerator

    return build_accelerator(
        args.per_device_train_batch_size,
        args.max_grad_norm,
        log_with=[name for name in args.report_to if name != "none"] or None,
        project_dir=str(Path(args.output_dir) / "logs"),
    )


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


def load_splits(
    args: TrainArguments, loaded: "LoadedModel", accelerator: "Accelerator"
) -> tuple[TrainingData, "Dataset"]:
    """Training data with its labels, and the validation split; labels too long for Whisper are set aside."""
    from utils.collators import MAX_LABEL_TOKENS, encode_labels
    from utils.dataset import draw_rows, load_prepared
    from utils.files import write_jsonl
    from utils.modeling import check_languages

    rows = draw_rows(
        load_prepared(args.dataset, "train", language=args.language), args.max_train_samples, args.seed
    )
    languages = check_languages(loaded.model, rows["language"], args.model_name_or_path)
    labels = encode_labels(loaded.processor.tokenizer, rows["text"], languages)
    fitting = [index for index, tokens in enumerate(labels) if len(tokens) <= MAX_LABEL_TOKENS]
    rejects = [
        {"source": row_id, "position": "train", "reason": f"{len(tokens)} label tokens, expected at most 448"}
        for row_id, tokens in zip(rows["id"], labels, strict=True)
        if len(tokens) > MAX_LABEL_TOKENS
    ]
    if rejects and accelerator.is_main_process:
        write_jsonl(Path(args.output_dir) / "rejects.jsonl", rejects)
        print(
            f"{len(rejects)} utterances have labels too long for Whisper: "
            f"set aside in {args.output_dir}/rejects.jsonl"
        )
    if not fitting:
        raise UserError(f"{', '.join(args.dataset)}: no utterance of the training split can be trained on.")
    rows = rows.select(fitting)
    data = TrainingData(rows, list(rows["id"]), list(rows["duration"]), [labels[index] for index in fitting])
    if args.eval_steps == 0:
        return data, rows.select([])
    return data, load_validation(args)


def load_validation(args: TrainArguments) -> "Dataset":
    """The validation split, cut down to max_eval_samples."""
    from utils.dataset import draw_rows, load_prepared

    rows = load_prepared(args.dataset, "validation", language=args.language)
    return draw_rows(rows, args.max_eval_samples, args.seed)


def clips_of_a_step(args: TrainArguments, accelerator: "Accelerator") -> int:
    """Clips of an optimiser step, over all micro-batches and processes."""
    return args.per_device_train_batch_size * args.gradient_accumulation_steps * accelerator.num_processes


def count_steps(args: TrainArguments, accelerator: "Accelerator", num_clips: int) -> int:
    """Optimiser steps of the whole run."""
    from utils.batching import steps_per_epoch

    if args.max_steps > 0:
        return args.max_steps
    return math.ceil(args.num_train_epochs * steps_per_epoch(num_clips, clips_of_a_step(args, accelerator)))


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
    first_step: int,
    last_step: int,
) -> Iterator[tuple["Step", list["Batch"]]]:
    """Yield the optimiser steps, each with this process's micro-batches; workers read ahead."""
    import torch
    from torch.utils.data import DataLoader

    from utils.batching import Step, plan_steps
    from utils.collators import MicroBatches
    from utils.hardware import default_micro_batch_seconds

    plan = partial(
        plan_steps,
        data.durations,
        batch_size=clips_of_a_step(args, accelerator),
        audio_context=args.audio_context,
        jitter=args.context_jitter,
        seed=args.seed,
        first_step=first_step,
        last_step=last_step,
    )
    own_share = partial(
        Step.micro_batches,
        num_processes=accelerator.num_processes,
        process_index=accelerator.process_index,
        accumulation=args.gradient_accumulation_steps,
        most_seconds=args.micro_batch_seconds or default_micro_batch_seconds(accelerator.device),
    )
    config = loaded.model.config
    dataset = MicroBatches(data.rows, data.labels, config.decoder_start_token_id, config.pad_token_id)
    num_workers = args.dataloader_num_workers
    if num_workers is None:
        num_workers = 0 if accelerator.device.type == "cpu" else 4
    # A generator of its own: the loader would else move torch's, and a resumed run get other dropout.
    own_draws = torch.Generator().manual_seed(args.seed)
    options = {"batch_size": None, "num_workers": num_workers, "generator": own_draws}
    micro_batches = (micro_batch for step in plan() for micro_batch in own_share(step))
    batches = iter(DataLoader(dataset, sampler=micro_batches, **options))
    for step in plan():
        yield step, [next(batches) for _ in own_share(step)]


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
    for number, batch in enumerate(micro_batches, start=1):
        accelerator.sync_gradients = number == len(micro_batches)
        with nullcontext() if accelerator.sync_gradients else accelerator.no_sync(model):
            features = log_mel(batch.waveforms.to(accelerator.device), loaded.processor.feature_extractor)
            loss_sum = model(
                features, batch.decoder_input_ids.to(accelerator.device), batch.labels.to(accelerator.device)
            )
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


def seconds_of(step: "Step", data: TrainingData) -> float:
    """Audio seconds of a step's clips, padding not counted."""
    return sum(data.durations[index] for index in step.indices)


def count_step(
    state: "TrainingState", step: "Step", data: TrainingData, loss_sum: float, num_tokens: int
) -> None:
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
    state.loss_tokens += num_tokens
    state.audio_seconds += seconds_of(step, data)
    state.padded_seconds += len(step.indices) * step.context
    ids = "\n".join(data.ids[index] for index in step.indices)
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
        padding_share=1 - state.audio_seconds / state.padded_seconds,
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
    """Decode the validation split in the full context; save to best/ what has the lowest metric.

    The model before training is measured, but never the best.
    """
    from utils.distributed import transcribe_on_all_processes
    from utils.samples import pick_samples
    from utils.validation import describe_rates, error_rates, score_utterances

    started = time.perf_counter()
    hypotheses = transcribe_on_all_processes(
        accelerator,
        model,
        loaded.processor,
        rows,
        batch_size=args.per_device_eval_batch_size,
        max_length=args.generation_max_length,
    )
    seconds = time.perf_counter() - started
    scored = score_utterances(list(rows["id"]), list(rows["text"]), hypotheses, args.normalizer)
    shows_raw = args.metric_for_best_model.startswith("raw")
    samples = pick_samples(scored, args.samples_shown, args.seed, raw=shows_raw)
    log.write_evaluation(state.step, scored, seconds, samples)

    rates = error_rates(scored)
    is_best = state.count_evaluation(rates.of(args.metric_for_best_model), args.early_stopping_threshold)
    best = (
        "the best so far"
        if is_best
        else f"best: {100 * (state.best_metric or 0):.2f} % at step {state.best_step}"
    )
    standing = best if state.step else "before training"
    accelerator.print(f"step {state.step}: validation {describe_rates(rates)} ({standing})")
    if is_best:
        save_model(args, accelerator, model, loaded, state, Path(args.output_dir) / "best")
    if args.average_checkpoints and state.step:
        keep_snapshot(args, accelerator, model, state, rates.of(args.metric_for_best_model))


def patience_is_over(args: TrainArguments, state: "TrainingState") -> bool:
    """Whether so many evaluations have brought nothing better that training ends."""
    patience = args.early_stopping_patience
    return patience is not None and state.evaluations_without_improvement >= patience


def keep_snapshot(
    args: TrainArguments,
    accelerator: "Accelerator",
    model: "torch.nn.Module",
    state: "TrainingState",
    value: float,
) -> None:
    """Keep the weights for the average if this evaluation is among the best; drop what no longer is."""
    from utils.averaging import drop_snapshots, rank_evaluation, save_snapshot
    from utils.distributed import whole_model
    from utils.mixing import SNAPSHOTS

    folder = Path(args.output_dir) / SNAPSHOTS
    state.ranking = rank_evaluation(state.ranking, state.step, value, args.average_checkpoints)
    if state.step in dict(state.ranking):
        whole = whole_model(accelerator, model)
        if accelerator.is_main_process:
            save_snapshot(folder, state.step, whole)
    if accelerator.is_main_process:
        drop_snapshots(folder, state.ranking)
    accelerator.wait_for_everyone()


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
    from utils.modeling import count_parameters, save_model_folder

    whole = whole_model(accelerator, model)
    if accelerator.is_main_process:
        results = {
            "step": state.step,
            "metric_for_best_model": args.metric_for_best_model,
            "best_metric": state.best_metric,
            "best_step": state.best_step,
            "metric_before_training": state.first_metric,
            "audio_hours_trained_on": state.audio_seconds / 3600,
            "trainable_parameters": count_parameters(loaded.model)[0],
        }
        save_model_folder(
            folder,
            whole,
            loaded.processor,
            arguments_yaml=arguments_as_yaml(args),
            results=results,
            card=write_card(args, results),
        )
    accelerator.wait_for_everyone()


def write_card(args: TrainArguments, results: dict) -> str:
    """The model card of a folder with these results."""
    from utils.model_card import build_model_card

    return build_model_card(
        base_model=args.model_name_or_path,
        languages=[] if args.language == "auto" else [args.language],
        datasets=args.dataset,
        results=results,
        use_peft=args.use_peft,
    )


def check_mixing(args: TrainArguments, loaded: "LoadedModel") -> None:
    """Before any work: whether weights of this kind can be averaged and mixed as asked.

    Raises:
        UserError: They cannot, or a guard dataset is missing or in a language that the model does not know.
    """
    from utils.averaging import check_averaging
    from utils.interpolation import check_interpolation
    from utils.modeling import check_languages, whisper_of
    from utils.starter import resolve_model

    is_whole = whisper_of(loaded.model) is loaded.model
    adapter_config = None if is_whole else loaded.model.active_peft_config.to_dict()
    if args.average_checkpoints:
        check_averaging(adapter_config)
    if args.interpolation_alphas:
        check_interpolation(Path(resolve_model(args.model_name_or_path)), adapter_config)
        for rows in load_guards(args).values():
            known = [language for language in rows["language"] if language is not None]
            check_languages(loaded.model, known, args.model_name_or_path)


def load_guards(args: TrainArguments) -> dict[str, "Dataset"]:
    """Of every guard dataset the validation split, or the test split where there is no other, cut down.

    `--language` fills nothing here: for a row without a language of its own the model detects one.
    """
    from utils.dataset import draw_rows, load_prepared, pick_split

    guards = {}
    for folder in args.guard_dataset:
        rows = load_prepared([folder], pick_split(folder, ("validation", "test")), language="auto")
        guards[folder] = draw_rows(rows, args.max_guard_samples, args.seed)
    return guards


def mixing_left(args: TrainArguments, output_dir: Path) -> tuple[bool, bool]:
    """Whether a finished run is still to be averaged, and to be mixed with the base model."""
    if not (args.average_checkpoints or args.interpolation_alphas):
        return False, False
    from utils.mixing import is_averaged, is_interpolated

    asked = {name: getattr(args, name) for name in MIXING_ARGUMENTS}
    averages = args.average_checkpoints > 0 and not is_averaged(output_dir)
    return averages, bool(args.interpolation_alphas) and not is_interpolated(output_dir, asked)


def mix_weights(args: TrainArguments, accelerator: "Accelerator") -> None:
    """Average the best evaluations and mix with the base model, where asked for and not done yet."""
    from utils.mixing import Scorer, average_best_evaluations, interpolate_with_base

    output_dir, write = Path(args.output_dir), partial(write_card, args)
    averages, interpolates = mixing_left(args, output_dir)
    if not (averages or interpolates):
        return
    scorer = Scorer(
        accelerator,
        metric=args.metric_for_best_model,
        normalizer=args.normalizer,
        batch_size=args.per_device_eval_batch_size,
        max_length=args.generation_max_length,
    )
    validation = load_validation(args)
    if averages:
        average_best_evaluations(scorer, output_dir, validation, write)
    if interpolates:
        interpolate_with_base(
            scorer,
            output_dir,
            args.model_name_or_path,
            args.interpolation_alphas,
            validation=validation,
            guards=load_guards(args),
            tolerance=args.guard_tolerance,
            arguments={name: getattr(args, name) for name in MIXING_ARGUMENTS},
            write_card=write,
        )


def announce(
    args: TrainArguments,
    accelerator: "Accelerator",
    loaded: "LoadedModel",
    data: TrainingData,
    num_validation: int,
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
    hours, machine = sum(data.durations) / 3600, f"{accelerator.num_processes} x {accelerator.device.type}"
    print(
        f"{len(data.ids)} clips ({hours:.2f} h) for training, {num_validation} for validation; "
        f"{total_steps} steps of {clips_of_a_step(args, accelerator)} clips on {machine}, "
        f"precision {accelerator.mixed_precision}, {args.audio_context} audio context"
        + (f"; going on from step {first_step}" if first_step else "")
    )


if __name__ == "__main__":
    with user_errors_end_the_script():
        main()
