"""Paths of the files that ship with the package, however it is installed.

``config/`` is at the top of the repository, where ROS users look for it, and is linked into the package, so that the
same path works in a source tree, a wheel and a colcon install.
"""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
CONFIG = PACKAGE / "config"
MODELS = PACKAGE / "models"
