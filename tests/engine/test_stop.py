"""Stopping a build from another thread: it ends soon, what had finished stays cached, and the store is whole."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from layerlab.engines.api import Event
from layerlab.errors import BuildInterruptedError
from layerlab.interrupt import Stop

from .conftest import verdicts

if TYPE_CHECKING:
    from .conftest import Lab

DOCKERFILE = "FROM base:1\nRUN echo first\nRUN echo begun; sleep 60; echo ended\nRUN echo last\n"


def stopped_at(lab: Lab, when: str) -> float:
    """Build, ask for a stop when an event of this kind or with this text comes; returns the seconds from there to the end."""
    stop = Stop()
    asked: list[float] = []

    def watch(event: Event) -> None:
        if not asked and when in (event.kind, event.text.strip()):
            asked.append(time.monotonic())
            # From another thread, as a button does it.
            threading.Thread(target=stop.request).start()

    with pytest.raises(BuildInterruptedError):
        lab.engine.build(lab.options(DOCKERFILE), watch, stop)
    assert asked
    return time.monotonic() - asked[0]


def test_a_running_command_is_ended(each_lab: Lab) -> None:
    assert stopped_at(each_lab, "begun") < 10
    record = each_lab.try_build(DOCKERFILE.replace("sleep 60", "true"))
    assert record.failure is None
    assert verdicts(record) == ["cached", "executed", "executed"]
    assert each_lab.engine.verify(lambda _text: None).damaged == ()


def test_a_stop_at_the_start_of_a_step(lab: Lab) -> None:
    assert stopped_at(lab, "start") < 10
    assert lab.build(DOCKERFILE.replace("sleep 60", "true")).image is not None


def test_a_stop_before_the_build(lab: Lab) -> None:
    stop = Stop()
    stop.request()
    with pytest.raises(BuildInterruptedError):
        lab.engine.build(lab.options(DOCKERFILE), None, stop)
    assert verdicts(lab.plan(DOCKERFILE)) == ["executed"] * 3


def test_a_build_that_waits_for_another_can_be_stopped(lab: Lab) -> None:
    lab.options(DOCKERFILE)
    begun = threading.Event()
    first, second = Stop(), Stop()

    def slow() -> None:
        with pytest.raises(BuildInterruptedError):
            lab.engine.build(lab.options(), lambda event: begun.set() if event.text.strip() == "begun" else None, first)

    thread = threading.Thread(target=slow)
    thread.start()
    try:
        assert begun.wait(30)
        timer = threading.Timer(0.3, second.request)
        timer.start()
        with type(lab.engine)(lab.engine.store_path) as other, pytest.raises(BuildInterruptedError):
            other.build(lab.options(), None, second)
    finally:
        first.request()
        thread.join(30)
    assert not thread.is_alive()


def test_a_layer_that_takes_for_ever_to_hash_is_given_up(each_lab: Lab) -> None:
    lab = each_lab
    stop = Stop()
    huge = "FROM base:1\nRUN echo first\nRUN truncate -s 200G /huge\n"
    timer = threading.Timer(3, stop.request)
    began = time.monotonic()
    timer.start()
    with pytest.raises(BuildInterruptedError):
        lab.engine.build(lab.options(huge), None, stop)
    assert time.monotonic() - began < 30
    assert verdicts(lab.plan(huge)) == ["cached", "executed"]
    lab.build("FROM base:1\nRUN echo first\nRUN echo other\n")
    assert lab.engine.verify(lambda _text: None).damaged == ()
