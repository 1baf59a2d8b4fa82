"""How exactly forced alignment finds the words of a plain transcript in a long recording.

Telephone prompts, in an order drawn by the seed, are put one after the other until the recording is full;
their texts, joined by spaces, are its transcript. Two recordings are made: in one the prompts follow each
other as they are, in the other with 0.3 to 1 s of silence in between. Where two prompts meet is known, in the
sound (the middle of the silence that was put there) and in the text. The error of a boundary is the distance
between that and the place where two segments would be cut that meet there.

    python benchmarks/alignment_accuracy.py --minutes 5
    python benchmarks/alignment_accuracy.py                  # both of an hour: about 25 minutes on one core
"""

import bisect
import itertools
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.recordings import Recording, join_clips, read_prompt_clips
from utils.arguments.fields import ScriptArguments
from utils.arguments.parsing import parse_arguments
from utils.audio.flac import SAMPLE_RATE
from utils.audio.levels import measure_levels
from utils.data.forced_alignment.alignment import place_units
from utils.data.forced_alignment.segments import AlignedSegment, PlacedUnit, cut_between, join_units
from utils.model.languages import language_codes
from utils.model.loading import LoadedModel, load_model
from utils.runtime.errors import user_errors_end_the_script
from utils.runtime.files import write_json
from utils.runtime.flags import argument

LONGEST_SEGMENT = 30.0  # seconds
CLOSE_MS = 200.0
SURE = 0.6  # confidence from which a word counts as sure
RECORDINGS = {"with added silence": (0.3, 1.0), "as they are": (0.0, 0.0)}  # seconds between two prompts


@dataclass(frozen=True, kw_only=True)
class AlignmentAccuracyArguments(ScriptArguments):
    output_dir: str = argument("Folder for the result.", default="runs/bench/alignment")
    model_name_or_path: str = argument("Model that aligns.", default="openai/whisper-base")
    language: str = argument("Language of the prompts: it, en or ru.", default="it")
    minutes: float = argument("Length of each recording.", default=60.0)
    min_confidence: float = argument("Segments below it count as set aside.", default=0.5)


@dataclass(frozen=True)
class Boundary:
    """A place where two prompts meet."""

    error_ms: float
    confidence: float  # of the less sure of the two words there
    is_kept: bool  # both words are in segments that are sure enough
    is_in_gap: bool  # the cut falls into the silence that was put there


def main(argv: list[str] | None = None) -> None:
    args = parse_arguments(AlignmentAccuracyArguments, argv, __doc__)
    loaded = load_model(args.model_name_or_path)
    clips = read_prompt_clips(args.language)
    results = {}
    for name, gap in RECORDINGS.items():
        recording = next(join_clips(clips, 60 * args.minutes, gap, args.seed, again=True))
        print(f"{name}: {len(recording.samples) / SAMPLE_RATE / 60:.1f} min", flush=True)
        boundaries, share = measure(recording, loaded, args)
        print(f"{describe(boundaries)}\n  {share:.1%} of the text kept", flush=True)
        results[name] = {"share_of_text_kept": share, "boundaries": [asdict(item) for item in boundaries]}
    write_json(Path(args.output_dir) / "alignment_accuracy.json", results)


def measure(
    recording: Recording, loaded: LoadedModel, args: AlignmentAccuracyArguments
) -> tuple[list[Boundary], float]:
    """Align one recording and compare; with the share of the characters in segments that are kept."""
    levels = measure_levels(recording.samples)
    placed = place_units(
        recording.samples,
        recording.text,
        levels,
        model=loaded.model,
        processor=loaded.processor,
        language=args.language if language_codes(loaded.model) else None,
        batch_size=8,
    )
    segments = join_units(recording.text, placed, levels, LONGEST_SEGMENT)
    kept = kept_characters(recording.text, segments, args.min_confidence)
    boundaries = []
    joins = zip(itertools.pairwise(recording.clips), characters_after_joins(recording), strict=True)
    for (clip, following), character in joins:
        before, after = words_around(placed, character)
        confidence = min(before.confidence, after.confidence)
        edges = (before.end, after.start)
        cut = sum(cut_between(levels, *edges) if confidence > 0 else edges) / 2  # a word may not be found
        error_ms = 1000 * abs(cut - (clip.end + following.start) / 2)
        is_kept = bool(kept[character - 2] and kept[character])
        boundaries.append(Boundary(error_ms, confidence, is_kept, clip.end <= cut <= following.start))
    sure = [segment for segment in segments if segment.confidence >= args.min_confidence]
    share = sum(len(segment.text) for segment in sure) / sum(len(segment.text) for segment in segments)
    return boundaries, share


def characters_after_joins(recording: Recording) -> list[int]:
    """Where in the text each clip but the first begins."""
    return list(itertools.accumulate(len(clip.text) + 1 for clip in recording.clips[:-1]))


def words_around(placed: list[PlacedUnit], character: int) -> tuple[PlacedUnit, PlacedUnit]:
    """The words before and after a place in the text."""
    index = bisect.bisect_left(placed, character, key=lambda unit: unit.unit.start)
    return placed[index - 1], placed[index]


def kept_characters(text: str, segments: list[AlignedSegment], min_confidence: float) -> np.ndarray:
    """(characters,) whether each is in a segment that is sure enough."""
    kept = np.zeros(len(text), dtype=bool)
    position = 0
    for segment in segments:
        position = text.index(segment.text, position)
        kept[position : position + len(segment.text)] = segment.confidence >= min_confidence
        position += len(segment.text)
    return kept


def describe(boundaries: list[Boundary]) -> str:
    """All boundaries, those that are kept, and those between sure words."""
    groups = {
        "all": boundaries,
        "kept": [item for item in boundaries if item.is_kept],
        "sure": [item for item in boundaries if item.confidence >= SURE],
    }
    lines = []
    for name, found in groups.items():
        errors = np.array([item.error_ms for item in found] or [np.nan])
        at = " / ".join(f"{value:.0f}" for value in np.percentile(errors, [50, 90, 95, 99]))
        close, inside = (errors <= CLOSE_MS).mean(), np.mean([item.is_in_gap for item in found] or [0])
        lines.append(
            f"  {name}: {len(found)} boundaries, error at 50 / 90 / 95 / 99 %: {at} ms, "
            f"{close:.1%} within {CLOSE_MS:.0f} ms, {inside:.1%} cut in the silence"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    with user_errors_end_the_script():
        main()
