"""Choose the colour and depth topics of one camera among a bag's image topics, by their content and names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from lcr_seg_ros.errors import SourceError

_NAME_HINTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    # kind: words for it, words against it
    "colour": (("rgb", "color", "colour"), ("depth", "infra", "/ir", "left", "right", "mask", "label", "overlay")),
    "depth": (("registered", "aligned", "depth_to_rgb", "depth_to_color"), ("infra", "/ir")),
}


@dataclass(frozen=True)
class ImageTopic:
    """What an image topic carries.

    Args:
        kind: "colour", "depth", or the reason why it is neither.
        width, height: of the topic's first image, in pixels.
    """

    kind: str
    width: int
    height: int


def choose_color_topic(topics: Mapping[str, ImageTopic], wanted: str | None, path: Path) -> str:
    """The wanted topic or, if none is named, the most likely colour topic.

    Args:
        topics: the bag's image topics by name.
        wanted: named by the user, or None.
        path: of the bag, for error messages.

    Raises:
        SourceError: there is no such topic, or it does not carry colour.
    """
    fitting = _fitting(topics, "colour", wanted, path)
    return min(fitting, key=lambda name: (_unlikeliness(name, "colour"), name))


def choose_depth_topic(topics: Mapping[str, ImageTopic], wanted: str | None, rgb_topic: str, path: Path) -> str:
    """The wanted topic or, if none is named, the most likely depth topic of the camera that ``rgb_topic`` belongs to.

    Args:
        topics, wanted, path: as in :func:`choose_color_topic`.
        rgb_topic: the colour topic in use.

    Raises:
        SourceError: there is no such topic, it does not carry depth, or the only depth is that of another camera.
    """
    fitting = _fitting(topics, "depth", wanted, path)
    # Topics of one camera share their first namespaces; the name hints alone cannot tell several cameras apart.
    chosen = min(fitting, key=lambda name: (-_shared(name, rgb_topic), _unlikeliness(name, "depth"), name))
    if wanted is None and not _shared(chosen, rgb_topic):
        colors = sorted(name for name, topic in topics.items() if topic.kind == "colour")
        nearest = max(colors, key=lambda name: _shared(name, chosen))
        if _shared(nearest, chosen):
            raise SourceError(
                f"{path} has no depth of the camera of {rgb_topic}: {chosen} is that of {nearest}; "
                f"give --rgb-topic {nearest}, or --depth-topic {chosen} if they are of one camera all the same"
            )
    return chosen


def _fitting(topics: Mapping[str, ImageTopic], kind: str, wanted: str | None, path: Path) -> list[str]:
    """The topics of a kind, or only the wanted one."""
    option = {"colour": "--rgb-topic", "depth": "--depth-topic"}[kind]
    listing = ", ".join(f"{name} ({topic.kind})" for name, topic in sorted(topics.items()))
    if wanted is not None:
        if wanted not in topics:
            raise SourceError(f"{path} has no images on {wanted}; image topics are {listing}")
        if topics[wanted].kind != kind:
            raise SourceError(f"{path}: {wanted} is no {kind} topic ({topics[wanted].kind}); give another {option}")
        return [wanted]
    fitting = [name for name, topic in topics.items() if topic.kind == kind]
    if not fitting:
        instead = "; `play` and `record` take colour alone with --no-depth" if kind == "depth" else ""
        raise SourceError(f"{path} has no {kind} images; image topics are {listing}{instead}")
    return fitting


def _shared(topic: str, other: str) -> int:
    """Number of leading namespaces that both names have in common."""
    pairs = zip(_namespaces(topic), _namespaces(other), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _namespaces(topic: str) -> list[str]:
    return topic.strip("/").split("/")[:-1]


def _unlikeliness(topic: str, kind: str) -> tuple[int, int, int]:
    """Sort key, smaller for names that drivers give to the colour image, or to the depth registered to it."""
    name = topic.lower()
    good, bad = _NAME_HINTS[kind]
    return (
        sum(word in name for word in bad),
        -any(word in name for word in good),
        -("rect" in name) + 2 * name.endswith("/compressed"),
    )
