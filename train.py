"""Fine-tune Whisper on prepared datasets; ends in an ordinary Hugging Face model folder.

On a CPU:
    accelerate launch --config_file accelerate_configs/cpu.yaml train.py \\
        --model_name_or_path openai/whisper-base --dataset data/it --language it --output_dir runs/it

A LoRA adapter on one NVIDIA GPU:
    accelerate launch --config_file accelerate_configs/single_gpu.yaml train.py --use_peft \\
        --learning_rate 1e-3 --model_name_or_path openai/whisper-small --dataset data/it --language it \\
        --output_dir runs/it-small-lora

By a recipe, whose arguments the command line overrides:
    accelerate launch --config_file accelerate_configs/cpu.yaml train.py --config recipes/starter.yaml
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from utils.arguments import TrainArguments, arguments_as_yaml, differing_arguments, parse_arguments
from utils.errors import UserError, WriteError, user_errors_end_the_script

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator
    from datasets import Dataset

    from utils.augmentation import Augmentation
    from utils.batching import Step, StepPlan, StepSize
    from utils.checkpoints import TrainingState
    from utils.collators import Batch
    from utils.encoder_states import EncoderStates
    from utils.estimates import Estimate, TimedStep
    from utils.examples import Clip, DrawOptions, TrainingClips
    from utils.frozen import FixedEncoding
    from utils.interruption import StopRequest
    from utils.modeling import LoadedModel
    from utils.non_speech import NonSpeech
    from utils.quantization import Quantization
    from utils.runlog import RunLog
    from utils.spec_augment import SpecAugment
    from utils.updates import Update
    from utils.validation import ErrorRates


# mixtures of finished weights: may be asked for, and changed, after training
MIXING_ARGUMENTS = ("interpolation_alphas", "guard_datasets", "guard_tolerance", "max_guard_samples")
# the result does not depend on them; not torch_compile, by which dropout draws other numbers
FREE_ARGUMENTS = (
    *("output_dir", "resume_from_checkpoint", "report_to", "project", "samples_shown"),
    *("auto_find_batch_size", "micro_batch_seconds", "memory", "gradient_checkpointing", "dry_run"),
    *("dataloader_num_workers", "per_device_eval_batch_size", "max_skipped_steps"),
    *("save_steps", "save_total_limit", "logging_steps"),
    *MIXING_ARGUMENTS,
)
STEPS_TIMED = 5  # by --dry_run
LOW_FOR_ADAPTERS = 5e-5  # of learning rates


@dataclass(frozen=True)
class TrainingData:
    """What is trained on, in which steps, and what is validated on."""

    clips: "TrainingClips"
    ids: list[str]
    digest: str  # of the clips of all training splits
    plan: "StepPlan"
    validation: "Dataset"
    validation_digest: str  # of these clips, and of how they are scored
    clips_that_fit: Callable[[float], int]  # into a micro-batch, by audio context
    contexts: list[float] | None = None  # of each clip, where the encoder gives the same in every epoch
    encoder_states: "EncoderStates | None" = None  # what it gave

    def ids_of(self, step: "Step") -> list[str]:
        """Ids of all clips of a step."""
        return [self.ids[row] for example in step.examples for row in example.rows]


@dataclass(frozen=True)
class Setup:
    """What a run starts with."""

    args: TrainArguments
    accelerator: "Accelerator"
    loaded: "LoadedModel"
    data: TrainingData
    model: "torch.nn.Module"  # behind its loss, as Accelerate has prepared it
    optimizer: "torch.optim.Optimizer"
    scheduler: "torch.optim.lr_scheduler.LRScheduler"
    total_steps: int


@dataclass(frozen=True)
class Run:
    """What all parts of a run share."""

    args: TrainArguments
    accelerator: "Accelerator"
    loaded: "LoadedModel"
    model: "torch.nn.Module"  # behind its loss, as Accelerate has prepared it
    data: TrainingData
    state: "TrainingState"
    log: "RunLog"
    stop_request: "StopRequest"

    @property
    def output_dir(self) -> Path:
        """The run folder."""
        return Path(self.args.output_dir)


def main(argv: list[str] | None = None) -> None:
    args = parse_arguments(TrainArguments, argv, __doc__)
    output_dir = Path(args.output_dir)
    os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")  # read when torch is imported
    if args.dry_run:
        from utils.memory import explaining_out_of_memory

        with explaining_out_of_memory():
            rehearse(args)
        return
    is_trained = is_finished(args, output_dir)
    if is_trained and not any(mixing_left(args, output_dir)):
        print(f"{output_dir / 'final'} is there already, trained with these arguments. Next: evaluate.py")
        return

    from utils.interruption import forget_interruption, remembering_signals
    from utils.locking import sole_run_in
    from utils.mixing import describe_run
    from utils.progress import output_that_may_be_lost, silence_libraries
    from utils.runlog import end_training

    with sole_run_in(output_dir), output_that_may_be_lost(), remembering_signals() as stop_request:
        forget_interruption(output_dir)
        silence_libraries()
        accelerator = start_accelerator(args)
        if not is_trained:
            fine_tune(args, accelerator, stop_request)
        mix_weights(args, accelerator, stop_request)
        end_training(accelerator)
        accelerator.print(describe_run(output_dir))


def fine_tune(args: TrainArguments, accelerator: "Accelerator", stop_request: "StopRequest") -> None:
    """Train from the start or the newest checkpoint to the end; leaves best/ and final/."""
    from utils.checkpoints import (
        TrainingState,
        check_not_beyond,
        check_same_plan,
        find_checkpoint_together,
        load_checkpoint,
        origin_of,
    )
    from utils.memory import explaining_out_of_memory
    from utils.mixing import forget_mixtures
    from utils.optimizers import settings_kept
    from utils.runlog import RunLog

    output_dir = Path(args.output_dir)
    told = {name: value for name, value in asdict(args).items() if name not in FREE_ARGUMENTS}
    origin = origin_of(args.resume_from_checkpoint, told)
    checkpoint = find_checkpoint_together(accelerator, output_dir, args.resume_from_checkpoint, origin)
    with explaining_out_of_memory():
        setup = build_setup(args, accelerator)

    with settings_kept(setup.optimizer, setup.scheduler):
        state = load_checkpoint(accelerator, checkpoint) if checkpoint else TrainingState()
    step_size = str(setup.data.plan.size)
    if checkpoint:
        check_not_beyond(checkpoint, state, setup.total_steps)
    if checkpoint and args.resume_from_checkpoint is None:
        check_same_plan(checkpoint, state, step_size, setup.data.digest)
    state.step_size, state.data = step_size, setup.data.digest
    if args.auto_find_batch_size:
        setup = with_found_micro_batches(setup, resumed=state.step > 0)
    loaded, data, total_steps = setup.loaded, setup.data, setup.total_steps
    state.judge_by(args.metric_for_best_model, data.validation_digest)
    state.origin = origin or state.origin
    if checkpoint:
        take_up_what_is_kept(
            state,
            output_dir,
            is_own=checkpoint.parent.resolve() == output_dir.resolve(),
            goes_its_own_way=args.resume_from_checkpoint is not None,
        )
    log = RunLog(output_dir, accelerator)
    log.drop_after(state.step if checkpoint else -1, state.evaluated_step)
    log.start_trackers(args.project, asdict(args), state.step)
    announce(args, accelerator, loaded, data, total_steps, state.step)

    forget_mixtures(accelerator, output_dir)
    run = Run(args, accelerator, loaded, setup.model, data, state, log, stop_request)
    with explaining_out_of_memory():
        if evaluation_is_owed(args, state, total_steps) and not evaluate_and_keep_best(run):
            leave_to_be_continued(accelerator, output_dir, state.step, stop_request)
        if not patience_is_over(args, state):
            train_steps(run, setup.optimizer, setup.scheduler, total_steps)
        elif state.step < total_steps:
            accelerator.print(
                f"Training ended at step {state.step}: the last {state.evaluations_without_improvement} "
                "evaluations were no better. To go on, give a higher early_stopping_patience, or none."
            )
    save_model(run, output_dir / "final")
    if data.encoder_states and accelerator.is_main_process:
        data.encoder_states.remove()
    accelerator.free_memory()


def build_setup(args: TrainArguments, accelerator: "Accelerator") -> Setup:
    """Load model and data, and prepare them."""
    from accelerate.utils import set_seed

    from utils.distributed import loading_whole
    from utils.hardware import sum_in_a_fixed_order
    from utils.memory import keep_no_freed_memory

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


def take_up_what_is_kept(
    state: "TrainingState", output_dir: Path, *, is_own: bool, goes_its_own_way: bool
) -> None:
    """Set a checkpoint's state right by what lies in the run folder, which may have come to its end since.

    Args:
        is_own: Whether the checkpoint is of this folder, as best/ and the snapshots then are.
        goes_its_own_way: Whether what follows may differ from what once followed the checkpoint.
    """
    from utils.averaging import find_snapshots, snapshot_step
    from utils.mixing import SNAPSHOTS, read_results

    kept = {snapshot_step(path) for path in find_snapshots(output_dir / SNAPSHOTS)} if is_own else set()
    state.ranking = [(step, value) for step, value in state.ranking if step in kept]
    best = read_results(output_dir / "best") if (output_dir / "best").is_dir() else None
    if not is_own:  # the best model lies in the other folder, where the evaluations were
        state.best_metric = state.best_step = None
        state.evaluations_without_improvement = state.evaluated_step = 0
    elif best is None or (goes_its_own_way and state.is_behind(best)):
        state.best_metric = state.best_step = None  # that model is overwritten, and will not be found again
    else:
        state.take_up_best(best)


def train_steps(
    run: Run,
    optimizer: "torch.optim.Optimizer",
    scheduler: "torch.optim.lr_scheduler.LRScheduler",
    total_steps: int,
) -> None:
    """Do the steps that are left, until all are done or nothing gets better; log, evaluate, save when due."""
    from utils.checkpoints import enter_evaluation, save_checkpoint
    from utils.progress import audio_progress
    from utils.updates import update_weights
    from utils.workers import replacing_dead_workers

    args, accelerator, state, stop_request = run.args, run.accelerator, run.state, run.stop_request
    with audio_progress("training", total_steps, shown=accelerator.is_main_process) as progress:
        progress.skip(state.step)
        masking = choose_spec_augment(args)
        steps_from = partial(load_steps, args, accelerator, run.data, run.loaded, last=total_steps)
        for step, micro_batches in replacing_dead_workers(steps_from, state.step):
            loss_sum = accumulate_gradients(
                accelerator,
                run.model,
                micro_batches,
                step.num_targets,
                run.loaded,
                masking,
                run.data.encoder_states,
            )
            update = update_weights(
                accelerator,
                run.model,
                optimizer,
                loss_sum,
                args.max_grad_norm,
                stop=bool(stop_request.reason),
            )
            scheduler.step()

            count_step(state, step, run.data, update)
            if update.skipped:
                tell_skipped_step(run, step, update)
            loss, learning_rate = state.mean_loss, scheduler.get_last_lr()[0]
            progress.advance(1, step.audio_seconds, f"loss {loss:.3f}  lr {learning_rate:.1e}")
            if is_due(state.step, args.logging_steps, total_steps):
                rate = progress.audio_seconds_per_second
                log_training(run.log, state, step, learning_rate, update.grad_norm, rate)
            stop, saved = update.stop, False
            save = partial(save_checkpoint, accelerator, run.output_dir, state, args.save_total_limit)
            saves = is_due(state.step, args.save_steps, total_steps) or stop
            if saves:
                saved = save()
            if is_due(state.step, args.eval_steps, total_steps) and not stop:
                with progress.paused():
                    stop = not evaluate_and_keep_best(run)
                if saved and not stop:
                    enter_evaluation(accelerator, run.output_dir, state)
            if patience_is_over(args, state):
                total_steps = state.step  # what is due at the end is due now
            if not saves and (stop or is_due(state.step, args.save_steps, total_steps)):
                saved = save()
            if stop:
                check_saved(state, saved)
                leave_to_be_continued(accelerator, run.output_dir, state.step, stop_request)
            if state.step == total_steps:
                break


def rehearse(args: TrainArguments) -> None:
    """Check the labels, do a few steps, say what the run will take; nothing is written or kept."""
    from rich import get_console

    from utils.estimates import estimate_table
    from utils.label_checks import TokenRules, check_labels, labels_table, raise_for
    from utils.memory import memory_limits
    from utils.modeling import whisper_of
    from utils.progress import silence_libraries
    from utils.runlog import end_training

    silence_libraries()
    accelerator = start_accelerator(args)
    setup = build_setup(args, accelerator)
    clips = setup.data.clips
    examples = clips.draw(0)
    sequences = (clips.sequence(example) for example in examples)
    labels = (
        (" ".join(setup.data.ids[row] for row in example.rows), sequence.inputs, sequence.targets)
        for example, sequence in zip(examples, sequences, strict=True)
    )
    checks = check_labels(labels, TokenRules.of_model(whisper_of(setup.loaded.model), args.task))
    if accelerator.is_main_process:
        get_console().print(labels_table(checks, len(examples)))
    raise_for(checks)
    if args.auto_find_batch_size:
        setup = with_found_micro_batches(setup, resumed=False)
    limits = memory_limits(accelerator.device)
    estimate = estimate_run(setup)
    if accelerator.is_main_process:
        allowed = [limit.size_bytes for limit in limits if limit.kind in ("resident", "device")]
        get_console().print(estimate_table(estimate, min(allowed)))
    end_training(accelerator)


def is_finished(args: TrainArguments, output_dir: Path) -> bool:
    """Whether this very run has ended already.

    Raises:
        UserError: The folder holds what a run with other arguments has left, and no checkpoint was asked for;
            or it has ended, with other clips.
    """
    if not (output_dir / "train.yaml").exists():
        return False
    differences = differing_arguments(args, output_dir / "train.yaml", ignored=FREE_ARGUMENTS)
    checkpoints = any(output_dir.glob("checkpoint-*"))
    has_left_something = checkpoints or any((output_dir / name).is_dir() for name in ("best", "final"))
    if differences and has_left_something and args.resume_from_checkpoint is None:
        go_on = ", or --resume_from_checkpoint latest to go on from its newest checkpoint"
        raise UserError(
            f"{output_dir} holds a run with other arguments: {'; '.join(differences)}. Give another "
            f"--output_dir{go_on if checkpoints else ''}."
        )
    final = output_dir / "final"  # of an older run while this one goes on beyond its end
    if (
        differences
        or not (final / "train.yaml").exists()
        or differing_arguments(args, final / "train.yaml", ignored=FREE_ARGUMENTS)
    ):
        return False
    check_same_clips(args, final)
    return True


def check_same_clips(args: TrainArguments, final: Path) -> None:
    """Before a finished run is reused; where the datasets are gone since, there is nothing to compare.

    Raises:
        UserError: It was trained on other clips than the datasets hold now.
    """
    from utils.dataset import digest_of, load_prepared

    try:
        rows = load_prepared(args.dataset, "train", language=args.language)
    except UserError:
        return
    trained_on = json.loads((final / "train_results.json").read_text(encoding="utf-8")).get("data")
    if trained_on and trained_on != digest_of(rows):
        raise UserError(
            f"{final} is there already, trained on other clips than {', '.join(args.dataset)} holds now. "
            f"Give another --output_dir, or delete {final.parent} to train anew."
        )


def start_accelerator(args: TrainArguments) -> "Accelerator":
    """Accelerate in the launcher's configuration, with the trackers the recipe asks for."""
    from utils.distributed import build_accelerator

    return build_accelerator(
        args.per_device_train_batch_size,
        args.max_grad_norm,
        log_with=[name for name in args.report_to if name != "none" and not args.dry_run] or None,
        project_dir=str(Path(args.output_dir) / "logs"),
    )


def load_trainable_model(args: TrainArguments, accelerator: "Accelerator") -> "LoadedModel":
    """The model with the parameters that are to be trained marked, in float32 but for a quantised base."""
    from utils.languages import add_language
    from utils.modeling import allow_empty_texts, check_languages, load_model, whisper_of

    quantization = choose_quantization(args, accelerator)
    loaded = load_model(args.model_name_or_path, keep_adapter=args.use_peft, quantization=quantization)
    new_tokens = []
    if args.add_language is not None:
        code = args.add_language
        if whisper_of(loaded.model) is not loaded.model:
            raise UserError(
                f"add_language {code} with use_peft: {args.model_name_or_path} is an adapter, which goes on "
                "as it is, without a token more. Leave use_peft out, which merges it and trains all weights, "
                "or start a new adapter from the model it was trained on."
            )
        new_tokens = [add_language(loaded.model, loaded.processor, code, args.init_language_from)]
    languages = [] if args.language == "auto" else [args.language]
    check_languages(loaded.model, languages, args.model_name_or_path)
    model = mark_what_is_trained(args, accelerator, loaded.model, new_tokens)
    if args.non_speech_share:
        allow_empty_texts(model)
    if args.gradient_checkpointing:
        whisper_of(model).activation_checkpointing_enable({"use_reentrant": False})
    whisper_of(model).model.encoder.embed_positions.requires_grad_(False)  # sinusoids, fixed in Whisper
    return replace(loaded, model=model)


def mark_what_is_trained(
    args: TrainArguments, accelerator: "Accelerator", model: "torch.nn.Module", new_tokens: list[int]
) -> "torch.nn.Module":
    """Freeze parts of the model, or put an adapter beside it; an adapter folder goes on with its own."""
    from utils.freezing import freeze
    from utils.modeling import whisper_of

    if not args.use_peft:
        freeze(
            model.requires_grad_(True),  # a merged adapter leaves its base frozen
            encoder=args.freeze_encoder,
            convolutions=args.freeze_feature_encoder,
            encoder_layers=args.freeze_encoder_layers,
            embeddings=args.freeze_embeddings,
        )
        return model
    from utils.adapters import Adapter, add_adapter, describe_adapter

    if whisper_of(model) is not model:
        accelerator.print(f"{args.model_name_or_path} goes on as it is: {describe_adapter(model)}")
        return model
    adapter = Adapter(
        args.peft_type,
        r=args.lora_r,
        alpha=args.lora_alpha,
        dropout=args.lora_dropout,
        target_modules=args.lora_target_modules,
        init_r=args.init_r,
        use_rslora=args.use_rslora,
        use_dora=args.use_dora,
        token_ids=new_tokens,
    )
    return add_adapter(model, args.model_name_or_path, adapter)


def choose_quantization(args: TrainArguments, accelerator: "Accelerator") -> "Quantization | None":
    """How the base of an adapter is quantised; unpacked in the launcher's precision.

    Raises:
        UserError: What is asked for does not work on a model that is split over processes.
    """
    import torch

    from utils.distributed import check_not_split
    from utils.quantization import Quantization

    on_one_device = {
        "load_in_8bit": args.load_in_8bit,
        "load_in_4bit": args.load_in_4bit,
        "peft_type adalora": args.peft_type == "adalora",
        "optim adamw_bnb_8bit": args.optim == "adamw_bnb_8bit",
    }
    check_not_split(accelerator, [name for name, is_asked in on_one_device.items() if is_asked])
    if not (args.load_in_8bit or args.load_in_4bit):
        return None
    dtypes = {"bf16": torch.bfloat16, "fp16": torch.float16}
    return Quantization(
        bits=8 if args.load_in_8bit else 4,
        device=accelerator.device,
        quant_type=args.bnb_4bit_quant_type,
        double_quant=args.bnb_4bit_use_double_quant,
        compute_dtype=dtypes.get(accelerator.mixed_precision, torch.float32),
    )


def load_data(args: TrainArguments, loaded: "LoadedModel", accelerator: "Accelerator") -> TrainingData:
    """The training and validation splits; labels too long for Whisper are set aside."""
    from utils.dataset import digest_of, draw_rows, load_prepared
    from utils.examples import DrawOptions, TrainingClips, read_clips
    from utils.labels import MAX_LABEL_TOKENS, LabelWriter
    from utils.modeling import check_languages

    sizes = [len(load_prepared([folder], "train", language="auto")) for folder in args.dataset]
    rows = load_prepared(args.dataset, "train", language=args.language)
    digest = digest_of(rows)
    rows = rows.remove_columns([name for name in rows.column_names if name == "dataset"])  # a source's own
    rows = rows.add_column("dataset", [number for number, size in enumerate(sizes) for _ in range(size)])
    rows = draw_rows(rows, args.max_train_samples, args.seed)
    languages = check_languages(loaded.model, rows["language"], args.model_name_or_path)
    tokenizer = loaded.processor.tokenizer
    writer = LabelWriter(tokenizer, args.task)
    clips = read_clips(rows, tokenizer, languages, list(rows["text"]), lower_case=args.do_lower_case)
    num_targets = [writer.count_targets([clip.text], clip.language) for clip in clips]
    fitting = [index for index, number in enumerate(num_targets) if number <= MAX_LABEL_TOKENS]
    if len(fitting) < len(clips):
        set_aside_long_labels(args, accelerator, list(rows["id"]), num_targets)
    if not fitting:
        raise UserError(f"{', '.join(args.dataset)}: no utterance of the training split can be trained on.")
    rows, clips = rows.select(fitting), [clips[index] for index in fitting]
    options = DrawOptions(
        passes=tuple(args.dataset_passes or [1.0] * len(args.dataset)),
        stitch_probability=args.stitch_probability,
        timestamp_probability=args.timestamp_probability,
        previous_probability=args.condition_on_prev_probability,
        augmentation=choose_augmentation(args, accelerator),
        non_speech=choose_non_speech(args, accelerator),
    )
    training = TrainingClips(rows, clips, rows["dataset"], writer, options, args.seed)
    if args.condition_on_prev_probability and not training.knows_texts_before:
        raise UserError(
            f"condition_on_prev_probability {args.condition_on_prev_probability}: no clip of "
            f"{', '.join(args.dataset)} has a text before it. Expected a column previous_text, or start and "
            "end of clips in a recording they share. Leave it out."
        )
    needs_validation = args.eval_steps or args.eval_on_start or args.interpolation_alphas
    validation = load_validation(args) if needs_validation else rows.select([])
    check_languages(loaded.model, known_languages(validation), args.model_name_or_path)
    scored_by = digest_of(validation, args.normalizer, args.task, args.generation_max_length)
    contexts = fix_contexts(args, accelerator, loaded, clips, options)
    plan = plan_steps(args, accelerator, training, contexts)
    limit = limit_micro_batches(args, accelerator)
    return TrainingData(training, list(rows["id"]), digest, plan, validation, scored_by, limit, contexts)


def fix_contexts(
    args: TrainArguments,
    accelerator: "Accelerator",
    loaded: "LoadedModel",
    clips: "list[Clip]",
    options: "DrawOptions",
) -> list[float] | None:
    """One context for each clip where the encoder would give the same for it in every epoch; else None."""
    from utils.batching import fixed_contexts
    from utils.frozen import encoder_is_fixed

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


def keep_encoder_states(
    args: TrainArguments,
    accelerator: "Accelerator",
    loaded: "LoadedModel",
    data: TrainingData,
    total_steps: int,
) -> TrainingData:
    """Have the outputs of a frozen encoder kept, where clips are seen again."""
    from utils.frozen import open_encoder_states

    encoding = choose_fixed_encoding(args, accelerator, data, total_steps)
    if encoding is None:
        return data
    folder = Path(args.output_dir) / "encoder_states"
    audio = (row["audio"] for row in data.clips.rows)
    return replace(data, encoder_states=open_encoder_states(accelerator, folder, loaded, encoding, audio))


def choose_fixed_encoding(
    args: TrainArguments, accelerator: "Accelerator", data: TrainingData, total_steps: int
) -> "FixedEncoding | None":
    """How a frozen encoder encodes each clip; None where no clip is seen again, or another encodes it."""
    from utils.distributed import is_sharded
    from utils.frozen import FixedEncoding
    from utils.onednn import choose_multiples

    if data.contexts is None or total_steps <= data.plan.count_steps(1) or is_sharded(accelerator):
        return None
    multiples = choose_multiples(accelerator.device, accelerator.mixed_precision)
    return FixedEncoding(data.contexts, silence_run(args), multiples.positions)


def silence_run(args: TrainArguments) -> int:
    """Positions of silence that one stands for behind a dynamic context; the full one has all of them."""
    return args.silence_run if args.audio_context == "dynamic" else 0


def choose_augmentation(args: TrainArguments, accelerator: "Accelerator") -> "Augmentation":
    """What may happen to the audio of a clip, looked at before anything long begins."""
    from utils.augmentation import Augmentation, check_augmentation

    augmentation = Augmentation(
        speed_factors=tuple(args.speed_factors),
        reverb_probability=args.reverb_probability,
        reverb_dir=args.reverb_dir,
        reverb_rt60=tuple(args.reverb_rt60),
        noise_probability=args.noise_probability,
        noise_dir=args.noise_dir,
        noise_snr_db=tuple(args.noise_snr_db),
        gain_probability=args.gain_probability,
        gain_db=tuple(args.gain_db),
        codec_probability=args.codec_probability,
        codecs=tuple(args.codecs),
    )
    if accelerator.is_main_process:
        check_augmentation(augmentation)
    return augmentation


def choose_non_speech(args: TrainArguments, accelerator: "Accelerator") -> "NonSpeech":
    """How many windows without speech there are beside the clips, their folder looked at."""
    from utils.non_speech import NonSpeech, check_non_speech

    non_speech = NonSpeech(args.non_speech_share, args.non_speech_dir)
    if accelerator.is_main_process:
        check_non_speech(non_speech)
    return non_speech


def choose_spec_augment(args: TrainArguments) -> "SpecAugment | None":
    """How spectrograms are masked, if they are."""
    from utils.spec_augment import SpecAugment

    if not args.apply_spec_augment:
        return None
    return SpecAugment(
        mask_time_prob=args.mask_time_prob,
        mask_time_length=args.mask_time_length,
        mask_time_min_masks=args.mask_time_min_masks,
        mask_feature_prob=args.mask_feature_prob,
        mask_feature_length=args.mask_feature_length,
        mask_feature_min_masks=args.mask_feature_min_masks,
    )


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
    if args.dry_run:
        named = ", ".join(reject["source"] for reject in rejects[:5])
        accelerator.print(f"{len(rejects)} utterances have labels too long for Whisper, such as {named}")
    elif accelerator.is_main_process:
        write_jsonl(Path(args.output_dir) / "rejects.jsonl", rejects)
        print(
            f"{len(rejects)} utterances have labels too long for Whisper: "
            f"set aside in {args.output_dir}/rejects.jsonl"
        )


def load_validation(args: TrainArguments) -> "Dataset":
    """The validation split in the case that is learnt, cut down to max_eval_samples."""
    from utils.dataset import draw_rows, load_prepared

    rows = load_prepared(args.dataset, "validation", language=args.language)
    return draw_rows(in_the_case_that_is_learnt(args, rows), args.max_eval_samples, args.seed)


def in_the_case_that_is_learnt(args: TrainArguments, rows: "Dataset") -> "Dataset":
    """References in lower case where labels are."""
    from datasets import Value

    if not args.do_lower_case:
        return rows
    lower = [text.lower() for text in rows["text"]]  # in memory: a map would write the audio again
    return rows.remove_columns("text").add_column("text", lower, feature=Value("string"))


def step_size(args: TrainArguments, accelerator: "Accelerator") -> "StepSize":
    """The micro-batch asked for, times accumulation, times processes."""
    from utils.batching import StepSize

    micro_batches = args.gradient_accumulation_steps * accelerator.num_processes
    if args.batch_audio_seconds is None:
        return StepSize(clips=args.per_device_train_batch_size * micro_batches, silence_run=silence_run(args))
    tokens = args.batch_label_tokens and args.batch_label_tokens * micro_batches
    seconds = args.batch_audio_seconds * micro_batches
    return StepSize(audio_seconds=seconds, label_tokens=tokens, silence_run=silence_run(args))


def plan_steps(
    args: TrainArguments, accelerator: "Accelerator", clips: "TrainingClips", contexts: list[float] | None
) -> "StepPlan":
    """The steps of the run, in contexts of their own or in those that are fixed for each clip."""
    from utils.batching import StepPlan, draw_in_contexts

    return StepPlan(
        clips.draw if contexts is None else partial(draw_in_contexts, clips.draw, contexts),
        step_size(args, accelerator),
        audio_context=args.audio_context,
        jitter=args.context_jitter,
        seed=args.seed,
    )


def limit_micro_batches(args: TrainArguments, accelerator: "Accelerator") -> Callable[[float], int]:
    """From an audio context to the most clips of a micro-batch, by the seconds that the encoder works on."""
    from utils.hardware import default_micro_batch_seconds
    from utils.silence import seconds_of_work

    default = default_micro_batch_seconds(accelerator.device, lean=args.memory == "low")
    most = min(args.micro_batch_seconds or default, 1 << 30)
    return lambda context: int(most / seconds_of_work(context, silence_run(args)))


def with_found_micro_batches(setup: Setup, *, resumed: bool) -> Setup:
    """Measure how many clips of a micro-batch fit into memory; a run that goes on keeps what was found."""
    from utils.finder import Probe, demand_of_plan, find_clips_that_fit, read_found, save_found
    from utils.optimizers import moment_bytes

    args, accelerator, data = setup.args, setup.accelerator, setup.data
    path = Path(args.output_dir) / "micro_batches.json"
    saving = f"memory {args.memory}, gradient_checkpointing {args.gradient_checkpointing}"
    found = read_found(path, accelerator, saving) if resumed else None
    if found is None:
        backward = partial(
            backward_through,
            accelerator,
            setup.model,
            loaded=setup.loaded,
            masking=choose_spec_augment(args),
            exchange=False,
        )
        probe = Probe(accelerator, setup.model, backward, setup.optimizer, moment_bytes(args.optim))
        demand = demand_of_plan(data.clips, data.plan, args.num_train_epochs, accelerator.num_processes)
        found = find_clips_that_fit(probe, demand)
        if accelerator.is_main_process and not args.dry_run:
            save_found(found, path, saving)
    accelerator.print(found.describe())
    return replace(setup, data=replace(data, clips_that_fit=found))


def prepare_for_training(
    args: TrainArguments, accelerator: "Accelerator", loaded: "LoadedModel", total_steps: int
) -> tuple["torch.nn.Module", "torch.optim.Optimizer", "torch.optim.lr_scheduler.LRScheduler"]:
    """The model behind its loss, AdamW and the schedule, on the device and among the processes."""
    from accelerate import DistributedType
    from transformers import get_scheduler

    from utils.checkpoints import register_weights
    from utils.cross_entropy import CHUNK_TOKENS
    from utils.fast_paths import take_fast_paths
    from utils.modeling import WhisperLoss, whisper_of
    from utils.onednn import choose_multiples
    from utils.optimizers import build_optimizer, parameter_groups

    take_fast_paths(
        whisper_of(loaded.model),
        accelerator.device,
        accelerator.mixed_precision,
        is_whole=accelerator.distributed_type in (DistributedType.NO, DistributedType.MULTI_CPU),
        torch_compile=args.torch_compile,
    )
    if args.use_peft:
        from utils.adapters import adapter_loss, register_adapter

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


def load_steps(
    args: TrainArguments,
    accelerator: "Accelerator",
    data: TrainingData,
    loaded: "LoadedModel",
    first: int,
    last: int,
) -> Iterator[tuple["Step", list["Batch"]]]:
    """Yield the optimiser steps, each with this process's micro-batches."""
    from utils import collators
    from utils.batching import Step

    own_share = partial(
        Step.micro_batches,
        num_processes=accelerator.num_processes,
        process_index=accelerator.process_index,
        accumulation=args.gradient_accumulation_steps,
        clips_that_fit=data.clips_that_fit,
    )
    return collators.load_steps(
        data.plan,
        collators.MicroBatches(data.clips, loaded.model.config.pad_token_id, data.encoder_states),
        first,
        last,
        own_share=own_share,
        num_workers=count_workers(args, accelerator),
        pin_memory=accelerator.device.type == "cuda",
        seed=args.seed,
    )


def count_workers(args: TrainArguments, accelerator: "Accelerator") -> int:
    """Processes that read audio beside this one."""
    if args.dataloader_num_workers is not None:
        return args.dataloader_num_workers
    return 0 if accelerator.device.type == "cpu" else 4


def accumulate_gradients(
    accelerator: "Accelerator",
    model: "torch.nn.Module",
    micro_batches: list["Batch"],
    num_tokens: int,
    loaded: "LoadedModel",
    masking: "SpecAugment | None" = None,
    kept: "EncoderStates | None" = None,
) -> "torch.Tensor":
    """Backward through a step's micro-batches; each target token of the whole step weighs the same.

    Processes average their gradients, which is undone here; they exchange them at the last micro-batch. Not
    `accelerator.accumulate`, because the number of micro-batches changes from step to step.

    Returns:
        This process's summed loss, a detached scalar.
    """
    scale = accelerator.num_processes / num_tokens
    on_device = (batch.to(accelerator.device) for batch in micro_batches)
    losses = [
        backward_through(
            accelerator,
            model,
            batch,
            loaded=loaded,
            masking=masking,
            kept=kept,
            scale=scale,
            exchange=number == len(micro_batches),
        )
        for number, batch in enumerate(on_device, start=1)
    ]
    return sum(losses[1:], losses[0])


def backward_through(
    accelerator: "Accelerator",
    model: "torch.nn.Module",
    batch: "Batch",
    *,
    loaded: "LoadedModel",
    masking: "SpecAugment | None" = None,
    kept: "EncoderStates | None" = None,
    scale: float = 1.0,
    exchange: bool,
) -> "torch.Tensor":
    """Add the gradient of a micro-batch's loss, times `scale`, to what is there.

    Args:
        exchange: Whether the processes average their gradients afterwards.

    Returns:
        Its summed loss, a detached scalar.
    """
    from contextlib import nullcontext

    from utils.features import log_mel
    from utils.frozen import encode_once
    from utils.silence import encoder_positions
    from utils.spec_augment import spec_augment

    accelerator.sync_gradients = exchange
    with nullcontext() if exchange else accelerator.no_sync(model):
        features = states = None
        if kept is not None:
            states = encode_once(accelerator, loaded, batch, kept, accelerator.unwrap_model(model))
        else:
            features = log_mel(batch.waveforms, loaded.processor.feature_extractor)
        if masking is not None:
            num_frames = [round(100 * seconds) for seconds in batch.durations]
            features = spec_augment(features, num_frames, masking, batch.seeds)
        context = encoder_positions(batch.context)
        loss_sum = model(features, batch.decoder_input_ids, batch.labels, states, context)
        accelerator.backward(loss_sum * scale)
        return loss_sum.detach()


def estimate_run(setup: Setup) -> "Estimate":
    """Do a few steps and decode a few clips, and reckon from these what the whole run will take."""
    from utils import estimates
    from utils.hardware import peak_memory_bytes
    from utils.optimizers import moment_bytes

    args, plan = setup.args, setup.data.plan
    steps_per_epoch = plan.count_steps(1)
    training_seconds, encoder_states_bytes = estimate_training(setup, steps_per_epoch)
    evaluations = estimates.count_evaluations(setup.total_steps, args.eval_steps, on_start=args.eval_on_start)
    evaluation = time_evaluation(setup) if evaluations else 0.0
    models = 1 + (args.eval_steps > 0) + args.average_checkpoints + bool(args.interpolation_alphas)
    return estimates.Estimate(
        steps_per_epoch=steps_per_epoch,
        total_steps=setup.total_steps,
        training_seconds=training_seconds,
        evaluation_seconds=evaluations * evaluation,
        peak_bytes=peak_memory_bytes(),
        disk=estimates.estimate_disk(
            setup.loaded.model,
            checkpoints=args.save_total_limit if args.save_steps else 0,
            models=models,
            moment_bytes=moment_bytes(args.optim),
            adapter_only=args.use_peft,
            encoder_states=encoder_states_bytes,
        ),
        free_bytes=estimates.free_disk_bytes(Path(args.output_dir)),
    )


def estimate_training(setup: Setup, steps_per_epoch: int) -> tuple[float, int]:
    """Seconds of all steps, and bytes of a frozen encoder's outputs, which spare it work after an epoch."""
    from utils.estimates import estimate_seconds, pick_steps
    from utils.frozen import rehearsing_with_encoder_states

    args, accelerator, loaded, data = setup.args, setup.accelerator, setup.loaded, setup.data
    steps = list(data.plan.steps(0, min(setup.total_steps, steps_per_epoch)))
    passes = setup.total_steps / len(steps)
    picked = pick_steps(steps, STEPS_TIMED)
    time_step(setup, picked[0])  # the one of the most work, so that no other is the first to touch memory
    encoding = choose_fixed_encoding(args, accelerator, data, setup.total_steps)
    if encoding is None:
        return passes * estimate_seconds([time_step(setup, step) for step in picked], steps), 0
    with rehearsing_with_encoder_states(accelerator, Path(args.output_dir), loaded, encoding) as states:
        setup = replace(setup, data=replace(data, encoder_states=states))
        first, later = (
            estimate_seconds([time_step(setup, step) for step in picked], steps) for _ in range(2)
        )
    return first + (passes - 1) * later, states.num_bytes if states else 0


def time_step(setup: Setup, step: "Step") -> "TimedStep":
    """Do a step; reading its audio counts where no worker does it meanwhile."""
    from utils.estimates import TimedStep
    from utils.updates import update_weights

    args, accelerator, loaded = setup.args, setup.accelerator, setup.loaded
    started = time.perf_counter()
    _, micro_batches = next(load_steps(args, accelerator, setup.data, loaded, step.number, step.number + 1))
    reading = time.perf_counter() - started if count_workers(args, accelerator) == 0 else 0.0
    started = time.perf_counter()
    loss_sum = accumulate_gradients(
        accelerator,
        setup.model,
        micro_batches,
        step.num_targets,
        loaded,
        choose_spec_augment(args),
        setup.data.encoder_states,
    )
    update_weights(accelerator, setup.model, setup.optimizer, loss_sum, args.max_grad_norm, stop=False)
    setup.scheduler.step()
    return TimedStep(step, reading + time.perf_counter() - started)


def time_evaluation(setup: Setup) -> float:
    """Seconds of an evaluation, from one batch of each process."""
    from utils.distributed import transcribe_on_all_processes

    args, accelerator, rows = setup.args, setup.accelerator, setup.data.validation
    if not len(rows):
        return 0.0
    some = rows.select(range(min(len(rows), args.per_device_eval_batch_size * accelerator.num_processes)))
    started = time.perf_counter()
    transcribe_on_all_processes(
        accelerator,
        setup.model,
        setup.loaded.processor,
        some,
        batch_size=args.per_device_eval_batch_size,
        max_length=args.generation_max_length,
        task=args.task,
    )
    return (time.perf_counter() - started) * len(rows) / len(some)


def is_due(step: int, interval: int, total_steps: int) -> bool:
    """Whether something done every `interval` steps, and at the end, is due; an interval of 0 means never."""
    return interval > 0 and (step % interval == 0 or step == total_steps)


def count_step(state: "TrainingState", step: "Step", data: TrainingData, update: "Update") -> None:
    """Enter a step into the state that a checkpoint saves; what was skipped is not trained on."""
    state.step = step.number + 1
    if update.skipped:
        state.skipped_steps += 1
        state.skipped_in_a_row += 1
    else:
        state.skipped_in_a_row = 0
        state.loss_sum += update.loss_sum
        state.loss_tokens += step.num_targets
        state.audio_seconds += step.audio_seconds
        state.padded_seconds += step.padded_seconds
    ids = "\n".join(data.ids_of(step))
    state.order = hashlib.sha256(f"{state.order}\n{ids}".encode()).hexdigest()[:16]


def tell_skipped_step(run: Run, step: "Step", update: "Update") -> None:
    """Name the clips of a step whose loss or gradient was not finite, among which a poisoned one is found.

    Raises:
        UserError: It was one too many in a row.
    """
    args, state = run.args, run.state
    ids = " ".join(run.data.ids_of(step))
    found = f"the loss is {update.loss_sum}, the gradient norm {update.grad_norm}"
    run.log.write(state.step, skipped_steps=state.skipped_steps, skipped_ids=ids)
    if state.skipped_in_a_row == 1:
        run.accelerator.print(
            f"step {state.step}: {found}. Skipped; the weights are as before. Its clips: {ids}"
        )
    if state.skipped_in_a_row >= args.max_skipped_steps:
        raise UserError(
            f"step {state.step}: {found}; {state.skipped_in_a_row} steps in a row had to be skipped. "
            "The last checkpoint is kept. Lower learning_rate, warm up longer, or train without fp16; if it "
            f"is always the same clips (skipped_ids in {run.output_dir}/metrics.jsonl), listen to them."
        )


def check_saved(state: "TrainingState", saved: bool) -> None:
    """Before a run is left to be continued.

    Raises:
        WriteError: The checkpoint could not be written; the one before is kept.
    """
    if not saved:
        raise WriteError(
            f"told to stop at step {state.step}, which could not be saved. The checkpoint before is kept."
        )


def leave_to_be_continued(
    accelerator: "Accelerator", output_dir: Path, step: int, stop_request: "StopRequest"
) -> None:
    """End the process with the exit code that asks for another run."""
    from utils.interruption import CONTINUE, note_interruption
    from utils.runlog import end_training

    if accelerator.is_main_process:
        note_interruption(output_dir, step, stop_request.reason or "another process was told to stop")
        where = f"after step {step}, which is saved" if step else "before the first step"
        print(f"Stopped {where}. The same command goes on from there.")
    end_training(accelerator)
    raise SystemExit(CONTINUE)


def log_training(
    log: "RunLog", state: "TrainingState", step: "Step", learning_rate: float, grad_norm: float, rate: float
) -> None:
    """Write one training record and start the next mean."""
    from utils.hardware import peak_memory_bytes

    log.write(
        state.step,
        epoch=step.epoch,
        loss=state.mean_loss,
        learning_rate=learning_rate,
        grad_norm=grad_norm,
        skipped_steps=state.skipped_steps,
        audio_context=step.context,
        audio_seconds=state.audio_seconds,
        audio_seconds_per_second=rate,
        padding_share=state.padding_share,
        peak_memory_bytes=peak_memory_bytes(),
        order=state.order,
    )
    state.loss_sum, state.loss_tokens = 0.0, 0


def evaluate_and_keep_best(run: Run) -> bool:
    """Decode the validation split in the full context; save to best/ what has the lowest metric.

    The model before training is measured, but never the best.

    Returns:
        Whether it came to its end; it is left, and counts for nothing, where some process is asked to stop.
    """
    from utils.memory import IN_EVALUATION, explaining_out_of_memory
    from utils.validation import describe_rates

    args, state = run.args, run.state
    with explaining_out_of_memory(IN_EVALUATION):
        rates = validate(run)
    if rates is None:
        return False
    state.evaluated_step = state.step
    value = rates.of(args.metric_for_best_model)
    before = replace(state)
    is_best = state.count_evaluation(value, args.early_stopping_threshold)
    standing = "the best so far"
    if not state.step:
        standing = "before training"
    elif not is_best:
        where = "of the average" if state.best_step is None else f"at step {state.best_step}"
        standing = f"best: {100 * (state.best_metric or 0):.2f} % {where}"
    run.accelerator.print(f"step {state.step}: validation {describe_rates(rates)} ({standing})")
    if is_best:
        try:
            save_model(run, run.output_dir / "best")
        except WriteError as error:
            state.take_back_evaluation(before)
            run.accelerator.print(f"step {state.step}: {error} Training goes on.")
    if args.average_checkpoints and state.step:
        try:
            keep_snapshot(run, value)
        except WriteError as error:
            run.accelerator.print(f"step {state.step}: {error} Training goes on.")
    return True


def validate(run: Run) -> "ErrorRates | None":
    """Error rates of the model as it is, written down with samples; None where it was cut short."""
    from utils.distributed import transcribe_on_all_processes
    from utils.samples import pick_samples
    from utils.validation import error_rates, score_utterances

    args, rows = run.args, run.data.validation
    started = time.perf_counter()
    hypotheses = transcribe_on_all_processes(
        run.accelerator,
        run.model,
        run.loaded.processor,
        rows,
        batch_size=args.per_device_eval_batch_size,
        max_length=args.generation_max_length,
        task=args.task,
        cut_short=lambda: run.stop_request.reason is not None,
    )
    if hypotheses is None:
        return None
    seconds = time.perf_counter() - started
    scored = score_utterances(list(rows["id"]), list(rows["text"]), hypotheses, args.normalizer)
    shows_raw = args.metric_for_best_model.startswith("raw")
    samples = pick_samples(scored, args.samples_shown, args.seed, raw=shows_raw)
    run.log.write_evaluation(run.state.step, scored, seconds, samples)
    return error_rates(scored)


def evaluation_is_owed(args: TrainArguments, state: "TrainingState", total_steps: int) -> bool:
    """Whether the run begins with an evaluation: of the model before training, or one that was cut short."""
    if state.step == 0:
        return args.eval_on_start
    return state.evaluated_step < state.step and is_due(state.step, args.eval_steps, total_steps)


def patience_is_over(args: TrainArguments, state: "TrainingState") -> bool:
    """Whether so many evaluations have brought nothing better that training ends."""
    patience = args.early_stopping_patience
    return patience is not None and state.evaluations_without_improvement >= patience


def keep_snapshot(run: Run, value: float) -> None:
    """Keep the weights for the average if this evaluation is among the best; drop what no longer is.

    Raises:
        WriteError: The disk refuses, on all processes alike; the snapshots before are kept.
    """
    from utils.averaging import drop_snapshots, rank_evaluation, save_snapshot
    from utils.distributed import failing_together, whole_model
    from utils.mixing import SNAPSHOTS

    state, folder = run.state, run.output_dir / SNAPSHOTS
    ranking = rank_evaluation(state.ranking, state.step, value, run.args.average_checkpoints)
    if state.step in dict(ranking):
        whole = whole_model(run.accelerator, run.model)
        with failing_together(run.accelerator):
            if whole is not None and run.accelerator.is_main_process:
                save_snapshot(folder, state.step, whole)
    state.ranking = ranking
    if run.accelerator.is_main_process:
        drop_snapshots(folder, state.ranking)
    run.accelerator.wait_for_everyone()


def save_model(run: Run, folder: Path) -> None:
    """Write the model (or its adapter) as a folder that `from_pretrained` loads.

    Raises:
        WriteError: The disk refuses, on all processes alike; a folder that was there before is kept.
    """
    from utils.distributed import failing_together, whole_model
    from utils.modeling import adapter_name, count_parameters, save_model_folder

    args, state = run.args, run.state
    whole = whole_model(run.accelerator, run.model)
    results = {
        "step": state.step,
        "metric_for_best_model": args.metric_for_best_model,
        "best_metric": state.best_metric,
        "best_step": state.best_step,
        "metric_before_training": state.first_metric,
        "audio_hours_trained_on": state.audio_seconds / 3600,
        "trainable_parameters": count_parameters(run.loaded.model)[0],
        "data": state.data,
        "validation": state.validation,
    }
    with failing_together(run.accelerator):
        if whole is not None and run.accelerator.is_main_process:
            save_model_folder(
                folder,
                whole,
                run.loaded.processor,
                arguments_yaml=arguments_as_yaml(args),
                results=results,
                card=write_card(args, results, adapter=adapter_name(whole)),
            )


def write_card(args: TrainArguments, results: dict, *, adapter: str | None) -> str:
    """The model card of a folder with these results."""
    from utils.model_card import build_model_card

    return build_model_card(
        base_model=args.model_name_or_path,
        languages=[] if args.language == "auto" else [args.language],
        datasets=args.dataset,
        results=results,
        adapter=adapter,
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
    from utils.weights import local_folder

    is_whole = whisper_of(loaded.model) is loaded.model
    adapter_config = None if is_whole else loaded.model.active_peft_config.to_dict()
    if args.average_checkpoints:
        check_averaging(adapter_config)
    if args.interpolation_alphas:
        check_interpolation(local_folder(resolve_model(args.model_name_or_path)), adapter_config)
        for rows in load_guards(args).values():
            check_languages(loaded.model, known_languages(rows), args.model_name_or_path)


def known_languages(rows: "Dataset") -> list[str]:
    """The languages of rows to decode; for a row without one the model detects it."""
    return [language for language in rows["language"] if language is not None]


def load_guards(args: TrainArguments) -> dict[str, "Dataset"]:
    """Of every guard dataset the validation split, or the test split where there is no other, cut down.

    `--language` fills nothing here: for a row without a language of its own the model detects one.
    """
    from utils.dataset import draw_rows, load_prepared, pick_split

    guards = {}
    for folder in args.guard_datasets:
        rows = load_prepared([folder], pick_split(folder, ("validation", "test")), language="auto")
        rows = in_the_case_that_is_learnt(args, rows)
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


def mix_weights(args: TrainArguments, accelerator: "Accelerator", stop_request: "StopRequest") -> None:
    """Average the best evaluations and mix with the base model, where asked for and not done yet.

    What a stop cuts short is done anew by the next run.
    """
    from utils.distributed import CutShortError
    from utils.memory import IN_EVALUATION, explaining_out_of_memory
    from utils.mixing import Scorer, average_best_evaluations, interpolate_with_base, read_results

    output_dir = Path(args.output_dir)
    averages, interpolates = mixing_left(args, output_dir)
    accelerator.wait_for_everyone()  # all have looked before the main process writes
    if not (averages or interpolates):
        return
    # what can be averaged or mixed is plain LoRA, or no adapter
    write = partial(write_card, args, adapter="lora" if args.use_peft else None)
    scorer = Scorer(
        accelerator,
        metric=args.metric_for_best_model,
        normalizer=args.normalizer,
        batch_size=args.per_device_eval_batch_size,
        max_length=args.generation_max_length,
        task=args.task,
        quantization=choose_quantization(args, accelerator),
        cut_short=lambda: stop_request.reason is not None,
    )
    validation = load_validation(args)
    try:
        with explaining_out_of_memory(IN_EVALUATION):
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
    except CutShortError:
        step = read_results(output_dir / "final")["step"]
        leave_to_be_continued(accelerator, output_dir, step, stop_request)


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
    num_windows = sum(not example.rows for example in first_epoch)
    machine = f"{accelerator.num_processes} x {accelerator.device.type}"
    print(
        f"{len(data.ids)} clips "
        + (f"and {num_windows} windows without speech " if num_windows else "")
        + f"({hours:.2f} h an epoch) for training, "
        f"{len(data.validation)} for validation; {total_steps} steps of {data.plan.size} on {machine}, "
        f"precision {accelerator.mixed_precision}, {args.audio_context} audio context"
        + (", silence condensed" if silence_run(args) else "")
        + (f"; going on from step {first_step}" if first_step else "")
    )
    if args.use_peft and args.learning_rate < LOW_FOR_ADAPTERS:
        usual = "1e-2" if args.peft_type == "adalora" else "1e-3"
        print(f"learning_rate {args.learning_rate:g} suits whole weights; an adapter usually takes {usual}.")


if __name__ == "__main__":
    with user_errors_end_the_script():
        main()
