"""Switching models while the node runs: the old one works until the new one is ready, and stays if that fails."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2's rclpy")

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from node_under_test import active_node, node_here
from onnx import numpy_helper
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.msg import ParameterValue
from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from ros_peer import HEIGHT, WIDTH, Peer, peer_in_domain, rgb_image
from sensor_msgs.msg import Image
from std_msgs.msg import String
from tiny_bundle import make_tiny_bundle, tiny_bundle

from lcr_seg_ros.backends import create_backend
from lcr_seg_ros.bundle import ModelBundle
from lcr_seg_ros.errors import BackendError
from lcr_seg_ros.image_encodings import color_to_array
from lcr_seg_ros.labels import LabelSet
from lcr_seg_ros.ros.camera import Camera
from lcr_seg_ros.ros.compat.message_filters import stamp_ns
from lcr_seg_ros.ros.processes import ChildProcess, free_domain_id
from lcr_seg_ros.segmenter import Segmenter

LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)

RGB, DEPTH = "rgb/image_rect_color", "depth_registered/image_rect"


def saved(path: Path, name: str, **changes: Any) -> Path:
    return dataclasses.replace(tiny_bundle(**changes), name=name).save(path)


def trained_elsewhere(path: Path) -> Path:
    """A model that was trained with HHA that was made elsewhere."""
    bundle = tiny_bundle()
    read = dataclasses.replace(bundle.input, hha_source="folder")
    return dataclasses.replace(bundle, name="elsewhere", input=read).save(path)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Models by name: the first one of the node, one with 4 classes instead of 40, one that sees colour only,
    and one that was trained with HHA that was made elsewhere."""
    folder = tmp_path_factory.mktemp("models")
    return {
        "first": saved(folder / "first.lcrseg", "first"),
        "four": saved(folder / "four.lcrseg", "four", labels="nyu4"),
        "colour": saved(folder / "colour.lcrseg", "colour", modality="rgb"),
        "elsewhere": trained_elsewhere(folder / "elsewhere.lcrseg"),
    }


@pytest.fixture(scope="module")
def node(models: dict[str, Path], environment: dict[str, str]) -> Iterator[ChildProcess]:
    parameters = f"model:={models['first']}", f"model_folder:={models['first'].parent}", "max_age:=0.0"
    with active_node(environment, *parameters, "diagnostics_period:=0.2") as process:
        yield process
        assert process.exit_code is None, process.last_lines()


@pytest.fixture(scope="module")
def shared_peer(node: ChildProcess, environment: dict[str, str]) -> Iterator[Peer]:
    with peer_in_domain(int(environment["ROS_DOMAIN_ID"])) as peer:
        assert peer.gets_masks(), node.last_lines()
        yield peer


@pytest.fixture()
def peer(shared_peer: Peer, node: ChildProcess, models: dict[str, Path]) -> Iterator[Peer]:
    """A peer of the node; after each test the node goes back to the first model."""
    yield shared_peer
    assert shared_peer.set_parameter("model", str(models["first"])).successful
    assert in_use(shared_peer, "first"), node.last_lines()
    assert shared_peer.gets_masks(), node.last_lines()


def in_use(peer: Peer, name: str, sent: list[int] | None = None) -> dict[str, str]:
    """Send frames until this model is in use and none is being loaded; returns the diagnostics that say so.

    Args:
        peer: sends them.
        name: of the model.
        sent: the frames' stamps are appended to it.
    """
    found: dict[str, str] = {}

    def is_told() -> bool:
        try:
            settled = peer.diagnostics(lambda v, m: v["model"] == name and v["model_loading"] == "", timeout_s=0.25)
            found.update(settled)
            return True
        except AssertionError:
            return False

    stamps = [] if sent is None else sent
    assert peer.send_until(is_told, lambda: stamps.append(peer.send_good_frame())), f"{name} is not in use"
    return found


def model_parameter(peer: Peer) -> str:
    client = peer.create_client(GetParameters, f"{peer.node_name}/get_parameters")
    return str(peer.call(client, GetParameters.Request(names=["model"])).values[0].string_value)


def ids_in(label_info: Any) -> list[int]:
    if isinstance(label_info, String):
        return [c["class_id"] for c in json.loads(label_info.data)["class_map"]]
    return [c.class_id for c in label_info.class_map]


def listen_to_label_info(peer: Peer) -> list[Any]:
    try:
        from vision_msgs.msg import LabelInfo

        return peer.listen(LabelInfo, "segmentation/label_info", LATCHED)
    except ImportError:
        return peer.listen(String, "segmentation/label_info_json", LATCHED)


class Watch:
    """Context in which a thread keeps counting the subscriptions of a topic; ``seen`` has the numbers that occurred."""

    def __init__(self, peer: Peer, topic: str) -> None:
        self.seen: set[int] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, args=(peer, topic))

    def _look(self, peer: Peer, topic: str) -> None:
        while not self._stop.wait(0.01):
            self.seen.add(peer.count_subscribers(topic))

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()


# Switching


def test_under_load_no_mask_is_missing_and_no_subscription_is_dropped(peer: Peer, models: dict[str, Path]):
    infos, legends = listen_to_label_info(peer), peer.listen(Image, "segmentation/legend", LATCHED)
    assert peer.send_until(lambda: bool(infos) and bool(legends), lambda: None)
    with Watch(peer, RGB) as colour, Watch(peer, DEPTH) as depth:
        sent: list[int] = []
        result = peer.set_parameter("model", str(models["four"]))
        assert result.successful, result.reason
        in_use(peer, "four", sent)
    assert colour.seen == depth.seen == {1}
    labelled = {stamp_ns(mask) for mask in list(peer.masks)}.intersection(sent)
    assert len(labelled) >= 0.5 * len(sent) - 2  # best effort, and the machine may be busy
    assert peer.send_until(
        lambda: ids_in(infos[-1]) == LabelSet.load("nyu4").ids.tolist() and legends[-1].height < 100, lambda: None
    )
    masks = len(peer.masks)
    assert peer.send_until(lambda: len(peer.masks) > masks + 1, peer.send_good_frame)
    assert set(peer.masks[-1].data) <= set(LabelSet.load("nyu4").ids.tolist())


def test_the_old_model_serves_until_the_new_one_is_warm(models: dict[str, Path]):
    def make(bundle: ModelBundle, *arguments: Any) -> Any:
        if bundle.name == "four":
            time.sleep(4.0)  # as long as a large network takes to compile
        return create_backend(bundle, *arguments)

    domain = free_domain_id()
    with (
        node_here(domain, f"model:={models['first']}", "max_age:=0.0", "diagnostics_period:=0.2", make_backend=make),
        peer_in_domain(domain) as peer,
    ):
        assert peer.gets_masks()
        began = time.monotonic()
        assert peer.set_parameter("model", str(models["four"])).successful
        assert time.monotonic() - began < 1.0
        loading = peer.diagnostics(lambda values, message: values["model_loading"] != "")
        assert loading["model"] == "first" and loading["model_loading"] == str(models["four"])
        before = len(peer.masks)
        assert peer.send_until(lambda: len(peer.masks) - before >= 3, peer.send_good_frame, timeout_s=3.0)
        in_use(peer, "four")
        assert time.monotonic() - began > 3.5


def test_while_a_model_is_being_read_the_node_answers_and_labels(models: dict[str, Path]):
    may_read, readers = threading.Event(), []

    def read(path: Path) -> ModelBundle:
        if path != models["first"]:
            readers.append(threading.current_thread().name)
            may_read.wait(30)  # as for a file of several GB, or one on a network drive
        return ModelBundle.load(path)

    domain = free_domain_id()
    parameters = f"model:={models['first']}", "max_age:=0.0", "diagnostics_period:=0.2"
    with node_here(domain, *parameters, read_model=read), peer_in_domain(domain) as peer:
        assert peer.gets_masks()
        for name in ("four", "colour", "four"):
            assert peer.set_parameter("model", str(models[name])).successful
        assert peer.set_parameter("overlay_opacity", 0.25).successful
        assert model_parameter(peer) == str(models["four"])
        assert not peer.set_parameter("model", "no_such_model").successful
        peer.diagnostics(lambda values, _: (values["model"], values["model_loading"]) == ("first", str(models["four"])))
        masks = len(peer.masks)
        assert peer.send_until(lambda: len(peer.masks) > masks + 3, peer.send_good_frame)
        may_read.set()
        in_use(peer, "four")
        assert set(readers) == {"model loader"} and len(readers) == 2  # the model in between was never read


def test_a_file_that_is_exchanged_before_its_turn_comes_is_judged_as_it_is_then(models: dict[str, Path]):
    may_read, path = threading.Event(), models["first"].parent / "exchanged.lcrseg"

    def read(file: Path) -> ModelBundle:
        if file == path:
            may_read.wait(30)
        return ModelBundle.load(file)

    saved(path, "exchanged")
    domain = free_domain_id()
    with (
        node_here(domain, f"model:={models['first']}", "max_age:=0.0", read_model=read) as node,
        peer_in_domain(domain) as peer,
    ):
        assert peer.set_parameter("class_filter", ["toilet"]).successful
        assert peer.set_parameter("model", str(path)).successful
        saved(path, "exchanged", labels="nyu4")  # which has no class toilet
        may_read.set()
        assert peer.send_until(lambda: model_parameter(peer) == str(models["first"]), peer.send_good_frame)
        assert peer.gets_masks()
        assert node.values.class_filter == ("toilet",)


def test_to_a_model_of_colour_only_and_back_topics_of_depth_go_and_come(
    peer: Peer, node: ChildProcess, models: dict[str, Path]
):
    with Watch(peer, RGB) as colour:
        assert peer.set_parameter("model", str(models["colour"])).successful
        values = in_use(peer, "colour")
        assert "gravity_source" not in values
        assert peer.send_until(
            lambda: peer.count_subscribers(DEPTH) == 0 and peer.count_publishers("segmentation/points") == 0,
            lambda: None,
        )
        sent = {peer.send(rgb_image())}
        assert peer.send_until(
            lambda: any(stamp_ns(m) in sent for m in list(peer.masks)), lambda: sent.add(peer.send(rgb_image()))
        ), node.last_lines()
        expected = Segmenter.load(models["colour"]).segment(frame_of_colour()).labels
        mask = next(m for m in peer.masks if stamp_ns(m) in sent)
        np.testing.assert_array_equal(np.frombuffer(mask.data, np.uint8).reshape(HEIGHT, WIDTH), expected)
        assert peer.set_parameter("model", str(models["first"])).successful
        values = in_use(peer, "first")
        assert values["gravity_source"] == "estimate"
        assert peer.count_publishers("segmentation/points") == peer.count_publishers("segmentation/hha") == 1
        assert peer.gets_masks(), node.last_lines()
    assert colour.seen == {1}
    assert not any("Traceback" in line for line in node.lines), node.last_lines(60)


def frame_of_colour() -> Any:
    from lcr_seg_ros.frame import RgbdFrame

    return RgbdFrame(color_to_array(rgb_image()))


def test_of_several_wishes_the_newest_wins(peer: Peer, models: dict[str, Path]):
    for name in ("four", "colour", "four", "colour"):
        assert peer.set_parameter("model", str(models[name])).successful
    in_use(peer, "colour")
    assert model_parameter(peer) == str(models["colour"])


def test_the_backend_can_be_switched_as_well(peer: Peer):
    pytest.importorskip("onnxruntime")
    assert in_use(peer, "first")["backend"] == "openvino"
    assert peer.set_parameter("backend", "onnxruntime").successful
    try:
        assert peer.send_until(lambda: in_use(peer, "first")["backend"] == "onnxruntime", lambda: None)
    finally:
        assert peer.set_parameter("backend", "auto").successful


def test_a_file_that_was_overwritten_is_loaded_when_its_name_is_set_again(peer: Peer, models: dict[str, Path]):
    path = models["first"].parent / "worked_on.lcrseg"
    digests = []
    for seed in (1, 2):
        bundle = dataclasses.replace(tiny_bundle(), name="worked_on")
        network = onnx.load_from_string(bundle.network)
        (weight,) = network.graph.initializer
        random = np.random.default_rng(seed)
        weight.CopyFrom(numpy_helper.from_array(random.random(weight.dims).astype(np.float32), weight.name))
        bundle = dataclasses.replace(bundle, network=network.SerializeToString())
        bundle.save(path)
        digests.append(bundle.network_sha256[:16])
        assert peer.set_parameter("model", str(path)).successful
        peer.diagnostics(lambda values, _: (values["model"], values["model_digest"]) == ("worked_on", digests[-1]))
    assert digests[0] != digests[1]


def test_a_name_that_is_set_again_without_another_file_loads_nothing(
    peer: Peer, node: ChildProcess, models: dict[str, Path]
):
    lines = len(node.lines)
    assert peer.set_parameter("model", str(models["first"])).successful
    assert peer.set_parameter("model", str(models["four"])).successful
    assert peer.set_parameter("model", str(models["four"])).successful
    in_use(peer, "four")
    assert peer.set_parameter("model", str(models["four"])).successful
    in_use(peer, "four")
    assert sum("loading model" in line for line in list(node.lines)[lines:]) == 1


def test_a_file_that_was_spoilt_is_tried_once_and_the_model_of_before_stays(
    peer: Peer, node: ChildProcess, models: dict[str, Path]
):
    path = saved(models["first"].parent / "spoilt.lcrseg", "spoilt")
    assert peer.set_parameter("model", str(path)).successful
    in_use(peer, "spoilt")
    dataclasses.replace(tiny_bundle(labels="nyu4"), labels=LabelSet.load("nyu40")).save(path)  # 36 scores too few
    lines = len(node.lines)
    assert peer.set_parameter("model", str(path)).successful
    assert peer.send_until(lambda: any("cannot be used" in line for line in list(node.lines)[lines:]), lambda: None)
    in_use(peer, "spoilt")
    assert sum("loading model" in line for line in list(node.lines)[lines:]) == 1
    path.unlink()
    result = peer.set_parameter("model", str(path))
    assert not result.successful and "no model at" in result.reason


def test_the_new_labels_are_announced_before_the_first_mask_of_the_new_model(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
):
    announced: list[tuple[str, str, bool]] = []
    announce = Camera.announce

    def recorded(camera: Camera) -> None:
        engine = node._engine
        assert engine is not None
        announce(camera)
        is_held = not engine._shift.take_turn(0.01)
        announced.append((camera._outputs._labels.name, engine.segmenter.bundle.name, is_held))

    domain = free_domain_id()
    with node_here(domain, f"model:={models['first']}", "max_age:=0.0") as node, peer_in_domain(domain) as peer:
        assert peer.gets_masks()
        monkeypatch.setattr(Camera, "announce", recorded)
        assert peer.set_parameter("model", str(models["four"])).successful
        in_use(peer, "four")
    assert announced == [("nyu4", "first", True)]


# What cannot be used


def text_file(path: Path) -> None:
    path.write_text("this is not a model\n")


def pickle_file(path: Path) -> None:
    path.write_bytes(pickle.dumps({"weights": [1.0, 2.0]}))


def cut_bundle(path: Path) -> None:
    whole = make_tiny_bundle(path).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def claims_10_gb(path: Path) -> None:
    whole = bytearray(make_tiny_bundle(path).read_bytes())
    at = whole.index(b"PK\x01\x02", whole.index(b"PK\x01\x02") + 1)  # ZIP directory entries, in the order written
    at = whole.index(b"PK\x01\x02", at + 1)
    assert whole[at + 46 : at + 58] == b"network.onnx"
    whole[at + 20 : at + 28] = (0xFFFFFF00).to_bytes(4, "little") * 2
    path.write_bytes(whole)


def nothing(path: Path) -> None:
    pass


@pytest.mark.parametrize("spoil", [text_file, pickle_file, cut_bundle, claims_10_gb, nothing])
def test_a_file_that_is_no_model_is_refused_at_once_and_the_old_model_stays(
    spoil: Any, peer: Peer, models: dict[str, Path]
):
    path = models["first"].parent / f"{spoil.__name__}.lcrseg"
    spoil(path)
    result = peer.set_parameter("model", str(path))
    assert not result.successful and str(path) in result.reason
    assert model_parameter(peer) == str(models["first"])


@pytest.mark.parametrize("name", ["~nosuchuser/x.lcrseg", "x" * 5000, "/dev/null/x.lcrseg"])
def test_a_name_that_no_file_can_have_is_refused_and_the_node_lives_on(name: str, peer: Peer):
    result = peer.set_parameter("model", name)
    assert not result.successful and "no model at" in result.reason


def test_a_request_that_rclpy_itself_cannot_take_does_not_end_the_node(peer: Peer, node: ChildProcess):
    client = peer.create_client(SetParameters, "segment/set_parameters")
    broken = ParameterMessage(name="model", value=ParameterValue(type=42))
    lines = len(node.lines)
    client.call_async(SetParameters.Request(parameters=[broken]))
    masks = len(peer.masks)
    assert peer.send_until(lambda: len(peer.masks) > masks + 5, peer.send_good_frame)
    assert node.exit_code is None
    assert any("internal error, going on" in line for line in list(node.lines)[lines:])


def test_a_class_filter_for_a_model_that_does_not_come_is_taken_back(models: dict[str, Path]):
    may_load = threading.Event()

    def make(bundle: ModelBundle, *arguments: Any) -> Any:
        if bundle.name == "four":
            may_load.wait(30)
            raise BackendError("no memory for it")
        return create_backend(bundle, *arguments)

    domain = free_domain_id()
    with (
        node_here(domain, f"model:={models['first']}", "max_age:=0.0", make_backend=make),
        peer_in_domain(domain) as peer,
    ):
        assert peer.set_parameter("model", str(models["four"])).successful
        assert peer.set_parameter("class_filter", ["furniture"]).successful  # which only the new model has
        may_load.set()
        assert peer.send_until(lambda: model_parameter(peer) == str(models["first"]), peer.send_good_frame)
        masks = len(peer.masks)
        assert peer.send_until(lambda: len(peer.masks) > masks + 1, peer.send_good_frame)
        assert set(peer.masks[-1].data) != {255}


def test_a_model_outside_of_the_allowed_folder_is_refused(peer: Peer, models: dict[str, Path], tmp_path: Path):
    outside = make_tiny_bundle(tmp_path / "outside.lcrseg")
    link = models["first"].parent / "link.lcrseg"
    link.symlink_to(outside)
    for path in (
        outside,
        link,
        models["first"].parent / ".." / os.path.relpath(outside, models["first"].parent.parent),
    ):
        result = peer.set_parameter("model", str(path))
        assert not result.successful and "outside of model_folder" in result.reason
    assert not peer.set_parameter("model_folder", "/").successful
    assert peer.set_parameter("model", "nyu40").successful  # a shipped model


def no_onnx(path: Path) -> None:
    bundle = tiny_bundle()
    ModelBundle(bundle.name, bundle.architecture, bundle.input, bundle.labels, b"not a network").save(path)


def other_class_count(path: Path) -> None:
    dataclasses.replace(tiny_bundle(), labels=LabelSet.load("nyu4")).save(path)


def wrong_digest(path: Path) -> None:
    path.write_bytes(make_tiny_bundle(path).read_bytes().replace(b"probabilities", b"possibilities"))


@pytest.mark.parametrize("spoil", [no_onnx, other_class_count, wrong_digest])
def test_a_network_that_does_not_run_is_told_of_in_one_line_and_the_parameter_goes_back(
    spoil: Any, peer: Peer, node: ChildProcess, models: dict[str, Path]
):
    path = models["first"].parent / f"{spoil.__name__}.lcrseg"
    spoil(path)
    lines = len(node.lines)
    assert peer.set_parameter("model", str(path)).successful
    assert peer.send_until(lambda: model_parameter(peer) == str(models["first"]), peer.send_good_frame)
    in_use(peer, "first")
    new = list(node.lines)[lines:]
    assert sum("cannot be used" in line and "[ERROR]" in line for line in new) == 1, new
    assert not any("Traceback" in line for line in new), new


def test_a_class_filter_of_names_that_the_new_model_lacks_keeps_it_out(peer: Peer, models: dict[str, Path]):
    assert peer.set_parameter("class_filter", ["toilet"]).successful
    try:
        result = peer.set_parameter("model", str(models["four"]))
        assert not result.successful and "'toilet'" in result.reason
        assert "clear class_filter first" in result.reason
    finally:
        assert peer.set_parameter("class_filter", [""]).successful


def test_a_switch_that_fails_at_the_second_camera_is_undone_at_the_first(models: dict[str, Path]):
    domain = free_domain_id()
    override = "qos_overrides./b/segmentation/hha.publisher.reliability:=now_and_then"  # which rclpy refuses
    with (
        node_here(domain, f"model:={models['colour']}", "cameras:=[a, b]", "max_age:=0.0", override),
        peer_in_domain(domain, "/segment", "a") as a,
        peer_in_domain(domain, "/segment", "b") as b,
    ):
        infos = listen_to_label_info(a)

        def is_as_before() -> bool:
            return all(
                one.count_publishers("segmentation/points") == one.count_subscribers(DEPTH) == 0 for one in (a, b)
            )

        for name in ("first", "first", "four"):
            assert a.set_parameter("model", str(models[name])).successful
            assert a.send_until(lambda: model_parameter(a) == str(models["colour"]), lambda: None)
            assert a.send_until(is_as_before, lambda: None)
            for one in (a, b):
                sent: set[int] = set()
                assert one.send_until(
                    lambda one=one, sent=sent: any(stamp_ns(mask) in sent for mask in list(one.masks)),
                    lambda one=one, sent=sent: sent.add(one.send(rgb_image())),
                )
        assert a.send_until(lambda: ids_in(infos[-1]) == LabelSet.load("nyu40").ids.tolist(), lambda: None)


# A device that fails


class FullGpu:
    """A GPU whose memory is full at the second frame."""

    name, device = "torch", "cuda"

    def __init__(self, bundle: ModelBundle, *arguments: object) -> None:
        self._backend = create_backend(bundle, device="cpu")
        self.calls = 0

    def infer(self, tensor: np.ndarray) -> np.ndarray:
        self.calls += 1
        if self.calls > 2:  # the first call is the warm-up
            raise RuntimeError("CUDA out of memory.\nTried to allocate 2.00 GiB")
        return self._backend.infer(tensor)


def make_backend(bundle: ModelBundle, backend: str, device: str, num_threads: int) -> Any:
    return create_backend(bundle, backend, device, num_threads) if device == "cpu" else FullGpu(bundle)


def test_a_gpu_that_fails_is_left_for_the_cpu_and_that_is_told(models: dict[str, Path]):
    domain = free_domain_id()
    with (
        node_here(domain, f"model:={models['first']}", "max_age:=0.0", make_backend=make_backend),
        peer_in_domain(domain) as peer,
    ):
        stamps: set[int] = set()
        assert peer.send_until(
            lambda: len({stamp_ns(m) for m in list(peer.masks)} & stamps) >= 5,
            lambda: stamps.add(peer.send_good_frame()),
        )
        values = peer.diagnostics(lambda values, message: values["device_fallback"] != "")
        assert values["device"] == "cpu" and values["level"] == "1"
        assert values["device_fallback"].startswith("torch failed on cuda (CUDA out of memory. Tried to allocate")
        assert int(values["dropped"]) == int(values.get("dropped_not_subscribed", 0))


# Again and again


def test_after_50_cycles_of_activation_no_thread_and_no_subscription_is_left(models: dict[str, Path]):
    domain = free_domain_id()
    with (
        node_here(domain, f"model:={models['first']}", "cameras:=[a, b]", "max_age:=0.0") as node,
        peer_in_domain(domain, "/segment", "a") as peer,
    ):
        client = peer.create_client(ChangeState, "/segment/change_state")

        def cycle() -> None:
            for step in (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_ACTIVATE):
                assert peer.call(client, ChangeState.Request(transition=Transition(id=step))).success
            peer.send_good_frame()

        def counts() -> tuple[int, ...]:
            entities = node.subscriptions, node.publishers, node.timers, node.guards, node.services
            return threading.active_count(), *(sum(1 for _ in some) for some in entities)

        cycle()
        before = counts()
        for _ in range(50):
            cycle()
        assert counts() == before
        assert peer.gets_masks()


def test_that_a_model_was_trained_with_hha_made_elsewhere_is_said_at_the_start_and_at_a_switch(
    models: dict[str, Path], node: ChildProcess, peer: Peer
) -> None:
    def warnings(process: ChildProcess) -> list[str]:
        return [line for line in process.lines if "was trained with HHA that was made elsewhere" in line]

    assert warnings(node) == []
    assert peer.set_parameter("model", str(models["elsewhere"])).successful
    assert in_use(peer, "elsewhere"), node.last_lines()
    assert len(warnings(node)) == 1 and "WARN" in warnings(node)[0]
    environment = {**os.environ, "ROS_DOMAIN_ID": str(free_domain_id())}
    with active_node(environment, f"model:={models['elsewhere']}") as started:
        assert len(warnings(started)) == 1
