"""Whether a tuned model still knows when something was said: tuned with timestamps, without, and untuned.

Prompts of the test split are put one after the other, with pauses, into windows of up to 28 s; where each
begins and ends is known. One model is tuned on the training prompts as they are, as is usual, two on a share
of stitched ones, one of them with a share whose times are learnt. Each model decodes the windows by
transformers' `generate(return_timestamps=True)`, which forces a timestamp to come first; the error of a
boundary is the distance to the nearest predicted one of its kind. A second measure forces nothing: how likely
the model itself finds a timestamp there. A training that was interrupted goes on when the command is given
again.

    python preprocess.py --config recipes/starter.preprocess.yaml
    python benchmarks/timestamps.py
"""

import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.arguments import TimestampsArguments
from benchmarks.side_by_side import train_model
from utils.arguments.parsing import parse_arguments
from utils.runtime.errors import user_errors_end_the_script

SAMPLE_RATE = 16_000
UNTUNED, PLAIN = "untuned", "tuned without timestamps"
WITHOUT, WITH = "tuned without timestamps, stitched", "tuned with timestamps, stitched"
PAUSES = (0.3, 1.0)  # seconds between two prompts
LONGEST = 28.0  # seconds of a window
CLOSE = 0.2  # seconds within which a boundary counts as found


@dataclass(frozen=True)
class Window:
    """Prompts one after the other, and where each lies, in seconds."""

    samples: np.ndarray  # (samples,) float32 at 16 kHz
    spans: list[tuple[float, float]]


@dataclass(frozen=True)
class Timing:
    """How well one model tells times; errors in seconds."""

    model: str
    windows: int
    prompts: int
    segments: int  # that the model wrote
    median_error: float | None  # over all beginnings and ends; None where it wrote no times at all
    share_close: float  # of beginnings and ends
    unforced: float  # probability of a timestamp as the first token of a window, mean over windows


def main(argv: list[str] | None = None) -> None:
    args = parse_arguments(TimestampsArguments, argv, __doc__)
    from utils.runtime.files import write_json, write_text
    from utils.runtime.progress import silence_libraries

    silence_libraries()
    folder = Path(args.output_dir)
    windows = build_windows(read_clips(args), PAUSES, args.seed)[: args.max_windows]
    models = {UNTUNED: args.model_name_or_path}
    models[PLAIN] = train(args, folder / "plain", stitch_probability=0.0)
    models[WITHOUT] = train(args, folder / "without", stitch_probability=args.stitch_probability)
    models[WITH] = train(
        args,
        folder / "with",
        stitch_probability=args.stitch_probability,
        timestamp_probability=args.timestamp_probability,
    )
    timings = [measure(args, name, path, windows) for name, path in models.items()]
    table = markdown_table(timings)
    write_json(
        folder / "timestamps.json",
        {"arguments": asdict(args), "timings": [asdict(timing) for timing in timings]},
    )
    write_text(folder / "timestamps.md", table)
    print(table)


def read_clips(args: TimestampsArguments) -> list[np.ndarray]:
    """(samples,) float32 of every test clip."""
    from utils.audio.flac import decode_flac
    from utils.data.prepared_dataset import load_prepared

    rows = load_prepared([args.dataset], "test", language=args.language)
    return [decode_flac(data) for data in rows["audio"]]


def build_windows(clips: Sequence[np.ndarray], pauses: tuple[float, float], seed: int) -> list[Window]:
    """Every clip in one window, in drawn order; a window ends before the clip that it has no room for."""
    random = np.random.default_rng(seed)
    windows, parts, spans, end = [], [], [], 0.0
    for index in random.permutation(len(clips)).tolist():
        clip = clips[index]
        pause = np.zeros(round(random.uniform(*pauses) * SAMPLE_RATE), dtype=np.float32)
        start = end + len(pause) / SAMPLE_RATE if parts else 0.0
        if parts and start + len(clip) / SAMPLE_RATE > LONGEST:
            windows.append(Window(np.concatenate(parts), spans))
            parts, spans, start = [], [], 0.0
        parts += [pause, clip] if parts else [clip]
        end = start + len(clip) / SAMPLE_RATE
        spans.append((start, end))
    return [*windows, Window(np.concatenate(parts), spans)] if parts else windows


def train(args: TimestampsArguments, folder: Path, **shares: float) -> str:
    """Train with the recipe, or go on where that stopped; `shares` are of examples, see `train.py`."""
    return train_model(
        folder,
        config=args.recipe,
        model_name_or_path=args.model_name_or_path,
        dataset=args.dataset,
        language=args.language,
        per_device_train_batch_size=args.batch_size,
        max_steps=args.max_steps,
        save_steps=25,
        seed=args.seed,
        **shares,
    )


def measure(args: TimestampsArguments, name: str, path: str, windows: Sequence[Window]) -> Timing:
    """Decode all windows, with timestamps forced and freely."""
    import torch

    from utils.audio.log_mel import log_mel, pad_waveforms
    from utils.model.encoder import encode
    from utils.model.loading import load_model
    from utils.model.whisper import whisper_of
    from utils.text.label_tokens import prompt_tokens, special_token_id

    loaded = load_model(path)
    model, tokenizer = whisper_of(loaded.model).eval(), loaded.processor.tokenizer
    first = special_token_id(tokenizer, "<|notimestamps|>") + 1
    prompt = torch.tensor([prompt_tokens(tokenizer, args.language, with_timestamps=True)])
    errors, num_segments, unforced = [], 0, []
    for window in windows:
        features = log_mel(pad_waveforms([window.samples], 30.0), loaded.processor.feature_extractor)
        with torch.inference_mode():
            tokens = model.generate(
                features, return_timestamps=True, language=args.language, task="transcribe", num_beams=1
            )[0].tolist()
            decoded = model.model.decoder(input_ids=prompt, encoder_hidden_states=encode(model, features))
            probabilities = model.proj_out(decoded.last_hidden_state[0, -1]).float().softmax(0)
        unforced.append(probabilities[first:].sum().item())
        segments = read_segments(tokens, first)
        num_segments += len(segments)
        errors += boundary_errors(window.spans, segments)
    return summarize(name, [window.spans for window in windows], num_segments, errors, unforced)


def read_segments(tokens: Sequence[int], first_timestamp: int) -> list[tuple[float, float]]:
    """Beginning and end of every stretch of text between two timestamps, in seconds."""
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


def boundary_errors(
    spans: Sequence[tuple[float, float]], segments: Sequence[tuple[float, float]]
) -> list[float]:
    """Seconds from every true beginning to the nearest predicted one, and so for ends; none without any."""
    if not segments:
        return []
    return [min(abs(span[side] - segment[side]) for segment in segments) for span in spans for side in (0, 1)]


def summarize(
    name: str,
    spans: Sequence[Sequence[object]],
    num_segments: int,
    errors: Sequence[float],
    unforced: Sequence[float],
) -> Timing:
    """The share that is close is of all boundaries, those of windows without times included."""
    num_prompts = sum(map(len, spans))
    return Timing(
        name,
        len(spans),
        num_prompts,
        num_segments,
        statistics.median(errors) if errors else None,
        sum(error <= CLOSE for error in errors) / (2 * num_prompts),
        statistics.fmean(unforced),
    )


def markdown_table(timings: Sequence[Timing]) -> str:
    lines = [
        f"{timings[0].windows} windows, {timings[0].prompts} prompts.",
        "",
        f"| model | segments | median error of boundaries | within {CLOSE} s | a time first, unforced |",
        "|---|---|---|---|---|",
    ]
    for timing in timings:
        error = "no times" if timing.median_error is None else f"{timing.median_error:.2f} s"
        lines.append(
            f"| {timing.model} | {timing.segments} | {error} | {timing.share_close:.0%} "
            f"| {timing.unforced:.1%} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    with user_errors_end_the_script():
        main()
