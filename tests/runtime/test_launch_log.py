"""Refused launches are read from the autoscaler's log, each once, with the cloud's words and the time it happened."""

import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray._private.ray_constants import LOGGER_FORMAT
from ray.autoscaler.node_launch_exception import NodeLaunchException

from elastic_deploy.model.snapshot import LaunchFailure
from elastic_deploy.runtime.launch_log import LaunchLog, parse
from elastic_deploy.runtime.monitor_log import READ_AT_MOST
from elastic_deploy.runtime.monitor_log import MonitorLog as Files

CAPACITY = "There is no Spot capacity available that matches your request."
REFUSED = NodeLaunchException("InsufficientInstanceCapacity", CAPACITY, None)


class MonitorLog:
    """The monitor's log as Ray's own logging writes it, rotations included."""

    def __init__(self, logs: Path) -> None:
        self.path = logs / "monitor.log"
        self._handler = logging.FileHandler(self.path)
        self._handler.setFormatter(logging.Formatter(LOGGER_FORMAT))

    def refuse(self, error: Exception = REFUSED, count: int = 1, node_type: str = "gpu") -> float:
        """What Ray's node provider logs of a failed launch; when it did."""
        record = logging.LogRecord(
            "ray.autoscaler", logging.INFO, "node_provider.py", 492, f"Failed to launch {count} nodes of type "
            f"{node_type}: {error}", None, None
        )  # fmt: skip
        self._handler.emit(record)
        return int(record.created * 1000) / 1000

    def write(self, text: str) -> None:
        """Bytes as they are."""
        with self.path.open("a") as log:
            log.write(text)

    def rotate(self) -> None:
        """As a RotatingFileHandler does."""
        self.close()
        self.path.rename(self.path.with_name("monitor.log.1"))
        self._handler = logging.FileHandler(self.path)
        self._handler.setFormatter(logging.Formatter(LOGGER_FORMAT))

    def close(self) -> None:
        self._handler.close()


@pytest.fixture
def monitor(tmp_path: Path) -> Iterator[MonitorLog]:
    log = MonitorLog(tmp_path)
    yield log
    log.close()


class Followed:
    """What the observer does with the log: its lines are followed, and read for launches."""

    def __init__(self, logs: Path) -> None:
        self._files, self._launches = Files(logs), LaunchLog()

    def poll(self, now: float) -> list[LaunchFailure]:
        return self._launches.read(self._files.poll(now), now)


@pytest.fixture
def log(monitor: MonitorLog) -> Followed:
    return Followed(monitor.path.parent)


PREFIX = "2026-11-22 18:03:01,250\tINFO node_provider.py:492 -- "


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f"Failed to launch 2 nodes of type gpu: {REFUSED}", ("gpu", 2, "InsufficientInstanceCapacity", CAPACITY)),
        (
            "Failed to launch 1 nodes of type gpu.8x: An error occurred (UnauthorizedOperation) when calling the "
            "RunInstances operation: You are not authorized.",
            ("gpu.8x", 1, "UnauthorizedOperation", "You are not authorized."),
        ),
        ("Failed to launch 1 nodes of type gpu: timed out", ("gpu", 1, "LaunchError", "timed out")),
        ("Failed to launch 1 nodes of type gpu: ", ("gpu", 1, "LaunchError", "LaunchError")),
        (
            f"Failed to launch 3 nodes of type gpu: {NodeLaunchException('VcpuLimitExceeded', '', None)}",
            ("gpu", 3, "VcpuLimitExceeded", "VcpuLimitExceeded"),
        ),
    ],
)
@pytest.mark.parametrize("prefix", ["", PREFIX])
def test_a_refusal_is_taken_apart(line: str, expected: tuple[str, int, str, str], prefix: str) -> None:
    now = time.time() + 1e9
    failure = parse(prefix + line, now)
    assert failure is not None
    assert (failure.node_type, failure.count, failure.code, failure.message) == expected
    assert (failure.at == now) is not bool(prefix)


@pytest.mark.parametrize(
    "line", ["", "Launching 2 nodes of type gpu.", "Launched 2 nodes of type gpu.", "Failed to launch nodes", PREFIX]
)
def test_other_lines_tell_of_no_refusal(line: str) -> None:
    assert parse(line, 1.0) is None


def test_a_refusal_happened_when_its_line_says(monitor: MonitorLog, log: Followed) -> None:
    at = monitor.refuse()
    [failure] = log.poll(time.time() + 3600)
    assert failure.at == pytest.approx(at, abs=0.002)


def test_a_refusal_never_lies_in_the_future(monitor: MonitorLog, log: Followed) -> None:
    at = monitor.refuse()
    assert [failure.at for failure in log.poll(at - 100)] == [at - 100]


def test_a_supervisor_that_comes_back_reads_the_same_times_again(monitor: MonitorLog, log: Followed) -> None:
    monitor.refuse()
    assert Followed(monitor.path.parent).poll(time.time() + 60) == log.poll(time.time() + 90)


def test_each_refusal_is_told_once_in_order(monitor: MonitorLog, log: Followed) -> None:
    monitor.refuse(count=1)
    monitor.refuse(count=2)
    assert [failure.count for failure in log.poll(time.time())] == [1, 2]
    assert log.poll(time.time()) == []
    monitor.refuse(count=3)
    assert [failure.count for failure in log.poll(time.time())] == [3]


def test_a_line_is_told_when_it_is_whole(monitor: MonitorLog, log: Followed) -> None:
    monitor.write("Failed to launch 1 nodes of type gpu: Node Launch Exc")
    assert log.poll(1.0) == []
    monitor.write("eption (Max): no")
    assert log.poll(2.0) == []
    monitor.write(" more\n")
    assert log.poll(3.0) == [LaunchFailure("gpu", 1, "Max", "no more", 3.0)]


def test_nothing_is_lost_or_told_twice_when_the_log_is_rotated(monitor: MonitorLog, log: Followed) -> None:
    monitor.refuse(count=1)
    assert len(log.poll(time.time())) == 1
    monitor.refuse(count=2)
    monitor.rotate()
    monitor.refuse(count=3)
    assert [failure.count for failure in log.poll(time.time())] == [2, 3]
    assert log.poll(time.time()) == []


def test_a_log_that_was_cut_is_read_from_its_start(monitor: MonitorLog, log: Followed) -> None:
    monitor.write("some older words\n" * 100)
    log.poll(1.0)
    monitor.path.write_text("Failed to launch 1 nodes of type gpu: no\n")
    assert len(log.poll(2.0)) == 1


def test_no_log_yet_is_no_refusal(tmp_path: Path) -> None:
    assert Followed(tmp_path / "not yet").poll(1.0) == []


def test_a_log_of_megabytes_is_read_from_its_end_and_then_to_its_last_line(monitor: MonitorLog, log: Followed) -> None:
    monitor.refuse(count=1)
    monitor.write("x" * 99 + "\n")
    monitor.write(("y" * 99 + "\n") * (READ_AT_MOST // 100))
    monitor.refuse(count=2)
    assert [failure.count for failure in log.poll(time.time())] == [2]
    monitor.write("z" * (2 * READ_AT_MOST) + "\n")
    monitor.refuse(count=3)
    found = [log.poll(time.time()) for _ in range(4)]
    assert [failure.count for failures in found for failure in failures] == [3]


def test_bytes_that_are_no_text_do_not_stop_it(monitor: MonitorLog, log: Followed) -> None:
    with monitor.path.open("ab") as file:
        file.write(b"\xff\xfe\x00\n")
    monitor.refuse()
    assert len(log.poll(time.time())) == 1
