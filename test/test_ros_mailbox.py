"""One slot per camera for the newest frame: a slow worker misses frames, but gets no outdated one, and is fair."""

from __future__ import annotations

import threading
import time

from lcr_seg_ros.ros.mailbox import Letter, Mailroom, Worker


def items(letters: list[Letter[int]]) -> list[int]:
    return [letter.item for letter in letters]


def test_a_newer_item_replaces_the_older_and_hands_it_back():
    room: Mailroom[int] = Mailroom()
    (mailbox,) = room.mailboxes
    assert mailbox.put(1) is None
    assert mailbox.put(2) == 1
    assert items(room.take()) == [2]


def test_what_was_cleared_is_not_taken():
    room: Mailroom[int] = Mailroom()
    (mailbox,) = room.mailboxes
    mailbox.put(1)
    mailbox.clear()
    mailbox.put(2)
    assert items(room.take()) == [2]


def test_closing_frees_those_who_wait():
    room: Mailroom[int] = Mailroom()
    taken = []
    thread = threading.Thread(target=lambda: taken.append(room.take()))
    thread.start()
    room.close()
    thread.join(timeout=5.0)
    assert taken == [[]]


def test_mailboxes_are_emptied_in_turn_however_often_one_is_filled():
    room: Mailroom[str] = Mailroom(3)
    for number, name in enumerate("abc"):
        room.mailboxes[number].put(name)
    taken = []
    for _ in range(6):
        (letter,) = room.take()
        taken.append(letter.item)
        room.mailboxes[0].put("a")  # its camera is faster than the others
        if letter.mailbox:
            room.mailboxes[letter.mailbox].put(letter.item)
    assert taken == ["a", "b", "c", "a", "b", "c"]


def test_what_is_there_together_is_taken_together_as_far_as_is_asked_for():
    room: Mailroom[int] = Mailroom(4)
    for number in (0, 1, 3):
        room.mailboxes[number].put(number)
    assert items(room.take(lambda: 2)) == [0, 1]
    room.mailboxes[0].put(0)
    assert room.take(lambda: 8) == [Letter(3, 3), Letter(0, 0)]


def test_a_slow_worker_gets_the_newest_item_and_misses_those_between():
    handled, busy, go_on = [], threading.Event(), threading.Event()

    def handle(letters: list[Letter[int]]) -> None:
        handled.extend(items(letters))
        busy.set()
        go_on.wait(5.0)

    worker: Worker[int] = Worker(handle, "test")
    worker.mailroom.mailboxes[0].put(1)
    assert busy.wait(5.0)
    replaced = [worker.mailroom.mailboxes[0].put(n) for n in (2, 3, 4)]
    busy.clear()
    go_on.set()
    assert busy.wait(5.0)
    assert worker.stop(5.0)
    assert (handled, replaced) == ([1, 4], [None, 2, 3])


def test_a_stopped_worker_has_finished_the_item_in_hand_and_takes_no_other():
    finished = []

    def handle(letters: list[Letter[int]]) -> None:
        time.sleep(0.2)
        finished.extend(items(letters))

    worker: Worker[int] = Worker(handle, "test")
    worker.mailroom.mailboxes[0].put(1)
    time.sleep(0.05)
    worker.mailroom.mailboxes[0].put(2)
    assert worker.stop(5.0)
    assert finished == [1]


def test_a_worker_that_hangs_is_told_of_and_not_waited_for():
    release = threading.Event()
    worker: Worker[int] = Worker(lambda letters: release.wait(30.0) and None, "test")
    worker.mailroom.mailboxes[0].put(1)
    time.sleep(0.05)
    began = time.monotonic()
    assert not worker.stop(0.2)
    assert time.monotonic() - began < 5.0
    release.set()
