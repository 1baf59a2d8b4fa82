"""The usual way to fine-tune Whisper, measured: Hugging Face's `Seq2SeqTrainer` on features of 30 s.

The recipe of https://huggingface.co/blog/fine-tune-whisper: features of every clip padded to 30 s and
computed ahead, a collator that pads the labels, AdamW. train_speed.py runs this beside train.py.
"""

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    TrainerCallback,
    WhisperForConditionalGeneration,
    WhisperProcessor,
)

from utils.arguments.fields import ScriptArguments
from utils.arguments.parsing import parse_arguments
from utils.audio.flac import SAMPLE_RATE, decode_flac
from utils.data.prepared_dataset import draw_rows, load_prepared
from utils.model.resolving import resolve_model
from utils.runtime.devices import peak_memory_bytes, pick_device
from utils.runtime.files import write_json
from utils.runtime.flags import argument
from utils.runtime.progress import silence_libraries


@dataclass(frozen=True, kw_only=True)
class PeerTrainerArguments(ScriptArguments):
    model_name_or_path: str = argument("Model to train.")
    dataset: str = argument("Folder written by preprocess.py.")
    language: str = argument("Language of rows that do not carry their own.")
    dtype: Literal["float32", "bfloat16"] = argument("Precision.", default="float32")
    batch_size: int = argument("Clips in a batch.", default=8)
    max_samples: int | None = argument("Training clips, drawn by the seed; all when not given.", default=None)


def main(argv: list[str] | None = None) -> None:
    args = parse_arguments(PeerTrainerArguments, argv, __doc__)
    silence_libraries()
    folder = resolve_model(args.model_name_or_path)
    processor = WhisperProcessor.from_pretrained(folder, language=args.language, task="transcribe")
    model = WhisperForConditionalGeneration.from_pretrained(folder)

    split = load_prepared([args.dataset], "train", language=args.language)
    rows = draw_rows(split, args.max_samples, args.seed).shuffle(seed=args.seed)
    warm_up = rows.select(range(args.batch_size))
    collator = Collator(processor, model.config.decoder_start_token_id)
    clock = StepClock()
    trainer = Seq2SeqTrainer(
        model=model,
        args=training_arguments(args, num_steps=1 + -(-len(rows) // args.batch_size)),
        train_dataset=with_features([*warm_up, *rows], processor, Path(args.output_dir)),
        data_collator=collator,
        callbacks=[clock],
    )
    trainer.train()

    seconds = clock.ends[-1] - clock.ends[0]  # the warm-up step is not timed
    rate = len(rows) / seconds * sum(split["duration"]) / len(split)
    result = {"audio_seconds_per_second": rate, "peak_memory_bytes": peak_memory_bytes()}
    write_json(Path(args.output_dir) / "result.json", result)


def training_arguments(args: PeerTrainerArguments, num_steps: int) -> Seq2SeqTrainingArguments:
    """The recipe's arguments, as far as they bear on speed; nothing is evaluated or saved meanwhile."""
    return Seq2SeqTrainingArguments(
        output_dir=args.output_dir,
        per_device_train_batch_size=args.batch_size,
        gradient_accumulation_steps=1,
        learning_rate=2e-5,
        max_steps=num_steps,
        use_cpu=pick_device().type == "cpu",
        bf16=args.dtype == "bfloat16",
        eval_strategy="no",
        save_strategy="no",
        logging_steps=25,
        report_to="none",
        remove_unused_columns=False,
        disable_tqdm=True,
        train_sampling_strategy="sequential",  # shuffled already, with the warm-up batch in front
        seed=args.seed,
    )


def with_features(rows: list[dict], processor: WhisperProcessor, folder: Path):
    """The rows with 30 s of log-mel features and label tokens, on disk; read as arrays, faster than lists."""
    from datasets import Array2D, Dataset, Features, List, Value

    extractor = processor.feature_extractor

    def compute():
        for row in rows:
            features = extractor(decode_flac(row["audio"]), sampling_rate=SAMPLE_RATE)
            labels = processor.tokenizer(row["text"]).input_ids
            yield {"input_features": features.input_features[0], "labels": labels}

    shape = (extractor.feature_size, extractor.nb_max_frames)
    types = Features({"input_features": Array2D(shape, "float32"), "labels": List(Value("int64"))})
    dataset = Dataset.from_generator(compute, features=types, cache_dir=str(folder / "features"))
    return dataset.with_format("numpy")


@dataclass
class Collator:
    """Pads features and labels apart, masks label padding, takes off the start token that the model adds."""

    processor: WhisperProcessor
    start_token_id: int

    def __call__(self, rows: list[dict]) -> dict:
        features = [{"input_features": row["input_features"]} for row in rows]
        batch = self.processor.feature_extractor.pad(features, return_tensors="pt")
        labels = pad_sequence(
            [torch.as_tensor(row["labels"]) for row in rows], batch_first=True, padding_value=-100
        )
        if (labels[:, 0] == self.start_token_id).all():
            labels = labels[:, 1:]
        batch["labels"] = labels
        return batch


@dataclass
class StepClock(TrainerCallback):
    """Notes when each optimiser step has ended."""

    ends: list[float] = field(default_factory=list)

    def on_step_end(self, args, state, control, **kwargs) -> None:
        self.ends.append(time.perf_counter())


if __name__ == "__main__":
    main()
