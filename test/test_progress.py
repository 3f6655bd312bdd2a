"""Bars on what takes longer than two seconds: drawn on a terminal, nowhere else, and seldom."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from weakref import WeakSet

import pytest
from shared_data import ROOT
from tqdm import tqdm

from lcr_seg_ros.errors import LcrSegError
from lcr_seg_ros.progress import bars_end_with_errors, each, share_bar, waiting
from lcr_seg_ros.ros.processes import isolated_ros_environment
from lcr_seg_ros.sources.folder import write_folder
from lcr_seg_ros.sources.rooms import RenderedRoom


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def on_terminal(*arguments: str, alone: bool = True) -> tuple[str, str]:
    """What a command prints on standard output, and on a terminal as its standard error, or, unless that is ``alone``
    there, as both."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "lcr_seg_ros", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if alone else theirs,
        stderr=theirs,
        cwd=ROOT,
        env=isolated_ros_environment() | {"PYTHONPATH": str(ROOT)},
        text=True,
    )
    os.close(theirs)
    drawn = b""
    try:
        while chunk := os.read(ours, 4096):
            drawn += chunk
    except OSError:  # EIO: nobody holds the other end any more
        pass
    finally:
        os.close(ours)
    out, _ = process.communicate(timeout=120)
    return out, drawn.decode()


def test_a_benchmark_shows_how_far_it_has_come_on_a_terminal_and_results_alone_go_to_standard_output() -> None:
    out, drawn = on_terminal("benchmark", "network", "--backend", "openvino", "--seconds", "2")
    assert "measuring: " in drawn and "|" in drawn and "warm-up: " in drawn
    assert "ms wall" in out and "measuring" not in out


def test_with_json_on_standard_output_there_is_no_bar_among_the_lines_of_text() -> None:
    out, drawn = on_terminal("benchmark", "network", "--backend", "openvino", "--seconds", "1", "--json", "-")
    assert out.startswith("{")
    assert "ms wall" in drawn and "measuring" not in drawn


def test_doctor_shows_how_long_it_still_listens() -> None:
    pytest.importorskip("rclpy", reason="needs ROS 2's rclpy")
    out, drawn = on_terminal("doctor", "--seconds", "1")
    assert "listening: " in drawn and "%|" in drawn and "trying out: " in drawn
    assert "listening: " not in out and "trying out" not in out


@pytest.mark.slow
def test_the_error_of_a_training_gets_a_line_of_its_own_below_the_bar(tmp_path: Path) -> None:
    pytest.importorskip("lightning", reason="training needs the extra: pip install 'lcr_seg_ros[train]'")
    room = RenderedRoom(frames=2, seed=1, width=64, height=48)
    write_folder([room[0], room[1]], tmp_path, split="fit")
    given = ["--data", str(tmp_path), "--val", "", "--out", str(tmp_path / "run"), "--threads", "1"]
    small = ["input.height=32", "input.width=48", "optimizer.batch_size=2", "rooms.rooms=0", "rooms.per_epoch=0"]
    diverging = ["network.imagenet=false", "input.modality=rgb", "loss.constraint.alpha=.nan"]
    _, drawn = on_terminal("train", *given, *small, *diverging, alone=False)
    (told,) = (line for line in drawn.split("\n") if "error: " in line)
    assert told.startswith("error: step 0 (epoch 1): kernels not finite")
    assert "Epoch 0:" in drawn


@pytest.mark.parametrize("stays", [True, False])
def test_an_error_ends_the_lines_of_all_bars_before_it_is_told(stays: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", written := Terminal())
    monkeypatch.setattr(tqdm, "_instances", WeakSet())
    with pytest.raises(LcrSegError, match="the third") as refusal, bars_end_with_errors():
        for _ in tqdm(range(3), desc="epochs", leave=stays):
            for piece in tqdm(range(3), desc="pieces", leave=False):
                if piece == 2:
                    raise LcrSegError("the third")
    assert written.getvalue().endswith("\n" if stays else "\r"), repr(written.getvalue())
    assert not tqdm._instances, refusal  # though its traceback holds the loops


def test_bars_that_nothing_happened_to_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr(tqdm, "_instances", WeakSet())
    with bars_end_with_errors():
        bar = tqdm(range(3))
    assert list(tqdm._instances) == [bar]
    bar.close()


def test_where_standard_error_is_no_terminal_nothing_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", written := io.StringIO())
    with share_bar("a share") as show, waiting("a wait") as tick:
        show(0.5)
        tick()
    assert list(each([1, 2], "pieces", "piece")) == [1, 2]
    assert written.getvalue() == ""


def test_a_bar_is_drawn_twice_a_second_at_most_and_is_gone_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", written := Terminal())
    monkeypatch.setattr(tqdm, "_instances", WeakSet())  # a bar that another test left open would push this one down
    began = time.monotonic()
    with share_bar("a share") as show:
        while (elapsed := time.monotonic() - began) < 1.2:
            show(2 * elapsed)  # more than all of it counts as all of it
    drawn = [line for line in written.getvalue().split("\r") if "a share" in line]
    assert 2 <= len(drawn) <= 1 + (time.monotonic() - began) / 0.5
    assert "100%" in drawn[-1]
    assert written.getvalue().split("\r")[-2].strip() == ""
