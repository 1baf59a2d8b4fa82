"""The usual ways to transcribe clips, measured: `transformers.pipeline`, and faster-whisper in batches.

decode_speed.py runs this beside evaluate.py. For faster-whisper all clips stand in one recording and are
named by their times, as its own voice detector would name them; it detects nothing and decodes no timestamps.
"""

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch

from utils.arguments.fields import ScriptArguments
from utils.arguments.parsing import parse_arguments
from utils.audio.flac import SAMPLE_RATE, decode_flac
from utils.data.prepared_dataset import draw_rows, load_prepared
from utils.evaluation.backends.opening import open_transcriber
from utils.evaluation.backends.transcriber import BackendOptions
from utils.model.resolving import resolve_model
from utils.runtime.devices import pick_device
from utils.runtime.files import write_json
from utils.runtime.flags import argument
from utils.runtime.progress import silence_libraries
from utils.scoring.error_rates import error_rates, score_utterances


@dataclass(frozen=True, kw_only=True)
class PeerDecodeArguments(ScriptArguments):
    peer: Literal["pipeline", "faster-whisper"] = argument("What transcribes.")
    model_name_or_path: str = argument("Model to decode with.")
    dataset: str = argument("Folder written by preprocess.py.")
    split: str = argument("Split that the clips are taken from.")
    language: str = argument("Language of the clips.")
    dtype: str = argument("Precision; int8 for faster-whisper alone.", default="float32")
    num_beams: int = argument("Width of the beam.", default=1)
    batch_size: int = argument("Clips in a batch.", default=8)
    max_samples: int | None = argument("Clips, drawn by the seed; all when not given.", default=None)


def main(argv: list[str] | None = None) -> None:
    args = parse_arguments(PeerDecodeArguments, argv, __doc__)
    silence_libraries()
    rows = load_prepared([args.dataset], args.split, language=args.language)
    rows = draw_rows(rows, args.max_samples, args.seed)
    transcribe = by_pipeline if args.peer == "pipeline" else by_faster_whisper
    texts, seconds = transcribe(args, list(rows["audio"]))
    scored = score_utterances(list(rows["id"]), list(rows["text"]), texts, "basic")
    result = {"audio_seconds_per_second": sum(rows["duration"]) / seconds}
    result["normalized_wer"] = error_rates(scored).normalized_wer
    write_json(Path(args.output_dir) / "result.json", result)


def by_pipeline(args: PeerDecodeArguments, audio: list[bytes]) -> tuple[list[str], float]:
    """The text of each clip, and the seconds that all took."""
    from transformers import pipeline

    transcriber = pipeline(
        "automatic-speech-recognition",
        model=resolve_model(args.model_name_or_path),
        dtype=getattr(torch, args.dtype),
        device=pick_device(),
    )
    clips = ({"raw": decode_flac(data), "sampling_rate": SAMPLE_RATE} for data in audio)
    options = {"language": args.language, "task": "transcribe", "num_beams": args.num_beams}
    started = time.perf_counter()
    answers = transcriber(clips, batch_size=args.batch_size, generate_kwargs=options)
    texts = [answer["text"].strip() for answer in answers]
    return texts, time.perf_counter() - started


def by_faster_whisper(args: PeerDecodeArguments, audio: list[bytes]) -> tuple[list[str], float]:
    """The text of each clip, and the seconds that all took."""
    from faster_whisper import BatchedInferencePipeline

    options = BackendOptions(pick_device(), args.dtype, max_length=225)
    with open_transcriber(args.model_name_or_path, "faster-whisper", options) as transcriber:
        pipeline = BatchedInferencePipeline(transcriber.engine)  # type: ignore[attr-defined]
        started = time.perf_counter()
        clips = [decode_flac(data) for data in audio]
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
        return [text.strip() for text in texts], time.perf_counter() - started


if __name__ == "__main__":
    main()
