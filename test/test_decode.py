"""Decoding leaves out what cannot win, and gives bit for bit what computing everything gives."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lcr_seg_ros.decode import decode

Floats = npt.NDArray[np.float32]


def plain_decode(maps: Floats, ids: npt.NDArray[np.uint8], width: int, height: int) -> tuple[npt.NDArray, Floats]:
    """The definition: every class at every pixel, along rows and then down columns, in float32."""
    left, right, share = _samples(maps.shape[2], width)
    wide = maps[:, :, left] + share * (maps[:, :, right] - maps[:, :, left])
    above, below, share = _samples(maps.shape[1], height)
    full = wide[:, above] + share[:, None] * (wide[:, below] - wide[:, above])
    return ids[full.argmax(0)], full.max(0)


def _samples(coarse: int, fine: int) -> tuple[npt.NDArray, npt.NDArray, Floats]:
    at = np.clip((np.arange(fine) + 0.5) * coarse / fine - 0.5, 0.0, coarse - 1.0)
    first = at.astype(int)
    return first, np.minimum(first + 1, coarse - 1), (at - first).astype(np.float32)


def assert_same(maps: Floats, width: int, height: int) -> None:
    ids = np.random.default_rng(len(maps)).permutation(len(maps)).astype(np.uint8)
    labels, confidence = decode(maps, ids, width, height)
    wanted, sure = plain_decode(maps, ids, width, height)
    assert np.array_equal(labels, wanted)
    assert np.array_equal(confidence, sure)


@given(
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    fine=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    classes=st.integers(1, 12),
    sharpness=st.sampled_from([0.05, 1.0, 20.0]),
    levels=st.sampled_from([0, 4]),
    seed=st.integers(0, 999),
)
@settings(max_examples=200, deadline=None)
def test_labels_and_confidence_are_those_of_the_definition(
    size: tuple[int, int], fine: tuple[int, int], classes: int, sharpness: float, levels: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    maps = random.dirichlet(np.full(classes, sharpness), size).transpose(2, 0, 1)
    if levels:  # ties
        maps = np.round(maps * levels) + (maps.sum(0) < 2) * 1e-3
        maps /= maps.sum(0)
    assert_same(np.ascontiguousarray(maps, np.float32), *fine)


@pytest.mark.parametrize("size", [(640, 480), (1280, 720), (333, 217), (80, 60), (40, 30)])
def test_on_smooth_scenes_of_forty_classes(size: tuple[int, int]) -> None:
    random = np.random.default_rng(1)
    scores = random.normal(0, 4, (40, 8, 10)).repeat(8, 1).repeat(8, 2)[:, 2:62] + random.normal(0, 0.3, (40, 60, 80))
    maps = np.exp(scores) / np.exp(scores).sum(0)
    assert_same(maps.astype(np.float32), *size)


def test_maps_may_be_a_view_that_is_not_contiguous() -> None:
    maps = np.random.default_rng(0).dirichlet(np.ones(5), (6, 8)).astype(np.float32).transpose(2, 0, 1)
    assert_same(maps[:, :, ::-1], 32, 24)
