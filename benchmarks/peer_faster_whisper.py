"""The usual fast way to transcribe, measured: faster-whisper's batched pipeline.

ctranslate2_speed.py runs this beside evaluate.py. All clips stand in one recording and are named by their
times, as the pipeline's own voice detector would name them; nothing is detected, no timestamps are decoded.

    python benchmarks/peer_faster_whisper.py --model_name_or_path runs/demo/best --dataset data/demo \\
        --split test --language it --max_samples 48 --output_dir runs/bench/peer
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
from faster_whisper import BatchedInferencePipeline

from benchmarks.arguments import FasterWhisperArguments
from utils.arguments.parsing import parse_arguments
from utils.audio.flac import SAMPLE_RATE, decode_flac
from utils.data.prepared_dataset import draw_rows, load_prepared
from utils.evaluation.backends.faster_whisper import FasterWhisperTranscriber
from utils.evaluation.backends.opening import open_transcriber
from utils.runtime.devices import pick_device
from utils.runtime.errors import user_errors_end_the_script
from utils.runtime.files import write_json
from utils.scoring.error_rates import error_rates, score_utterances


def main(argv: list[str] | None = None) -> None:
    args = parse_arguments(FasterWhisperArguments, argv, __doc__)
    rows = load_prepared([args.dataset], args.split, language=args.language)
    rows = draw_rows(rows, args.max_samples, args.seed)
    options = {"dtype": args.dtype, "device": pick_device(), "max_length": 225}
    with open_transcriber(args.model_name_or_path, backend="faster-whisper", **options) as transcriber:
        assert isinstance(transcriber, FasterWhisperTranscriber)
        pipeline = BatchedInferencePipeline(transcriber.engine)
        started = time.perf_counter()
        texts = transcribe(pipeline, args, [decode_flac(data) for data in rows["audio"]])
        seconds = time.perf_counter() - started
    scored = score_utterances(list(rows["id"]), list(rows["text"]), texts, "basic")
    audio_seconds = sum(rows["duration"])
    result = {"audio_seconds": audio_seconds, "seconds": seconds, "threads": torch.get_num_threads()}
    result |= {
        "audio_seconds_per_second": audio_seconds / seconds,
        "normalized_wer": error_rates(scored).normalized_wer,
    }
    write_json(Path(args.output_dir) / "result.json", result)


def transcribe(
    pipeline: BatchedInferencePipeline, args: FasterWhisperArguments, clips: list[np.ndarray]
) -> list[str]:
    """The text of each clip, (samples,) float32 at 16 kHz."""
    ends = np.cumsum([len(clip) for clip in clips]) / SAMPLE_RATE
    starts = [0.0, *ends[:-1]]
    segments, _ = pipeline.transcribe(
        np.concatenate(clips),
        language=args.language,
        clip_timestamps=[{"start": start, "end": end} for start, end in zip(starts, ends, strict=True)],
        batch_size=args.batch_size,
        beam_size=args.num_beams,
        without_timestamps=True,
        temperature=0.0,
    )
    texts = [""] * len(clips)
    for segment in segments:
        middle = (segment.start + segment.end) / 2
        texts[min(int(np.searchsorted(ends, middle)), len(clips) - 1)] += segment.text
    return [text.strip() for text in texts]


if __name__ == "__main__":
    with user_errors_end_the_script():
        main()
