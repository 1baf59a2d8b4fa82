"""Reads recordings with subtitles, TextGrids or other transcripts beside them, in a folder or archive."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath

from utils.audio.reading import AUDIO_EXTENSIONS
from utils.data.archives.tree import FileTree, Folder, open_tree
from utils.data.fields import printable, usable_text
from utils.data.segmentation.joining import join_pieces
from utils.data.segmentation.pieces import BadPiece, Segment
from utils.data.sources.listings import (
    Listing,
    describe_others,
    list_tree,
    preference_of,
    stem_of,
    subfolder_of,
    top_of,
)
from utils.data.sources.ordering import in_archive_order
from utils.data.sources.transcript_files import load_transcript
from utils.data.split_names import splits_of_names, unsplit_notes
from utils.data.transcripts.timed_text import TRANSCRIPT_EXTENSIONS, is_timed, read_transcript
from utils.data.utterance import Items, Reject, Source, Utterance, check_any_usable
from utils.runtime.errors import UserError
from utils.runtime.problems import BadItem, Problem

_Cut = Callable[[str, str], Iterator[Segment | BadPiece]]
"""Function that makes segments from the text and the extension of a timed transcript."""


def read_folder(
    path: Path,
    *,
    min_segment_duration: float,
    max_duration: float,
    target_duration: float = 0.0,
    max_gap: float = 1.0,
    padding: float = 0.0,
    tier: str | None = None,
) -> Source:
    """Read audio files in all subfolders of a folder or archive.

    Each has a transcript in the same folder, with the same name except for the extension. A `.txt` without
    times is the text of the whole file. A timed transcript, see `read_transcript`, is cut into segments. If a
    recording has several transcripts, the one whose extension is first in `TRANSCRIPT_EXTENSIONS` is used.
    Subfolders named after splits (`train`, `dev`, `test` …) give the split. Hidden files are skipped and
    links to folders are not followed, so that nothing is read twice.

    Args:
        path: The folder, which is listed again each time the items are read, or an archive.
        min_segment_duration: Reject shorter segments of timed transcripts, in seconds.
        max_duration: Cut longer segments between words, or reject them, in seconds.
        target_duration: Join neighbouring pieces up to this length, in seconds. 0 joins none.
        max_gap: Longest pause within joined pieces, in seconds.
        padding: Seconds added to both sides of a segment if there is a pause.
        tier: Name or pattern of the tiers to read from TextGrid and EAF files. If None, the tiers are chosen
            by rules.

    Raises:
        UserError: There is no such folder, or nothing usable in it.
    """
    if not path.exists():
        raise UserError(f"{path}: no such folder. --input must name a folder of audio and transcripts.")
    tree = open_tree(path)
    cut = partial(
        _cut_transcript,
        tier=tier,
        target_duration=target_duration,
        max_duration=max_duration,
        max_gap=max_gap,
        min_duration=min_segment_duration,
        padding=padding,
    )
    names, counts = _look_over(tree)
    splits = splits_of_names(names)
    items = Items(partial(_read_items, tree, cut, splits))
    check_any_usable(items, str(path))
    return Source(items, notes=(*describe_others(path, counts), *unsplit_notes(splits)))


def _look_over(tree: FileTree) -> tuple[list[str], Counter[str]]:
    """List the subfolders with recordings, in order, and count the files of each kind."""
    counts: Counter[str] = Counter()
    names: dict[str, None] = {}
    top = top_of(tree)
    for listing in list_tree(tree):
        names |= {subfolder_of(listing.folder, top): None} if listing.recordings else {}
        counts["found"] += len(listing.recordings) + len(listing.transcripts) + bool(listing.problem)
        counts["others"] += listing.num_others
        counts["links"] += listing.num_links
    if not counts["found"]:
        known = ", ".join(TRANSCRIPT_EXTENSIONS)
        raise UserError(
            f"{tree.root}: no audio and no transcripts ({known}) found. "
            "Expected files such as clip.wav and clip.txt in the same folder."
        )
    return list(names), counts


def _read_items(tree: FileTree, cut: _Cut, splits: Mapping[str, str | None]) -> Iterator[Utterance | Reject]:
    return in_archive_order(_read_listings(tree, cut, splits))


def _read_listings(
    tree: FileTree, cut: _Cut, splits: Mapping[str, str | None]
) -> Iterator[Utterance | Reject]:
    top = top_of(tree)
    for listing in list_tree(tree):
        if listing.problem:
            yield Reject(printable(listing.folder), "folder", listing.problem)
        split = splits.get(subfolder_of(listing.folder, top))
        for item in _read_listing(listing, tree, cut):
            yield replace(item, split=split) if isinstance(item, Utterance) else item
    if not isinstance(tree, Folder):
        for name, problem in tree.unusable():
            if PurePosixPath(name).suffix.lower() in AUDIO_EXTENSIONS:
                yield Reject(printable(name), "file", problem)


def _read_listing(listing: Listing, tree: FileTree, cut: _Cut) -> Iterator[Utterance | Reject]:
    """Yield utterances and rejects of each recording of one folder, then transcripts without a recording."""
    transcripts: dict[str, list[str]] = {}
    for name in sorted(listing.transcripts, key=preference_of):
        transcripts.setdefault(stem_of(name), []).append(name)
    used: dict[str, str] = {}
    for name in listing.recordings:
        stem, source = stem_of(name), printable((listing.folder / name).relative_to(tree.root))
        if stem in used:
            yield Reject(source, "file", Problem("two recordings of one name", f"{used[stem]} is used"))
        elif stem not in transcripts:
            problem = Problem("no transcript", f"expected {printable(stem)}.txt or similar beside it")
            yield Reject(source, "file", problem)
        else:
            used[stem] = printable(name)
            yield from _read_pair(listing.folder / name, transcripts[stem], tree, cut)
    for stem, names in transcripts.items():
        if stem not in used:
            for name in names:
                source = printable((listing.folder / name).relative_to(tree.root))
                problem = Problem("no recording", f"expected {printable(stem)}.wav or another format")
                yield Reject(source, "file", problem)


def _read_pair(
    audio: Path, transcripts: Sequence[str], tree: FileTree, cut: _Cut
) -> Iterator[Utterance | Reject]:
    """Yield the utterances of one recording, and after them its rejects, so that the utterances follow each
    other.
    """
    rejects: list[Reject] = []
    for item in _read_transcript(audio, audio.with_name(transcripts[0]), tree, cut):
        if isinstance(item, Reject):
            rejects.append(item)
        else:
            yield item
    yield from rejects
    for name in transcripts[1:]:
        source = printable(audio.with_name(name).relative_to(tree.root))
        yield Reject(source, "file", Problem("another transcript", f"{printable(transcripts[0])} is used"))


def _read_transcript(
    audio: Path, transcript: Path, tree: FileTree, cut: _Cut
) -> Iterator[Utterance | Reject]:
    relative = audio.relative_to(tree.root)
    stem, source = printable(relative.with_suffix("")), printable(transcript.relative_to(tree.root))
    recording = audio if isinstance(tree, Folder) else tree.audio(relative.as_posix())
    whole = Utterance(stem, recording, "", source, "file", recording=stem)
    extension = transcript.suffix.lower()
    try:
        text = load_transcript(tree, transcript)
        if extension == ".txt" and not is_timed(text):
            yield replace(whole, text=usable_text(text))
        else:
            yield from _as_utterances(whole, cut(text, extension))
    except BadItem as error:
        yield Reject(source, "file", error.problem)


def _cut_transcript(
    text: str, extension: str, *, tier: str | None, **durations: float
) -> Iterator[Segment | BadPiece]:
    return join_pieces(read_transcript(text, extension, tier=tier), **durations)


def _as_utterances(whole: Utterance, items: Iterable[Segment | BadPiece]) -> Iterator[Utterance | Reject]:
    """Yield the segments of a timed transcript as utterances of the recording, numbered by time."""
    index, is_empty = 0, True
    for item in items:
        is_empty = False
        if isinstance(item, BadPiece):
            yield Reject(whole.source, item.position, item.problem)
            continue
        yield replace(
            whole,
            id=f"{whole.id}_segment_{index:03d}",
            **vars(item),  # all fields of a segment are fields of an utterance
        )
        index += 1
    if is_empty:
        yield Reject(whole.source, "file", Problem("empty transcript", "it has no timed text"))
