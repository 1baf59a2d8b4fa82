"""Words with their times: spelt out by hand, and drawn at random by Hypothesis."""

from collections.abc import Sequence

from hypothesis import strategies as st

from utils.delivery.cues import Layout
from utils.delivery.transcript import Word

LATIN = st.text("abèz", min_size=1, max_size=12)
ODD = st.sampled_from(
    [
        "<b>",
        "&amp;",
        "-->",
        "a-->b",
        "AT&T",
        "1",
        "{\\an8}",
        '"',
        "שלום",
        "مرحبا",
        "e\u0301te\u0301",
        "नमस्ते",
        "ﬁ",
    ]
)
ENDS = st.sampled_from(["", "", "", "", ",", ".", "?", "…", '."', ";"])
SPACED = st.builds(lambda text, end: f" {text}{end}", LATIN | ODD, ENDS)
SPACELESS = st.builds(
    lambda text, end: text + end,
    st.text("日本語かな漢", min_size=1, max_size=2),
    st.sampled_from(["", "。", "、"]),
)
MILLISECONDS = st.integers(0, 1500)


def words_at(text: str, start: float = 0.0, seconds: float = 0.25, pause: float = 0.0) -> list[Word]:
    """The words of a text, each of so many seconds, with a pause between two of them."""
    step = seconds + pause
    pieces = enumerate(text.split())
    return [Word(f" {piece}", start + step * n, start + step * n + seconds) for n, piece in pieces]


@st.composite
def spoken(draw: st.DrawFn, min_size: int = 0) -> list[Word]:
    """Words in order of time, in steps of milliseconds; pauses of up to 3 s between them."""
    texts = draw(st.lists(SPACED | SPACELESS, min_size=min_size, max_size=40))
    words, now = [], draw(MILLISECONDS)
    for text in texts:
        start = now + draw(st.sampled_from([0, 0, 0, 40, 350, 999, 1001, 3000]))
        now = start + draw(MILLISECONDS)
        words.append(Word(text, start / 1000, now / 1000))
    return words


def layouts() -> st.SearchStrategy[Layout]:
    return st.builds(Layout, st.integers(8, 60), st.integers(1, 3), st.sampled_from([8.0, 20.0, 40.0]))


def texts_of(words: Sequence[Word]) -> list[str]:
    return [word.text for word in words]
