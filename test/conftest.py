"""Set-up of every test: order of execution, isolated ROS traffic, repeatable Hypothesis examples."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

# On a machine that also trains a network, whether a deadline is met would be a matter of luck.
hypothesis.settings.register_profile("ours", deadline=None, derandomize=bool(os.environ.get("CI")))
hypothesis.settings.load_profile("ours")

# A test that forgets to set these must not reach robots on the network or other test runs.
os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
os.environ.setdefault("ROS_DOMAIN_ID", str(os.getpid() % 100 + 1))

# Two workers and their child processes share the cores, so OpenMP threads must not spin while they wait.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

_COST = {"slow": 30.0, "ros": 4.0, "": 0.2}
"""Rough duration of a test in s, by mark."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the tests: quick ones first, then those that start ROS processes, then those marked slow.

    With several workers, the files that take longest come first: one started last would keep a single worker busy.
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


@pytest.fixture(autouse=True)
def package_logger() -> Iterator[None]:
    """Gives the package's logger back as it was: a command that a test runs in its own process sets it up."""
    logger = logging.getLogger("lcr_seg_ros")
    before = logger.level, logger.propagate, list(logger.handlers)
    yield
    level, logger.propagate, logger.handlers = before
    logger.setLevel(level)


# Fixtures for files whose tests share one node; a file may override them.


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A one-layer model that sees colour and depth."""
    from tiny_bundle import make_tiny_bundle

    return make_tiny_bundle(tmp_path_factory.mktemp("model") / "tiny.lcrseg")


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    """Environment for processes that communicate only with each other."""
    from lcr_seg_ros.ros.processes import isolated_ros_environment

    return isolated_ros_environment()
