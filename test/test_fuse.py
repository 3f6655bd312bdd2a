from pathlib import Path

import numpy as np
import pytest
import torch
from test_networks import FCN32S, bundle_of, create, settle

from lcr_seg_ros.backends import create_backend
from lcr_seg_ros.bundle import InputSpec, ModelBundle
from lcr_seg_ros.errors import BundleError
from lcr_seg_ros.training.fuse import fuse_bundles


def test_two_bundles_become_one_that_averages_their_scores(tmp_path: Path) -> None:
    torch.manual_seed(0)
    # No SegNet: where weights kept in float16 make another pixel of a window the largest, it answers otherwise.
    member = {**FCN32S, "border": "same"}
    rgb, hha = settle(create(member), 3), settle(create(member), 3)
    bundle_of(rgb, member).save(tmp_path / "rgb.lcrseg")
    plain = bundle_of(hha, member)
    spec = InputSpec("hha", 96, 128, (1.0, 2.0, 3.0), (1.0,) * 3)
    ModelBundle(**{**vars(plain), "input": spec}).save(tmp_path / "hha.lcrseg")
    fused = fuse_bundles(tmp_path / "rgb.lcrseg", tmp_path / "hha.lcrseg", "both")
    assert fused.input.mean == (127.5, 127.5, 127.5, 1, 2, 3)
    x = torch.randn(1, 6, 64, 96)
    with torch.inference_mode():
        wanted = ((rgb(x[:, :3]) + hha(x[:, 3:])) / 2).softmax(1).numpy()
    for name in ("openvino", "torch"):
        answer = create_backend(fused, name, "cpu", 1).infer(x.numpy())
        assert np.abs(answer - wanted).max() < 0.02, name


def test_models_that_do_not_go_together_are_told_apart(tmp_path: Path) -> None:
    settled = settle(create({**FCN32S, "border": "same"}), 3)
    bundle_of(settled, {**FCN32S, "border": "same"}).save(tmp_path / "rgb.lcrseg")
    with pytest.raises(BundleError, match="a model of rgb and one of hha, got rgb and rgb"):
        fuse_bundles(tmp_path / "rgb.lcrseg", tmp_path / "rgb.lcrseg", "both")
