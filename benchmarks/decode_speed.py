"""How much faster evaluate.py decodes than `transformers.pipeline`, or than faster-whisper's batches.

evaluate.py decodes in the dynamic context beside the pipeline; with `--backend ctranslate2` in the full one
beside faster-whisper, which drives the same engine. Same tuned model, clips, batch size, beam, precision and
threads; each run is a process of its own, the sides take turns, medians count. A figure is the clips' audio
seconds by the wall-clock seconds from FLAC bytes to text; loading and converting the model does not count.

    python benchmarks/decode_speed.py --model_name_or_path runs/demo/best --dataset data/demo
    python benchmarks/decode_speed.py --clip_seconds 30 --max_samples 24      # where there is no silence
    python benchmarks/decode_speed.py --backend ctranslate2 --num_beams 5
"""

import shutil
import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.recordings import write_longer_clips
from benchmarks.side_by_side import PEER, Measurement, measure_in_turns, measure_peer, report, run_evaluation
from utils.arguments.fields import ScriptArguments
from utils.arguments.parsing import parse_arguments
from utils.runtime.errors import user_errors_end_the_script
from utils.runtime.flags import argument

PEERS = {"transformers": "pipeline", "ctranslate2": "faster-whisper"}
CONTEXTS = {"transformers": "dynamic", "ctranslate2": "full"}
DTYPES = {"transformers": ["float32", "bfloat16"], "ctranslate2": ["float32", "int8"]}


@dataclass(frozen=True, kw_only=True)
class DecodeSpeedArguments(ScriptArguments):
    output_dir: str = argument("Folder for runs and results.", default="runs/bench/decode")
    model_name_or_path: str = argument("Tuned model; `make demo` trains this one.", default="runs/demo/best")
    dataset: str = argument("Folder written by preprocess.py.", default="data/demo")
    split: str = argument("Split to decode.", default="test")
    language: str = argument("Language of rows that do not carry their own.", default="it")
    backend: Literal["transformers", "ctranslate2"] = argument(
        "What decodes on our side; the peer is pipeline or faster-whisper.", default="transformers"
    )
    num_beams: int = argument("Width of the beam, on both sides; above 1 with ctranslate2 alone.", default=1)
    batch_size: int = argument("Clips in a batch, on both sides.", default=8, at_least=1)
    dtypes: list[str] = argument(
        "Precisions measured; none: float32 and bfloat16, or with ctranslate2 float32 and int8.", default=[]
    )
    rounds: int = argument("Repetitions, the sides taking turns; the median counts.", default=3, at_least=1)
    max_samples: int = argument("Clips decoded; drawn anew by each round's seed.", default=48)
    clip_seconds: float | None = argument("Join training clips up to so many seconds.", default=None)


def main(argv: list[str] | None = None) -> Path:
    args = parse_arguments(DecodeSpeedArguments, argv, __doc__)
    folder = Path(args.output_dir)
    if args.clip_seconds is not None:
        joined = write_longer_clips(args.dataset, args.language, args.clip_seconds, args.max_samples, folder)
        args = replace(args, dataset=joined, split="train")
    ours = f"evaluate.py, {args.backend}, {CONTEXTS[args.backend]} context"
    sides = {PEER: partial(measure_usual, args), ours: partial(measure_ours, args)}
    measurements = measure_in_turns(sides, args.dtypes or DTYPES[args.backend], args.rounds)
    case = f"{Path(args.dataset).name}-{args.backend}-beam{args.num_beams}"
    title = (
        f"Decoding {args.max_samples} clips of {args.dataset}, beam {args.num_beams}, batch {args.batch_size}"
    )
    return report(title, measurements, folder / f"{case}.json")


def measure_usual(args: DecodeSpeedArguments, _: str, dtype: str, number: int) -> Measurement:
    """Let the peer transcribe the round's clips."""
    return measure_peer(
        "benchmarks/peer_decode.py",
        Path(args.output_dir) / f"peer-{args.backend}-{dtype}-{number}",
        dtype,
        number,
        peer=PEERS[args.backend],
        model_name_or_path=args.model_name_or_path,
        dataset=args.dataset,
        split=args.split,
        language=args.language,
        num_beams=args.num_beams,
        batch_size=args.batch_size,
        max_samples=args.max_samples,
        seed=args.seed + number,
    )


def measure_ours(args: DecodeSpeedArguments, side: str, dtype: str, number: int) -> Measurement:
    """Let evaluate.py score the round's clips."""
    folder = Path(args.output_dir) / f"ours-{args.backend}-{dtype}-{number}"
    shutil.rmtree(folder, ignore_errors=True)
    [row] = run_evaluation(
        folder,
        models=args.model_name_or_path,
        dataset=args.dataset,
        split=args.split,
        language=args.language,
        backend=args.backend,
        audio_context=CONTEXTS[args.backend],
        num_beams=args.num_beams,
        dtype=dtype,
        per_device_eval_batch_size=args.batch_size,
        max_samples=args.max_samples,
        seed=args.seed + number,
    )
    return Measurement(side, dtype, number, row["rtfx"], normalized_wer=row["normalized"]["wer"])


if __name__ == "__main__":
    with user_errors_end_the_script():
        main()
