"""A split over several processes, and clips that the decoder fails on."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.model.transcription import CutShortError, gather_hypotheses, transcribe_clips


def spell(clips: Sequence[bytes], languages: Sequence[str | None], contexts: Sequence[float]) -> list[str]:
    """Spells a clip's bytes, and fails on b"bad" and on every batch that holds it."""
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
        return transcribe_clips(
            spell, clips, durations, languages, process=process, num_processes=of, **options
        )

    shares = [decode(process, num_processes) for process in range(num_processes)]
    assert sorted(number for share in shares for number in share) == list(range(len(clips)))
    alone = decode(0, 1)
    assert {number: found for share in shares for number, found in share.items()} == alone


def test_a_clip_that_cannot_be_decoded_is_alone_with_its_error():
    clips, told = [b"one", b"bad", b"two"], []
    found = transcribe_clips(
        spell,
        clips,
        [1.0, 1.1, 1.2],
        ["it", "it", None],
        audio_context="full",
        batch_size=3,
        keeps_failures=True,
        on_batch=lambda number, seconds: told.append((number, seconds)),
    )
    assert [found[number].text for number in range(3)] == ["one it 30", "", "two None 30"]
    assert [found[number].error for number in range(3)] == [None, "RuntimeError: cannot spell that", None]
    assert told == [(3, pytest.approx(3.3))]


def test_where_failures_are_not_kept_they_are_raised():
    with pytest.raises(RuntimeError, match="cannot\nspell"):
        transcribe_clips(spell, [b"bad"], [1.0], ["it"], audio_context="full", batch_size=3)


@given(st.lists(st.floats(0.1, 29.9), min_size=1, max_size=20), st.integers(1, 4), st.integers(1, 4))
def test_hypotheses_come_in_the_order_of_the_rows_on_every_process(durations, batch_size, num_processes):
    """Each says a clip's own name."""
    names = [f"clip {number}" for number in range(len(durations))]
    clips, languages = [name.encode() for name in names], ["it"] * len(names)
    options = {"audio_context": "full", "batch_size": batch_size, "num_processes": num_processes}
    shares = [
        transcribe_clips(spell, clips, durations, languages, process=process, **options)
        for process in range(num_processes)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("utils.model.transcription.gather_object", lambda own: shares)
        gathered = [gather_hypotheses(share, len(names)) for share in shares]
    assert [[found.text for found in each] for each in gathered] == [
        [f"{n} it 30" for n in names]
    ] * num_processes


def test_what_is_cut_short_on_one_process_counts_on_none(monkeypatch):
    asked = iter([False, True])
    left = transcribe_clips(
        spell,
        [b"one", b"two", b"three"],
        [1.0, 2.0, 3.0],
        ["it"] * 3,
        audio_context="full",
        batch_size=1,
        cut_short=lambda: next(asked),
    )
    assert list(left) == [0, 1]
    with pytest.raises(CutShortError):
        gather_hypotheses(left, 3)
    monkeypatch.setattr("utils.model.transcription.gather_object", lambda own: [left, left])
    with pytest.raises(RuntimeError, match="decoded twice"):
        gather_hypotheses(left, 2)
