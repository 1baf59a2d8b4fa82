"""Export a model for other programs, and prove that it does there what it does here.

On any computer:

    python export.py --model runs/it/best --format ctranslate2 --dataset data/it --output_dir out/ct2

Several formats, without the comparison:

    python export.py --model runs/it/best --format ctranslate2 ggml --no_parity --output_dir out

A Hugging Face Space:

    python export.py --model runs/it/best --space out/space
"""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from utils.arguments.export import ExportArguments
from utils.arguments.parsing import parse_arguments
from utils.runtime.errors import UserError, user_errors_end_the_script

if TYPE_CHECKING:
    from collections.abc import Sequence

    from utils.delivery.export_push import ExportPush
    from utils.delivery.exporting import ComparisonData, Export, Job
    from utils.delivery.exports.export_format import ExportSource
    from utils.delivery.heads import HeadSearch
    from utils.delivery.parity.comparing import SourceComparison


def main(argv: list[str] | None = None) -> None:
    with user_errors_end_the_script():
        arguments = parse_arguments(ExportArguments, argv, __doc__)
        if arguments.space is not None:
            export_space(arguments, Path(arguments.space).absolute())
        if arguments.format:
            export(arguments, shlex.join(["python", "export.py", *(sys.argv[1:] if argv is None else argv)]))


def export_space(arguments: ExportArguments, folder: Path) -> None:
    """Write a Hugging Face Space, unless an earlier run has written the same."""
    from utils.delivery.exporting import is_already_exported
    from utils.delivery.exports.export_format import load_export_source
    from utils.delivery.space import describe_space_request, refuse_foreign_folder, write_space
    from utils.runtime.files import folder_written_whole
    from utils.runtime.locking import sole_writer_of
    from utils.runtime.progress import silence_libraries

    silence_libraries()
    refuse_foreign_folder(folder)
    model, language, hub_model_id = arguments.model, arguments.language, arguments.hub_model_id
    request = describe_space_request(model, language, hub_model_id)
    with sole_writer_of(folder, f"{folder}: another run is writing this Space. Wait for it, or stop it."):
        if is_already_exported(folder, request):
            return
        source = load_export_source(model)
        with folder_written_whole(folder) as space:
            write_space(source, space, request, language=language, hub_model_id=hub_model_id)
    print(f"{folder}: written. Upload it: hf upload USER/NAME {folder} . --repo-type space")


def export(arguments: ExportArguments, command: str) -> None:
    """Write every format that an earlier run has not written, and keep those that do what the model does."""
    from utils.delivery.exporting import (
        Export,
        check_source,
        describe_request,
        find_data,
        is_already_exported,
        plan_jobs,
    )
    from utils.delivery.exports.export_format import load_export_source
    from utils.runtime.files import scratch_folder
    from utils.runtime.locking import sole_writer_of
    from utils.runtime.progress import silence_libraries

    silence_libraries()
    output_dir = Path(arguments.output_dir).absolute()
    jobs = plan_jobs(arguments.format, arguments.precision, output_dir, parity=arguments.parity)
    push = plan_push(arguments, jobs)
    requests = {job.name: describe_request(arguments, job, arguments.model) for job in jobs}
    refusal = f"{output_dir}: another run is writing this export. Wait for it, or stop it."
    scratch = output_dir.with_name(f".{output_dir.name}.scratch")
    with sole_writer_of(output_dir, refusal), scratch_folder(scratch):
        left = [job for job in jobs if not is_already_exported(job.folder, requests[job.name])]
        refused = []
        if left:
            source = load_export_source(arguments.model)
            check_source(left, source)
            data = find_data(source, arguments.dataset, arguments.language)
            heads = choose_heads(source, data, arguments)
            comparison = compare_source(source, data, arguments, scratch)
            for job in left:
                export = Export(source, job, command, comparison, heads)
                refused += write_export(export, requests[job.name])
        if refused:
            told = "\n       ".join(refused)
            raise UserError(
                f"an export that does not do what the model does is not kept:\n       {told}\n       If you "
                "do not need the ways of use that fail, leave them out: --ways."
            )
        for pushed in push.finish() if push else []:
            print(pushed.describe())


def plan_push(arguments: ExportArguments, jobs: "Sequence[Job]") -> "ExportPush | None":
    """Return what pushes the exports to the Hub, if that is wanted, after a check that it will not fail."""
    if not arguments.push_to_hub:
        return None
    from utils.delivery.export_push import ExportPush
    from utils.delivery.model_push import HubTarget

    assert arguments.hub_model_id is not None
    target = HubTarget(arguments.hub_model_id, arguments.hub_private_repo, arguments.hub_license)
    push = ExportPush(arguments.model, jobs, target, arguments.report)
    push.check()
    return push


def choose_heads(
    source: "ExportSource", data: "ComparisonData | None", arguments: ExportArguments
) -> "HeadSearch | None":
    """Give the model better alignment heads, if training has moved the times of words."""
    from utils.data.prepared_dataset import has_split
    from utils.delivery.heads import search_alignment_heads, set_alignment_heads
    from utils.delivery.parity.material import load_windows

    if not arguments.search_alignment_heads or not source.arguments or data is None:
        return None
    learnt = [folder for folder in data.datasets if has_split(folder, "train")]
    if not learnt:
        return None
    print(f"{source.name}: searches the attention heads that give the best times of words.")
    windows = load_windows(learnt, "train", language=data.language, seed=arguments.seed)
    found = search_alignment_heads(source.loaded, windows, source.task)
    if found is None or not found.is_worth_it:
        print("The model's own heads are kept.")
        return None
    set_alignment_heads(source.loaded, found.heads)
    print(
        f"Other attention heads give better times of words: {found.heads}. Edges of words missed "
        f"the pauses between clips by {found.before:.3f} s, and now by {found.after:.3f} s."
    )
    return found


def compare_source(
    source: "ExportSource", data: "ComparisonData | None", arguments: ExportArguments, scratch: Path
) -> "SourceComparison | None":
    """Let the model itself transcribe clips and recordings; None without data."""
    import torch

    from utils.delivery.parity.comparing import measure_source
    from utils.delivery.parity.material import load_test_sounds

    if not arguments.parity:
        return None
    if data is None:
        print(f"{source.name}: no data to compare the exports on. Add --dataset to prove them.")
        return None
    sounds = load_test_sounds(
        data.datasets,
        arguments.split,
        language=data.language,
        num_clips=arguments.max_samples,
        seed=arguments.seed,
    )
    print(f"{source.name}: transcribes {len(sounds)} clips and recordings in transformers.")
    return measure_source(source, sounds, arguments.ways, torch.get_num_threads(), scratch)


def write_export(export: "Export", request: str) -> list[str]:
    """Write one format and try it in its runtimes. Keep it if nothing is worse; else return what is."""
    from utils.delivery.export_card import print_scores, write_export_card
    from utils.delivery.exporting import RefusedExport, write_record
    from utils.runtime.files import folder_written_whole

    job = export.job
    print(f"{job.name}, {job.precision}:")
    try:
        with folder_written_whole(job.folder) as folder:
            export = export.written(folder)
            print_scores(export)
            if faults := export.find_faults():
                raise RefusedExport(faults)
            write_export_card(folder, export)
            write_record(folder, request, export)
    except RefusedExport as error:
        return error.faults
    print(f"{job.folder}: written. Its README.md tells how to use it.")
    return []


if __name__ == "__main__":
    main()
