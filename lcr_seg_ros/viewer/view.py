"""Logs frames, labels, poses and times as rerun entities, and lays out the viewer's window.

The entities of a camera are below ``world/NAME`` (``world/camera`` for a single camera without a name)::

    world/NAME              pose: optical frame in the world
    world/NAME/image        pinhole model; below it rgb, depth, hha, labels and confidence
    world/NAME/points       coloured by class
    times/NAME, rates/NAME  curves
    status/NAME             text

The viewer itself makes the overlay from rgb and labels, so that it takes no time here.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from lcr_seg_ros.errors import LcrSegError
from lcr_seg_ros.frame import CameraIntrinsics, RgbdFrame, level_pose
from lcr_seg_ros.labels import UNLABELLED, LabelSet

if TYPE_CHECKING:
    from types import ModuleType

    from lcr_seg_ros.segmenter import Segmentation

APPLICATION = "lcr_seg_ros"

MAX_POINTS = 80_000
"""Largest number of points shown per frame: every second row and column of 640x480."""

MAX_WIDTH = 640
"""In pixels; larger images are scaled down. A frame of 640x480 then takes 4 MB."""

MILLIMETRES_MAX = 65535

ENDING_S = 10.0
"""How long rerun may take to end a sink whose data has been sent."""


class ViewerError(LcrSegError, RuntimeError):
    """rerun is not installed, or cannot serve or write data."""


def import_rerun() -> ModuleType:
    """Import the module ``rerun``.

    Raises:
        ViewerError: it is not installed, or broken.
    """
    os.environ.setdefault("RUST_LOG", "warn")  # otherwise, it reports each connection on stderr
    try:
        import rerun
        import rerun.blueprint
    except ImportError as error:
        raise ViewerError(
            f"the viewer needs rerun, which cannot be imported: {error}; pip install 'lcr_seg_ros[rerun]'"
        ) from error
    return rerun


class SegmentationView:
    """The content of one viewer window.

    Args:
        labels: names and colours of the classes.
        sinks: rerun sinks, e.g. of a :class:`~lcr_seg_ros.viewer.server.ViewerServer`; each receives everything.
        cameras: names of the cameras; a single camera may have the name "".
        timeline: ``time``: stamps in ns since 1970, or of a simulation; ``frame``: numbers of frames.
        max_width: in pixels; larger images are scaled down.

    Images are sent uncompressed: browsers decode JPEG asynchronously, so that colour would lag behind its labels.

    Raises:
        ViewerError: rerun is missing.
    """

    def __init__(
        self,
        labels: LabelSet,
        sinks: Sequence[Any],
        cameras: Sequence[str] = ("",),
        timeline: Literal["time", "frame"] = "time",
        max_width: int = MAX_WIDTH,
    ) -> None:
        self._max_width = max_width
        self._rr = import_rerun()
        self._cameras = tuple(cameras)
        self._timeline = timeline
        # One stream per sink: rerun stops a server if the sinks of its stream change, for example when a file is full.
        self._streams = [self._rr.RecordingStream(APPLICATION) for _ in sinks]
        for stream, sink in zip(self._streams, sinks, strict=True):
            stream.set_sinks(sink)
        self._has_frame = False
        self._sees_pose: set[str] = set()
        self.show_labels(labels)
        self._arrange(has_up=False)

    def show_labels(self, labels: LabelSet) -> None:
        """Use the names and colours of this label set from now on."""
        info = self._rr.AnnotationInfo
        known = [info(id=c.id, label=c.name, color=c.color) for c in labels.classes]
        # Transparent: the image shows through in the overlay.
        unknown = [
            info(id=labels.void, label="void", color=(0, 0, 0, 0)),
            info(id=UNLABELLED, label="unlabelled", color=(0, 0, 0, 0)),
        ]
        self._classes = self._rr.AnnotationContext(known + unknown)

    def show_frame(
        self,
        moment: int,
        frame: RgbdFrame,
        segmentation: Segmentation,
        camera: str = "",
        pose: npt.NDArray[np.float64] | None = None,
        with_points: bool = True,
    ) -> None:
        """Show a frame and its segmentation.

        Args:
            moment: stamp in ns, or number of the frame, depending on the timeline.
            frame: may lack depth and intrinsics.
            segmentation: of that frame; parts that are None are left out.
            camera: name of the camera.
            pose: (4, 4), optical frame to a world whose z points up. Default: not known; unless the camera has had a
                pose before, the view is then set upright by gravity.
            with_points: False for depth that is not registered to colour.
        """
        self._set_time(moment)
        # With each frame, a few kB, and not static: where a second static one comes, rerun 0.41 shows neither.
        self._log("/", self._classes)
        root = self._root(camera)
        down = segmentation.gravity.down if segmentation.gravity is not None else frame.gravity
        if pose is None and down is not None and camera not in self._sees_pose:
            pose = level_pose(down)
            pose[2, 3] = frame.camera_height_m or 0.0
        elif pose is not None:
            self._sees_pose.add(camera)
        if not self._has_frame:
            self._has_frame = True
            axes = self._rr.ViewCoordinates
            self._log("world", axes.RDF if pose is None else axes.RIGHT_HAND_Z_UP, static=True)
            if pose is not None:
                self._arrange(has_up=True)
        if pose is not None:
            self._log(root, self._rr.Transform3D(mat3x3=pose[:3, :3], translation=pose[:3, 3]))
        if frame.intrinsics is not None:
            self._log(f"{root}/image", self._pinhole(frame.intrinsics))
        self._log(f"{root}/image/rgb", self._rr.Image(self._shrunk(frame.rgb, cv2.INTER_AREA)))
        self._log(f"{root}/image/labels", self._rr.SegmentationImage(self._shrunk(segmentation.labels)))
        confidence = np.rint(self._shrunk(segmentation.confidence) * 255).astype(np.uint8)
        self._log(f"{root}/image/confidence", self._rr.Image(confidence))
        if segmentation.hha is not None:
            size = frame.rgb.shape[1], frame.rgb.shape[0]
            hha = cv2.resize(segmentation.hha, size, interpolation=cv2.INTER_NEAREST)
            self._log(f"{root}/image/hha", self._rr.Image(self._shrunk(hha, cv2.INTER_AREA)))
        if frame.depth_m is not None:
            depth = to_millimetres(self._shrunk(frame.depth_m))
            self._log(f"{root}/image/depth", self._rr.DepthImage(depth, meter=1000.0))
            if frame.intrinsics is not None and with_points:
                positions, ids = labelled_points(frame, segmentation.labels)
                points = self._rr.Points3D(positions, class_ids=ids, radii=self._rr.Radius.ui_points(1.6))
                self._log(f"{root}/points", points)
        if segmentation.stage_ms:
            self.show_times(moment, segmentation.stage_ms, camera)

    def show_times(self, moment: int, milliseconds: Mapping[str, float], camera: str = "") -> None:
        """Append to the curves of stage times (ms)."""
        self._show_curves(moment, f"times/{camera or 'camera'}", milliseconds)

    def show_rates(self, moment: int, hertz: Mapping[str, float], camera: str = "") -> None:
        """Append to the curves of rates (Hz)."""
        self._show_curves(moment, f"rates/{camera or 'camera'}", hertz)

    def show_status(self, moment: int, markdown: str, camera: str = "") -> None:
        """Replace the text on the status panel."""
        self._set_time(moment)
        document = self._rr.TextDocument(markdown, media_type=self._rr.MediaType.MARKDOWN)
        self._log(f"status/{camera or 'camera'}", document)

    def drop_sink(self, number: int) -> None:
        """End a sink: a file is then complete, a server stops.

        Raises:
            ViewerError: the file is incomplete, for example because the disk is full; the sink has ended nevertheless.
        """
        self._end([self._streams.pop(number)])

    def close(self) -> None:
        """Send all pending data, and end all sinks.

        Raises:
            ViewerError: as :meth:`drop_sink`; all sinks have ended nevertheless.
        """
        streams, self._streams = self._streams, []
        self._end(streams)

    def _end(self, streams: Sequence[Any]) -> None:
        failures = []
        for stream in streams:
            try:
                stream.flush(timeout_sec=5.0)
            except RuntimeError as error:
                failures.append(error)
            # In a thread: beside a full disk, rerun was seen not to return from this.
            ending = threading.Thread(target=stream.disconnect, daemon=True)
            ending.start()
            ending.join(ENDING_S)
            if ending.is_alive():
                failures.append(RuntimeError(f"rerun did not end it within {ENDING_S:g} s"))
        if failures:
            raise ViewerError(
                f"not all that was shown was written or sent: {failures[0]}; is there room on the recording's disk?"
            ) from failures[0]

    def _show_curves(self, moment: int, path: str, values: Mapping[str, float]) -> None:
        self._set_time(moment)
        for name, value in values.items():
            self._log(f"{path}/{name}", self._rr.Scalars(value))

    def _set_time(self, moment: int) -> None:
        for stream in self._streams:
            if self._timeline == "time":
                stream.set_time("time", timestamp=np.datetime64(moment, "ns"))
            else:
                stream.set_time("frame", sequence=moment)

    def _log(self, path: str, *content: Any, static: bool = False) -> None:
        for stream in self._streams:
            stream.log(path, *content, static=static)

    def _shrunk(self, pixels: Any, interpolation: int = cv2.INTER_NEAREST) -> Any:
        """Scale an image down to ``max_width`` if it is wider: (H, W) or (H, W, C) -> (h, w) or (h, w, C)."""
        height, width = pixels.shape[:2]
        if width <= self._max_width:
            return pixels
        size = (self._max_width, max(1, round(height * self._max_width / width)))
        return cv2.resize(pixels, size, interpolation=interpolation)

    def _pinhole(self, intrinsics: CameraIntrinsics) -> Any:
        if intrinsics.width > self._max_width:
            height = max(1, round(intrinsics.height * self._max_width / intrinsics.width))
            intrinsics = intrinsics.scaled_to(self._max_width, height)
        return self._rr.Pinhole(
            width=intrinsics.width,
            height=intrinsics.height,
            focal_length=(intrinsics.fx, intrinsics.fy),
            principal_point=(intrinsics.cx, intrinsics.cy),
            camera_xyz=self._rr.ViewCoordinates.RDF,
            image_plane_distance=0.4,
        )

    def _root(self, camera: str) -> str:
        return f"world/{camera or 'camera'}"

    def _arrange(self, has_up: bool) -> None:
        """Lay out the window: first without frames, and again if the first frame shows which direction is up."""
        for stream in self._streams:
            stream.send_blueprint(self._blueprint(has_up), make_active=True, make_default=True)
            with suppress(RuntimeError):  # a failed sink is reported when it is ended
                stream.flush(timeout_sec=5.0)

    def _blueprint(self, has_up: bool) -> Any:
        rrb = self._rr.blueprint
        windows = [self._camera_window(camera, has_up) for camera in self._cameras]
        return rrb.Blueprint(
            windows[0] if len(windows) == 1 else rrb.Tabs(*windows),
            rrb.BlueprintPanel(state="hidden"),
            rrb.SelectionPanel(state="collapsed"),
            rrb.TimePanel(state="collapsed", timeline=self._timeline, play_state="following"),
            auto_views=False,
        )

    def _camera_window(self, camera: str, has_up: bool) -> Any:
        rrb, root, name = self._rr.blueprint, self._root(camera), camera or "camera"

        def picture(title: str, *kinds: str, **more: Any) -> Any:
            return rrb.Spatial2DView(
                origin=f"{root}/image", contents=[f"$origin/{kind}" for kind in kinds], name=title, **more
            )

        veil = self._rr.SegmentationImage.from_fields(opacity=0.5)
        overlay = picture("overlay", "rgb", "labels", overrides={f"{root}/image/labels": veil})
        space = rrb.Spatial3DView(
            origin="world",
            contents=[f"+ {root}", f"+ {root}/points", f"+ {root}/image", f"+ {root}/image/rgb"],
            name="labelled points",
            eye_controls=self._eye_behind_camera() if has_up and camera not in self._sees_pose else None,
        )
        curves = [
            rrb.TimeSeriesView(origin=f"times/{name}", name="ms"),
            rrb.TimeSeriesView(origin=f"rates/{name}", name="Hz"),
            rrb.TextDocumentView(origin=f"status/{name}", name="status"),
        ]
        return rrb.Vertical(
            rrb.Horizontal(overlay, space, column_shares=[1, 1]),
            rrb.Horizontal(
                picture("rgb", "rgb"),
                picture("hha", "hha"),
                picture("depth", "depth"),
                picture("labels", "labels"),
                picture("confidence", "confidence"),
                rrb.Tabs(*curves),
                column_shares=[1, 1, 1, 1, 1, 1.3],
            ),
            row_shares=[2, 1],
            name=name,
        )

    def _eye_behind_camera(self) -> Any:
        return self._rr.blueprint.EyeControls3D(
            position=(-2.0, 0.0, 1.2), look_target=(2.5, 0.0, -0.2), eye_up=(0.0, 0.0, 1.0)
        )


def to_millimetres(depth_m: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    """(H, W) float32 metres -> uint16 millimetres; holes and depth beyond 65.5 m become 0."""
    with np.errstate(invalid="ignore"):
        usable = (depth_m > 0) & (depth_m < MILLIMETRES_MAX / 1000)
    return np.where(usable, np.rint(np.where(usable, depth_m, 0) * 1000), 0).astype(np.uint16)


def labelled_points(
    frame: RgbdFrame, labels: npt.NDArray[np.uint8], max_points: int = MAX_POINTS
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """Pixels with depth as points in the optical frame.

    Args:
        frame: with depth and intrinsics.
        labels: (H, W) uint8.
        max_points: rows and columns are subsampled with the same stride, so that at most about this many remain.

    Returns:
        (N, 3) float32 metres, and (N,) uint8 mask ids.
    """
    assert frame.depth_m is not None and frame.intrinsics is not None
    k = frame.intrinsics
    step = max(1, int(np.ceil(np.sqrt(frame.depth_m.size / max_points))))
    z = frame.depth_m[::step, ::step]
    with np.errstate(invalid="ignore"):
        usable = (z > 0) & np.isfinite(z)
    v, u = np.nonzero(usable)
    z = z[usable]
    x = (u * step - k.cx).astype(np.float32) / np.float32(k.fx) * z
    y = (v * step - k.cy).astype(np.float32) / np.float32(k.fy) * z
    return np.stack([x, y, z], axis=1), labels[::step, ::step][usable]
