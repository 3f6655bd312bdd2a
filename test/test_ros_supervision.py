"""What the node reports about itself: counts, times, causes of silence, and a log that is not flooded."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("diagnostic_msgs", reason="needs ROS 2's messages")

from diagnostic_msgs.msg import DiagnosticStatus

from lcr_seg_ros.resources import CONFIG
from lcr_seg_ros.ros import throttled_log
from lcr_seg_ros.ros.camera import _loss
from lcr_seg_ros.ros.diagnostics import camera_of, diagnostic_status, process_facts, status_name
from lcr_seg_ros.ros.environment import PROFILE_VARIABLES, tuned_dds_environment
from lcr_seg_ros.ros.frame_statistics import WINDOW_S, FrameStatistics
from lcr_seg_ros.ros.node_benchmark import _sample
from lcr_seg_ros.ros.process_status import megabytes
from lcr_seg_ros.ros.python_log import PythonLogForwarder
from lcr_seg_ros.ros.silence import Arrivals, InputTopic, explain_age, explain_few_pairs, explain_silence
from lcr_seg_ros.ros.synchronizer import COLOR
from lcr_seg_ros.ros.synchronizer import DEPTH as DEPTH_SIDE


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def counted() -> FrameStatistics:
    """Statistics of ten pairs in two seconds: eight labelled, one dropped as too old, one replaced by a newer one."""
    clock = Clock()
    statistics = FrameStatistics(clock)
    for n in range(10):
        clock.now += 0.2
        statistics.pair_came()
        if n == 3:
            statistics.frame_dropped("too_old")
        elif n == 5:
            statistics.frame_dropped("replaced_by_newer")
        else:
            statistics.frame_done(10.0 * n, {"network": 5.0}, 0.25)
    return statistics


def test_rates_counts_and_percentiles_are_those_of_the_frames():
    report = counted().report()
    assert (report.pairs_in, report.masks_out) == (10, 8)
    assert report.pairs_in_hz == pytest.approx(5.0) and report.masks_out_hz == pytest.approx(4.0)
    assert report.dropped == {"too_old": 1, "replaced_by_newer": 1}
    assert report.milliseconds["latency"][0] == pytest.approx(50.0)
    assert report.milliseconds["network"] == (5.0, 5.0)
    assert report.invalid_depth_share == 0.25


def test_what_is_long_ago_leaves_the_rates_but_not_the_counts():
    statistics = counted()
    statistics.clock.now += WINDOW_S + 1  # type: ignore[attr-defined]
    report = statistics.report()
    assert (report.pairs_in, report.masks_out, report.dropped["too_old"]) == (10, 8, 1)
    assert report.pairs_in_hz == report.masks_out_hz == 0 and not report.milliseconds
    assert not report.dropped_recently and report.invalid_depth_share is None


def test_a_new_start_counts_from_zero():
    statistics = counted()
    statistics.start_over()
    report = statistics.report()
    assert (report.pairs_in, report.masks_out, report.dropped) == (0, 0, {})


def test_a_frame_without_stamp_has_no_latency():
    statistics = FrameStatistics(Clock())
    statistics.frame_done(None, {"network": 5.0})
    assert statistics.report().milliseconds == {"network": (5.0, 5.0)}


def test_diagnostics_carry_the_report_under_fixed_keys():
    facts = {"state": "active", "model": "tiny"}
    status = diagnostic_status("ns/segment: segmentation", "cpu", facts, counted().report(), None)
    values = {pair.key: pair.value for pair in status.values}
    assert (status.level, status.hardware_id) == (DiagnosticStatus.OK, "cpu")
    assert status.name == "ns/segment: segmentation"
    assert values["pairs_in"] == "10" and values["masks_out_hz"] == "4.00" and values["dropped"] == "2"
    assert values["dropped_too_old"] == "1" and values["network_ms_p95"] == "5.00"
    assert values["model"] == "tiny" and values["invalid_depth_share"] == "0.2500"


@pytest.mark.parametrize("camera", ["", "rear"])
def test_the_name_of_a_status_tells_node_and_camera(camera):
    name = status_name("/robot/segment", camera)
    assert name == f"robot/segment: segmentation {camera}".strip()
    assert camera_of(name, "/robot/segment") == camera_of(name, "robot/segment") == camera
    for another in ("segment", "robot/segment_2", "other", "robot/segment: segmentation"):
        assert camera_of(name, another) is None
    assert camera_of("robot/segment: segmentations", "robot/segment") is None


def test_a_problem_makes_the_status_a_warning_that_names_it():
    status = diagnostic_status("segment", "cpu", {"state": "active"}, counted().report(), "no publisher on /x")
    assert status.level == DiagnosticStatus.WARN
    assert status.message == "no publisher on /x"


def test_pairs_tell_how_old_they_came_and_how_far_their_stamps_are_apart():
    statistics = FrameStatistics(Clock())
    for age_ms, skew_ms in ((4.0, -2.0), (6.0, 2.0), (None, None)):
        statistics.pair_came(age_ms, skew_ms)
    report = statistics.report()
    assert report.milliseconds["age"][0] == pytest.approx(5.0)
    assert report.milliseconds["skew"] == (2.0, 2.0)
    values = {pair.key: pair.value for pair in diagnostic_status("", "", {"state": ""}, report, None).values}
    assert values["skew_ms_p95"] == "2.00" and values["age_ms_p50"] == "5.00"


def test_images_are_counted_whether_they_find_a_partner_or_not():
    statistics = FrameStatistics(clock=Clock())
    statistics.clock.now += 5.0
    for n in range(150):
        statistics.image_came(COLOR)
        if n % 2:
            statistics.image_came(DEPTH_SIDE)
    statistics.frame_dropped("unpaired")
    report = statistics.report(with_depth=True)
    assert (report.rgb_in_hz, report.depth_in_hz) == (30.0, 15.0)
    values = {pair.key: pair.value for pair in diagnostic_status("", "", {"state": ""}, report, None).values}
    assert (values["rgb_in_hz"], values["depth_in_hz"], values["dropped_unpaired"]) == ("30.00", "15.00", "1")
    without = diagnostic_status("", "", {"state": ""}, statistics.report(), None)
    assert "depth_in_hz" not in {pair.key for pair in without.values}


@pytest.mark.parametrize(
    ("pairs_hz", "depth_hz", "gap_s", "cause"),
    [
        (30.0, 30.0, None, None),
        (24.0, 30.0, 0.033, None),
        (10.0, 10.0, None, None),  # colour is faster: all of the slower stream are paired
        (
            10.0,
            30.0,
            0.0165,
            "16.5 ms apart at best and slop is 16.0 ms: synchronise the camera's streams, or raise slop",
        ),
        (20.0, 30.0, 0.0333, "33.3 ms apart at best and slop is 16.0 ms: their counterparts are missing"),
        (20.0, 30.0, None, "images are lost on the way"),
    ],
)
def test_that_many_images_find_no_partner_is_told_with_the_gap_of_their_stamps(pairs_hz, depth_hz, gap_s, cause):
    told = explain_few_pairs(pairs_hz, 30.0, depth_hz, WINDOW_S, gap_s, 0.016)
    if cause is None:
        assert told is None
    else:
        assert told is not None and cause in told
        assert told.startswith(f"only {pairs_hz:.1f} pairs/s of 30.0 colour and {depth_hz:.1f} depth images/s")


def test_an_image_of_a_slow_camera_that_waits_for_its_partner_is_not_told():
    assert explain_few_pairs(0.2, 0.6, 0.4, WINDOW_S, None, 0.016) is None


@pytest.mark.parametrize(("bad", "replaced", "is_told"), [(0, 30, False), (2, 0, False), (10, 5, True), (40, 0, True)])
def test_a_tenth_of_the_frames_lost_to_faults_is_told_and_those_lost_to_newer_ones_are_not(bad, replaced, is_told):
    statistics = FrameStatistics(clock=Clock())
    statistics.clock.now += 5.0
    for n in range(50):
        statistics.pair_came()
        if n < bad:
            statistics.frame_dropped("bad_rgb")
        elif n < bad + replaced:
            statistics.frame_dropped("replaced_by_newer")
        else:
            statistics.frame_done(None, {})
    problem = _loss(statistics.report())
    assert (problem is not None) == is_told
    assert problem is None or problem.startswith(f"{bad} of 50 frames could not be labelled: {bad} bad_rgb")


def test_the_process_tells_its_memory_and_threads():
    facts = process_facts()
    assert float(facts["memory_mb"]) > 10 and int(facts["threads"]) >= 1


def test_megabytes_are_a_million_bytes_and_the_kb_of_proc_1024():
    assert megabytes("1000000 kB") == 1024.0
    resident_bytes = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
    assert float(process_facts()["memory_mb"]) == pytest.approx(resident_bytes / 1e6, rel=0.02)
    assert _sample(os.getpid()).resident_mb == pytest.approx(resident_bytes / 1e6, rel=0.02)


RGB, DEPTH = "/rgb/image_rect_color", "/depth_registered/image_rect"


@pytest.mark.parametrize(
    ("inputs", "more", "parts"),
    [
        ([InputTopic(RGB, False), InputTopic(DEPTH, False)], {}, [f"{RGB} and {DEPTH}: no publisher"]),
        (
            [InputTopic(RGB, True, 9, 1), InputTopic(DEPTH, False)],
            {},
            [f"only {RGB} arrives", f"{DEPTH}: no publisher", "remap"],
        ),
        (
            [InputTopic(RGB, False, 0, 1), InputTopic(DEPTH, True, 5, 1)],
            {},
            [f"only {DEPTH} arrives", f"{RGB}: a publisher is there, but no message", "FASTDDS_DEFAULT_PROFILES_FILE="],
        ),
        (
            [
                InputTopic(
                    RGB, False, 0, 1, ("camera sends sensor_msgs/msg/CompressedImage, not sensor_msgs/msg/Image",)
                )
            ],
            {},
            ["nothing usable", "CompressedImage"],
        ),
        ([InputTopic(RGB, False, 70, 1)], {}, ["fallen silent"]),
        (
            [InputTopic(RGB, True, 9, 1), InputTopic(DEPTH, True, 9, 1)],
            {"gap_s": 0.05, "slop_s": 0.016},
            ["50.0 ms apart at best", "slop is 16.0 ms"],
        ),
        ([InputTopic(RGB, True, 9, 1)], {"clock_stands": True}, ["use_sim_time", "/clock"]),
    ],
)
def test_silence_has_a_cause_that_a_user_can_mend(inputs, more, parts):
    cause = explain_silence(inputs, **more)
    for part in parts:
        assert part in cause


def test_a_topic_arrives_that_has_sent_something_of_late_and_since_the_last_pair():
    clock = Clock()
    arrivals = Arrivals(clock)
    arrivals.begin(RGB)
    assert not arrivals.arrives(RGB, 5.0) and arrivals.count(RGB) == 0
    arrivals.came(RGB)
    arrivals.paired()
    assert not arrivals.arrives(RGB, 5.0), "it is in the pair"
    clock.now += 0.1
    arrivals.came(RGB)  # the last one, whose depth image is lost
    assert arrivals.arrives(RGB, 5.0) and arrivals.count(RGB) == 2
    clock.now += 120.0
    assert not arrivals.arrives(RGB, 5.0), "its driver died minutes ago"


@pytest.mark.parametrize(
    ("age_s", "age_at_arrival_s", "said", "unsaid"),
    [
        (1.3, 0.2, ["1.30 s old, 0.20 s of it on arrival", "max_age is 1 s", "network is too slow"], ["chrony"]),
        (5.03, 5.0, ["5.00 s old on arrival", "max_age is 1 s", "chrony", "driver's stamps"], ["network", "/clock"]),
        (9e8, 9e8, ["on arrival", "use_sim_time", "/clock", "chrony"], ["network"]),
    ],
)
def test_a_pair_that_came_too_old_is_not_blamed_on_the_network(age_s, age_at_arrival_s, said, unsaid):
    text = explain_age(age_s, age_at_arrival_s, 1.0)
    for part in said:
        assert part in text
    for part in unsaid:
        assert part not in text


class Lines:
    """A logger that collects its lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def warning(self, text: str) -> None:
        self.lines.append(text)

    error = warning


def test_each_kind_of_line_is_shown_at_once_and_then_once_in_a_while(monkeypatch: pytest.MonkeyPatch):
    clock, logger = Clock(), Lines()
    monkeypatch.setattr(throttled_log.time, "monotonic", clock)
    log = throttled_log.ThrottledLog(logger)  # type: ignore[arg-type]
    for _ in range(3):
        log.warning("a", "first kind")
        log.error("b", "second kind")
    assert logger.lines == ["first kind", "second kind"]
    clock.now += throttled_log.PERIOD_S + 1
    log.warning("a", "first kind")
    assert logger.lines[-1] == "first kind (2 more since the last message)"


def test_kinds_made_of_what_comes_over_the_network_have_an_end():
    logger = Lines()
    log = throttled_log.ThrottledLog(logger)  # type: ignore[arg-type]
    for n in range(5 * throttled_log.MAX_KINDS):
        log.warning(f"encoding {n}", "x" * 10**6)
    assert len(logger.lines) == throttled_log.MAX_KINDS + 1
    assert all(len(line) <= throttled_log.MAX_TEXT for line in logger.lines)


def test_lines_of_one_of_several_cameras_name_it_and_do_not_hide_those_of_the_others():
    logger = Lines()
    for name in ("front", "rear"):
        throttled_log.ThrottledLog(logger, name).warning("a", "too old")  # type: ignore[arg-type]
    assert logger.lines == ["front: too old", "rear: too old"]


def test_what_a_callback_raises_is_logged_and_told_and_goes_no_further():
    logger, told = Lines(), []
    log = throttled_log.ThrottledLog(logger)  # type: ignore[arg-type]
    log.guarded(lambda: 1 / 0, lambda: told.append("told"))()
    assert told == ["told"] and "ZeroDivisionError" in logger.lines[0]


def test_a_line_for_once_comes_once_until_a_new_start():
    logger = Lines()
    log = throttled_log.ThrottledLog(logger)  # type: ignore[arg-type]
    for _ in range(3):
        log.warning_once("a", "said once")
    assert logger.lines == ["said once"]
    log.forget()
    log.warning_once("a", "said once")
    assert len(logger.lines) == 2


def test_what_the_rooms_without_ros_log_reaches_the_nodes_log_until_it_is_closed():
    logger, source = Lines(), logging.getLogger("lcr_seg_ros.backends")
    logger.info = logger.warning  # type: ignore[attr-defined]
    forwarder = PythonLogForwarder(logger)  # type: ignore[arg-type]
    source.debug("not this")
    source.info("device %s takes the CPU", "auto")
    source.error("failed")
    forwarder.close()
    source.warning("nobody listens")
    assert logger.lines == ["device auto takes the CPU", "failed"]
    package = logging.getLogger("lcr_seg_ros")
    assert package.propagate and package.level == logging.NOTSET and not package.handlers


def clear(monkeypatch: Any, **values: str) -> None:
    for variable in (*PROFILE_VARIABLES, "ROS_DISTRO"):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in values.items():
        monkeypatch.setenv(variable, value)


def test_the_shipped_dds_profile_is_offered_where_the_user_has_none(monkeypatch: pytest.MonkeyPatch):
    clear(monkeypatch)
    assert tuned_dds_environment() == {"FASTDDS_DEFAULT_PROFILES_FILE": str(CONFIG / "fastdds.xml")}
    assert (CONFIG / "fastdds.xml").is_file()


def test_older_releases_are_given_the_name_that_they_read(monkeypatch: pytest.MonkeyPatch):
    clear(monkeypatch, ROS_DISTRO="humble")
    assert tuned_dds_environment().keys() == set(PROFILE_VARIABLES)


@pytest.mark.parametrize("variable", PROFILE_VARIABLES)
def test_a_profile_of_the_users_own_wins(monkeypatch: pytest.MonkeyPatch, variable: str):
    clear(monkeypatch, **{variable: "/mine.xml"})
    assert tuned_dds_environment() == {}
