"""The doors that scripts/bench-gateway measures: ours, and other routers, each a process in front of one engine.

The others' settings are those with which they do least beside passing requests on: round robin, no breaker, no limits,
hardly a health check, and a log of errors only.
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

from elastic_deploy.gateway.table import RoutingTable, dump_table
from elastic_deploy.model.action import Backend, RouteEntry
from elastic_deploy.model.home import write_private
from elastic_deploy.model.names import EngineName
from scripts.doors.fast_engine import MODEL
from scripts.doors.load import KEY, measure

ROOT = Path(__file__).resolve().parents[2]
HOST = "127.0.0.1"
START_LIMIT = 60.0
OURS = "ours"
Router = Literal["smg", "vllm-router"]
ROUTERS: tuple[Router, ...] = ("smg", "vllm-router")
HELD = "held"
"""A model that has no engine: a request for it waits in our door."""


@dataclass(frozen=True)
class Door:
    """One that runs."""

    name: str
    port: int
    process: psutil.Process

    def cpu_seconds(self) -> float:
        """CPU time that it has used, all its threads together."""
        used = self.process.cpu_times()
        return float(used.user + used.system)


def free_port() -> int:
    """One that nobody has now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def command(router: Router, binaries: Path, engine: str, port: int) -> list[str]:
    """The command line of another router on `port`."""
    where = ("--host", HOST, "--port", str(port), "--worker-urls", engine, "--policy", "round_robin")
    numbers = ("--prometheus-host", HOST, "--prometheus-port", str(free_port()), "--disable-circuit-breaker")
    if router == "smg":
        less = ("--disable-health-check", "--disable-load-monitoring", "--disable-tokenizer-autoload")
        return [str(binaries / "smg"), "launch", *where, *numbers, *less, "--backend", "vllm", "--log-level", "error"]
    return [str(binaries / "vllm-router"), *where, *numbers, "--log-level", "error"]


@contextlib.contextmanager
def ours(directory: Path, engine: str) -> Iterator[Door]:
    """Our own gateway."""
    backend = Backend(EngineName("bench", "r0", 1), engine)
    entries = (RouteEntry(MODEL, "bench", (backend,), ""), RouteEntry(HELD, "bench", (), "it is a bench"))
    write_private(directory / "routes.json", dump_table(RoutingTable(entries)))
    write_private(directory / "keys" / "bench", KEY)
    port = free_port()
    arguments = ["--dir", str(directory), "--port", str(port), "--hold-requests", "2000"]
    with _running([sys.executable, "-m", "elastic_deploy.gateway", *arguments], directory / "log") as process:
        yield Door(OURS, port, process)


@contextlib.contextmanager
def other(router: Router, binaries: Path, directory: Path, engine: str) -> Iterator[Door]:
    """Another router."""
    port = free_port()
    with _running(command(router, binaries, engine, port), directory / f"log-of-{router}") as process:
        yield Door(router, port, process)


@contextlib.contextmanager
def engine_process() -> Iterator[int]:
    """The fast engine; its port."""
    arguments = [sys.executable, "-m", "scripts.doors.fast_engine"]
    with subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline())
        finally:
            process.kill()


@contextlib.contextmanager
def _running(arguments: list[str], log: Path) -> Iterator[psutil.Process]:
    with log.open("w") as output, subprocess.Popen(arguments, cwd=ROOT, stdout=output, stderr=output) as started:
        try:
            yield psutil.Process(started.pid)
        finally:
            started.send_signal(signal.SIGTERM)
            try:
                started.wait(10)
            except subprocess.TimeoutExpired:
                started.kill()


async def serves(door: Door) -> None:
    """Wait until a door answers. Raises TimeoutError with the last failure."""
    failure: Exception | None = None
    try:
        async with asyncio.timeout(START_LIMIT):
            while True:
                try:
                    await measure(door.port, 1, 1)
                    return
                except (OSError, RuntimeError) as error:
                    failure = error
                    await asyncio.sleep(0.3)
    except TimeoutError:
        raise TimeoutError(f"{door.name} does not answer: {failure}") from failure


async def held_memory(door: Door, count: int) -> tuple[float, float]:
    """KB of our door's memory that one idle connection takes, and what a held stream on it adds."""
    body = json.dumps({"model": HELD, "stream": True})
    request = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
    request += f"Content-Length: {len(body)}\r\n\r\n{body}"
    before = door.process.memory_info().rss
    writers = [(await asyncio.open_connection(HOST, door.port))[1] for _ in range(count)]
    await asyncio.sleep(1)
    idle = door.process.memory_info().rss
    for writer in writers:
        writer.write(request.encode())
    await asyncio.sleep(2)
    held = door.process.memory_info().rss
    for writer in writers:
        writer.close()
    await asyncio.gather(*(writer.wait_closed() for writer in writers), return_exceptions=True)
    return (idle - before) / count / 1000, (held - idle) / count / 1000


def busy() -> float:
    """How many processes wanted a core in the last minute, for each core."""
    return os.getloadavg()[0] / (os.cpu_count() or 1)
