"""A small real server in an engine's place, and a real gateway in front of it, both in a test's own event loop."""

import asyncio
import contextlib
import io
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
from aiohttp import web

from elastic_deploy.gateway.log import Log
from elastic_deploy.gateway.server import Gateway
from elastic_deploy.gateway.settings import Settings
from elastic_deploy.gateway.sse import data_event
from elastic_deploy.gateway.table import RoutingTable, dump_table
from elastic_deploy.model.action import Backend, RouteEntry
from elastic_deploy.model.home import write_private
from elastic_deploy.model.names import EngineName

T = TypeVar("T")
CLIENT_KEY = "sk-client"
ENGINE_KEY = "sk-engine"
LIMIT = 30.0

Behaviour = Callable[["StandIn", web.Request], Awaitable[web.StreamResponse]]


def run(scenario: Coroutine[Any, Any, T]) -> T:
    """Run a test's story to its end, within a limit."""

    async def limited() -> T:
        async with asyncio.timeout(LIMIT):
            return await scenario

    return asyncio.run(limited())


def event(text: str) -> bytes:
    """One piece of a streamed chat completion."""
    return data_event({"choices": [{"index": 0, "delta": {"content": text}}]})


async def answer(engine: "StandIn", request: web.Request) -> web.StreamResponse:
    """A whole answer, at once."""
    return web.json_response({"from": str(engine.name), "asked": json.loads(await request.text())})


async def stream(engine: "StandIn", request: web.Request) -> web.StreamResponse:
    """Events, each sent when `engine.step` lets it go."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
    await response.prepare(request)
    for number in range(engine.events):
        await engine.step.acquire()
        await response.write(event(str(number)))
    await response.write(b"data: [DONE]\n\n")
    return response


async def die(_: "StandIn", request: web.Request) -> web.StreamResponse:
    """End the connection without a byte."""
    assert request.transport is not None
    request.transport.abort()
    raise ConnectionResetError


async def die_in_stream(_: "StandIn", request: web.Request) -> web.StreamResponse:
    """Send one event and half of another, then end the connection."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    await response.write(event("0"))
    await response.write(event("1")[:20])
    await asyncio.sleep(0.05)
    return await die(_, request)


async def die_after_headers(_: "StandIn", request: web.Request) -> web.StreamResponse:
    """Send the headers of a stream, then end the connection."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    await asyncio.sleep(0.05)
    return await die(_, request)


async def say_dead(_: "StandIn", __: web.Request) -> web.StreamResponse:
    """Answer as vLLM's server does when the engine behind it has died."""
    message = "EngineCore encountered an issue. See stack trace (above) for the root cause."
    return web.json_response({"error": {"message": message, "type": "InternalServerError", "code": 500}}, status=500)


async def say_dead_in_stream(_: "StandIn", request: web.Request) -> web.StreamResponse:
    """Tell in the middle of a stream, as vLLM's server does, that the engine has died, and end the stream well."""
    error = {"message": "EngineCore encountered an issue. See above.", "type": "InternalServerError", "code": 500}
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    await response.write(event("0") + b"data: " + json.dumps({"error": error}).encode() + b"\n\ndata: [DONE]\n\n")
    return response


async def hang(_: "StandIn", __: web.Request) -> web.StreamResponse:
    """Never answer."""
    await asyncio.sleep(3600)
    raise AssertionError


@dataclass
class StandIn:
    """One engine. `seen` holds what reached it; `gone` is set when a client left before its answer."""

    name: EngineName
    behaviour: Behaviour = answer
    events: int = 3
    address: str = ""
    seen: list[tuple[str, Mapping[str, str], bytes]] = field(default_factory=list)
    step: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    version: str = ""
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def backend(self) -> Backend:
        return Backend(self.name, self.address, self.version)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.seen.append((request.path, request.headers, await request.read()))
        self.arrived.set()
        try:
            return await self.behaviour(self, request)
        except asyncio.CancelledError:
            self.gone.set()
            raise


@contextlib.asynccontextmanager
async def engine(
    behaviour: Behaviour = answer,
    replica: str = "r0",
    generation: int = 1,
    deployment: str = "tiny",
    version: str = "",
) -> AsyncIterator[StandIn]:
    """A stand-in engine that listens."""
    made = StandIn(EngineName(deployment, replica, generation), behaviour, version=version)
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_route("*", "/{path:.*}", made.handle)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.address = f"http://127.0.0.1:{site.port}"
    try:
        yield made
    finally:
        await runner.cleanup()


def route(*backends: Backend, model: str = "tiny", deployment: str = "tiny") -> RouteEntry:
    return RouteEntry(model, deployment, backends, f"{deployment} is recovering")


def write_routes(directory: Path, *entries: RouteEntry) -> None:
    write_private(directory / "routes.json", dump_table(RoutingTable(entries)))


def write_keys(directory: Path, deployment: str = "tiny", clients: str = CLIENT_KEY) -> None:
    write_private(directory / "keys" / deployment, clients + "\n")
    write_private(directory / "keys" / f"{deployment}.engine", ENGINE_KEY + "\n")


@dataclass
class Front:
    """A running gateway, a client of it, and what it logged."""

    gateway: Gateway
    client: aiohttp.ClientSession
    logged: io.StringIO

    @property
    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.logged.getvalue().splitlines()]

    def post(
        self, document: object, path: str = "/v1/chat/completions", key: str = CLIENT_KEY
    ) -> "aiohttp.client._RequestContextManager":
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return self.client.post(path, json=document, headers=headers)

    async def metrics(self) -> dict[str, float]:
        async with self.client.get("/metrics") as response:
            lines = (await response.text()).splitlines()
        return {name: float(value) for name, _, value in (x.rpartition(" ") for x in lines if x[0] != "#")}


@contextlib.asynccontextmanager
async def front(settings: Settings, *entries: RouteEntry) -> AsyncIterator[Front]:
    """A gateway that listens on a free port and follows its files; without entries it has no table yet."""
    if not (settings.directory / "keys").exists():
        for deployment in {"tiny", *(entry.deployment for entry in entries)}:
            write_keys(settings.directory, deployment)
    if entries:
        write_routes(settings.directory, *entries)
    logged = io.StringIO()
    async with Gateway(settings, Log(logged)) as gateway:
        watch = asyncio.create_task(gateway.watch())
        url = f"http://127.0.0.1:{gateway.port}"
        async with aiohttp.ClientSession(url, timeout=aiohttp.ClientTimeout(total=LIMIT)) as client:
            yield Front(gateway, client, logged)
        watch.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watch


def descriptors() -> int:
    """Open file descriptors of this process."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - the entries vanish while a Path would look at them


async def spoken(port: int, request: bytes) -> tuple[int, bytes]:
    """The status and body that come back for raw bytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    try:
        async with asyncio.timeout(10):
            status = int((await reader.readuntil(b" "), await reader.readuntil(b" "))[1])
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            return status, await reader.readexactly(length)
    finally:
        writer.close()
        await writer.wait_closed()
