"""A part of a file reads like the same bytes alone."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.runtime.files import FilePart

DATA = bytes(range(256))


@given(
    st.integers(0, 200),
    st.integers(0, 56),
    st.lists(st.tuples(st.sampled_from([0, 1, 2]), st.integers(-60, 80), st.integers(-1, 70))),
)
def test_it_seeks_and_reads_like_the_bytes_alone(start, size, moves):
    file = io.BytesIO(DATA)
    part, alone = FilePart(file, start, size), io.BytesIO(DATA[start : start + size])
    for whence, offset, length in moves:
        if whence == 0 or offset < 0:
            offset = abs(offset)  # `BytesIO` refuses places before the beginning
        assert part.seek(offset, whence) == alone.seek(offset, whence)
        file.seek(7)  # as another part of the file would
        assert part.read(length) == alone.read(length)
        assert part.tell() == alone.tell()


def test_a_file_that_ends_too_early_is_told():
    part = FilePart(io.BytesIO(DATA), 250, 10)
    assert part.read(6) == DATA[250:]
    with pytest.raises(EOFError, match="4 bytes too early"):
        part.read(1)


def test_only_the_owner_closes_the_file():
    file = io.BytesIO(DATA)
    FilePart(file, 0, 10).close()
    assert not file.closed
    FilePart(file, 0, 10, owns=True).close()
    assert file.closed
