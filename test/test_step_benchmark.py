"""What ``benchmark training`` times: one network, stepped with the constraint and without."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

pytest.importorskip("torch", reason="training needs the extra: pip install 'lcr_seg_ros[train]'")

import torch

from lcr_seg_ros.benchmark import TRAINED_NETWORKS, command
from lcr_seg_ros.training import step_benchmark


@pytest.fixture()
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(step_benchmark.SETTINGS, "fcn_lite", (1, 4, 64, 64))


def test_both_steps_move_the_same_network_and_only_one_its_kernels(small: None, monkeypatch: pytest.MonkeyPatch):
    made = []
    remembered = step_benchmark.ContextualRegularization

    def remember() -> torch.nn.Module:
        made.append(remembered())
        return made[0]

    monkeypatch.setattr(step_benchmark, "ContextualRegularization", remember)
    step = step_benchmark.training_steps("fcn_lite")
    step[False]()
    assert torch.equal(made[0].kernels, made[0].initial_kernels)
    step[True]()
    assert not torch.equal(made[0].kernels, made[0].initial_kernels)


def test_memory_is_that_of_a_process_of_its_own(small: None) -> None:
    assert 100 < step_benchmark.peak_memory_mib("fcn_lite", True, 1) < 5_000


def test_the_command_tells_ratios_of_time_and_memory(small: None, tmp_path: Path) -> None:
    arguments = ["training", "--network", "fcn_lite", "--seconds", "0.1", "--json", str(tmp_path / "b.json")]
    answer = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert "fcn_lite: with the constraint a step takes" in answer.output
    figures = json.loads((tmp_path / "b.json").read_text())["figures"]
    assert figures.keys() == {"fcn_lite with", "fcn_lite without"}
    assert all(row["wall_ms"] > 0 and row["peak_memory_mib"] > 100 for row in figures.values())


def test_the_networks_that_it_offers_are_those_that_it_can_step() -> None:
    assert set(TRAINED_NETWORKS) == set(step_benchmark.SETTINGS)
