"""The usual way to fine-tune Whisper, measured: Hugging Face's `Seq2SeqTrainer` on features of 30 s.

The recipe of https://huggingface.co/blog/fine-tune-whisper: features of every clip padded to 30 s and
computed ahead, a collator that pads the labels, AdamW. train_speed.py runs this beside train.py:

    python benchmarks/peer_seq2seq_trainer.py --model_name_or_path openai/whisper-base --dataset data/demo \\
        --split train --language it --max_samples 48 --output_dir runs/bench/peer
"""

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

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

from benchmarks.arguments import PeerArguments
from utils.arguments.parsing import parse_arguments
from utils.audio.flac import SAMPLE_RATE, decode_flac
from utils.data.prepared_dataset import draw_rows, load_prepared
from utils.model.resolving import resolve_model
from utils.runtime.devices import peak_memory_bytes, pick_device
from utils.runtime.errors import user_errors_end_the_script
from utils.runtime.files import write_json
from utils.runtime.progress import silence_libraries


def main(argv: list[str] | None = None) -> None:
    args = parse_arguments(PeerArguments, argv, __doc__)
    silence_libraries()
    folder = resolve_model(args.model_name_or_path)
    processor = WhisperProcessor.from_pretrained(folder, language=args.language, task="transcribe")
    model = WhisperForConditionalGeneration.from_pretrained(folder)

    rows = load_prepared([args.dataset], args.split, language=args.language)
    rows = draw_rows(rows, args.max_samples, args.seed).shuffle(seed=args.seed)
    warm_up = rows.select(range(args.batch_size))
    collator = Collator(processor, model.config.decoder_start_token_id)
    clock = StepClock()
    trainer = OrderedTrainer(
        model=model,
        args=training_arguments(args, num_steps=1 + -(-len(rows) // args.batch_size)),
        train_dataset=with_features([*warm_up, *rows], processor, Path(args.output_dir)),
        data_collator=collator,
        callbacks=[clock],
    )
    trainer.train()

    seconds = clock.ends[-1] - clock.ends[0]  # the warm-up step is not timed
    write_json(
        Path(args.output_dir) / "result.json",
        {
            "clips_per_second": len(rows) / seconds,
            "peak_memory_bytes": peak_memory_bytes(),
        },
    )


def training_arguments(args: PeerArguments, num_steps: int) -> Seq2SeqTrainingArguments:
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
        seed=args.seed,
    )


def with_features(rows: list[dict], processor: WhisperProcessor, folder: Path):
    """The rows as a dataset on disk with 30 s of log-mel features and label tokens, computed ahead as usual.

    Read as numpy arrays, which is faster than the recipe's lists.
    """
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


class OrderedTrainer(Seq2SeqTrainer):
    """Takes the rows in their order: shuffled already, with the warm-up batch in front."""

    def _get_train_sampler(self, train_dataset=None):
        return torch.utils.data.SequentialSampler(self.train_dataset)


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
    with user_errors_end_the_script():
        main()
