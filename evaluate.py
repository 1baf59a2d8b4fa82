"""Score models on prepared datasets: how many errors, of which kinds, and whether a later model is better.

On any computer:

    python evaluate.py --models openai/whisper-base runs/it/best --dataset data/it --language it \\
        --guard_datasets data/en --output_dir runs/it/report

Several processes share the utterances:

    accelerate launch --config_file accelerate_configs/multi_gpu.yaml evaluate.py --models runs/it/best \\
        --dataset data/it --language it --output_dir runs/it/scores
"""

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Set
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from utils.arguments.evaluate import EvaluateArguments
from utils.arguments.parsing import parse_arguments
from utils.runtime.errors import UserError, user_errors_end_the_script
from utils.runtime.resolved_arguments import arguments_as_yaml, differing_arguments

if TYPE_CHECKING:
    from accelerate import PartialState
    from datasets import Dataset

    from utils.evaluation.backends.transcriber import Transcriber
    from utils.evaluation.recordings import Recording
    from utils.evaluation.records import Decoding, EvaluationSet, MadeUpWords, ScoredDecoding
    from utils.model.loading import LoadedModel
    from utils.model.transcription import Hypothesis
    from utils.runtime.progress import AudioProgress

    Material = list[tuple[EvaluationSet, Dataset | list[Recording]]]

ARGUMENTS_FILE = "evaluate.yaml"
PREDICTIONS_FILE = "predictions.jsonl"
RESULTS_FILE = "evaluation_results.json"
COMPARISON_FILE = "comparative_analysis.json"
REPORT_FILE = "report.html"
TABLES, PLOTS = "tables", "plots"
OWN_FILES = (
    *(ARGUMENTS_FILE, PREDICTIONS_FILE, RESULTS_FILE, COMPARISON_FILE),
    *(REPORT_FILE, TABLES, PLOTS),
)
PROBE_DURATIONS = (4.0, 12.0)  # seconds of silence, noise and music of every kind
PROBE_SEED = 0


def main(argv: list[str] | None = None) -> None:
    os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")  # read when torch is imported
    with user_errors_end_the_script():
        arguments = parse_arguments(EvaluateArguments, argv, __doc__)
        output_dir = Path(arguments.output_dir)
        if is_already_evaluated(arguments, output_dir):
            if is_main_process():
                show_report(output_dir)
                print(
                    f"{output_dir}: evaluated before with these arguments, reused. "
                    f"Delete its {RESULTS_FILE} to start over."
                )
            return
        from utils.runtime.processes import start_processes
        from utils.runtime.progress import silence_libraries

        silence_libraries()
        processes = start_processes()
        task = check_models(arguments)
        inputs = describe_inputs(arguments, output_dir)
        material = load_material(arguments)
        processes.wait_for_everyone()  # whoever comes late must not find a finished report
        if processes.is_main_process:
            write_arguments(arguments, output_dir)
        scored: list[ScoredDecoding] = []
        for model in arguments.models:
            scored += evaluate_model(model, material, replace(arguments, task=task), processes)
            if processes.is_main_process:
                write_predictions(scored, material, output_dir)  # kept if a later model fails
        if processes.is_main_process:
            write_report(scored, material, arguments, output_dir, inputs)
            show_report(output_dir)
        processes.wait_for_everyone()
        processes.destroy_process_group()


def is_main_process() -> bool:
    """Whether this process speaks for all, before they have found each other."""
    return os.environ.get("RANK", "0") == "0"


def is_already_evaluated(arguments: EvaluateArguments, output_dir: Path) -> bool:
    """Whether the folder holds what this run would write, of the same models and datasets.

    A folder without evaluate.yaml may hold anything else: a report often stands inside a run folder. One
    without results was left by a run that did not come to its end.

    Raises:
        UserError: The folder is an evaluation with other arguments, or no folder.
    """
    results = output_dir / RESULTS_FILE
    if output_dir.is_file():
        raise UserError(
            f"{output_dir}: found a file, expected a folder or nothing. Choose another --output_dir."
        )
    if not (output_dir / ARGUMENTS_FILE).is_file() or not results.is_file():
        return False
    different = differing_arguments(arguments, output_dir / ARGUMENTS_FILE)
    if different:
        raise UserError(
            f"{output_dir}: holds an evaluation with other arguments: {'; '.join(different)}. "
            "Choose another --output_dir, or delete the folder."
        )
    inputs: dict[str, str] | None = json.loads(results.read_text(encoding="utf-8")).get("inputs")
    return inputs == describe_inputs(arguments, output_dir)


def describe_inputs(arguments: EvaluateArguments, output_dir: Path) -> dict[str, str]:
    """A fingerprint of every model, dataset and manifest that is a file or folder, by its name."""
    names = [*arguments.models, *arguments.dataset, *arguments.recordings, *arguments.guard_datasets]
    own = {output_dir.resolve() / name for name in OWN_FILES}
    return {name: fingerprint(Path(name).expanduser(), own) for name in names}


def fingerprint(place: Path, ignored: Set[Path]) -> str:
    """A digest of names, sizes and times of a file, or of all files below a folder; "" where there is none.

    What lies in `ignored`, and the caches that the datasets library leaves beside its data, do not count.
    """
    import xxhash

    top = place.resolve()
    digest = xxhash.xxh3_128()
    files = sorted(path for path in (top, *top.rglob("*")) if path.is_file())
    files = [path for path in files if ignored.isdisjoint((path, *path.parents))]
    for path in files:
        if not path.name.startswith("cache-"):
            state = path.stat()
            digest.update(f"{path.relative_to(top)} {state.st_size} {state.st_mtime_ns}\n".encode())
    return digest.hexdigest() if files else ""


def check_models(arguments: EvaluateArguments) -> str:
    """Look for every model before the first one is decoded, and find the task that all are to do.

    Returns:
        The task: the one given, else the one that the models were trained for, else transcribe.

    Raises:
        UserError: Models that are not there, all of them reported at once; or trained for different tasks.
    """
    from utils.model.loading import read_training_arguments
    from utils.model.resolving import resolve_model

    problems, tasks = [], {}
    for model in arguments.models:
        try:
            tasks[model] = read_training_arguments(resolve_model(model)).get("task")
        except UserError as error:
            problems.append(str(error))
    if problems:
        raise UserError("\n       ".join(problems))
    if arguments.task != "auto":
        return arguments.task
    known = {model: task for model, task in tasks.items() if task is not None}
    if len(set(known.values())) > 1:
        found = ", ".join(f"{model}: {task}" for model, task in known.items())
        raise UserError(f"models trained for different tasks ({found}): give --task, which all will do.")
    return next(iter(known.values()), "transcribe")


def load_material(arguments: EvaluateArguments) -> "Material":
    """The split of every dataset, cut down to max_samples, then whole recordings, then guards.

    Raises:
        UserError: A dataset or split is missing or empty, or an utterance has no reference.
    """
    from utils.data.prepared_dataset import draw_rows, load_prepared
    from utils.evaluation.evaluation_set import build_evaluation_set
    from utils.evaluation.recordings import read_recordings

    def load(folder: str, is_guard: bool) -> "tuple[EvaluationSet, Dataset]":
        # a guard is in a language of its own: rows without one are not in the one given for the data
        language = "auto" if is_guard else arguments.language
        rows = load_prepared([folder], arguments.split, language=language)
        rows = draw_rows(rows, arguments.max_samples, arguments.seed)
        return build_evaluation_set(rows, folder, arguments.split, is_guard=is_guard), rows

    material: Material = [load(folder, False) for folder in arguments.dataset]
    for manifest in arguments.recordings:
        recordings = read_recordings(manifest, arguments.language)
        material.append((describe_recordings(recordings, manifest, arguments.long_form), recordings))
    return material + [load(folder, True) for folder in arguments.guard_datasets]


def describe_recordings(recordings: "list[Recording]", manifest: str, way: str) -> "EvaluationSet":
    """What scoring needs of whole recordings; each is its own unit."""
    from utils.evaluation.records import EvaluationSet

    return EvaluationSet(
        dataset=manifest,
        split=f"{way} long form",
        ids=[recording.name for recording in recordings],
        references=[recording.text for recording in recordings],
        durations=[recording.duration for recording in recordings],
        groups={},
        languages=[recording.language for recording in recordings],
        speakers=[recording.speaker for recording in recordings],
    )


def write_arguments(arguments: EvaluateArguments, output_dir: Path) -> None:
    """Write the resolved arguments beside what is to come."""
    from utils.runtime.files import write_text

    write_text(output_dir / ARGUMENTS_FILE, arguments_as_yaml(arguments))


def evaluate_model(
    name: str,
    material: "Material",
    arguments: EvaluateArguments,
    processes: "PartialState",
) -> list["ScoredDecoding"]:
    """Load one model and score it on every split, in the full context first; guards in that one alone."""
    from utils.evaluation.backends.opening import open_transcriber
    from utils.evaluation.scoring import score_decoding

    scored = []
    with open_transcriber(
        name,
        backend=arguments.backend,
        dtype=arguments.dtype,
        device=processes.device,
        max_length=arguments.generation_max_length,
        task=arguments.task,
        num_beams=arguments.num_beams,
    ) as (transcriber, loaded):
        material = [in_known_languages(loaded, *part, name, arguments.backend) for part in material]
        contexts = choose_contexts(arguments.audio_context, loaded, name, arguments.backend)
        commonest = Counter(material[0][0].told_languages).most_common(1)[0][0]
        made_up = {
            context: probe_hallucination(transcriber, commonest, context, arguments, processes)
            for context in contexts
        }
        for evaluation_set, clips in material:
            in_one = evaluation_set.is_guard or (
                isinstance(clips, list) and arguments.long_form == "sequential"
            )
            for context in ["full"] if in_one else contexts:
                transcribe = choose_transcription(
                    transcriber, loaded, evaluation_set, clips, context, arguments
                )
                decoding = decode(name, transcribe, evaluation_set, context, arguments, processes)
                scored.append(
                    score_decoding(
                        evaluation_set,
                        replace(
                            decoding,
                            hallucination=made_up.get(context),
                            trainable_parameters=loaded.trainable_parameters,
                            total_parameters=loaded.total_parameters,
                        ),
                        arguments.normalizer,
                        arguments.bootstrap_samples,
                        arguments.seed,
                    )
                )
    return scored


def in_known_languages(
    loaded: "LoadedModel",
    evaluation_set: "EvaluationSet",
    clips: "Dataset | list[Recording]",
    name: str,
    backend: str,
) -> "tuple[EvaluationSet, Dataset | list[Recording]]":
    """The utterances of a set, and which of their languages a model has no token for: it detects one there.

    So a model that was given a new language can be compared with the one it was made from.

    Raises:
        UserError: An English-only model and another language, or one that faster-whisper refuses.
    """
    from transformers.models.whisper.tokenization_whisper import LANGUAGES

    from utils.model.languages import check_languages, language_codes

    spoken = {code for code in evaluation_set.languages if code is not None}
    if backend == "faster-whisper" and not spoken <= LANGUAGES.keys():
        others = ", ".join(sorted(spoken - LANGUAGES.keys()))
        raise UserError(f"--backend faster-whisper: it refuses the language {others}. Use ctranslate2.")
    known = language_codes(loaded.model)
    if not known:
        check_languages(loaded.model, sorted(spoken), name)
    if not known or spoken <= known:
        return evaluation_set, clips
    evaluation_set = replace(evaluation_set, detected_languages=sorted(spoken - known))
    if isinstance(clips, list):
        told = zip(clips, evaluation_set.told_languages, strict=True)
        clips = [replace(clip, language=code) for clip, code in told]
    return evaluation_set, clips


def choose_contexts(audio_context: str, loaded: "LoadedModel", name: str, backend: str) -> list[str]:
    """The contexts to decode in; auto spares a model the dynamic one that was not trained in it.

    Raises:
        UserError: The dynamic context is asked for, and the backend cannot decode the model in it.
    """
    in_dynamic = backend == "transformers" or (backend == "ctranslate2" and not loaded.silence_run)
    if audio_context == "auto":
        return ["full", "dynamic"] if loaded.dynamic_context and in_dynamic else ["full"]
    if audio_context == "dynamic" and not in_dynamic:
        raise UserError(
            f"--audio_context dynamic of {name} with --backend {backend}: it cannot condense the silence "
            "that the model expects behind a clip. Use --audio_context auto or full, --backend transformers, "
            "or a model trained with --silence_run 0 (docs/training.md)."
        )
    return [audio_context]


def choose_transcription(
    transcriber: "Transcriber",
    loaded: "LoadedModel",
    evaluation_set: "EvaluationSet",
    clips: "Dataset | list[Recording]",
    context: str,
    arguments: EvaluateArguments,
) -> "Callable[..., dict[int, Hypothesis]]":
    """What transcribes a process's share: of clips in batches, or of whole recordings."""
    from utils.evaluation.recordings import transcribe_recordings
    from utils.model.transcription import transcribe_clips

    batches = {"audio_context": context, "batch_size": arguments.per_device_eval_batch_size}
    if isinstance(clips, list):
        return partial(
            transcribe_recordings,
            transcriber,
            loaded,
            clips,
            way=arguments.long_form,
            task=arguments.task,
            max_length=arguments.generation_max_length,
            **batches,
        )
    return partial(
        transcribe_clips,
        transcriber.transcribe_batch,
        clips["audio"],
        evaluation_set.durations,
        evaluation_set.told_languages,
        keeps_failures=True,
        **batches,
    )


def decode(
    name: str,
    transcribe: "Callable[..., dict[int, Hypothesis]]",
    evaluation_set: "EvaluationSet",
    context: str,
    arguments: EvaluateArguments,
    processes: "PartialState",
) -> "Decoding":
    """Transcribe a split together with the other processes, under a progress bar, and take the time."""
    from utils.evaluation.records import Decoding
    from utils.model.context import FULL_CONTEXT
    from utils.model.transcription import gather_hypotheses
    from utils.runtime.progress import audio_progress

    description = f"{Path(name).name}, {evaluation_set.split}, {context} context"
    # every clip costs its 30 s in the full context, so clips give the honest time left
    by_clip = context == "full" and max(evaluation_set.durations) <= FULL_CONTEXT
    total = len(evaluation_set.ids) if by_clip else sum(evaluation_set.durations)
    processes.wait_for_everyone()
    with audio_progress(
        description, total / processes.num_processes, shown=processes.is_main_process
    ) as progress:
        started = time.perf_counter()
        share = transcribe(
            process=processes.process_index,
            num_processes=processes.num_processes,
            on_batch=partial(count_batch, progress, by_clip),
        )
        hypotheses = gather_hypotheses(share, len(evaluation_set.ids))
        seconds = time.perf_counter() - started
    return Decoding(
        name,
        context,
        [hypothesis.text for hypothesis in hypotheses],
        seconds,
        backend=arguments.backend,
        errors={number: found.error for number, found in enumerate(hypotheses) if found.error},
    )


def count_batch(progress: "AudioProgress", by_clip: bool, clips: int, seconds: float) -> None:
    """Move the progress bar on by one batch."""
    progress.advance(clips if by_clip else seconds, seconds)


def probe_hallucination(
    transcriber: "Transcriber",
    language: str | None,
    context: str,
    arguments: EvaluateArguments,
    processes: "PartialState",
) -> "dict[str, MadeUpWords] | None":
    """Words that the model writes for sounds in which nobody speaks; None where nobody asked for them."""
    from utils.audio.flac import encode_flac
    from utils.audio.probe_sounds import KINDS, build_sounds
    from utils.evaluation.scoring import count_made_up_words
    from utils.model.transcription import gather_hypotheses, transcribe_clips

    if not arguments.probe_hallucination:
        return None
    sounds = build_sounds(PROBE_DURATIONS, seed=PROBE_SEED)
    share = transcribe_clips(
        transcriber.transcribe_batch,
        [encode_flac(sound.samples) for sound in sounds],
        [sound.duration for sound in sounds],
        [language] * len(sounds),
        audio_context=context,
        batch_size=arguments.per_device_eval_batch_size,
        process=processes.process_index,
        num_processes=processes.num_processes,
        keeps_failures=True,
    )
    texts = [None if heard.error else heard.text for heard in gather_hypotheses(share, len(sounds))]
    kinds, durations = [KINDS[sound.kind] for sound in sounds], [sound.duration for sound in sounds]
    return count_made_up_words(kinds, durations, texts, arguments.normalizer)


def write_predictions(scored: list["ScoredDecoding"], material: "Material", output_dir: Path) -> None:
    """Write every utterance's reference, hypothesis and errors."""
    from utils.evaluation.scoring import list_predictions
    from utils.runtime.files import write_jsonl

    sets = {evaluation_set.dataset: evaluation_set for evaluation_set, _ in material}
    predictions = [line for item in scored for line in list_predictions(sets[item.result.dataset], item)]
    lines = [prediction.as_line() for prediction in predictions]
    write_jsonl(output_dir / PREDICTIONS_FILE, lines)


def write_report(
    scored: list["ScoredDecoding"],
    material: "Material",
    arguments: EvaluateArguments,
    output_dir: Path,
    inputs: dict[str, str],
) -> None:
    """Write comparison, gate, page, tables and plots; the results last, as they mark the end.

    Args:
        inputs: What was evaluated, from `describe_inputs` before anything was decoded.
    """
    from utils.evaluation.comparison import compare_models, rank_candidates, write_verdict
    from utils.evaluation.gate import gate_sentence, judge
    from utils.evaluation.records import Analysis
    from utils.evaluation.scoring import list_predictions
    from utils.report.evaluation_page import write_evaluation_page
    from utils.report.evaluation_plots import write_evaluation_plots
    from utils.report.evaluation_tables import write_evaluation_tables
    from utils.report.learning_curve import load_metrics, read_curves
    from utils.runtime.files import write_json

    results = [item.result for item in scored]
    analysis = None
    if len(arguments.models) > 1:
        comparisons = compare_models(scored, arguments.bootstrap_samples, arguments.seed)
        gates = judge(results, comparisons, guard_tolerance=arguments.guard_tolerance)
        promoted = [gate.candidate for gate in gates if gate.promote]
        verdict = [write_verdict(results, comparisons, promoted), *map(gate_sentence, gates)]
        candidates = rank_candidates(results, comparisons, promoted)
        analysis = Analysis(comparisons, gates, candidates, " ".join(verdict))
        write_json(output_dir / COMPARISON_FILE, asdict(analysis))
    sets = {evaluation_set.dataset: evaluation_set for evaluation_set, _ in material}
    predictions = [line for item in scored for line in list_predictions(sets[item.result.dataset], item)]
    metrics = {model: load_metrics(model) for model in arguments.models}
    curves = read_curves(metrics)
    write_evaluation_tables(output_dir / TABLES, results, analysis, predictions, metrics)
    write_evaluation_plots(output_dir / PLOTS, results, curves)
    clip_of = partial(find_clip, material)
    write_evaluation_page(output_dir / REPORT_FILE, results, analysis, predictions, clip_of, curves)
    rows = [asdict(result) for result in results]
    write_json(output_dir / RESULTS_FILE, {"results": rows, "inputs": inputs})


def find_clip(material: "Material", dataset: str, utterance: str) -> bytes | None:
    """FLAC bytes of an utterance; None of a whole recording, which no page has room for."""
    for evaluation_set, clips in material:
        if evaluation_set.dataset == dataset and not isinstance(clips, list):
            return clips[evaluation_set.ids.index(utterance)]["audio"]
    return None


def show_report(output_dir: Path) -> None:
    """Print the tables from the files, so that a reused report shows the very same."""
    from utils.evaluation.results_file import read_analysis, read_results
    from utils.report.terminal import print_report

    analysis_file = output_dir / COMPARISON_FILE
    analysis = read_analysis(analysis_file) if analysis_file.is_file() else None
    print_report(read_results(output_dir / RESULTS_FILE), analysis)
    print(f"Report: {output_dir / REPORT_FILE}; its tables and plots lie beside it.")


if __name__ == "__main__":
    main()
