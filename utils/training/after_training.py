"""Averages and mixtures of finished weights, as the arguments ask for them."""

from functools import partial
from pathlib import Path

from accelerate import Accelerator
from datasets import Dataset

from utils.arguments.train import TrainArguments
from utils.data.prepared_dataset import draw_rows, load_prepared, pick_split
from utils.model.averaging import check_averaging
from utils.model.interpolation import check_interpolation
from utils.model.languages import check_languages
from utils.model.loading import LoadedModel
from utils.model.resolving import resolve_model
from utils.model.stored_weights import local_folder
from utils.model.transcription import CutShortError
from utils.model.whisper import whisper_of
from utils.runtime.interruption import StopRequest
from utils.runtime.out_of_memory import IN_EVALUATION, explaining_out_of_memory
from utils.training.data import in_the_case_that_is_learnt, known_languages, load_validation
from utils.training.mixing import (
    Scorer,
    average_best_evaluations,
    interpolate_with_base,
    is_averaged,
    is_interpolated,
    read_results,
)
from utils.training.resuming import MIXING_ARGUMENTS
from utils.training.run import leave_to_be_continued
from utils.training.trainable_model import choose_quantization
from utils.training.validation import write_card


def check_mixing(args: TrainArguments, loaded: LoadedModel) -> None:
    """Before any work: whether weights of this kind can be averaged and mixed as asked.

    Raises:
        UserError: They cannot, or a guard dataset is missing or in a language that the model does not know.
    """
    is_whole = whisper_of(loaded.model) is loaded.model
    adapter_config = None if is_whole else loaded.model.active_peft_config.to_dict()
    if args.average_checkpoints:
        check_averaging(adapter_config)
    if args.interpolation_alphas:
        check_interpolation(local_folder(resolve_model(args.model_name_or_path)), adapter_config)
        for rows in load_guards(args).values():
            check_languages(loaded.model, known_languages(rows), args.model_name_or_path)


def load_guards(args: TrainArguments) -> dict[str, "Dataset"]:
    """Of every guard dataset the validation split, or the test split where there is no other, cut down.

    `--language` fills nothing here: for a row without a language of its own the model detects one.
    """
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

    asked = {name: getattr(args, name) for name in MIXING_ARGUMENTS}
    averages = args.average_checkpoints > 0 and not is_averaged(output_dir)
    return averages, bool(args.interpolation_alphas) and not is_interpolated(output_dir, asked)


def mix_weights(args: TrainArguments, accelerator: Accelerator, stop_request: StopRequest) -> None:
    """Average the best evaluations and mix with the base model, where asked for and not done yet.

    What a stop cuts short is done anew by the next run.
    """
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
