"""Transcribe audio and video files of any length into text, subtitles, tables or JSON.

On any computer:

    python transcribe.py --model runs/it/best talk.mp3 interviews/ --format srt txt --output_dir out

From another program:

    ffmpeg -i film.mkv -f wav - | python transcribe.py --model runs/it/best - --format srt --output_dir out
"""

import contextlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from utils.arguments.parsing import parse_arguments
from utils.arguments.transcribe import TranscribeArguments
from utils.runtime.errors import UserError, user_errors_end_the_script

if TYPE_CHECKING:
    from utils.delivery.cues import Layout
    from utils.delivery.inputs import GivenFile
    from utils.delivery.transcribing import WindowReader
    from utils.delivery.transcript_files import Summary, TranscriptFolder

SHOWN = 10  # doubtful files in the summary; the record has all


def main(argv: list[str] | None = None) -> None:
    os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")  # read when torch is imported
    with user_errors_end_the_script():
        arguments = parse_arguments(TranscribeArguments, argv, __doc__)
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise UserError("transcribe.py runs in one process. Start it with python, not with a launcher.")
        failed = transcribe(arguments)
        if failed:
            raise SystemExit(1)


def transcribe(arguments: TranscribeArguments) -> "dict[GivenFile, str]":
    """Transcribe all files that no earlier run has done. Return the reason for each file that failed."""
    from utils.delivery.inputs import find_given_files
    from utils.runtime.locking import sole_run_in
    from utils.runtime.progress import silence_libraries

    silence_libraries()
    files, output_dir = find_given_files(arguments.files), Path(arguments.output_dir)
    if output_dir.is_file():
        raise UserError(f"{output_dir}: found a file, expected a folder. Choose another --output_dir.")
    made: dict[GivenFile, Summary] = {}
    failed: dict[GivenFile, str] = {}
    with sole_run_in(output_dir):
        folder = open_folder(arguments, output_dir)
        left = [file for file in files if not folder.has(file)]
        folder.remove_leftovers(left)
        started = time.perf_counter()
        if left:
            with open_reader(arguments, left) as reader:
                started = time.perf_counter()  # without the time to load the model
                transcribe_files(reader, left, folder, arguments.language, made, failed)
    seconds = time.perf_counter() - started
    print_summary(made, failed, len(files) - len(left), seconds, output_dir)
    return failed


def open_folder(arguments: TranscribeArguments, output_dir: Path) -> "TranscriptFolder":
    """Open the folder for transcripts.

    Transcripts of an earlier run are kept if arguments and model are the same.
    """
    from utils.delivery.transcript_files import TranscriptFolder, digest_request
    from utils.evaluation.evaluation_folder import fingerprint

    request = digest_request(arguments, fingerprint(Path(arguments.model).expanduser(), set()))
    return TranscriptFolder(output_dir, arguments.format, layout_of(arguments), request)


def layout_of(arguments: TranscribeArguments) -> "Layout":
    from utils.delivery.cues import Layout

    return Layout(arguments.max_line_width, arguments.max_line_count, arguments.max_reading_speed)


@contextlib.contextmanager
def open_reader(arguments: TranscribeArguments, files: "Sequence[GivenFile]") -> "Iterator[WindowReader]":
    """Load the model with the backend, and check that it knows the languages."""
    from utils.delivery.opening import open_window_reader
    from utils.evaluation.backends.transcriber import BackendOptions
    from utils.evaluation.models import find_task
    from utils.runtime.devices import pick_device

    task = find_task([arguments.model], arguments.task)
    limits = arguments.generation_max_length, task, arguments.num_beams
    with open_window_reader(
        arguments.model,
        arguments.backend,
        BackendOptions(pick_device(), arguments.dtype, *limits),
        languages={file.language or arguments.language for file in files} - {"auto"},
        audio_context=arguments.audio_context,
        batch_size=arguments.batch_size,
        layout=layout_of(arguments),
        prompt_terms=arguments.prompt_terms,
        seed=arguments.seed,
    ) as reader:
        yield reader


def transcribe_files(
    reader: "WindowReader",
    files: "Sequence[GivenFile]",
    folder: "TranscriptFolder",
    language: str,
    made: "dict[GivenFile, Summary]",
    failed: "dict[GivenFile, str]",
) -> None:
    """Transcribe files and write each as soon as its group is done. Add each to `made` or `failed`."""
    from functools import partial

    from utils.delivery.groups import GroupCounter, count_failure, load_groups, work_of
    from utils.delivery.transcribing import transcribe_together
    from utils.runtime.messages import counted
    from utils.runtime.progress import audio_progress

    with audio_progress(counted(len(files), "file"), sum(map(work_of, files))) as progress:
        for group in load_groups(files, language, partial(count_failure, progress, failed)):
            counter = GroupCounter(progress, group)
            transcripts = transcribe_together(reader, list(group.values()), counter.count)
            for file, transcript in zip(group, transcripts, strict=True):
                made[file] = folder.write(file, transcript)
            counter.finish()


def print_summary(
    made: "Mapping[GivenFile, Summary]",
    failed: "Mapping[GivenFile, str]",
    num_done_before: int,
    seconds: float,
    output_dir: Path,
) -> None:
    """Print what was transcribed, how fast, and which files to check."""
    from utils.data.fields import printable
    from utils.delivery.transcript_files import RECORD
    from utils.runtime.messages import counted

    audio = sum(summary.duration for summary in made.values())
    files = counted(len(made), "file")
    speed = (
        f"{files}, {audio:.0f} s of audio in {seconds:.0f} s (RTFx {audio / seconds:.1f}, without loading)"
    )
    parts = [speed] if made or failed else ["nothing left to do"]
    parts += [f"{num_done_before} done before"] if num_done_before else []
    parts += [f"{len(failed)} failed"] if failed else []
    for file, reason in failed.items():
        print(printable(f"{file.path}: failed: {reason}"))
    seen = [
        *((file, one.doubtful, "s of text may be wrong, marked [?]") for file, one in made.items()),
        *((file, one.uncovered, "s of speech have no text") for file, one in made.items()),
    ]
    doubts = [f"{file.path}: {amount:.1f} {what}" for file, amount, what in seen if amount]
    for line in doubts[:SHOWN]:
        print(printable(line))
    if len(doubts) > SHOWN:
        print(f"{len(doubts) - SHOWN} more such lines: see {RECORD} there.")
    print(f"{output_dir}: {'; '.join(parts)}.")


if __name__ == "__main__":
    main()
