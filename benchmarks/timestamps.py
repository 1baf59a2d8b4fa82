"""Whether models know when something was said: untuned, and tuned with timestamps or without.

Prompts of the test split are put one after the other, with pauses, into windows of up to 28 s; where each
begins and ends is known. Each model decodes the windows by transformers' `generate(return_timestamps=True)`,
which forces a timestamp to come first; the error of a boundary is the distance to the nearest predicted one
of its kind. A second measure forces nothing: how likely the model itself finds a timestamp there.

    python benchmarks/sweep.py --ways full stitched timestamps --seeds 1      # models to measure
    python benchmarks/timestamps.py --models openai/whisper-base runs/bench/sweep/timestamps-it-1/final
"""

import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.recordings import Recording, join_clips, read_dataset_clips
from utils.arguments.fields import ScriptArguments
from utils.arguments.parsing import parse_arguments
from utils.audio.log_mel import log_mel, pad_waveforms
from utils.model.encoder import encode
from utils.model.loading import load_model
from utils.model.whisper import whisper_of
from utils.runtime.errors import user_errors_end_the_script
from utils.runtime.files import write_json
from utils.runtime.flags import argument
from utils.runtime.progress import silence_libraries
from utils.text.label_tokens import prompt_tokens, special_token_id

PAUSES = (0.3, 1.0)  # seconds between two prompts
LONGEST = 28.0  # seconds of a window
CLOSE = 0.2  # seconds within which a boundary counts as found
Span = tuple[float, float]  # beginning and end in seconds


@dataclass(frozen=True, kw_only=True)
class TimestampsArguments(ScriptArguments):
    models: list[str] = argument("Models to measure.")
    output_dir: str = argument("Folder for the result.", default="runs/bench/timestamps")
    dataset: str = argument("Folder written by preprocess.py.", default="runs/bench/sweep/data/it")
    language: str = argument("Language of the clips.", default="it")
    max_windows: int = argument("Windows of joined test clips that are decoded.", default=24)


@dataclass(frozen=True)
class Timing:
    """How well one model tells times."""

    model: str
    segments: int  # that the model wrote
    errors: list[float]  # seconds; of beginnings and ends, but for those of windows without any times
    share_close: float  # of all beginnings and ends
    unforced: float  # probability of a timestamp as the first token of a window, mean over windows


def main(argv: list[str] | None = None) -> None:
    args = parse_arguments(TimestampsArguments, argv, __doc__)
    silence_libraries()
    clips = read_dataset_clips(args.dataset, "test", args.language)
    windows = list(islice(join_clips(clips, LONGEST, PAUSES, args.seed), args.max_windows))
    timings = [measure(model, args.language, windows) for model in args.models]
    write_json(Path(args.output_dir) / "timestamps.json", {"timings": [asdict(item) for item in timings]})
    title = f"{len(windows)} windows, {sum(len(window.clips) for window in windows)} prompts"
    columns = ("model", "segments", "median error", f"within {CLOSE} s", "a time first, unforced")
    table = Table(*columns, title=title)
    for timing in timings:
        error = f"{statistics.median(timing.errors):.2f} s" if timing.errors else "no times"
        shares = (f"{timing.share_close:.0%}", f"{timing.unforced:.1%}")
        table.add_row(timing.model, str(timing.segments), error, *shares)
    Console(width=130).print(table)


def measure(name: str, language: str, windows: Sequence[Recording]) -> Timing:
    """Decode all windows, with timestamps forced and freely."""
    loaded = load_model(name)
    model, tokenizer = whisper_of(loaded.model).eval(), loaded.processor.tokenizer
    first = special_token_id(tokenizer, "<|notimestamps|>") + 1
    prompt = torch.tensor([prompt_tokens(tokenizer, language, with_timestamps=True)])
    errors, num_segments, unforced = [], 0, []
    for window in windows:
        features = log_mel(pad_waveforms([window.samples], 30.0), loaded.processor.feature_extractor)
        with torch.inference_mode():
            tokens = model.generate(
                features, return_timestamps=True, language=language, task="transcribe", num_beams=1
            )[0].tolist()
            decoded = model.model.decoder(input_ids=prompt, encoder_hidden_states=encode(model, features))
            probabilities = model.proj_out(decoded.last_hidden_state[0, -1]).float().softmax(0)
        unforced.append(probabilities[first:].sum().item())
        segments = read_segments(tokens, first)
        num_segments += len(segments)
        errors += boundary_errors([(clip.start, clip.end) for clip in window.clips], segments)
    close = sum(error <= CLOSE for error in errors) / sum(2 * len(window.clips) for window in windows)
    return Timing(name, num_segments, errors, close, statistics.fmean(unforced))


def read_segments(tokens: Sequence[int], first_timestamp: int) -> list[Span]:
    """Beginning and end of every stretch of text between two timestamps."""
    segments, start, has_text = [], None, False
    for token in tokens:
        if token < first_timestamp:
            has_text = True
            continue
        seconds = 0.02 * (token - first_timestamp)
        if start is not None and has_text:
            segments.append((start, seconds))
            start = None
        else:
            start = seconds
        has_text = False
    return segments


def boundary_errors(spans: Sequence[Span], segments: Sequence[Span]) -> list[float]:
    """Seconds from every true beginning to the nearest predicted one, and so for ends; none without any."""
    if not segments:
        return []
    return [min(abs(span[side] - segment[side]) for segment in segments) for span in spans for side in (0, 1)]


if __name__ == "__main__":
    with user_errors_end_the_script():
        main()
