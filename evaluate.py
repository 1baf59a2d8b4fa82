"""Score models on prepared datasets: word and character error rates, and what later models gain on the first.

On any computer:

    python evaluate.py --models openai/whisper-base runs/it/best --dataset data/it --language it \\
        --output_dir runs/it/report

One process is enough for a test set; under Accelerate:

    accelerate launch --num_processes 1 evaluate.py --models runs/it/best --dataset data/it --language it \\
        --output_dir runs/it/report
"""

import os
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from utils.arguments import EvaluateArguments, arguments_as_yaml, differing_arguments, parse_arguments
from utils.errors import UserError, user_errors_end_the_script

if TYPE_CHECKING:
    from datasets import Dataset

    from utils.evaluation import Decoding, EvaluationSet, ScoredDecoding
    from utils.modeling import LoadedModel
    from utils.progress import AudioProgress

ARGUMENTS_FILE = "evaluate.yaml"
PREDICTIONS_FILE = "predictions.jsonl"
RESULTS_FILE = "evaluation_results.json"
COMPARISON_FILE = "comparative_analysis.json"
PICTURE_FILE = "before_after.png"


def main(argv: list[str] | None = None) -> None:
    with user_errors_end_the_script():
        arguments = parse_arguments(EvaluateArguments, argv, __doc__)
        output_dir = Path(arguments.output_dir)
        if is_already_evaluated(arguments, output_dir):
            show_report(output_dir)
            print(f"{output_dir}: evaluated before with these arguments, reused. Delete it to start over.")
            return
        from utils.progress import silence_libraries

        check_processes()
        silence_libraries()
        check_models(arguments)
        splits = load_splits(arguments)
        write_arguments(arguments, output_dir)
        scored: list[ScoredDecoding] = []
        for model in arguments.models:
            scored += evaluate_model(model, splits, arguments)
            write_predictions(scored, splits, output_dir)  # kept if a later model fails
        write_report(scored, arguments, output_dir)
        show_report(output_dir)


def is_already_evaluated(arguments: EvaluateArguments, output_dir: Path) -> bool:
    """Whether the folder holds what this run would write, and no model or dataset has changed since.

    A folder without evaluate.yaml may hold anything else: a report often stands inside a run folder.

    Raises:
        UserError: The folder is an evaluation with other arguments, or no folder.
    """
    if output_dir.is_file():
        raise UserError(
            f"{output_dir}: found a file, expected a folder or nothing. Choose another --output_dir."
        )
    if not (output_dir / ARGUMENTS_FILE).is_file():
        return False
    different = differing_arguments(arguments, output_dir / ARGUMENTS_FILE)
    if different:
        raise UserError(
            f"{output_dir}: holds an evaluation with other arguments: {'; '.join(different)}. "
            "Choose another --output_dir, or delete the folder."
        )
    results = output_dir / RESULTS_FILE
    if not results.is_file():
        return False
    newest = max(newest_change(Path(name), output_dir) for name in [*arguments.models, *arguments.dataset])
    return results.stat().st_mtime > newest


def newest_change(folder: Path, ignored: Path) -> float:
    """When the newest file below `folder` was written, in seconds since the epoch; 0 for no local folder.

    Files below `ignored` and the caches that the datasets library leaves beside its data do not count.
    """
    ignored = ignored.resolve()
    times = [
        path.stat().st_mtime
        for path in folder.resolve().rglob("*")
        if path.is_file() and not path.name.startswith("cache-") and ignored not in path.parents
    ]
    return max(times, default=0.0)


def check_processes() -> None:
    """Refuse several processes: each would score everything.

    Raises:
        UserError: The launcher has started more than one.
    """
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if processes > 1:
        raise UserError(
            f"evaluate.py was launched in {processes} processes, expected one. Run `python evaluate.py …` "
            "or `accelerate launch --num_processes 1 evaluate.py …`."
        )


def check_models(arguments: EvaluateArguments) -> None:
    """Look for every model before the first one is decoded.

    Raises:
        UserError: Models that are not there; all are reported at once.
    """
    from utils.starter import resolve_model

    problems = []
    for model in arguments.models:
        try:
            resolve_model(model)
        except UserError as error:
            problems.append(str(error))
    if problems:
        raise UserError("\n       ".join(problems))


def load_splits(arguments: EvaluateArguments) -> list[tuple["EvaluationSet", "Dataset"]]:
    """The split of every dataset, cut down to max_samples.

    Raises:
        UserError: A dataset or split is missing or empty.
    """
    from utils.dataset import draw_rows, load_prepared
    from utils.evaluation import build_evaluation_set

    splits = []
    for folder in arguments.dataset:
        rows = load_prepared([folder], arguments.split, language=arguments.language)
        rows = draw_rows(rows, arguments.max_samples, arguments.seed)
        splits.append((build_evaluation_set(rows, folder, arguments.split), rows))
    return splits


def write_arguments(arguments: EvaluateArguments, output_dir: Path) -> None:
    """Write the resolved arguments beside what is to come."""
    from utils.files import write_text

    write_text(output_dir / ARGUMENTS_FILE, arguments_as_yaml(arguments))


def evaluate_model(
    name: str, splits: list[tuple["EvaluationSet", "Dataset"]], arguments: EvaluateArguments
) -> list["ScoredDecoding"]:
    """Load one model and score it on every split, in the full context first."""
    from utils.evaluation import score_decoding
    from utils.modeling import check_languages

    loaded = load_on_device(name, arguments.dtype)
    for _, rows in splits:
        # a row without a language is no fault here: the model detects it
        check_languages(loaded.model, [code for code in rows["language"] if code is not None], name)
    contexts = choose_contexts(arguments.audio_context, loaded.dynamic_context)
    scored = []
    for evaluation_set, rows in splits:
        for context in contexts:
            decoding = decode(name, loaded, evaluation_set, rows, context, arguments)
            scored.append(
                score_decoding(
                    evaluation_set,
                    decoding,
                    arguments.normalizer,
                    arguments.bootstrap_samples,
                    arguments.seed,
                )
            )
    return scored


def load_on_device(name: str, dtype: str) -> "LoadedModel":
    """The model on the fastest device here, in evaluation mode."""
    os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")  # read when torch is imported
    import torch

    from utils.hardware import pick_device, pick_dtype
    from utils.modeling import load_model

    device = pick_device()
    precision: torch.dtype = pick_dtype(device) if dtype == "auto" else getattr(torch, dtype)
    loaded = load_model(name, dtype=precision)
    loaded.model.to(device).eval()
    return loaded


def choose_contexts(audio_context: str, trained_on_dynamic: bool) -> list[str]:
    """The contexts to decode in; an untuned model runs away in a dynamic one, so auto spares it that."""
    if audio_context == "auto":
        return ["full", "dynamic"] if trained_on_dynamic else ["full"]
    return [audio_context]


def decode(
    name: str,
    loaded: "LoadedModel",
    evaluation_set: "EvaluationSet",
    rows: "Dataset",
    context: str,
    arguments: EvaluateArguments,
) -> "Decoding":
    """Transcribe a split under a progress bar, and take the time."""
    from utils.decoding import transcribe
    from utils.evaluation import Decoding
    from utils.progress import audio_progress

    description = f"{Path(name).name}, {evaluation_set.split}, {context} context"
    by_clip = context == "full"  # every clip costs its 30 s there, so clips give the honest time left
    total = len(evaluation_set.ids) if by_clip else sum(evaluation_set.durations)
    with audio_progress(description, total) as progress:
        started = time.perf_counter()
        hypotheses = transcribe(
            loaded.model,
            loaded.processor,
            rows["audio"],
            evaluation_set.durations,
            list(rows["language"]),
            audio_context=context,
            batch_size=arguments.per_device_eval_batch_size,
            max_length=arguments.generation_max_length,
            task=loaded.task,
            on_batch=partial(count_batch, progress, by_clip),
        )
        seconds = time.perf_counter() - started
    return Decoding(name, context, hypotheses, seconds, loaded.trainable_parameters, loaded.total_parameters)


def count_batch(progress: "AudioProgress", by_clip: bool, clips: int, seconds: float) -> None:
    """Move the progress bar on by one batch."""
    progress.advance(clips if by_clip else seconds, seconds)


def write_predictions(
    scored: list["ScoredDecoding"], splits: list[tuple["EvaluationSet", "Dataset"]], output_dir: Path
) -> None:
    """Write every utterance's reference, hypothesis and errors."""
    from utils.evaluation import prediction_records
    from utils.files import write_jsonl

    sets = {evaluation_set.dataset: evaluation_set for evaluation_set, _ in splits}
    lines = [line for item in scored for line in prediction_records(sets[item.result.dataset], item)]
    write_jsonl(output_dir / PREDICTIONS_FILE, lines)


def write_report(scored: list["ScoredDecoding"], arguments: EvaluateArguments, output_dir: Path) -> None:
    """Write comparison and picture where there are several models; the results last, as they mark the end."""
    from utils.evaluation import compare_models, write_verdict
    from utils.files import write_json
    from utils.report import draw_before_after

    results = [item.result for item in scored]
    if len(arguments.models) > 1:
        comparisons = compare_models(scored, arguments.bootstrap_samples, arguments.seed)
        analysis = {
            "comparisons": [asdict(comparison) for comparison in comparisons],
            "verdict": write_verdict(results, comparisons),
        }
        write_json(output_dir / COMPARISON_FILE, analysis)
        draw_before_after(output_dir / PICTURE_FILE, results)
    write_json(output_dir / RESULTS_FILE, {"results": [asdict(result) for result in results]})


def show_report(output_dir: Path) -> None:
    """Print the tables from the files, so that a reused report shows the very same."""
    from utils.evaluation import read_comparisons, read_results
    from utils.report import print_report

    results = read_results(output_dir / RESULTS_FILE)
    comparisons, verdict = [], None
    if (output_dir / COMPARISON_FILE).is_file():
        comparisons, verdict = read_comparisons(output_dir / COMPARISON_FILE)
    print_report(results, comparisons, verdict)
    print(f"Report in {output_dir}" + (f", picture in {output_dir / PICTURE_FILE}" if comparisons else ""))


if __name__ == "__main__":
    main()
