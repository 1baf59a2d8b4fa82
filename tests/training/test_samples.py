"""samples.py: edits by hand, the same samples at every evaluation, colours as a terminal gets them."""

import io

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from utils.scoring.error_rates import score_utterances
from utils.scoring.word_alignment import align_words
from utils.training.samples import Sample, pick_samples, print_samples, samples_as_markdown, word_runs

SAMPLE = Sample("clip-1", "il gatto nero dorme qui ora", "il ratto dorme qui ora bene", 3, 6)


def printed(*samples: Sample, colours: bool) -> str:
    file = io.StringIO()
    system = "truecolor" if colours else None
    print_samples(samples, Console(file=file, force_terminal=colours, color_system=system, width=100))
    return file.getvalue()


def runs(reference: str, hypothesis: str, side: str) -> list[tuple[str, list[str]]]:
    return list(word_runs(align_words(reference, hypothesis), side))


def test_runs_of_words_by_hand():
    assert runs("a b c d", "a x c d e f", "reference") == [
        ("equal", ["a"]),
        ("substitute", ["b"]),
        ("equal", ["c", "d"]),
    ]
    assert runs("a b c d", "a x c d e f", "hypothesis")[3:] == [("insert", ["e", "f"])]
    assert [operation for operation, _ in runs("a b c", "a c", "reference")] == ["equal", "delete", "equal"]


words = st.lists(st.sampled_from(["uno", "due", "tre", "[x]", "[bold]"]), max_size=8).map(" ".join)


@given(words, words)
def test_runs_spell_both_texts(reference, hypothesis):
    for text, side in ((reference, "reference"), (hypothesis, "hypothesis")):
        assert " ".join(word for _, run in runs(reference, hypothesis, side) for word in run) == text


def test_colours_tell_substituted_inserted_and_deleted_words():
    text = printed(SAMPLE, colours=True)
    orange, blue, red = "38;2;230;159;0", "38;2;0;114;178", "38;2;213;94;0"  # the palette's published values
    reference, hypothesis = text.splitlines()[2:]
    assert orange in reference and red in reference and blue not in reference
    assert orange in hypothesis and blue in hypothesis and red not in hypothesis


def test_brackets_tell_them_without_colours_and_text_is_no_markup():
    text = printed(SAMPLE, Sample("clip-2", "[bold] parola", "[bold]", 1, 2), colours=False)
    assert text.startswith("Some validation clips") and "clip-2: 1 error in 2 words" in text
    assert "\x1b" not in text
    assert "clip-1: 3 errors in 6 words" in text
    assert text.count("[gatto]") == text.count("[ratto]") == text.count("[nero]") == 1
    assert "ora [bene]" in text
    assert "[bold] [parola]" in text


def test_a_hypothesis_that_runs_away_is_cut():
    text = printed(Sample("x", "uno", "uno " * 500, 499, 1), colours=False)
    assert text.count("uno") < 70 and "…" in text


def test_markdown_is_escaped():
    table = samples_as_markdown([Sample("a|b", "uno *due*", "uno tre", 1, 2)])
    assert table.splitlines()[2] == "| a\\|b | 1 / 2 | uno **\\*due\\*** | uno **tre** |"


def scored(hypotheses: list[str]):
    return score_utterances(list("abcdef"), ["Uno due"] * 6, hypotheses, "basic")


def test_samples_stay_the_same_and_the_worst_joins_them():
    first = pick_samples(scored(["uno due"] * 6), 2, seed=7, raw=False)
    outside = next(id for id in "abcdef" if id not in {sample.id for sample in first})
    hypotheses = ["x y z" if id == outside else "uno due" for id in "abcdef"]
    later = pick_samples(scored(hypotheses), 2, seed=7, raw=False)
    drawn = [sample.id for sample in later[:2]]
    assert set(drawn) <= {sample.id for sample in first}
    assert later[-1].id == outside and len(later) == 3


def test_none_are_shown_for_zero_and_raw_texts_for_a_raw_metric():
    assert pick_samples([], 3, seed=7, raw=False) == []
    assert pick_samples(scored(["uno due"] * 6), 1, seed=7, raw=True)[0].reference == "Uno due"
    assert pick_samples(scored(["uno due"] * 6), 1, seed=7, raw=False)[0].reference == "uno due"
