"""One split or manifest through one model, by all processes together, under a progress bar and a clock."""

import time
from functools import partial
from pathlib import Path

from accelerate import PartialState

from utils.evaluation.backends.transcriber import Transcriber
from utils.evaluation.material import Material
from utils.evaluation.recordings import transcribe_recordings
from utils.evaluation.records import Decoding
from utils.model.context import FULL_CONTEXT
from utils.model.transcription import gather_hypotheses, transcribe_clips
from utils.runtime.progress import AudioProgress, audio_progress


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
    """Transcribe together with the other processes, all of which call this, and take the time.

    Args:
        name: Of the model, as it was given.
        long_form: How recordings are decoded, see `transcribe_recordings`.
        backend: The transcriber's, as it was given.
    """
    evaluation_set = material.evaluation_set
    description = f"{Path(name).name}, {evaluation_set.split}, {audio_context} context"
    # every clip costs its 30 s in the full context, so clips give the honest time left
    by_clip = audio_context == "full" and max(evaluation_set.durations) <= FULL_CONTEXT
    total = len(evaluation_set.ids) if by_clip else sum(evaluation_set.durations)
    if material.rows is None:
        transcribe = partial(transcribe_recordings, transcriber, material.recordings, way=long_form)
    else:
        transcribe = partial(
            transcribe_clips,
            transcriber.transcribe_batch,
            material.rows["audio"],
            evaluation_set.durations,
            evaluation_set.told_languages,
            keeps_failures=True,
        )
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
        backend=backend,
        errors={number: found.error for number, found in enumerate(hypotheses) if found.error},
        trainable_parameters=transcriber.loaded.trainable_parameters,
        total_parameters=transcriber.loaded.total_parameters,
    )


def _count_batch(progress: AudioProgress, by_clip: bool, clips: int, seconds: float) -> None:
    progress.advance(clips if by_clip else seconds, seconds)
