"""All comparisons with the usual tools in one run: a table, a file with every figure, a picture.

The other benchmarks of this folder measure, one after the other; this one gives them their sizes and gathers.
With `--small` they take few clips and one round: a quarter of an hour on two cores instead of hours. The
names of the cases fit the data and the model of `make demo`. What is not installed is left out, with a line.

    python benchmarks/bench.py --small
    python benchmarks/bench.py --small --cases decode-2s prepare-0.35h
    python benchmarks/bench.py --small --publish    # as `make bench`: also into the docs
"""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import decode_speed, preprocess_speed, train_speed, transcribe_speed
from benchmarks.bench_tables import draw_results, print_results, publish
from benchmarks.side_by_side import surroundings
from utils.arguments.fields import ScriptArguments
from utils.arguments.parsing import parse_arguments
from utils.runtime.devices import pick_accelerate_config
from utils.runtime.errors import UserError, user_errors_end_the_script
from utils.runtime.files import write_json
from utils.runtime.flags import argument

TRAINER, PIPELINE, BATCHES = "`Seq2SeqTrainer`", "`pipeline`", "faster-whisper in batches"
UNTUNED = "--model_name_or_path {untuned} --language {language}"
TUNED = "--model_name_or_path {tuned} --language {language}"


@dataclass(frozen=True)
class Case:
    """A comparison with a usual tool: a row of the table."""

    task: str
    tool: str  # the usual one
    measure: Callable[[list[str]], Path]  # `main` of a benchmark; returns the file of its figures
    options: str
    full: str = ""  # more options, to take all clips
    small: str = ""  # or few of them
    is_optional: bool = False  # left out where the tool is not installed


TRAIN = partial(Case, tool=TRAINER, measure=train_speed.main)
DECODE = partial(Case, measure=decode_speed.main)
TRANSCRIBE = partial(Case, "transcribe a recording", measure=transcribe_speed.main, small="--minutes 2")
PREPARE = partial(Case, tool="`Dataset.map`", measure=preprocess_speed.main)

CASES = {
    "train-2s": TRAIN(
        "train, clips of 2 s",
        options=f"{UNTUNED} --dtypes {{dtype}}",
        small="--max_samples 16 --train_options max_train_samples=96",
    ),
    "train-8s": TRAIN(
        "train, clips of 8 s",
        options=f"{UNTUNED} --dtypes {{dtype}} --clip_seconds 8",
        full="--num_clips 48 --max_samples 24",
        small="--num_clips 24 --max_samples 16",
    ),
    "train-30s": TRAIN(
        "train, clips of 30 s",
        options=f"{UNTUNED} --dtypes {{dtype}} --clip_seconds 30",
        full="--num_clips 24 --max_samples 24",
        small="--num_clips 16 --max_samples 8",
    ),
    "decode-2s": DECODE(
        "decode, clips of 2 s", PIPELINE, options=f"{TUNED} --dtypes {{dtype}}", small="--max_samples 24"
    ),
    "decode-30s": DECODE(
        "decode, clips of 30 s",
        PIPELINE,
        options=f"{TUNED} --dtypes {{dtype}} --clip_seconds 30",
        full="--max_samples 24",
        small="--max_samples 8",
    ),
    "decode-ctranslate2": DECODE(
        "decode, clips of 2 s, CTranslate2",
        BATCHES,
        options=f"{TUNED} --dtypes int8 --backend ctranslate2",
        small="--max_samples 24",
    ),
    "recording": TRANSCRIBE(BATCHES, options=f"{UNTUNED} --dtypes int8"),
    "recording-unbatched": TRANSCRIBE(
        "faster-whisper", options=f"{UNTUNED} --dtypes int8 --peer faster-whisper-unbatched"
    ),
    "recording-pipeline": TRANSCRIBE(
        f"{PIPELINE} in batches", options=f"{UNTUNED} --dtypes float32 --peer pipeline"
    ),
    "recording-openvino": TRANSCRIBE(
        "OpenVINO GenAI", options=f"{UNTUNED} --dtypes int8 --peer openvino", is_optional=True
    ),
    "prepare-0.35h": PREPARE("prepare 0.35 h of MP3 files, two processes", options="--copies 1"),
    "prepare-0.7h": PREPARE("prepare 0.7 h of MP3 files, two processes", options="--copies 2"),
    "prepare-1.4h": PREPARE("prepare 1.4 h of MP3 files, two processes", options="--copies 4"),
    "prepare-1-process": PREPARE(
        "prepare 0.35 h of MP3 files, one process", options="--copies 1 --num_proc 1"
    ),
}


@dataclass(frozen=True, kw_only=True)
class BenchArguments(ScriptArguments):
    output_dir: str = argument("Folder for runs and results.", default="runs/bench/all")
    small: bool = argument("Take few clips and one round.", default=False)
    cases: list[Literal[*CASES]] = argument("Comparisons to make.", default=list(CASES))
    publish: bool = argument("Write figures, picture and tables into the docs as well.", default=False)
    model_name_or_path: str = argument("Model to train, and to transcribe.", default="openai/whisper-base")
    tuned_model: str = argument("Model to decode clips with.", default="runs/demo/best")
    dataset: str = argument("Folder written by preprocess.py.", default="data/demo")
    language: str = argument("Language of the clips.", default="it")

    def problems(self) -> list[str]:
        missing = [name for name in CASES if name not in self.cases]
        if not self.publish or not missing:
            return []
        return [f"publish: expected all cases, so that no row of the docs is lost. Add {', '.join(missing)}."]


def main(argv: list[str] | None = None) -> None:
    args = parse_arguments(BenchArguments, argv, __doc__)
    folder = Path(args.output_dir)
    results = {**surroundings(), "load": os.getloadavg()[0], "small": args.small, "cases": {}, "left_out": {}}
    for name in args.cases:
        case = CASES[name]
        print(f"\n{name}: {case.task}, beside {case.tool}", flush=True)
        try:
            figures = json.loads(case.measure(words_of(args, name)).read_text(encoding="utf-8"))
        except UserError as error:
            if not case.is_optional:
                raise
            print(f"left out: {error}")
            results["left_out"][name] = str(error)
        else:
            kept = {key: figures[key] for key in ("summaries", "measurements")}
            results["cases"][name] = {"task": case.task, "tool": case.tool, **kept}
        write_json(folder / "bench.json", results)
    print_results(results)
    draw_results(results, folder / "speed.png")
    print(f"Every figure: {folder / 'bench.json'}. The picture: {folder / 'speed.png'}")
    if args.publish:
        publish(folder)


def words_of(args: BenchArguments, name: str) -> list[str]:
    """The command line of a case's benchmark."""
    case = CASES[name]
    values = {"untuned": args.model_name_or_path, "tuned": args.tuned_model, "language": args.language}
    values["dtype"] = "bfloat16" if pick_accelerate_config() in ("cpu_bf16", "single_gpu") else "float32"
    sizes = f"--rounds 1 {case.small}" if args.small else case.full
    words = [word.format(**values) for word in f"{case.options} {sizes}".split()]
    folder = str(Path(args.output_dir) / name)
    return [*words, "--dataset", args.dataset, "--output_dir", folder, "--seed", str(args.seed)]


if __name__ == "__main__":
    with user_errors_end_the_script():
        main()
