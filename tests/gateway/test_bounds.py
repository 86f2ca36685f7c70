"""The bounds on what a client may send and how: sizes, times, and what is no honest HTTP."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from elastic_deploy.gateway.settings import ClientLimits, Settings

from .stand_in import (
    CLIENT_KEY,
    StandIn,
    descriptors,
    engine,
    event,
    front,
    route,
    run,
    spoken,
)

ASK = {"model": "tiny", "prompt": "a secret prompt"}
BEARER = {"Authorization": f"Bearer {CLIENT_KEY}"}
HEAD = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + CLIENT_KEY.encode() + b"\r\n"


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("key", [CLIENT_KEY, "wrong"])
def test_a_body_over_the_bound_is_refused(tmp_path: Path, chunked: bool, key: str) -> None:
    async def story() -> None:
        settings = Settings(tmp_path, port=0, client=ClientLimits(body=1000))
        async with engine() as e, front(settings, route(e.backend)) as door:
            body = json.dumps(ASK | {"padding": "x" * 50_000}).encode()

            async def pieces() -> AsyncIterator[bytes]:
                for begin in range(0, len(body), 10_000):
                    yield body[begin : begin + 10_000]

            headers = {"Authorization": f"Bearer {key}"}
            data = pieces() if chunked else body
            async with door.client.post("/v1/completions", data=data, headers=headers) as response:
                assert response.status == (413 if key == CLIENT_KEY else 401)
            assert not e.seen

    run(story())


def test_a_small_body_that_unpacks_into_a_large_one_is_refused(tmp_path: Path) -> None:
    async def story() -> None:
        settings = Settings(tmp_path, port=0, client=ClientLimits(body=100_000))
        async with engine() as e, front(settings, route(e.backend)) as door:
            bomb = gzip.compress(json.dumps(ASK | {"padding": "x" * 10_000_000}).encode())
            assert len(bomb) < 100_000
            headers = BEARER | {"Content-Encoding": "gzip"}
            async with door.client.post("/v1/completions", data=bomb, headers=headers) as response:
                assert response.status == 413
            assert not e.seen

    run(story())


def test_the_unread_rest_of_a_refused_body_may_be_anything(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        async with front(Settings(tmp_path, port=0), route()) as door:
            reader, writer = await asyncio.open_connection("127.0.0.1", door.gateway.port)
            writer.write(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\n")
            writer.write(b"Content-Length: 30\r\n\r\n" + b"x" * 10)
            assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)).startswith(b"HTTP/1.1 401")
            writer.write(b"x" * 20)
            await asyncio.wait_for(reader.read(), 5)
            writer.close()
            assert "internal_error" not in door.logged.getvalue()

    run(story())
    assert not caplog.records


def test_a_body_that_comes_too_slowly_is_a_408(tmp_path: Path) -> None:
    async def story() -> None:
        settings = Settings(tmp_path, port=0, client=ClientLimits(body_time=0.3))
        async with front(settings, route()) as door:
            head = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {CLIENT_KEY}\r\n"
            status, _ = await spoken(door.gateway.port, f"{head}Content-Length: 100\r\n\r\n{{".encode())
            assert status == 408

    run(story())


def test_headers_that_never_end_end_the_connection(tmp_path: Path) -> None:
    async def story() -> None:
        async with front(Settings(tmp_path, port=0, client=ClientLimits(idle=0.3)), route()) as door:
            reader, writer = await asyncio.open_connection("127.0.0.1", door.gateway.port)
            writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\nX-Slow: ")
            assert await asyncio.wait_for(reader.read(), 5) == b""
            writer.close()
            await writer.wait_closed()

    run(story())


@pytest.mark.parametrize(
    ("attack", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (HEAD + b"X: " + b"a" * 20_000 + b"\r\n\r\n", 431),
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n", 431),
        (HEAD + b"".join(b"X-%d: a\r\n" % n for n in range(1000)) + b"\r\n", 400),
        (HEAD + b"Bad Name: x\r\n\r\n", 400),
        (HEAD + b"X: a\r\n folded\r\n\r\n", 400),
        (HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", 400),
        (HEAD + b"Content-Length: -5\r\n\r\n", 400),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (HEAD + b"Transfer-Encoding: gzip, chunked, x\r\n\r\n0\r\n\r\n", 400),
    ],
)
def test_what_is_no_honest_http_is_refused_and_quotes_nothing(tmp_path: Path, attack: bytes, status: int) -> None:
    async def story() -> None:
        async with engine() as e, front(Settings(tmp_path, port=0), route(e.backend)) as door:
            answered, body = await spoken(door.gateway.port, attack)
            assert answered == status
            assert json.loads(body)["error"]["code"]
            assert CLIENT_KEY.encode() not in body
            assert CLIENT_KEY not in door.logged.getvalue()
            assert not e.seen
            async with door.post(ASK) as response:
                assert response.status == 200

    run(story())


def test_a_client_that_waits_for_100_continue_gets_it_only_with_a_key(tmp_path: Path) -> None:
    async def story() -> None:
        async with engine() as e, front(Settings(tmp_path, port=0), route(e.backend)) as door:
            body = json.dumps(ASK).encode()
            rest = f"Content-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n".encode()
            reader, writer = await asyncio.open_connection("127.0.0.1", door.gateway.port)
            writer.write(HEAD + rest)
            assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5) == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(body)
            assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)).startswith(b"HTTP/1.1 200")
            writer.close()
            await writer.wait_closed()
            refused, _ = await spoken(door.gateway.port, HEAD.replace(CLIENT_KEY.encode(), b"wrong") + rest)
            assert refused == 401

    run(story())


def test_a_client_that_never_reads_is_cut_off(tmp_path: Path) -> None:
    async def flood(_: StandIn, request: aiohttp.web.Request) -> aiohttp.web.StreamResponse:
        response = aiohttp.web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        while True:
            await response.write(event("x" * 60_000))

    async def story() -> None:
        settings = Settings(tmp_path, port=0, client=ClientLimits(stall=0.3))
        async with engine(flood) as e, front(settings, route(e.backend)) as door:
            _, writer = await asyncio.open_connection("127.0.0.1", door.gateway.port, limit=1)
            body = json.dumps(ASK).encode()
            writer.write(HEAD + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
            await asyncio.wait_for(e.gone.wait(), 10)
            await asyncio.sleep(0.1)
            assert door.log[-1]["outcome"] == "client_stalled"
            writer.close()

    run(story())


def test_a_thousand_requests_leave_no_descriptor_behind(tmp_path: Path) -> None:
    async def story() -> None:
        async with engine() as e, front(Settings(tmp_path, port=0), route(e.backend)) as door:

            async def ask(number: int) -> int:
                key = CLIENT_KEY if number % 3 else "wrong"
                async with door.post({"model": "tiny" if number % 2 else "other"}, key=key) as response:
                    await response.read()
                    return response.status

            await asyncio.gather(*(ask(number) for number in range(100)))
            before = descriptors()
            for _ in range(10):
                assert set(await asyncio.gather(*(ask(number) for number in range(100)))) == {200, 401, 404}
            assert descriptors() <= before + 5

    run(story())
