"""A network that does not return: the node says so, goes on answering, and never has it used by two threads at once."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2's rclpy")

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from node_under_test import node_here
from ros_peer import Peer, peer_in_domain
from sensor_msgs.msg import Image
from tiny_bundle import tiny_bundle

from lcr_seg_ros.backends import create_backend
from lcr_seg_ros.bundle import ModelBundle
from lcr_seg_ros.errors import BackendError
from lcr_seg_ros.frame import RgbdFrame
from lcr_seg_ros.labels import LabelSet
from lcr_seg_ros.ros.camera import Job
from lcr_seg_ros.ros.engine import Engine
from lcr_seg_ros.ros.gravity_sources import GravityReading
from lcr_seg_ros.ros.processes import free_domain_id
from lcr_seg_ros.ros.synchronizer import ImagePair
from lcr_seg_ros.segmenter import Segmenter

LONG_S = 30.0


class HangingBackend:
    """Hangs while ``returns`` is cleared; ``most_at_once`` is the largest number of threads that were in it."""

    name, device = "onnxruntime", "cpu"

    def __init__(self, bundle: ModelBundle, *arguments: object) -> None:
        self._backend = create_backend(bundle, device="cpu")
        self.returns = threading.Event()
        self.returns.set()
        self.hangs = threading.Event()
        self._inside = 0
        self.most_at_once = 0

    def infer(self, tensor: np.ndarray) -> np.ndarray:
        self._inside += 1
        self.most_at_once = max(self.most_at_once, self._inside)
        if not self.returns.is_set():
            self.hangs.set()
        self.returns.wait(120)
        self._inside -= 1
        return self._backend.infer(tensor)


class OneFrame:
    """A camera without ROS that gives one frame again and again."""

    mailbox: Any = None
    wants_hha = False
    drawing = None

    def __init__(self) -> None:
        self._frame = RgbdFrame(np.zeros((60, 80, 3), np.uint8))
        self.published = threading.Event()
        self.lost: list[Exception] = []

    def read(self, pair: ImagePair, uses_depth: bool) -> Job:
        return Job(pair, self._frame, GravityReading(), None)

    def publish(self, job: Job, segmentation: object) -> None:
        self.published.set()

    def lose(self, step: str, error: Exception) -> None:
        self.lost.append(error)

    def send(self) -> None:
        self.mailbox.put(ImagePair(Image(), None))


# The engine


def hanging() -> tuple[Engine, OneFrame, HangingBackend]:
    """An engine at work on a frame from which its network does not return."""
    bundle, camera = tiny_bundle("rgb"), OneFrame()
    backend = HangingBackend(bundle)
    segmenter = Segmenter(bundle, backend)
    segmenter.warm_up(80, 60)
    engine = Engine(segmenter, [camera])
    engine.start()
    backend.returns.clear()
    camera.send()
    assert backend.hangs.wait(LONG_S)
    return engine, camera, backend


@pytest.fixture()
def hung() -> Iterator[tuple[Engine, OneFrame, HangingBackend]]:
    """An engine that has been stopped while its network hung."""
    engine, camera, backend = hanging()
    assert not engine.stop(0.01)
    yield engine, camera, backend
    backend.returns.set()
    assert engine.stop(LONG_S)


def test_while_it_hangs_between_frames_says_so_in_time() -> None:
    engine, camera, backend = hanging()
    with pytest.raises(BackendError, match=r"has not returned within 0\.01 s"), engine.between_frames(0.01):
        pass
    backend.returns.set()
    assert camera.published.wait(LONG_S)
    assert engine.stop(LONG_S)


def test_a_network_that_hangs_is_not_started_again_until_it_returns(hung: tuple[Engine, OneFrame, HangingBackend]):
    engine, camera, backend = hung
    with pytest.raises(BackendError, match="has not returned from a frame of the last activation: wait until it does"):
        engine.start()
    (worker,) = [thread for thread in threading.enumerate() if thread.name == "segmenter"]
    backend.returns.set()
    worker.join(LONG_S)
    assert not camera.published.is_set()  # those who waited for that frame have gone
    assert engine.hang == ""
    engine.start()
    camera.send()
    assert camera.published.wait(LONG_S)
    assert backend.most_at_once == 1


def test_another_network_works_beside_one_that_hangs(hung: tuple[Engine, OneFrame, HangingBackend]):
    engine, camera, backend = hung
    other = HangingBackend(tiny_bundle("rgb"))
    with engine.between_frames(0.01):
        engine.segmenter = Segmenter(tiny_bundle("rgb"), other)
    engine.start()
    camera.send()
    assert camera.published.wait(LONG_S)
    with engine.between_frames(LONG_S):
        pass
    assert other.most_at_once == backend.most_at_once == 1


def test_what_a_network_raises_when_it_returns_too_late_is_no_loss_of_today(
    hung: tuple[Engine, OneFrame, HangingBackend],
):
    _, camera, backend = hung
    backend._backend = None  # type: ignore[assignment]
    (worker,) = [thread for thread in threading.enumerate() if thread.name == "segmenter"]
    backend.returns.set()
    worker.join(LONG_S)
    assert not camera.lost and not camera.published.is_set()


# The node


def test_a_node_whose_network_hangs_answers_and_labels_with_the_next_model(tmp_path: Path):
    backends: list[HangingBackend] = []

    def make(bundle: ModelBundle, *arguments: object) -> HangingBackend:
        backends.append(HangingBackend(bundle))
        return backends[-1]

    def change(peer: Peer, step: int) -> bool:
        client = peer.create_client(ChangeState, "segment/change_state")
        return bool(peer.call(client, ChangeState.Request(transition=Transition(id=step))).success)

    first = dataclasses.replace(tiny_bundle(), name="first").save(tmp_path / "first.lcrseg")
    four = dataclasses.replace(tiny_bundle(labels="nyu4"), name="four").save(tmp_path / "four.lcrseg")
    domain = free_domain_id()
    parameters = f"model:={first}", "max_age:=0.0", "diagnostics_period:=0.2"
    with node_here(domain, *parameters, make_backend=make), peer_in_domain(domain) as peer:
        assert peer.gets_masks()
        backends[0].returns.clear()
        assert peer.send_until(backends[0].hangs.is_set, peer.send_good_frame)
        assert change(peer, Transition.TRANSITION_DEACTIVATE)
        assert not change(peer, Transition.TRANSITION_ACTIVATE)
        state = peer.call(peer.create_client(GetState, "segment/get_state"), GetState.Request()).current_state
        assert state.label == "inactive"
        assert peer.set_parameter("overlay_opacity", 0.25).successful
        values = peer.diagnostics(lambda _, message: "the network of model first has not returned" in message)
        assert values["state"] == "inactive" and values["level"] == "1"
        assert peer.set_parameter("model", str(four)).successful
        peer.diagnostics(lambda values, message: values["model"] == "four" and "has not returned" not in message)
        assert change(peer, Transition.TRANSITION_ACTIVATE)
        assert peer.gets_masks()
        backends[0].returns.set()
        masks = len(peer.masks)
        assert peer.send_until(lambda: len(peer.masks) > masks + 3, peer.send_good_frame)
        assert set(peer.masks[-1].data) <= set(LabelSet.load("nyu4").ids.tolist())
        assert [backend.most_at_once for backend in backends] == [1, 1]
