"""Turn speech data into a prepared dataset: clips of at most 30 s as 16 kHz FLAC, and a report.

On any computer (the same command continues an interrupted run):

    python preprocess.py --source manifest --input corpus.jsonl --language it --output_dir data/it

Audio is decoded on the CPU, so no launcher is needed; `--num_proc 8` uses eight processes. On a cluster,
`--num_shards 20 --shard_index 3` does one twentieth of the work. Afterwards run the same command without
--shard_index to join all parts.
"""

import dataclasses
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from utils.arguments.parsing import parse_arguments
from utils.arguments.preprocess import PreprocessArguments
from utils.runtime.errors import UserError, user_errors_end_the_script
from utils.runtime.files import real_folder
from utils.runtime.resolved_arguments import arguments_as_yaml, differing_arguments

if TYPE_CHECKING:
    from utils.data.blocks import Block
    from utils.data.clips.encoding import ClipSettings
    from utils.data.data_report import DataReport
    from utils.data.selection import SplitSettings
    from utils.data.utterance import Reject, Source, Utterance

# Arguments that do not change the dataset.
FREE_ARGUMENTS = (
    *("output_dir", "num_proc", "num_shards", "shard_index", "archive", "also_write"),
    *("push_to_hub", "hub_dataset_id", "hub_private_repo", "hub_license"),
)


def main(argv: list[str] | None = None) -> None:
    with user_errors_end_the_script():
        preprocess(parse_arguments(PreprocessArguments, argv, __doc__))


def preprocess(arguments: PreprocessArguments) -> None:
    """Check the arguments, prepare the dataset if it does not exist yet, and write its other forms."""
    from rich.console import Console

    from utils.data.data_report import read_data_report
    from utils.data.delivery.folders import check_forms, choose_forms, write_forms
    from utils.data.delivery.hub_errors import check_login
    from utils.report.data_summary import print_summary
    from utils.report.next_command import tell_next

    output_dir = real_folder(Path(arguments.output_dir))  # resolves a link or `.`
    arguments = dataclasses.replace(arguments, output_dir=str(output_dir))
    name, private, license = arguments.hub_dataset_id, arguments.hub_private_repo, arguments.hub_license
    if arguments.push_to_hub and arguments.shard_index is None:  # else the push may fail after hours
        check_login(str(name), "dataset", private=private, license=license)
    forms = choose_forms(output_dir, archive=arguments.archive, also_write=arguments.also_write)
    check_forms(forms, arguments.input)
    if is_already_prepared(arguments, output_dir):
        print(f"{output_dir}: already prepared with these arguments. Delete the folder to start over.")
    elif not prepare(recognised(arguments), output_dir):
        print(
            f"Shard {arguments.shard_index} of {arguments.num_shards} is done. When all shards are done, run "
            "the same command without --shard_index to join them."
        )
        return
    write_forms(forms, output_dir)
    if arguments.push_to_hub:
        from utils.data.delivery.hub_push import push_dataset

        hidden = FREE_ARGUMENTS
        print(push_dataset(output_dir, str(name), private=private, license=license, hidden_arguments=hidden))
    report = read_data_report(output_dir)
    print_summary(report, output_dir, Console(highlight=False, markup=False))
    tell_next(next_command(arguments, report))


def is_already_prepared(arguments: PreprocessArguments, output_dir: Path) -> bool:
    """Check whether the folder already holds the dataset of these arguments.

    Raises:
        UserError: The folder holds another dataset, which is never overwritten.
    """
    from utils.data.data_report import ARGUMENTS_FILE
    from utils.data.working_folder import holds_dataset

    if not holds_dataset(output_dir):
        return False
    ignored = FREE_ARGUMENTS if arguments.source else (*FREE_ARGUMENTS, "source")
    different = differing_arguments(arguments, output_dir / ARGUMENTS_FILE, ignored=ignored)
    if different:
        raise UserError(
            f"{output_dir}: already prepared with other arguments: {'; '.join(different)}. "
            "Choose another --output_dir, or delete the folder."
        )
    return True


def recognised(arguments: PreprocessArguments) -> PreprocessArguments:
    """Find out the kind of input if it is not given, and say so."""
    from utils.data.sources.recognising import tell_source

    source = arguments.source or tell_source(str(arguments.input))
    return dataclasses.replace(arguments, source=source)


def prepare(arguments: PreprocessArguments, output_dir: Path) -> bool:
    """Read, decode, check and split the data, and write the folder atomically.

    Until all work is done, finished blocks are kept in a hidden folder beside it. The next run uses them.

    Returns:
        Whether the dataset was written. It is False for a job of an array, which does only its own blocks.
    """
    from utils.data.building import build_dataset
    from utils.data.data_report import ARGUMENTS_FILE
    from utils.data.sources.registry import open_source
    from utils.data.speakers import name_speakers
    from utils.data.working_folder import forgetting_blocks, working_folder
    from utils.report.data_page import write_data_page
    from utils.runtime.files import folder_written_whole, write_text

    with working_folder(output_dir, arguments.shard_index) as blocks_dir:
        options = vars(arguments) | {"local_cache": blocks_dir / "cache"}
        source = open_source(str(arguments.source), arguments.input, options)
        if arguments.speaker_from is not None:
            source = name_speakers(source, arguments.speaker_from, Path(str(arguments.input)))
        settings = clip_settings(arguments)
        blocks = do_blocks(arguments, source, settings, blocks_dir)
        if arguments.shard_index is not None:
            return False
        with forgetting_blocks(blocks_dir), folder_written_whole(output_dir) as folder:
            report, rejected = build_dataset(folder, blocks, split_settings(arguments), source)
            command = next_command(arguments, report)
            write_data_page(folder, report, rejected, name=output_dir.name, next_command=command)
            write_text(folder / ARGUMENTS_FILE, arguments_as_yaml(arguments))
    return True


def next_command(arguments: PreprocessArguments, report: "DataReport") -> str:
    """Return the command that trains on the dataset."""
    from utils.report.next_command import language_to_train, training_command

    language = language_to_train(arguments.language, report.statistics)
    return training_command(arguments.output_dir, language=language, model=arguments.model_name_or_path)


def do_blocks(
    arguments: PreprocessArguments, source: "Source", settings: "ClipSettings", blocks_dir: Path
) -> list[Path]:
    """Encode the missing blocks of this job. Return the index files of all blocks in order."""
    from utils.data.blocks import cut_blocks, is_own_block
    from utils.data.clips.block_encoding import encode_blocks
    from utils.runtime.progress import audio_progress

    names: list[str] = []  # of all blocks, filled while blocks are cut
    blocks = noted(cut_blocks(drawn(source.items, arguments), describe(settings, arguments)), names)
    shard = (arguments.shard_index, arguments.num_shards)
    own_blocks = (block for block in blocks if is_own_block(block.number, *shard))
    align = None
    if arguments.align_with_model is not None:
        from utils.data.forced_alignment.alignment import load_aligner

        align = load_aligner(
            arguments.align_with_model,
            arguments.language,
            max_duration=arguments.max_duration,
            min_confidence=arguments.min_alignment_confidence,
        )
    with audio_progress("Preparing", source.total) as progress:
        for count in encode_blocks(
            own_blocks, blocks_dir, settings, num_proc=arguments.num_proc, align=align
        ):
            if count.was_done:
                progress.skip(count.items)
            else:
                progress.advance(count.items, count.audio_seconds)
    indexes = [blocks_dir / f"{name}.json" for name in names]
    if arguments.filter_with_model is not None:
        from utils.data.screening import screen_blocks

        own = [index for number, index in enumerate(indexes) if is_own_block(number, *shard)]
        screen_blocks(own, arguments.filter_with_model, max_wer=arguments.max_filter_wer)
    return indexes


def noted(blocks: "Iterable[Block]", names: list[str]) -> "Iterator[Block]":
    """Yield the blocks, and add the name of each to `names`."""
    for block in blocks:
        names.append(block.name)
        yield block


def describe(settings: "ClipSettings", arguments: PreprocessArguments) -> str:
    """Return all settings that decide the result of an item, as text that is equal in every process."""
    names = ("align_with_model", "min_alignment_confidence", "filter_with_model", "max_filter_wer")
    values = dataclasses.asdict(settings) | {name: getattr(arguments, name) for name in names}
    return json.dumps(values | {"rules": sorted(settings.rules)}, sort_keys=True)


def drawn(
    items: "Iterable[Utterance | Reject]", arguments: PreprocessArguments
) -> "Iterable[Utterance | Reject]":
    """Draw the share of the items given by `--fraction` and `--test_fraction`."""
    from utils.data.selection import draw_fraction

    test_fraction = arguments.fraction if arguments.test_fraction is None else arguments.test_fraction
    return draw_fraction(items, arguments.fraction, test_fraction=test_fraction, seed=arguments.seed)


def clip_settings(arguments: PreprocessArguments) -> "ClipSettings":
    """Return the settings that decide which clips are kept, and their content."""
    from utils.data.clips.encoding import ClipSettings
    from utils.data.quality.rules import choose_rules
    from utils.model.resolving import resolve_model
    from utils.text.token_counter import load_token_counter

    tokenizer = None
    if arguments.model_name_or_path is not None:
        tokenizer = str(resolve_model(arguments.model_name_or_path))
        load_token_counter(tokenizer)  # reports a wrong name before any work
    return ClipSettings(
        min_duration=arguments.min_duration,
        max_duration=arguments.max_duration,
        rules=choose_rules(skip=arguments.skip_rules, add=arguments.add_rules),
        language=arguments.language,
        tokenizer=tokenizer,
    )


def split_settings(arguments: PreprocessArguments) -> "SplitSettings":
    """Return the settings for splits, and for leaving out clips when all clips have been read."""
    from utils.data.quality.rules import choose_rules
    from utils.data.selection import SplitSettings

    return SplitSettings(
        validation_share=arguments.validation_share,
        test_share=arguments.test_share,
        seed=arguments.seed,
        as_original=arguments.as_original,
        rules=choose_rules(skip=arguments.skip_rules, add=arguments.add_rules),
    )


if __name__ == "__main__":
    main()
