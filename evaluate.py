"""Score models on prepared datasets: count their errors, and decide whether one is better than the first.

On any computer:

    python evaluate.py --models openai/whisper-base runs/it/best --dataset data/it --language it \\
        --guard_datasets data/en --output_dir runs/it/report

With several processes, which share the utterances:

    accelerate launch --config_file accelerate_configs/multi_gpu.yaml evaluate.py --models runs/it/best \\
        --dataset data/it --language it --output_dir runs/it/scores
"""

import os
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from utils.arguments.evaluate import EvaluateArguments
from utils.arguments.parsing import parse_arguments
from utils.evaluation.evaluation_folder import (
    ARGUMENTS_FILE,
    COMPARISON_FILE,
    PLOTS,
    PREDICTIONS_FILE,
    REPORT_FILE,
    RESULTS_FILE,
    TABLES,
    describe_inputs,
    is_already_evaluated,
)
from utils.runtime.errors import user_errors_end_the_script
from utils.runtime.resolved_arguments import arguments_as_yaml

if TYPE_CHECKING:
    from accelerate import PartialState

    from utils.evaluation.backends.transcriber import Transcriber
    from utils.evaluation.material import Material
    from utils.evaluation.records import MadeUpWords, ScoredDecoding


def main(argv: list[str] | None = None) -> None:
    os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")  # read when torch is imported
    with user_errors_end_the_script():
        arguments = parse_arguments(EvaluateArguments, argv, __doc__)
        output_dir = Path(arguments.output_dir)
        names = [*arguments.models, *arguments.dataset, *arguments.recordings, *arguments.guard_datasets]
        names += filter(None, [arguments.terms_file, arguments.prompt_terms_file])
        inputs = describe_inputs(names, output_dir)
        if not is_already_evaluated(arguments, inputs, output_dir):
            evaluate(arguments, output_dir, inputs)
        elif is_main_process():
            show_report(output_dir)
            print(
                f"{output_dir}: already evaluated with these arguments. "
                f"Delete its {RESULTS_FILE} to start over."
            )


def is_main_process() -> bool:
    """Check whether this is the main process, before the processes are connected."""
    return os.environ.get("RANK", "0") == "0"


def evaluate(arguments: EvaluateArguments, output_dir: Path, inputs: dict[str, str]) -> None:
    """Score every model on all data and write the report, together with the other processes.

    Args:
        arguments: The arguments of the script.
        output_dir: The folder for the report.
        inputs: Description of models and data, made before decoding.
    """
    from utils.runtime.progress import silence_libraries

    silence_libraries()
    from utils.evaluation.material import tell_own_languages
    from utils.evaluation.models import find_task
    from utils.runtime.files import write_text
    from utils.runtime.launch import start_processes

    processes = start_processes()
    task = find_task(arguments.models, arguments.task)
    material = load_evaluated(arguments)
    processes.wait_for_everyone()  # a late process must not find a finished report
    if processes.is_main_process:
        tell_own_languages(material, arguments.language)
        write_text(output_dir / ARGUMENTS_FILE, arguments_as_yaml(arguments))
    scored: list[ScoredDecoding] = []
    for model in arguments.models:
        scored += evaluate_model(model, material, task, arguments, processes)
        if processes.is_main_process:
            write_predictions(scored, output_dir)  # saved in case a later model fails
    if processes.is_main_process:
        write_report(scored, material, arguments, output_dir, inputs)
        show_report(output_dir)
    processes.wait_for_everyone()
    processes.destroy_process_group()


def load_evaluated(arguments: EvaluateArguments) -> "list[Material]":
    """Load all data on which each model is scored."""
    from utils.evaluation.material import load_material

    return load_material(
        arguments.dataset,
        arguments.recordings,
        arguments.guard_datasets,
        split=arguments.split,
        language=arguments.language,
        long_form=arguments.long_form,
        max_samples=arguments.max_samples,
        seed=arguments.seed,
    )


def evaluate_model(
    name: str, material: "list[Material]", task: str, arguments: EvaluateArguments, processes: "PartialState"
) -> "list[ScoredDecoding]":
    """Load one model and score it on all data, first in the full context.

    Guards are scored only in this context.
    """
    from utils.evaluation.backends.opening import open_transcriber
    from utils.evaluation.backends.transcriber import BackendOptions, with_prompt_terms
    from utils.evaluation.models import choose_contexts, in_known_languages
    from utils.evaluation.scoring import score_decoding
    from utils.evaluation.timed_decoding import decode
    from utils.text.terms import TermFinder, read_terms

    scored, made_up = [], {}
    finder = TermFinder(read_terms(Path(arguments.terms_file))) if arguments.terms_file else None
    scoring = arguments.normalizer, arguments.bootstrap_samples, arguments.seed, finder
    batch_size, backend = arguments.per_device_eval_batch_size, arguments.backend
    limits = arguments.generation_max_length, task, arguments.num_beams
    options = BackendOptions(processes.device, arguments.dtype, *limits)
    with open_transcriber(name, backend, options) as transcriber:
        if arguments.prompt_terms_file:
            transcriber = with_prompt_terms(transcriber, read_terms(Path(arguments.prompt_terms_file)))
        material = [in_known_languages(part, transcriber, name) for part in material]
        contexts = choose_contexts(arguments.audio_context, transcriber, name, backend)
        if arguments.probe_hallucination:
            made_up = probe_contexts(transcriber, material, contexts, arguments, processes)
        for part in material:
            for context in part.contexts(contexts, arguments.long_form):
                decoding = decode(
                    name,
                    transcriber,
                    part,
                    processes,
                    audio_context=context,
                    batch_size=batch_size,
                    long_form=arguments.long_form,
                    backend=backend,
                )
                decoding = replace(decoding, hallucination=made_up.get(context))
                scored.append(score_decoding(part.evaluation_set, decoding, *scoring))
    return scored


def probe_contexts(
    transcriber: "Transcriber",
    material: "list[Material]",
    contexts: list[str],
    arguments: EvaluateArguments,
    processes: "PartialState",
) -> "dict[str, dict[str, MadeUpWords]]":
    """Count the words that the model writes for sounds without speech, in each context."""
    from utils.evaluation.timed_decoding import probe_hallucination

    language = material[0].evaluation_set.commonest_language
    options = {"batch_size": arguments.per_device_eval_batch_size, "normalizer": arguments.normalizer}
    probe = partial(probe_hallucination, transcriber, language, processes, **options)
    return {context: probe(audio_context=context) for context in contexts}


def write_predictions(scored: "list[ScoredDecoding]", output_dir: Path) -> None:
    """Write the reference, hypothesis and errors of every utterance."""
    from utils.evaluation.scoring import list_predictions
    from utils.runtime.files import write_jsonl

    lines = [prediction.as_line() for item in scored for prediction in list_predictions(item)]
    write_jsonl(output_dir / PREDICTIONS_FILE, lines)


def write_report(
    scored: "list[ScoredDecoding]",
    material: "list[Material]",
    arguments: EvaluateArguments,
    output_dir: Path,
    inputs: dict[str, str],
) -> None:
    """Write comparison, gate, page, tables and plots.

    Write the results last, because their file shows that the report is finished.
    """
    from utils.evaluation.gate import analyse
    from utils.evaluation.material import find_clip
    from utils.evaluation.scoring import list_predictions
    from utils.report.evaluation_charts import draw_evaluation_charts, write_evaluation_plots
    from utils.report.evaluation_page import write_evaluation_page
    from utils.report.evaluation_tables import write_evaluation_tables
    from utils.report.learning_curve import load_metrics, read_curves
    from utils.runtime.files import write_json

    results, analysis = [item.result for item in scored], None
    if len(arguments.models) > 1:
        analysis = analyse(
            scored,
            bootstrap_samples=arguments.bootstrap_samples,
            seed=arguments.seed,
            guard_tolerance=arguments.guard_tolerance,
        )
        write_json(output_dir / COMPARISON_FILE, asdict(analysis))
    predictions = [prediction for item in scored for prediction in list_predictions(item)]
    metrics = {model: load_metrics(model) for model in arguments.models}
    charts = draw_evaluation_charts(results, read_curves(metrics))
    write_evaluation_tables(output_dir / TABLES, results, analysis, predictions, metrics)
    write_evaluation_plots(output_dir / PLOTS, charts)
    clip_of = partial(find_clip, material)
    write_evaluation_page(output_dir / REPORT_FILE, results, analysis, predictions, clip_of, charts)
    rows = [asdict(result) for result in results]
    write_json(output_dir / RESULTS_FILE, {"results": rows, "inputs": inputs})


def show_report(output_dir: Path) -> None:
    """Print the tables from the files, so that an earlier report is shown in the same way."""
    from utils.evaluation.results_file import read_analysis, read_results
    from utils.report.next_command import tell_use
    from utils.report.terminal import print_report

    analysis_file = output_dir / COMPARISON_FILE
    analysis = read_analysis(analysis_file) if analysis_file.is_file() else None
    results = read_results(output_dir / RESULTS_FILE)
    print_report(results, analysis)
    print(f"Report: {output_dir / REPORT_FILE}; its tables and plots are in the same folder.")
    tell_use(results[-1].model)


if __name__ == "__main__":
    main()
