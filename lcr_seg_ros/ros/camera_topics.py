"""Finds the topics of RGB-D cameras among those of a ROS graph, by names and encodings. Independent of ROS."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from lcr_seg_ros.image_encodings import COLOR_ENCODINGS, DEPTH_ENCODINGS
from lcr_seg_ros.ros.camera_presets import CAMERAS, OWN_TOPICS, CameraPreset

RAW, COMPRESSED, COMPRESSED_DEPTH = "raw", "compressed", "compressedDepth"
"""Names of transports. Repeated from :mod:`~lcr_seg_ros.compressed_images`, which takes a second to import."""

_NOT_A_CAMERA = ("/segmentation/", "/ground_truth/")
_COLOR_WORDS, _NOT_COLOR = ("rgb", "color", "colour"), ("depth", "infra", "/ir", "mono", "left", "right")
_DEPTH_WORDS, _NOT_DEPTH = ("registered", "aligned", "depth_to_rgb", "depth_to_color"), ("infra", "/ir")


DEPTH_CAMERA_INFO = "depth_camera_info"
"""Launch argument that names the camera_info of the depth camera: a topic, not a parameter of the node."""


@dataclass(frozen=True)
class CameraTopics:
    """The topics of one camera.

    Args:
        rgb, depth, camera_info, imu: full names; empty where there is none.
        preset: key of :data:`~lcr_seg_ros.ros.camera_presets.CAMERAS`; ``none`` for the node's own names; empty if
            the names match no preset.
        namespace: of the preset's topics; empty for the root.
        rgb_transport, depth_transport: how the images are published, as the node's parameters name it.
    """

    rgb: str
    depth: str
    camera_info: str
    imu: str = ""
    preset: str = ""
    namespace: str = ""
    rgb_transport: str = RAW
    depth_transport: str = RAW

    def with_transports(self, transports: Mapping[str, str]) -> CameraTopics:
        """The same camera with the transports of its images, by topic; raw for topics not among ``transports``."""
        return replace(
            self, rgb_transport=transports.get(self.rgb, RAW), depth_transport=transports.get(self.depth, RAW)
        )

    @property
    def transports(self) -> dict[str, str]:
        """The node's parameters for transports other than raw."""
        forms = {"rgb_transport": self.rgb_transport, "depth_transport": self.depth_transport}
        return {name: transport for name, transport in forms.items() if transport != RAW}

    def launch_line(self, **arguments: object) -> str:
        """The ``ros2 launch`` command that starts the node on this camera, with further launch arguments."""
        words = ["ros2 launch lcr_seg_ros segment.launch.py"]
        if self.preset:
            words += [f"camera:={self.preset}"] if self.preset != "none" else []
            words += [f"namespace:={self.namespace}"] if self.namespace else []
        else:
            given = {"rgb": self.rgb, "depth": self.depth, "camera_info": self.camera_info}
            words += [f"{name}:={topic}" for name, topic in given.items() if topic]
        return " ".join([*words, *(f"{name}:={value}" for name, value in {**self.transports, **arguments}.items())])

    def command_line(self, **parameters: object) -> str:
        """The same without the ``ros2`` command, which the ROS wheels from PyPI do not include."""
        ours = {OWN_TOPICS.rgb: self.rgb, OWN_TOPICS.depth: self.depth, OWN_TOPICS.camera_info: self.camera_info}
        words = []
        if self.preset:  # as the launch file does it
            ours[OWN_TOPICS.imu] = self.imu
            ours = {own: topic.removeprefix(f"{self.namespace}/") for own, topic in ours.items()}
            words += [f"-r __ns:={self.namespace}"] if self.namespace else []
        words += [f"-r {own}:={topic}" for own, topic in ours.items() if topic and topic not in (own, f"/{own}")]
        depth_info = parameters.pop(DEPTH_CAMERA_INFO, None)
        words += [f"-r depth/camera_info:={depth_info}"] if depth_info else []
        words += [f"-p {name}:={value}" for name, value in {**self.transports, **parameters}.items()]
        return " ".join(["python -m lcr_seg_ros segment", *(["--ros-args", *words] if words else [])])


def find_cameras(
    images: Collection[str],
    camera_infos: Collection[str],
    encodings: Mapping[str, str],
    imus: Collection[str] = (),
    frame_ids: Mapping[str, str] | None = None,
) -> list[CameraTopics]:
    """The cameras that a set of topics belongs to, the most likely first.

    Args:
        images, camera_infos, imus: full names of the topics of these types; for compressed images, the names without
            the suffix of the transport.
        encodings, frame_ids: by topic, for image topics on which a message has come.

    Returns:
        One entry for each colour topic of a known driver; if there are none, a single entry for the most likely colour
        topic, whose depth may be missing. Empty if there is no colour topic.
    """
    images = _of_cameras(images)
    known = _known_drivers(images, camera_infos, imus, frame_ids or {})
    if known:
        return known
    colors = color_topics(images, encodings)
    depths = [topic for topic in images if _kind(topic, encodings) == "depth"]
    if not colors:
        return []
    rgb = min(colors, key=lambda topic: (*_unlikeliness(topic, _COLOR_WORDS, _NOT_COLOR), topic))
    root = rgb.split("/")[1]
    depth = min(
        depths,
        key=lambda topic: (topic.split("/")[1] != root, *_unlikeliness(topic, _DEPTH_WORDS, _NOT_DEPTH), topic),
        default="",
    )
    return [CameraTopics(rgb, depth, camera_info_beside(rgb, camera_infos))]


def color_topics(images: Collection[str], encodings: Mapping[str, str]) -> list[str]:
    """The image topics that carry colour, sorted; judged by encoding, or by name where no message has come."""
    return [topic for topic in _of_cameras(images) if _kind(topic, encodings) == "color"]


def compressed_forms(topics: Collection[str], raw: Collection[str]) -> dict[str, list[str]]:
    """Transports of the images that are published in compressed form only.

    Args:
        topics: full names of the topics of type CompressedImage.
        raw: full names of the topics of type Image.

    Returns:
        Transports by name of the image, which is the topic without the suffix that image_transport adds.
    """
    forms: dict[str, list[str]] = {}
    for topic in sorted(topics):
        base, _, transport = topic.rpartition("/")
        if base and base not in raw and transport in (COMPRESSED, COMPRESSED_DEPTH):
            forms.setdefault(base, []).append(transport)
    return forms


def without_transport(topic: str) -> str:
    """A topic without the suffix of a compressed transport: the name that users remap."""
    return topic.removesuffix(f"/{COMPRESSED}").removesuffix(f"/{COMPRESSED_DEPTH}")


def likely_transport(base: str, offered: Collection[str]) -> str:
    """The compressed transport that the node should read of an image on which no message has come.

    Args:
        base: name of the image, without suffix.
        offered: transports that are published; at least one.
    """
    wanted = COMPRESSED_DEPTH if _kind(base, {}) == "depth" else COMPRESSED
    return wanted if wanted in offered else next(iter(offered))


def camera_info_beside(rgb: str, camera_infos: Collection[str]) -> str:
    """The camera_info beside a colour topic, by image_transport's convention; else the only one there is, or ""."""
    beside = f"{rgb.rpartition('/')[0]}/camera_info"
    if beside in camera_infos:
        return beside
    return next(iter(camera_infos)) if len(camera_infos) == 1 else ""


def likely_drivers(rgb: str) -> list[CameraPreset]:
    """Drivers whose colour topic has this name: for advice when depth is not registered."""
    return [preset for preset in CAMERAS.values() if preset.rgb and rgb.endswith(f"/{preset.rgb}")]


def _of_cameras(images: Collection[str]) -> list[str]:
    return sorted(topic for topic in images if not any(word in topic for word in _NOT_A_CAMERA))


def _known_drivers(
    images: list[str], camera_infos: Collection[str], imus: Collection[str], frame_ids: Mapping[str, str]
) -> list[CameraTopics]:
    found: dict[str, tuple[tuple[bool, ...], CameraTopics]] = {}
    for name, driver in CAMERAS.items():
        preset = OWN_TOPICS if name == "none" else driver
        for rgb in images:
            if not rgb.endswith(f"/{preset.rgb}"):
                continue
            namespace = rgb.removesuffix(f"/{preset.rgb}")
            depth, info = f"{namespace}/{preset.depth}", f"{namespace}/{preset.camera_info}"
            if depth not in images:  # many drivers share the name of the colour topic
                continue
            imu = f"{namespace}/{preset.imu}" if preset.imu else ""
            camera = CameraTopics(
                rgb, depth, info if info in camera_infos else "", imu if imu in imus else "", name, namespace
            )
            # Drivers with the same topic names are told apart by frame_id, then by their usual namespace.
            fit = (bool(camera.camera_info), frame_ids.get(rgb) == driver.frame_id, namespace == driver.namespace)
            if rgb not in found or fit > found[rgb][0]:
                found[rgb] = (fit, camera)
    return [camera for _, camera in sorted(found.values(), key=lambda item: (*(not f for f in item[0]), item[1].rgb))]


def _kind(topic: str, encodings: Mapping[str, str]) -> str:
    """Kind of an image topic, "color", "depth" or "": by encoding, or by name where no message has come."""
    encoding = encodings.get(topic)
    if encoding is not None:
        return "color" if encoding in COLOR_ENCODINGS else "depth" if encoding in DEPTH_ENCODINGS else ""
    if "depth" in topic.lower():
        return "depth"
    return "color" if any(word in topic.lower() for word in _COLOR_WORDS) or topic.endswith("/image_raw") else ""


def _unlikeliness(topic: str, good: tuple[str, ...], bad: tuple[str, ...]) -> tuple[int, bool, bool]:
    """Sort key: the smallest is the most likely."""
    name = topic.lower()
    return sum(word in name for word in bad), not any(word in name for word in good), "rect" not in name
