"""The front door: help with examples, completion, versions, and answers to what is mistyped."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from shared_data import ROOT

import lcr_seg_ros
from lcr_seg_ros.cli import COMMANDS, PROGRAM, group
from lcr_seg_ros.ros.environment import prepare_ros_environment


def run(*arguments: str, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "lcr_seg_ros", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def commands() -> Iterator[tuple[str, click.Command, click.Context]]:
    """Every command and every command below one, as it is typed."""
    front = click.Context(group, info_name=PROGRAM)
    for name in COMMANDS:
        command = group.get_command(front, name)
        assert command is not None
        context = click.Context(command, info_name=name, parent=front)
        yield name, command, context
        if isinstance(command, click.Group):
            for below in command.list_commands(context):
                command_below = command.get_command(context, below)
                assert command_below is not None
                yield f"{name} {below}", command_below, click.Context(command_below, info_name=below, parent=context)


def test_the_help_of_every_command_has_examples_that_name_it() -> None:
    pytest.importorskip("rclpy", reason="needs ROS 2's rclpy")
    prepare_ros_environment()
    lacking = []
    for name, command, context in commands():
        _, _, examples = command.get_help(context).partition("Examples:\n")
        if f" {PROGRAM} {name}" not in examples:
            lacking.append(name)
    assert not lacking


def test_the_list_of_commands_has_a_line_for_each_and_the_exit_codes() -> None:
    text = run("--help").stdout
    for name, (_, _, line) in COMMANDS.items():
        assert f"{name} " in text
        assert line.split()[0] in text
    assert "Exit codes: 0 done, 1 something to mend" in text


def test_the_version_is_told() -> None:
    assert run("--version").stdout == f"lcr_seg_ros {lcr_seg_ros.__version__}\n"


@pytest.mark.parametrize(("typed", "meant"), [("evalute", "evaluate"), ("check_data", "check-data"), ("deno", "demo")])
def test_a_mistyped_command_is_answered_with_the_nearest(typed: str, meant: str) -> None:
    assert f"No such command '{typed}': did you mean '{meant}'?" in run(typed, code=2).stderr


def test_a_command_that_is_like_none_is_answered_with_all() -> None:
    answer = run("xyzzy", code=2).stderr
    assert all(name in answer for name in COMMANDS)


def shell_answer(shell: str, words: str) -> subprocess.CompletedProcess[str]:
    """What is handed to a shell that asks for the last word; on stderr, by `-X importtime`, all that was imported."""
    return subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "lcr_seg_ros"],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ
        | {"PYTHONPATH": str(ROOT), "_LCR_SEG_ROS_COMPLETE": f"{shell}_complete"}
        | {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)},
    )


def complete(words: str, tmp_path: Path) -> list[str]:
    """What bash offers for the last word, by the script that the package prints."""
    program = tmp_path / PROGRAM
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m lcr_seg_ros "$@"\n')
    program.chmod(0o755)
    script = f"""
eval "$({PROGRAM} --completion bash)"
COMP_WORDS=({words}) COMP_CWORD={len(words.split()) - 1}
_{PROGRAM}_completion {PROGRAM} 2>/dev/null
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    return [line for line in done.stdout.splitlines() if line]


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("lcr_seg_ros pre", ["predict", "prepare"]),
        ("lcr_seg_ros predict --she", ["--sheets"]),
        ("lcr_seg_ros prepare roo", ["rooms"]),
        ("lcr_seg_ros predict --model nyu40-r", ["nyu40-rgb", "nyu40-rgb-int8"]),
        ("lcr_seg_ros predict --backend onn", ["onnxruntime"]),
        ("lcr_seg_ros predict --data DATA --split va", ["val"]),
        ("lcr_seg_ros train --recipe segnet_", ["segnet_modern", "segnet_paper"]),
        ("lcr_seg_ros train --data DATA --fit f", ["fit", "fit_few"]),
        ("lcr_seg_ros train optimizer.sch", ["optimizer.schedule="]),
        ("lcr_seg_ros train optimizer.schedule = co", ["cosine", "constant"]),
        ("lcr_seg_ros train optimizer.epochs = 2 loss.constraint =", ["true", "false"]),
        ("lcr_seg_ros ablate --grid where", ["where_it_helps", "where_it_helps_quick"]),
        ("lcr_seg_ros reproduce nyu4 nyu4", ["nyu40", "nyu40-rgb"]),
        ("lcr_seg_ros reproduce nyu4 optimizer.sch", ["optimizer.schedule="]),
        ("lcr_seg_ros map --class cei", ["ceiling"]),
        ("lcr_seg_ros map --class floor --class floo", [r"floor\ mat"]),  # one word to the shell
        ("lcr_seg_ros map --model nyu4 --class f", ["furniture"]),
        ("lcr_seg_ros map --model mistyped --class f", []),
        ("lcr_seg_ros check-data DATA --labels nyu4", ["nyu4", "nyu40"]),
        ("lcr_seg_ros play ro", ["room"]),
    ],
)
def test_bash_completes_commands_options_and_values(words: str, offered: list[str], tmp_path: Path) -> None:
    if words.split()[1] == "play":
        pytest.importorskip("rclpy", reason="needs ROS 2's rclpy")
    data = tmp_path / "data"
    data.mkdir()
    for split in ("fit", "fit_few", "val"):
        (data / f"{split}.txt").touch()
    assert complete(words.replace("DATA", str(data)), tmp_path) == offered


def test_zsh_completes_the_value_in_the_word_that_has_the_name(tmp_path: Path) -> None:
    answer = shell_answer("zsh", "lcr_seg_ros train optimizer.schedule=po")
    assert "optimizer.schedule=poly" in answer.stdout


def test_a_value_that_is_no_shipped_name_may_be_a_file() -> None:
    assert shell_answer("bash", "lcr_seg_ros predict --model my_m").stdout.split() == ["file,my_m"]


@pytest.mark.parametrize(
    "words",
    [
        "predict --model ny",
        "train --recipe ny",
        "train loss.constraint=f",
        "ablate --grid la",
        "reproduce ny",
        "map --class fl",
    ],
)
def test_completion_of_a_value_loads_no_heavy_library(words: str) -> None:
    loaded = shell_answer("zsh", f"lcr_seg_ros {words}").stderr
    assert "lcr_seg_ros.completion" in loaded
    assert not [name for name in ("torch", "lightning", "rclpy", "openvino", "onnxruntime") if f" {name}\n" in loaded]


@pytest.mark.parametrize(("shell", "speaks"), [("zsh", "compdef"), ("fish", "complete --no-files")])
def test_there_is_a_completion_script_for_other_shells(shell: str, speaks: str) -> None:
    assert speaks in run("--completion", shell).stdout


def test_completion_of_a_commands_name_imports_no_command() -> None:
    done = shell_answer("bash", "lcr_seg_ros p")
    assert "plain,predict" in done.stdout
    assert not [name for name in ("numpy", "cv2", "lcr_seg_ros.predict") if f" {name}\n" in done.stderr]
