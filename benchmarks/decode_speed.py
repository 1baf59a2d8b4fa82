"""How much faster evaluate.py decodes in the dynamic context than `transformers.pipeline` with a batch size.

Same tuned model, clips, batch size, precision and threads; each run is a process of its own, the sides take
turns, medians count. A figure is the clips' audio seconds by the wall-clock seconds from FLAC bytes to text;
loading the model does not count. WER is of the same clips on both sides.

    python benchmarks/decode_speed.py --model_name_or_path runs/demo/best --dataset data/demo
    python benchmarks/decode_speed.py --clip_seconds 30 --max_samples 24      # where there is no silence
"""

import json
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.arguments import DecodeSpeedArguments
from benchmarks.side_by_side import (
    PEER,
    Measurement,
    evaluate_command,
    measure_evaluation,
    measure_in_turns,
    python_command,
    report,
    run_alone,
)
from benchmarks.speed_cases import describe_clips, with_joined_clips
from utils.arguments.parsing import parse_arguments
from utils.runtime.errors import UserError, user_errors_end_the_script

DYNAMIC = "evaluate.py, dynamic context"
TARGETS = {(DYNAMIC, "float32"): 8.0, (DYNAMIC, "bfloat16"): 8.0}


def main(argv: list[str] | None = None) -> None:
    args = parse_arguments(DecodeSpeedArguments, argv, __doc__)
    if not Path(args.model_name_or_path).is_dir():
        raise UserError(f"{args.model_name_or_path}: no such folder. `make demo` trains one.")
    args = with_joined_clips(args)
    sides = {PEER: partial(measure_peer, args), DYNAMIC: partial(measure_ours, args)}
    measurements = measure_in_turns(sides, args.dtypes, args.rounds)
    title = f"Decoding {describe_clips(args)} with {args.model_name_or_path}, batch {args.batch_size}"
    targets = TARGETS if args.clip_seconds is None else {}  # a full window leaves no silence out
    name = "decode_speed" if args.clip_seconds is None else f"decode_speed-{args.clip_seconds:g}s"
    report(title, measurements, targets, Path(args.output_dir) / f"{name}.json")


def measure_peer(args: DecodeSpeedArguments, side: str, dtype: str, number: int) -> Measurement:
    """Let the pipeline transcribe the round's clips."""
    folder = Path(args.output_dir) / f"peer-{dtype}-{number}"
    command = python_command(
        "benchmarks/peer_pipeline.py",
        model_name_or_path=args.model_name_or_path,
        dataset=args.dataset,
        split=args.split,
        language=args.language,
        dtype=dtype,
        batch_size=args.batch_size,
        max_samples=args.max_samples,
        seed=args.seed + number,
        output_dir=str(folder),
    )
    run_alone(command, folder)
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return Measurement(
        side,
        dtype,
        number,
        result["audio_seconds_per_second"],
        normalized_wer=result["normalized_wer"],
    )


def measure_ours(args: DecodeSpeedArguments, side: str, dtype: str, number: int) -> Measurement:
    """Let evaluate.py score the round's clips in the dynamic context."""
    folder = Path(args.output_dir) / f"dynamic-{dtype}-{number}"
    command = evaluate_command(
        [args.model_name_or_path],
        dataset=args.dataset,
        split=args.split,
        language=args.language,
        audio_context="dynamic",
        dtype=dtype,
        per_device_eval_batch_size=args.batch_size,
        max_samples=args.max_samples,
        seed=args.seed + number,
        output_dir=str(folder),
    )
    return measure_evaluation(command, folder, side, dtype, number)


if __name__ == "__main__":
    with user_errors_end_the_script():
        main()
