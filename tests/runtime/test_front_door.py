"""The gateway's process is kept running: started once, found again, ended when it should go, and no other touched."""

import asyncio
import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from elastic_deploy.model.front_door import FrontDoorOptions
from elastic_deploy.runtime.front_door import RESTART_PERIOD, FrontDoor

LIMIT = 60.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def gateways(directory: Path) -> list[psutil.Process]:
    """The gateway processes of a directory."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            command = process.cmdline()
            if "elastic_deploy.gateway" in command and str(directory) in command:
                found.append(process)
    return found


def port_of(process: psutil.Process) -> str:
    """The port that a gateway was given; its pid where it has just ended."""
    with suppress(psutil.Error, ValueError):
        command = process.cmdline()
        return command[command.index("--port") + 1]
    return f"pid {process.pid}"


class Keeper:
    """A front door that is kept as the supervisor does it, a little faster."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.door = FrontDoor(directory, "127.0.0.1", FrontDoorOptions, lambda: None)

    def keep(self, port: int, until: Callable[[], object], *, wanted: bool = True) -> None:
        """Keep it until something holds; at no moment there is more than one gateway for a port."""
        deadline = time.monotonic() + LIMIT
        while not until():
            assert time.monotonic() < deadline
            asyncio.run(self.door.keep(port, wanted=wanted))
            ports = list(map(port_of, gateways(self.directory)))
            assert len(ports) == len(set(ports))
            time.sleep(0.1)

    @property
    def announced(self) -> dict[str, int]:
        """What the gateway says of itself; nothing before it listens."""
        try:
            told: dict[str, int] = json.loads((self.directory / "gateway.json").read_text())
        except FileNotFoundError:
            return {}
        return told


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[Keeper]:
    yield Keeper(tmp_path)
    for process in gateways(tmp_path):
        process.kill()


def test_it_is_started_once_found_by_the_next_supervisor_moved_and_ended(keeper: Keeper) -> None:
    port, other = free_port(), free_port()
    keeper.keep(port, lambda: keeper.announced.get("port") == port)
    [process] = gateways(keeper.directory)
    assert keeper.announced["pid"] == process.pid
    assert process.ppid() != psutil.Process().pid, "it must outlive who started it"

    keeper.door = FrontDoor(
        keeper.directory, "127.0.0.1", FrontDoorOptions, lambda: None
    )  # as a supervisor that comes back
    until = time.monotonic() + RESTART_PERIOD + 0.5
    keeper.keep(port, lambda: time.monotonic() > until)
    assert gateways(keeper.directory) == [process]

    keeper.keep(other, lambda: keeper.announced.get("port") == other)
    assert gateways(keeper.directory) != [process]

    keeper.keep(other, lambda: not gateways(keeper.directory), wanted=False)
    assert keeper.announced == {}


def test_one_that_was_killed_is_started_again(keeper: Keeper) -> None:
    port = free_port()
    keeper.keep(port, lambda: keeper.announced)
    [process] = gateways(keeper.directory)
    killed_at = time.time()
    process.kill()
    keeper.keep(port, lambda: keeper.announced["pid"] != process.pid)
    [next_one] = gateways(keeper.directory)
    started_after = next_one.create_time() - killed_at
    print(f"started {started_after:.1f} s after the kill, listens {time.time() - killed_at:.1f} s after it")
    assert started_after < 5 * RESTART_PERIOD
    assert keeper.announced["port"] == port
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=LIMIT) as answer:
        assert answer.status == 200


def test_one_that_cannot_listen_is_tried_again_until_it_can(keeper: Keeper) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = int(taken.getsockname()[1])
        log = keeper.directory / "gateway.log"
        keeper.keep(port, lambda: log.exists() and "the port is in use" in log.read_text())
    keeper.keep(port, lambda: keeper.announced.get("port") == port)


@pytest.mark.parametrize("same_program", [False, True], ids=["another program", "another cluster's gateway"])
def test_an_old_announcement_never_ends_a_process_that_has_its_pid_now(
    keeper: Keeper, tmp_path: Path, same_program: bool
) -> None:
    arguments = ["elastic_deploy.gateway", "--dir", str(tmp_path / "other")] if same_program else []
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", *arguments])
    try:
        (keeper.directory / "gateway.json").write_text(json.dumps({"pid": stranger.pid, "port": 1}))
        asyncio.run(keeper.door.keep(2, wanted=False))
        assert psutil.Process(stranger.pid).status() != psutil.STATUS_ZOMBIE
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"pid": "x"}', '{"pid": 1}', '{"pid": -5, "port": 1}'])
def test_an_announcement_that_cannot_be_read_is_none(keeper: Keeper, content: str) -> None:
    (keeper.directory / "gateway.json").write_text(content)
    asyncio.run(keeper.door.keep(1, wanted=False))
    assert gateways(keeper.directory) == []
