"""Scores of renditions: by hand, on texts and times that are written down here."""

import numpy as np
import pytest

from utils.delivery.parity.measures import score_renditions
from utils.delivery.parity.rendering import Rendered
from utils.delivery.parity.sounds import JoinedClip, ParitySound
from utils.delivery.runtimes.runtime import Rendition, Way
from utils.delivery.transcript import Word

PLAIN, WORDS = Way(), Way(timestamps=True, words=True)


def sound(*pieces: tuple[str, float, float], seconds: float = 10.0) -> ParitySound:
    samples = np.zeros(round(16000 * seconds), dtype=np.float32)
    return ParitySound("a", samples, "it", [JoinedClip(*piece) for piece in pieces])


CLIP = sound(("Uno, due tre.", 0.0, 2.0), seconds=2.0)
RECORDING = sound(("uno due tre", 0.5, 2.0), ("quattro cinque", 3.0, 4.5), ("sei sette", 6.0, 8.0))


def test_errors_are_those_of_the_corpus_and_normalised():
    texts = ["uno due tre", "uno DUE quattro e"]
    rendered = [Rendered(0, PLAIN, Rendition(text), 1.0) for text in texts]
    (score,) = score_renditions([CLIP], rendered)
    assert score.errors.rate == pytest.approx(2 / 6)  # one substitution and one insertion in six words
    assert not score.on_recordings and score.timing is None
    assert score.rtfx == pytest.approx(2.0)  # twice two seconds of sound in two of work


def test_clips_and_recordings_are_scored_apart_and_each_way_too():
    rendered = [Rendered(number, way, Rendition(""), 1.0) for way in (PLAIN, WORDS) for number in (0, 1)]
    scores = score_renditions([CLIP, RECORDING], rendered)
    assert [(score.way, score.on_recordings) for score in scores] == [
        *((PLAIN, False), (PLAIN, True), (WORDS, False), (WORDS, True)),
    ]


def test_seconds_of_a_clip_are_missing_if_nearly_all_its_words_are():
    heard = "uno due tre sei sette"
    (score,) = score_renditions([RECORDING], [Rendered(0, PLAIN, Rendition(heard), 1.0)])
    assert score.missing == pytest.approx(1.5 / 10)
    (score,) = score_renditions([RECORDING], [Rendered(0, PLAIN, Rendition(f"{heard} cinque"), 1.0)])
    assert score.missing == pytest.approx(0.15)  # cinque, out of order, is no word of its clip
    (score,) = score_renditions(
        [RECORDING], [Rendered(0, PLAIN, Rendition("uno due tre quattro sei sette"), 1.0)]
    )
    assert score.missing == 0


def test_a_loop_counts_unless_the_reference_has_it():
    loop = "uno due " * 8
    (score,) = score_renditions([CLIP], [Rendered(0, PLAIN, Rendition(loop), 1.0)])
    assert score.loops == 1
    said = sound((loop, 0.0, 2.0))
    (score,) = score_renditions([said], [Rendered(0, PLAIN, Rendition(loop), 1.0)])
    assert score.loops == 0


def timing_of(*words: tuple[str, float, float]):
    rendition = Rendition(" ".join(text for text, *_ in words), [Word(*word) for word in words])
    (score,) = score_renditions([RECORDING], [Rendered(0, WORDS, rendition, 1.0)])
    assert score.timing is not None
    return score.timing


def test_times_are_those_of_the_first_and_last_word_of_each_clip():
    timing = timing_of(
        *((" Uno,", 0.52, 0.9), (" due", 1.0, 1.5), (" tre", 1.6, 2.1), (" quattro", 3.3, 3.9)),
        *((" cinque", 4.0, 4.5), (" sei", 6.0, 6.5), (" sette.", 6.6, 8.04)),
    )
    # errors: 0.02, 0.1, 0.3, 0.0, 0.0, 0.04
    assert timing.median_error == pytest.approx(0.03)
    assert timing.f1 == (pytest.approx(4 / 6), pytest.approx(5 / 6))


def test_words_that_were_not_written_cost_recall_but_have_no_error():
    timing = timing_of((" uno", 0.5, 1.0), (" due", 1.0, 1.5), (" tre", 1.5, 2.0))
    assert timing.median_error == pytest.approx(0.0)
    assert timing.f1 == (pytest.approx(4 / 8), pytest.approx(4 / 8))  # 2 · 2 found / (6 edges + 2 words)


def test_no_words_have_no_times():
    assert timing_of().median_error is None
    assert timing_of().f1 == (0.0, 0.0)
