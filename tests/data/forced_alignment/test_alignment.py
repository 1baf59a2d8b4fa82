"""Alignment: joining words by hand, whole recordings of real prompts with Whisper base."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.audio.levels import Levels
from utils.audio.voice_activity import SpeechSpan
from utils.data.forced_alignment.alignment import (
    align_transcript,
    align_utterance,
    alignment_problem,
    plan_windows,
)
from utils.data.forced_alignment.anchors import split_transcript
from utils.data.forced_alignment.reader import Reader
from utils.data.forced_alignment.segments import (
    AlignedSegment,
    PlacedUnit,
    cut_between,
    find_doubtful,
    join_units,
)
from utils.data.utterance import Reject, Utterance
from utils.model.loading import load_model


def flat_levels(seconds: float) -> Levels:
    frames = round(seconds * 100)
    return Levels(np.full(frames, -20.0), np.zeros(frames, dtype=bool))


def place(text: str, times: list[tuple[float, float]], confidence: float = 0.9) -> list[PlacedUnit]:
    return [
        PlacedUnit(unit, start, end, confidence)
        for unit, (start, end) in zip(split_transcript(text), times, strict=True)
    ]


def test_segments_end_at_sentences_and_pauses():
    text = "Uno due tre. Quattro cinque sei sette, otto nove."
    times = [(k, k + 0.9) for k in range(3)] + [(k + 0.9, k + 1.8) for k in range(3, 9)]
    levels = flat_levels(11)
    levels.silent[290:390] = True
    segments = join_units(text, place(text, times), levels, max_duration=8.0)
    assert [segment.text for segment in segments] == ["Uno due tre.", "Quattro cinque sei sette, otto nove."]
    assert segments[0].end == segments[1].start == pytest.approx(3.4)


def test_without_any_pause_or_sentence_no_segment_is_too_long():
    text = " ".join(["parola"] * 50)
    times = [(0.5 * k, 0.5 * k + 0.5) for k in range(50)]
    segments = join_units(text, place(text, times), flat_levels(25.0), max_duration=6.0)
    assert " ".join(segment.text for segment in segments) == text
    assert all(0 < segment.end - segment.start <= 6.0 for segment in segments)


def test_text_that_was_not_found_stands_alone_with_confidence_0():
    text = "Prima frase. Manca questa. Terza frase."
    placed = place(text, [(0, 1), (1, 2), (2, 3), (2, 3), (3, 4), (4, 5)])
    placed = [
        PlacedUnit(unit.unit, unit.start, unit.end, 0.0) if 2 <= index < 4 else unit
        for index, unit in enumerate(placed)
    ]
    segments = join_units(text, placed, flat_levels(6.0), max_duration=30.0)
    assert [(s.text, s.confidence > 0) for s in segments] == [
        ("Prima frase.", True),
        ("Manca questa.", False),
        ("Terza frase.", True),
    ]


def test_words_that_may_not_be_spoken():
    text = "prima parola, e poi una frase che manca, infine Xyzabc resta"
    confidence = [0.9, 0.8, 0.3, 0.1, 0.05, 0.02, 0.3, 0.2, 0.7, 0.45, 0.9]
    placed = [
        PlacedUnit(u, k, k + 1, c)
        for k, (u, c) in enumerate(zip(split_transcript(text), confidence, strict=True))
    ]
    doubted = find_doubtful(placed)
    assert [k for k, is_doubted in enumerate(doubted) if is_doubted] == [2, 3, 4, 5, 6, 7]


def test_one_short_word_is_not_doubted():
    placed = place("uno k due", [(0, 1), (1, 2), (2, 3)])
    placed[1] = PlacedUnit(placed[1].unit, 1, 2, 0.02)
    assert find_doubtful(placed) == [False, False, False]


def test_no_segment_goes_across_a_long_pause():
    text = "uno due"
    segments = join_units(text, place(text, [(1.0, 2.0), (9.0, 10.0)]), flat_levels(12.0), max_duration=30.0)
    assert [(s.start, s.end) for s in segments] == [(0.5, 2.5), (8.5, 10.5)]


def test_cuts_lie_in_the_middle_of_the_silence():
    silent = np.zeros(400, dtype=bool)
    silent[100:160] = True
    levels = Levels(np.where(silent, -80.0, -20.0), silent)
    assert cut_between(levels, 1.05, 1.5) == (pytest.approx(1.3), pytest.approx(1.3))
    assert cut_between(levels, 1.0, 3.0) == (1.5, 2.5)


@settings(deadline=None)
@given(st.data())
def test_segments_hold_the_whole_text_in_order(data):
    count = data.draw(st.integers(1, 25))
    endings = data.draw(st.lists(st.sampled_from(["", ".", ",", "…"]), min_size=count, max_size=count))
    text = " ".join(f"w{index}{ending}" for index, ending in enumerate(endings))
    steps = data.draw(st.lists(st.floats(0, 3), min_size=2 * count, max_size=2 * count))
    edges = np.cumsum(steps)
    placed = [
        PlacedUnit(unit, float(start), float(end), data.draw(st.sampled_from([0.0, 0.7])))
        for unit, start, end in zip(split_transcript(text), edges[::2], edges[1::2], strict=True)
    ]
    segments = join_units(text, placed, flat_levels(edges[-1] + 1), max_duration=5.0)
    assert " ".join(segment.text for segment in segments) == text
    found = [segment for segment in segments if segment.confidence]
    assert all(segment.end - segment.start <= 5.0 + 1e-9 for segment in found)
    assert all(a.end <= b.start + 0.02 for a, b in itertools.pairwise(found))


def test_windows_are_packed_and_long_speech_is_cut():
    levels = flat_levels(200.0)
    spans = [SpeechSpan(0, 10), SpeechSpan(11, 20), SpeechSpan(21, 30), SpeechSpan(60, 130)]
    windows = plan_windows(spans, levels)
    assert (windows[0], windows[1]) == (SpeechSpan(0, 20), SpeechSpan(21, 30))
    assert windows[2].start == 60 and windows[-1].end == 130
    assert all(0 < window.end - window.start <= 28 for window in windows)
    assert [w.start for w in windows[3:]] == [w.end for w in windows[2:-1]]


def test_problem_of_a_segment():
    assert alignment_problem(AlignedSegment(0, 1, "a", 0.5), 0.5) is None
    assert (
        str(alignment_problem(AlignedSegment(0, 1, "a", 0.314), 0.5))
        == "low alignment confidence: 0.31, expected at least 0.5"
    )


def test_an_untrained_model_loses_no_text(tiny_whisper, italian_prompts):
    loaded = load_model(str(tiny_whisper))
    samples = np.concatenate([samples for samples, _ in italian_prompts[:3]])
    text = "Ciao a tutti.\n\nSeconda riga — fine"
    segments = align_transcript(samples, text, model=loaded.model, processor=loaded.processor, language=None)
    assert "".join("".join(s.text for s in segments).split()) == "".join(text.split())
    assert all(0 <= s.start <= s.end <= len(samples) / 16_000 + 0.02 for s in segments)


def test_a_text_without_words_is_kept_as_not_found(tiny_whisper):
    loaded = load_model(str(tiny_whisper))
    samples = np.zeros(16_000, dtype=np.float32)
    common = {"model": loaded.model, "processor": loaded.processor, "language": "it"}
    assert align_transcript(samples, " … ", **common) == [AlignedSegment(0.0, 1.0, "…", 0.0)]
    assert align_transcript(samples, "  ", **common) == []


def test_times_of_a_stretch_count_from_the_beginning_of_its_recording(monkeypatch):
    """A text of 2 to 6 s is cut in two; a third part, of which a model is not sure, is set aside."""
    samples = np.arange(160_000, dtype=np.float32)
    given = []

    def cut(samples, text, **options) -> list[AlignedSegment]:
        given.append((samples, text, options["language"]))
        return [
            AlignedSegment(0.25, 1.0, "Uno,  due.", 0.9),
            AlignedSegment(1.0, 2.5, "Tre", 0.1),
            AlignedSegment(2.5, 3.75, "quattro.", 0.8),
        ]

    monkeypatch.setattr("utils.data.forced_alignment.alignment.align_transcript", cut)
    common = {"model": None, "processor": None, "default_language": "it", "max_duration": 30.0}
    whole = Utterance("talk", b"", "Uno, due. Tre quattro.", "corpus", 7, speaker="anna")
    for utterance, offset, end in ((whole, 0, 160_000), (replace(whole, start=2.0, end=6.0), 2, 96_000)):
        parts = align_utterance(samples, utterance, **common, min_confidence=0.5)
        assert given[-1][0].tolist() == samples[16_000 * offset : end].tolist()
        assert given[-1][1:] == (utterance.text, "it")
        first, unsure, last = parts
        assert (first.start, first.end, first.text) == (offset + 0.25, offset + 1.0, "Uno, due.")
        assert (last.start, last.end, last.text) == (offset + 2.5, offset + 3.75, "quattro.")
        assert last.previous_text == "Tre" and last.position == f"{offset + 2.5:.2f} to {offset + 3.75:.2f} s"
        assert isinstance(unsure, Reject)
        assert unsure.position == f"{offset + 1:.2f} to {offset + 2.5:.2f} s"
        assert {part.speaker for part in (first, last)} == {"anna"}
        assert first.recording == (None if offset else "talk")


# ---- real speech -------------------------------------------------------------------------------------------


def align(loaded, samples: np.ndarray, text: str, **options) -> list[AlignedSegment]:
    common = {"model": loaded.model, "processor": loaded.processor, "language": "it", **options}
    segments = align_transcript(samples, text, max_duration=7.0, **common)
    assert " ".join(segment.text for segment in segments) == text
    return segments


@pytest.fixture(scope="module")
def whisper_base():
    from utils.model.resolving import resolve_model

    return load_model(resolve_model("openai/whisper-base"))


def put_together(prompts, silence_before: float = 0.0) -> tuple[np.ndarray, str, list[tuple[float, float]]]:
    """Prompts with half a second of silence behind each: samples, text, and where each prompt lies."""
    silence = np.zeros(8_000, dtype=np.float32)
    parts, spans, time = [np.zeros(round(16_000 * silence_before), dtype=np.float32)], [], silence_before
    for samples, _ in prompts:
        spans.append((time, time + len(samples) / 16_000))
        parts += [samples, silence]
        time += len(samples) / 16_000 + 0.5
    return np.concatenate(parts), " ".join(text for _, text in prompts), spans


@pytest.fixture(scope="module")
def heard_once():
    """Whisper writes down what it hears in a recording once, however many texts are aligned with it."""
    written: dict[tuple, list] = {}
    write_down = Reader.write_down

    def write_down_once(reader: Reader, windows):
        key = (reader.samples.tobytes(), *windows)
        if key not in written:
            written[key] = write_down(reader, windows)
        return written[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Reader, "write_down", write_down_once)
        yield


def test_prompts_are_found_where_they_are(whisper_base, italian_prompts, heard_once):
    """In a recording that begins with silence."""
    samples, text, spans = put_together(italian_prompts[:5], silence_before=2.0)
    segments = align(whisper_base, samples, text)
    gaps = [(before[1] + after[0]) / 2 for before, after in itertools.pairwise(spans)]
    for segment in segments[:-1]:
        assert min(abs(segment.end - gap) for gap in gaps) < 0.35
    assert all(segment.confidence > 0.5 for segment in segments)
    assert 1.0 < segments[0].start < 2.3 and abs(segments[-1].end - spans[-1][1]) < 0.6
    assert all(type(time) is float for segment in segments for time in (segment.start, segment.end))


def test_a_paragraph_that_nobody_says_shifts_nothing(whisper_base, italian_prompts, heard_once):
    samples, _, spans = put_together(italian_prompts[:5], silence_before=2.0)
    texts = [text for _, text in italian_prompts[:5]]
    extra = "Il vento soffiava forte sulla montagna mentre i pastori tornavano lentamente verso il villaggio."
    text = " ".join([*texts[:3], extra, *texts[3:]])
    segments = align(whisper_base, samples, text)
    set_aside = " ".join(s.text for s in segments if alignment_problem(s, 0.5))
    assert "pastori tornavano lentamente" in set_aside
    last = segments[-1]
    assert last.confidence > 0.5
    assert last.start <= spans[-1][0] + 0.3 and abs(last.end - spans[-1][1]) < 0.6


@pytest.mark.slow
def test_speech_without_text_shifts_nothing(whisper_base, italian_prompts):
    samples, _, spans = put_together(italian_prompts)
    texts = [text for _, text in italian_prompts]
    segments = align(whisper_base, samples, " ".join([*texts[:3], *texts[6:]]))
    kept = [segment for segment in segments if alignment_problem(segment, 0.5) is None]
    assert abs(kept[-1].end - spans[-1][1]) < 0.6
    unwritten = (spans[3][0], spans[5][1])
    for segment in kept:
        overlap = min(segment.end, unwritten[1]) - max(segment.start, unwritten[0])
        assert overlap < 1.1  # half a second on each side
