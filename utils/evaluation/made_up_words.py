"""Words that a model makes up for silence, noise and music, in which nobody speaks."""

from collections.abc import Sequence

from accelerate import PartialState

from utils.audio.flac import encode_flac
from utils.audio.non_speech import PROBE_KINDS, build_probes
from utils.evaluation.backends.transcriber import Transcriber
from utils.evaluation.records import MadeUpWords
from utils.model.transcription import gather_hypotheses, transcribe_clips
from utils.text.normalizing import count_words, normalize_text

PROBE_DURATIONS = (4.0, 12.0)  # seconds of silence, noise and music of every kind

PROBE_SEED = 0


def probe_hallucination(
    transcriber: Transcriber,
    language: str | None,
    processes: PartialState,
    *,
    audio_context: str,
    batch_size: int,
    normalizer: str,
) -> dict[str, MadeUpWords]:
    """Let the model transcribe such sounds, shared among the processes, all of which call this."""
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
    """Words in what a model wrote for sounds without speech, by sort of sound; None where it failed."""
    found = {}
    for sort in dict.fromkeys(sorts):
        own = [number for number, name in enumerate(sorts) if name == sort]
        words = [count_words(normalize_text(texts[number] or "", normalizer)) for number in own]
        errors = sum(texts[number] is None for number in own)
        seconds = round(sum(durations[number] for number in own), 3)
        found[sort] = MadeUpWords(len(own), sum(count > 0 for count in words), sum(words), seconds, errors)
    return found
