"""Models that help to prepare data: one finds the times of plain transcripts, one hears every clip."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from utils.data.clips.encoding import Aligner
from utils.data.forced_alignment.alignment import align_utterance
from utils.data.screening import screen_block
from utils.model.loading import load_model
from utils.model.whisper import whisper_of
from utils.runtime.devices import pick_device, pick_dtype
from utils.runtime.progress import audio_progress, silence_libraries


def load_aligner(model: str, language: str, *, max_duration: float, min_confidence: float) -> Aligner:
    """What cuts a long recording by its plain transcript; see `align_utterance`.

    Args:
        model: Folder or Hub id.
        language: Of utterances that carry none; auto lets the model find out.
        max_duration: Most seconds of a part.
        min_confidence: Parts of a lower confidence, from 0 to 1, become rejects.
    """
    silence_libraries()
    loaded = load_model(model)
    return partial(
        align_utterance,
        model=whisper_of(loaded.model).to(pick_device()).eval(),  # type: ignore[arg-type]
        processor=loaded.processor,
        default_language=None if language == "auto" else language,
        max_duration=max_duration,
        min_confidence=min_confidence,
    )


def screen_blocks(indexes: Sequence[Path], model: str, *, max_wer: float) -> None:
    """Let a model hear every clip of finished blocks; what it finds wrong is set aside when they are joined.

    Args:
        indexes: Index files of the blocks.
        model: Folder or Hub id.
        max_wer: See `screening_problem`.
    """
    silence_libraries()
    device = pick_device()
    loaded = load_model(model, dtype=pick_dtype(device))
    whisper = whisper_of(loaded.model).to(device).eval()  # type: ignore[arg-type]
    with audio_progress("Hearing", len(indexes)) as progress:
        for index in indexes:
            progress.advance(1, screen_block(index, whisper, loaded.processor, max_wer=max_wer))
