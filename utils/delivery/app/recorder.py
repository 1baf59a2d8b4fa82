"""Keeps the takes of a list of sentences: FLAC files, a manifest, and where each speaker goes on.

The program can be killed at any time: a take is written under a name of its own, then the manifest is
replaced, then the earlier take is deleted.
"""

import contextlib
import datetime
import hashlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from utils.audio.flac import SAMPLE_RATE, decode_flac, encode_flac
from utils.data.fields import read_language
from utils.delivery.app.sentences import Sentence
from utils.delivery.app.takes import Speaker, Take, read_takes
from utils.runtime.errors import UserError
from utils.runtime.files import write_bytes, write_jsonl
from utils.runtime.locking import LOCK_FILE, sole_holder
from utils.runtime.problems import BadItem
from utils.text.cleaning import clean_text

MANIFEST = "manifest.jsonl"


@dataclass(frozen=True)
class Progress:
    """How far a speaker is in the list."""

    num_recorded: int
    num_sentences: int
    seconds: float  # of sound in the takes of these sentences


@contextlib.contextmanager
def open_recordings(
    folder: Path, sentences: Sequence[Sentence], language: str | None = None, terms: str | None = None
) -> Iterator["Recordings"]:
    """Open the folder of recordings for this process alone, during the block.

    Args:
        folder: Made if it does not exist. Nothing is written elsewhere.
        sentences: From `read_sentences`.
        language: Whisper's code, for the manifest.
        terms: Licence or consent that every speaker must accept; kept in each line of the manifest.

    Raises:
        UserError: Another process uses the folder, its manifest is not one of a recording, or Whisper does
            not know the language.
    """
    try:
        language = read_language(language)
    except BadItem as error:
        raise UserError(f"{error}.") from None
    folder.mkdir(parents=True, exist_ok=True)
    refusal = f"{folder}: another program records into this folder. Stop it, or choose another folder."
    with sole_holder(folder / LOCK_FILE, refusal):
        yield Recordings(folder, sentences, language, clean_text(terms or "") or None)


class Recordings:
    """The takes of all speakers. Several threads may use it at once."""

    def __init__(
        self, folder: Path, sentences: Sequence[Sentence], language: str | None, terms: str | None
    ) -> None:
        self.sentences, self.language, self.terms = tuple(sentences), language, terms
        self._folder = folder
        self._lock = threading.Lock()
        takes = read_takes(folder / MANIFEST)
        # a recording that somebody deleted is recorded again
        found = {take.audio: _duration_of(folder / take.audio) for take in takes}
        self._seconds = {audio: seconds for audio, seconds in found.items() if seconds}
        self._takes = {take.key: take for take in takes if take.audio in self._seconds}

    def known_speaker(self, speaker: Speaker) -> Speaker:
        """Return the speaker with the name as it is in the manifest, if only its capitals differ."""
        names = {name.casefold(): name for name, _ in list(self._takes)}
        name = names.get(speaker.name.casefold(), speaker.name)
        return Speaker(name, speaker.group, speaker.terms)

    def take_of(self, speaker: Speaker, index: int) -> Take | None:
        return self._takes.get((speaker.name, self.sentences[index].text))

    def next_open(self, speaker: Speaker, start: int = 0) -> int | None:
        """Return the first sentence without a take, from `start` on and then from the top. None: there is
        none.
        """
        order = [*range(start, len(self.sentences)), *range(min(start, len(self.sentences)))]
        return next((index for index in order if self.take_of(speaker, index) is None), None)

    def progress(self, speaker: Speaker) -> Progress:
        takes = [take for index in range(len(self.sentences)) if (take := self.take_of(speaker, index))]
        seconds = sum(self._seconds[take.audio] for take in takes)
        return Progress(len(takes), len(self.sentences), seconds)

    def read(self, take: Take) -> np.ndarray:
        """Return the samples (samples,) float32 at 16 kHz of a take.

        Raises:
            OSError: Its file is gone.
            AudioError: Its file is broken.
        """
        return decode_flac((self._folder / take.audio).read_bytes())

    def keep(self, speaker: Speaker, index: int, samples: np.ndarray) -> Take:
        """Write a take and its line of the manifest. It replaces the speaker's earlier take of this sentence.

        Args:
            speaker: From `known_speaker`.
            index: Place of the sentence in the list.
            samples: (samples,) float32 at 16 kHz.

        Raises:
            OSError: The disk is full or read-only. The earlier take is kept.
        """
        flac, sentence = encode_flac(samples), self.sentences[index]
        take = Take(
            audio=f"speaker-{_digest(speaker.name, size=4)}/{_digest(sentence.text, flac, size=8)}.flac",
            text=sentence.text,
            speaker=speaker.name,
            language=self.language,
            group=speaker.group,
            terms=speaker.terms,
            sentence_id=sentence.id,
            recorded=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        )
        with self._lock:
            write_bytes(self._folder / take.audio, flac)
            earlier = self._takes.get(take.key)
            takes = self._takes | {take.key: take}
            write_jsonl(self._folder / MANIFEST, [other.as_line() for other in takes.values()])
            self._seconds[take.audio] = len(samples) / SAMPLE_RATE
            self._takes = takes
            if earlier and earlier.audio != take.audio:
                (self._folder / earlier.audio).unlink(missing_ok=True)
        return take


def _digest(*parts: str | bytes, size: int) -> str:
    """Return a hash of `size` bytes, as hexadecimal digits: no text of a user becomes a name of a file."""
    data = b"\0".join(part.encode("utf-8") if isinstance(part, str) else part for part in parts)
    return hashlib.blake2b(data, digest_size=size).hexdigest()


def _duration_of(path: Path) -> float:
    """Return the seconds in the header of a FLAC file. 0 if there is no such file."""
    try:
        return soundfile.info(path).duration
    except soundfile.SoundFileError:
        return 0.0
