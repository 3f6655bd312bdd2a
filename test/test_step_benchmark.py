"""What ``benchmark training`` times: one network, stepped with the constraint and without."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="training needs the extra: pip install 'lcr_seg_ros[train]'")

import torch

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
