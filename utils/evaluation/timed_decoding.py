"""Decode splits, whole recordings and noise with all processes together, and measure the time."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from accelerate import PartialState

from utils.audio.flac import encode_flac
from utils.audio.non_speech import PROBE_KINDS, build_probes
from utils.evaluation.backends.transcriber import Transcriber
from utils.evaluation.material import Material
from utils.evaluation.recordings import transcribe_recordings
from utils.evaluation.records import Decoding, MadeUpWords
from utils.model.context import FULL_CONTEXT
from utils.model.transcription import Hypothesis, gather_hypotheses, transcribe_clips
from utils.runtime.progress import AudioProgress, audio_progress
from utils.text.normalizing import count_words, normalize_text

PROBE_DURATIONS = (4.0, 12.0)  # seconds of silence, noise and music of every kind

PROBE_SEED = 0


def decode(
    name: str,
    transcriber: Transcriber,
    material: Material,
    processes: PartialState,
    *,
    audio_context: str,
    batch_size: int,
    long_form: str,
    backend: str,
) -> Decoding:
    """Transcribe together with the other processes and measure the time. All processes must call this.

    Args:
        name: Name of the model, as the user gave it.
        long_form: Method for whole recordings, see `transcribe_recordings`.
        backend: Name of the transcriber's backend.
    """
    evaluation_set = material.evaluation_set
    description = f"{Path(name).name}, {evaluation_set.split}, {audio_context} context"
    # in the full context every clip costs 30 s, so clips predict the time left
    by_clip = audio_context == "full" and max(evaluation_set.durations) <= FULL_CONTEXT
    total = len(evaluation_set.ids) if by_clip else sum(evaluation_set.durations)
    transcribe = _choose_transcription(transcriber, material, long_form)
    processes.wait_for_everyone()
    with audio_progress(
        description, total / processes.num_processes, shown=processes.is_main_process
    ) as progress:
        started = time.perf_counter()
        share = transcribe(
            audio_context=audio_context,
            batch_size=batch_size,
            process=processes.process_index,
            num_processes=processes.num_processes,
            on_batch=partial(_count_batch, progress, by_clip),
        )
        hypotheses = gather_hypotheses(share, len(evaluation_set.ids))
        seconds = time.perf_counter() - started
    return Decoding(
        name,
        audio_context,
        [hypothesis.text for hypothesis in hypotheses],
        seconds,
        backend,
        {number: found.error for number, found in enumerate(hypotheses) if found.error},
        *(transcriber.loaded.trainable_parameters, transcriber.loaded.total_parameters),
        warnings=transcriber.loaded.warnings,
        is_prompted=bool(transcriber.options.prompt),
    )


def _choose_transcription(
    transcriber: Transcriber, material: Material, long_form: str
) -> Callable[..., dict[int, Hypothesis]]:
    """Choose the function that transcribes a process's part of the data: whole recordings, or clips in
    batches.
    """
    if material.rows is None:
        return partial(transcribe_recordings, transcriber, material.recordings, way=long_form)
    return partial(
        transcribe_clips,
        transcriber.transcribe_batch,
        material.rows["audio"],
        material.evaluation_set.durations,
        material.evaluation_set.told_languages,
        keeps_failures=True,
    )


def _count_batch(progress: AudioProgress, by_clip: bool, clips: int, seconds: float) -> None:
    progress.advance(clips if by_clip else seconds, seconds)


def probe_hallucination(
    transcriber: Transcriber,
    language: str | None,
    processes: PartialState,
    *,
    audio_context: str,
    batch_size: int,
    normalizer: str,
) -> dict[str, MadeUpWords]:
    """Transcribe probes without speech, shared among the processes. All processes must call this."""
    sounds = build_probes(PROBE_DURATIONS, seed=PROBE_SEED)
    durations = [sound.duration for sound in sounds]
    share = transcribe_clips(
        transcriber.transcribe_batch,
        [encode_flac(sound.samples) for sound in sounds],
        durations,
        [language] * len(sounds),
        audio_context=audio_context,
        batch_size=batch_size,
        process=processes.process_index,
        num_processes=processes.num_processes,
        keeps_failures=True,
    )
    texts = [None if heard.error else heard.text for heard in gather_hypotheses(share, len(sounds))]
    return count_made_up_words([PROBE_KINDS[sound.kind] for sound in sounds], durations, texts, normalizer)


def count_made_up_words(
    sorts: Sequence[str], durations: Sequence[float], texts: Sequence[str | None], normalizer: str = "basic"
) -> dict[str, MadeUpWords]:
    """Count the words that were written for each kind of sound without speech. None if decoding failed."""
    found = {}
    for sort in dict.fromkeys(sorts):
        own = [number for number, name in enumerate(sorts) if name == sort]
        words = [count_words(normalize_text(texts[number] or "", normalizer)) for number in own]
        errors = sum(texts[number] is None for number in own)
        seconds = round(sum(durations[number] for number in own), 3)
        found[sort] = MadeUpWords(len(own), sum(count > 0 for count in words), sum(words), seconds, errors)
    return found
