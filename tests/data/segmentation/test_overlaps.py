"""Pieces of several speakers that talk at once, beside a look at every pair."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from utils.data.segmentation.overlaps import reject_overlaps
from utils.data.segmentation.pieces import BadPiece, Piece

PIECES = st.lists(
    st.tuples(st.integers(0, 40), st.integers(1, 20), st.sampled_from(["Anna", "Bo", "Cem", None])),
    max_size=12,
)


@given(PIECES)
def test_both_of_two_speakers_that_talk_at_once_are_rejected_and_no_others(drawn):
    """Times are quarters of a second; a fifth may be shared."""
    spoken = sorted(
        ((start / 4, (start + length) / 4, speaker) for start, length, speaker in drawn),
        key=lambda one: one[:2],
    )
    pieces = [Piece(n, start, end, "ciao", speaker) for n, (start, end, speaker) in enumerate(spoken)]
    expected = set()
    for one, other in itertools.combinations(pieces, 2):
        shared = min(one.end, other.end) - max(one.start, other.start)
        if None not in (one.speaker, other.speaker) and one.speaker != other.speaker and shared > 0.2:
            expected |= {one.position, other.position}
    found = reject_overlaps(pieces)
    assert {item.position for item in found if isinstance(item, BadPiece)} == expected
    for item in found:
        if isinstance(item, BadPiece):
            own = pieces[item.position].speaker
            assert any(
                f"while {name!r} speaks" in str(item.problem) for name in {"Anna", "Bo", "Cem"} - {own}
            )
