"""Create or update .venv with this package and the given extras: setup_venv.py ros train dev

The Makefile runs it with whatever ``python3`` the machine has, before anything is installed. It is therefore
written so that even an old interpreter can parse it: one that is too old gets an error that says so, not a
SyntaxError. Whatever is missing ends it with one line on stderr and exit code 1.
"""

from __future__ import division, print_function

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(ROOT, ".venv")
VENV_PYTHON = os.path.join(VENV, "bin", "python")
STAMP = os.path.join(VENV, "lcr_seg_ros.json")
LOG = os.path.join(VENV, "setup.log")
INPUTS = ("setup.py", "setup.cfg", "pyproject.toml")

OLDEST, NEWEST = (3, 10), (3, 14)  # newest: the last release that the ROS wheels are built for
OLDEST_GLIBC = (2, 28)  # manylinux_2_28, the tag of the ROS wheels

# Free disk space that an installation needs, in GB, including pip's downloads and its cache (which a first
# installation also fills), for each extra of setup.py and for the package without any. Measured; an environment
# with torch takes 6.8 GB, one without 0.8 GB.
DISK_GB = {"ros": 0.5, "onnxruntime": 0.2, "map": 0.3, "train": 7.0, "rerun": 1.0, "docs": 0.2, "dev": 0.5}
BASE_GB = 1.0

NO_NETWORK = re.compile(
    "NewConnectionError|NameResolutionError|name resolution|Name or service not known|Network is unreachable|"
    "Connection refused|ProxyError|ConnectTimeout|ReadTimeout|Read timed out|connection broken|Max retries exceeded|"
    r"setuptools\S* \(from versions: none\)"  # every index has it
)


class MissingError(Exception):
    """Something is missing that only the user can supply; the message is one line that says what."""


def main(extras):
    check_names(extras)
    if is_ready(read_stamp(), extras):
        return
    check_machine()
    with Lock():
        stamp = read_stamp()  # another make may have installed everything while we waited
        if is_ready(stamp, extras):
            return
        # Extras installed before are kept when setup.py has changed, so that `make demo` does not undo `make test`.
        wanted = sorted(set(extras) | set(stamp.get("extras", [])))
        check_disk(wanted, stamp)
        create_venv(moved=stamp.get("root", ROOT) != ROOT)
        install(wanted)
        write_stamp(wanted)
    say("ready")


def read_stamp():
    """What the last successful run installed; empty if there was none, or if its interpreter is gone."""
    try:
        with open(STAMP) as file:
            return json.load(file) if os.path.exists(VENV_PYTHON) else {}
    except (IOError, OSError, ValueError):
        return {}


def is_ready(stamp, extras):
    # Scripts in an environment contain the full path of their interpreter: a moved folder needs a new environment.
    unmoved = stamp.get("root") == ROOT
    return unmoved and stamp.get("digest") == digest() and set(extras) <= set(stamp.get("extras", []))


def digest():
    """A hash of the files that decide what is installed."""
    total = hashlib.sha256()
    for name in INPUTS:
        with open(os.path.join(ROOT, name), "rb") as file:
            total.update(file.read())
    return total.hexdigest()


def check_names(extras):
    unknown = [extra for extra in extras if extra not in DISK_GB]
    if unknown:
        raise MissingError("there is no extra %s; the extras are: %s" % (", ".join(unknown), ", ".join(DISK_GB)))


def check_machine():
    found = sys.version_info[:2]
    if not OLDEST <= found <= NEWEST:
        other = another_python()
        raise MissingError(
            "%s is Python %d.%d, but lcr_seg_ros needs %d.%d to %d.%d: %s"
            % (
                (sys.executable or "python3",)
                + found
                + OLDEST
                + NEWEST
                + (("run again with PYTHON=" + other) if other else "install one and run again with PYTHON=its name",)
            )
        )
    machine = (platform.system(), platform.machine())
    libc, version = platform.libc_ver()
    too_old = libc != "glibc" or tuple(int(part) for part in version.split(".")[:2]) < OLDEST_GLIBC
    if machine != ("Linux", "x86_64") or too_old:
        raise MissingError(
            "this machine is %s on %s with %s: ROS 2 wheels exist for Linux on x86_64 with glibc >= %d.%d only; "
            "elsewhere build the package with colcon in a ROS 2 installation"
            % (machine + ((libc or "another libc") + " " + version,) + OLDEST_GLIBC)
        )
    if not os.path.exists(VENV_PYTHON):
        for module in ("venv", "ensurepip"):
            if not answers(sys.executable, "import " + module):
                raise MissingError(
                    "%s lacks the %s module: on Debian or Ubuntu `sudo apt install python3-venv`, then run again"
                    % (sys.executable, module)
                )


def another_python():
    """Name of a suitable interpreter on PATH, or None."""
    names = ["python%d.%d" % (OLDEST[0], minor) for minor in range(NEWEST[1], OLDEST[1] - 1, -1)]
    for name in names:
        for folder in os.environ.get("PATH", "").split(os.pathsep):
            path = os.path.join(folder, name)
            # Version managers put names on PATH that do not run, so try it.
            if os.access(path, os.X_OK) and answers(path, "import venv, ensurepip"):
                return name
    return None


def answers(python, code):
    with open(os.devnull, "w") as null:
        return subprocess.call([python, "-c", code], stdout=null, stderr=null) == 0


def check_disk(extras, stamp):
    lacking = set(extras) - set(stamp.get("extras", []))
    need = (0 if stamp else BASE_GB) + sum(DISK_GB[extra] for extra in lacking) or 0.5
    free = float(os.environ.get("LCR_SEG_FREE_GB") or shutil.disk_usage(ROOT).free / 1e9)
    if free < need:
        raise MissingError(
            "not enough disk for %s: %.1f GB are free, %.1f GB are needed (packages with pip's downloads)"
            % (VENV, free, need)
        )
    say("installing %s into .venv, up to %.1f GB (%.0f GB are free)" % (" + ".join(["base"] + extras), need, free))


def create_venv(moved):
    if not moved and os.path.exists(VENV_PYTHON) and answers(VENV_PYTHON, "import pip"):
        return
    again = os.path.lexists(VENV)
    say("%s .venv with Python %s" % ("making again" if again else "making", platform.python_version()))
    run([sys.executable, "-m", "venv", "--clear", VENV], "the virtual environment could not be made")


def install(extras):
    environment = dict(os.environ, PIP_DISABLE_PIP_VERSION_CHECK="1")
    # A small /tmp is the usual reason why a large wheel cannot be unpacked; the disk of .venv has room.
    scratch = os.path.join(VENV, "tmp")
    if "TMPDIR" not in os.environ:
        environment["TMPDIR"] = scratch
    if not os.path.isdir(scratch):
        os.makedirs(scratch)
    try:
        pip = [VENV_PYTHON, "-m", "pip", "install", "--no-input", "--progress-bar", "off"]
        version = subprocess.check_output([VENV_PYTHON, "-c", "import pip; print(pip.__version__)"]).decode()
        if int(version.split(".")[0]) < 22:  # older ones have no editable install from pyproject.toml
            run(pip + ["pip>=22"], "pip could not be brought up to date", environment)
        target = "%s[%s]" % (ROOT, ",".join(extras))
        run(pip + ["-e", target], "pip could not install the packages", environment)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def run(command, failure, environment=None):
    """Run a command, show its large downloads, and append its output to the log.

    Raises:
        MissingError: the command failed; one line with the likely reason.
    """
    errors, offline, full = [], False, False
    if not os.path.isdir(VENV):
        os.makedirs(VENV)
    process = subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        lines = []
        for raw in process.stdout:
            line = raw.decode("utf-8", "replace").rstrip()
            lines.append(line)
            if re.search(r"Downloading .* \((\d\d+(\.\d+)? ?MB|.*GB)\)", line):
                say(line.strip().replace("Downloading", "downloading"))
            elif line.startswith("Installing collected packages"):
                say("unpacking %d packages" % (line.count(",") + 1))
            errors += [line.strip()] if line.strip().startswith("ERROR:") else []
            offline = offline or bool(NO_NETWORK.search(line))
            full = full or "No space left on device" in line
        code = process.wait()
    except BaseException:
        process.terminate()
        process.wait()
        raise
    with open(LOG, "a") as log:
        log.write("$ " + " ".join(command) + "\n" + "\n".join(lines) + "\n")
    if code == 0:
        return
    if full:
        reason = "the disk is full (also look at the home folder, where pip keeps its cache)"
    elif offline:
        reason = "no package index could be reached; is there a network (pip's proxy and index settings are used)?"
    else:
        reason = re.sub(r"^ERROR: *| \(from versions:.*", "", errors[0]) if errors else "exit code %d" % code
    raise MissingError("%s: %s (all of its words: %s)" % (failure, reason, LOG))


def write_stamp(extras):
    draft = STAMP + ".part"
    with open(draft, "w") as file:
        json.dump({"root": ROOT, "digest": digest(), "extras": extras}, file)
    os.rename(draft, STAMP)


class Lock(object):
    """Held by only one set-up of this folder at a time: two makes at once would overwrite each other's files."""

    def __enter__(self):
        import fcntl

        self.file = os.open(ROOT, os.O_RDONLY)
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (IOError, OSError):
            say("waiting for another set-up of this folder")
            fcntl.flock(self.file, fcntl.LOCK_EX)

    def __exit__(self, *_):
        os.close(self.file)


def say(text):
    print("setup: " + text)
    sys.stdout.flush()


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except MissingError as missing:
        sys.exit("setup: " + str(missing))
    except KeyboardInterrupt:
        sys.exit("setup: interrupted; run again to go on")
