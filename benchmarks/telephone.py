"""What a telephone line costs Whisper, and how much training on telephone audio wins back.

The English Asterisk prompts, wide-band and clean, are prepared once; their test clips are also sent through
lines, each a chain of codecs of utils/audio/codecs.py: A-law is a land line, GSM a mobile one, both a call
from one to the other. Then evaluate.py scores the untuned model on each, and, unless `--untuned_only`, a
model that train.py tuned on the clean clips and one that it tuned on clips of which a share went through
these codecs. All decode in the full context.

    python benchmarks/telephone.py --untuned_only
    python benchmarks/telephone.py
"""

import json
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.arguments import TelephoneArguments
from benchmarks.side_by_side import evaluate_command, print_wers, python_command, run_alone, train_model
from utils.arguments.parsing import parse_arguments
from utils.runtime.errors import UserError, user_errors_end_the_script
from utils.runtime.files import folder_written_whole, write_json
from utils.runtime.progress import silence_libraries

CLEAN = "clean"


@dataclass(frozen=True)
class Score:
    """A model on a line; WER as a fraction, with 95 % intervals."""

    model: str
    line: str
    num_utterances: int
    raw_wer: float
    raw_ci95: tuple[float, float]
    normalized_wer: float
    normalized_ci95: tuple[float, float]


def main(argv: list[str] | None = None) -> None:
    args = parse_arguments(TelephoneArguments, argv, __doc__)
    silence_libraries()
    check_lines(args.lines)
    folder = Path(args.output_dir)
    clean = prepare_clean(args, folder / "data" / CLEAN)
    datasets = {CLEAN: clean} | {line: write_line(clean, line) for line in args.lines}
    models = {"untuned": args.model_name_or_path}
    if not args.untuned_only:
        models["tuned on clean clips"] = train(args, clean, folder / "tuned-clean", codecs=[])
        codecs = sorted({codec for line in args.lines for codec in line.split("+")})
        models["tuned on telephone clips"] = train(args, clean, folder / "tuned-telephone", codecs=codecs)
    scores = score(args, models, datasets, folder / ("untuned" if args.untuned_only else "all"))
    write_json(folder / "telephone.json", {"scores": [asdict(item) for item in scores]})
    wers = {(item.model, item.line): (item.normalized_wer, item.normalized_ci95) for item in scores}
    print_wers(f"Normalised WER of {scores[0].num_utterances} prompts, percent", wers)
    print(f"Every figure: {folder / 'telephone.json'}")


def check_lines(lines: list[str]) -> None:
    """Refuse codecs that there are not.

    Raises:
        UserError: A line is no chain of known codecs.
    """
    from utils.audio.codecs import CODECS

    unknown = [line for line in lines if not set(line.split("+")) <= set(CODECS)]
    if unknown:
        raise UserError(
            f"lines {' '.join(unknown)}: expected chains such as alaw+gsm of {', '.join(CODECS)}."
        )


def prepare_clean(args: TelephoneArguments, folder: Path) -> Path:
    """Prepare the prompts once; three in ten are kept for the test."""
    if not (folder / "dataset_dict.json").is_file():
        options = {"source": "asterisk", "language": "en", "test_share": 0.3, "seed": args.seed}
        run_alone(python_command("preprocess.py", output_dir=str(folder), **options), folder)
    return folder


def write_line(clean: Path, line: str) -> Path:
    """Write the clean test clips once more, as they sound through a line such as alaw+gsm."""
    from datasets import DatasetDict

    from utils.data.prepared_dataset import load_prepared

    folder = clean.with_name(line)
    if not (folder / "dataset_dict.json").is_file():
        rows = load_prepared([str(clean)], "test", language="en")
        with folder_written_whole(folder) as temporary:
            through = rows.map(send_through, fn_kwargs={"line": line}, keep_in_memory=True)
            DatasetDict({"test": through}).save_to_disk(temporary)
    return folder


def send_through(row: dict, line: str) -> dict:
    """The row's audio after every codec of the line, each at its highest bit rate."""
    from utils.audio.codecs import CODECS, through_codec
    from utils.audio.flac import decode_flac, encode_flac

    samples = decode_flac(row["audio"])
    for codec in line.split("+"):
        samples = through_codec(samples, codec, max(CODECS[codec].bit_rates, default=None))
    return {"audio": encode_flac(samples)}


def train(args: TelephoneArguments, dataset: Path, folder: Path, codecs: list[str]) -> str:
    """Tune the model on the clean clips, or on clips of which a share went through one of the codecs."""
    return train_model(
        folder,
        *(["--codecs", *codecs] if codecs else []),
        codec_probability=args.codec_probability if codecs else None,
        model_name_or_path=args.model_name_or_path,
        dataset=str(dataset),
        language="en",
        num_train_epochs=args.num_train_epochs,
        per_device_train_batch_size=args.batch_size,
        learning_rate=args.learning_rate,
        normalizer="english",
        save_steps=25,
        seed=args.seed,
    )


def score(
    args: TelephoneArguments, models: dict[str, str], datasets: dict[str, Path], folder: Path
) -> list[Score]:
    """Let evaluate.py score every model on every line."""
    shutil.rmtree(folder, ignore_errors=True)
    command = evaluate_command(
        models.values(),
        split="test",
        language="en",
        normalizer="english",
        audio_context="full",
        max_samples=args.max_samples,
        per_device_eval_batch_size=args.batch_size,
        seed=args.seed,
        output_dir=str(folder),
    )
    run_alone([*command, "--dataset", *map(str, datasets.values())], folder)
    results = json.loads((folder / "evaluation_results.json").read_text(encoding="utf-8"))["results"]
    model_names = {path: name for name, path in models.items()}
    line_names = {str(path): name for name, path in datasets.items()}
    return [
        Score(
            model_names[result["model"]],
            line_names[result["dataset"]],
            result["num_utterances"],
            result["raw"]["wer"],
            result["raw"]["ci95"],
            result["normalized"]["wer"],
            result["normalized"]["ci95"],
        )
        for result in results
    ]


if __name__ == "__main__":
    with user_errors_end_the_script():
        main()
