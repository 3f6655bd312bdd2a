"""The entry point of all commands: ``python -m lcr_seg_ros NAME`` and ``ros2 run lcr_seg_ros NAME``.

Each command is in the module that does its work, and is imported when it is called, so that ``predict --help`` neither
waits for PyTorch nor needs ROS.

Exit codes: 0 done; 1 an error that the user can fix, described in one line on stderr; 2 wrong usage; 130 stopped by
Ctrl-C before the work was done. What works until it is stopped, such as a node, exits with 0 then.
"""

from __future__ import annotations

import errno
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from importlib import import_module

import click
from click.shell_completion import CompletionItem, get_completion_class

from lcr_seg_ros.errors import LcrSegError
from lcr_seg_ros.extras import explain_missing
from lcr_seg_ros.progress import bars_end_with_errors

PROGRAM = "lcr_seg_ros"
SHELLS = ("bash", "zsh", "fish")

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it: 128 and the number of SIGINT."""

GOING_ON = ("train", "ablate", "map", "reproduce", "prepare nyudv2", "prepare import")
"""Commands that, started again after a stop, go on where they were."""

_NO_ARGUMENTS: type[click.UsageError] | tuple[()] = getattr(click.exceptions, "NoArgsIsHelpError", ())
"""What click raises from 8.2 on where a command has to follow; it would be printed as an error."""

FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
"""``errno`` of errors from a disk that is full or read-only."""

COMMANDS = {
    # name: (module that holds `command`, pip extra that brings what it needs, one line)
    "segment": ("lcr_seg_ros.ros.segment_command", "ros", "the node: RGB-D topics in, label images out"),
    "play": ("lcr_seg_ros.ros.play_command", "ros", "publish a folder, a bag or the rendered room as a camera would"),
    "doctor": ("lcr_seg_ros.ros.doctor_command", "ros", "what keeps a camera from working, and what to launch"),
    "record": ("lcr_seg_ros.ros.record_command", "ros", "frames of live topics or a bag into a dataset folder"),
    "view": ("lcr_seg_ros.ros.viewer_command", "ros,rerun", "what the node sees and says, live in a browser"),
    "demo": ("lcr_seg_ros.ros.demo_command", "ros", "camera, node and observer over real DDS, with a report"),
    "predict": ("lcr_seg_ros.predict", "", "label the images of a folder"),
    "map": ("lcr_seg_ros.map_command", "", "a semantic voxel map of the frames of a folder or bag"),
    "map-node": ("lcr_seg_ros.ros.map_node_command", "ros", "the same live: labelled points and poses in, a map out"),
    "hha": ("lcr_seg_ros.hha_command", "", "HHA images of a folder's depth, and pictures that explain them"),
    "evaluate": ("lcr_seg_ros.training.evaluate_command", "", "score a model on an annotated folder"),
    "benchmark": ("lcr_seg_ros.benchmark", "", "time HHA, the network, the constraint or the whole chain"),
    "train": ("lcr_seg_ros.training.train_command", "train", "train a network from a recipe"),
    "ablate": ("lcr_seg_ros.training.ablate_command", "train", "train and score a grid of variants, with tables"),
    "reproduce": ("lcr_seg_ros.training.reproduce_command", "train", "make the models that ship, from a dataset"),
    "export": ("lcr_seg_ros.training.export_command", "train", "turn a checkpoint into a model bundle"),
    "quantize": (
        "lcr_seg_ros.training.quantize_command",
        "train",
        "make a model bundle of 8 bits: smaller, and on many CPUs faster",
    ),
    "prepare": ("lcr_seg_ros.training.prepare_command", "", "make dataset folders, e.g. of the official NYUDv2 files"),
    "explain-constraint": (
        "lcr_seg_ros.training.explain_constraint_command",
        "train",
        "pictures of what the contextual constraint learned and changed",
    ),
    "check-data": ("lcr_seg_ros.training.check_data_command", "", "find the faults of a dataset folder"),
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        return _load(name) if name in COMMANDS else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            near = get_close_matches(name.replace("_", "-"), COMMANDS, n=1, cutoff=0.5)
            advice = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(COMMANDS)}"
            ctx.fail(f"No such command {name!r}: {advice}")
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        # For the help lines, click would import every command, which takes seconds; the lines are in COMMANDS.
        names = [CompletionItem(name, help=COMMANDS[name][2]) for name in COMMANDS if name.startswith(incomplete)]
        return [*names, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, _, line) in COMMANDS.items()])


def _print_completion(ctx: click.Context, _: click.Parameter, shell: str | None) -> None:
    if shell is None or ctx.resilient_parsing:
        return
    script = get_completion_class(shell)
    assert script is not None  # the option allows these shells only
    source = script(group, {}, PROGRAM, f"_{PROGRAM.upper()}_COMPLETE").source()
    if shell == "bash":  # no space after NAME=, where a value follows
        source = source.replace(
            "\n    return 0\n", "\n    [[ ${COMPREPLY[*]} == *= ]] && compopt -o nospace\n    return 0\n", 1
        )
        source = source.replace("COMPREPLY+=($value)", 'COMPREPLY+=("$(printf %q "$value")")')  # "floor mat"
    click.echo(source)
    ctx.exit()


def _print_version(ctx: click.Context, _: click.Parameter, asked: bool) -> None:
    if not asked or ctx.resilient_parsing:
        return
    from lcr_seg_ros import __version__

    click.echo(f"{PROGRAM} {__version__}")
    ctx.exit()


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
Examples:
  python -m lcr_seg_ros demo                a camera, the node and a report
  python -m lcr_seg_ros predict --help      what a command does, with examples
  eval "$(lcr_seg_ros --completion bash)"   complete commands and options, in this shell

\b
Exit codes: 0 done, 1 something to mend (one line on stderr says what), 2 wrong usage, 130 stopped by Ctrl-C.""",
)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Show it.")
@click.option(
    "--completion",
    type=click.Choice(SHELLS),
    is_eager=True,
    expose_value=False,
    callback=_print_completion,
    help="Print the script that completes commands and options in a shell.",
)
def group() -> None:
    """Indoor semantic segmentation of RGB-D frames. `COMMAND --help` explains each."""


def _load(name: str) -> click.Command:
    module, extra, _ = COMMANDS[name]
    try:
        command: click.Command = import_module(module).command
    except ModuleNotFoundError as error:
        if error.name and error.name.startswith("lcr_seg_ros"):
            raise
        if (explained := explain_missing(error, f"`{name}`", extra)) is not None:
            raise explained from error
        raise LcrSegError(
            f"`{name}` needs the Python module {error.name!r}, which is not installed: pip install {error.name}"
        ) from error
    except ImportError as error:  # installed, but broken
        if error.name and error.name.startswith("lcr_seg_ros"):
            raise
        raise LcrSegError(
            f"`{name}` needs a Python module that cannot be loaded: {error}. Packages of pip and of the system may not "
            "fit one another: README.md says what each ROS 2 distribution needs"
        ) from error
    return command


def main(arguments: list[str] | None = None, command_name: str | None = None) -> None:
    """Run a command and exit the process with one of the exit codes above.

    Args:
        arguments: default: those of the process.
        command_name: of the command to run, if it is not the first argument.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # set by __main__ for the first imports
        signal.signal(signal.SIGINT, signal.default_int_handler)
    arguments = sys.argv[1:] if arguments is None else arguments
    if command_name is not None:
        arguments = [command_name, *arguments]
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("lcr_seg_ros").setLevel(logging.INFO)  # of libraries, INFO is about their own workings
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        with bars_end_with_errors():
            # Not click's standalone mode, where Ctrl-C ends with "Aborted!" and the exit code of an error.
            code = group.main(arguments, prog_name=PROGRAM, standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.Abort as abort:
        if isinstance(abort.__cause__, EOFError):  # click takes it for Ctrl-D, but no command here asks anything
            raise abort.__cause__ from None
        click.echo(stopped_line(arguments), err=True)
        sys.exit(INTERRUPTED)
    except SystemError as error:
        if not _interrupted(error):
            raise
        click.echo(stopped_line(arguments), err=True)
        sys.exit(INTERRUPTED)
    except click.ClickException as error:
        if isinstance(error, _NO_ARGUMENTS) and error.ctx is not None:  # the list that was asked for, not a mistake
            click.echo(error.ctx.get_help())
            sys.exit(0)
        error = _with_advice(error, arguments)
        error.show()
        sys.exit(error.exit_code)
    except LcrSegError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
    except ModuleNotFoundError as error:  # commands import what is large only where it is used
        name = arguments[0] if arguments and arguments[0] in COMMANDS else PROGRAM
        explained = explain_missing(error, f"`{name}`", COMMANDS[name][1] if name in COMMANDS else "")
        if explained is None:
            raise
        click.echo(f"error: {explained}", err=True)
        sys.exit(1)
    except OSError as error:
        # A file that cannot be read or written is for the user to fix; an error without a file name is a bug.
        if error.errno in FULL_DISK:
            click.echo(f"error: {error.filename or 'a file'} cannot be written: {error.strerror}", err=True)
        elif error.filename is not None:
            click.echo(f"error: {error.filename}: {error.strerror}", err=True)
        else:
            raise
        sys.exit(1)


def _with_advice(error: click.ClickException, arguments: Sequence[str]) -> click.ClickException:
    """The same error, with what was perhaps meant: the word after the command where --data is missing, and how an
    option of several values is given, by its default."""
    if isinstance(error, click.MissingParameter) and error.param and error.ctx and "--data" in error.param.opts:
        begins = len(error.ctx.command_path.split()) - 1  # the name of the program is no argument
        word = next(iter(arguments[begins:]), "-")
        if not word.startswith("-") and "=" not in word:
            return click.MissingParameter(f"Did you mean --data {word}?", error.ctx, error.param)
    if isinstance(error, click.BadOptionUsage) and arguments and arguments[0] in COMMANDS:
        parameters = _load(arguments[0]).params  # the error has no context to ask
        option = next((p for p in parameters if error.option_name in p.opts), None)
        if option is not None and isinstance(option.default, tuple):
            usual = " ".join(str(value) for value in option.default)
            message = f"{error.message} E.g. {error.option_name} {usual}"
            return click.BadOptionUsage(error.option_name, message, error.ctx)
    return error


def _interrupted(error: BaseException | None) -> bool:
    """Whether an error comes from Ctrl-C: compiled code that it interrupts reports an error of its own."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__
    return error is not None


def stopped_line(arguments: Sequence[str]) -> str:
    """What is said after Ctrl-C: whether the same command line goes on."""
    goes_on = arguments[:1] and (arguments[0] in GOING_ON or " ".join(arguments[:2]) in GOING_ON)
    started_over = {"--no-resume", "--start-over"} & set(arguments)
    return "stopped; the same command goes on" if goes_on and not started_over else "stopped"


def _entry(name: str) -> Callable[[], None]:
    return lambda: main(command_name=name)


segment, play, demo = _entry("segment"), _entry("play"), _entry("demo")
doctor, record, view = _entry("doctor"), _entry("record"), _entry("view")
predict, evaluate, benchmark = _entry("predict"), _entry("evaluate"), _entry("benchmark")
hha = _entry("hha")
map, map_node = _entry("map"), _entry("map-node")
train, export, prepare = _entry("train"), _entry("export"), _entry("prepare")
check_data = _entry("check-data")
ablate = _entry("ablate")
reproduce = _entry("reproduce")
quantize = _entry("quantize")
explain_constraint = _entry("explain-constraint")
