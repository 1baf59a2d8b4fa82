"""A split over several processes, clips that the decoder fails on, and memory that runs out."""

from collections.abc import Sequence
from functools import partial

import pytest
import torch
from datasets import load_from_disk
from hypothesis import given
from hypothesis import strategies as st
from transformers.models.whisper.modeling_whisper import WhisperDecoderLayer

from tests.support.transcribing import transcribe_batch
from utils.model.decoding import ready_to_decode
from utils.model.loading import load_model
from utils.model.transcription import CutShortError, Hypothesis, gather_hypotheses, transcribe_clips


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


def test_a_batch_that_memory_is_too_small_for_is_decoded_in_halves_from_then_on(capsys):
    asked = []

    def spell_three(clips, languages, contexts) -> list[str]:
        asked.append(len(clips))
        if len(clips) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return spell(clips, languages, contexts)

    clips = [str(number).encode() for number in range(17)]
    durations, languages = [1.0 + number for number in range(17)], ["it", None] * 8 + ["de"]
    words = {"audio_context": "dynamic", "batch_size": 8, "keeps_failures": True}
    found = transcribe_clips(spell_three, clips, durations, languages, **words)
    assert found == transcribe_clips(spell, clips, durations, languages, **words)
    assert asked == [8, 4, 2, 2, 2, 2, 2, 2, 2, 2, 1]
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 2 and told[-1].endswith("4 clips at once. Decoding continues with 2.")


@pytest.mark.parametrize("keeps_failures", [True, False])
def test_one_clip_that_memory_is_too_small_for_fails_as_any_other(keeps_failures):
    def run_out(clips, languages, contexts) -> list[str]:
        raise MemoryError

    options = {"audio_context": "full", "batch_size": 3, "keeps_failures": keeps_failures}
    if not keeps_failures:
        with pytest.raises(MemoryError):
            transcribe_clips(run_out, [b"a", b"b"], [1.0, 2.0], ["it"] * 2, **options)
        return
    found = transcribe_clips(run_out, [b"a", b"b"], [1.0, 2.0], ["it"] * 2, **options)
    assert [heard.error for heard in found.values()] == ["MemoryError:", "MemoryError:"]


def test_whisper_hears_the_same_in_halves(tiny_whisper, prepared, monkeypatch):
    loaded, rows = load_model(str(tiny_whisper)), load_from_disk(prepared)["test"]
    decode = partial(transcribe_batch, loaded.model, loaded.processor, max_length=24)

    def hear() -> dict[int, Hypothesis]:
        with ready_to_decode(loaded.model):
            return transcribe_clips(
                decode,
                rows["audio"],
                rows["duration"],
                rows["language"],
                audio_context="dynamic",
                batch_size=6,
            )

    expected = hear()
    forward, sizes = WhisperDecoderLayer.forward, set()

    def forward_or_fail(self, hidden_states, *args, **kwargs):
        sizes.add(len(hidden_states))
        if len(hidden_states) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return forward(self, hidden_states, *args, **kwargs)

    monkeypatch.setattr(WhisperDecoderLayer, "forward", forward_or_fail)
    assert hear() == expected and sizes >= {6, 3}
    assert len({heard.text for heard in expected.values()}) > 1
