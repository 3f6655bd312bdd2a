"""The model bundle: a single file with all that a robot needs to label frames.

A bundle is a zip archive (members stored, not compressed) of

- ``manifest.json``: architecture, input, label set, training recipe, scores, digests;
- ``network.onnx``: the network, from colour and geometry channels to class probabilities;
- ``NOTICE.txt``: where weights and data come from and what they may be used for.

Nothing in it is executed or unpickled, and sizes are checked before memory is allocated.
"""

from __future__ import annotations

import hashlib
import io
import json
import shlex
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from lcr_seg_ros.errors import BundleError, FrameError, LabelSetError
from lcr_seg_ros.files import replace_file
from lcr_seg_ros.hha.settings import HhaSettings
from lcr_seg_ros.labels import LabelSet
from lcr_seg_ros.resources import MODELS

FORMAT = "lcr_seg_ros bundle 1"
SUFFIX = ".lcrseg"
MAX_DIRECTORY_BYTES = 128 << 10  # more than the last 64 kB, in which zipfile searches for the directory's end record
MAX_MANIFEST_BYTES = 4 << 20
MAX_NETWORK_BYTES = 2 << 30

HHA_OF_TRAINING = ("floor", "smoothing", "gravity_estimate")
"""The HHA settings that must be the same in use as in training; they are stored in the bundle."""

Modality = Literal["rgb", "hha", "rgb_hha"]
HhaSource = Literal["computed", "folder"]
CHANNELS: dict[str, int] = {"rgb": 3, "hha": 3, "rgb_hha": 6}


@dataclass(frozen=True)
class InputSpec:
    """The input that the network expects.

    Args:
        modality: ``rgb``, ``hha`` or ``rgb_hha`` (colour first).
        height, width: image size it was trained at, in pixels. Frames of another shape keep their
            aspect ratio: their shorter side becomes ``min(height, width)``.
        mean, std: of each channel, on the 0..255 scale of the image and of HHA.
        hha: how HHA was computed in training. Properties of the camera (depth range and mounting) are not stored.
        hha_source: ``computed``; or ``folder``, if HHA of training was made elsewhere and came with the data set.
        is_exact: frames of the aspect ratio of ``height`` and ``width`` enter the network at exactly this size, even if
            its sides are no multiples of 8; see :func:`lcr_seg_ros.preprocess.network_size`.

    Raises:
        BundleError: unknown modality or source of HHA, sizes out of range, wrong number of means or deviations.
    """

    modality: Modality
    height: int
    width: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    hha: HhaSettings = field(default_factory=HhaSettings)
    hha_source: HhaSource = "computed"
    is_exact: bool = False

    def __post_init__(self) -> None:
        if self.modality not in CHANNELS:
            raise BundleError(f"modality must be one of {', '.join(get_args(Modality))}, got {self.modality!r}")
        if self.hha_source not in get_args(HhaSource):
            raise BundleError(
                f"hha_source must be one of {', '.join(get_args(HhaSource))}, got {self.hha_source!r}: was the model "
                "made by a newer version?"
            )
        if not (32 <= self.height <= 4096 and 32 <= self.width <= 4096):
            raise BundleError(f"network input must be 32..4096 px a side, got {self.width}x{self.height}")
        channels = CHANNELS[self.modality]
        if len(self.mean) != channels or len(self.std) != channels or not all(s > 0 for s in self.std):
            raise BundleError(
                f"{self.modality} needs {channels} means and {channels} deviations > 0, "
                f"got mean={self.mean}, std={self.std}"
            )

    @property
    def channels(self) -> int:
        return CHANNELS[self.modality]

    @property
    def uses_rgb(self) -> bool:
        return self.modality != "hha"

    @property
    def uses_depth(self) -> bool:
        return self.modality != "rgb"

    @property
    def reads_hha(self) -> bool:
        """Whether the network was trained with HHA that was made elsewhere."""
        return self.uses_depth and self.hha_source == "folder"


@dataclass(frozen=True)
class ModelDescription:
    """What a bundle says about its model, without the network itself.

    Args:
        name: short name, e.g. ``nyu40``.
        architecture: ``{"name": registry name, "arguments": {...}}``, from which the PyTorch network can be rebuilt.
        input: see :class:`InputSpec`.
        labels: label set, one class per score channel.
    """

    name: str
    architecture: dict[str, Any]
    input: InputSpec
    labels: LabelSet


@dataclass(frozen=True)
class StoredModel(ModelDescription):
    """What a file says about its model.

    Args:
        network_sha256: hexadecimal digest of the network, by which two files of one name can be told apart.
    """

    network_sha256: str


@dataclass(frozen=True)
class ModelBundle(ModelDescription):
    """A trained network with everything needed to use it and to trust it.

    Args:
        name, architecture, input, labels: see :class:`ModelDescription`.
        network: ONNX model: float32 (B, C, H, W) -> float32 (B, N, h, w) class probabilities.
        training: recipe, seed, commit and data digests: what is needed to train it again.
        scores: measured scores by split, e.g. ``{"val": {"mean_iou": 0.23, "frames": 414}}``. If ``training`` has an
            entry ``trial``, they were measured with another model of the same recipe, trained without that split.
        notice: origin and terms of use of weights and data.
    """

    network: bytes = field(repr=False)
    training: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, Any] = field(default_factory=dict)
    notice: str = ""

    def manifest(self) -> dict[str, Any]:
        """Everything but the network itself, as plain values for JSON."""
        return {
            "format": FORMAT,
            "name": self.name,
            "architecture": self.architecture,
            "input": {
                "modality": self.input.modality,
                "height": self.input.height,
                "width": self.input.width,
                "mean": list(self.input.mean),
                "std": list(self.input.std),
                "hha": {name: value for name, value in asdict(self.input.hha).items() if name in HHA_OF_TRAINING},
                "hha_source": self.input.hha_source,
                "is_exact": self.input.is_exact,
            },
            "labels": self.labels.to_dict(),
            "training": self.training,
            "scores": self.scores,
            "network_sha256": self.network_sha256,
        }

    def at_height(self, height: int) -> ModelBundle:
        """The same network for another image size: a smaller one is faster, but worse for small objects.

        Args:
            height: of an image of the training's aspect ratio, in pixels; the width follows from it.

        Returns:
            A bundle without scores, as the present ones were measured at the present size.

        Raises:
            BundleError: a side outside 32..4096 pixels.
        """
        width = round(self.input.width * height / self.input.height)
        trained_at = self.training.get("trained_at", [self.input.height, self.input.width])
        training = {name: value for name, value in self.training.items() if name != "trial"}
        return replace(
            self,
            input=replace(self.input, height=height, width=width),
            training=training | {"trained_at": trained_at},
            scores={},
        )

    def check_scores(self, classes: int) -> None:
        """Check that the network scores as many classes as the label set names.

        Args:
            classes: number of the network's score channels.

        Raises:
            BundleError: the numbers differ.
        """
        if classes != len(self.labels):
            raise BundleError(
                f"model {self.name!r} contradicts itself: its network scores {classes} classes, its label set "
                f"{self.labels.name!r} names {len(self.labels)}"
            )

    def save(self, path: str | Path) -> Path:
        """Write the bundle to ``path``, under a temporary name first, so that a half-written file is never seen.

        The same bundle always gives the same bytes: members have a fixed date.

        Raises:
            OSError: the file cannot be written.
        """
        members = {
            "manifest.json": json.dumps(self.manifest(), indent=1, sort_keys=True).encode(),
            "NOTICE.txt": self.notice.encode(),
            "network.onnx": self.network,
        }
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, data in members.items():
                archive.writestr(zipfile.ZipInfo(name), data)
        return replace_file(path, buffer.getvalue())

    @property
    def network_sha256(self) -> str:
        """Hexadecimal digest of the network, computed at each call."""
        return hashlib.sha256(self.network).hexdigest()

    @property
    def origin(self) -> str:
        """How the records of other models refer to this one."""
        return f"model {self.name}, network {self.network_sha256[:16]}"

    @classmethod
    def load(cls, name_or_path: str | Path) -> ModelBundle:
        """Read a bundle by name (if it ships with the package) or from a file.

        Raises:
            BundleError: the file does not exist, is truncated, is no bundle, has a newer format, or contradicts itself.
        """
        path = find_model(name_or_path)
        with _open_archive(path) as archive:
            manifest = _read_manifest(archive)
            network = archive.read(_network_in(archive))
            notice = archive.read(_member(archive, "NOTICE.txt", MAX_MANIFEST_BYTES)).decode("utf-8", "replace")
            digest = hashlib.sha256(network).hexdigest()
            if digest != manifest["network_sha256"]:
                raise BundleError(f"the network's SHA-256 is {digest}, the manifest says {manifest['network_sha256']}")
            return cls(
                **vars(_description(manifest)),
                network=network,
                training=dict(manifest["training"]),
                scores=dict(manifest["scores"]),
                notice=notice,
            )


def describe_model(name_or_path: str | Path) -> StoredModel:
    """Read what a bundle says about its model, and check that it holds a network of an allowed size.

    The network is not read, so this takes milliseconds however large the file is. :meth:`ModelBundle.load` may still
    refuse the same file, as nothing here checks that the network is the one described, or that it runs.

    Raises:
        BundleError: the file does not exist, is truncated, is no bundle, has a newer format, or contradicts itself.
    """
    path = find_model(name_or_path)
    with _open_archive(path) as archive:
        manifest = _read_manifest(archive)
        _network_in(archive)
        return StoredModel(**vars(_description(manifest)), network_sha256=str(manifest["network_sha256"]))


@contextmanager
def _open_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open the archive; errors that its content causes become a BundleError that names the file."""
    try:
        with _LimitedFile(path) as file, zipfile.ZipFile(file) as archive:
            file.is_limited = False  # members are checked one by one
            yield archive
    except zipfile.BadZipFile as error:
        raise BundleError(
            f"{path} is not a model bundle or is cut ({error}); a bundle is the {SUFFIX} file that "
            "`python -m lcr_seg_ros export` writes"
        ) from error
    except (BundleError, FrameError, LabelSetError) as error:
        raise BundleError(f"{path}: {error}") from error
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise BundleError(f"{path}: the manifest is damaged ({type(error).__name__}: {error})") from error
    except (OSError, EOFError, RuntimeError, NotImplementedError, struct.error) as error:
        # EOFError and the last three come from zipfile, for members that are truncated, encrypted or damaged.
        raise BundleError(f"{path} cannot be read: {error}") from error


class _LimitedFile(io.FileIO):
    """A file that limits how much ``zipfile`` can read while it opens the archive.

    ``zipfile`` reads the whole directory, of whatever size the file claims, before any member can be checked.
    """

    is_limited = True

    def read(self, size: int | None = -1) -> bytes:
        if not self.is_limited:
            return super().read(-1 if size is None else size)
        most = MAX_DIRECTORY_BYTES + 1
        data = super().read(most if size is None or size < 0 else min(size, most))
        if len(data) == most:
            raise BundleError(
                f"its list of members is longer than {MAX_DIRECTORY_BYTES} bytes: this is not a model bundle"
            )
        return data


def _read_manifest(archive: zipfile.ZipFile) -> dict[str, Any]:
    manifest = json.loads(archive.read(_member(archive, "manifest.json", MAX_MANIFEST_BYTES)))
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        found = manifest.get("format") if isinstance(manifest, dict) else type(manifest).__name__
        raise BundleError(f"format is {found!r}, this version reads {FORMAT!r}")
    return manifest


def _description(manifest: dict[str, Any]) -> ModelDescription:
    spec = manifest["input"]
    return ModelDescription(
        name=str(manifest["name"]),
        architecture=dict(manifest["architecture"]),
        input=InputSpec(
            modality=spec["modality"],
            height=int(spec["height"]),
            width=int(spec["width"]),
            mean=tuple(float(v) for v in spec["mean"]),
            std=tuple(float(v) for v in spec["std"]),
            hha=_hha_settings(spec.get("hha", {})),
            hha_source=spec.get("hha_source", "computed"),  # bundles that have none are older than the choice
            is_exact=bool(spec.get("is_exact", False)),  # such bundles were trained and scored at multiples of 8
        ),
        labels=LabelSet.from_dict(manifest["labels"]),
    )


def _hha_settings(stored: dict[str, Any]) -> HhaSettings:
    if unknown := sorted(set(stored) - set(HHA_OF_TRAINING)):
        raise BundleError(f"unknown HHA settings {', '.join(unknown)}: was the model made by a newer version?")
    return HhaSettings(**stored)


def shipped_models() -> list[str]:
    """Names of the bundles that come with the package."""
    return sorted(p.stem for p in MODELS.glob(f"*{SUFFIX}"))


def refuse_other_suffix(path: Path) -> None:
    """Check the name under which a bundle is to be written: under another, it would be taken for what it is not.

    Raises:
        BundleError: it does not end with :data:`SUFFIX`.
    """
    if path.suffix != SUFFIX:
        raise BundleError(
            f"what is written is a model bundle, which holds the ONNX file: give --out {path.with_suffix(SUFFIX)}, "
            f"not {path}"
        )


def find_model(name_or_path: str | Path) -> Path:
    """The file that a model's name or path refers to.

    Raises:
        BundleError: there is no such file, or it is a folder or a checkpoint of a training run.
    """
    try:
        path = Path(name_or_path).expanduser()
        if path.suffix != SUFFIX and not path.exists() and len(path.parts) == 1:
            path = MODELS / f"{path.name}{SUFFIX}"
        is_there = path.is_file()
        of_run = path / f"model{SUFFIX}"
        is_run = of_run.is_file()
    except (OSError, RuntimeError, ValueError) as error:  # no permission, ~user unknown, null character
        raise BundleError(f"no model at {str(name_or_path)[:200]!r}: {error}") from error
    if is_run:
        raise BundleError(f"{path} is the folder of a run: its model is {of_run}")
    if is_there and path.suffix == ".ckpt":
        raise BundleError(
            f"{path} is a checkpoint: make a model of it with "
            f"`export --run {shlex.quote(str(path.parent))} --out NAME{SUFFIX}`"
        )
    if not is_there:
        raise BundleError(
            f"no model at {name_or_path!s}; give the path of a {SUFFIX} file or a shipped name: "
            f"{', '.join(shipped_models()) or 'none ships with this install'}"
        )
    return path


def _network_in(archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    return _member(archive, "network.onnx", MAX_NETWORK_BYTES)


def _member(archive: zipfile.ZipFile, name: str, limit: int) -> zipfile.ZipInfo:
    """The archive's member of this name, once it is known to be uncompressed and at most ``limit`` bytes long."""
    try:
        info = archive.getinfo(name)
    except KeyError:
        raise BundleError(f"{name} is missing: this is not a model bundle") from None
    if info.file_size > limit or info.compress_type != zipfile.ZIP_STORED:
        raise BundleError(f"{name} claims {info.file_size} bytes; at most {limit}, stored uncompressed, are read")
    return info
