"""What holds for every test: order, private ROS traffic, repeatable examples."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import hypothesis
import pytest

# A machine that trains a network beside the tests makes any deadline a matter of luck.
hypothesis.settings.register_profile("ours", deadline=None, derandomize=bool(os.environ.get("CI")))
hypothesis.settings.load_profile("ours")

# A test that forgets to set these must not talk to robots on the network, nor to a neighbour's tests.
os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
os.environ.setdefault("ROS_DOMAIN_ID", str(os.getpid() % 100 + 1))

# Two workers, and processes below them: threads of OpenMP that wait for each other would burn the cores they share.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

_COST = {"slow": 30.0, "ros": 4.0, "": 0.2}
"""Seconds that a test takes, roughly, by its mark."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Quick tests first, then those that start ROS processes, then the marked slow ones.

    Where workers share the files, those that take longest come first: one of them begun last would run alone.
    """
    for item in items:
        if hasattr(getattr(item, "module", None), "ChildProcess"):
            item.add_marker("ros")
    costs = {
        id(item): next(c for mark, c in _COST.items() if not mark or item.get_closest_marker(mark)) for item in items
    }
    files: Counter[Path] = Counter()
    if "PYTEST_XDIST_WORKER" in os.environ:
        for item in items:
            files[item.path] += costs[id(item)]
    items.sort(key=lambda item: (-files[item.path], str(item.path) if files else "", costs[id(item)]))


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
