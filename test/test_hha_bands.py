"""HHA on several threads: the same bytes, shared out, and nothing left under way."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lcr_seg_ros.errors import FrameError
from lcr_seg_ros.frame import CameraIntrinsics
from lcr_seg_ros.hha import HhaEncoder, HhaSettings
from lcr_seg_ros.hha.bands import LEAST_ROWS, MOST_THREADS, Bands, usable_threads
from lcr_seg_ros.sources.rooms import RenderedRoom


class TestBands:
    @given(threads=st.integers(1, 4), rows=st.integers(1, 700))
    @settings(max_examples=50, deadline=None)
    def test_every_row_belongs_to_one_band_and_no_thread_has_two_at_a_time(self, threads: int, rows: int) -> None:
        seen, busy, lock = [], set(), threading.Lock()

        def work(thread: int, first: int, last: int) -> None:
            with lock:
                assert thread not in busy and 0 <= thread < threads
                busy.add(thread)
                seen.append((first, last))
            time.sleep(0)
            busy.discard(thread)

        Bands(threads).each(rows, work)
        seen.sort()
        assert [first for first, _ in seen] == [0, *(last for _, last in seen[:-1])]
        assert seen[-1][1] == rows
        assert len(seen) == 1 or all(last - first >= LEAST_ROWS for first, last in seen)

    def test_one_thread_starts_no_other(self) -> None:
        before = threading.active_count()
        Bands(1).each(1000, lambda *_: None)
        assert threading.active_count() == before

    @pytest.mark.parametrize("number", range(4))
    def test_an_error_of_any_band_reaches_the_caller_when_all_are_through(self, number: int) -> None:
        under_way = []

        def work(thread: int, first: int, _: int) -> None:
            under_way.append(first)
            time.sleep(0.01)
            under_way.remove(first)
            if first == 100 * number:
                raise FrameError(f"row {first}")

        bands = Bands(2)
        with pytest.raises(FrameError, match=f"row {100 * number}$"):
            bands.each(400, work)
        assert not under_way
        bands.each(400, lambda *_: None)  # and it can go on


class TestHha:
    @pytest.mark.parametrize("threads", [2, 3, MOST_THREADS])
    @pytest.mark.parametrize("smoothing", ["off", "auto", "on"])
    @pytest.mark.parametrize("size", [(320, 240), (75, 331), (640, 33)])
    def test_the_number_of_threads_changes_no_byte(self, threads: int, smoothing: str, size: tuple[int, int]) -> None:
        chosen = HhaSettings(floor="robust", smoothing=smoothing, gravity_estimate="refined")  # type: ignore[arg-type]
        one, several = HhaEncoder("fast", chosen), HhaEncoder("fast", chosen, num_threads=threads)
        room = RenderedRoom(frames=3, seed=2, width=size[0], height=size[1])
        for k in range(3):
            frame = room[k].frame
            assert frame.depth_m is not None and frame.intrinsics is not None
            coarse = (np.round(frame.depth_m / 0.04) * 0.04).astype(np.float32)
            for depth in (frame.depth_m, coarse):
                wanted = one.encode(depth, frame.intrinsics)
                assert np.array_equal(several.encode(depth, frame.intrinsics), wanted)

    def test_nought_takes_the_processors_of_this_process_and_many_are_too_many(self) -> None:
        assert 1 <= usable_threads() <= MOST_THREADS
        camera = CameraIntrinsics(50.0, 50.0, 32.0, 120.0, 64, 240)
        depth = np.full((240, 64), 2.0, np.float32)
        wanted, before = HhaEncoder("fast").encode(depth, camera), threading.active_count()
        for threads in (0, 200):
            assert np.array_equal(HhaEncoder("fast", num_threads=threads).encode(depth, camera), wanted)
        assert threading.active_count() - before < 2 * MOST_THREADS
        with pytest.raises(FrameError, match="num_threads must be 0 or more, got -1"):
            HhaEncoder("fast", num_threads=-1)
