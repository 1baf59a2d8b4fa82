"""Load the training and validation data, and plan the steps."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from accelerate import Accelerator
from datasets import Dataset, Value, concatenate_datasets

from utils.arguments.train import TrainArguments
from utils.data.length_batches import StepSize
from utils.data.prepared_dataset import describe_own_languages, digest_of, draw_rows, load_prepared
from utils.model.languages import check_languages
from utils.model.loading import LoadedModel
from utils.runtime.errors import UserError
from utils.runtime.files import write_jsonl
from utils.runtime.messages import counted
from utils.text.label_tokens import MAX_LABEL_TOKENS, LabelWriter
from utils.training.clip_rows import DrawOptions, TrainingClip, read_clips
from utils.training.clips import TrainingClips
from utils.training.encoder_cache import EncoderCache, encoder_is_fixed
from utils.training.fixed_contexts import draw_in_contexts, fixed_contexts
from utils.training.options import check_augmentation, limit_micro_batches, step_size
from utils.training.steps import Step, StepPlan
from utils.training.term_prompts import TermPrompts, load_term_prompts


@dataclass(frozen=True)
class TrainingData:
    """The training clips, the plan of the steps, and the validation split."""

    clips: TrainingClips
    ids: list[str]
    digest: str  # of the clips of all training splits
    plan: StepPlan
    validation: Dataset
    validation_digest: str  # of these clips, and of the settings that score them
    clips_that_fit: Callable[[float], int]  # from an audio context to the largest micro-batch
    contexts: list[float] | None  # of each clip, if encoder outputs are the same in every epoch
    encoder_cache: EncoderCache | None = None

    def ids_of(self, step: Step) -> list[str]:
        """Return the ids of all clips of a step."""
        return [self.ids[row] for example in step.examples for row in example.rows]


def load_data(args: TrainArguments, loaded: LoadedModel, accelerator: Accelerator) -> TrainingData:
    """Load the training and validation splits. Leave out clips whose labels are too long for Whisper."""
    check_augmentation(args, accelerator)
    rows, digest = load_training_rows(args)
    languages = check_languages(loaded.model, rows["language"], args.model_name_or_path)
    if others := describe_own_languages(rows["language"], args.language):
        accelerator.print(others)
    tokenizer = loaded.processor.tokenizer
    writer = LabelWriter(tokenizer, args.task)
    clips = read_clips(rows, tokenizer, languages, list(rows["text"]), lower_case=args.do_lower_case)
    rows, clips = leave_out_long_labels(args, accelerator, rows, clips, writer)
    options = DrawOptions(
        passes=tuple(args.dataset_passes or [1.0] * len(args.dataset)),
        stitch_probability=args.stitch_probability,
        timestamp_probability=args.timestamp_probability,
        previous_probability=args.condition_on_prev_probability,
        augmentation=args,
        non_speech=args,
    )
    terms = read_prompt_terms(args, loaded, accelerator, rows)
    training = TrainingClips(rows, clips, list(rows["dataset"]), writer, options, args.seed, terms)
    if args.condition_on_prev_probability and not training.knows_texts_before:
        raise UserError(
            f"condition_on_prev_probability {args.condition_on_prev_probability}: no clip of "
            f"{', '.join(args.dataset)} has a previous text. Expected a column previous_text, or several "
            "clips of one recording with start and end. Remove this argument."
        )
    validates = args.eval_steps or args.eval_on_start or args.interpolation_alphas
    validation = load_validation(args) if validates else rows.select([])
    check_languages(loaded.model, known_languages(validation), args.model_name_or_path)
    size, contexts = step_size(args, accelerator), None
    if options.is_the_same_every_epoch and not args.apply_spec_augment and encoder_is_fixed(loaded.model):
        contexts = contexts_of_clips(args, size, clips)
    return TrainingData(
        training,
        list(rows["id"]),
        digest,
        plan_steps(args, size, training, contexts),
        validation,
        digest_of(validation, args.normalizer, args.task, args.generation_max_length),
        limit_micro_batches(args, accelerator),
        contexts,
    )


def load_training_rows(args: TrainArguments) -> tuple[Dataset, str]:
    """Load the training rows, up to max_train_samples, each with its dataset number.

    Also return a digest of all rows.
    """
    rows, numbers = read_training_rows(args), []
    for split in training_splits(args):
        for number, folder in enumerate(args.dataset):
            numbers += [number] * len(load_prepared([folder], split, language="auto"))
    digest = digest_of(rows)
    rows = rows.remove_columns([name for name in rows.column_names if name == "dataset"])  # a source's own
    rows = rows.add_column("dataset", numbers)
    return draw_rows(rows, args.max_train_samples, args.seed), digest


def read_training_rows(args: TrainArguments) -> Dataset:
    """Read the splits to train on, one after another, each from all datasets."""
    splits = training_splits(args)
    return concatenate_datasets(
        [load_prepared(args.dataset, split, language=args.language) for split in splits]
    )


def training_splits(args: TrainArguments) -> list[str]:
    """Return the names of the splits to train on."""
    return ["train", "validation"] if args.merge_validation else ["train"]


def leave_out_long_labels(
    args: TrainArguments,
    accelerator: Accelerator,
    rows: Dataset,
    clips: list[TrainingClip],
    writer: LabelWriter,
) -> tuple[Dataset, list[TrainingClip]]:
    """Leave out utterances whose labels are too long for Whisper's decoder, and list them in rejects.jsonl.

    Raises:
        UserError: No utterance is left.
    """
    counts = [writer.count_targets([clip.text], clip.language) for clip in clips]
    fitting = [index for index, count in enumerate(counts) if count <= MAX_LABEL_TOKENS]
    rejects = [
        {
            "source": row_id,
            "position": "train",
            "reason": f"{count} label tokens, expected at most {MAX_LABEL_TOKENS}",
        }
        for row_id, count in zip(rows["id"], counts, strict=True)
        if count > MAX_LABEL_TOKENS
    ]
    if rejects and accelerator.is_main_process:
        found = f"{counted(len(rejects), 'clip')} with a label too long for Whisper"
        if args.dry_run:
            print(f"{found}, such as {', '.join(reject['source'] for reject in rejects[:5])}")
        else:
            write_jsonl(Path(args.output_dir) / "rejects.jsonl", rejects)
            print(f"{found}: not used, and listed in {args.output_dir}/rejects.jsonl")
    if not fitting:
        raise UserError(
            f"{', '.join(args.dataset)}: no utterance of the training split is short enough to train on."
        )
    return rows.select(fitting), [clips[index] for index in fitting]


def read_prompt_terms(
    args: TrainArguments, loaded: LoadedModel, accelerator: Accelerator, rows: Dataset
) -> TermPrompts | None:
    """Read the terms that are given in prompts, if there are any, and print how many of them are said."""
    if args.prompt_terms_file is None:
        return None
    tokenizer, lower_case = loaded.processor.tokenizer, args.do_lower_case
    terms = load_term_prompts(args.prompt_terms_file, list(rows["text"]), tokenizer, lower_case=lower_case)
    accelerator.print(f"{args.prompt_terms_file}: {terms}.")
    return terms


def contexts_of_clips(args: TrainArguments, size: StepSize, clips: list[TrainingClip]) -> list[float]:
    """Choose one context per clip for the whole run, so that its encoder outputs can be cached."""
    durations = [clip.duration for clip in clips]
    jitter = args.context_jitter
    return fixed_contexts(durations, size, audio_context=args.audio_context, jitter=jitter, seed=args.seed)


def plan_steps(
    args: TrainArguments, size: StepSize, clips: TrainingClips, contexts: list[float] | None
) -> StepPlan:
    """Plan the steps of the run. If `contexts` is given, it sets the context of each clip."""
    draw = clips.draw if contexts is None else partial(draw_in_contexts, clips.draw, contexts)
    return StepPlan(draw, size, audio_context=args.audio_context, jitter=args.context_jitter, seed=args.seed)


def load_validation(args: TrainArguments) -> Dataset:
    """Load the split that chooses the best model, up to max_eval_samples.

    Its texts are in lower case if the labels are.
    """
    rows = load_prepared(args.dataset, args.eval_split, language=args.language)
    return draw_rows(in_the_case_that_is_learnt(args, rows), args.max_eval_samples, args.seed)


def in_the_case_that_is_learnt(args: TrainArguments, rows: Dataset) -> Dataset:
    """Convert references to lower case if labels are in lower case."""
    if not args.do_lower_case:
        return rows
    lower = [text.lower() for text in rows["text"]]  # in memory: a map would write the audio again
    return rows.remove_columns("text").add_column("text", lower, feature=Value("string"))


def known_languages(rows: Dataset) -> list[str]:
    """Return the known languages of rows. For other rows the model detects the language."""
    return [language for language in rows["language"] if language is not None]
