from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest

from unsir_bench.runtime.progress import Progress


class FakeTime:
    def __init__(self) -> None:
        self.now = 5.0


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    fake = FakeTime()
    monkeypatch.setattr("unsir_bench.runtime.progress.time", SimpleNamespace(monotonic=lambda: fake.now))
    return fake


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, logger="unsir_bench")
    return caplog


@pytest.mark.usefixtures("time")
def test_short_work_leaves_no_line(lines: pytest.LogCaptureFixture) -> None:
    with Progress(interactive=False).task("impair", 3) as task:
        for _ in range(3):
            task.advance(loss=1.0)
    assert lines.messages == []


def test_long_work_logs_now_and_then_with_rate_time_left_and_values(
    lines: pytest.LogCaptureFixture, time: FakeTime
) -> None:
    with Progress(interactive=False).task("original", 100, "images") as task:
        for _ in range(40):
            time.now += 1
            task.advance(2, loss=0.12345)
    # 31 s after the start 62 of 100 are done at 2 a second; by 62 s the work has ended.
    assert lines.messages == [
        "original: 62/100 images, 2.0 images/s, 19 s left, loss 0.123",
        "original: 80 images in 40.0 s",
    ]


def test_the_time_left_of_long_work_is_in_minutes_or_hours(lines: pytest.LogCaptureFixture, time: FakeTime) -> None:
    with Progress(interactive=False).task("original", 7680) as task:
        for _ in range(2):
            time.now += 1280
            task.advance(1280)
    assert [line.split(", ")[2] for line in lines.messages[:2]] == ["1.8 h left", "85 min left"]


def test_a_resumed_task_takes_its_rate_and_time_left_from_this_session_alone(
    lines: pytest.LogCaptureFixture, time: FakeTime
) -> None:
    with Progress(interactive=False).task("original", 7680, earlier=3500) as task:
        for _ in range(2):
            time.now += 40
            task.advance(80)
    assert lines.messages == [
        "original: 3580/7680 batches, 2.0 batches/s, 34 min left",
        "original: 3660/7680 batches, 2.0 batches/s, 34 min left",
        "original: 160 batches in 80.0 s",
    ]
    with Progress(interactive=True).task("original", 10, earlier=4) as task:
        task.advance()
        assert (task.bar.n, task.bar.initial) == (5, 4)


def test_a_pipe_gets_no_bar(capfd: pytest.CaptureFixture[str], time: FakeTime) -> None:
    with Progress().task("repair", 2) as task:
        time.now += 10
        task.advance()
    assert "\r" not in capfd.readouterr().err


def test_a_terminal_gets_a_bar_and_no_lines(lines: pytest.LogCaptureFixture, time: FakeTime) -> None:
    with Progress(interactive=True).task("noise", 10) as task:
        time.now += 100
        task.advance(4, loss=2.0)
        assert (task.bar.n, task.bar.total) == (4, 10)
        assert "loss=2" in task.bar.postfix
    assert lines.messages == []


def test_the_bar_is_closed_when_the_work_fails() -> None:
    with pytest.raises(KeyError), Progress(interactive=True).task("noise", 10) as task:
        raise KeyError
    assert task.bar.disable  # tqdm's mark of a closed bar


def test_work_of_unknown_speed_still_logs(lines: pytest.LogCaptureFixture, time: FakeTime) -> None:
    with Progress(interactive=False).task("original", 100) as task:
        time.now += 31
        task.advance(0)
    assert lines.messages[0] == "original: 0/100 batches, 0.0 batches/s, ? left"
