"""What a model learns from segments that forced alignment cut, beside segments whose times are known.

The training clips of a prepared dataset, in an order drawn by the seed, are put one after the other into
recordings of `--minutes` each, with 0.3 to 1 s of silence in between. Beside one copy of the recordings lies
their text without times, which preprocess.py has to find with --align_with_model; beside the other lie the
clips' own times. train.py trains on either, with one recipe, for as many steps, and evaluate.py scores both
and the untuned model on the test split of the same dataset.

    python preprocess.py --config recipes/starter.preprocess.yaml
    python benchmarks/alignment_training.py
"""

import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.arguments import AlignmentTrainingArguments
from benchmarks.side_by_side import evaluate_command, launch_command, option_words, python_command, run_alone
from utils.arguments.parsing import parse_arguments
from utils.runtime.errors import user_errors_end_the_script

if TYPE_CHECKING:
    from utils.evaluation.records import EvaluationResult, ModelComparison

SAMPLE_RATE = 16_000
SILENCE = (0.3, 1.0)  # shortest and longest between two clips, in seconds
USUAL_LENGTH = 0.8  # mean length of aligned segments as a share of the longest, measured on the demo's clips
KNOWN, ALIGNED = "known times", "aligned"
FOLDERS = {KNOWN: "known", ALIGNED: "aligned"}
UNTUNED = "untuned"


@dataclass(frozen=True)
class PlacedClip:
    """A clip's text and its place in the recording, in seconds."""

    text: str
    start: float
    end: float


@dataclass(frozen=True)
class Recording:
    samples: np.ndarray  # (samples,) float32 at 16 kHz
    clips: list[PlacedClip]


@dataclass(frozen=True)
class TrainingData:
    """What one way of finding the times left to train on."""

    times: str  # KNOWN or ALIGNED
    segments: int
    audio_seconds: float
    mean_duration: float
    share_of_words_kept: float
    trained_audio_seconds: float  # seen in all steps, silence between the clips included


@dataclass(frozen=True)
class Score:
    """WER on the test split as fractions, each with its 95 % interval."""

    times: str  # or UNTUNED
    raw_wer: float
    raw_ci95: tuple[float, float]
    normalized_wer: float
    normalized_ci95: tuple[float, float]


def main(argv: list[str] | None = None) -> None:
    args = parse_arguments(AlignmentTrainingArguments, argv, __doc__)
    from utils.evaluation.results_file import read_analysis, read_results
    from utils.runtime.files import write_json

    folder = Path(args.output_dir)
    clips = read_clips(args.dataset, args.language)
    recordings = build_recordings(clips, args.minutes * 60, SILENCE, args.seed)
    print(f"{len(clips)} clips in {len(recordings)} recordings", flush=True)
    data = []
    for times in (KNOWN, ALIGNED):
        write_corpus(recordings, folder / FOLDERS[times] / "corpus", with_times=times == KNOWN)
        prepare(times, args)
        train(times, args)
        data.append(measure_data(times, recordings, folder / FOLDERS[times]))
        print(data_line(data[-1]), flush=True)
    report = evaluate(args)
    scores = read_scores(read_results(report / "evaluation_results.json"), args)
    comparisons = read_analysis(report / "comparative_analysis.json").comparisons
    difference = [item for item in comparisons if item.candidate == model_folder(ALIGNED, args)]
    for score in scores:
        print(score_line(score))
    for comparison in difference:
        print(comparison_line(comparison))
    values = {"arguments": asdict(args), "data": [asdict(item) for item in data]}
    values |= {"scores": [asdict(item) for item in scores]}
    values |= {"aligned_against_known": [asdict(item) for item in difference]}
    write_json(folder / "alignment_training.json", values)


def read_clips(dataset: str, language: str) -> list[tuple[np.ndarray, str]]:
    """(samples,) float32 at 16 kHz and text of every training clip."""
    from utils.audio.flac import decode_flac
    from utils.data.prepared_dataset import load_prepared

    rows = load_prepared([dataset], "train", language=language)
    return [(decode_flac(row["audio"]), row["text"]) for row in rows]


def build_recordings(
    clips: list[tuple[np.ndarray, str]], seconds: float, silence: tuple[float, float], seed: int
) -> list[Recording]:
    """Put every clip into one recording, in drawn order; a recording ends with the clip that fills it."""
    random = np.random.default_rng(seed)
    recordings = []
    parts: list[np.ndarray] = []
    placed: list[PlacedClip] = []
    num_samples = 0
    for index in random.permutation(len(clips)):
        samples, text = clips[index]
        if parts:
            parts.append(np.zeros(round(random.uniform(*silence) * SAMPLE_RATE), dtype=np.float32))
            num_samples += len(parts[-1])
        parts.append(samples)
        end = num_samples + len(samples)
        placed.append(PlacedClip(text, num_samples / SAMPLE_RATE, end / SAMPLE_RATE))
        num_samples = end
        if num_samples >= seconds * SAMPLE_RATE:
            recordings.append(Recording(np.concatenate(parts), placed))
            parts, placed, num_samples = [], [], 0
    return [*recordings, Recording(np.concatenate(parts), placed)] if parts else recordings


def write_corpus(recordings: list[Recording], folder: Path, *, with_times: bool) -> None:
    """Write each recording as FLAC, and beside it its text, in one line or in lines with times."""
    import shutil

    import soundfile

    from utils.runtime.files import write_text

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for number, recording in enumerate(recordings):
        stem = folder / f"recording_{number:02d}"
        soundfile.write(stem.with_suffix(".flac"), recording.samples, SAMPLE_RATE)
        write_text(stem.with_suffix(".txt"), timed_lines(recording) if with_times else plain_text(recording))


def timed_lines(recording: Recording) -> str:
    """A line of start, end and text for each clip."""
    return "".join(f"{clip.start:.3f}\t{clip.end:.3f}\t{clip.text}\n" for clip in recording.clips)


def plain_text(recording: Recording) -> str:
    return " ".join(clip.text for clip in recording.clips) + "\n"


def prepare(times: str, args: AlignmentTrainingArguments) -> None:
    """Cut the recordings to segments; all of them are for training.

    Alignment stays well below the longest, joining comes close to its target: with the factor both get
    segments of a like length. A clip that is longer stays whole where its times are known.
    """
    folder = Path(args.output_dir) / FOLDERS[times]
    options: dict[str, str | float | None] = {"max_duration": args.segment_duration}
    options["align_with_model"] = args.model_name_or_path
    if times == KNOWN:
        target = USUAL_LENGTH * args.segment_duration
        options = {"target_duration": target, "padding": SILENCE[1] / 2}
    command = python_command(
        "preprocess.py",
        source="folder",
        input=str(folder / "corpus"),
        language=args.language,
        validation_share=0,
        test_share=0,
        seed=args.seed,
        output_dir=str(folder / "prepare" / "data"),
        **options,
    )
    run_alone(command, folder / "prepare")


def train(times: str, args: AlignmentTrainingArguments) -> None:
    """Train with the recipe, on other data; the model of the last step counts, nothing is picked."""
    from utils.runtime.devices import pick_accelerate_config

    folder = Path(args.output_dir) / FOLDERS[times]
    options = option_words(
        config=args.recipe,
        model_name_or_path=args.model_name_or_path,
        dataset=str(folder / "prepare" / "data"),
        language=args.language,
        per_device_train_batch_size=args.per_device_train_batch_size,
        max_steps=args.max_steps,
        eval_steps=0,
        save_steps=0,
        report_to="none",
        seed=args.seed,
        output_dir=str(folder / "run"),
    )
    run_alone([*launch_command(pick_accelerate_config()), "train.py", *options], folder / "run")


def model_folder(times: str, args: AlignmentTrainingArguments) -> str:
    return str(Path(args.output_dir) / FOLDERS[times] / "run" / "final")


def evaluate(args: AlignmentTrainingArguments) -> Path:
    """Score on the test split; the model trained on known times is what the others are compared with."""
    models = [model_folder(KNOWN, args), model_folder(ALIGNED, args), args.model_name_or_path]
    folder = Path(args.output_dir) / "report"
    command = evaluate_command(
        models,
        dataset=args.dataset,
        split="test",
        language=args.language,
        audio_context="full",
        seed=args.seed,
        output_dir=str(folder),
    )
    run_alone(command, folder)
    return folder


def measure_data(times: str, recordings: list[Recording], folder: Path) -> TrainingData:
    """Read the prepared segments in `folder`, and how much audio its training has seen."""
    import json

    from utils.data.prepared_dataset import read_split

    rows = list(read_split(folder / "prepare" / "data" / "train"))
    seconds = sum(row["duration"] for row in rows)
    last = (folder / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1]
    return TrainingData(
        times,
        len(rows),
        seconds,
        seconds / len(rows),
        share_of_words(
            (row["text"] for row in rows), (clip.text for item in recordings for clip in item.clips)
        ),
        json.loads(last)["audio_seconds"],
    )


def share_of_words(kept: Iterable[str], spoken: Iterable[str]) -> float:
    return sum(len(text.split()) for text in kept) / sum(len(text.split()) for text in spoken)


def read_scores(results: "list[EvaluationResult]", args: AlignmentTrainingArguments) -> list[Score]:
    names = {model_folder(times, args): times for times in FOLDERS} | {args.model_name_or_path: UNTUNED}
    return [
        Score(names[item.model], item.raw.wer, item.raw.ci95, item.normalized.wer, item.normalized.ci95)
        for item in results
    ]


def data_line(data: TrainingData) -> str:
    return (
        f"{data.times}: {data.segments} segments, {data.mean_duration:.1f} s on average, "
        f"{data.audio_seconds / 60:.1f} min in all, {data.share_of_words_kept:.1%} of the words; "
        f"trained on {data.trained_audio_seconds:.0f} audio seconds"
    )


def score_line(score: Score) -> str:
    raw, normalized = (
        f"{100 * wer:.1f} % ({100 * low:.1f} to {100 * high:.1f})"
        for wer, (low, high) in (
            (score.raw_wer, score.raw_ci95),
            (score.normalized_wer, score.normalized_ci95),
        )
    )
    return f"{score.times}: WER raw {raw}, normalised {normalized}"


def comparison_line(item: "ModelComparison") -> str:
    low, high = (100 * bound for bound in item.ci95)
    return (
        f"aligned against known times, {item.text}: WER lower by {100 * item.wer_reduction:.1f} points "
        f"({low:.1f} to {high:.1f}), p = {item.p_value:.3f}; better on {item.wins} clips, worse on "
        f"{item.losses}, equal on {item.ties}"
    )


if __name__ == "__main__":
    with user_errors_end_the_script():
        main()
