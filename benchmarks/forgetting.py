"""What tuning to one language costs in another, and what mixing with the base weights gives back (WiSE-FT).

Italian prompts tune the model, English ones guard it. train.py mixes base and tuned weights afterwards in
several shares. It keeps the mixture that is best on the Italian validation prompts among those that are worse
on the English ones than the base model by at most `--guard_tolerance`. evaluate.py then scores base, tuned
and mixed model on the test prompts of both languages, in the full context. Stopped, the same command goes on.

    python benchmarks/forgetting.py
"""

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.arguments import ForgettingArguments
from benchmarks.side_by_side import evaluate_command, print_wers, python_command, run_logged, train_model
from utils.arguments.parsing import parse_arguments
from utils.runtime.errors import user_errors_end_the_script
from utils.runtime.files import write_json

UNTUNED, TUNED, MIXED = "untuned", "tuned", "mixed"


@dataclass(frozen=True)
class Score:
    """A model on the test prompts of a language; WER as a fraction, with 95 % intervals."""

    model: str
    language: str
    num_utterances: int
    raw_wer: float
    normalized_wer: float
    normalized_ci95: tuple[float, float]


def main(argv: list[str] | None = None) -> None:
    args = parse_arguments(ForgettingArguments, argv, __doc__)
    folder = Path(args.output_dir)
    for language in (args.language, args.guard_language):
        source = {"source": "asterisk", "language": language, "seed": args.seed}
        dataset = folder / "data" / language
        run_logged(python_command("preprocess.py", output_dir=str(dataset), **source), dataset)
    train(args)
    models = {UNTUNED: args.model_name_or_path, TUNED: str(folder / "run/final")}
    if (folder / "run/interpolated").is_dir():
        models[MIXED] = str(folder / "run/interpolated")
    scores = [
        item for language in (args.language, args.guard_language) for item in score(args, models, language)
    ]
    write_json(folder / "forgetting.json", {"scores": [asdict(item) for item in scores]})
    wers = {(item.model, item.language): (item.normalized_wer, item.normalized_ci95) for item in scores}
    print_wers("Normalised WER on the test prompts, percent", wers)


def train(args: ForgettingArguments) -> None:
    """Tune on the first language; mix with the base weights, guarded by the second."""
    run = Path(args.output_dir) / "run"
    train_model(
        run,
        *("--interpolation_alphas", *map(str, args.alphas)),
        model_name_or_path=args.model_name_or_path,
        dataset=str(run.with_name("data") / args.language),
        language=args.language,
        seed=args.seed,
        num_train_epochs=args.num_train_epochs,
        per_device_train_batch_size=args.batch_size,
        learning_rate=args.learning_rate,
        guard_datasets=str(run.with_name("data") / args.guard_language),
        guard_tolerance=args.guard_tolerance,
        max_eval_samples=args.max_samples,
        max_guard_samples=args.max_samples,
    )


def score(args: ForgettingArguments, models: dict[str, str], language: str) -> list[Score]:
    """Every model on the test prompts of a language."""
    report = Path(args.output_dir) / f"report-{language}"
    command = evaluate_command(
        models.values(),
        dataset=str(report.with_name("data") / language),
        split="test",
        language=language,
        normalizer="english" if language == "en" else "basic",
        audio_context="full",
        max_samples=args.max_samples,
        output_dir=str(report),
    )
    run_logged(command, report)
    results = json.loads((report / "evaluation_results.json").read_text(encoding="utf-8"))["results"]
    names = {path: name for name, path in models.items()}
    return [
        Score(
            names[result["model"]],
            language,
            result["num_utterances"],
            result["raw"]["wer"],
            result["normalized"]["wer"],
            result["normalized"]["ci95"],
        )
        for result in results
    ]


if __name__ == "__main__":
    with user_errors_end_the_script():
        main()
