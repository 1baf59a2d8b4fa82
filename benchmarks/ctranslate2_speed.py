"""How fast `evaluate.py --backend ctranslate2` is beside faster-whisper's batched pipeline, full context.

Both drive the same engine with the same weights, batch size, beam and threads; each run is a process of its
own, the sides take turns, medians count. A figure is the clips' audio seconds by the wall-clock seconds from
FLAC bytes to text; loading and converting the model does not count.

    python benchmarks/ctranslate2_speed.py
    python benchmarks/ctranslate2_speed.py --clip_seconds 30 --max_samples 24
    python benchmarks/ctranslate2_speed.py --num_beams 5
"""

import json
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.arguments import CTranslate2SpeedArguments
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
from utils.runtime.errors import user_errors_end_the_script

OURS = "evaluate.py, ctranslate2"


def main(argv: list[str] | None = None) -> None:
    args = parse_arguments(CTranslate2SpeedArguments, argv, __doc__)
    args = with_joined_clips(args)
    sides = {PEER: partial(measure_peer, args), OURS: partial(measure_ours, args)}
    measurements = measure_in_turns(sides, args.dtypes, args.rounds)
    title = f"Decoding {describe_clips(args)}, batch {args.batch_size}, beam {args.num_beams}"
    targets = {(OURS, dtype): 1.0 for dtype in args.dtypes}
    name = f"ctranslate2_speed-{args.clip_seconds or 'clips'}-beam{args.num_beams}.json"
    report(title, measurements, targets, Path(args.output_dir) / name)


def measure_peer(args: CTranslate2SpeedArguments, side: str, dtype: str, number: int) -> Measurement:
    """Let faster-whisper transcribe the round's clips."""
    folder = Path(args.output_dir) / f"faster-whisper-{dtype}-{number}"
    command = python_command(
        "benchmarks/peer_faster_whisper.py",
        model_name_or_path=args.model_name_or_path,
        dataset=args.dataset,
        split=args.split,
        language=args.language,
        dtype=dtype,
        batch_size=args.batch_size,
        num_beams=args.num_beams,
        max_samples=args.max_samples,
        seed=args.seed + number,
        output_dir=str(folder),
    )
    run_alone(command, folder)
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    rate = result["audio_seconds_per_second"]
    return Measurement(side, dtype, number, rate, normalized_wer=result["normalized_wer"])


def measure_ours(args: CTranslate2SpeedArguments, side: str, dtype: str, number: int) -> Measurement:
    """Let evaluate.py score the round's clips in the full context."""
    folder = Path(args.output_dir) / f"ctranslate2-{dtype}-{number}"
    command = evaluate_command(
        [args.model_name_or_path],
        dataset=args.dataset,
        split=args.split,
        language=args.language,
        backend="ctranslate2",
        audio_context="full",
        dtype=dtype,
        num_beams=args.num_beams,
        per_device_eval_batch_size=args.batch_size,
        max_samples=args.max_samples,
        seed=args.seed + number,
        output_dir=str(folder),
    )
    return measure_evaluation(command, folder, side, dtype, number)


if __name__ == "__main__":
    with user_errors_end_the_script():
        main()
