"""Transcript and heard words: units, runs of agreement, stretches. All by hand."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.data.forced_alignment.anchors import Heard, MatchedRun, match_units, split_transcript
from utils.data.forced_alignment.stretches import Stretch, is_unsaid, plan_stretches


def middle(end: float, start: float) -> tuple[float, float]:
    return ((end + start) / 2,) * 2


def words_of(text: str) -> list[str]:
    return [text[unit.start : unit.end] for unit in split_transcript(text)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Ciao, mondo!", ["Ciao,", "mondo!"]),
        ("... è ora — qui", ["... è", "ora —", "qui"]),
        ("«Sì» disse.", ["«Sì»", "disse."]),
        ("数字 です。OK", ["数", "字", "で", "す。", "OK"]),
        ("ที่นี่", ["ที่", "นี่"]),  # vowel signs and tone marks stay with their consonant
        ("L'operatore 3x", ["L'operatore", "3x"]),
        ("...", []),
        ("", []),
    ],
)
def test_units(text: str, words: list[str]):
    assert words_of(text) == words


def test_keys_are_letters_and_digits_in_lower_case():
    assert [unit.key for unit in split_transcript("L’Operatore, È 42!")] == ["loperatore", "è", "42"]


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=60))
def test_units_cover_all_but_whitespace(text: str):
    units = split_transcript(text)
    for before, after in itertools.pairwise(units):
        assert before.end <= after.start
    if units:
        covered = "".join(text[unit.start : unit.end] for unit in units)
        assert "".join(covered.split()) == "".join(text.split())
        assert all(unit.key for unit in units)


def keys(text: str) -> list[str]:
    return text.split()


def test_equal_texts_are_one_run():
    assert match_units(keys("a b c d"), keys("a b c d")) == [MatchedRun(0, 0, 4)]


def test_runs_grow_over_words_spelt_alike():
    runs = match_units(keys("premere il tasto cancelletto ora"), keys("premere il testo cancelleto ora"))
    assert [(run.unit + k, run.heard + k) for run in runs for k in range(run.length)] == [
        (0, 0),
        (1, 1),
        (2, 2),
        (3, 3),
        (4, 4),
    ]


def test_a_chance_word_in_foreign_speech_ties_nothing():
    said = "questa frase viene prima di tutto e poi segue la seconda parte del testo"
    foreign = "xa xb xc xd xe xf xg xh e xi xj xk xl xm xn la xo xp xq xr xs xt xu"
    heard = said.split()[:6] + foreign.split() + said.split()[6:]
    links = [
        (run.unit + k, run.heard + k) for run in match_units(said.split(), heard) for k in range(run.length)
    ]
    assert links == [(k, k if k < 6 else k + len(foreign.split())) for k in range(14)]


@given(st.lists(st.sampled_from("abc"), max_size=30), st.lists(st.sampled_from("abc"), max_size=30))
def test_runs_are_in_order_and_agree(left: list[str], right: list[str]):
    unit = heard = 0
    for run in match_units(left, right):
        assert run.length > 0 and run.unit >= unit and run.heard >= heard
        unit, heard = run.unit + run.length, run.heard + run.length
        assert left[run.unit : unit] == right[run.heard : heard]
    assert unit <= len(left) and heard <= len(right)


def spoken(text: str, start: float = 0.0, pause_after: dict[int, float] | None = None) -> list[Heard]:
    """Each word takes 0.4 s; pauses follow the words of the given indices."""
    heard, time = [], start
    for index, unit in enumerate(split_transcript(text)):
        heard.append(Heard(unit.key, time, time + 0.4))
        time += 0.4 + (pause_after or {}).get(index, 0.0)
    return heard


def plan(text: str, heard: list[Heard], duration: float) -> list[Stretch]:
    units = split_transcript(text)
    runs = match_units([unit.key for unit in units], [word.key for word in heard])
    return plan_stretches(units, [2] * len(units), runs, heard, duration, middle)


HUNDRED = " ".join(f"parola{index:03d}x" for index in range(100))


def test_a_long_passage_is_cut_at_its_pauses():
    heard = spoken(HUNDRED, pause_after={39: 1.0, 70: 0.6})
    stretches = plan(HUNDRED, heard, 41.6)
    assert [(s.first, s.last) for s in stretches] == [(0, 40), (40, 100)]
    assert stretches[0].end == stretches[1].start == pytest.approx(16.5)


def test_few_tokens_allowed_make_short_stretches(monkeypatch):
    monkeypatch.setattr("utils.data.forced_alignment.stretches.MOST_TOKENS", 50)
    stretches = plan(HUNDRED, spoken(HUNDRED), 40.0)
    assert all(s.last - s.first <= 25 for s in stretches)
    assert [s.first for s in stretches[1:]] == [s.last for s in stretches[:-1]]
    assert (stretches[0].first, stretches[-1].last) == (0, 100)


def test_text_that_nobody_says_is_in_no_stretch():
    words = HUNDRED.split()
    heard = spoken(" ".join(words[:30] + words[60:]))
    stretches = plan(HUNDRED, heard, 28.0)
    assert [(s.first, s.last) for s in stretches] == [(0, 30), (60, 100)]
    assert stretches[0].end == pytest.approx(12.0, abs=0.01)
    assert stretches[1].start == pytest.approx(12.0, abs=0.01)


def test_speech_without_text_is_in_no_stretch():
    words = HUNDRED.split()[:90]
    foreign = " ".join(f"altro{index}" for index in range(50))
    heard = spoken(" ".join([*words[:30], foreign, *words[30:]]))
    units, runs = split_transcript(" ".join(words)), [MatchedRun(0, 0, 30), MatchedRun(30, 80, 60)]
    assert match_units([u.key for u in units], [h.key for h in heard]) == runs
    stretches = plan_stretches(units, [2] * 90, runs, heard, 56.0, lambda *edges: edges)
    assert [(s.first, s.last) for s in stretches] == [(0, 30), (30, 90)]
    edges = [edge for s in stretches for edge in (s.start, s.end)]
    assert edges == pytest.approx([0.0, 12.0, 32.0, 56.0])


def test_missing_first_and_last_words():
    words = HUNDRED.split()
    stretches = plan(HUNDRED, spoken(" ".join(words[30:60]), start=1.0), 13.5)
    assert [(s.first, s.last) for s in stretches] == [(30, 60)]


def test_nothing_heard_gives_no_stretch():
    assert plan(HUNDRED, [], 60.0) == []


def test_badly_heard_text_is_cut_by_its_length():
    heard = spoken(HUNDRED)
    noise = [
        word if index % 50 < 6 else Heard("zzz", word.start, word.end) for index, word in enumerate(heard)
    ]
    stretches = plan(HUNDRED, noise, 40.0)
    assert [s.first for s in stretches[1:]] == [s.last for s in stretches[:-1]]
    assert (stretches[0].first, stretches[-1].last) == (0, 100)
    for stretch in stretches:
        assert stretch.end - stretch.start <= 28.0
        assert stretch.start == pytest.approx(0.4 * stretch.first, abs=2.0)


@pytest.mark.parametrize(
    ("num_units", "expected", "there", "unsaid"),
    [(1, 9.0, 0.0, False), (10, 4.0, 0.5, True), (10, 4.0, 3.0, False), (2, 0.5, 0.0, False)],
)
def test_unsaid(num_units: int, expected: float, there: float, unsaid: bool):
    assert is_unsaid(num_units, expected, there) is unsaid
