"""A real server on a real socket, with somebody small in the supervisor's place, and ways to talk to it."""

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from elastic_deploy.model.errors import NeverFitsError
from elastic_deploy.model.front_door import FrontDoorWish
from elastic_deploy.model.names import EngineName
from elastic_deploy.model.spec import DeploymentSpec
from elastic_deploy.runtime.server import Server
from elastic_deploy.runtime.socket_path import NAME, open_socket_path

LIMIT = 30.0


class Talker:
    """Answers as the supervisor would, from what the test gives it. `listeners` counts those who follow events."""

    def __init__(self) -> None:
        self.news: list[dict[str, Any]] = []
        self.listeners = 0
        self.applied: list[tuple[DeploymentSpec, FrontDoorWish]] = []

    def hello(self, cluster: str, provider: str) -> dict[str, Any]:
        return {"session": "s1", "cluster": cluster, "provider": provider}

    def compare(self, wish: DeploymentSpec, door: FrontDoorWish) -> dict[str, Any]:
        return {"difference": [wish.name, str(door.port)]}

    async def apply(self, wish: DeploymentSpec, door: FrontDoorWish) -> dict[str, Any]:
        self.applied.append((wish, door))
        return {"changed": True}

    async def keys(self, request: dict[str, Any]) -> dict[str, Any]:
        return request

    async def stop(self, name: str | None) -> dict[str, Any]:
        raise NeverFitsError(f"{name} cannot be stopped.")

    def status(self) -> dict[str, Any]:
        raise ZeroDivisionError("a bug")

    def engines(self, deployment: str | None, replica: str | None) -> list[tuple[EngineName, str]]:
        del deployment, replica
        return []

    async def events(self, after: str | None, *, follow: bool) -> AsyncIterator[dict[str, Any]]:
        self.listeners += 1
        told = int(after or 0)
        try:
            while True:
                while told < len(self.news):
                    told += 1
                    yield self.news[told - 1]
                if not follow:
                    return
                await asyncio.sleep(0.01)
        finally:
            self.listeners -= 1


def run(story: Coroutine[Any, Any, None]) -> None:
    """A test's story, within a limit."""

    async def limited() -> None:
        async with asyncio.timeout(LIMIT):
            await story

    asyncio.run(limited())


@asynccontextmanager
async def serving(directory: Path, talker: Talker | None = None) -> AsyncIterator[Talker]:
    """A server in `directory`; at the end no task of it may be left."""
    talker = talker or Talker()
    before = asyncio.all_tasks()
    listening = asyncio.create_task(Server(talker, directory).serve())
    while not (directory / NAME).exists():
        await asyncio.sleep(0.01)
    try:
        yield talker
        while talker.listeners or len(asyncio.all_tasks() - before) > 1:
            await asyncio.sleep(0.01)
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


@asynccontextmanager
async def connected(directory: Path) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to the server."""
    with open_socket_path(directory) as path:
        reader, writer = await asyncio.open_unix_connection(path)
    try:
        yield reader, writer
    finally:
        writer.close()


async def say(directory: Path, request: bytes) -> list[dict[str, Any]]:
    """Everything that is answered to these bytes."""
    async with connected(directory) as (reader, writer):
        writer.write(request)
        return [json.loads(line) async for line in reader]


async def ask(directory: Path, verb: str, **payload: Any) -> list[dict[str, Any]]:
    """Everything that is answered to a request."""
    return await say(directory, json.dumps({"verb": verb, "payload": payload}).encode() + b"\n")
