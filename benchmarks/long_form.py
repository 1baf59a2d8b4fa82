"""Long recordings beside their parts: word errors of prompts one by one, and of the same as one recording.

Prompts that last over 30 s are recordings of their own; the others are joined with pauses of 0.7 s into one
of about `--minutes`. Every prompt is then scored alone, those of over 30 s in segments of at most 15 s that
preprocess.py aligns; the recordings are scored as a whole, by sequential and by chunked decoding, with the
same model, in the full context.

    python benchmarks/long_form.py
    python benchmarks/long_form.py --language it --minutes 5
"""

import sys
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.recordings import join_clips, read_prompt_clips
from benchmarks.side_by_side import Option, python_command, run_evaluation, run_logged
from utils.arguments.fields import ScriptArguments
from utils.arguments.parsing import parse_arguments
from utils.audio.flac import SAMPLE_RATE, encode_flac
from utils.runtime.errors import user_errors_end_the_script
from utils.runtime.files import write_bytes, write_json, write_jsonl
from utils.runtime.flags import argument

PAUSE = 0.7  # seconds between two prompts
LONGEST_CLIP = 30  # seconds; what is longer is a recording
SHORT, LONG = "joined", "over-30-s"
LONGEST_SEGMENT = 15  # seconds, of those that recordings over 30 s are cut into for scoring one by one


@dataclass(frozen=True, kw_only=True)
class LongFormArguments(ScriptArguments):
    output_dir: str = argument("Folder for recordings and results.", default="runs/bench/long_form")
    model_name_or_path: str = argument("Model to decode with.", default="openai/whisper-base")
    language: str = argument("Language of the prompts: it, en or ru.", default="en")
    minutes: float = argument("Length of the joined recording.", default=20.0)


def main(argv: list[str] | None = None) -> None:
    args = parse_arguments(LongFormArguments, argv, __doc__)
    folder = Path(args.output_dir)
    manifests = write_recordings(args, folder)
    rows = []
    for name, manifest in manifests.items():
        parts = folder / f"parts-{name}"
        prepare_parts(args, name, manifest, parts)
        rows += score(args, folder / f"report-parts-{name}", "--dataset", str(parts))
    recordings = ["--recordings", *map(str, manifests.values())]
    for way in ("sequential", "chunked"):
        rows += score(args, folder / f"report-{way}", *recordings, "--long_form", way)
    write_json(folder / "long_form.json", {"results": rows})
    for row in rows:
        what, score_of = f"{Path(row['dataset']).stem}, {row['split']}", row["normalized"]
        words, seconds = score_of["num_words"], row["audio_seconds"]
        print(f"{what}: {score_of['wer']:.1%} WER of {words} words, {seconds:.0f} s of sound")


def write_recordings(args: LongFormArguments, folder: Path) -> dict[str, Path]:
    """Manifests of the long prompts, and of the short ones joined, which has the times of each."""
    clips = read_prompt_clips(args.language)
    most = LONGEST_CLIP * SAMPLE_RATE
    short = [clip for clip in clips if len(clip[0]) <= most]
    joined = next(join_clips(short, 60 * args.minutes, (PAUSE, PAUSE), args.seed))
    lines: dict[str, list[dict]] = {LONG: [], SHORT: []}
    for number, (samples, text) in enumerate(clip for clip in clips if len(clip[0]) > most):
        name = f"{LONG}-{number}.flac"
        write_bytes(folder / name, encode_flac(samples))
        lines[LONG].append({"audio": name, "text": text, "split": "test"})
    write_bytes(folder / f"{SHORT}.flac", encode_flac(joined.samples))
    for clip in joined.clips:
        lines[SHORT].append({"audio": f"{SHORT}.flac", **asdict(clip), "split": "test"})
    for name, content in lines.items():
        write_jsonl(folder / f"{name}.jsonl", content)
    return {name: folder / f"{name}.jsonl" for name, content in lines.items() if content}


def prepare_parts(args: LongFormArguments, name: str, manifest: Path, parts: Path) -> None:
    """Let preprocess.py cut a manifest's recordings at its times, or where it has none by alignment."""
    options: dict[str, Option] = {}
    if name == LONG:
        options = {"align_with_model": args.model_name_or_path, "min_alignment_confidence": 0}
        options["max_duration"] = LONGEST_SEGMENT
    command = python_command(
        "preprocess.py",
        source="manifest",
        input=str(manifest),
        language=args.language,
        output_dir=str(parts),
        **options,
    )
    run_logged([*command, "--as_original"], parts)


def score(args: LongFormArguments, folder: Path, *material: str) -> list[dict]:
    """The rows of evaluate.py for a dataset or for recordings."""
    return run_evaluation(
        folder,
        *material,
        models=args.model_name_or_path,
        split="test",
        language=args.language,
        audio_context="full",
    )


if __name__ == "__main__":
    with user_errors_end_the_script():
        main()
