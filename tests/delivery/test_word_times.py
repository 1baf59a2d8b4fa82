"""utils/delivery/word_times.py: the words of texts with their times, whoever decoded them."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.scripted_transcriber import ScriptedTranscriber
from utils.data.forced_alignment.anchors import split_transcript
from utils.delivery.word_times import _pieces, time_words
from utils.model.decoding import DecodedClips
from utils.model.encoded_clips import encode_in_contexts
from utils.model.loading import load_model


@pytest.fixture(scope="module")
def transcriber(tiny_whisper) -> ScriptedTranscriber:
    return ScriptedTranscriber(load_model(str(tiny_whisper)), lambda mark, asked: ("", None))


def clips_of(*seconds: float) -> list[np.ndarray]:
    draws = np.random.default_rng(0)
    return [draws.normal(scale=0.1, size=round(16_000 * of)).astype(np.float32) for of in seconds]


def loud(*seconds: float) -> list[np.ndarray]:
    """Nowhere is silence; positions are of 20 ms."""
    return [np.zeros(round(50 * of), dtype=bool) for of in seconds]


def timed(transcriber, texts, seconds, encoded=None, languages=None, task="transcribe"):
    decoded = DecodedClips(texts, languages or ["it"] * len(texts), encoded)
    return time_words(transcriber, decoded, clips_of(*seconds), loud(*seconds), task)


def test_every_clip_gets_its_own_words_within_its_seconds(transcriber):
    texts, seconds = ["Buongiorno a tutti.", "", "Sì, «certo»!", "…"], [3.0, 1.0, 0.5, 1.0]
    found = timed(transcriber, texts, seconds)
    assert [[word.text for word in words] for words in found] == [
        [" Buongiorno", " a", " tutti."],
        [],
        [" Sì,", " «certo»!"],
        [],
    ]
    for words, length in zip(found, seconds, strict=True):
        edges = [edge for word in words for edge in (word.start, word.end)]
        assert edges == sorted(edges) and all(0 <= edge <= length for edge in edges)
        assert all(0 < word.probability < 1 for word in words)


@pytest.mark.parametrize("contexts", [[30.0] * 3, [3.5, 1.0, 5.5]])
def test_the_encoder_output_of_the_decoder_gives_the_times_of_a_clip_alone(transcriber, contexts):
    """Clips of other contexts in the batch, and one without words, do not matter."""
    texts, seconds = ["uno due tre", "", "quattro cinque"], [3.0, 0.5, 5.0]
    loaded, silence_run = transcriber.loaded, 0 if contexts[0] == 30 else 128

    def encode(rows: list[int]):
        clips = clips_of(*seconds)
        own = [clips[row] for row in rows], [contexts[row] for row in rows]
        with torch.inference_mode():
            return encode_in_contexts(loaded.model, loaded.processor, *own, silence_run)

    together = timed(transcriber, texts, seconds, encode([0, 1, 2]))
    for row in (0, 2):
        decoded = DecodedClips([texts[row]], ["it"], encode([row]))
        clips, silences = [clips_of(*seconds)[row]], [loud(*seconds)[row]]
        (alone,) = time_words(transcriber, decoded, clips, silences, "transcribe")
        for one, other in zip(alone, together[row], strict=True):
            assert (one.text, one.start, one.end) == (other.text, other.start, other.end)
            assert one.probability == pytest.approx(other.probability, rel=1e-3)
    if contexts[0] == 30:
        assert timed(transcriber, texts, seconds)[0][0].start == together[0][0].start


def test_language_and_task_are_those_of_the_decoder(transcriber):
    def probabilities(**options) -> list[float]:
        return [word.probability for word in timed(transcriber, ["uno due tre"], [3.0], **options)[0]]

    assert probabilities() == probabilities()
    assert probabilities() != probabilities(languages=["en"])
    assert probabilities() != probabilities(task="translate")


def test_a_text_too_long_for_the_decoder_has_words_of_equal_length(transcriber):
    """A token is a byte here: a space, 442 of a text, the prompt of 4 and the end are the 448 that fit."""
    fitting, long = "abc " * 110 + "ab", "abc " * 110 + "abc"
    first, second = timed(transcriber, [fitting, long], [11.1, 11.1])
    assert len(first) == 111 and all(word.probability is not None for word in first)
    assert [word.start for word in second] == pytest.approx([0.1 * n for n in range(111)])
    assert [word.end for word in second] == pytest.approx([0.1 * (n + 1) for n in range(111)])
    assert all(word.probability is None for word in second)


def test_words_of_scripts_without_spaces_get_none(transcriber):
    (words,) = timed(transcriber, ["今日は。 OK"], [3.0])
    assert "".join(word.text for word in words) == "今日は。 OK"
    (words,) = timed(transcriber, ["OK 今日"], [3.0])
    assert "".join(word.text for word in words) == " OK 今日"


@settings(max_examples=200, deadline=None)
@given(st.text("ab è,.-«»'\t\n\r\u2028\u00a0今日ンก็مر<&\u0301", max_size=40))
def test_words_make_up_the_text_with_plain_spaces(text):
    text = text.strip()
    units = split_transcript(text)
    if not units:
        return
    pieces = _pieces(text, units)
    assert "".join(pieces).strip() == " ".join(text.split())
    assert all(piece.strip() for piece in pieces)
