"""One slot, newest first: a slow worker misses frames, but never sees an old one late."""

from __future__ import annotations

import threading
import time

from lcr_seg_ros.ros.mailbox import Mailbox, Worker


def test_a_newer_item_replaces_the_older_and_hands_it_back():
    mailbox: Mailbox[int] = Mailbox()
    assert mailbox.put(1) is None
    assert mailbox.put(2) == 1
    assert mailbox.take() == 2


def test_what_was_cleared_is_not_taken():
    mailbox: Mailbox[int] = Mailbox()
    mailbox.put(1)
    mailbox.clear()
    mailbox.put(2)
    assert mailbox.take() == 2


def test_closing_frees_those_who_wait():
    mailbox: Mailbox[int] = Mailbox()
    taken = []
    thread = threading.Thread(target=lambda: taken.append(mailbox.take()))
    thread.start()
    mailbox.close()
    thread.join(timeout=5.0)
    assert taken == [None]


def test_a_slow_worker_gets_the_newest_item_and_misses_those_between():
    handled, busy, go_on = [], threading.Event(), threading.Event()

    def handle(item: int) -> None:
        handled.append(item)
        busy.set()
        go_on.wait(5.0)

    worker = Worker(handle, "test")
    worker.mailbox.put(1)
    assert busy.wait(5.0)
    replaced = [worker.mailbox.put(n) for n in (2, 3, 4)]
    busy.clear()
    go_on.set()
    assert busy.wait(5.0)
    assert worker.stop(5.0)
    assert (handled, replaced) == ([1, 4], [None, 2, 3])


def test_a_stopped_worker_has_finished_the_item_in_hand_and_takes_no_other():
    finished = []

    def handle(item: int) -> None:
        time.sleep(0.2)
        finished.append(item)

    worker = Worker(handle, "test")
    worker.mailbox.put(1)
    time.sleep(0.05)
    worker.mailbox.put(2)
    assert worker.stop(5.0)
    assert finished == [1]


def test_a_worker_that_hangs_is_told_of_and_not_waited_for():
    release = threading.Event()
    worker = Worker(lambda item: release.wait(30.0) and None, "test")
    worker.mailbox.put(1)
    time.sleep(0.05)
    began = time.monotonic()
    assert not worker.stop(0.2)
    assert time.monotonic() - began < 5.0
    release.set()
