"""What speed is measured on besides given models and clips: joined clips, models of random weights."""

from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from datasets import Dataset, DatasetDict, Value

from benchmarks.arguments import DecodeSpeedArguments
from utils.audio.flac import SAMPLE_RATE, decode_flac, encode_flac
from utils.data.prepared_dataset import load_prepared
from utils.model.context import FULL_CONTEXT, TAIL
from utils.model.loading import load_model
from utils.model.whisper import whisper_of
from utils.runtime.devices import pick_device
from utils.runtime.errors import UserError
from utils.runtime.files import folder_written_whole

PAUSE = 0.2  # seconds of silence between joined clips
MOST_WORDS = 110  # of a joined clip, whose labels must fit into Whisper's decoder
# layers of encoder and decoder, width, heads, mel bands, vocabulary: openai/whisper's model card
SHAPES = {
    "tiny": (4, 384, 6, 80, 51865),
    "small": (12, 768, 12, 80, 51865),
    "large-v3": (32, 1280, 20, 128, 51866),
}

Decoding = TypeVar("Decoding", bound=DecodeSpeedArguments)


def with_joined_clips(args: Decoding) -> Decoding:
    """The arguments of a decoding benchmark, with the joined clips they ask for written beside the result."""
    if args.clip_seconds is None:
        return args
    joined = Path(args.output_dir) / f"clips-{args.clip_seconds:g}s-{args.max_samples}"
    if not joined.exists():
        join_clips(args.dataset, args.language, args.clip_seconds, args.max_samples, joined)
    return replace(args, dataset=str(joined), split="train")


def describe_clips(args: DecodeSpeedArguments) -> str:
    """Such as "24 clips of nearly 30 s"."""
    length = "" if args.clip_seconds is None else f" of nearly {args.clip_seconds:g} s"
    return f"{args.max_samples} clips{length}"


def join_clips(dataset: str, language: str, seconds: float, num_clips: int, folder: Path) -> str:
    """Write a prepared dataset of clips joined up to a length, drawn in a new order each time round.

    Args:
        dataset: Prepared dataset whose training split is joined.
        language: Of rows without their own.
        seconds: The joined clips are at most so long, and as long as whole clips allow.
        num_clips: So many.
        folder: Where to.

    Returns:
        `folder`.
    """
    rows = load_prepared([dataset], "train", language=language)
    clips = [(decode_flac(row["audio"]), row["text"], row["language"]) for row in rows]
    fitting = [clip for clip in clips if len(clip[0]) < seconds * SAMPLE_RATE]
    if not fitting:
        raise UserError(f"{dataset}: no clip is shorter than {seconds:g} s. Expected some to join.")
    joined = []
    random = np.random.default_rng(0)
    most = min(seconds, FULL_CONTEXT - TAIL)
    parts, texts, length = [], [], 0.0
    while len(joined) < num_clips:
        for number in random.permutation(len(fitting)):
            samples, text, clip_language = fitting[number]
            more = len(samples) / SAMPLE_RATE
            words = len(" ".join([*texts, text]).split())
            if parts and (length + PAUSE + more > most or words > MOST_WORDS):
                joined.append(_row(len(joined), parts, texts, clip_language))
                parts, texts, length = [], [], 0.0
            length += more + (PAUSE if parts else 0.0)
            parts += [np.zeros(round(PAUSE * SAMPLE_RATE), dtype=np.float32)] if parts else []
            parts.append(samples)
            texts.append(text)
    train = Dataset.from_list(joined[:num_clips]).cast_column("audio", Value("binary"))
    with folder_written_whole(folder) as temporary:
        DatasetDict({"train": train}).save_to_disk(str(temporary))
    return str(folder)


def _row(number: int, parts: list[np.ndarray], texts: list[str], language: str) -> dict[str, object]:
    samples = np.concatenate(parts)
    return {
        "id": f"joined-{number}",
        "audio": encode_flac(samples),
        "text": " ".join(texts),
        "duration": len(samples) / SAMPLE_RATE,
        "language": language,
    }


def build_random_model(shape: str, processor_of: str, folder: Path) -> str:
    """Write a Whisper of random weights in the shape of a published one, to measure speed alone.

    Args:
        shape: A name of SHAPES.
        processor_of: Model whose tokenizer and special tokens it gets.
        folder: Where to.

    Returns:
        `folder`.
    """
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

    base = load_model(processor_of)
    layers, width, heads, mels, vocabulary = SHAPES[shape]
    names = ("decoder_start_token_id", "eos_token_id", "pad_token_id", "bos_token_id")
    config = WhisperConfig(
        vocab_size=vocabulary,
        num_mel_bins=mels,
        d_model=width,
        encoder_layers=layers,
        decoder_layers=layers,
        encoder_attention_heads=heads,
        decoder_attention_heads=heads,
        encoder_ffn_dim=4 * width,
        decoder_ffn_dim=4 * width,
        **{name: getattr(whisper_of(base.model).config, name) for name in names},
    )
    model = WhisperForConditionalGeneration(config)
    model.generation_config = whisper_of(base.model).generation_config
    processor = base.processor
    processor.feature_extractor = WhisperFeatureExtractor(feature_size=mels)
    with folder_written_whole(folder) as temporary:
        model.save_pretrained(temporary)
        model.generation_config.save_pretrained(temporary)
        processor.save_pretrained(temporary)
        processor.feature_extractor.save_pretrained(temporary)
    return str(folder)


def count_operations(model_name_or_path: str, dataset: str, language: str) -> tuple[float, float]:
    """Operations of training, by which the share of a processor's arithmetic limit is told.

    6 for each weight and position, 2 forward and 4 backward; attention scores and padding of texts are left
    out.

    Returns:
        For a second of encoder context; and for all texts of the training split, decoder and projection.
    """
    loaded = load_model(model_name_or_path)
    whisper = whisper_of(loaded.model)
    encoder, decoder = (
        sum(p.numel() for name, p in part.named_parameters() if "embed" not in name)
        for part in (whisper.model.encoder, whisper.model.decoder)
    )
    texts = list(load_prepared([dataset], "train", language=language)["text"])
    num_tokens = sum(len(ids) for ids in loaded.processor.tokenizer(texts).input_ids)
    return 6.0 * 50 * encoder, 6.0 * (decoder + whisper.proj_out.weight.numel()) * num_tokens


def measure_operations_per_second(dtype: str) -> float:
    """What the device does in the fastest of several large matrix products."""
    import time

    import torch

    device = pick_device()
    size = 2048 if device.type == "cpu" else 8192
    one, other = (torch.randn(size, size, device=device).to(getattr(torch, dtype)) for _ in range(2))
    fastest = float("inf")
    for _ in range(20):
        started = time.perf_counter()
        (one @ other).flatten()[0].item()  # waits for the device
        fastest = min(fastest, time.perf_counter() - started)
    return 2 * size**3 / fastest
