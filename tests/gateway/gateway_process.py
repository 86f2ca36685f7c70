"""A gateway in a process of its own, as a test sees it from outside: its port, its log, what the kernel counts for it.

Its log goes to a file: a pipe that nobody reads would stop it after some hundred requests.
"""

import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

LIMIT = 30.0


def answers_of(log: str) -> list[dict[str, Any]]:
    """The lines of a gateway's log. Raises ValueError where one is none: a warning or a traceback."""
    return [json.loads(line) for line in log.splitlines()]


@dataclass
class Process:
    """One running gateway, started with Python's warnings as errors."""

    directory: Path
    started: "subprocess.Popen[bytes]"
    port: int = 0

    @property
    def log(self) -> list[dict[str, Any]]:
        return answers_of((self.directory / "stderr").read_text())

    @property
    def memory(self) -> int:
        """Bytes that it holds."""
        return int(psutil.Process(self.started.pid).memory_info().rss)

    @property
    def descriptors(self) -> int:
        """Its open files and sockets."""
        return int(psutil.Process(self.started.pid).num_fds())

    def listens(self) -> None:
        """Wait until it says where it listens."""
        announcement = self.directory / "gateway.json"
        deadline = time.monotonic() + LIMIT
        while self.port == 0:
            assert self.started.poll() is None, (self.directory / "stderr").read_text()[-2000:]
            assert time.monotonic() < deadline, "the gateway does not listen"
            with contextlib.suppress(FileNotFoundError):
                said = json.loads(announcement.read_text())
                if said["pid"] == self.started.pid:
                    self.port = said["port"]
                    return
            time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL, and its end awaited."""
        self.started.kill()
        self.started.wait(LIMIT)


@contextlib.contextmanager
def gateway_process(directory: Path, *flags: str) -> Iterator[Process]:
    """A gateway that listens, and is ended whatever happens. `--port 0` unless `flags` name a port."""
    port = () if "--port" in flags else ("--port", "0")
    command = [sys.executable, "-W", "error", "-m", "elastic_deploy.gateway", "--dir", str(directory), *port, *flags]
    with (directory / "stderr").open("ab") as log, subprocess.Popen(command, stderr=log) as started:
        process = Process(directory, started)
        try:
            process.listens()
            yield process
        finally:
            process.kill()


async def eventually(holds: Callable[[], bool], seconds: float = LIMIT) -> bool:
    """Whether something comes to hold within `seconds`."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.05)
    return True
