"""What holds for every test: order, private ROS traffic, repeatable examples."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest

# A machine that trains a network beside the tests makes any deadline a matter of luck.
hypothesis.settings.register_profile("ours", deadline=None, derandomize=bool(os.environ.get("CI")))
hypothesis.settings.load_profile("ours")

# A test that forgets to set these must not talk to robots on the network, nor to a neighbour's tests.
os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
os.environ.setdefault("ROS_DOMAIN_ID", str(os.getpid() % 100 + 1))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Quick tests first, then those that start ROS processes, then the marked slow ones."""
    for item in items:
        if hasattr(getattr(item, "module", None), "ChildProcess"):
            item.add_marker("ros")
    items.sort(key=lambda item: 2 if item.get_closest_marker("slow") else 1 if item.get_closest_marker("ros") else 0)


# Of every file whose tests share one node; a file may have others by the same names.


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of one layer that sees colour and depth."""
    from tiny_bundle import make_tiny_bundle

    return make_tiny_bundle(tmp_path_factory.mktemp("model") / "tiny.lcrseg")


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    """Of processes that hear each other and nobody else."""
    from lcr_seg_ros.ros.processes import isolated_ros_environment

    return isolated_ros_environment()
