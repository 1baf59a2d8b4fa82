"""The progress bar's arithmetic, with a clock set by hand."""

import io
import logging

import pytest
from rich.console import Console

from utils.runtime import progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that moves only when told to."""
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_throughput_leaves_pauses_out(clock):
    with progress.audio_progress("training", 10, Console(file=io.StringIO())) as bar:
        clock[0] += 10
        bar.advance(2, 50.0)
        with bar.paused():
            clock[0] += 40
        clock[0] += 10
        bar.advance(2, 50.0)
        assert bar.audio_seconds_per_second == pytest.approx(100 / 20)


def test_a_log_file_gets_a_line_every_half_minute_with_the_time_left(clock):
    output = io.StringIO()
    with progress.audio_progress("training", 100, Console(file=output, width=120)) as bar:
        bar.skip(50)  # done by an earlier run
        for _ in range(10):
            clock[0] += 7
            bar.advance(1, 14.0, "loss 1.000")
    lines = output.getvalue().splitlines()
    assert lines == [
        "training: 55%  2.0 audio s/s  loss 1.000  5.2 min left",  # 5 units in 35 s, 45 to go
        "training: 60%  2.0 audio s/s  loss 1.000  4.7 min left",
    ]


def test_other_processes_print_nothing(clock):
    output = io.StringIO()
    with progress.audio_progress("training", 2, Console(file=output), shown=False) as bar:
        clock[0] += 100
        bar.advance(1, 1.0)
    assert output.getvalue() == ""


def test_deepspeed_tells_errors_alone_whatever_level_it_sets_when_it_is_imported():
    progress.silence_libraries()
    logger, output = logging.getLogger("DeepSpeed"), io.StringIO()
    handler, level = logging.StreamHandler(output), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.warning("Setting accelerator to CPU")
    logger.error("broken")
    logger.removeHandler(handler)
    logger.setLevel(level)
    assert output.getvalue() == "broken\n"
