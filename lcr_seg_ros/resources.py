"""Where the files that travel with the package are, in every install mode.

``config/`` stands at the top of the repository, where ROS users look for it, and is linked into the
package, so the same path works from a source tree, a wheel and a colcon install.
"""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
CONFIG = PACKAGE / "config"
MODELS = PACKAGE / "models"
