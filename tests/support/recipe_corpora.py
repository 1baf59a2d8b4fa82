"""Small corpora in the exact layout of those that the recipes read: tones, and words of the language."""

import io
import json
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import soundfile

RELEASE = "cv-corpus-11.0-2022-09-21"
CV_COLUMNS = (
    *("client_id", "path", "sentence", "up_votes", "down_votes", "age", "gender", "accents", "locale"),
    "segment",
)
AFRISPEECH_COLUMNS = (
    *("speaker_id", "path", "audio_id", "audio", "transcript", "age_group", "gender", "accent", "domain"),
    *("country", "duration"),
)
WORDS = {  # numbers and greetings, from which sentences are made
    "hi": "एक दो तीन चार पाँच छह सात आठ नौ दस नमस्ते धन्यवाद",
    "fa": "یک دو سه چهار پنج شش هفت هشت نه ده سلام ممنون",
    "gl": "un dous tres catro cinco seis sete oito nove dez ola grazas",
    "bn": "এক দুই তিন চার পাঁচ ছয় সাত আট নয় দশ নমস্কার ধন্যবাদ",
    "en": "one two three four five six seven eight nine ten hello thanks",
    "it": "uno due tre quattro cinque sei sette otto nove dieci ciao grazie",
}


def sentences(language: str) -> Iterator[str]:
    """Sentences of four words, each another."""
    words, random, seen = WORDS[language].split(), np.random.default_rng(0), set()
    while True:
        sentence = " ".join(random.choice(words, 4))
        if sentence not in seen:
            seen.add(sentence)
            yield sentence


def encoded_tone(number: int, suffix: str, rate: int, seconds: float = 1.5) -> bytes:
    time = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(number).normal(scale=0.02, size=time.size)
    samples = 0.3 * np.sin(2 * np.pi * (200 + 7 * number) * time) + noise
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=suffix.upper())
    return buffer.getvalue()


def as_table(columns: Sequence[str], rows: list[dict], separator: str) -> str:
    lines = [separator.join(columns)]
    lines += [separator.join(str(row.get(column, "")) for column in columns) for row in rows]
    return "\n".join(lines) + "\n"


def pack(folder: Path, archive: Path) -> Path:
    """Pack what is in a folder as .tar.gz, without compressing: it is audio."""
    with tarfile.open(archive, "w:gz", compresslevel=0) as file:
        file.add(folder, ".")
    return archive


def write_common_voice(folder: Path, locale: str, sizes: tuple[int, int, int]) -> Path:
    """The archive of a release as it is downloaded. Clips are MP3 at 48 kHz. No speaker is in two splits."""
    top, texts, number = folder / "release" / RELEASE / locale, sentences(locale), 0
    (top / "clips").mkdir(parents=True)
    for split, size in zip(("train", "dev", "test"), sizes, strict=True):
        rows = []
        for _ in range(size):
            number += 1
            clip = f"common_voice_{locale}_{number}.mp3"
            (top / "clips" / clip).write_bytes(encoded_tone(number, "mp3", 48_000))
            row = {"client_id": f"{split}{number % 3}", "path": clip, "sentence": next(texts)}
            rows.append(row | {"up_votes": 2, "down_votes": 0, "locale": locale})
        (top / f"{split}.tsv").write_text(as_table(CV_COLUMNS, rows, "\t"), encoding="utf-8")
    for name in ("validated", "invalidated", "other", "reported"):
        (top / f"{name}.tsv").write_text("\t".join(CV_COLUMNS) + "\n")
    return pack(folder / "release", folder / f"{RELEASE}-{locale}.tar.gz")


def write_afrispeech(folder: Path, accent: str = "isizulu") -> Path:
    """One accent as `hf download` leaves it: tables, and the audio of each split in a compressed shard."""
    top, texts, number = folder / "afrispeech-200", sentences("en"), 0
    (top / "transcripts" / accent).mkdir(parents=True)
    for split, size in (("train", 12), ("dev", 4), ("test", 4)):
        rows, inside = [], folder / "shards" / split
        for _ in range(size):
            number += 1
            path = f"{split}/speaker-{split}{number % 3}/clip{number}.wav"
            (inside / path).parent.mkdir(parents=True, exist_ok=True)
            (inside / path).write_bytes(encoded_tone(number, "wav", 44_100))
            row = {"speaker_id": f"{split}{number % 3}", "path": f"/AfriSpeech-100/{path}", "accent": accent}
            rows.append(row | {"audio_id": f"a{number}", "transcript": next(texts), "duration": 1.5})
        table = as_table(AFRISPEECH_COLUMNS, rows, ",")
        (top / "transcripts" / accent / f"{split}.csv").write_text(table)
        (top / "audio" / accent / split).mkdir(parents=True)
        pack(inside, top / "audio" / accent / split / f"{split}_{accent}_0.tar.gz")
    return top


def write_children(folder: Path) -> Path:
    """Recordings of several utterances, each with a file of times and texts beside it, some lines faulty."""
    top, texts = folder / "recordings", sentences("it")
    for number, name in enumerate(("train/anna", "train/bruno", "train/carla", "test/dino")):
        recording = top / name
        recording.parent.mkdir(parents=True, exist_ok=True)
        recording.with_suffix(".wav").write_bytes(encoded_tone(number, "wav", 16_000, seconds=20))
        lines = [f"{2 * place}.0\t{2 * place + 1.5}\t{next(texts)}" for place in range(9)]
        lines[1] += "\tancora"  # a tab in the text
        lines += ["18.0\t18.3\tciao", "19.0\t18.5\tciao", "18.5\t19.5\t", "no times"]
        recording.with_suffix(".txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return top


def fleurs_files(config: str, language: str) -> dict[str, bytes]:
    """The files of one language of FLEURS by their paths on the Hub."""
    texts, files, number = sentences(language), {}, 0
    for split, size in (("train", 12), ("dev", 4), ("test", 4)):
        buffer, rows = io.BytesIO(), []
        with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=0) as shard:
            for _ in range(size):
                number += 1
                audio, text = encoded_tone(number, "wav", 16_000), next(texts)
                member = tarfile.TarInfo(f"{split}/{number}.wav")
                member.size = len(audio)
                shard.addfile(member, io.BytesIO(audio))
                spelt = " ".join(text.replace(" ", "|"))
                rows.append(f"{number}\t{number}.wav\t{text}\t{text}\t{spelt}\t24000\tMALE\n")
        files[f"data/{config}/audio/{split}.tar.gz"] = buffer.getvalue()
        files[f"data/{config}/{split}.tsv"] = "".join(rows).encode()
    return files


def read_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
