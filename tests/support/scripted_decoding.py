"""In place of decoding: hypotheses written beforehand, so that a test says what each evaluation finds."""

from dataclasses import dataclass
from pathlib import Path

from utils.model.transcription import Hypothesis

# Eight words, 24 characters; without the comma and in lower case, as Whisper's normaliser has them, 23.
TEXT = "Aa, bb cc dd ee ff gg hh"


@dataclass(frozen=True)
class Asked:
    """What decoding was asked for."""

    languages: list[str | None]
    task: str


def script_decoding(monkeypatch, *hypotheses: str) -> list[Asked]:
    """Let each decoding of a split take the next hypothesis for all its clips; returns what was asked for."""
    asked: list[Asked] = []
    left = iter(hypotheses)

    def transcribe(decoder, numbers, durations, languages, **_) -> dict[int, Hypothesis]:
        asked.append(Asked(list(languages), decoder.task))
        return dict.fromkeys(range(len(durations)), Hypothesis(next(left)))

    monkeypatch.setattr("utils.training.shared_decoding.transcribe_clips", transcribe)
    return asked


def short_run(model: Path, data: Path, output_dir: Path, *more: str) -> list[str]:
    """Arguments of a run of four steps of one clip, each evaluated; later ones override them.

    `more` are words, or several of them in one string.
    """
    base = f"--model_name_or_path {model} --dataset {data} --language it --report_to none"
    base += " --max_steps 4 --eval_steps 1 --save_steps 0 --logging_steps 1 --learning_rate 1e-3"
    base += f" --per_device_train_batch_size 1 --output_dir {output_dir}"
    return f"{base} {' '.join(more)}".split()


def wrong(words: int) -> str:
    """TEXT with so many of its words wrong."""
    return " ".join(["x"] * words + TEXT.split()[words:])


def write_short_clips(folder: Path, sizes: dict[str, int], text: str = TEXT, language: str = "it") -> Path:
    """A prepared dataset of tones of half a second that all say the same; a language of "" is none."""
    from datasets import Dataset, DatasetDict, Features, Value

    from tests.support.tones import flac_tone

    kinds = {name: Value("string") for name in ("id", "text", "language")}
    features = Features(kinds | {"audio": Value("binary"), "duration": Value("float64")})
    splits = {
        split: Dataset.from_dict(
            {
                "id": [f"{split}-{number}" for number in range(size)],
                "audio": [flac_tone(0.5, 200 + 20 * number) for number in range(size)],
                "text": [text] * size,
                "duration": [0.5] * size,
                "language": [language or None] * size,
            },
            features=features,
        )
        for split, size in sizes.items()
    }
    DatasetDict(splits).save_to_disk(folder)
    return folder
