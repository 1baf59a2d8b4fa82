"""How exactly forced alignment finds the words of a plain transcript in a long recording.

The Italian telephone prompts, in an order drawn by the seed, are put one after the other until the recording
has `--minutes`; their texts, joined by spaces, are its transcript. Two recordings are made: in one the
prompts follow each other as they are, in the other with 0.3 to 1 s of silence in between. Where two prompts
meet is known, in the sound (the middle of the silence that was put there) and in the text. The error of a
boundary is the distance between that and the place where two segments would be cut that meet there.

    python benchmarks/alignment_accuracy.py --minutes 5
    python benchmarks/alignment_accuracy.py                  # both of an hour: about 25 minutes on one core
"""

import bisect
import itertools
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.arguments import AlignmentAccuracyArguments
from utils.arguments.parsing import parse_arguments
from utils.runtime.errors import user_errors_end_the_script

if TYPE_CHECKING:
    from utils.data.forced_alignment.segments import AlignedSegment, PlacedUnit
    from utils.model.loading import LoadedModel

SAMPLE_RATE = 16_000
CLOSE_MS = 200.0
CONFIDENCE_EDGES = (0.0, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


@dataclass(frozen=True)
class Join:
    """Where two prompts meet: the end of one, the start of the next, in seconds, and in the text."""

    end: float  # seconds
    start: float
    character: int


@dataclass(frozen=True)
class Recording:
    samples: np.ndarray
    text: str
    joins: list[Join]


@dataclass(frozen=True)
class ConfidenceBin:
    """Boundaries whose less sure word has a confidence in this range, and how many are within 200 ms."""

    lowest: float
    highest: float
    boundaries: int
    share_within_200_ms: float | None


@dataclass(frozen=True)
class Accuracy:
    """Of one recording; errors in milliseconds."""

    recording: str
    minutes: float
    words: int
    boundaries: int
    median_error_ms: float
    share_within_200_ms: float
    errors_ms_at_90_95_99_percent: tuple[float, float, float]
    share_of_cuts_in_the_added_silence: float | None
    segments: int
    share_of_text_kept: float  # characters in segments of at least the minimum confidence
    median_error_ms_kept: float | None
    share_within_200_ms_kept: float | None  # of the boundaries between two words that are kept
    confidence_bins: tuple[ConfidenceBin, ...]
    audio_seconds_per_second: float


def main(argv: list[str] | None = None) -> None:
    args = parse_arguments(AlignmentAccuracyArguments, argv, __doc__)
    import torch

    from utils.model.loading import load_model
    from utils.runtime.files import write_json

    loaded = load_model(args.model_name_or_path, dtype=getattr(torch, args.dtype))
    clips = read_clips(args.language)
    results = []
    for name, gap in (("with added silence", (0.3, 1.0)), ("as they are", (0.0, 0.0))):
        recording = build_recording(clips, args.minutes * 60, gap, args.seed)
        results.append(measure(name, recording, loaded, args))
        print(summary_line(results[-1]), flush=True)
    Path(args.output_dir).mkdir(parents=True, exist_ok=True)
    values = {"arguments": asdict(args), "results": [asdict(result) for result in results]}
    write_json(Path(args.output_dir) / "alignment_accuracy.json", values)


def read_clips(language: str) -> list[tuple[np.ndarray, str]]:
    """(samples,) and text of every prompt that has both."""
    from utils.audio.reading import decode_audio
    from utils.data.sources.asterisk import read_prompts
    from utils.data.sources.asterisk_download import fetch_prompts
    from utils.data.utterance import Utterance

    prompts = fetch_prompts(language)
    source = read_prompts(prompts.folder, prompts.transcripts, credit=prompts.credit)
    found = [item for item in source.items if isinstance(item, Utterance)]
    return [(decode_audio(item.audio), item.text) for item in found if isinstance(item.audio, Path)]


def build_recording(
    clips: list[tuple[np.ndarray, str]], seconds: float, gap: tuple[float, float], seed: int
) -> Recording:
    """Put prompts in drawn order, all before any comes again, with silence of drawn length in between."""
    random = np.random.default_rng(seed)
    parts: list[np.ndarray] = []
    text, joins = "", []
    num_samples = 0
    order: list[int] = []
    while num_samples < seconds * SAMPLE_RATE:
        order = order or random.permutation(len(clips)).tolist()
        samples, words = clips[order.pop()]
        if parts:
            silence = np.zeros(round(random.uniform(*gap) * SAMPLE_RATE), dtype=np.float32)
            start = num_samples + len(silence)
            joins.append(Join(num_samples / SAMPLE_RATE, start / SAMPLE_RATE, len(text) + 1))
            parts.append(silence)
            num_samples, text = start, text + " "
        parts.append(samples)
        num_samples, text = num_samples + len(samples), text + words
    return Recording(np.concatenate(parts), text, joins)


def measure(
    name: str, recording: Recording, loaded: "LoadedModel", args: AlignmentAccuracyArguments
) -> Accuracy:
    """Align one recording and compare."""
    from utils.audio.levels import measure_levels
    from utils.data.forced_alignment.alignment import place_units
    from utils.data.forced_alignment.segments import cut_between, join_units
    from utils.model.languages import language_codes

    started = time.perf_counter()
    levels = measure_levels(recording.samples)
    placed = place_units(
        recording.samples,
        recording.text,
        levels,
        model=loaded.model,
        processor=loaded.processor,
        language=args.language if language_codes(loaded.model) else None,
        batch_size=args.batch_size,
    )
    segments = join_units(recording.text, placed, levels, args.max_duration)
    seconds = time.perf_counter() - started
    pairs = words_at_joins(recording, placed)
    cuts = [sum(cut_between(levels, before.end, after.start)) / 2 for before, after in pairs]
    middles = [(join.end + join.start) / 2 for join in recording.joins]
    inside = [join.end <= cut <= join.start for join, cut in zip(recording.joins, cuts, strict=True)]
    has_gaps = any(join.end < join.start for join in recording.joins)
    errors = np.abs(np.array(cuts) - np.array(middles)) * 1000
    kept = [s.confidence >= args.min_confidence for s in segments]
    in_kept = are_kept(recording, segments, kept)
    duration = len(recording.samples) / SAMPLE_RATE
    return Accuracy(
        recording=name,
        minutes=duration / 60,
        words=len(placed),
        boundaries=len(errors),
        median_error_ms=float(np.median(errors)),
        share_within_200_ms=float((errors <= CLOSE_MS).mean()),
        errors_ms_at_90_95_99_percent=tuple(np.percentile(errors, [90, 95, 99]).tolist()),
        share_of_cuts_in_the_added_silence=float(np.mean(inside)) if has_gaps else None,
        segments=len(segments),
        share_of_text_kept=sum(len(s.text) for s, k in zip(segments, kept, strict=True) if k)
        / sum(len(s.text) for s in segments),
        median_error_ms_kept=float(np.median(errors[in_kept])) if in_kept.any() else None,
        share_within_200_ms_kept=float((errors[in_kept] <= CLOSE_MS).mean()) if in_kept.any() else None,
        confidence_bins=bin_by_confidence(
            np.array([min(before.confidence, after.confidence) for before, after in pairs]), errors
        ),
        audio_seconds_per_second=duration / seconds,
    )


def are_kept(recording: Recording, segments: "list[AlignedSegment]", kept: list[bool]) -> np.ndarray:
    """(joins,) whether the words on both sides of a join are in segments that are kept."""
    by_character = np.zeros(len(recording.text), dtype=bool)
    position = 0
    for segment, is_kept in zip(segments, kept, strict=True):
        position = recording.text.index(segment.text, position)
        by_character[position : position + len(segment.text)] = is_kept
        position += len(segment.text)
    return np.array(
        [by_character[join.character - 2] and by_character[join.character] for join in recording.joins]
    )


def words_at_joins(recording: Recording, placed: "list[PlacedUnit]") -> "list[tuple[PlacedUnit, PlacedUnit]]":
    """The words before and after each join."""
    starts = [unit.unit.start for unit in placed]
    first_after = [bisect.bisect_left(starts, join.character) for join in recording.joins]
    return [(placed[index - 1], placed[index]) for index in first_after]


def bin_by_confidence(confidence: np.ndarray, errors: np.ndarray) -> tuple[ConfidenceBin, ...]:
    bins = []
    for lowest, highest in itertools.pairwise(CONFIDENCE_EDGES):
        inside = errors[(confidence >= lowest) & (confidence < highest)]
        share = float((inside <= CLOSE_MS).mean()) if len(inside) else None
        bins.append(ConfidenceBin(lowest, highest, len(inside), share))
    return tuple(bins)


def summary_line(result: Accuracy) -> str:
    return (
        f"{result.recording}: {result.minutes:.1f} min, {result.boundaries} boundaries, median error "
        f"{result.median_error_ms:.0f} ms, {result.share_within_200_ms:.1%} within 200 ms; kept "
        f"{result.share_of_text_kept:.1%} of the text ({result.median_error_ms_kept or 0:.0f} ms, "
        f"{result.share_within_200_ms_kept or 0:.1%}); {result.audio_seconds_per_second:.1f} audio s/s"
    )


if __name__ == "__main__":
    with user_errors_end_the_script():
        main()
