"""What scripts print."""

from utils.runtime.messages import counted


def test_one_thing_is_no_plural():
    assert [counted(n, "clip") for n in (0, 1, 2000)] == ["0 clips", "1 clip", "2,000 clips"]
