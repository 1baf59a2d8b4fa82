"""The arithmetic of the finder; tests/test_train_memory.py measures."""

import numpy as np
import pytest

from utils.runtime.memory import Limit
from utils.training.micro_batch_demand import Demand, FoundClips, Shape, demand_of
from utils.training.micro_batch_probe import Edge, clips_within, read_off

LIMIT = Limit("RLIMIT_DATA", "private", 1_000)


def test_contexts_are_halved_from_the_longest_to_the_shortest_with_the_longest_labels_of_each():
    demand = demand_of([1.0, 4.0, 9.9], [7, 30, 20], audio_context="dynamic", jitter=[0, 2], largest=8)
    assert demand.edges == (1.5, 3.0, 6.0, 12.0)  # 9.9 + 2 + 0.1 of tail
    assert [demand.shape(edge).tokens for edge in demand.edges] == [7, 7, 30, 30]
    assert demand.shape(4.0).tokens == 7 and demand.shape(4.1).tokens == 30
    assert demand.shape(25.0).tokens == 30


def test_the_full_context_is_one():
    demand = demand_of([1.0, 4.0], [7, 30], audio_context="full", jitter=[0], largest=8)
    assert demand.edges == (30.0,) and demand.shape(30.0) == Shape(30.0, 30)


def test_a_line_through_two_measurements():
    edge = Edge.through(Shape(2.0, 5), (1, np.array([110.0])), (5, np.array([150.0])), most=99)
    assert (edge.base[0], edge.per_clip[0]) == (100, 10)
    assert [edge.fits(np.array([size])) for size in (99.0, 109.0, 110.0, 199.0)] == [-1, 0, 1, 9]
    assert edge.stretched_to(Shape(6.0, 10)).per_clip[0] == 30


def test_the_tightest_limit_counts():
    assert clips_within(np.array([100.0, 50.0]), np.array([10.0, 20.0])) == 2


def test_between_measured_contexts_the_lines_are_straight_and_labels_count_as_they_are():
    # 100 bytes beside clips; a clip takes 10 a second and 2 a token
    tokens = tuple(10 if index < 80 else 40 for index in range(101))
    shapes = [Shape(5.0, 10), Shape(10.0, 40)]
    edges = [
        Edge(shape, np.array([100.0]), np.array([10.0 * shape.context + 2 * shape.tokens]), 50)
        for shape in shapes
    ]
    found = read_off(Demand((5.0, 10.0), tokens, 50), edges, np.array([2.0]), [LIMIT])
    assert found(5.0) == 12  # 900 / 70
    assert found(7.9) == 9  # 900 / (79 + 20)
    assert found(8.0) == 5  # 900 / (80 + 80)
    assert found(10.0) == 5  # 900 / 180
    assert found(1.0) == 12  # shorter than all measured: as the shortest
    assert found(20.0) == 2  # longer: its share
    assert found.peak_bytes == 1000 and found.limit == LIMIT


def test_no_more_than_what_failed_and_no_less_than_one():
    edge = Edge(Shape(5.0, 1), np.array([0.0]), np.array([1.0]), most=3)
    found = read_off(Demand((5.0,), (1,) * 51, 8), [edge], np.array([0.0]), [LIMIT])
    assert found(5.0) == 3
    dear = Edge(Shape(5.0, 1), np.array([0.0]), np.array([2_000.0]), most=3)
    assert read_off(Demand((5.0,), (1,) * 51, 8), [dear], np.array([0.0]), [LIMIT])(5.0) == 1


def test_what_was_found_is_said_and_kept(tmp_path):
    from accelerate import Accelerator

    from utils.training.micro_batch_finder import read_found, save_found

    found = FoundClips((5.0,), (3,) * 51, Limit("RLIMIT_DATA", "address_space", 10**15), 10**6)
    assert "3 of 5 s" in found.describe() and "RLIMIT_DATA" in found.describe()
    save_found(found, tmp_path / "found.json", "memory low")
    assert read_found(tmp_path / "found.json", Accelerator(cpu=True), "memory low") == found
    assert read_found(tmp_path / "found.json", Accelerator(cpu=True), "memory normal") is None
    assert read_found(tmp_path / "none.json", Accelerator(cpu=True), "memory low") is None
    huge = FoundClips((5.0,), (3,) * 51, Limit("available memory", "resident", 10**18), 10**17)
    save_found(huge, tmp_path / "found.json", "memory low")
    assert read_found(tmp_path / "found.json", Accelerator(cpu=True), "memory low") is None


@pytest.mark.parametrize("clips", [1, 3])
def test_made_up_clips_have_the_shape_asked_for(clips):
    from utils.training.micro_batch_probe import made_up_batch

    batch = made_up_batch(clips, Shape(2.5, 12))
    assert batch.waveforms.shape == (clips, 40_000) and batch.labels.shape == (clips, 12)
    assert (batch.labels >= 0).all() and len(batch.seeds) == len(batch.durations) == clips
