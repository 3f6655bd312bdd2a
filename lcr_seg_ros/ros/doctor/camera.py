"""Checks of one camera: do its topics arrive, fit together and mean what the node takes them for?"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from lcr_seg_ros.compressed_images import transport_topic
from lcr_seg_ros.errors import FrameError
from lcr_seg_ros.frame import CameraIntrinsics
from lcr_seg_ros.image_encodings import (
    camera_info_to_intrinsics,
    check_color,
    check_depth,
    depth_to_array,
    unrectified_px,
)
from lcr_seg_ros.ros.camera_presets import CAMERAS
from lcr_seg_ros.ros.camera_topics import DEPTH_CAMERA_INFO, CameraTopics, likely_drivers
from lcr_seg_ros.ros.doctor.depth import check_depth_values, check_gravity
from lcr_seg_ros.ros.doctor.graph import COMPRESSED, IMAGE, GraphView, Stream
from lcr_seg_ros.ros.doctor.report import Check
from lcr_seg_ros.ros.doctor.stamps import check_pairing, check_stamps
from lcr_seg_ros.ros.environment import FASTDDS_PROFILE, PROFILE_VARIABLES

AREA = "camera"

SLOW_HZ = 5.0
UNEVEN_RATES = 0.7
FIELD_OF_VIEW_DEG = (20.0, 140.0)
ODD_ASPECT = 1.25
OFF_CENTRE = 0.25
OTHER_FOCAL_LENGTH = 0.02


@dataclass
class CameraFindings:
    """Checks of a camera, and the parameters that it needs other than by default."""

    checks: list[Check] = field(default_factory=list)
    arguments: dict[str, object] = field(default_factory=dict)


def check_camera(camera: CameraTopics, view: GraphView, defaults: dict[str, Any]) -> CameraFindings:
    """Everything about one camera.

    Args:
        camera: its topics.
        view: what was heard.
        defaults: of the node's parameters: ``slop`` and ``max_age`` in seconds are read.
    """
    findings = CameraFindings()
    checks = findings.checks
    checks.append(Check(AREA, "driver", "ok", _driver(camera)))
    color, color_check = _image("colour", camera.rgb, view)
    depth, depth_check = _image("depth", camera.depth, view)
    checks += [color_check, depth_check]
    if camera.transports:
        needed = " ".join(f"{name}:={value}" for name, value in camera.transports.items())
        checks.append(Check(AREA, "transport", "ok", f"no raw images are there; the node needs {needed}"))
    intrinsics, info_check = _intrinsics(camera, color, view)
    checks.append(info_check)
    if color and depth:
        checks += [_rates(color, depth), _registered(camera, color, depth, view)]
        if own := _own_camera_info(camera, color, depth, view):
            findings.arguments[DEPTH_CAMERA_INFO] = own
    for name, stream in (("colour stamps", color), ("depth stamps", depth)):
        if stream:
            checks.append(check_stamps(name, stream, float(defaults["max_age"])))
    if color and depth and all(color.stamps_ns) and all(depth.stamps_ns):
        check, slop = check_pairing(color, depth, float(defaults["slop"]))
        checks.append(check)
        if slop is not None:
            findings.arguments["slop"] = slop
    if depth and depth_check.level != "fail":
        metres = depth_to_array(depth.newest)
        checks.append(check_depth_values(metres, depth.newest.encoding))
        if intrinsics and metres.shape == (intrinsics.height, intrinsics.width):
            checks.append(check_gravity(metres, intrinsics, camera.imu))
    return findings


def check_no_camera(view: GraphView) -> list[Check]:
    """Why there is no colour image topic."""
    images, compressed = view.image_topics, view.of_type(COMPRESSED)
    if images:
        listing = ", ".join(f"{topic} ({view.encodings.get(topic, 'silent')})" for topic in images[:8])
        advice = "is one of them the colour image? Then name it: --rgb TOPIC --depth TOPIC --camera-info TOPIC"
        return [Check(AREA, "topics", "fail", f"no colour images among {listing}", advice)]
    if compressed:
        advice = (
            "image_transport calls them NAME/compressed and NAME/compressedDepth: remap them in the driver, then the "
            "node reads them with rgb_transport:=compressed and depth_transport:=compressedDepth"
        )
        found = f"compressed images only, of names that say too little: {', '.join(compressed[:8])}"
        return [Check(AREA, "topics", "fail", found, advice)]
    announced = [name for name, kinds in view.topics.items() if IMAGE in kinds and not view.publishers.get(name)]
    found = f"nobody publishes images; {len(view.topics)} topics are there"
    if announced:
        found += f", of them waiting for images {', '.join(announced[:4])}"
    advice = (
        "start the camera's driver, in the same ROS_DOMAIN_ID; without a camera: python -m lcr_seg_ros play room --loop"
    )
    return [Check(AREA, "topics", "fail", found, advice)]


def _driver(camera: CameraTopics) -> str:
    if camera.preset == "none":
        return f"the node's own topic names, in {camera.namespace or '/'}"
    return f"names of {camera.preset}, in {camera.namespace or '/'}" if camera.preset else "of no known driver"


def _image(kind: str, topic: str, view: GraphView) -> tuple[Stream | None, Check]:
    """The stream if something usable came on it."""
    if not topic:
        advice = "switch the depth stream on, aligned to colour, or use a model that sees colour only"
        return None, Check(AREA, kind, "fail", "no topic of it", advice)
    publishers = view.publishers.get(topic, [])
    if not publishers:
        advice = "start the driver, or name another topic"
        return None, Check(AREA, kind, "fail", f"{topic}: nobody publishes it", advice)
    stream = view.images.get(topic)
    topic = transport_topic(topic, stream.transport) if stream else topic
    if stream and stream.problem:
        return None, Check(AREA, kind, "fail", f"{topic}: {stream.problem}", "set the driver's format, or send it raw")
    if stream is None or stream.newest is None:
        return None, _silent(kind, topic, publishers, view)
    message = stream.newest
    found = (
        f"{topic}: {message.width}x{message.height} {message.encoding}, {stream.rate_hz:.1f} Hz, "
        f"frame {message.header.frame_id!r}, from {', '.join(publishers)}"
    )
    try:
        (check_color if kind == "colour" else check_depth)(message)
    except FrameError as error:
        return stream, Check(AREA, kind, "fail", f"{topic}: {error}", "set the driver's format, or name another topic")
    if len(publishers) > 1:
        return stream, Check(AREA, kind, "fail", found, "two nodes publish it: end one, or give it a namespace")
    if stream.rate_hz < SLOW_HZ:
        advice = "masks come as rarely: a slow USB port, a long exposure, or images lost on the way (DDS profile)?"
        return stream, Check(AREA, kind, "warn", found, advice)
    return stream, Check(AREA, kind, "ok", found)


def _silent(kind: str, topic: str, publishers: list[str], view: GraphView) -> Check:
    misfits = [m.reason for m in view.misfits if m.topic == topic and m.subscriber.endswith("/doctor")]
    if misfits:
        return Check(AREA, kind, "fail", f"{topic}: {misfits[0]}", "change the driver's QoS or the topic's type")
    speaks = any(s.newest and view.publishers.get(name) == publishers for name, s in view.camera_infos.items())
    reason = "its camera_info comes, so it streams: " if speaks else "is it streaming? If so, "
    advice = (
        f"{reason}stock Fast DDS buffers are too small for images; in the shell of the driver: export "
        f"{PROFILE_VARIABLES[0]}={FASTDDS_PROFILE} ({PROFILE_VARIABLES[1]} on Jazzy and older), and start it again"
    )
    found = f"{topic}: {', '.join(publishers)} publishes it, but nothing came in {view.seconds:.1f} s"
    return Check(AREA, kind, "fail", found, advice)


def _intrinsics(camera: CameraTopics, color: Stream | None, view: GraphView) -> tuple[CameraIntrinsics | None, Check]:
    name, topic = "intrinsics", camera.camera_info
    if not topic:
        known = ", ".join(view.camera_infos) or "none at all"
        advice = "models that use depth need the camera_info of the colour image: remap it (--camera-info TOPIC)"
        return None, Check(AREA, name, "fail", f"no camera_info beside the colour topic; there are: {known}", advice)
    stream = view.camera_infos.get(topic)
    if stream is None or stream.newest is None:
        advice = "let the driver publish it: models that use depth drop every frame without"
        return None, Check(AREA, name, "fail", f"{topic}: nothing came", advice)
    message = stream.newest
    try:
        intrinsics = camera_info_to_intrinsics(message, camera.rgb)
    except FrameError as error:
        advice = "let the driver send its factory calibration, or run camera_calibration"
        return None, Check(AREA, name, "fail", f"{topic}: {error}", advice)
    k = intrinsics
    found = f"fx {k.fx:.1f}, fy {k.fy:.1f}, cx {k.cx:.1f}, cy {k.cy:.1f} at {k.width}x{k.height}"
    if color and (color.newest.width, color.newest.height) != (k.width, k.height):
        found += f", but the colour image is {color.newest.width}x{color.newest.height}"
        return None, Check(AREA, name, "fail", found, "use the camera_info that belongs to the colour topic")
    doubts = _doubts_of(k)
    if moved_px := unrectified_px(message, camera.rgb):
        doubts.append(
            f"{camera.rgb} is not rectified, its lens displaces pixels by up to {moved_px:.1f} px: use the image_rect "
            "of image_proc"
        )
    if doubts:
        advice = "heights and angles come out wrong with wrong intrinsics: compare with the camera's data sheet"
        return k, Check(AREA, name, "warn", f"{found}: {'; '.join(doubts)}", advice)
    return k, Check(AREA, name, "ok", found)


def _doubts_of(k: CameraIntrinsics) -> list[str]:
    doubts = []
    view_deg = math.degrees(2 * math.atan(k.width / (2 * k.fx)))
    if not FIELD_OF_VIEW_DEG[0] <= view_deg <= FIELD_OF_VIEW_DEG[1]:
        doubts.append(f"a field of view of {view_deg:.0f} degrees is odd")
    if not 1 / ODD_ASPECT <= k.fx / k.fy <= ODD_ASPECT:
        doubts.append("fx and fy differ by more than a quarter")
    off = max(abs(k.cx - k.width / 2) / k.width, abs(k.cy - k.height / 2) / k.height)
    if off > OFF_CENTRE:
        doubts.append("the principal point is far from the middle")
    return doubts


def _rates(color: Stream, depth: Stream) -> Check:
    found = f"colour {color.rate_hz:.1f} Hz, depth {depth.rate_hz:.1f} Hz"
    slow, fast = sorted((color.rate_hz, depth.rate_hz))
    if fast > 0 and slow < UNEVEN_RATES * fast:
        return Check(AREA, "rates", "warn", found, "only pairs are labelled: set both streams to the same rate")
    return Check(AREA, "rates", "ok", found)


def _registered(camera: CameraTopics, color: Stream, depth: Stream, view: GraphView) -> Check:
    """Whether a pixel of the depth image is the pixel of the colour image with the same coordinates."""
    name = "registration"
    rgb, deep = color.newest, depth.newest
    advice = (
        f"let the driver align depth to colour: {_how_to_register(camera)}. Or let the node do it (parameter "
        "`registration`), with TF between the two frames and remapped depth/camera_info"
    )
    found = ""
    if (rgb.width, rgb.height) != (deep.width, deep.height):
        found = f"colour is {rgb.width}x{rgb.height}, depth is {deep.width}x{deep.height}: depth is not registered"
    elif rgb.header.frame_id != deep.header.frame_id:
        found = f"colour is in frame {rgb.header.frame_id!r}, depth in {deep.header.frame_id!r}: it is not registered"
    if found and _own_camera_info(camera, color, depth, view) is None:
        return Check(AREA, name, "fail", found, advice)
    if found:
        advice = (
            f"the node registers it where TF knows the two: ros2 run tf2_ros tf2_echo {rgb.header.frame_id} "
            f"{deep.header.frame_id}. Better, in the driver: {_how_to_register(camera)}"
        )
        return Check(AREA, name, "warn", found, advice)
    beside = view.camera_infos.get(_camera_info_of_depth(camera))
    mine = view.camera_infos.get(camera.camera_info)
    if beside and mine and beside.newest and mine.newest and mine.newest.k[0] > 0:
        of_color, of_depth = mine.newest.k[0], beside.newest.k[0]
        if of_depth > 0 and abs(of_depth / of_color - 1) > OTHER_FOCAL_LENGTH:
            found = f"same frame and size, but fx is {of_color:.1f} for colour and {of_depth:.1f} for depth"
            return Check(AREA, name, "warn", found, f"do their edges meet? See it in RViz. Otherwise {advice}")
    return Check(AREA, name, "ok", f"same size and frame {rgb.header.frame_id!r}")


def _own_camera_info(camera: CameraTopics, color: Stream, depth: Stream, view: GraphView) -> str | None:
    """The topic that the node needs to register depth, where it is to do so and the topic is there."""
    topic = _camera_info_of_depth(camera)
    told = view.camera_infos.get(topic)
    is_one_frame = color.newest.header.frame_id == depth.newest.header.frame_id
    return topic if not is_one_frame and topic != camera.camera_info and told and told.newest else None


def _camera_info_of_depth(camera: CameraTopics) -> str:
    return f"{camera.depth.rpartition('/')[0]}/camera_info"


def _how_to_register(camera: CameraTopics) -> str:
    if camera.preset in CAMERAS and CAMERAS[camera.preset].start:
        return CAMERAS[camera.preset].start
    lines = [preset.start for preset in likely_drivers(camera.rgb)]
    return " or ".join(lines or ["depth_registration:=true, or whatever it is called there"])
