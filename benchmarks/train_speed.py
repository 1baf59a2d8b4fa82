"""How much faster train.py is than the usual `Seq2SeqTrainer` recipe, and what memory both take.

Same model, clips, batch size, precision and threads; each run is a process of its own, the sides take turns,
medians count. A figure is the audio seconds of whole passes over the same clips by the wall-clock seconds of
their optimiser steps, loading and feature extraction included where they happen in the loop. Before the timed
part, the peer has one batch to warm up and train.py one pass; train.py then has two timed passes, because its
steps differ in length.

    python benchmarks/train_speed.py --dataset data/demo
    python benchmarks/train_speed.py --dataset data/demo --full_epoch      # peak memory; the peer takes long
"""

import json
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.side_by_side import (
    PEER,
    Measurement,
    option_words,
    python_command,
    report,
    run_alone,
    turns,
)
from utils.arguments import TrainSpeedArguments, parse_arguments
from utils.errors import user_errors_end_the_script

NO_JITTER, JITTER = "train.py, no jitter", "train.py, default jitter"
TARGETS = {
    (NO_JITTER, "float32"): 8.0,
    (NO_JITTER, "bfloat16"): 5.0,
    (JITTER, "float32"): 5.0,
    (JITTER, "bfloat16"): 4.0,
}
TIMED_PASSES = 2
MIXED_PRECISION = {"float32": "no", "bfloat16": "bf16"}


def main(argv: list[str] | None = None) -> None:
    args = parse_arguments(TrainSpeedArguments, argv, __doc__)
    measurements = []
    rounds = 1 if args.full_epoch else args.rounds
    for number, side in turns([PEER, NO_JITTER, JITTER], rounds):
        for dtype in args.dtypes:
            measure = measure_peer if side == PEER else measure_ours
            measurements.append(measure(args, side, dtype, number))
            rate = measurements[-1].audio_seconds_per_second
            print(f"round {number + 1}, {dtype}, {side}: {rate:.2f} audio s/s", flush=True)
    clips = "the training split" if args.full_epoch else f"{args.max_samples} clips"
    name = "full_epoch" if args.full_epoch else "train_speed"
    title = f"Training {args.model_name_or_path} on {clips}, batch {args.batch_size}"
    report(title, measurements, TARGETS, Path(args.output_dir) / f"{name}.json")


def measure_peer(args: TrainSpeedArguments, side: str, dtype: str, number: int) -> Measurement:
    """Let the `Seq2SeqTrainer` recipe make one pass over the round's clips."""
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
    return Measurement(side, dtype, number, result["audio_seconds_per_second"], result["peak_memory_bytes"])


def measure_ours(args: TrainSpeedArguments, side: str, dtype: str, number: int) -> Measurement:
    """Let train.py make its passes over the round's clips and read its own log of every step."""
    name = "jitter" if side == JITTER else "tight"
    folder = Path(args.output_dir) / f"{name}-{dtype}-{number}"
    run_alone(train_command(args, side, dtype, number, folder), folder)
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    shutil.rmtree(folder / "final")
    steps_of_a_pass = args.max_samples // args.batch_size
    return read_metrics(side, dtype, number, lines, 1 if args.full_epoch else steps_of_a_pass)


def train_command(args: TrainSpeedArguments, side: str, dtype: str, number: int, folder: Path) -> list[str]:
    """`accelerate launch … train.py …`: every step logged, nothing evaluated or saved meanwhile."""
    from utils.hardware import pick_accelerate_config

    config = pick_accelerate_config().removesuffix("_bf16")  # the precision is given beside it
    launch = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch"]
    launch += ["--config_file", f"accelerate_configs/{config}.yaml"]
    launch += ["--mixed_precision", MIXED_PRECISION[dtype]]
    options = option_words(
        model_name_or_path=args.model_name_or_path,
        dataset=args.dataset,
        language=args.language,
        output_dir=str(folder),
        per_device_train_batch_size=args.batch_size,
        learning_rate=2e-5,
        num_train_epochs=1 if args.full_epoch else 1 + TIMED_PASSES,
        max_train_samples=None if args.full_epoch else args.max_samples,
        context_jitter=0 if side == NO_JITTER else None,
        eval_steps=0,
        save_steps=0,
        logging_steps=1,
        report_to="none",
        seed=args.seed + number,
    )
    return [*launch, "train.py", *options]


def read_metrics(side: str, dtype: str, number: int, lines: list[str], warm_up_steps: int) -> Measurement:
    """Throughput of the steps after the warm-up.

    A record holds the audio seconds trained on so far and their mean rate: the one by the other is the time
    at which the step had ended.
    """
    records = [json.loads(line) for line in lines]
    audio = [record["audio_seconds"] for record in records]
    times = [record["audio_seconds"] / record["audio_seconds_per_second"] for record in records]
    first = warm_up_steps - 1
    rate = (audio[-1] - audio[first]) / (times[-1] - times[first])
    return Measurement(side, dtype, number, rate, records[-1]["peak_memory_bytes"])


if __name__ == "__main__":
    with user_errors_end_the_script():
        main()
