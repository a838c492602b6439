from __future__ import annotations

import pytest
import torch

from tests.fake_time import FakeTime
from unsir_bench.runtime.clock import Instant, Stopwatch


@pytest.fixture
def clock() -> Stopwatch:
    return Stopwatch(torch.device("cpu"))


def test_phases_are_booked_apart_and_the_total_holds_what_is_between(clock: Stopwatch, fake_time: FakeTime) -> None:
    with clock.running():
        with clock.phase("noise"):
            fake_time.pass_by(2)
        fake_time.pass_by(1)
        for seconds in (4, 8):
            with clock.phase("impair"):
                fake_time.pass_by(seconds)
    fake_time.pass_by(16)
    assert clock.phases == {"noise": 2, "impair": 12}
    assert clock.total == 15


def test_a_pause_counts_neither_in_the_phase_nor_in_the_total(clock: Stopwatch, fake_time: FakeTime) -> None:
    with clock.running(), clock.phase("repair"):
        fake_time.pass_by(1)
        with clock.paused():
            fake_time.pass_by(50)
        fake_time.pass_by(2)
    assert (clock.total, clock.phases["repair"]) == (3, 3)


def test_a_pause_within_a_pause_is_left_out_once(clock: Stopwatch, fake_time: FakeTime) -> None:
    with clock.running():
        fake_time.pass_by(1)
        with clock.paused():
            fake_time.pass_by(10)
            with clock.paused():
                fake_time.pass_by(20)
            fake_time.pass_by(10)
        fake_time.pass_by(2)
    assert clock.total == 3


def test_a_pause_before_a_phase_does_not_shorten_it(clock: Stopwatch, fake_time: FakeTime) -> None:
    with clock.running():
        with clock.paused():
            fake_time.pass_by(7)
        with clock.phase("noise"):
            fake_time.pass_by(3)
    assert (clock.total, clock.phases["noise"]) == (3, 3)


def test_an_exception_books_what_had_passed(clock: Stopwatch, fake_time: FakeTime) -> None:
    with pytest.raises(KeyError), clock.running(), clock.phase("noise"):
        with clock.paused():
            fake_time.pass_by(100)
        fake_time.pass_by(5)
        raise KeyError
    assert (clock.total, clock.phases["noise"]) == (5, 5)


def test_credit_adds_to_a_running_total_without_its_own_time(clock: Stopwatch, fake_time: FakeTime) -> None:
    with clock.running():
        fake_time.pass_by(1)
        with clock.paused():
            fake_time.pass_by(30)
            clock.add_stored_cost("train", 600)
    assert clock.total == 601
    assert clock.phases == {"train": 600}


def test_the_device_is_waited_for_before_the_clock_is_read(
    clock: Stopwatch, fake_time: FakeTime, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Work queued on a device ends only when it is waited for.
    monkeypatch.setattr("unsir_bench.runtime.clock.synchronise", lambda _device: fake_time.pass_by(3))
    with clock.running():
        pass
    assert clock.total == 3


class FakeEvent:
    """A CUDA event: stands in its stream when the work queued before it is done, which the host must wait for."""

    waited_for = 0

    def __init__(self, enable_timing: bool) -> None:
        assert enable_timing, "an event without timing tells no time"
        self.passed: float | None = None

    def record(self, stream: FakeStream) -> None:
        self.passed = stream.done_at

    def synchronize(self) -> None:
        FakeEvent.waited_for += 1

    def elapsed_time(self, later: FakeEvent) -> float:
        assert self.passed is not None and later.passed is not None
        return 1000 * (later.passed - self.passed)


class FakeStream:
    """A queue of work on a device; ``done_at`` is when the last of it will be done, in seconds."""

    done_at = 7.0


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> FakeStream:
    only = FakeStream()
    monkeypatch.setattr(torch.cuda, "Event", FakeEvent)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _device: only)
    monkeypatch.setattr(FakeEvent, "waited_for", 0)
    return only


def test_on_cuda_time_is_of_events_of_the_current_stream(stream: FakeStream) -> None:
    clock = Stopwatch(torch.device("cuda", 0))
    with clock.running():
        with clock.phase("impair"):
            stream.done_at += 2
        with clock.paused():
            stream.done_at += 50
        with clock.phase("repair"):
            stream.done_at += 1
    assert clock.phases == {"impair": 2, "repair": 1}
    assert clock.total == 3


def test_on_cuda_nothing_is_waited_for_before_seconds_are_asked_for(stream: FakeStream) -> None:
    started, ended = Instant(torch.device("cuda")), Instant(torch.device("cuda"))
    assert FakeEvent.waited_for == 0
    ended.seconds_since(started)
    assert FakeEvent.waited_for == 1
