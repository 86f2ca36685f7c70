"""How many connections may be open, and how long one may take over anything that a client can draw out."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from elastic_deploy.gateway import listen
from elastic_deploy.gateway.settings import ClientLimits, Settings

from .stand_in import CLIENT_KEY, Front, StandIn, engine, front, route, run

GET = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
HEAD = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {CLIENT_KEY}\r\n".encode()
OPEN = "elastic_deploy_gateway_connections"
REFUSED = "elastic_deploy_gateway_connections_refused_total"
WITHIN = 10.0


class Connection:
    """One connection to a door."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def answer(self) -> tuple[int, bytes, bytes]:
        """Status, headers and body of the next answer."""
        async with asyncio.timeout(WITHIN):
            head = await self.reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            return int(head[9:12]), head, await self.reader.readexactly(length)

    async def health(self) -> int:
        self.writer.write(GET)
        return (await self.answer())[0]

    async def ends(self) -> bool:
        """Whether the door ends it without another byte."""
        async with asyncio.timeout(WITHIN):
            try:
                return await self.reader.read() == b""
            except ConnectionResetError:
                return True


@asynccontextmanager
async def connection(port: int) -> AsyncIterator[Connection]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Connection(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def eventually(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(WITHIN):
        while not await holds():
            await asyncio.sleep(0.05)


def limited(directory: Path, **limits: float) -> Settings:
    return Settings(directory, port=0, client=ClientLimits(**limits))  # type: ignore[arg-type]


def test_a_connection_over_the_bound_is_told_so_and_closed_and_the_others_go_on(tmp_path: Path) -> None:
    async def story() -> None:
        async with AsyncExitStack() as stack:
            door = await stack.enter_async_context(front(limited(tmp_path, connections=2), route()))
            first = await stack.enter_async_context(connection(door.gateway.port))
            async with connection(door.gateway.port) as second, connection(door.gateway.port) as third:
                assert await first.health() == await second.health() == 200
                third.writer.write(HEAD + b"Content-Length: 2\r\n\r\n{}")
                status, head, body = await third.answer()
                assert (status, json.loads(body)["error"]["code"]) == (503, "too_many_connections")
                assert b"\r\nRetry-After: " in head
                assert await third.ends()
                assert await first.health() == await second.health() == 200
            await eventually(lambda: _is_let_in(door))
            assert [line["full"] for line in door.log if line["event"] == "connections"] == [True, False]

    run(story())


async def _is_let_in(door: Front) -> bool:
    async with connection(door.gateway.port) as late:
        return await late.health() == 200


def test_a_connection_over_the_bound_that_says_nothing_is_closed_soon(tmp_path: Path) -> None:
    async def story() -> None:
        async with (
            front(limited(tmp_path, connections=1), route()) as door,
            connection(door.gateway.port) as first,
        ):
            assert await first.health() == 200
            async with connection(door.gateway.port) as second:
                assert await second.ends()
            assert await first.health() == 200

    run(story())


def test_connections_far_over_the_bound_are_closed_without_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listen, "REFUSED_AT_ONCE", 1)

    async def story() -> None:
        async with (
            front(limited(tmp_path, connections=1), route()) as door,
            connection(door.gateway.port) as first,
        ):
            assert await first.health() == 200
            async with connection(door.gateway.port) as over, connection(door.gateway.port) as far:
                far.writer.write(GET)
                assert await far.ends()
                over.writer.write(GET)
                assert (await over.answer())[0] == 503
            first.writer.close()
            await eventually(lambda: _is_let_in(door))

            async def counted() -> bool:
                async with door.client.get("/metrics") as response:
                    page = await response.text()
                return response.status == 200 and f"{OPEN} 1.0" in page

            await eventually(counted)
            assert (await door.metrics())[REFUSED] >= 2

    run(story())


def test_open_connections_are_counted_until_they_are_gone(tmp_path: Path) -> None:
    async def story() -> None:
        async with front(Settings(tmp_path, port=0), route()) as door:
            async with AsyncExitStack() as stack:
                for _ in range(5):
                    each = await stack.enter_async_context(connection(door.gateway.port))
                    assert await each.health() == 200
                assert (await door.metrics())[OPEN] == 6

            async def gone() -> bool:
                return (await door.metrics())[OPEN] == 1

            await eventually(gone)

    run(story())


@pytest.mark.parametrize("before", [0, 2])
@pytest.mark.parametrize("piece", [b"", b"x"])
def test_headers_that_come_piece_by_piece_are_not_waited_for(tmp_path: Path, before: int, piece: bytes) -> None:
    async def story() -> None:
        async with (
            front(limited(tmp_path, headers=0.4, idle=60.0), route()) as door,
            connection(door.gateway.port) as slow,
        ):
            for _ in range(before):
                assert await slow.health() == 200
            slow.writer.write(b"GET /health HTTP/1.1\r\nX-Slow: ")
            ended = asyncio.ensure_future(slow.ends())
            while not ended.done():
                slow.writer.write(piece)
                await asyncio.sleep(0.05)
            assert await ended

    run(story())


def test_a_new_connection_that_says_nothing_is_ended(tmp_path: Path) -> None:
    async def story() -> None:
        async with (
            front(limited(tmp_path, headers=0.3, idle=60.0), route()) as door,
            connection(door.gateway.port) as silent,
        ):
            assert await silent.ends()

    run(story())


def test_the_pause_between_two_requests_has_a_limit_of_its_own(tmp_path: Path) -> None:
    async def story() -> None:
        async with (
            front(limited(tmp_path, headers=0.2, idle=1.5), route()) as door,
            connection(door.gateway.port) as kept,
        ):
            assert await kept.health() == 200
            await asyncio.sleep(0.6)
            assert await kept.health() == 200
            assert await kept.ends()

    run(story())


def test_the_limit_for_headers_does_not_cut_a_body_or_an_answer(tmp_path: Path) -> None:
    async def think(_: StandIn, __: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.5)
        return web.json_response({})

    async def story() -> None:
        async with (
            engine(think) as e,
            front(limited(tmp_path, headers=0.2), route(e.backend)) as door,
            connection(door.gateway.port) as slow,
        ):
            body = b'{"model": "tiny"}'
            slow.writer.write(HEAD + f"Content-Length: {len(body)}\r\n\r\n".encode())
            for byte in body:
                slow.writer.write(bytes([byte]))
                await asyncio.sleep(0.03)
            assert (await slow.answer())[0] == 200
            assert await slow.health() == 200

    run(story())


def _narrow(port: int) -> socket.socket:
    """A connection whose receiver has next to no room."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    made.connect(("127.0.0.1", port))
    return made


def test_whole_answers_that_nobody_reads_end_the_connection(tmp_path: Path) -> None:
    async def large(_: StandIn, __: web.Request) -> web.StreamResponse:
        return web.Response(body=b"7" * 1_000_000, content_type="application/json")

    async def story() -> None:
        async with engine(large) as e, front(limited(tmp_path, stall=0.3), route(e.backend)) as door:
            with _narrow(door.gateway.port) as deaf:
                body = b'{"model": "tiny"}'
                # Several in a row, so that no kernel's buffers hold all of the answers.
                deaf.sendall((HEAD + f"Content-Length: {len(body)}\r\n\r\n".encode() + body) * 12)

                async def gone() -> bool:
                    return len(e.seen) > 0 and (await door.metrics())[OPEN] == 1

                await eventually(gone)
            assert len(e.seen) < 12

    run(story())


class _Unread(asyncio.Transport):
    """A transport whose peer takes nothing: closing it waits for ever."""

    def __init__(self) -> None:
        super().__init__()
        self.aborted = asyncio.Event()
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        pass

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted.set()


def test_a_closed_connection_does_not_wait_for_ever_for_its_last_bytes_to_be_taken(tmp_path: Path) -> None:
    async def story() -> None:
        async with front(limited(tmp_path, stall=0.2), route()) as door:
            ended = asyncio.Event()
            protocol = door.gateway._server.protocol(False, lambda _: ended.set())
            unread = _Unread()
            protocol.connection_made(unread)
            await asyncio.sleep(0)
            protocol.data_received(b"GET /health HTTP/1.1\r\nConnection: close\r\n\r\n")
            async with asyncio.timeout(WITHIN):
                await unread.aborted.wait()
            assert unread.closed
            protocol.connection_lost(None)
            assert ended.is_set()

    run(story())
