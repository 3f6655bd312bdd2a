"""The lifecycle node ``segment``: camera topics in, labels out.

The node handles the lifecycle, parameters, service and diagnostics. Each camera (:mod:`~lcr_seg_ros.ros.camera`)
receives images and publishes the results. The engine (:mod:`~lcr_seg_ros.ros.engine`) labels the frames of all cameras
in one thread, with one network. At a model switch, a second thread (:mod:`~lcr_seg_ros.ros.model_loader`) reads and
warms up the new model, which then takes over.

Topics, encodings and QoS are listed in :mod:`lcr_seg_ros.ros.outputs` and in the README, parameters in
``config/segment.yaml``, the keys of /diagnostics in :mod:`lcr_seg_ros.ros.diagnostics`.
"""

from __future__ import annotations

import functools
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType, JumpThreshold
from rclpy.context import Context
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from std_srvs.srv import SetBool

from lcr_seg_ros.backends import Backend, create_backend
from lcr_seg_ros.bundle import ModelBundle, ModelDescription, StoredModel, describe_model
from lcr_seg_ros.errors import LcrSegError
from lcr_seg_ros.ros.camera import Camera
from lcr_seg_ros.ros.camera_site import SharedParts
from lcr_seg_ros.ros.compat.cv_bridge import choose_image_readers
from lcr_seg_ros.ros.compat.message_filters import choose_stamp_pairs
from lcr_seg_ros.ros.compat.vision_msgs import choose_label_info
from lcr_seg_ros.ros.diagnostics import TOPIC as DIAGNOSTICS_TOPIC
from lcr_seg_ros.ros.diagnostics import process_facts
from lcr_seg_ros.ros.engine import Engine
from lcr_seg_ros.ros.model_loader import ModelLoader, Wish, model_file
from lcr_seg_ros.ros.parameter_specs import NONE, warn_of_unknown_parameters
from lcr_seg_ros.ros.parameters import SPECS, ModelChoice, ParameterHandler, SegmentParameters, check_class_filter
from lcr_seg_ros.ros.python_log import PythonLogForwarder
from lcr_seg_ros.ros.qos_overrides import overridable, unused_overrides
from lcr_seg_ros.ros.shared_transforms import SharedTransforms
from lcr_seg_ros.ros.throttled_log import ThrottledLog
from lcr_seg_ros.segmenter import Segmenter

WARM_UP_SIZE = (640, 480)

STOP_TIMEOUT_S = 5.0

Transition = Callable[["SegmentNode", LifecycleState], TransitionCallbackReturn]


def _logged(transition: Transition) -> Transition:
    """Log the exceptions of a transition, which rclpy swallows: an LcrSegError in one line, others with traceback."""

    @functools.wraps(transition)
    def wrapper(self: SegmentNode, state: LifecycleState) -> TransitionCallbackReturn:
        name = transition.__name__.removeprefix("on_")
        try:
            return transition(self, state)
        except LcrSegError as error:
            self.get_logger().error(f"{name} failed: {error}")
            if name != "configure":  # only a failed configure returns to its start state with nothing to undo
                return TransitionCallbackReturn.ERROR
            self.release()
            return TransitionCallbackReturn.FAILURE
        except Exception:
            self.get_logger().error(f"{name} failed:\n{traceback.format_exc()}")
            return TransitionCallbackReturn.ERROR

    return wrapper


class SegmentNode(LifecycleNode):
    """The lifecycle node ``segment``; see the module's description.

    Args:
        make_backend: creates the backend that runs a network, see :func:`lcr_seg_ros.backends.create_backend`.
        context: rclpy context; default: that of the process.
        read_model: reads a model file, see :meth:`lcr_seg_ros.bundle.ModelBundle.load`.

    Raises:
        ParameterError: a parameter given at start has the wrong type or is out of range.
    """

    def __init__(
        self,
        make_backend: Callable[..., Backend] = create_backend,
        context: Context | None = None,
        read_model: Callable[[Path], ModelBundle] = ModelBundle.load,
    ) -> None:
        super().__init__("segment", context=context)
        self._log = ThrottledLog(self.get_logger())
        self._python_log = PythonLogForwarder(self.get_logger())
        self._make_backend = make_backend
        self._read_model = read_model
        self._engine: Engine | None = None
        self._in_use: ModelChoice | None = None
        self._digest = ""  # of the network in use
        self._checked: StoredModel | None = None  # requested model, between _check and _apply
        self._is_restoring = False
        self._cameras: list[Camera] = []
        self._loader = ModelLoader(self, self._load, self._model_loaded)
        self._diagnostics: Any = None
        self._diagnostics_timer: Any = None
        self._jump_handle: Any = None
        self._is_active = False
        self._handler = ParameterHandler(
            self, lambda: self._engine is not None, self._log.guarded(self._apply), self._check
        )
        stamp_pairs, synchronizing = choose_stamp_pairs()
        image_readers, reading = choose_image_readers()
        label_info, announcing = choose_label_info()
        self._shared = SharedParts(
            self,
            self._handler.of_camera,
            lambda: self._is_active,
            stamp_pairs,
            image_readers,
            label_info,
            SharedTransforms(self),
        )
        self.create_service(SetBool, "~/enable", self._enable)
        self.get_logger().info(f"using {synchronizing}, {reading}, {announcing}")
        if label_info is None:
            self.get_logger().info(
                "segmentation/label_info, which Nav2's semantic layer needs, is not published: vision_msgs is "
                f"{announcing.reason}; segmentation/label_info_json says the same"
            )
        warn_of_unknown_parameters(self, SPECS, self.values.cameras)

    @property
    def values(self) -> SegmentParameters:
        """The parameters in use."""
        return self._handler.values

    def start(self, is_cancelled: Callable[[], bool] = lambda: False) -> bool:
        """Configure and activate, unless the parameter ``autostart`` leaves that to a lifecycle manager.

        Args:
            is_cancelled: checked before each step.

        Returns:
            False if a step failed; the log says why.
        """
        if not self.values.autostart:
            self.get_logger().info("unconfigured: waiting for a lifecycle manager (autostart is false)")
            return True
        for step in (self.trigger_configure, self.trigger_activate):
            if is_cancelled():
                return True
            if step() != TransitionCallbackReturn.SUCCESS:
                return False
        return True

    def destroy_node(self) -> None:
        self._python_log.close()
        super().destroy_node()

    # Transitions

    @_logged
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        began = time.monotonic()
        self._handler.declare_for_cameras()
        values = self.values
        bundle = self._read_model(model_file(values))
        check_class_filter(values.class_filter, bundle.labels)
        for name in values.cameras or ("",):
            self._cameras.append(Camera(self._shared, name, bundle))
        segmenter = self._prepared_segmenter(bundle, values, (WARM_UP_SIZE,))
        self._diagnostics = self.create_publisher(
            DiagnosticArray,
            DIAGNOSTICS_TOPIC,
            10,
            qos_overriding_options=overridable(),
        )
        # Steady clock: with use_sim_time but no /clock the node's own clock stands still, which diagnostics report.
        self._diagnostics_timer = self.create_timer(
            values.diagnostics_period,
            self._log.guarded(self._diagnose),
            clock=Clock(clock_type=ClockType.STEADY_TIME),
        )
        self._engine, self._in_use = Engine(segmenter, self._cameras), values.choice
        self._digest = bundle.network_sha256
        self.get_logger().info(f"model {_described(segmenter)}, ready after {time.monotonic() - began:.1f} s")
        self._tell_of_other_hha(bundle)
        return super().on_configure(state)

    @_logged
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        assert self._engine is not None
        if self._engine.hang:
            self.get_logger().error(f"activate refused: {self._engine.hang}")
            return TransitionCallbackReturn.FAILURE  # stays inactive, where the model may be switched
        result = super().on_activate(state)
        if result != TransitionCallbackReturn.SUCCESS:
            return result
        self._log.forget()
        for camera in self._cameras:
            camera.activate()
        self._engine.start()
        self._jump_handle = self.get_clock().create_jump_callback(
            JumpThreshold(min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=True),
            post_callback=self._log.guarded(self._clock_jumped),
        )
        self._is_active = True
        if self.values.enabled:
            for camera in self._cameras:
                camera.start()
            for line in unused_overrides(self):
                self._log.warning_once(line, line)
        self.get_logger().info(f"active{'' if self.values.enabled else ', but not enabled'}")
        return result

    @_logged
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._stop_labelling()
        self.get_logger().info("inactive")
        return super().on_deactivate(state)

    @_logged
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.release()
        return super().on_cleanup(state)

    @_logged
    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.release()
        return super().on_shutdown(state)

    @_logged
    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.release()
        return TransitionCallbackReturn.SUCCESS

    def release(self, patience_s: float = STOP_TIMEOUT_S) -> bool:
        """Return to the unconfigured state: destroy subscriptions and publishers, end threads, drop the model.

        Args:
            patience_s: how long, in s, to wait for the frame being labelled, and then for a model being loaded.

        Returns:
            False if one of them took longer: its thread, a daemon, is left behind.
        """
        has_ended = self._stop_labelling(patience_s)
        if not self._loader.close(patience_s):
            has_ended = False
            self.get_logger().warning("a model is still being loaded; going on without it")
        if self._diagnostics_timer is not None:
            self.destroy_timer(self._diagnostics_timer)
            self.destroy_publisher(self._diagnostics)
            self._diagnostics_timer = self._diagnostics = None
        for camera in self._cameras:
            camera.destroy()
        self._cameras = []
        self._engine = self._in_use = self._checked = None
        return has_ended

    def _stop_labelling(self, patience_s: float = STOP_TIMEOUT_S) -> bool:
        """Unsubscribe and stop labelling; returns False if the network has not returned within ``patience_s``."""
        self._is_active = False
        for camera in self._cameras:
            camera.stop()
        if self._jump_handle is not None:
            self._jump_handle.unregister()
            self._jump_handle = None
        if self._engine is None or self._engine.stop(patience_s):
            return True
        self.get_logger().error(f"the network has not returned within {patience_s:g} s; going on without it")
        return False

    def _clock_jumped(self, jump: Any) -> None:
        clocks = self.count_publishers("/clock")
        if clocks > 1:  # their times alternate, and each change between them is a jump
            self._log.warning(
                "clock_jump",
                f"the clock has jumped: starting anew. There is more than one publisher on /clock ({clocks}): stop all "
                "but one",
            )
        else:
            self._log.info("clock_jump", "the clock has jumped: starting anew")
        for camera in self._cameras:
            camera.clock_jumped()

    # Models

    def _load(self, wish: Wish) -> Segmenter:
        """Read and warm up a model; called in the loader's thread."""
        return self._prepared_segmenter(self._read_model(model_file(wish.values)), wish.values, wish.sizes)

    def _prepared_segmenter(
        self, bundle: ModelBundle, values: SegmentParameters, sizes: Sequence[tuple[int, int]]
    ) -> Segmenter:
        choice = values.choice
        segmenter = Segmenter(
            bundle,
            self._make_backend(bundle, choice.backend, choice.device, choice.num_threads),
            hha_settings=values.hha_settings(bundle.input.hha),
            fall_back=lambda: self._make_backend(bundle, "auto", "cpu", choice.num_threads),
            num_threads=choice.num_threads,
        )
        for size in sizes:
            for batch in {1, min(segmenter.max_batch, len(self._cameras))}:
                segmenter.warm_up(*size, batch)
        return segmenter

    def _model_loaded(self, wish: Wish, outcome: Segmenter | Exception) -> None:
        """Switch to the model that was loaded, or go back to the parameters of the one in use."""
        assert self._engine is not None and self._in_use is not None  # otherwise the loader would be closed
        if isinstance(outcome, Segmenter):
            try:
                # Checked again: since _check, the class filter or the file may have changed.
                check_class_filter(self.values.class_filter, outcome.labels)
                self._switch(outcome)
                self._in_use, self._digest = wish.values.choice, outcome.bundle.network_sha256
                self.get_logger().info(f"switched to model {_described(outcome)}")
                self._tell_of_other_hha(outcome.bundle)
                return
            except Exception as error:  # rclpy and the middleware raise types of their own
                outcome = error
        kind = "" if isinstance(outcome, LcrSegError) else f"{type(outcome).__name__}: "
        text = f"model {wish.values.model} cannot be used, {self._in_use.model} stays: {kind}{outcome}"
        self.get_logger().error(" ".join(text.split()))
        for camera in self._cameras:
            camera.expect_no_model()
        self._restore_parameters(self._in_use)

    def _tell_of_other_hha(self, model: ModelDescription) -> None:
        if model.input.reads_hha:
            self.get_logger().warning(
                f"{model.name} was trained with HHA that was made elsewhere (input.hha_source=folder), and this node "
                "computes its own from depth: labels may be worse than the model's scores; train with "
                "input.hha_source=computed for the robot"
            )

    def _restore_parameters(self, choice: ModelChoice) -> None:
        """Set the parameters back to the model in use, all at once: one by one they would request models in between."""
        assert self._engine is not None
        values = choice._asdict()
        try:
            check_class_filter(self.values.class_filter, self._engine.segmenter.labels)
        except LcrSegError as error:  # it was set for the model that could not be loaded
            self.get_logger().warning(f"class_filter is taken back: {error}")
            values["class_filter"] = list(NONE)
        self._is_restoring = True  # or a file that has changed would be loaded, and, if it cannot be, again and again
        try:
            result = self.set_parameters_atomically([Parameter(name, value=value) for name, value in values.items()])
        finally:
            self._is_restoring = False
        if not result.successful:
            self.get_logger().error(f"the parameters do not say what is in use, which is {choice}: {result.reason}")

    def _switch(self, segmenter: Segmenter) -> None:
        """Hand all cameras and the engine over to another model, or none of them.

        Raises:
            BackendError: the network has not returned within :data:`STOP_TIMEOUT_S`.
            Exception: what creating a publisher or a subscription raised; everything is as it was then.
        """
        assert self._engine is not None
        with self._engine.between_frames(STOP_TIMEOUT_S):
            try:
                for camera in self._cameras:
                    camera.use_model(segmenter.bundle)
                if self._is_active:
                    self._announce()  # before the engine can send a mask with these labels
            except Exception:
                self._undo_switch(self._engine.segmenter.bundle)
                raise
            self._engine.segmenter = segmenter

    def _undo_switch(self, model: ModelDescription) -> None:
        for camera in self._cameras:
            try:
                camera.use_model(model)
                if self._is_active:
                    camera.announce()
            except Exception as error:  # the other cameras are to work all the same
                self.get_logger().error(
                    f"camera {camera.name!r} cannot go back to {model.name}; clean up and configure the node: {error!r}"
                )

    # Parameters, service, diagnostics

    def _check(self, before: SegmentParameters, now: SegmentParameters, names_model: bool) -> None:
        """Refuse a change that can be seen at once not to work.

        The client that sets a parameter, and all other callbacks, wait for the answer. So only the description in a
        model file is read, which takes milliseconds; the loader reads and checks the rest.

        Raises:
            LcrSegError: why the change is refused.
        """
        if self._engine is None:
            return
        wish = self._loader.wish
        model: ModelDescription = self._engine.segmenter.bundle if wish is None else wish.model
        self._checked = None
        if not self._is_restoring and (names_model or now.choice not in (before.choice, self._in_use)):
            model = self._checked = describe_model(model_file(now))
            now.hha_settings(model.input.hha)
        if self._checked is not None or now.class_filter != before.class_filter:
            check_class_filter(now.class_filter, model.labels, is_older=now.class_filter == before.class_filter)

    def _apply(self, before: SegmentParameters, now: SegmentParameters, names_model: bool) -> None:
        if self._engine is not None and (names_model or now.choice != before.choice):
            self._request_model(now)
        if (before.slop, before.queue_size) != (now.slop, now.queue_size):
            for camera in self._cameras:
                camera.start_over()
        if not self._is_active:
            return
        if (before.confidence_threshold, before.class_filter) != (now.confidence_threshold, now.class_filter):
            self._announce()
        if before.enabled != now.enabled:
            for camera in self._cameras:
                camera.start() if now.enabled else camera.stop()
            self.get_logger().info("enabled" if now.enabled else "not enabled")

    def _request_model(self, now: SegmentParameters) -> None:
        assert self._engine is not None
        model, self._checked = self._checked, None
        if now.choice == self._in_use and (model is None or model.network_sha256 == self._digest):
            self._loader.forget()
            for camera in self._cameras:
                camera.expect_no_model()
            return
        assert model is not None  # set by _check, which comes first
        wish = self._loader.wish
        if wish is not None and wish.values.choice == now.choice and wish.model.network_sha256 == model.network_sha256:
            return  # it is being loaded
        sizes = tuple(dict.fromkeys(camera.frame_size or WARM_UP_SIZE for camera in self._cameras))
        self.get_logger().info(
            f"loading model {now.model}, {self._engine.segmenter.bundle.name} serves until it is ready"
        )
        for camera in self._cameras:
            camera.expect_model(model)
        self._loader.start(Wish(model, now, sizes))

    def _enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        result = self.set_parameters([Parameter("enabled", value=bool(request.data))])[0]
        response.success = result.successful
        response.message = result.reason or ("enabled" if request.data else "not enabled")
        return response

    def _announce(self) -> None:
        for camera in self._cameras:
            camera.announce()

    def _diagnose(self) -> None:
        assert self._engine is not None
        segmenter, wish = self._engine.segmenter, self._loader.wish
        facts = {
            "state": ("active" if self.values.enabled else "not enabled") if self._is_active else "inactive",
            "model": segmenter.bundle.name,
            "model_digest": self._digest[:16],
            "backend": segmenter.backend_name,
            "device": segmenter.device,
            "device_fallback": segmenter.device_fallback,
            "model_loading": "" if wish is None else wish.values.model,
            **process_facts(),
        }
        name, problem = self.get_fully_qualified_name(), self._engine.hang or segmenter.device_fallback or None
        message = DiagnosticArray()
        message.header.stamp = self.get_clock().now().to_msg()
        message.status = [camera.status(name, segmenter.device, facts, problem) for camera in self._cameras]
        self._diagnostics.publish(message)


def _described(segmenter: Segmenter) -> str:
    bundle = segmenter.bundle
    return (
        f"{bundle.name} ({bundle.input.modality}, {len(segmenter.labels)} classes) on {segmenter.backend_name} "
        f"({segmenter.device})"
    )
