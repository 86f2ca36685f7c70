"""Who gets through the door: keys, paths, bounds, attacks; and what the gateway answers by itself."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from elastic_deploy.gateway.settings import ClientLimits, HoldLimits, Settings

from .stand_in import (
    CLIENT_KEY,
    StandIn,
    descriptors,
    engine,
    event,
    front,
    route,
    run,
    write_keys,
    write_routes,
)

ASK = {"model": "tiny", "prompt": "a secret prompt"}
BEARER = {"Authorization": f"Bearer {CLIENT_KEY}"}


async def error_of(response: aiohttp.ClientResponse) -> tuple[int, str]:
    """The status and code of an answer, which must be in OpenAI's error form."""
    error = (await response.json())["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return response.status, error["code"]


@pytest.mark.parametrize("key", ["", "wrong", CLIENT_KEY[:-1], CLIENT_KEY + "x"])
@pytest.mark.parametrize("path", ["/v1/completions", "/tokenize"])
def test_without_the_right_key_nothing_reaches_an_engine(tmp_path: Path, key: str, path: str) -> None:
    async def story() -> None:
        async with engine() as e, front(Settings(tmp_path, port=0), route(e.backend)) as door:
            async with door.post(ASK, path, key) as response:
                assert await error_of(response) == (401, "invalid_api_key")
            assert not e.seen

    run(story())


def test_a_key_is_asked_for_before_anything_is_said_about_models(tmp_path: Path) -> None:
    async def story() -> None:
        async with front(Settings(tmp_path, port=0), route()) as door:
            async with door.post({"model": "unknown"}, key="wrong") as response:
                assert response.status == 401
            async with door.client.get("/v1/models") as response:
                assert response.status == 401

    run(story())


def test_a_key_of_one_deployment_does_not_open_another(tmp_path: Path) -> None:
    async def story() -> None:
        write_keys(tmp_path, "tiny")
        write_keys(tmp_path, "big", "sk-big")
        async with engine() as e, engine(deployment="big") as b:
            table = (route(e.backend), route(b.backend, model="big", deployment="big"))
            async with front(Settings(tmp_path, port=0), *table) as door:
                async with door.post({"model": "big"}) as response:
                    assert response.status == 401
                async with door.post({"model": "big"}, key="sk-big") as response:
                    assert (await response.json())["from"] == str(b.name)
                assert (len(e.seen), len(b.seen)) == (0, 1)

    run(story())


def test_keys_are_rotated_without_a_restart(tmp_path: Path) -> None:
    async def story() -> None:
        async with engine() as e, front(Settings(tmp_path, port=0), route(e.backend)) as door:
            write_keys(tmp_path, clients="new\nnewer")
            await asyncio.sleep(0.5)
            for key, status in (("new", 200), ("newer", 200), (CLIENT_KEY, 401)):
                async with door.post(ASK, key=key) as response:
                    assert response.status == status
            (tmp_path / "keys" / "tiny").unlink()
            await asyncio.sleep(0.5)
            async with door.post(ASK, key="new") as response:
                assert response.status == 401

    run(story())


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/pause", 404),
        ("POST", "/invocations", 404),
        ("POST", "/v1/load_lora_adapter", 404),
        ("POST", "/v1/completions/../../pause", 404),
        ("POST", "/v1/%2e%2e/pause", 404),
        ("POST", "//pause", 404),
        ("GET", "/v1/completions", 405),
        ("DELETE", "/v1/models", 405),
        ("POST", "/metrics", 405),
    ],
)
def test_only_clients_paths_pass(tmp_path: Path, method: str, path: str, status: int) -> None:
    async def story() -> None:
        async with engine() as e, front(Settings(tmp_path, port=0), route(e.backend)) as door:
            request = f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {CLIENT_KEY}\r\n\r\n"
            answered, body = await spoken(door.gateway.port, request.encode())
            assert answered == status
            assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}
            assert not e.seen

    run(story())


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b"{}", b'{"model": 1}', b"[" * 100_000])
def test_a_malformed_body_is_a_400(tmp_path: Path, body: bytes) -> None:
    async def story() -> None:
        async with engine() as e, front(Settings(tmp_path, port=0), route(e.backend)) as door:
            async with door.client.post("/v1/completions", data=body, headers=BEARER) as response:
                assert await error_of(response) == (400, "invalid_request")
            assert not e.seen

    run(story())


def test_an_unknown_model_is_a_404(tmp_path: Path) -> None:
    async def story() -> None:
        async with front(Settings(tmp_path, port=0), route()) as door:
            async with door.post({"model": "other"}) as response:
                assert await error_of(response) == (404, "model_not_found")
            async with door.client.get("/v1/models/other", headers=BEARER) as response:
                assert await error_of(response) == (404, "model_not_found")

    run(story())


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


HEAD = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + CLIENT_KEY.encode() + b"\r\n"


@pytest.mark.parametrize(
    ("attack", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (HEAD + b"X: " + b"a" * 20_000 + b"\r\n\r\n", 431),
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n", 431),
        (HEAD + b"".join(b"X-%d: a\r\n" % n for n in range(1000)) + b"\r\n", 431),
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


def test_all_models_are_listed_by_the_gateway_itself(tmp_path: Path) -> None:
    async def story() -> None:
        table = (route(model="org/big", deployment="big"), route())
        async with front(Settings(tmp_path, port=0), *table) as door:
            async with door.client.get("/v1/models", headers=BEARER) as response:
                assert [card["id"] for card in (await response.json())["data"]] == ["org/big", "tiny"]
            async with door.client.get("/v1/models/org/big", headers=BEARER) as response:
                assert (await response.json())["owned_by"] == "big"

    run(story())


def test_health_is_the_gateways_and_ready_is_the_engines(tmp_path: Path) -> None:
    async def story() -> None:
        async with engine() as e, front(Settings(tmp_path, port=0), route()) as door:
            async with door.client.get("/health") as response:
                assert response.status == 200
            async with door.client.get("/ready") as response:
                assert (response.status, (await response.json())["reason"]) == (503, "tiny is recovering")
            write_routes(tmp_path, route(e.backend))
            await asyncio.sleep(0.5)
            async with door.client.head("/ready") as response:
                assert response.status == 200
            assert not e.seen

    run(story())


def test_before_the_first_table_a_client_is_asked_to_come_again(tmp_path: Path) -> None:
    async def story() -> None:
        async with engine() as e, front(Settings(tmp_path, port=0)) as door:
            async with door.post(ASK) as response:
                assert await error_of(response) == (503, "model_unavailable")
            async with door.client.get("/ready") as response:
                assert response.status == 503
            write_routes(tmp_path, route(e.backend))
            await asyncio.sleep(0.5)
            async with door.post(ASK) as response:
                assert response.status == 200

    run(story())


def test_the_last_good_table_is_kept_when_the_next_is_broken_or_gone(tmp_path: Path) -> None:
    async def story() -> None:
        async with engine() as e, front(Settings(tmp_path, port=0), route(e.backend)) as door:
            (tmp_path / "routes.json").write_text('{"entries": [')
            await asyncio.sleep(0.5)
            assert [line["event"] for line in door.log].count("table_refused") == 1
            (tmp_path / "routes.json").unlink()
            await asyncio.sleep(0.5)
            async with door.post(ASK) as response:
                assert response.status == 200
            write_routes(tmp_path)
            await asyncio.sleep(0.5)
            async with door.post(ASK) as response:
                assert response.status == 401

    run(story())


def test_the_log_has_neither_prompts_nor_keys(tmp_path: Path) -> None:
    async def story() -> None:
        async with engine() as e, front(Settings(tmp_path, port=0), route(e.backend)) as door:
            for key in (CLIENT_KEY, "sk-wrong"):
                async with door.post(ASK, "/v1/completions?key=sk-query", key) as response:
                    await response.read()
            text = door.logged.getvalue()
            assert not [word for word in ("secret", "sk-") if word in text]
            assert [line["status"] for line in door.log if line["event"] == "request"] == [200, 401]

    run(story())


def test_metrics_tell_requests_by_deployment_replica_and_status(tmp_path: Path) -> None:
    async def story() -> None:
        async with engine() as e, front(Settings(tmp_path, port=0, hold=HoldLimits(0)), route(e.backend)) as door:
            for model in ("tiny", "tiny", "unknown"):
                async with door.post({"model": model}) as response:
                    await response.read()
            numbers = await door.metrics()
            name = "elastic_deploy_gateway_requests_total"
            assert numbers[name + '{deployment="tiny",replica="r0",status="200"}'] == 2
            assert numbers[name + '{deployment="",replica="",status="404"}'] == 1
            counted = 'elastic_deploy_gateway_first_byte_seconds_count{deployment="tiny",replica="r0"}'
            assert numbers[counted] == 2
            assert "unknown" not in str(numbers)

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
