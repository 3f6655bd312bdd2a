"""The transcription of the MATLAB reference against MATLAB's output, and ``exact`` against the transcription."""

from __future__ import annotations

import hha_reference
import numpy as np
import pytest
from hha_reference import WindowSum, direct_window_sum, filled_from_nearest, separable_window_sum, windows_on_one_line
from shared_data import shared_image

from lcr_seg_ros.frame import CameraIntrinsics
from lcr_seg_ros.hha import HhaEncoder

# Published for 1-based pixels, here for pixels counted from 0.
NYUDV2 = CameraIntrinsics(518.857901, 519.469611, 325.582449 - 1, 253.736166 - 1, 640, 480)
KITCHEN = CameraIntrinsics(585.0, 585.0, 320.0, 240.0, 640, 480)

DISPARITY, HEIGHT, ANGLE = 0, 1, 2


@pytest.mark.parametrize("window_sum", [direct_window_sum, separable_window_sum])
def test_the_transcription_equals_matlab_in_every_pixel(window_sum: WindowSum) -> None:
    depth = shared_image("hha", "depth_filled.png") / 10000.0
    got = hha_reference.hha(depth, np.zeros(depth.shape, bool), NYUDV2, window_sum)
    np.testing.assert_array_equal(got, shared_image("hha", "expected_filled_filled.png")[:, :, ::-1])


def test_the_transcription_is_within_one_level_of_the_python_port_where_normals_are_well_posed() -> None:
    depth, missing = shared_image("hha", "depth_filled.png") / 10000.0, shared_image("hha", "depth_raw.png") == 0
    got = hha_reference.hha(depth, missing, NYUDV2, separable_window_sum)
    off = np.abs(got.astype(int) - shared_image("hha", "expected_filled_raw.png")[:, :, ::-1])
    assert off[..., DISPARITY].max() == 0
    assert off[~windows_on_one_line(~missing)].max() <= 1
    assert (off > 0).mean() < 0.01


@pytest.mark.parametrize("masked", [False, True], ids=["all measured", "holes masked"])
@pytest.mark.parametrize("name", ["000000", "000060"])
def test_exact_equals_the_transcription_on_a_kinect_frame_filled_beforehand(name: str, masked: bool) -> None:
    raw = shared_image("kitchen", "depth", f"{name}.png")
    depth = filled_from_nearest(raw) / 1000.0
    measured = raw > 0 if masked else np.ones(raw.shape, bool)
    assert (raw == 0).mean() > 0.03
    expected = hha_reference.hha(depth, ~measured, KITCHEN, separable_window_sum)
    off = np.abs(HhaEncoder("exact").encode(depth, KITCHEN, valid=measured).astype(int) - expected)
    assert off[..., DISPARITY].max() == 0
    well_posed = ~windows_on_one_line(measured)
    assert (off[well_posed] <= 1).all(axis=-1).mean() >= 0.999
    # Where holes are masked, the reference's gravity also counts the noise it takes from singular 21x21 windows.
    assert (off[well_posed] > 0).mean() < (0.01 if masked else 1e-4)
