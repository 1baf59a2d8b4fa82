"""The usual way to prepare Whisper's training data, measured: `Dataset.map` with features of 30 s.

The recipe of https://huggingface.co/blog/fine-tune-whisper: every clip is decoded and resampled, its log-mel
spectrogram is padded to 30 s, its text becomes label tokens, and all is written to Arrow files. Decoded by
soundfile and resampled by soxr, as preprocess.py does it. preprocess_speed.py runs this beside preprocess.py.
"""

import json
import random
import sys
from functools import lru_cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.arguments import FeatureMapArguments
from utils.arguments.parsing import parse_arguments
from utils.runtime.errors import user_errors_end_the_script


def main(argv: list[str] | None = None) -> None:
    args = parse_arguments(FeatureMapArguments, argv, __doc__)
    from datasets import Dataset

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
    import soundfile
    import soxr

    samples, rate = soundfile.read(row["path"], dtype="float32")
    samples = soxr.resample(samples, rate, 16_000)
    processor = load_processor()
    features = processor.feature_extractor(samples, sampling_rate=16_000).input_features[0]
    return {"input_features": features, "labels": processor.tokenizer(row["sentence"]).input_ids}


@lru_cache(maxsize=1)
def load_processor():
    """Whisper base's processor, once in each process."""
    from transformers import WhisperProcessor

    from utils.model.resolving import resolve_model

    return WhisperProcessor.from_pretrained(resolve_model("openai/whisper-base"))


if __name__ == "__main__":
    with user_errors_end_the_script():
        main()
