"""What a run may lose on its way: nothing by SIGKILL, and little by being shared among processes."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("lightning", reason="training needs the extra: pip install 'lcr_seg_ros[train]'")
import torch
import training_run
from forked_commands import Finished, ended, run_function, start_function
from shared_data import ROOT

from lcr_seg_ros.bundle import ModelBundle
from lcr_seg_ros.labels import LabelSet
from lcr_seg_ros.sources.folder import write_folder
from lcr_seg_ros.sources.rooms import RenderedRoom
from lcr_seg_ros.training.epoch_batches import EpochBatches
from lcr_seg_ros.training.export_run import read_checkpoint
from lcr_seg_ros.training.machine import Machine
from lcr_seg_ros.training.module import SegmentationTraining
from lcr_seg_ros.training.processes import tell_of_separate_batch_norms
from lcr_seg_ros.training.recipe import Recipe
from lcr_seg_ros.training.train import _trainer

SMALL = ("input.height=48", "input.width=64", "rooms.rooms=0", "optimizer.batch_size=2", "optimizer.epochs=2")


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rooms")
    room = RenderedRoom(frames=40, seed=1, width=160, height=120)
    write_folder([room[i] for i in range(0, 36, 6)], folder, split="fit")
    return folder


def run(data: Path, out: Path, *entries: str, killed_before: int = 0, checkpoint_steps: int = 0) -> Finished:
    """A training run of its own; dies before step ``killed_before`` if that is not 0."""
    words = [data, out, killed_before, checkpoint_steps, 1, *SMALL, *entries]
    return run_function(training_run.main, words, out.with_suffix(".log"))


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


@pytest.fixture(scope="module")
def whole(rooms: Path) -> Path:
    """The folder of a run that nothing happened to."""
    out = rooms.parent / "whole"
    done = run(rooms, out)
    assert done.returncode == 0, done.output[-3000:]
    return out


def weights(out: Path) -> dict[str, torch.Tensor]:
    """Everything in the checkpoint that later steps depend on: weights, their mean, and the optimiser's state."""
    checkpoint = read_checkpoint(out / "last.ckpt")
    state = dict(checkpoint["state_dict"])
    state |= {f"current {k}": v for k, v in checkpoint.get("current_model_state", {}).items()}
    for index, entry in checkpoint["optimizer_states"][0]["state"].items():
        state |= {f"optimizer {index} {k}": torch.as_tensor(v) for k, v in entry.items()}
    return state


# Three steps an epoch: after step 3 the first epoch's checkpoint is the last one; before step 5 it is that of step 4.
@pytest.mark.slow
@pytest.mark.parametrize(("killed_before", "checkpoint_steps", "goes_on_at"), [(4, 0, 3), (5, 1, 5)])
def test_a_run_killed_outright_ends_with_the_weights_of_one_that_was_not(
    rooms: Path, whole: Path, tmp_path: Path, killed_before: int, checkpoint_steps: int, goes_on_at: int
) -> None:
    killed = run(rooms, tmp_path / "run", killed_before=killed_before, checkpoint_steps=checkpoint_steps)
    assert killed.returncode == -signal.SIGKILL, killed.output[-3000:]
    assert read_checkpoint(tmp_path / "run" / "last.ckpt")["global_step"] == goes_on_at
    resumed = run(rooms, tmp_path / "run")
    assert resumed.returncode == 0, resumed.output[-3000:]

    wanted, got = weights(whole), weights(tmp_path / "run")
    assert wanted.keys() == got.keys()
    assert any(k.startswith("current ") for k in wanted), "the recipe averages weights: both sets count"
    different = [k for k in wanted if not torch.equal(wanted[k], got[k])]
    assert not different
    assert (whole / "model.lcrseg").is_file()
    assert not list((tmp_path / "run").glob(".*.part")), "no half-written file stays behind"


@pytest.mark.slow
def test_two_processes_end_with_the_weights_of_one_with_the_same_batch(rooms: Path, tmp_path: Path) -> None:
    """Batch norms keep their statistics here: each process would take those of its own images on a CPU. SGD, because
    Adam divides by the size of a gradient, so that rounding decides about the smallest."""
    entries = (
        *("network.freeze_batch_norm=true", "network.arguments={dropout: 0.0, drop_path: 0.0}"),
        *("optimizer.name=sgd", "optimizer.learning_rate=0.01", "augmentation.scale=[0.5, 2.0]"),
        *("loss.class_balance=0.5", "optimizer.ema_decay=0.0"),
    )
    done = run(rooms, tmp_path / "1", *entries)
    assert done.returncode == 0, done.output[-3000:]
    words, logs = (
        [free_port(), rooms, tmp_path / "2", 0, 0, 2, *SMALL, *entries],
        [tmp_path / "rank0", tmp_path / "rank1"],
    )
    shares = [start_function(training_run.share, [rank, *words], log) for rank, log in enumerate(logs)]
    for process, log in zip(shares, logs, strict=True):
        assert ended(process, log).returncode == 0, log.read_text()[-3000:]
    one, two = (read_checkpoint(tmp_path / str(n) / "last.ckpt") for n in (1, 2))
    assert one["global_step"] == two["global_step"] == 6
    assert two["lcr_seg_ros"]["record"]["processes"] == 2
    for name, value in one["state_dict"].items():
        assert torch.allclose(value, two["state_dict"][name], rtol=1e-5, atol=1e-5), name
    moved = one["state_dict"]["network.score.bias"] - two["state_dict"]["network.score.bias"]
    print(f"largest difference of a bias of the score layer: {moved.abs().max():.2g}")


@pytest.mark.slow
def test_processes_that_do_not_share_the_run_folder_do_not_go_on_from_different_places(
    rooms: Path, whole: Path, tmp_path: Path
) -> None:
    """Two folders stand for those of two machines; the second has no checkpoint."""
    outs, logs = [tmp_path / "0", tmp_path / "1"], [tmp_path / "rank0", tmp_path / "rank1"]
    outs[0].mkdir()
    shutil.copy(whole / "last.ckpt", outs[0])
    port = free_port()
    shares = [
        start_function(training_run.share, [rank, port, rooms, out, 0, 0, 2, *SMALL], log)
        for rank, (out, log) in enumerate(zip(outs, logs, strict=True))
    ]
    for process, log, out in zip(shares, logs, outs, strict=True):
        done = ended(process, log)
        assert done.returncode != 0
        assert f"find different last.ckpt in {out} (process 0 would go on at epoch 3, batch 1, " in done.output
        assert (
            "process 1 finds none): is it a folder that all machines share? Give such a folder as --out" in done.output
        )
    assert not (outs[0] / "model.lcrseg").exists()


@pytest.mark.slow
def test_the_command_trains_in_two_processes_that_may_leave_the_outer_decoder_out_early(
    rooms: Path, tmp_path: Path
) -> None:
    """Lightning starts the second process by the command line of the first. It ends while the first one still scores
    the model, and must not fail: Lightning would kill the first."""
    entries = (
        *("network.name=segnet", "network.imagenet=false", "network.arguments={width: 8}", "network.frozen_stages=1"),
        *("input.modality=rgb", "loss.deep_supervision=0.3", "loss.inner_share=0.5"),
    )
    options = (
        *("--recipe", "nyu40", "--data", rooms, "--val", "fit", "--cache", tmp_path / "cache"),
        *("--out", tmp_path / "run"),
        *("--accelerator", "cpu", "--devices", 2, "--threads", 1, "--workers", 0),
    )
    done = subprocess.run(
        [sys.executable, "-m", "lcr_seg_ros", "train", *map(str, options), *SMALL, *entries],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert done.returncode == 0 and "error" not in done.stderr, done.stderr[-3000:]
    assert done.stdout.count("model bundle: ") == 1, "the first process alone tells of it"
    assert "fit" in ModelBundle.load(tmp_path / "run" / "model.lcrseg").scores
    assert done.stderr.count("statistics of batch norms from its own share") == 1
    checkpoint = read_checkpoint(tmp_path / "run" / "last.ckpt")
    assert checkpoint["lcr_seg_ros"]["record"]["processes"] == 2
    assert checkpoint["global_step"] == 6
    assert (tmp_path / "run" / "model.lcrseg").is_file()


@pytest.mark.parametrize(
    ("processes", "entries", "is_told"),
    [
        (2, {}, True),
        (1, {}, False),
        (2, {"network.freeze_batch_norm": True}, False),
        (2, {"network.name": "fcn32s", "network.arguments": {"width": 8}}, False),  # has no batch norms
    ],
)
def test_it_is_told_where_processes_take_the_statistics_of_batch_norms_each_for_itself(
    caplog: pytest.LogCaptureFixture, tmp_path: Path, processes: int, entries: dict[str, object], is_told: bool
) -> None:
    recipe, labels = Recipe.load("nyu40-rgb", {"network.imagenet": False, **entries}), LabelSet.load("nyu40")
    trainer = _trainer(recipe, tmp_path, labels, 1, 1, Machine("cpu", devices=processes), ())
    tell_of_separate_batch_norms(trainer, SegmentationTraining(recipe, labels, torch.ones(40)).network)
    told = "each of the 2 processes takes the statistics of batch norms from its own share of a batch"
    assert (told in caplog.text) == is_told


def test_batches_are_a_function_of_seed_and_epoch() -> None:
    first, again = EpochBatches(10, 4, seed=3), EpochBatches(10, 4, seed=3)
    assert list(first) == list(again)
    again.set_epoch(1)
    assert list(first) != list(again)
    assert [epoch for batch in again for epoch, _ in batch] == [1] * 8
    assert list(EpochBatches(10, 4, seed=4)) != list(first)


def test_a_resumed_epoch_has_the_batches_that_were_left_and_the_next_one_has_all() -> None:
    whole = EpochBatches(12, 4, seed=0)
    whole.set_epoch(5)
    resumed = EpochBatches(12, 4, seed=0, first_epoch=5, first_batch=2)
    assert list(resumed) == list(whole)[2:]
    resumed.set_epoch(6)
    assert len(list(resumed)) == len(resumed) == 3


def test_processes_share_each_batch() -> None:
    one = list(EpochBatches(13, 6, seed=1))
    shares = [list(EpochBatches(13, 6, seed=1, rank=r, processes=3)) for r in range(3)]
    for k, batch in enumerate(one):
        assert sorted(batch) == sorted(item for share in shares for item in share[k])
    with pytest.raises(ValueError, match="a batch of 8 images cannot be shared evenly by 3 processes"):
        EpochBatches(13, 8, seed=1, processes=3)
    with pytest.raises(
        ValueError, match=r"1 training frames cannot be shared by 2 processes: start at most 1, by --dev"
    ):
        EpochBatches(1, 4, seed=1, processes=2)


def test_fewer_frames_than_a_batch_make_one_batch() -> None:
    assert [len(b) for b in EpochBatches(3, 8, seed=0)] == [3]
    assert np.unique([i for _, i in next(iter(EpochBatches(3, 8, seed=0)))]).tolist() == [0, 1, 2]
