"""Ways of fine-tuning side by side: what each costs, and how the model then scores in both audio contexts.

Every way trains on the same prompts for as many steps, once for each seed; evaluate.py scores the weights at
the end on the test split. Two ways are compared over all seeds that both have: the errors of an utterance are
added over the seeds, and utterances are drawn anew for the interval.

Every run leaves a small file in `--results_dir`, and what has one is not run again: stopped, the same command
goes on where it was, on another machine too. With `--max_runs 3` it ends after three more.

    python benchmarks/sweep.py
    python benchmarks/sweep.py --ways full lora --languages it --seeds 1
    python benchmarks/sweep.py --results_dir benchmarks/results/sweep --max_runs 0    # the tables of ours
"""

import json
import sys
from dataclasses import asdict, astuple, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.arguments import SweepArguments
from benchmarks.side_by_side import evaluate_command, python_command, run_logged, train_model
from utils.arguments.parsing import parse_arguments
from utils.runtime.errors import UserError, user_errors_end_the_script
from utils.runtime.files import write_json

ADAPTER = ["--use_peft", "--learning_rate", "1e-3"]  # fifty times that of all weights, as is usual for LoRA
WAYS = {
    "full": [],
    "full-context": ["--audio_context", "full"],
    "no-silence": ["--silence_run", "0"],
    "jitter": ["--silence_run", "0", "--context_jitter", *"001248"],
    "frozen-encoder": ["--freeze_encoder"],
    "lora": ADAPTER,
    "dora": [*ADAPTER, "--use_dora"],
    "adalora": [*ADAPTER[:1], "--peft_type", "adalora", "--learning_rate", "1e-2"],  # its start is slow
    "int8-lora": [*ADAPTER, "--load_in_8bit"],
    "nf4-lora": [*ADAPTER, "--load_in_4bit"],
}
BASELINE = "full-context"  # what every other way is compared with


@dataclass(frozen=True)
class Result:
    """One trained model; error rates as fractions."""

    way: str
    language: str
    seed: int
    config: str  # of accelerate_configs/, which tells the precision
    steps: int
    train_seconds: float  # from the first step to the last, without loading
    audio_seconds_per_second: float
    peak_memory_bytes: int
    trainable_parameters: int
    normalized_wer: dict[str, float]  # by audio context
    raw_wer: dict[str, float]
    utterances: dict[str, list[int]]  # fields of `ErrorCounts` by id: normalised words in the full context


@dataclass(frozen=True)
class Difference:
    """How many points of normalised WER in the full context a way makes more than the baseline."""

    way: str
    language: str
    seeds: list[int]
    wer_increase: float  # as a fraction; below 0 is better
    ci95: tuple[float, float]


def main(argv: list[str] | None = None) -> None:
    args = parse_arguments(SweepArguments, argv, __doc__)
    unknown = sorted(set(args.ways) - set(WAYS))
    if unknown:
        raise UserError(f"ways {' '.join(unknown)}: expected some of {', '.join(WAYS)}.")
    results = Path(args.results_dir or f"{args.output_dir}/results")
    runs = [(way, language, seed) for seed in args.seeds for language in args.languages for way in args.ways]
    done = 0
    for way, language, seed in runs:
        path = results / f"{way}-{language}-{seed}.json"
        if path.exists():
            continue
        if done == args.max_runs:
            break
        results.mkdir(parents=True, exist_ok=True)
        write_json(path, asdict(train_and_score(args, way, language, seed)))
        done += 1
        show_results(results)
    show_results(results)


def show_results(folder: Path) -> None:
    """Print the tables of all that is there."""
    paths = sorted(folder.glob("*.json"))
    results = [Result(**json.loads(path.read_text(encoding="utf-8"))) for path in paths]
    print_tables(results, compare_ways(results))


# ---- runs --------------------------------------------------------------------------------------------------


def train_and_score(args: SweepArguments, way: str, language: str, seed: int) -> Result:
    """Prepare the prompts of the language if need be, train one model and let evaluate.py score it."""
    dataset = Path(args.output_dir) / "data" / language
    run = Path(args.output_dir) / f"{way}-{language}-{seed}"
    report = run.with_name(f"{run.name}-report")
    source = {"source": "asterisk", "language": language, "seed": args.seed}
    run_logged(python_command("preprocess.py", output_dir=str(dataset), **source), dataset)
    way_options = WAYS[way]
    model = train_model(
        run,
        *way_options,
        model_name_or_path=args.model_name_or_path,
        dataset=str(dataset),
        language=language,
        seed=seed,
        num_train_epochs=args.num_train_epochs,
        per_device_train_batch_size=args.per_device_train_batch_size,
        learning_rate=None if "--learning_rate" in way_options else args.learning_rate,
        save_steps=args.save_steps,
    )
    options = {"dataset": str(dataset), "split": "test", "language": language, "output_dir": str(report)}
    run_logged(evaluate_command([model], max_samples=args.max_samples, **options), report)
    return read_result(report / "evaluation_results.json")


# ---- results -----------------------------------------------------------------------------------------------


def read_result(evaluation: Path) -> Result:
    """What one run cost and scored, from its metrics and evaluation_results.json."""
    from utils.runtime.devices import pick_accelerate_config

    run = evaluation.parent.with_name(evaluation.parent.name.removesuffix("-report"))
    way, language, seed = run.name.rsplit("-", 2)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    last = lines[-1]
    rows = json.loads(evaluation.read_text(encoding="utf-8"))["results"]
    return Result(
        way,
        language,
        int(seed),
        config=pick_accelerate_config(),
        steps=last["step"],
        train_seconds=last["audio_seconds"] / last["audio_seconds_per_second"],
        audio_seconds_per_second=last["audio_seconds_per_second"],
        peak_memory_bytes=max(line["peak_memory_bytes"] for line in lines),
        trainable_parameters=rows[0]["trainable_parameters"],
        normalized_wer={row["audio_context"]: row["normalized"]["wer"] for row in rows},
        raw_wer={row["audio_context"]: row["raw"]["wer"] for row in rows},
        utterances=count_full_context(evaluation.parent),
    )


def compare_ways(results: list[Result]) -> list[Difference]:
    """Every way against the baseline over the seeds that both have."""
    from utils.scoring.error_counts import ErrorCounts, total_counts
    from utils.scoring.model_comparison import compare

    found = []
    runs = {(result.way, result.language, result.seed): result.utterances for result in results}
    for way, language in dict.fromkeys((result.way, result.language) for result in results):
        seeds = [seed for own, spoken, seed in runs if (own, spoken) == (way, language)]
        shared = sorted(seed for seed in seeds if (BASELINE, language, seed) in runs)
        if way == BASELINE or not shared:
            continue
        sums = []
        for name in (BASELINE, way):
            of_seeds = [runs[name, language, seed] for seed in shared]
            sums.append([total_counts(ErrorCounts(*own[key]) for own in of_seeds) for key in of_seeds[0]])
        outcome = compare(sums[0], sums[1], samples=10_000, seed=0)
        low, high = outcome.ci95
        found.append(Difference(way, language, shared, -outcome.wer_reduction, (-high, -low)))
    return found


def count_full_context(report: Path) -> dict[str, list[int]]:
    """Word errors of every test utterance in the full context, after the basic normaliser."""
    from utils.scoring.error_counts import count_errors
    from utils.text.normalizing import normalize_text

    lines = (report / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if row["audio_context"] == "full"]
    rows.sort(key=lambda row: row["id"])
    texts = [[normalize_text(row[key], "basic") for row in rows] for key in ("reference", "hypothesis")]
    counts = count_errors(*texts)
    return {row["id"]: list(astuple(own)) for row, own in zip(rows, counts, strict=True)}


def print_tables(results: list[Result], differences: list[Difference]) -> None:
    """Means over the seeds, in the order of WAYS, and the differences from the baseline."""
    from rich.console import Console
    from rich.table import Table

    columns = ("way", "language", "seeds", "seconds", "peak memory", "trained", "full context", "dynamic")
    table = Table(*columns, "full - full-context", title="Normalised WER on test, percent, means over seeds")
    against = {(item.way, item.language): item for item in differences}
    keys = dict.fromkeys((item.language, item.way) for item in results)
    for language, way in sorted(keys, key=lambda key: (key[0], list(WAYS).index(key[1]))):
        group = [item for item in results if (item.way, item.language) == (way, language)]
        contexts = [
            [item.normalized_wer[context] for item in group if context in item.normalized_wer]
            for context in ("full", "dynamic")
        ]
        difference = against.get((way, language))
        interval = ""
        if difference is not None:
            low, high = difference.ci95
            interval = f"{100 * difference.wer_increase:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"
        table.add_row(
            way,
            language,
            str(len(group)),
            seconds_by_config(group),
            f"{max(item.peak_memory_bytes for item in group) / 1e9:.2f} GB",
            f"{group[0].trainable_parameters:,}",
            *(f"{100 * sum(values) / len(values):.1f}" if values else "" for values in contexts),
            interval,
        )
    Console(width=130).print(table)


def seconds_by_config(results: list[Result]) -> str:
    """Mean seconds of training: bf16 and fp32 are told apart."""
    seconds: dict[str, list[float]] = {}
    for result in results:
        seconds.setdefault(result.config, []).append(result.train_seconds)
    return ", ".join(f"{sum(own) / len(own):,.0f} ({config})" for config, own in sorted(seconds.items()))


if __name__ == "__main__":
    with user_errors_end_the_script():
        main()
