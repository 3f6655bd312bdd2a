"""Colour and depth are paired by stamp, also after a clock has jumped back."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("sensor_msgs", reason="needs ROS 2's messages")

from sensor_msgs.msg import Image

from lcr_seg_ros.errors import FrameError
from lcr_seg_ros.ros.compat.message_filters import MessageFiltersPairs, NearestStampPairs, choose_stamp_pairs
from lcr_seg_ros.ros.synchronizer import COLOR, DEPTH, RgbdSynchronizer


def image(ms: float) -> Image:
    message = Image()
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(round(ms * 1e6), 10**9)
    return message


def synchronizer(**arguments) -> RgbdSynchronizer:
    return RgbdSynchronizer(choose_stamp_pairs()[0], **{"queue_size": 10, "slop": 0.016, **arguments})


def test_images_of_one_stamp_are_a_pair_whichever_comes_first():
    for first, second in ((COLOR, DEPTH), (DEPTH, COLOR)):
        pairs = synchronizer()
        sent = {first: image(1000), second: image(1000)}
        assert pairs.add(first, sent[first]) is None
        pair = pairs.add(second, sent[second])
        assert pair is not None and pair.color is sent[COLOR] and pair.depth is sent[DEPTH]
        assert pair.stamp_ns == 10**9


def test_the_nearest_partner_is_taken():
    pairs = synchronizer()
    near, far = image(1005), image(990)
    pairs.add(DEPTH, far)
    pairs.add(DEPTH, near)
    pair = pairs.add(COLOR, image(1000))
    assert pair is not None and pair.depth is near


@pytest.mark.parametrize(("gap_ms", "is_pair"), [(15.9, True), (16.0, False), (16.1, False)])
def test_stamps_must_be_nearer_than_slop(gap_ms, is_pair):
    pairs = synchronizer()
    pairs.add(COLOR, image(1000))
    assert (pairs.add(DEPTH, image(1000 + gap_ms)) is not None) == is_pair


def test_one_lost_image_costs_one_pair():
    pairs = synchronizer()
    made = []
    for n in range(10):
        pairs.add(COLOR, image(1000 + 33 * n))
        if n != 4 and (pair := pairs.add(DEPTH, image(1000 + 33 * n + 3))):
            made.append(pair.stamp_ns)
    assert made == [round((1000 + 33 * n) * 1e6) for n in range(10) if n != 4]


def test_after_a_step_back_pairs_come_again_and_the_step_is_told():
    steps = []
    pairs = synchronizer(on_backward_step=lambda side, seconds: steps.append((side, seconds)))
    for n in range(20):
        pairs.add(COLOR, image(100_000 + 33 * n))  # more colour than depth: the queue fills with later stamps
    pairs.add(DEPTH, image(100_000 + 33 * 19))
    made = [pairs.add(DEPTH, image(1000 + 33 * n)) or pairs.add(COLOR, image(1000 + 33 * n)) for n in range(5)]
    assert [pair is not None for pair in made] == [True] * 5
    assert steps == [(DEPTH, pytest.approx(99.627))]


def test_a_pair_knows_when_its_colour_image_came():
    pairs = synchronizer()
    before = time.monotonic()
    pairs.add(COLOR, image(1000))
    between = time.monotonic()
    pairs.add(COLOR, image(1033))
    pair = pairs.add(DEPTH, image(1002))
    assert pair is not None and pair.arrived_s is not None
    assert before <= pair.arrived_s <= between
    alone = synchronizer(with_depth=False).add(COLOR, image(5))
    assert alone is not None and alone.arrived_s is not None and alone.arrived_s >= between


def test_equal_stamps_are_no_step_back():
    steps = []
    pairs = synchronizer(on_backward_step=lambda *step: steps.append(step))
    for _ in range(3):
        pairs.add(COLOR, image(0))
        assert pairs.add(DEPTH, image(0)) is not None
    assert not steps


def test_an_image_that_leaves_its_queue_without_a_partner_is_told():
    lost = []
    pairs = synchronizer(queue_size=3, on_unpaired=lost.append)
    for n in range(10):
        pairs.add(COLOR, image(1000 + 33 * n))
        pairs.add(DEPTH, image(1000 + 33 * n + (0 if n % 2 else 16.5)))  # every other one is a pair
    assert (lost.count(COLOR), lost.count(DEPTH)) == (3, 3)  # of five each, two still wait
    pairs.reset()
    assert len(lost) == 6


def test_without_depth_no_image_lacks_a_partner():
    lost = []
    pairs = synchronizer(queue_size=1, with_depth=False, on_unpaired=lost.append)
    assert all(pairs.add(COLOR, image(1000 + 33 * n)) for n in range(5))
    assert not lost


def test_without_depth_every_colour_image_is_a_pair_of_its_own():
    pair = synchronizer(with_depth=False).add(COLOR, image(5))
    assert pair is not None and pair.depth is None


def test_the_closest_gap_is_known_when_both_kinds_came():
    pairs = synchronizer()
    assert pairs.closest_gap_s is None
    pairs.add(COLOR, image(1000))
    assert pairs.closest_gap_s is None
    pairs.add(DEPTH, image(1200))
    pairs.add(COLOR, image(1100))
    assert pairs.closest_gap_s == pytest.approx(0.1)


def test_the_closest_gap_is_of_images_that_have_no_partner():
    pairs = synchronizer()
    pairs.add(COLOR, image(1000))
    assert pairs.add(DEPTH, image(1001)) is not None
    assert pairs.closest_gap_s is None
    pairs.add(COLOR, image(1100))
    pairs.add(DEPTH, image(1150))
    assert pairs.closest_gap_s == pytest.approx(0.05)


ARRIVALS = st.lists(st.tuples(st.sampled_from([COLOR, DEPTH]), st.integers(0, 400)), max_size=60)


@given(ARRIVALS, st.integers(1, 5), st.sampled_from([0.0, 0.001, 0.016, 0.1]))
def test_no_image_is_used_twice_and_no_pair_is_wider_than_slop(arrivals, queue_size, slop):
    pairs = NearestStampPairs(queue_size, slop)
    used: set[int] = set()
    sent = []  # keeps them alive, so that ids stay unique
    for side, ms in arrivals:
        sent.append(image(ms))
        if pair := pairs.add(side, sent[-1]):
            gap = abs(pair[0].header.stamp.nanosec - pair[1].header.stamp.nanosec)
            assert gap < slop * 1e9
            assert not used & {id(pair[0]), id(pair[1])}
            used |= {id(pair[0]), id(pair[1])}


@given(ARRIVALS, st.integers(1, 5), st.sampled_from([0.0, 0.001, 0.016, 0.1]))
def test_our_stand_in_pairs_as_message_filters_does(arrivals, queue_size, slop):
    pytest.importorskip("message_filters", reason="needs a ROS installation with message_filters")
    theirs, ours = MessageFiltersPairs(queue_size, slop), NearestStampPairs(queue_size, slop)
    for side, ms in arrivals:
        message = image(ms)
        assert theirs.add(side, message) == ours.add(side, message)


@pytest.mark.parametrize("side", [COLOR, DEPTH])
def test_a_stamp_before_the_beginning_of_time_is_refused_and_leaves_no_trace(side: int):
    pairs = synchronizer()
    with pytest.raises(FrameError, match="before the beginning of time"):
        pairs.add(side, image(-5000))
    pairs.add(COLOR, image(1000))
    assert pairs.add(DEPTH, image(1000)) is not None
