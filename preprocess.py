"""Turn any speech data into a prepared dataset: clips of at most 30 s as 16 kHz FLAC, and a report.

On any computer:

    python preprocess.py --source manifest --input corpus.jsonl --language it --output_dir data/it

Audio is decoded on the CPU, so there is nothing to launch on several devices; `--num_proc 8` uses eight
processes.
"""

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from utils.arguments import PreprocessArguments, arguments_as_yaml, differing_arguments, parse_arguments
from utils.errors import UserError, user_errors_end_the_script

if TYPE_CHECKING:
    from utils.dataset import DataReport
    from utils.utterances import Reject, Source, Utterance


def main(argv: list[str] | None = None) -> None:
    with user_errors_end_the_script():
        arguments = parse_arguments(PreprocessArguments, argv, __doc__)
        output_dir = Path(arguments.output_dir)
        if is_already_prepared(arguments, output_dir):
            print(
                f"{output_dir}: prepared before with these arguments, nothing to do. Delete it to start over."
            )
        else:
            prepare(arguments, output_dir)
        show_report(output_dir)
        show_next_command(arguments, output_dir)


def is_already_prepared(arguments: PreprocessArguments, output_dir: Path) -> bool:
    """Whether the folder holds what this run would write.

    Raises:
        UserError: It holds something else, which is never overwritten.
    """
    from utils.dataset import ARGUMENTS_FILE, NUMBERS_FILE

    if output_dir.is_file():
        raise UserError(
            f"{output_dir}: found a file, expected a folder or nothing. Choose another --output_dir."
        )
    if not output_dir.is_dir() or not any(output_dir.iterdir()):
        return False
    if not (output_dir / ARGUMENTS_FILE).is_file() or not (output_dir / NUMBERS_FILE).is_file():
        raise UserError(
            f"{output_dir}: not empty, and not written by preprocess.py. Choose another --output_dir."
        )
    # how many processes did the work does not change it
    ignored = ("output_dir", "num_proc")
    different = differing_arguments(arguments, output_dir / ARGUMENTS_FILE, ignored=ignored)
    if different:
        raise UserError(
            f"{output_dir}: prepared before with other arguments: {'; '.join(different)}. "
            "Choose another --output_dir, or delete the folder."
        )
    return True


def prepare(arguments: PreprocessArguments, output_dir: Path) -> None:
    """Read, decode, split and write; the folder appears whole or not at all."""
    import shutil

    from utils.dataset import ARGUMENTS_FILE, write_prepared
    from utils.files import folder_written_whole, write_text
    from utils.progress import audio_progress
    from utils.recordings import encode_utterances

    check_label = load_label_check(arguments.model_name_or_path)
    with folder_written_whole(output_dir) as folder:
        source = open_source(arguments, local_cache=folder / ".cache")
        clips = encode_utterances(
            check_label(source.items),
            num_proc=arguments.num_proc,
            min_duration=arguments.min_duration,
            max_duration=arguments.max_duration,
        )
        with audio_progress("Preparing", source.total) as progress:
            write_prepared(
                folder,
                clips,
                language=arguments.language,
                extra_types=source.extra_types,
                validation_share=arguments.validation_share,
                test_share=arguments.test_share,
                seed=arguments.seed,
                on_item=partial(progress.advance, 1),
                credit=source.credit,
                notes=source.notes,
            )
        shutil.rmtree(folder / ".cache", ignore_errors=True)
        write_text(folder / ARGUMENTS_FILE, arguments_as_yaml(arguments))


def open_source(arguments: PreprocessArguments, local_cache: Path) -> "Source":
    """Find the data and check that it can be used at all, before anything is decoded."""
    from utils.hub import read_hub
    from utils.sources import read_folder, read_manifest, read_prompts
    from utils.starter import fetch_prompts

    if arguments.source == "manifest":
        return read_manifest(Path(arguments.input))
    if arguments.source == "folder":
        return read_folder(
            Path(arguments.input),
            min_segment_duration=arguments.min_segment_duration,
            max_duration=arguments.max_duration,
        )
    if arguments.source == "hub":
        return read_hub(
            arguments.input,
            config=arguments.dataset_config_name,
            audio_column=arguments.audio_column_name,
            text_column=arguments.text_column_name,
            local_cache=local_cache,
        )
    prompts = fetch_prompts(arguments.language)
    return read_prompts(prompts.folder, prompts.transcripts, credit=f"{prompts.credit} ({prompts.licence})")


def load_label_check(
    model_name_or_path: str | None,
) -> "Callable[[Iterable[Utterance | Reject]], Iterable[Utterance | Reject]]":
    """The filter that rejects labels the model cannot hold; without a model everything passes."""
    from utils.dataset import reject_long_labels
    from utils.starter import resolve_model
    from utils.text import load_token_counter

    if model_name_or_path is None:
        return iter
    count_tokens = load_token_counter(resolve_model(model_name_or_path))
    return partial(reject_long_labels, count_tokens=count_tokens)


def show_report(output_dir: Path) -> None:
    """Print what was kept and what was not, from the report beside the data."""
    from rich.console import Console
    from rich.table import Table

    from utils.dataset import REJECTS_FILE, read_report

    report = read_report(output_dir)
    console = Console(highlight=False, markup=False)
    table = Table("split", title=f"{output_dir}")
    for heading in ("utterances", "hours", "mean s", "longest s", "distinct texts"):
        table.add_column(heading, justify="right")
    for name, split in report.splits.items():
        lengths = (f"{split.hours:.2f}", f"{split.mean_duration:.1f}", f"{split.longest:.1f}")
        table.add_row(name, str(split.utterances), *lengths, str(split.distinct_texts))
    console.print(table)
    console.print(
        f"{report.seen} seen, {report.kept} kept ({report.hours:.2f} h), {report.rejected} rejected."
    )
    for kind, count in report.reasons.items():
        console.print(f"  {count:>6} × {kind}")
    if report.rejected:
        console.print(f"Each reject and its reason: {output_dir / REJECTS_FILE}", soft_wrap=True)
    show_warnings(report, console.print)


def show_warnings(report: "DataReport", show: Callable[[str], None]) -> None:
    """Print what the user should know before training on this."""
    for note in report.notes:
        show(note)
    if report.shared_texts:
        show(
            f"Warning: sentences in more than one of the given splits: {report.shared_texts}; utterances of "
            f"validation and test whose sentence is in train: {report.leaked_utterances}; "
            "error rates will look better than they are."
        )
    if report.credit:
        show(report.credit)


def show_next_command(arguments: PreprocessArguments, output_dir: Path) -> None:
    model = arguments.model_name_or_path or "openai/whisper-base"
    print(
        "Next:\n  accelerate launch --config_file accelerate_configs/cpu.yaml train.py "
        f"--model_name_or_path {model} --dataset {output_dir} --language {arguments.language} "
        f"--output_dir {Path('runs') / output_dir.name}"
    )


if __name__ == "__main__":
    main()
