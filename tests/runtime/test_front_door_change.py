"""The running front door becomes another one, or comes back: its clients notice as little as can be.

The time without a listener, and the time to a new one after a kill, are printed (`pytest -s`), not judged: the
machine may be busy.
"""

import asyncio
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

from elastic_deploy.model.errors import InvalidConfigError, UsageError
from elastic_deploy.model.front_door import CertificatePair, FrontDoorBounds, FrontDoorOptions, FrontDoorWish
from elastic_deploy.runtime.certificate_files import certificate_path, drop_certificate, key_path, put_certificate
from elastic_deploy.runtime.front_door import FrontDoor
from elastic_deploy.runtime.gateway_process import PROGRAM, arguments
from tests.certificates import write_pair
from tests.gateway.stand_in import CLIENT_KEY, engine, event, route, stream, write_keys, write_routes
from tests.runtime.test_front_door import free_port, gateways

LIMIT = 60.0
TICK = 1.0  # as the supervisor's
HOST = "127.0.0.1"
KEY = {"Authorization": f"Bearer {CLIENT_KEY}"}


class Supervised:
    """A front door that is kept by a task as the supervisor keeps it: at each tick, and when it has ended."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        self.options = FrontDoorOptions()
        self.wanted = True
        self.wake = asyncio.Event()
        self.door = FrontDoor(directory, HOST, lambda: self.options, self.wake.set)

    async def run(self) -> None:
        while True:
            await self.door.keep(self.port, wanted=self.wanted)
            with suppress(TimeoutError):
                await asyncio.wait_for(self.wake.wait(), TICK)
            self.wake.clear()

    def become(self, **options: Any) -> None:
        """What `apply` does."""
        self.options = replace(self.options, **options)
        self.wake.set()

    @property
    def pid(self) -> int:
        """Of the one that has announced itself last; 0 if there is none."""
        with suppress(FileNotFoundError):
            return int(json.loads((self.directory / "gateway.json").read_text())["pid"])
        return 0


@asynccontextmanager
async def supervised(directory: Path) -> AsyncIterator[Supervised]:
    """A front door that listens; nothing of it is left at the end."""
    one = Supervised(directory)
    keeping = asyncio.create_task(one.run())
    try:
        await until(lambda: one.pid)
        yield one
    finally:
        keeping.cancel()
        for process in gateways(directory):
            process.kill()


def command_line(process: psutil.Process) -> list[str]:
    """Its command line, empty where it has just ended."""
    with suppress(psutil.NoSuchProcess):
        return process.cmdline()
    return []


async def until(holds: Callable[[], object]) -> None:
    while not holds():
        await asyncio.sleep(0.01)


def run(story: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(LIMIT):
            await story()

    asyncio.run(limited())


def is_listened_on(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


class Gap:
    """Watches a port, as a task; `seconds` is the longest time without a listener."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.seconds = 0.0

    async def watch(self) -> None:
        heard = time.monotonic()
        while True:
            if is_listened_on(self.port):
                heard = time.monotonic()
            else:
                self.seconds = max(self.seconds, time.monotonic() - heard)
            await asyncio.sleep(0.002)


def test_a_change_of_bounds_cuts_no_stream_and_leaves_no_gap_worth_the_name(tmp_path: Path) -> None:
    async def story() -> None:
        async with engine(stream) as e, supervised(tmp_path) as one:
            write_keys(tmp_path)
            write_routes(tmp_path, route(e.backend))
            await asyncio.sleep(0.5)
            old = psutil.Process(one.pid)
            gap = Gap(one.port)
            watching = asyncio.create_task(gap.watch())
            url = f"http://{HOST}:{one.port}"
            async with aiohttp.ClientSession(url, headers=KEY) as client:
                e.step.release()
                async with client.post("/v1/completions", json={"model": "tiny", "stream": True}) as response:
                    assert await response.content.readuntil(b"\n\n") == event("0")
                    one.become(bounds=FrontDoorBounds(hold_timeout=77.0, drain_timeout=50.0))
                    await until(lambda: one.pid not in (0, old.pid))
                    assert old.is_running(), "it has a stream to finish"
                    async with aiohttp.ClientSession(url, headers=KEY) as other, other.get("/v1/models") as answer:
                        assert answer.status == 200
                    command = psutil.Process(one.pid).cmdline()
                    assert command[command.index("--hold-timeout") + 1] == "77"
                    for _ in range(e.events):
                        e.step.release()
                    assert (await response.content.read()).endswith(event(str(e.events - 1)) + b"data: [DONE]\n\n")
            await until(lambda: not old.is_running() or old.status() == psutil.STATUS_ZOMBIE)
            assert one.pid != old.pid, "the old one must not withdraw the new one's announcement"
            newest = one.pid
            await asyncio.sleep(2 * TICK)
            assert one.pid == newest
            watching.cancel()
            print(f"time without a listener: {gap.seconds * 1000:.0f} ms")
            assert gap.seconds < 10.0

    run(story)


def test_one_that_was_killed_is_back_on_the_same_port(tmp_path: Path) -> None:
    async def story() -> None:
        async with supervised(tmp_path) as one:
            took = []
            for _ in range(3):
                killed, began = one.pid, time.monotonic()
                os.kill(killed, signal.SIGKILL)
                await until(lambda: not is_listened_on(one.port))
                await until(lambda: is_listened_on(one.port))
                took.append(time.monotonic() - began)
                while one.pid in (0, killed):
                    await asyncio.sleep(0.01)
            print("listening again after " + ", ".join(f"{seconds:.2f} s" for seconds in took))
            assert max(took) < 20.0

    run(story)


def test_its_end_is_told_at_once(tmp_path: Path) -> None:
    async def story() -> None:
        told = asyncio.Event()
        door = FrontDoor(tmp_path, HOST, FrontDoorOptions, told.set)
        port = free_port()
        try:
            while not (tmp_path / "gateway.json").exists():
                await door.keep(port, wanted=True)
                await asyncio.sleep(0.1)
            await door.keep(port, wanted=True)
            [process] = gateways(tmp_path)
            assert not told.is_set()
            process.kill()
            await told.wait()
        finally:
            for process in gateways(tmp_path):
                process.kill()

    run(story)


def test_two_changes_at_once_end_in_the_last_one(tmp_path: Path) -> None:
    async def story() -> None:
        async with supervised(tmp_path) as one:
            one.become(bounds=FrontDoorBounds(hold_timeout=1.0))
            await until(lambda: len(gateways(tmp_path)) == 2)
            one.become(bounds=FrontDoorBounds(hold_timeout=2.0))
            wanted = arguments(tmp_path, HOST, one.port, one.options)
            await until(lambda: [command_line(each)[-len(wanted) :] for each in gateways(tmp_path)] == [wanted])
            assert is_listened_on(one.port)

    run(story)


def test_one_whose_announcement_was_lost_is_found_and_replaced(tmp_path: Path) -> None:
    async def story() -> None:
        async with supervised(tmp_path) as one:
            lost = one.pid
            (tmp_path / "gateway.json").unlink()
            await until(lambda: one.pid not in (0, lost))
            await until(lambda: [each.pid for each in gateways(tmp_path)] == [one.pid])
            assert is_listened_on(one.port)
            await asyncio.sleep(2 * TICK)
            (tmp_path / "gateway.json").unlink()
            one.wanted = False
            await until(lambda: not gateways(tmp_path))

    run(story)


def test_a_takeover_ends_no_process_that_is_no_gateway_of_its_directory(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", PROGRAM, "--dir", str(other)])
    told = arguments(tmp_path, HOST, free_port(), FrontDoorOptions())
    command = [sys.executable, "-m", "elastic_deploy.runtime.takeover", str(stranger.pid), PROGRAM, *told]
    taking = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + LIMIT
        while not (tmp_path / "gateway.json").exists():
            assert time.monotonic() < deadline
            assert taking.poll() is None
            time.sleep(0.05)
        with pytest.raises(subprocess.TimeoutExpired):
            stranger.wait(2)
    finally:
        for process in (stranger, taking):
            process.kill()
            process.wait()


def test_a_wrong_command_line_does_not_cost_the_running_one_its_life(tmp_path: Path) -> None:
    async def story() -> None:
        async with supervised(tmp_path) as one:
            told = [*arguments(tmp_path, HOST, one.port, FrontDoorOptions()), "--no-such-flag"]
            command = [sys.executable, "-m", "elastic_deploy.runtime.takeover", str(one.pid), PROGRAM, *told]
            taking = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
            assert await taking.wait() == 2
            assert is_listened_on(one.port)

    run(story)


def test_only_what_was_said_is_told_to_the_gateway(tmp_path: Path) -> None:
    plain = ["--dir", str(tmp_path), "--host", HOST, "--port", "8000"]
    assert arguments(tmp_path, HOST, 8000, FrontDoorOptions()) == plain
    bounds = FrontDoorBounds(hold_timeout=0.0, hold_bytes=5, max_connections=9)
    assert arguments(tmp_path, HOST, 8000, FrontDoorOptions(certificate="f", bounds=bounds)) == [
        *plain,
        *("--tls-cert", str(tmp_path / "tls" / "cert.pem"), "--tls-key", str(tmp_path / "tls" / "key.pem")),
        *("--hold-timeout", "0", "--hold-bytes", "5", "--max-connections", "9"),
    ]


def pair_of(files: tuple[Path, Path]) -> CertificatePair:
    return CertificatePair(*(file.read_text() for file in files))


def wish_for(pair: CertificatePair, *, sent: bool = True) -> FrontDoorWish:
    return FrontDoorWish(8000, FrontDoorOptions(certificate=pair.fingerprint), pair if sent else None)


def test_a_certificate_is_put_in_place_for_its_user_alone_and_a_wrong_one_leaves_the_old(tmp_path: Path) -> None:
    put_certificate(tmp_path, FrontDoorWish())
    assert not certificate_path(tmp_path).parent.exists()
    first, second = (pair_of(write_pair(tmp_path, name)) for name in ("one", "two"))
    put_certificate(tmp_path, wish_for(first))
    for path, text in ((certificate_path(tmp_path), first.certificate), (key_path(tmp_path), first.key)):
        assert path.read_text() == text
        assert path.stat().st_mode & 0o777 == 0o600
    put_certificate(tmp_path, wish_for(first, sent=False))
    with pytest.raises(UsageError, match="none was sent"):
        put_certificate(tmp_path, wish_for(second, sent=False))
    with pytest.raises(InvalidConfigError, match="does not belong"):
        put_certificate(tmp_path, wish_for(CertificatePair(second.certificate, first.key)))
    assert certificate_path(tmp_path).read_text() == first.certificate
    assert sorted(path.name for path in key_path(tmp_path).parent.iterdir()) == ["cert.pem", "key.pem"]
    put_certificate(tmp_path, wish_for(second))
    assert key_path(tmp_path).read_text() == second.key
    drop_certificate(tmp_path)
    drop_certificate(tmp_path)
    assert list(key_path(tmp_path).parent.iterdir()) == []


def gateway_speaks_tls() -> bool:
    command = [sys.executable, "-m", PROGRAM, "--help"]
    return "--tls-cert" in subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=True).stdout


def shown_at(port: int) -> str:
    """The certificate that is shown there; "" where none is."""
    with suppress(OSError):
        return ssl.get_server_certificate((HOST, port), timeout=5).strip()
    return ""


def test_http_becomes_https_a_renewed_certificate_is_taken_up_and_https_becomes_http(tmp_path: Path) -> None:
    if not gateway_speaks_tls():
        pytest.skip("this gateway does not speak TLS yet")

    async def story() -> None:
        async with supervised(tmp_path) as one:
            plain = one.pid
            first, second = (pair_of(write_pair(tmp_path, name)) for name in ("one", "two"))
            put_certificate(tmp_path, wish_for(first))
            one.become(certificate=first.fingerprint)
            await until(lambda: one.pid not in (0, plain))
            assert await asyncio.to_thread(shown_at, one.port) == first.certificate.strip()
            speaking = one.pid
            put_certificate(tmp_path, wish_for(second))
            one.become(certificate=second.fingerprint)
            while await asyncio.to_thread(shown_at, one.port) != second.certificate.strip():
                await asyncio.sleep(0.1)
            assert one.pid == speaking, "a renewed certificate needs no restart"
            drop_certificate(tmp_path)
            one.become(certificate="")
            await until(lambda: one.pid not in (0, speaking))
            async with aiohttp.ClientSession() as client, client.get(f"http://{HOST}:{one.port}/health") as answer:
                assert answer.status == 200

    run(story)
