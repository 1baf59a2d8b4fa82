"""How much faster train.py is than the usual `Seq2SeqTrainer` recipe, and what memory both take.

Same model, data, batch size, precision and threads; each run is a process of its own, the sides take turns,
medians count. A figure is the audio seconds of the clips by the wall-clock seconds of their optimiser steps,
loading and feature extraction included where they happen in the loop.

train.py makes one pass over the training split, timed from its first step. The peer gives every clip 30 s, so
that a step takes as long whatever its clips are: it is timed on a sample of them, after one batch to warm up,
and its clips a second are multiplied by the mean duration of the split.

    python benchmarks/train_speed.py --dataset data/demo
    python benchmarks/train_speed.py --dataset data/demo --batch_size 16
    python benchmarks/train_speed.py --dataset data/demo --clip_seconds 30
    python benchmarks/train_speed.py --dataset data/demo --train_options silence_run=0
"""

import json
import shutil
import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.recordings import write_longer_clips
from benchmarks.side_by_side import (
    MIXED_PRECISION,
    PEER,
    Measurement,
    launch_command,
    measure_in_turns,
    measure_peer,
    option_words,
    report,
    run_alone,
)
from utils.arguments.fields import ScriptArguments
from utils.arguments.parsing import parse_arguments
from utils.runtime.devices import pick_accelerate_config
from utils.runtime.errors import user_errors_end_the_script
from utils.runtime.flags import argument


@dataclass(frozen=True, kw_only=True)
class TrainSpeedArguments(ScriptArguments):
    output_dir: str = argument("Folder for runs and results.", default="runs/bench/train")
    model_name_or_path: str = argument("Model to start from.", default="openai/whisper-base")
    dataset: str = argument("Folder written by preprocess.py.", default="data/demo")
    language: str = argument("Language of rows that do not carry their own.", default="it")
    batch_size: int = argument("Clips in a batch, on both sides.", default=8, at_least=1)
    dtypes: list[Literal["float32", "bfloat16"]] = argument(
        "Precisions measured.", default=["float32", "bfloat16"]
    )
    rounds: int = argument("Repetitions, the sides taking turns; the median counts.", default=3, at_least=1)
    max_samples: int = argument("Clips the peer is timed on; drawn anew in each round.", default=48)
    clip_seconds: float | None = argument(
        "Join clips to nearly so many seconds; not given: train on the clips as they are.", default=None
    )
    num_clips: int = argument("With clip_seconds: joined clips.", default=96)
    train_options: list[str] = argument(
        "More arguments for train.py, such as memory=low or torch_compile=true.", default=[]
    )

    def problems(self) -> list[str]:
        wrong = [option for option in self.train_options if "=" not in option]
        found = [f"train_options {option}: expected name=value, such as memory=low." for option in wrong]
        if self.max_samples < self.batch_size or self.max_samples % self.batch_size:
            found.append(
                f"max_samples {self.max_samples}: expected a multiple of batch_size {self.batch_size}, "
                "so that the peer sees whole batches."
            )
        return found


def main(argv: list[str] | None = None) -> Path:
    args = parse_arguments(TrainSpeedArguments, argv, __doc__)
    folder = Path(args.output_dir)
    if args.clip_seconds is not None:
        joined = write_longer_clips(args.dataset, args.language, args.clip_seconds, args.num_clips, folder)
        args = replace(args, dataset=joined)
    sides = {PEER: partial(measure_recipe, args), "train.py": partial(measure_ours, args)}
    measurements = measure_in_turns(sides, args.dtypes, args.rounds)
    title = f"Training {args.model_name_or_path} on {args.dataset}, batch {args.batch_size}"
    name = "-".join([Path(args.dataset).name, f"b{args.batch_size}", *args.train_options]).replace("/", "_")
    return report(title, measurements, folder / f"{name}.json")


def measure_recipe(args: TrainSpeedArguments, _: str, dtype: str, number: int) -> Measurement:
    """Let the `Seq2SeqTrainer` recipe train on the round's sample."""
    folder = Path(args.output_dir) / f"peer-{dtype}-{number}"
    measured = measure_peer(
        "benchmarks/peer_seq2seq_trainer.py",
        folder,
        dtype,
        number,
        model_name_or_path=args.model_name_or_path,
        dataset=args.dataset,
        language=args.language,
        batch_size=args.batch_size,
        max_samples=args.max_samples,
        seed=args.seed + number,
    )
    shutil.rmtree(folder / "features")
    return measured


def measure_ours(args: TrainSpeedArguments, side: str, dtype: str, number: int) -> Measurement:
    """Let train.py make a pass over the split, evaluating and saving nothing; read what it logged last."""
    folder = Path(args.output_dir) / f"ours-{dtype}-{number}"
    config = pick_accelerate_config().removesuffix("_bf16")  # the precision is given beside it
    options = option_words(
        model_name_or_path=args.model_name_or_path,
        dataset=args.dataset,
        language=args.language,
        output_dir=str(folder),
        per_device_train_batch_size=args.batch_size,
        learning_rate=2e-5,
        num_train_epochs=1,
        eval_steps=0,
        save_steps=0,
        report_to="none",
        seed=args.seed + number,
        **dict(option.split("=", 1) for option in args.train_options),
    )
    launch = [*launch_command(config), "--mixed_precision", MIXED_PRECISION[dtype]]
    run_alone([*launch, "train.py", *options], folder)
    last = json.loads((folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    shutil.rmtree(folder / "final")
    return Measurement(
        side, dtype, number, last["audio_seconds_per_second"], peak_memory_bytes=last["peak_memory_bytes"]
    )


if __name__ == "__main__":
    with user_errors_end_the_script():
        main()
