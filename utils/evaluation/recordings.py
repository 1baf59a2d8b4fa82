"""Read whole recordings from a manifest, cut them at pauses into windows, and transcribe them."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from utils.audio.flac import SAMPLE_RATE, encode_flac
from utils.audio.levels import measure_levels
from utils.audio.voice_activity import SpeechSpan, find_speech
from utils.data.clips.block_files import name_of
from utils.data.decoding import decode_recording
from utils.data.segmentation.pieces import join_texts
from utils.data.sources.manifest import read_manifest
from utils.data.utterance import Audio, Reject, Utterance
from utils.evaluation.backends.transcriber import Transcriber
from utils.model.transcription import BatchTranscriber, Hypothesis, failed, transcribe_clips
from utils.runtime.errors import UserError
from utils.runtime.problems import BadItem

SHOWN_PROBLEMS = 5

LONGEST_WINDOW = 29.5  # seconds of audio in a window of 30: the decoder needs silence at the end

CUT_REACH = 5.0  # speech without a pause is cut in these last seconds of a window


@dataclass(frozen=True)
class Recording:
    """A recording of any length with its whole reference text."""

    name: str
    audio: Audio
    text: str
    duration: float  # seconds
    language: str | None
    speaker: str | None

    def decode(self) -> np.ndarray:
        """Decode to (samples,) float32 at 16 kHz."""
        return decode_recording(self.audio)


def read_recordings(manifest: str, language: str) -> list[Recording]:
    """Read a manifest as preprocess.py does. Join the lines of one recording in the order of time.

    Args:
        manifest: Path of a JSONL file with `audio`, `text` and perhaps `start` and `end` in each line.
        language: Language of lines that have none. With `auto`, it stays unknown.

    Raises:
        UserError: A line or recording is unusable. It is not skipped, because its errors would then be
            missing in the WER.
    """
    items = list(read_manifest(Path(manifest)).items)
    problems = [f"line {item.position}: {item.problem}" for item in items if isinstance(item, Reject)]
    by_audio: dict[Audio, list[Utterance]] = {}
    for item in items:
        if isinstance(item, Utterance):
            by_audio.setdefault(item.audio, []).append(item)
    recordings = []
    for audio, utterances in by_audio.items():
        try:
            recordings.append(_join(audio, utterances, language))
        except BadItem as error:
            problems.append(f"{name_of(audio)}: {error}")
    if problems:
        shown = "; ".join(problems[:SHOWN_PROBLEMS]) + ("; …" if len(problems) > SHOWN_PROBLEMS else "")
        raise UserError(f"{manifest}: {len(problems)} recordings or lines cannot be scored: {shown}")
    return recordings


def _join(audio: Audio, utterances: Sequence[Utterance], language: str) -> Recording:
    ordered = sorted(utterances, key=lambda utterance: utterance.start or 0.0)
    codes = {utterance.language for utterance in ordered}
    speakers = {utterance.speaker for utterance in ordered}
    own = codes.pop() if len(codes) == 1 else None
    return Recording(
        name=name_of(audio) or ordered[0].id,
        audio=audio,
        text=join_texts(utterance.text for utterance in ordered),
        duration=len(decode_recording(audio)) / SAMPLE_RATE,
        language=own or (None if language == "auto" else language),
        speaker=speakers.pop() if len(speakers) == 1 else None,
    )


def transcribe_recordings(
    transcriber: Transcriber,
    recordings: Sequence[Recording],
    *,
    way: str,
    audio_context: str,
    batch_size: int,
    process: int = 0,
    num_processes: int = 1,
    on_batch: Callable[[int, float], None] = lambda recordings, seconds: None,
) -> dict[int, Hypothesis]:
    """Transcribe this process's recordings, one at a time, the longest first.

    Args:
        transcriber: Transcriber of the model.
        recordings: Recordings of all processes.
        way: `sequential` (one window after another, by timestamps), or `chunked` (cut at pauses).
        audio_context: Context of the windows. Sequential decoding has only the full one.
        batch_size: Number of windows that are decoded at once.
        process: Number of this process.
        num_processes: Number of processes that share the recordings.
        on_batch: Function that is called after each recording with 1 and its seconds.

    Returns:
        Hypotheses by recording number.
    """
    order = sorted(range(len(recordings)), key=lambda number: -recordings[number].duration)
    found = {}
    for number in order[process::num_processes]:
        recording = recordings[number]
        try:
            samples, language = recording.decode(), recording.language
            if way == "sequential":
                text = transcriber.transcribe_recording(samples, language)
            else:
                text = transcribe_chunked(
                    transcriber.transcribe_batch,
                    samples,
                    language,
                    audio_context=audio_context,
                    batch_size=batch_size,
                )
            found[number] = Hypothesis(text)
        except Exception as error:  # any error is reported, and the recording counts
            found[number] = failed(error)
        on_batch(1, recording.duration)
    return found


def transcribe_chunked(
    transcribe_batch: BatchTranscriber[bytes],
    samples: np.ndarray,
    language: str | None,
    *,
    audio_context: str,
    batch_size: int,
) -> str:
    """Cut at pauses into windows of at most 30 s, decode these in batches and join the texts.

    A voice activity detector finds the silence. It is not decoded, so the model cannot invent words there.
    The method is from WhisperX (Bain et al. 2023, arXiv:2303.00747).

    Args:
        transcribe_batch: Decoder of any backend.
        samples: (samples,) float32 at 16 kHz.
        language: Language code. If it is None, the model detects the language in each window.
        audio_context: "full" or "dynamic".
        batch_size: Number of windows that are decoded at once.

    Raises:
        RuntimeError: The decoder failed on a window, so the text would be incomplete.
    """
    windows = cut_windows(samples)
    heard = transcribe_clips(
        transcribe_batch,
        [encode_flac(samples[_place(window.start) : _place(window.end)]) for window in windows],
        [window.end - window.start for window in windows],
        [language] * len(windows),
        audio_context=audio_context,
        batch_size=batch_size,
        keeps_failures=True,
    ).values()
    errors = [hypothesis.error for hypothesis in heard if hypothesis.error]
    if errors:
        raise RuntimeError(f"{len(errors)} of {len(windows)} windows: {errors[0]}")
    return join_texts(hypothesis.text for hypothesis in heard)


def cut_windows(samples: np.ndarray, longest: float = LONGEST_WINDOW) -> list[SpeechSpan]:
    """Return windows of at most `longest` seconds that hold all speech of (samples,) at 16 kHz."""
    return pack_windows(find_speech(samples), samples, longest)


def pack_windows(
    spans: Sequence[SpeechSpan], samples: np.ndarray, longest: float = LONGEST_WINDOW
) -> list[SpeechSpan]:
    """Return windows of at most `longest` seconds that hold the spans of speech of a recording.

    Spans share a window if they fit. A span longer than a window is cut at its quietest place.
    """
    parts = [part for span in spans for part in _cut_long(span, samples, longest)]
    windows: list[SpeechSpan] = []
    for part in parts:
        if windows and part.end - windows[-1].start <= longest:
            windows[-1] = SpeechSpan(windows[-1].start, part.end)
        else:
            windows.append(part)
    return windows


def _cut_long(span: SpeechSpan, samples: np.ndarray, longest: float) -> Sequence[SpeechSpan]:
    if span.end - span.start <= longest:
        return [span]
    levels = measure_levels(samples[_place(span.start) : _place(span.end)])
    cuts = [span.start]
    while span.end - cuts[-1] > longest:
        latest = cuts[-1] + longest - span.start  # within the span
        cuts.append(span.start + levels.cut_point(latest - CUT_REACH, latest - 0.5))
    return [SpeechSpan(start, end) for start, end in itertools.pairwise([*cuts, span.end])]


def _place(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE)
