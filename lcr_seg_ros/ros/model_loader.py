"""Reads and warms up another model in a thread of its own, while the one in use keeps labelling."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lcr_seg_ros.backends import model_to_run
from lcr_seg_ros.bundle import find_model
from lcr_seg_ros.resources import MODELS
from lcr_seg_ros.ros.mailbox import Letter, Worker
from lcr_seg_ros.ros.parameter_specs import ParameterError

if TYPE_CHECKING:
    from rclpy.node import Node

    from lcr_seg_ros.bundle import StoredModel
    from lcr_seg_ros.ros.parameters import SegmentParameters
    from lcr_seg_ros.segmenter import Segmenter


@dataclass(frozen=True)
class Wish:
    """A request for another model.

    Args:
        model: its description when it was requested; the file is read in full, and checked, when it is loaded.
        values: the parameters that name the model and that it will run with.
        sizes: (width, height) in pixels of the frames to warm it up with.
    """

    model: StoredModel
    values: SegmentParameters
    sizes: tuple[tuple[int, int], ...]


def model_file(values: SegmentParameters) -> Path:
    """The file of the model that the parameters name, with symbolic links resolved.

    Raises:
        ParameterError: it is neither below ``model_folder`` nor shipped with the package.
        BundleError: there is no such file.
    """
    path = find_model(model_to_run(values.model, values.backend, values.device)).resolve()
    folder = Path(values.model_folder).expanduser().resolve()
    if values.model_folder and not (path.is_relative_to(folder) or path.is_relative_to(MODELS.resolve())):
        raise ParameterError(f"model is {path}, which is outside of model_folder {folder}: put it there")
    return path


class ModelLoader:
    """Loads one model at a time. The newest request wins: the result of an older one is discarded.

    Args:
        node: ``on_done`` is called in its thread.
        load: reads the file and returns a warmed-up segmenter; called in the loader's thread, and may raise.
        on_done: called with the request, and the segmenter or the exception.
    """

    def __init__(
        self, node: Node, load: Callable[[Wish], Segmenter], on_done: Callable[[Wish, Segmenter | Exception], None]
    ) -> None:
        self._node = node
        self._load = load
        self._on_done = on_done
        self._wish: Wish | None = None
        self._result: tuple[Wish, Segmenter | Exception] | None = None
        self._lock = threading.Lock()
        self._worker: Worker[Wish] | None = None
        self._guard: Any = None

    @property
    def wish(self) -> Wish | None:
        """The request that is being loaded, if any."""
        return self._wish

    def start(self, wish: Wish) -> None:
        """Start to load a model; replaces an earlier request."""
        self._wish = wish
        if self._worker is None:
            self._guard = self._node.create_guard_condition(self._report)
            self._worker = Worker(self._run, "model loader")
        self._worker.mailroom.mailboxes[0].put(wish)

    def forget(self) -> None:
        """Cancel the request."""
        self._wish = None
        if self._worker is not None:
            self._worker.mailroom.mailboxes[0].clear()

    def close(self, timeout_s: float) -> bool:
        """End the thread; returns False if it is still loading after ``timeout_s``. Its result is discarded."""
        self.forget()
        with self._lock:
            worker, self._worker, self._result = self._worker, None, None
            guard, self._guard = self._guard, None
        if guard is not None:
            self._node.destroy_guard_condition(guard)
        return worker is None or worker.stop(timeout_s)

    def _run(self, letters: list[Letter[Wish]]) -> None:
        wish = letters[0].item
        outcome: Segmenter | Exception
        try:
            outcome = self._load(wish)
        except Exception as error:  # a runtime may raise anything for a file that it cannot use
            outcome = error
        with self._lock:
            if self._guard is not None and wish is self._wish:  # else cancelled, or a load that outlived close()
                self._result = wish, outcome
                self._guard.trigger()

    def _report(self) -> None:
        with self._lock:
            result, self._result = self._result, None
        if result is not None and result[0] is self._wish:
            self._wish = None
            self._on_done(*result)
