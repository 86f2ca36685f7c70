"""Finding a node's processes by all three signs, ending them, and what they leave in shared memory."""

import contextlib
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from elastic_deploy.cluster.local import processes, shared_memory
from elastic_deploy.cluster.local.processes import MARK, ProcessId

Until = Callable[[Callable[[], object], float, str], None]
Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def mark() -> str:
    return f"test/{uuid.uuid4().hex}"


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a program whose first line of output says that it is ready; it is killed after the test."""
    started: list[subprocess.Popen[bytes]] = []

    def run(code: str, *arguments: str, mark: str = "", session: bool = True) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            env={**os.environ, MARK: mark},
            stdout=subprocess.PIPE,
            start_new_session=session,
        )
        started.append(process)
        assert process.stdout
        assert process.stdout.readline()
        return process

    yield run
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.wait(10)
        assert process.stdout
        process.stdout.close()


SLEEP = "import time; print('ready', flush=True); time.sleep(60)"
STUBBORN = "import signal, time; signal.signal(15, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"
PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], env={}, **eval(sys.argv[1]))
print(child.pid, flush=True)
time.sleep(60)
"""


def test_a_process_is_alive_until_it_is_dead_even_as_a_zombie(start: Start, until: Until) -> None:
    process = start(SLEEP)
    identity = processes.identify(process.pid)
    assert identity
    assert identity.is_alive()
    assert not ProcessId(identity.pid, identity.started + 1).is_alive(), "another process with the same pid"

    process.kill()

    until(lambda: not identity.is_alive(), 5, "the killed process, not waited for, to count as dead")
    assert processes.identify(process.pid) is None


def test_a_marked_process_is_found_in_a_session_of_its_own(start: Start, mark: str) -> None:
    process = start(SLEEP, mark=mark)

    assert [one.pid for one in processes.find(mark)] == [process.pid]
    assert not processes.find(f"{mark}0")


def test_a_child_that_lost_the_mark_is_found_by_descent(start: Start, mark: str) -> None:
    process = start(PARENT, "{'start_new_session': True}", mark=mark)

    assert len(processes.find(mark)) == 2
    assert process.pid in {one.pid for one in processes.find(mark)}


def test_an_orphan_that_lost_the_mark_is_found_by_session(start: Start, mark: str, until: Until) -> None:
    process = start(PARENT, "{}", mark=mark)
    leader = processes.identify(process.pid)
    assert leader
    process.kill()
    process.wait(10)

    until(lambda: not processes.find(mark), 5, "the parent to be gone")
    orphans = processes.find(None, [leader])

    assert len(orphans) == 1
    processes.end(lambda: processes.find(None, [leader]), grace_s=0)
    assert not processes.find(None, [leader])


def test_a_session_whose_id_went_to_another_process_is_not_ours(start: Start) -> None:
    process = start(SLEEP)
    now = processes.identify(process.pid)
    assert now

    assert processes.find(None, [now])
    assert not processes.find(None, [ProcessId(now.pid, now.started - 1)])


def test_a_process_that_ignores_the_request_is_killed_after_the_grace(start: Start, mark: str) -> None:
    process = start(STUBBORN, mark=mark)

    processes.end(lambda: processes.find(mark), grace_s=0.3)

    assert process.wait(5) == -signal.SIGKILL


def test_a_process_that_listens_is_not_killed(start: Start, mark: str) -> None:
    process = start(SLEEP, mark=mark)

    processes.end(lambda: processes.find(mark), grace_s=10)

    assert process.wait(5) == -signal.SIGTERM


def test_processes_named_last_are_asked_when_only_they_are_left(start: Start, mark: str) -> None:
    polite = "import signal, sys, time; signal.signal(15, lambda *_: (print(time.time(), flush=True), sys.exit()))"
    first = start(polite + "; print('ready', flush=True); time.sleep(60)", mark=mark)
    rename = "; open('/proc/self/comm', 'w').write('the-last')"
    last = start(polite + rename + "; print('ready', flush=True); time.sleep(60)", mark=mark)

    processes.end(lambda: processes.find(mark), grace_s=10, last={"the-last"})

    assert first.stdout
    assert last.stdout
    assert float(first.stdout.readline()) < float(last.stdout.readline())


SHARE = """
import mmap, os, sys, time
file = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
os.ftruncate(file, 4096)
memory = mmap.mmap(file, 4096)
os.close(file)
print("ready", flush=True)
time.sleep(60)
"""


@pytest.fixture
def shared_file() -> Iterator[Path]:
    path = Path(shared_memory.DIRECTORY) / f"elastic-deploy-test-{uuid.uuid4().hex}"
    yield path
    path.unlink(missing_ok=True)


def test_a_file_of_a_killed_process_is_removed(start: Start, shared_file: Path) -> None:
    process = start(SHARE, str(shared_file))
    mapped = shared_memory.mapped_by([process.pid])
    assert mapped == {str(shared_file)}
    process.kill()
    process.wait(10)
    assert shared_file.exists()

    assert shared_memory.remove_unused(mapped) == frozenset()
    assert not shared_file.exists()


def test_a_file_that_another_process_still_maps_stays(start: Start, shared_file: Path) -> None:
    start(SHARE, str(shared_file))

    assert shared_memory.remove_unused([str(shared_file)]) == {str(shared_file)}
    assert shared_file.exists()
