"""What holds for every test: order, private ROS traffic, repeatable examples."""

from __future__ import annotations

import os

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
