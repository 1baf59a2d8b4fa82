"""How much faster train.py is than the usual `Seq2SeqTrainer` recipe, and what memory both take.

Same model, data, batch size, precision and threads; each run is a process of its own, the sides take turns,
medians count. A figure is the audio seconds of the clips by the wall-clock seconds of their optimiser steps,
loading and feature extraction included where they happen in the loop.

train.py makes one pass over the training split, timed from its first step. The peer gives every clip 30 s, so
that a step takes as long whatever its clips are: it is timed on a sample of them, after one batch to warm up,
and its clips a second are multiplied by the mean duration of the split. `--full_epoch` gives the peer the
whole split too, as a check on that.

    python benchmarks/train_speed.py --dataset data/demo
    python benchmarks/train_speed.py --dataset data/demo --batch_size 16
    python benchmarks/train_speed.py --dataset data/demo --clip_seconds 8
    python benchmarks/train_speed.py --dataset data/demo --clip_seconds 30
    python benchmarks/train_speed.py --dataset data/demo --full_epoch --rounds 1      # the peer takes long

On a GPU, beside the rate of a large matrix product:

    python benchmarks/train_speed.py --random_shape small --dtypes bfloat16 --batch_size 32 --max_samples 320
"""

import json
import shutil
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.arguments import TrainSpeedArguments
from benchmarks.side_by_side import (
    PEER,
    Measurement,
    launch_command,
    measure_in_turns,
    option_words,
    python_command,
    report,
    run_alone,
)
from benchmarks.speed_cases import (
    build_random_model,
    count_operations,
    join_clips,
    measure_operations_per_second,
)
from utils.arguments.parsing import parse_arguments
from utils.model.silence import SILENCE_RUN, seconds_of_work
from utils.runtime.errors import user_errors_end_the_script

OURS, NO_SILENCE = "train.py", "train.py, silence_run 0"
LONGEST_JOINED = 29.9  # seconds: with the tail that follows a clip the context is full
MIXED_PRECISION = {"float32": "no", "bfloat16": "bf16"}


def main(argv: list[str] | None = None) -> None:
    args = with_made_inputs(parse_arguments(TrainSpeedArguments, argv, __doc__))
    sides = {
        PEER: partial(measure_peer, args),
        OURS: partial(measure_ours, args),
        NO_SILENCE: partial(measure_ours, args),
    }
    measurements = measure_in_turns(sides, args.dtypes, args.rounds)
    clips = "its clips" if args.clip_seconds is None else f"clips of nearly {args.clip_seconds:g} s"
    title = f"Training {args.model_name_or_path} on {args.dataset}, {clips}, batch {args.batch_size}"
    report(title, measurements, targets(args), Path(args.output_dir) / f"{name_case(args)}.json")


def with_made_inputs(args: TrainSpeedArguments) -> TrainSpeedArguments:
    """The arguments, with the joined clips and the random model they ask for written beside the result."""
    folder = Path(args.output_dir)
    if args.clip_seconds is not None:
        joined = folder / f"clips-{args.clip_seconds:g}s-{args.num_clips}"
        seconds = min(args.clip_seconds, LONGEST_JOINED)
        if not joined.exists():
            join_clips(args.dataset, args.language, seconds, args.num_clips, joined)
        args = replace(args, dataset=str(joined))
    if args.random_shape is not None:
        model = folder / f"random-{args.random_shape}"
        if not model.exists():
            build_random_model(args.random_shape, args.model_name_or_path, model)
        args = replace(args, model_name_or_path=str(model))
    return args


def name_case(args: TrainSpeedArguments) -> str:
    """A file name that tells the cases apart."""
    parts = ["full_epoch" if args.full_epoch else "train_speed", args.random_shape, f"b{args.batch_size}"]
    parts += [None if args.clip_seconds is None else f"{args.clip_seconds:g}s", *args.train_options]
    return "-".join(str(part).replace("/", "_") for part in parts if part)


def targets(args: TrainSpeedArguments) -> dict[tuple[str, str], float]:
    """Ratios to the peer that we mean to reach, by side and precision."""
    if args.random_shape is not None:
        return {}
    if args.clip_seconds is not None:
        lowest = 1.0 if args.clip_seconds > 20 else 3.0
        return {(side, dtype): lowest for side in (OURS, NO_SILENCE) for dtype in args.dtypes}
    large = args.batch_size >= 16
    return {
        (OURS, "float32"): 8.0,
        (OURS, "bfloat16"): 7.0 if large else 6.0,
        (NO_SILENCE, "float32"): 11.0,
        (NO_SILENCE, "bfloat16"): 10.0 if large else 8.0,
    }


def measure_peer(args: TrainSpeedArguments, side: str, dtype: str, number: int) -> Measurement:
    """Let the `Seq2SeqTrainer` recipe train on the round's sample, or on the whole split."""
    from utils.data.prepared_dataset import load_prepared

    folder = Path(args.output_dir) / f"peer-{dtype}-{number}"
    command = python_command(
        "benchmarks/peer_seq2seq_trainer.py",
        model_name_or_path=args.model_name_or_path,
        dataset=args.dataset,
        split="train",
        language=args.language,
        dtype=dtype,
        batch_size=args.batch_size,
        max_samples=None if args.full_epoch else args.max_samples,
        seed=args.seed + number,
        output_dir=str(folder),
    )
    run_alone(command, folder)
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    shutil.rmtree(folder / "features")
    durations = load_prepared([args.dataset], "train", language=args.language)["duration"]
    rate = result["clips_per_second"] * sum(durations) / len(durations)
    return Measurement(side, dtype, number, rate, result["peak_memory_bytes"])


def measure_ours(args: TrainSpeedArguments, side: str, dtype: str, number: int) -> Measurement:
    """Let train.py make a pass over the split and read what it logged at the last step."""
    name = "ours" if side == OURS else "no-silence"
    folder = Path(args.output_dir) / f"{name}-{dtype}-{number}"
    run_alone(train_command(args, side, dtype, number, folder), folder)
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    shutil.rmtree(folder / "final")
    last = json.loads(lines[-1])
    rate = last["audio_seconds_per_second"]
    padded_seconds = last["audio_seconds"] / (1 - last["padding_share"])
    by_second, by_texts = count_operations(args.model_name_or_path, args.dataset, args.language)
    clips = last["step"] * args.batch_size
    run = 0 if side == NO_SILENCE else SILENCE_RUN
    work = clips * seconds_of_work(padded_seconds / clips, run)  # by the mean: it grows evenly with length
    operations = by_second * work + by_texts
    seconds = last["audio_seconds"] / rate
    share = operations / seconds / measure_operations_per_second(dtype)
    return Measurement(side, dtype, number, rate, last["peak_memory_bytes"], limit_share=share)


def train_command(args: TrainSpeedArguments, side: str, dtype: str, number: int, folder: Path) -> list[str]:
    """`accelerate launch … train.py …`: nothing is evaluated or saved meanwhile."""
    from utils.runtime.devices import pick_accelerate_config

    config = pick_accelerate_config().removesuffix("_bf16")  # the precision is given beside it
    launch = [*launch_command(config), "--mixed_precision", MIXED_PRECISION[dtype]]
    options = option_words(
        model_name_or_path=args.model_name_or_path,
        dataset=args.dataset,
        language=args.language,
        output_dir=str(folder),
        per_device_train_batch_size=args.batch_size,
        learning_rate=2e-5,
        num_train_epochs=1,
        silence_run=0 if side == NO_SILENCE else None,
        eval_steps=0,
        save_steps=0,
        report_to="none",
        seed=args.seed + number,
        **dict(option.split("=", 1) for option in args.train_options),
    )
    return [*launch, "train.py", *options]


if __name__ == "__main__":
    with user_errors_end_the_script():
        main()
