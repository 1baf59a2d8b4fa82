"""What is trained on, in which steps, and what is validated on."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from accelerate import Accelerator
from datasets import Dataset, Value

from utils.arguments.train import TrainArguments
from utils.data.prepared_dataset import draw_rows, load_prepared, split_digest
from utils.model.languages import check_languages
from utils.model.loading import LoadedModel
from utils.runtime.errors import UserError
from utils.runtime.files import write_jsonl
from utils.text.label_tokens import MAX_LABEL_TOKENS, LabelWriter
from utils.training.clip_rows import DrawOptions, read_clips
from utils.training.clips import TrainingClips
from utils.training.encoder_states import EncoderStates
from utils.training.options import choose_augmentation, choose_non_speech
from utils.training.step_plan import fix_contexts, limit_micro_batches, plan_steps
from utils.training.steps import Step, StepPlan


@dataclass(frozen=True)
class TrainingData:
    """What is trained on, in which steps, and what is validated on."""

    clips: TrainingClips
    ids: list[str]
    digest: str  # of the clips of all training splits
    plan: StepPlan
    validation: Dataset
    validation_digest: str  # of these clips, and of how they are scored
    clips_that_fit: Callable[[float], int]  # into a micro-batch, by audio context
    contexts: list[float] | None = None  # of each clip, where the encoder gives the same in every epoch
    encoder_states: EncoderStates | None = None  # what it gave

    def ids_of(self, step: Step) -> list[str]:
        """Ids of all clips of a step."""
        return [self.ids[row] for example in step.examples for row in example.rows]


def load_data(args: TrainArguments, loaded: LoadedModel, accelerator: Accelerator) -> TrainingData:
    """The training and validation splits; labels too long for Whisper are set aside."""
    sizes = [len(load_prepared([folder], "train", language="auto")) for folder in args.dataset]
    rows = load_prepared(args.dataset, "train", language=args.language)
    digest = split_digest(rows)
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
    scored_by = split_digest(validation, args.normalizer, args.task, args.generation_max_length)
    contexts = fix_contexts(args, accelerator, loaded, clips, options)
    plan = plan_steps(args, accelerator, training, contexts)
    limit = limit_micro_batches(args, accelerator)
    return TrainingData(training, list(rows["id"]), digest, plan, validation, scored_by, limit, contexts)


def set_aside_long_labels(
    args: TrainArguments, accelerator: Accelerator, ids: list[str], num_targets: list[int]
) -> None:
    """Write the utterances whose labels Whisper's decoder cannot hold to rejects.jsonl."""
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


def load_validation(args: TrainArguments) -> Dataset:
    """The validation split in the case that is learnt, cut down to max_eval_samples."""
    rows = load_prepared(args.dataset, "validation", language=args.language)
    return draw_rows(in_the_case_that_is_learnt(args, rows), args.max_eval_samples, args.seed)


def in_the_case_that_is_learnt(args: TrainArguments, rows: Dataset) -> Dataset:
    """References in lower case where labels are."""
    if not args.do_lower_case:
        return rows
    lower = [text.lower() for text in rows["text"]]  # in memory: a map would write the audio again
    return rows.remove_columns("text").add_column("text", lower, feature=Value("string"))


def known_languages(rows: Dataset) -> list[str]:
    """The languages of rows to decode; for a row without one the model detects it."""
    return [language for language in rows["language"] if language is not None]
