"""A stand-in engine in a process of its own, so that a test can kill it: `python -m tests.gateway.slow_engine`.

It tells one answer token by token to as many clients as come, each to its middle, and the rest when it is told to go
on: so a test can do what it likes in the middle of a thousand streams, however slow the machine is. See `token_engine`
for what it speaks. Prints its address and serves until it is ended.
"""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from elastic_deploy.model.action import Backend
from elastic_deploy.model.names import EngineName

from .stand_in import StandIn
from .token_engine import Script

ANSWER = "The fox says héllo 🎉 to all of you."
MIDDLE = 8
"""Chunks after which it waits."""


class SlowScript(Script):
    """A script that waits in the middle."""

    go_on: asyncio.Event

    async def _chunks(
        self, path: str, asked: dict[str, Any], engine: str, limit: int | None
    ) -> AsyncIterator[dict[str, Any]]:
        told = 0
        async for chunk in super()._chunks(path, asked, engine, limit):
            if told == MIDDLE:
                await self.go_on.wait()
            told += 1
            yield chunk
            await asyncio.sleep(0.01)


@dataclass(frozen=True)
class SlowEngine:
    """One that runs."""

    backend: Backend
    process: "subprocess.Popen[str]"

    def go_on(self) -> None:
        """Let all streams end, and those that come later."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        """SIGKILL: the kernel closes all its connections at once."""
        self.process.kill()
        self.process.wait(30)


@contextlib.contextmanager
def slow_engine(replica: str) -> Iterator[SlowEngine]:
    """An engine that is ended, whatever happens."""
    command = [sys.executable, "-m", "tests.gateway.slow_engine", replica]
    root = Path(__file__).parents[2]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=root, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            yield SlowEngine(Backend(EngineName("tiny", replica, 1), address), process)
        finally:
            process.kill()


async def _serve(replica: str) -> None:
    script = SlowScript(ANSWER)
    script.go_on = asyncio.Event()

    def told_to_go_on() -> None:
        sys.stdin.readline()
        script.go_on.set()

    asyncio.get_running_loop().add_reader(sys.stdin, told_to_go_on)
    made = StandIn(EngineName("tiny", replica, 1), script.behave)
    app = web.Application()
    app.router.add_post("/{path:.*}", made.handle)
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=2048)
    await site.start()
    print(f"http://127.0.0.1:{site.port}", flush=True)
    await asyncio.sleep(3600)


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1]))
