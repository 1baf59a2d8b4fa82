"""After training: average the best checkpoints, and mix the weights with the base model."""

import shlex
from pathlib import Path

from accelerate import Accelerator
from datasets import Dataset
from peft import PeftModel

from utils.arguments.train import TrainArguments
from utils.data.prepared_dataset import draw_rows, load_prepared, pick_split
from utils.model.averaging import check_averaging
from utils.model.interpolation import check_interpolation
from utils.model.languages import check_languages
from utils.model.leaks import leak_warnings
from utils.model.loading import LoadedModel
from utils.model.resolving import resolve_model
from utils.model.saving import local_folder
from utils.model.transcription import CutShortError
from utils.runtime.interruption import StopRequest
from utils.runtime.messages import next_step_is_automatic
from utils.runtime.out_of_memory import IN_EVALUATION, explaining_out_of_memory
from utils.training.data import in_the_case_that_is_learnt, known_languages, load_validation
from utils.training.evaluation_history import METRICS_FILE, describe_course, read_evaluations, read_log
from utils.training.mixing import (
    FinishedRun,
    average_best_evaluations,
    interpolate_with_base,
    mixing_left,
)
from utils.training.model_folders import read_training_results
from utils.training.run import leave_to_be_continued

GUARD_SAMPLES = 200  # utterances to decode from each guard dataset


def check_mixing(args: TrainArguments, loaded: LoadedModel) -> None:
    """Check before training whether these weights can be averaged and mixed as requested.

    Raises:
        UserError: The weights cannot be averaged or mixed, a guard dataset is missing, or the model does not
            know its language.
    """
    model = loaded.model
    adapter_config = model.active_peft_config.to_dict() if isinstance(model, PeftModel) else None
    if args.average_checkpoints:
        check_averaging(adapter_config)
    if args.interpolation_alphas:
        check_interpolation(local_folder(resolve_model(args.model_name_or_path)), adapter_config)
        for rows in load_guards(args).values():
            check_languages(model, known_languages(rows), args.model_name_or_path)


def load_guards(args: TrainArguments) -> dict[str, Dataset]:
    """Load a sample of each guard dataset.

    It is from the validation split, or from the test split if there is no other. `--language` has no effect
    here: if a row has no language, the model detects it.
    """
    guards = {}
    for folder in args.guard_datasets:
        rows = load_prepared([folder], pick_split(folder, ("validation", "test")), language="auto")
        rows = in_the_case_that_is_learnt(args, rows)
        guards[folder] = draw_rows(rows, GUARD_SAMPLES, args.seed)
    return guards


def mix_weights(args: TrainArguments, accelerator: Accelerator, stop_request: StopRequest) -> None:
    """Average the weights of the best evaluations, and mix weights with the base model, if this is requested
    and not done yet.

    If the run is stopped here, the next run starts this work again.
    """
    averages, interpolates = mixing_left(args)
    accelerator.wait_for_everyone()  # all processes must check before the main process writes
    if not (averages or interpolates):
        return
    run, validation = FinishedRun(args, accelerator, stop_request), load_validation(args)
    try:
        with explaining_out_of_memory(IN_EVALUATION):
            if averages:
                average_best_evaluations(run, validation)
            if interpolates:
                interpolate_with_base(run, validation, load_guards(args))
    except CutShortError:
        step = read_training_results(run.folder / "final")["step"]
        leave_to_be_continued(accelerator, run.folder, step, stop_request)


def describe_results(args: TrainArguments) -> str:
    """Describe the results of the run, and the command that compares them with the base model."""
    run, tuned = Path(args.output_dir), "final"
    found = [f"{run / 'final'} (last step)"]
    if (run / "best").is_dir():
        tuned = "best"
        results = read_training_results(run / "best")
        steps = results.get("averaged_steps")
        origin = f"average of steps {', '.join(map(str, steps))}" if steps else f"step {results['best_step']}"
        found.append(f"{run / 'best'} ({origin})")
        first = results["metric_before_training"]
        if first is not None and results["best_metric"] >= first:
            found.append("no evaluation was better than the model before training")
    if (run / "interpolated").is_dir():
        found.append(f"{run / 'interpolated'} (mixed with the base model)")
    evaluations = read_evaluations(read_log(run / METRICS_FILE))
    course = describe_course(evaluations, args.metric_for_best_model)
    lines = [f"Done: {'; '.join(found)}."]
    if course:
        lines.append(course)
    lines += [f"WARNING: {sentence}" for sentence in leak_warnings(vars(args))]
    if not next_step_is_automatic():
        lines.append(f"Next, evaluate on the test split:\n  {test_command(args, tuned)}")
    return "\n".join(lines)


def test_command(args: TrainArguments, tuned: str) -> str:
    """Return the command that compares a folder of the run with the base model on the test split."""
    words = ["python", "evaluate.py", "--models", args.model_name_or_path, str(Path(args.output_dir) / tuned)]
    words += ["--dataset", *args.dataset]
    words += [] if args.language == "auto" else ["--language", args.language]
    return shlex.join([*words, "--output_dir", str(Path(args.output_dir) / "report")])
