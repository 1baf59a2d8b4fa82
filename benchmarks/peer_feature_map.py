"""The usual way to prepare Whisper's training data, measured: `Dataset.map` with features of 30 s.

The recipe of https://huggingface.co/blog/fine-tune-whisper: every clip is decoded and resampled, its log-mel
spectrogram is padded to 30 s, its text becomes label tokens, and all is written to Arrow files. Decoded by
soundfile and resampled by soxr, as preprocess.py does it. preprocess_speed.py runs this beside preprocess.py.
"""

import json
import random
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import soundfile
import soxr
from datasets import Dataset
from transformers import WhisperProcessor

from utils.arguments.fields import ScriptArguments
from utils.arguments.parsing import parse_arguments
from utils.model.resolving import resolve_model
from utils.runtime.flags import argument


@dataclass(frozen=True, kw_only=True)
class FeatureMapArguments(ScriptArguments):
    manifest: str = argument("JSON lines with audio and text.")
    num_proc: int = argument("Processes of `Dataset.map`.", default=2)


def main(argv: list[str] | None = None) -> None:
    args = parse_arguments(FeatureMapArguments, argv, __doc__)
    path = Path(args.manifest)
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    random.Random(args.seed).shuffle(rows)
    table = [{"path": str(path.parent / row["audio"]), "sentence": row["text"]} for row in rows]
    dataset = Dataset.from_list(table).map(
        prepare, remove_columns=["path", "sentence"], num_proc=args.num_proc, load_from_cache_file=False
    )
    dataset.save_to_disk(args.output_dir)


def prepare(row: dict) -> dict:
    """One clip to `input_features` (80, 3000) and `labels`."""
    samples, rate = soundfile.read(row["path"], dtype="float32")
    samples = soxr.resample(samples, rate, 16_000)
    processor = load_processor()
    features = processor.feature_extractor(samples, sampling_rate=16_000).input_features[0]
    return {"input_features": features, "labels": processor.tokenizer(row["sentence"]).input_ids}


@cache
def load_processor() -> WhisperProcessor:
    """Whisper base's, once in each process."""
    return WhisperProcessor.from_pretrained(resolve_model("openai/whisper-base"))


if __name__ == "__main__":
    main()
