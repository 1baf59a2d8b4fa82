"""A split over several processes, and clips that the decoder fails on."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.evaluation.transcription import transcribe_share


class Speller:
    """Spells a clip's bytes, and fails on b"bad" and on every batch that holds it."""

    def transcribe_batch(
        self, clips: Sequence[bytes], languages: Sequence[str | None], contexts: Sequence[float]
    ) -> list[str]:
        if b"bad" in clips:
            raise RuntimeError("cannot\nspell   that")
        rows = zip(clips, languages, contexts, strict=True)
        return [f"{clip.decode()} {language} {context:g}" for clip, language, context in rows]


@given(st.lists(st.floats(0.1, 29.9), max_size=40), st.integers(1, 7), st.integers(1, 5))
def test_processes_share_every_clip_exactly_once(durations, batch_size, num_processes):
    clips = [str(number).encode() for number in range(len(durations))]
    languages = [None] * len(clips)

    def decode(process: int, of: int) -> dict:
        options = {"audio_context": "dynamic", "batch_size": batch_size}
        return transcribe_share(
            Speller(), clips, durations, languages, process=process, num_processes=of, **options
        )

    shares = [decode(process, num_processes) for process in range(num_processes)]
    assert sorted(number for share in shares for number in share) == list(range(len(clips)))
    alone = decode(0, 1)
    assert {number: found for share in shares for number, found in share.items()} == alone


def test_a_clip_that_cannot_be_decoded_is_alone_with_its_error():
    clips, told = [b"one", b"bad", b"two"], []
    found = transcribe_share(
        Speller(),
        clips,
        [1.0, 1.1, 1.2],
        ["it", "it", None],
        audio_context="full",
        batch_size=3,
        on_batch=lambda number, seconds: told.append((number, seconds)),
    )
    assert [found[number].text for number in range(3)] == ["one it 30", "", "two None 30"]
    assert [found[number].error for number in range(3)] == [None, "RuntimeError: cannot spell that", None]
    assert told == [(3, pytest.approx(3.3))]
