"""whisper.cpp by way of pywhispercpp, decoding greedily, so that the same samples give the same text."""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from utils.delivery.exports.ggml_file import CODES_FILE, check_ggml
from utils.delivery.exports.ggml_layout import GgmlHeader
from utils.delivery.runtimes.runtime import Rendition, Way
from utils.delivery.transcript import Word
from utils.runtime.errors import UserError

if TYPE_CHECKING:
    from _pywhispercpp import whisper_context, whisper_full_params

PLAIN, TIMESTAMPS = Way(), Way(timestamps=True)
ALL_WAYS = (PLAIN, TIMESTAMPS, Way(timestamps=True, words=True), Way(timestamps=True, previous_text=True))

LEAST_SAMPLES = 1600  # 0.1 s; whisper.cpp ignores less, or finds no language in it

UNLIMITED = 16384  # tokens of previous text, whisper.cpp's default; it takes at most half a text context


@dataclass(frozen=True)
class WhisperCpp:
    """A model in the memory of whisper.cpp."""

    context: "whisper_context"
    codes: Mapping[str, str]  # whisper.cpp's code for each language that the model knows
    ways: Sequence[Way]
    threads: int
    task: str
    finds_windows: bool = False

    def transcribe(self, samples: np.ndarray, language: str | None, way: Way) -> Rendition:
        """Transcribe a recording of any length, (samples,) float32 at 16 kHz; None detects the language.

        The words of whisper.cpp follow each other without gaps.

        Raises:
            UserError: The model does not know the language, or whisper.cpp fails.
        """
        import _pywhispercpp as library

        options = self._options(language, way)
        if len(samples) < LEAST_SAMPLES:  # with none, whisper.cpp transcribes those of the call before
            return Rendition("")
        samples = np.ascontiguousarray(samples, dtype=np.float32)
        status = library.whisper_full(self.context, options, samples, len(samples))
        if status:
            raise UserError(
                f"whisper.cpp failed on {len(samples):,} samples (status {status}). Try another recording."
            )
        pieces, words = [], []
        for index in range(library.whisper_full_n_segments(self.context)):
            pieces.append(library.whisper_full_get_segment_text(self.context, index))
            start = library.whisper_full_get_segment_t0(self.context, index) / 100  # in steps of 10 ms
            end = library.whisper_full_get_segment_t1(self.context, index) / 100
            words.append(Word(pieces[-1].decode(errors="replace").strip(), start, end))
        text = b"".join(pieces).decode(errors="replace").strip()  # a piece may end within a character
        return Rendition(text, [word for word in words if word.text] if way.words else ())

    def _options(self, language: str | None, way: Way) -> "whisper_full_params":
        import _pywhispercpp as library

        if language is not None and language not in self.codes:
            known = ", ".join(sorted(self.codes))
            raise UserError(f"the exported model has no language {language}. It knows {known}.")
        options = library.whisper_full_default_params(
            library.whisper_sampling_strategy.WHISPER_SAMPLING_GREEDY
        )
        options.n_threads = self.threads
        options.print_progress = False
        options.translate = self.task == "translate"
        only = next(iter(self.codes.values())) if len(self.codes) == 1 else "auto"
        options.language = only if language is None else self.codes[language]
        options.suppress_nst = True  # the symbols that Whisper's own decoding suppresses
        options.greedy = {"best_of": 1}
        options.temperature_inc = 0.0  # no second try, which would draw at random
        options.no_timestamps = not way.timestamps
        options.n_max_text_ctx = UNLIMITED if way.previous_text else 0
        if way.words:  # each segment is then a word
            options.token_timestamps, options.max_len, options.split_on_word = True, 1, True
        return options


@contextlib.contextmanager
def open_whisper_cpp(folder: Path, threads: int, task: str = "transcribe") -> Iterator[WhisperCpp]:
    """Load the export in a folder; its memory is freed at the end of the block.

    Raises:
        UserError: There is not exactly one model file, or it is damaged.
    """
    import _pywhispercpp as library

    paths = sorted(folder.glob("ggml-*.bin"))
    if len(paths) != 1:
        found = ", ".join(path.name for path in paths) or "none"
        raise UserError(f"{folder}: expected one ggml-*.bin, found {found}. Give the folder of an export.")
    header = check_ggml(paths[0])
    library.whisper_log_set(_be_silent)
    context = library.whisper_init_from_file_with_params(
        str(paths[0]), library.whisper_context_default_params()
    )
    try:
        yield WhisperCpp(
            context,
            _language_codes(folder, header),
            ALL_WAYS if header.has_timestamps else (PLAIN,),
            threads,
            task,
        )
    finally:
        library.whisper_free(context)


def _be_silent(*_: object) -> None:
    pass


def _language_codes(folder: Path, header: GgmlHeader) -> dict[str, str]:
    import _pywhispercpp as library

    known = {code: code for code in map(library.whisper_lang_str, range(header.num_languages))}
    if not (folder / CODES_FILE).exists():
        return known
    added: dict[str, str] = json.loads((folder / CODES_FILE).read_text(encoding="utf-8"))
    return {code: code for code in known if code not in added.values()} | added
