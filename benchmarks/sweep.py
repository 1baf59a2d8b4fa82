"""Ways of fine-tuning side by side: what each costs, and how the model then scores.

Every way of WAYS trains on the same prompts for as many steps, once for each seed; evaluate.py scores the
weights at the end on the test prompts, in the full context and where it was trained in it in the dynamic one.
Besides it can score, in the full context, the prompts of another language that must not be forgotten
(`--guard_language`), the test prompts as they sound through lines, each a chain of codecs (`--lines`), and
silence, noise and music, in which nobody speaks (`--probe`). Two ways are compared over all seeds that both
have: the errors of an utterance are added over the seeds, and utterances are drawn anew for the interval.

Every run leaves a small file in `--results_dir`, and what has one is not run again: stopped, the same command
goes on where it was, on another machine too. So other arguments need another `--output_dir`.

    python benchmarks/sweep.py
    python benchmarks/sweep.py --ways full lora --languages it --seeds 1
    python benchmarks/sweep.py --results_dir benchmarks/results/sweep --max_runs 0    # the tables of ours
    python benchmarks/sweep.py --output_dir runs/bench/guard --ways untuned full mixed --guard_language en
"""

import json
import sys
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Literal

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.side_by_side import (
    Option,
    launch_command,
    option_words,
    python_command,
    run_evaluation,
    run_logged,
)
from benchmarks.sweep_results import Result, print_table, read_results
from utils.arguments.fields import ScriptArguments
from utils.arguments.parsing import parse_arguments
from utils.audio.codecs import CODECS, through_codec
from utils.audio.flac import decode_flac, encode_flac
from utils.runtime.devices import pick_accelerate_config
from utils.runtime.errors import user_errors_end_the_script
from utils.runtime.files import folder_written_whole, write_json
from utils.runtime.flags import argument
from utils.scoring.error_rates import count_errors
from utils.text.normalizing import normalize_text

ADAPTER = "--use_peft --learning_rate 1e-3"  # fifty times that of all weights, as is usual for LoRA
STITCHED = "--stitch_probability 0.3"
UNTUNED = "untuned"
WAYS = {
    UNTUNED: "",
    "full": "",
    "full-context": "--audio_context full",
    "no-silence": "--silence_run 0",
    "jitter": "--silence_run 0 --context_jitter 0 0 1 2 4 8",
    "frozen-encoder": "--freeze_encoder",
    "lora": ADAPTER,
    "dora": f"{ADAPTER} --use_dora",
    "adalora": "--use_peft --peft_type adalora --learning_rate 1e-2",  # its start is slow
    "int8-lora": f"{ADAPTER} --load_in_8bit",
    "nf4-lora": f"{ADAPTER} --load_in_4bit",
    "mixed": "--interpolation_alphas 0.2 0.4 0.6 0.8 1 --guard_tolerance 0",
    "telephone": "--codec_probability 0.6 --codecs alaw gsm",
    "non-speech": "--non_speech_share 0.1",
    "stitched": STITCHED,
    "timestamps": f"{STITCHED} --timestamp_probability 0.5",
}
USUAL_WAYS = "full full-context lora dora adalora int8-lora nf4-lora frozen-encoder no-silence jitter"


@dataclass(frozen=True, kw_only=True)
class SweepArguments(ScriptArguments):
    output_dir: str = argument("Folder for data and runs.", default="runs/bench/sweep")
    results_dir: str | None = argument(
        "Folder of a small file for every run, which is then not run again. Default: results in output_dir.",
        default=None,
    )
    model_name_or_path: str = argument("Model to start from.", default="openai/whisper-base")
    ways: list[Literal[*WAYS]] = argument(
        "Ways of training, in the order they are run.", default=USUAL_WAYS.split()
    )
    languages: list[str] = argument("Languages of the prompts: it, ru or en.", default=["it"])
    seeds: list[int] = argument("Seeds of the training, one after the other.", default=[1, 2, 3])
    guard_language: str | None = argument("Language of prompts that only guard and test.", default=None)
    lines: list[str] = argument("Lines the test prompts go through as well, such as alaw+gsm.", default=[])
    probe: bool = argument("Count the words made up where nobody speaks.", default=False)
    seed: int = argument("Decides which prompts are for training and which for the test.", default=13)
    test_share: float = argument("Share of the prompts kept for the test.", default=0.2)
    max_runs: int | None = argument("End after so many further models; not given: all.", default=None)
    num_train_epochs: float = argument("Passes over the training clips.", default=3.0)
    per_device_train_batch_size: int = argument("Clips in a batch.", default=8, at_least=1)
    learning_rate: float = argument("Peak learning rate where all weights are trained.", default=2e-5)
    max_samples: int | None = argument("Test clips scored, drawn by a seed; default: all.", default=None)

    def problems(self) -> list[str]:
        wrong = [line for line in self.lines if not set(line.split("+")) <= set(CODECS)]
        found = [f"lines {line}: expected a chain such as alaw+gsm of {', '.join(CODECS)}." for line in wrong]
        if "mixed" in self.ways and self.guard_language is None:
            found.append("ways mixed: give the --guard_language that must not be forgotten.")
        return found


def main(argv: list[str] | None = None) -> None:
    args = parse_arguments(SweepArguments, argv, __doc__)
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
        print_table(read_results(results), list(WAYS))
    print_table(read_results(results), list(WAYS))


def train_and_score(args: SweepArguments, way: str, language: str, seed: int) -> Result:
    """Prepare the prompts if need be, train one model and let evaluate.py score it."""
    folder = Path(args.output_dir) / f"{way}-{language}-{seed}"
    report = folder.with_name(f"{folder.name}-report")
    dataset = prepare(args, language)
    model, lines = args.model_name_or_path, []
    if way != UNTUNED:
        model = train(args, way, language, seed, folder)
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text("utf-8").splitlines()]
    last = lines[-1] if lines else {"step": 0, "audio_seconds": 0.0, "audio_seconds_per_second": 1.0}
    options: dict[str, Option] = {"models": model, "split": "test", "max_samples": args.max_samples}
    options["normalizer"] = normalizer_of(language)
    rows = run_evaluation(report, dataset=str(dataset), language=language, probe=args.probe, **options)
    scored = {row["audio_context"]: row for row in rows}
    further = {line: (language, send_through_line(dataset, line)) for line in args.lines}
    if args.guard_language is not None:
        further[args.guard_language] = (args.guard_language, prepare(args, args.guard_language))
    for name, (spoken, test) in further.items():
        folder = report.with_name(f"{report.name}-{name}")
        options |= {"language": spoken, "normalizer": normalizer_of(spoken), "audio_context": "full"}
        [scored[name]] = run_evaluation(folder, dataset=str(test), **options)
    return Result(
        way,
        language,
        seed,
        config=pick_accelerate_config(),
        steps=last["step"],
        train_seconds=last["audio_seconds"] / last["audio_seconds_per_second"],
        audio_seconds_per_second=last["audio_seconds_per_second"],
        peak_memory_bytes=max((line["peak_memory_bytes"] for line in lines), default=0),
        trainable_parameters=rows[0]["trainable_parameters"] or 0,
        normalized_wer={name: row["normalized"]["wer"] for name, row in scored.items()},
        raw_wer={name: row["raw"]["wer"] for name, row in scored.items()},
        utterances=count_full_context(report),
        ci95={name: row["normalized"]["ci95"] for name, row in scored.items()},
        made_up={row["audio_context"]: words_per_minute(row["hallucination"]) for row in rows if args.probe},
    )


def prepare(args: SweepArguments, language: str) -> Path:
    """The prompts of a language as a prepared dataset, written once."""
    folder = Path(args.output_dir) / "data" / language
    options = {"source": "asterisk", "language": language, "test_share": args.test_share, "seed": args.seed}
    if not (folder / "dataset_dict.json").is_file():
        run_logged(python_command("preprocess.py", output_dir=str(folder), **options), folder)
    return folder


def train(args: SweepArguments, way: str, language: str, seed: int, folder: Path) -> str:
    """The model to score, the mixture or that of the last step; a training that was stopped goes on."""
    guards: dict[str, Option] = {}
    if way == "mixed":
        guards["guard_datasets"] = str(prepare(args, str(args.guard_language)))
        guards["max_eval_samples"] = args.max_samples
    options = option_words(
        model_name_or_path=args.model_name_or_path,
        dataset=str(prepare(args, language)),
        output_dir=str(folder),
        language=language,
        seed=seed,
        num_train_epochs=args.num_train_epochs,
        per_device_train_batch_size=args.per_device_train_batch_size,
        learning_rate=None if "--learning_rate" in WAYS[way] else args.learning_rate,
        eval_steps=0,
        save_steps=50,
        save_total_limit=1,
        report_to="none",
        **guards,
    )
    run_logged([*launch_command(pick_accelerate_config()), "train.py", *options, *WAYS[way].split()], folder)
    mixture = folder / "interpolated"
    return str(mixture if mixture.is_dir() else folder / "final")


def send_through_line(dataset: Path, line: str) -> Path:
    """Write the test clips once more, as they sound after every codec of the line at its highest bit rate."""
    from datasets import DatasetDict, load_from_disk

    folder = dataset.with_name(f"{dataset.name}-{line}")
    if not folder.exists():
        rows = load_from_disk(str(dataset))["test"].map(_after_codecs, fn_kwargs={"line": line})
        with folder_written_whole(folder) as temporary:
            DatasetDict({"test": rows}).save_to_disk(str(temporary))
    return folder


def _after_codecs(row: dict, line: str) -> dict:
    samples = decode_flac(row["audio"])
    for codec in line.split("+"):
        samples = through_codec(samples, codec, max(CODECS[codec].bit_rates, default=None))
    return {"audio": encode_flac(samples)}


def normalizer_of(language: str) -> str:
    return "english" if language == "en" else "basic"


def words_per_minute(made_up: dict[str, dict]) -> float:
    """Over silence, noise and music together."""
    words, seconds = (sum(sort[name] for sort in made_up.values()) for name in ("words", "audio_seconds"))
    return 60 * words / seconds


def count_full_context(report: Path) -> dict[str, list[int]]:
    """Word errors of every test utterance in the full context, after the basic normaliser."""
    lines = (report / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if row["audio_context"] == "full"]
    rows.sort(key=lambda row: row["id"])
    texts = [[normalize_text(row[key], "basic") for row in rows] for key in ("reference", "hypothesis")]
    counts = count_errors(*texts)
    return {row["id"]: list(astuple(own)) for row, own in zip(rows, counts, strict=True)}


if __name__ == "__main__":
    with user_errors_end_the_script():
        main()
