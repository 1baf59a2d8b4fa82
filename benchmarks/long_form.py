"""Long recordings beside their parts: word errors of prompts one by one, and of the same as one recording.

Prompts that last over 30 s are recordings of their own; the others are joined with pauses of 0.7 s into one
of about `--minutes`. Every prompt is then scored alone, those of over 30 s in segments of at most 15 s that
preprocess.py aligns; the recordings are scored as a whole, by sequential and by chunked decoding, with the
same model, in the full context.

    python benchmarks/long_form.py
    python benchmarks/long_form.py --language it --minutes 5
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from benchmarks.arguments import LongFormArguments
from benchmarks.side_by_side import evaluate_command, python_command, run_logged
from utils.arguments.parsing import parse_arguments
from utils.audio.flac import SAMPLE_RATE, encode_flac
from utils.audio.reading import decode_audio
from utils.data.sources.asterisk_download import fetch_prompts
from utils.runtime.errors import user_errors_end_the_script
from utils.runtime.files import write_bytes, write_json, write_text

PAUSE = 0.7  # seconds between two prompts
SHORT, LONG = "joined", "over-30-s"
LONGEST_SEGMENT = 15  # seconds, of those that recordings over 30 s are cut into for scoring one by one


def main(argv: list[str] | None = None) -> None:
    args = parse_arguments(LongFormArguments, argv, __doc__)
    folder = Path(args.output_dir)
    manifests = write_recordings(args, folder)
    found = []
    for name, manifest in manifests.items():
        parts = folder / f"parts-{name}"
        prepare_parts(args, name, manifest, parts)
        found += score(args, folder / f"report-parts-{name}", ["--dataset", str(parts)])
    recordings = ["--recordings", *map(str, manifests.values())]
    for way in args.ways:
        found += score(args, folder / f"report-{way}", [*recordings, "--long_form", way])
    write_json(folder / "long_form.json", {"results": found})
    for row in found:
        what = f"{Path(row['dataset']).stem}, {row['split']}"
        print(
            f"{what}: {100 * row['wer']:.1f} % WER of {row['words']} words, {row['seconds']:.0f} s of sound"
        )


def write_recordings(args: LongFormArguments, folder: Path) -> dict[str, Path]:
    """Two manifests: of the long prompts, and of the short ones joined, each with its times."""
    prompts = fetch_prompts(args.language)
    long_lines, short = [], []
    for key, text in prompts.transcripts:
        file = prompts.folder / f"{key}.g722"
        if not file.is_file() or "[" in text:
            continue
        samples = decode_audio(file)
        if len(samples) > 30 * SAMPLE_RATE:
            write_bytes(folder / f"{file.stem}.flac", encode_flac(samples))
            long_lines.append({"audio": f"{file.stem}.flac", "text": text, "split": "test"})
        else:
            short.append((samples, text))
    order = np.random.default_rng(args.seed).permutation(len(short))
    lines = join_prompts([short[place] for place in order], args.minutes, folder)
    manifests = {LONG: long_lines, SHORT: lines}
    for name, content in manifests.items():
        write_text(folder / f"{name}.jsonl", "".join(json.dumps(line) + "\n" for line in content))
    return {name: folder / f"{name}.jsonl" for name, content in manifests.items() if content}


def join_prompts(prompts: list[tuple[np.ndarray, str]], minutes: float, folder: Path) -> list[dict]:
    """Write one recording of about so many minutes; its lines name the prompts' times."""
    parts, lines, length = [], [], 0
    for samples, text in prompts:
        if length > 60 * minutes * SAMPLE_RATE:
            break
        start, end = length / SAMPLE_RATE, (length + len(samples)) / SAMPLE_RATE
        lines.append({"audio": f"{SHORT}.flac", "text": text, "start": start, "end": end, "split": "test"})
        parts += [samples, np.zeros(round(PAUSE * SAMPLE_RATE), dtype=np.float32)]
        length += len(samples) + len(parts[-1])
    write_bytes(folder / f"{SHORT}.flac", encode_flac(np.concatenate(parts)))
    return lines


def prepare_parts(args: LongFormArguments, name: str, manifest: Path, parts: Path) -> None:
    """Let preprocess.py cut a manifest's recordings at its times, or where it has none by alignment."""
    options: dict[str, str | float] = {}
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


def score(args: LongFormArguments, folder: Path, material: list[str]) -> list[dict]:
    """What evaluate.py finds on a dataset or on recordings."""
    command = evaluate_command(
        [args.model_name_or_path],
        split="test",
        language=args.language,
        audio_context="full",
        dtype=args.dtype,
        normalizer=args.normalizer,
        output_dir=str(folder),
    )
    run_logged([*command, *material], folder)
    rows = json.loads((folder / "evaluation_results.json").read_text(encoding="utf-8"))["results"]
    return [
        {
            "dataset": row["dataset"],
            "split": row["split"],
            "wer": row["normalized"]["wer"],
            "words": row["normalized"]["num_words"],
            "seconds": row["audio_seconds"],
            "rtfx": row["rtfx"],
        }
        for row in rows
    ]


if __name__ == "__main__":
    with user_errors_end_the_script():
        main()
