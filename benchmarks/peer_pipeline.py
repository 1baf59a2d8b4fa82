"""The usual way to transcribe clips, measured: `transformers.pipeline` with a batch size.

decode_speed.py runs this beside evaluate.py:

    python benchmarks/peer_pipeline.py --model_name_or_path runs/demo/best --dataset data/demo --split test \\
        --language it --max_samples 48 --output_dir runs/bench/peer
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from transformers import pipeline

from benchmarks.arguments import PeerArguments
from utils.arguments.parsing import parse_arguments
from utils.audio.flac import SAMPLE_RATE, decode_flac
from utils.data.prepared_dataset import draw_rows, load_prepared
from utils.model.resolving import resolve_model
from utils.runtime.devices import pick_device
from utils.runtime.errors import user_errors_end_the_script
from utils.runtime.files import write_json
from utils.runtime.progress import silence_libraries
from utils.scoring.error_rates import error_rates, score_utterances


def main(argv: list[str] | None = None) -> None:
    args = parse_arguments(PeerArguments, argv, __doc__)
    silence_libraries()
    rows = draw_rows(
        load_prepared([args.dataset], args.split, language=args.language), args.max_samples, args.seed
    )
    transcriber = pipeline(
        "automatic-speech-recognition",
        model=resolve_model(args.model_name_or_path),
        dtype=getattr(torch, args.dtype),
        device=pick_device(),
    )
    clips = ({"raw": decode_flac(data), "sampling_rate": SAMPLE_RATE} for data in rows["audio"])
    options = {"language": args.language, "task": "transcribe", "num_beams": 1}

    started = time.perf_counter()
    answers = transcriber(clips, batch_size=args.batch_size, generate_kwargs=options)
    texts = [answer["text"].strip() for answer in answers]
    seconds = time.perf_counter() - started

    scored = score_utterances(list(rows["id"]), list(rows["text"]), texts, "basic")
    audio_seconds = sum(rows["duration"])
    write_json(
        Path(args.output_dir) / "result.json",
        {
            "audio_seconds": audio_seconds,
            "seconds": seconds,
            "audio_seconds_per_second": audio_seconds / seconds,
            "normalized_wer": error_rates(scored).normalized_wer,
        },
    )


if __name__ == "__main__":
    with user_errors_end_the_script():
        main()
