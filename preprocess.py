"""Turn any speech data into a prepared dataset: clips of at most 30 s as 16 kHz FLAC, and a report.

On any computer; a run that was interrupted goes on where it stopped:

    python preprocess.py --source manifest --input corpus.jsonl --language it --output_dir data/it

Audio is decoded on the CPU, so there is nothing to launch on several devices; `--num_proc 8` uses eight
processes. On a cluster, `--num_shards 20 --shard_index 3` does a twentieth; the same command without
--shard_index then puts all together.
"""

import contextlib
import shlex
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from utils.arguments.parsing import parse_arguments
from utils.arguments.preprocess import PreprocessArguments
from utils.runtime.errors import UserError, WriteError, user_errors_end_the_script
from utils.runtime.resolved_arguments import arguments_as_yaml, differing_arguments

if TYPE_CHECKING:
    from utils.data.blocks import Block
    from utils.data.clips.encoding import Aligner, ClipSettings
    from utils.data.selection import SplitSettings
    from utils.data.utterance import Reject, Source, Utterance

# How many processes do the work, where it lies and what else is made of it do not change the dataset.
FREE_ARGUMENTS = (
    *("output_dir", "num_proc", "num_shards", "shard_index", "archive", "also_write"),
    *("push_to_hub", "hub_dataset_id", "hub_private_repo", "hub_license"),
)


def main(argv: list[str] | None = None) -> None:
    with user_errors_end_the_script():
        arguments = with_real_output(parse_arguments(PreprocessArguments, argv, __doc__))
        output_dir = Path(arguments.output_dir)
        if arguments.push_to_hub and arguments.shard_index is None:
            check_hub(arguments)
        check_other_forms(arguments, output_dir)
        if is_already_prepared(arguments, output_dir):
            print(
                f"{output_dir}: prepared before with these arguments, nothing to do. Delete it to start over."
            )
        elif not prepare(arguments, output_dir):
            print(
                f"Shard {arguments.shard_index} of {arguments.num_shards} is done. When all are, run the "
                "same command without --shard_index; it puts them together."
            )
            return
        deliver(arguments, output_dir)
        show_report(output_dir)
        print(f"Next:\n  {training_command(arguments)}")


def with_real_output(arguments: PreprocessArguments) -> PreprocessArguments:
    """The arguments with the folder that `--output_dir` means, where it is a link or `.`."""
    import dataclasses

    from utils.runtime.files import real_folder

    return dataclasses.replace(arguments, output_dir=str(real_folder(Path(arguments.output_dir))))


def is_already_prepared(arguments: PreprocessArguments, output_dir: Path) -> bool:
    """Whether the folder holds what this run would write.

    Raises:
        UserError: It holds something else, which is never overwritten.
    """
    from utils.data.data_report import ARGUMENTS_FILE, NUMBERS_FILE

    if output_dir.is_file():
        raise UserError(
            f"{output_dir}: found a file, expected a folder or nothing. Choose another --output_dir."
        )
    if not (output_dir / NUMBERS_FILE).is_file():
        check_replaceable(output_dir)
    if not output_dir.is_dir() or not any(output_dir.iterdir()):
        return False
    if not (output_dir / ARGUMENTS_FILE).is_file() or not (output_dir / NUMBERS_FILE).is_file():
        raise UserError(
            f"{output_dir}: not empty, and not written by preprocess.py. Choose another --output_dir."
        )
    different = differing_arguments(arguments, output_dir / ARGUMENTS_FILE, ignored=FREE_ARGUMENTS)
    if different:
        raise UserError(
            f"{output_dir}: prepared before with other arguments: {'; '.join(different)}. "
            "Choose another --output_dir, or delete the folder."
        )
    return True


def check_replaceable(output_dir: Path) -> None:
    """Raise a UserError where the finished folder could not take the name of one that is there."""
    what = None
    if output_dir.is_mount():
        what = "a mount point, which no folder can take the place of"
    elif output_dir.is_dir() and output_dir.samefile(Path.cwd()):
        what = "the current folder, which you would find deleted and replaced"
    if what:
        raise UserError(f"{output_dir}: {what}. Name one below it, such as {output_dir / 'data'}.")


def prepare(arguments: PreprocessArguments, output_dir: Path) -> bool:
    """Read, decode, check, split and write; the folder appears whole or not at all.

    Finished blocks of work lie in a hidden folder beside it until then, and are found by the next run.

    Returns:
        Whether the dataset is there; False for a job of an array, which does only its own blocks.
    """
    from utils.data.building import build_dataset
    from utils.data.data_report import ARGUMENTS_FILE
    from utils.report.data_page import write_data_page
    from utils.runtime.files import folder_written_whole, write_text

    with working_folder(output_dir, arguments.shard_index) as blocks_dir:
        settings = clip_settings(arguments)
        source = open_source(arguments, local_cache=blocks_dir / "cache")
        blocks = do_blocks(arguments, source, settings, blocks_dir)
        if arguments.shard_index is not None:
            return False
        with forgetting_blocks(blocks_dir), folder_written_whole(output_dir) as folder:
            report, rejected = build_dataset(
                folder, blocks, split_settings(arguments), credit=source.credit, notes=source.notes
            )
            command = training_command(arguments)
            write_data_page(folder, report, rejected, name=output_dir.name, next_command=command)
            write_text(folder / ARGUMENTS_FILE, arguments_as_yaml(arguments))
    return True


def open_source(arguments: PreprocessArguments, local_cache: Path) -> "Source":
    """Find the data and check that it can be used at all, before anything is decoded."""
    from utils.data.sources import (
        afrispeech,
        asterisk,
        audiofolder,
        common_voice,
        fleurs,
        folder,
        hub,
        kaldi,
        lhotse,
        librispeech,
        ljspeech,
        manifest,
        nemo,
    )
    from utils.data.sources.asterisk_download import fetch_prompts

    if arguments.source == "asterisk":
        prompts = fetch_prompts(arguments.language)
        credit = f"{prompts.credit} ({prompts.licence})"
        return asterisk.read_prompts(prompts.folder, prompts.transcripts, credit=credit)
    assert arguments.input is not None
    path = Path(arguments.input)
    if arguments.source == "hub":
        return hub.read_hub(
            arguments.input,
            config=arguments.dataset_config_name,
            audio_column=arguments.audio_column_name,
            text_column=arguments.text_column_name,
            streaming=arguments.streaming,
            local_cache=local_cache,
        )
    readers: dict[str, Callable[[Path], Source]] = {
        "manifest": manifest.read_manifest,
        "folder": partial(
            folder.read_folder,
            min_segment_duration=arguments.min_segment_duration,
            max_duration=arguments.max_duration,
            target_duration=arguments.target_duration,
            max_gap=arguments.max_gap,
            padding=arguments.padding,
            tier=arguments.tier,
        ),
        "audiofolder": partial(audiofolder.read_audiofolder, text_column=arguments.text_column_name),
        "common_voice": partial(
            common_voice.read_common_voice,
            locale=arguments.dataset_config_name,
            use_validated=arguments.use_validated,
            min_net_votes=arguments.min_net_votes,
        ),
        "afrispeech": partial(afrispeech.read_afrispeech, accents=arguments.accents),
        "fleurs": partial(
            fleurs.read_fleurs,
            config=arguments.dataset_config_name,
            text_column=arguments.text_column_name,
        ),
        "ljspeech": partial(ljspeech.read_ljspeech, text_column=arguments.text_column_name),
        "librispeech": librispeech.read_librispeech,
        "kaldi": kaldi.read_kaldi,
        "nemo": nemo.read_nemo,
        "lhotse": lhotse.read_lhotse,
    }
    return readers[arguments.source](path)


def do_blocks(
    arguments: PreprocessArguments, source: "Source", settings: "ClipSettings", blocks_dir: Path
) -> list[Path]:
    """Do the blocks that are not done yet, in this job's share; returns the index files of all in order."""
    from utils.data.blocks import cut_blocks, is_own_block
    from utils.data.clips.block_encoding import encode_blocks
    from utils.runtime.progress import audio_progress

    align = load_aligner(arguments)
    indexes: list[Path] = []
    own_indexes: list[Path] = []

    def own_blocks() -> Iterator["Block"]:
        for block in cut_blocks(drawn(source.items, arguments), describe(settings, arguments)):
            indexes.append(blocks_dir / f"{block.name}.json")
            if is_own_block(block, arguments.shard_index, arguments.num_shards):
                own_indexes.append(indexes[-1])
                yield block

    with audio_progress("Preparing", source.total) as progress:
        for count in encode_blocks(
            own_blocks(), blocks_dir, settings, num_proc=arguments.num_proc, align=align
        ):
            if count.was_done:
                progress.skip(count.items)
            else:
                progress.advance(count.items, count.audio_seconds)
    if arguments.filter_with_model is not None:
        screen(arguments, own_indexes)
    return indexes


def describe(settings: "ClipSettings", arguments: PreprocessArguments) -> str:
    """All that decides what becomes of an item, as text that is equal in every process."""
    import dataclasses
    import json

    names = ("align_with_model", "min_alignment_confidence", "filter_with_model", "max_filter_wer")
    values = dataclasses.asdict(settings) | {name: getattr(arguments, name) for name in names}
    return json.dumps(values | {"rules": sorted(settings.rules)}, sort_keys=True)


def load_aligner(arguments: PreprocessArguments) -> "Aligner | None":
    """What finds the times of a long recording's plain transcript, with its model, or None."""
    if arguments.align_with_model is None:
        return None
    from utils.data.forced_alignment.alignment import align_utterance
    from utils.model.loading import load_model
    from utils.model.whisper import whisper_of
    from utils.runtime.devices import pick_device
    from utils.runtime.progress import silence_libraries

    silence_libraries()
    loaded = load_model(arguments.align_with_model)
    return partial(
        align_utterance,
        model=whisper_of(loaded.model).to(pick_device()).eval(),
        processor=loaded.processor,
        default_language=None if arguments.language == "auto" else arguments.language,
        max_duration=arguments.max_duration,
        min_confidence=arguments.min_alignment_confidence,
    )


def screen(arguments: PreprocessArguments, indexes: list[Path]) -> None:
    """Let a model hear every clip; what it finds wrong is set aside when the clips are put together."""
    from utils.data.screening import screen_block
    from utils.model.loading import load_model
    from utils.model.whisper import whisper_of
    from utils.runtime.devices import pick_device, pick_dtype
    from utils.runtime.progress import audio_progress, silence_libraries

    silence_libraries()
    device = pick_device()
    assert arguments.filter_with_model is not None
    loaded = load_model(arguments.filter_with_model, dtype=pick_dtype(device))
    model = whisper_of(loaded.model).to(device).eval()
    with audio_progress("Hearing", len(indexes)) as progress:
        for index in indexes:
            seconds = screen_block(index, model, loaded.processor, max_wer=arguments.max_filter_wer)
            progress.advance(1, seconds)


def drawn(
    items: "Iterable[Utterance | Reject]", arguments: PreprocessArguments
) -> "Iterable[Utterance | Reject]":
    """The share of the items that `--fraction` and `--test_fraction` draw."""
    from utils.data.splits import draw_fraction

    if arguments.fraction == 1 and arguments.test_fraction is None:
        return items
    test_fraction = arguments.fraction if arguments.test_fraction is None else arguments.test_fraction
    return draw_fraction(items, arguments.fraction, test_fraction=test_fraction, seed=arguments.seed)


def clip_settings(arguments: PreprocessArguments) -> "ClipSettings":
    """What decides which clips are kept and how they look."""
    from utils.data.clips.encoding import ClipSettings
    from utils.data.quality.rules import choose_rules
    from utils.model.resolving import resolve_model
    from utils.text.token_counts import load_token_counter

    tokenizer = None
    if arguments.model_name_or_path is not None:
        tokenizer = str(resolve_model(arguments.model_name_or_path))
        load_token_counter(tokenizer)  # a wrong name is told here, before any work
    return ClipSettings(
        min_duration=arguments.min_duration,
        max_duration=arguments.max_duration,
        rules=choose_rules(skip=arguments.skip_rules, add=arguments.add_rules),
        language=arguments.language,
        tokenizer=tokenizer,
    )


def split_settings(arguments: PreprocessArguments) -> "SplitSettings":
    """What decides the splits and what is left out once all clips are known."""
    from utils.data.quality.rules import choose_rules
    from utils.data.selection import SplitSettings

    return SplitSettings(
        validation_share=arguments.validation_share,
        test_share=arguments.test_share,
        seed=arguments.seed,
        as_original=arguments.as_original,
        rules=choose_rules(skip=arguments.skip_rules, add=arguments.add_rules),
    )


def other_forms(arguments: PreprocessArguments, output_dir: Path) -> dict[Path, Callable[[Path], Path]]:
    """Where the dataset is to be written in another form, and what writes it there."""
    from utils.data.delivery.folders import archive_path, audiofolder_path, write_archive, write_audiofolder

    forms: dict[Path, Callable[[Path], Path]] = {}
    if arguments.archive:
        forms[archive_path(output_dir)] = write_archive
    if arguments.also_write == "audiofolder":
        forms[audiofolder_path(output_dir)] = write_audiofolder
    return forms


def check_other_forms(arguments: PreprocessArguments, output_dir: Path) -> None:
    """Other forms of a dataset are written anew with it: never over what is read, nor over something else."""
    from utils.data.delivery.folders import check_own

    for form in other_forms(arguments, output_dir):
        if arguments.input is not None and Path(arguments.input).resolve().is_relative_to(form.resolve()):
            raise UserError(
                f"{form}: --input, and where another form of the dataset is to be written. "
                "Choose another --output_dir."
            )
        check_own(form)


def deliver(arguments: PreprocessArguments, output_dir: Path) -> None:
    """Write the dataset in the other forms that were asked for, unless they are there and no older."""
    from utils.data.delivery.folders import is_current

    for form, write in other_forms(arguments, output_dir).items():
        if not is_current(form, output_dir):
            print(f"Also written: {write(output_dir)}")
    if arguments.push_to_hub:
        push(arguments, output_dir)


def check_hub(arguments: PreprocessArguments) -> None:
    """What would stop the push is told before the work, not after it."""
    from utils.data.delivery.hub_errors import check_login

    assert arguments.hub_dataset_id is not None
    check_login(arguments.hub_dataset_id, private=arguments.hub_private_repo, license=arguments.hub_license)


def push(arguments: PreprocessArguments, output_dir: Path) -> None:
    """Bring the dataset to the Hub; what is there already is not sent again."""
    from utils.data.delivery.hub_push import push_dataset

    assert arguments.hub_dataset_id is not None
    pushed = push_dataset(
        output_dir,
        arguments.hub_dataset_id,
        private=arguments.hub_private_repo,
        license=arguments.hub_license,
        hidden_arguments=FREE_ARGUMENTS,
    )
    who = "only you and your organisation see it" if pushed.private else "everybody sees it"
    print(f"On the Hub: {pushed.url} ({who})")
    if not pushed.has_license:
        print("  Its card states no licence. Add --hub_license, such as cc-by-4.0, if the rights are yours.")


def show_report(output_dir: Path) -> None:
    """Print what was kept and what was not, from the report beside the data."""
    from rich.console import Console

    from utils.data.data_report import read_data_report
    from utils.report.data_summary import print_summary

    print_summary(read_data_report(output_dir), output_dir, Console(highlight=False, markup=False))


def training_command(arguments: PreprocessArguments) -> str:
    """What to run next."""
    from utils.runtime.devices import pick_accelerate_config

    config = f"accelerate_configs/{pick_accelerate_config()}.yaml"
    words = ["accelerate", "launch", "--config_file", config, "train.py"]
    words += ["--model_name_or_path", arguments.model_name_or_path or "openai/whisper-base"]
    words += ["--dataset", arguments.output_dir]
    if arguments.language != "auto":
        words += ["--language", arguments.language]
    return shlex.join([*words, "--output_dir", str(Path("runs") / Path(arguments.output_dir).name)])


@contextlib.contextmanager
def working_folder(output_dir: Path, shard_index: int | None) -> Iterator[Path]:
    """The hidden folder of finished blocks beside `output_dir`, for one run at a time.

    The jobs of an array share it, each with blocks of its own. It stays when a run is interrupted, and goes
    when it holds nothing that would help the next one; no job of an array takes it from the others.

    Raises:
        UserError: Another run is at work there.
    """
    import shutil

    from utils.runtime.locking import sole_holder

    folder = output_dir.with_name(f".{output_dir.name}.blocks")
    folder.mkdir(parents=True, exist_ok=True)
    lock = folder / ("lock" if shard_index is None else f"lock-{shard_index}")
    refusal = f"{folder}: another preprocess.py is at work on this --output_dir. Wait for it, or stop it."
    with contextlib.ExitStack() as once_unlocked, sole_holder(lock, refusal):
        try:
            yield folder
        finally:
            if shard_index is None and not any(folder.glob("*.json")):
                once_unlocked.callback(shutil.rmtree, folder, ignore_errors=True)


@contextlib.contextmanager
def forgetting_blocks(blocks_dir: Path) -> Iterator[None]:
    """Delete the blocks when they have been put together, or when it turns out that none is of use.

    They stay where the dataset could not be written: room can be made.
    """
    useless: UserError | None = None
    try:
        yield
    except WriteError:
        raise
    except UserError as error:
        useless = error
    for index in blocks_dir.glob("*.json"):
        index.unlink()
    if useless is not None:
        raise useless


if __name__ == "__main__":
    main()
