"""What is seen from outside: tokens, the time to the first of them, and the engines' own pages."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from elastic_deploy.gateway import engine_pages
from elastic_deploy.gateway.paths import Use, replica_of, use_of
from elastic_deploy.gateway.settings import Settings
from elastic_deploy.gateway.usage import of_answer, of_usage
from elastic_deploy.model.action import Backend

from .stand_in import ENGINE_KEY, Front, StandIn, die, engine, front, hang, route, run, write_routes
from .test_continue import CHAT, TEXT
from .token_engine import Script

PREFIX = "elastic_deploy_gateway_"
PAGE = b'# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{engine="0",model_name="tiny"} 3.0\n'


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}, (3, 4)),
        ({"prompt_tokens": 3, "total_tokens": 3}, (3, 0)),
        ({"input_tokens": 3, "output_tokens": 4}, (3, 4)),
        ({"prompt_tokens": "3", "completion_tokens": 4}, None),
        ({"prompt_tokens": True, "completion_tokens": 4}, None),
        ({}, None),
        (None, None),
        ([1], None),
    ],
)
def test_a_usage_tells_the_tokens_of_prompt_and_answer(usage: Any, tokens: tuple[int, int] | None) -> None:
    assert of_usage(usage) == tokens
    for separators in ((",", ":"), (", ", ": ")):
        body = json.dumps({"choices": [{"text": '"usage":{"prompt_tokens":9}'}], "usage": usage}, separators=separators)
        assert of_answer(body.encode()) == tokens


@pytest.mark.parametrize("body", [b"", b"{}", b'"usage":', b'"usage":{', b'"usage":' + b"[" * 5000, b'"usage":\xff'])
def test_an_answer_without_a_usage_tells_none(body: bytes) -> None:
    assert of_answer(body) is None


def labels(name: str, replica: str = "r0", **more: str) -> str:
    pairs = ",".join(
        f'{key}="{value}"' for key, value in sorted({"deployment": "tiny", "replica": replica, **more}.items())
    )
    return f"{PREFIX}{name}{{{pairs}}}"


async def _asked(door: Front, path: str = "/v1/chat/completions", **more: Any) -> bytes:
    async with door.post(CHAT | more, path) as response:
        return await response.read()


async def _answered(_: StandIn, __: web.Request) -> web.StreamResponse:
    choice = {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16}
    return web.json_response({"choices": [choice], "usage": usage})


def test_whole_answers_are_counted_by_their_usage(tmp_path: Path) -> None:
    async def story() -> None:
        async with engine(_answered) as e, front(Settings(tmp_path, port=0), route(e.backend)) as door:
            for _ in range(2):
                await _asked(door, stream=False)
            numbers = await door.metrics()
            assert numbers[labels("prompt_tokens_total")] == 22
            assert numbers[labels("generated_tokens_total")] == 10
            assert numbers[labels("first_token_seconds_count", answer="whole")] == 2
            assert labels("uncounted_total") not in numbers
            assert (door.log[-1]["prompt_tokens"], door.log[-1]["generated_tokens"]) == (11, 5)

    run(story())


@pytest.mark.parametrize("usage", [None, {"include_usage": True}])
@pytest.mark.parametrize("breaks", [[], [4]])
def test_streams_are_counted_by_their_tokens_once_also_where_they_broke(
    tmp_path: Path, usage: dict[str, bool] | None, breaks: list[int]
) -> None:
    async def story() -> None:
        script = Script(TEXT, breaks=list(breaks))
        async with AsyncExitStack() as stack:
            backends = [(await stack.enter_async_context(engine(script.behave, f"r{n}"))).backend for n in range(2)]
            door = await stack.enter_async_context(front(Settings(tmp_path, port=0), route(*backends)))
            await _asked(door, stream_options=usage)
            assert len(script.asked) == 1 + len(breaks)
            numbers = await door.metrics()
            replica = "r0" if labels("prompt_tokens_total") in numbers else "r1"
            assert numbers[labels("prompt_tokens_total", replica)] == len(script.prompt)
            assert numbers[labels("generated_tokens_total", replica)] == len(script.tokens)
            assert numbers[labels("first_token_seconds_count", replica, answer="stream")] == 1

    run(story())


@pytest.mark.parametrize(("usage", "counted"), [(None, False), ({"include_usage": True}, True)])
def test_a_stream_without_token_ids_is_counted_only_by_a_usage_that_its_client_wants(
    tmp_path: Path, usage: dict[str, bool] | None, counted: bool
) -> None:
    async def story() -> None:
        script = Script(TEXT)
        async with engine(script.behave) as e, front(Settings(tmp_path, port=0), route(e.backend)) as door:
            await _asked(door, stream_options=usage, presence_penalty=0.5)
            assert "return_token_ids" not in script.asked[0]
            numbers = await door.metrics()
            assert numbers.get(labels("generated_tokens_total")) == (len(script.tokens) if counted else None)
            assert numbers.get(labels("uncounted_total")) == (None if counted else 1)
            assert numbers[labels("first_token_seconds_count", answer="stream")] == 1

    run(story())


def test_what_a_client_was_told_before_it_left_is_counted(tmp_path: Path) -> None:
    async def slow(stand_in: StandIn, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        choice = {"index": 0, "delta": {"content": "a"}, "finish_reason": None, "token_ids": [7, 8]}
        chunk = {"id": "x", "choices": [choice], "prompt_token_ids": [1, 2, 3]}
        await response.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
        return await hang(stand_in, request)

    async def story() -> None:
        async with engine(slow) as e, front(Settings(tmp_path, port=0), route(e.backend)) as door:
            async with door.post(CHAT) as response:
                await response.content.readuntil(b"\n\n")
                response.close()
            await asyncio.wait_for(e.gone.wait(), 5)
            await asyncio.sleep(0.1)
            assert (door.log[-1]["prompt_tokens"], door.log[-1]["generated_tokens"]) == (3, 2)
            assert (await door.metrics())[labels("generated_tokens_total")] == 2

    run(story())


def test_an_opening_or_an_error_is_no_first_token(tmp_path: Path) -> None:
    async def fail(_: StandIn, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        opening = {"id": "x", "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}
        for chunk in (opening, {"error": {"message": "too long", "code": 400}}):
            await response.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
            await asyncio.sleep(0.05)
        await response.write(b"data: [DONE]\n\n")
        return response

    async def story() -> None:
        async with engine(fail) as e, front(Settings(tmp_path, port=0), route(e.backend)) as door:
            assert b"too long" in await _asked(door)
            assert labels("first_token_seconds_count", answer="stream") not in await door.metrics()

    run(story())


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/metrics/tiny/r0", ("tiny", "r0")),
        ("/metrics/tiny/", None),
        ("/metrics/tiny", None),
        ("/metrics/tiny/r0/", None),
        ("/metrics/tiny/r0\n", None),
        ("/metrics//r0", None),
        ("/metrics/../r0", None),
        ("/metrics/tiny/%72%30", None),
        ("/metrics/" + "x" * 129 + "/r0", None),
    ],
)
def test_a_path_names_a_replica_to_the_letter(path: str, names: tuple[str, str] | None) -> None:
    assert (use_of(path) is Use.ENGINE_METRICS) is (names is not None)
    assert replica_of(path) == (names or ("", ""))


async def _page(door: Front, replica: str = "r0") -> tuple[int, bytes]:
    async with door.client.get(f"/metrics/tiny/{replica}") as response:
        return response.status, await response.read()


async def _metrics(_: StandIn, request: web.Request) -> web.StreamResponse:
    assert request.path == "/metrics"
    return web.Response(body=PAGE, content_type="text/plain")


def test_an_engines_page_passes_without_a_key_of_the_clients(tmp_path: Path) -> None:
    async def story() -> None:
        async with engine(_metrics) as e, front(Settings(tmp_path, port=0), route(e.backend)) as door:
            assert await _page(door) == (200, PAGE)
            ((_, headers, body),) = e.seen
            assert (headers["Authorization"], body) == (f"Bearer {ENGINE_KEY}", b"")
            status, body = await _page(door, "r1")
            assert (status, json.loads(body)["error"]["code"]) == (404, "engine_not_found")
            async with door.client.post("/metrics/tiny/r0") as response:
                assert response.status == 405
            async with door.client.head("/metrics/tiny/r0") as response:
                assert response.status == 200

    run(story())


def test_the_newest_engine_of_a_replica_is_asked(tmp_path: Path) -> None:
    async def story() -> None:
        async with AsyncExitStack() as stack:
            old, new = [await stack.enter_async_context(engine(_metrics, "r0", n)) for n in (9, 10)]
            door = await stack.enter_async_context(front(Settings(tmp_path, port=0), route(new.backend, old.backend)))
            assert (await _page(door))[0] == 200
            assert (len(new.seen), len(old.seen)) == (1, 0)
            write_routes(tmp_path, route())
            await asyncio.sleep(0.5)
            assert (await _page(door))[0] == 404

    run(story())


def test_an_engine_is_not_asked_more_often_than_once_a_second(tmp_path: Path) -> None:
    async def slow(stand_in: StandIn, request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.2)
        return await _metrics(stand_in, request)

    async def story() -> None:
        async with engine(slow) as e, front(Settings(tmp_path, port=0), route(e.backend)) as door:
            first = asyncio.ensure_future(door.client.get("/metrics/tiny/r0").__aenter__())
            await asyncio.wait_for(e.arrived.wait(), 5)
            rest = [asyncio.create_task(_page(door)) for _ in range(20)]
            first.cancel()
            assert await asyncio.gather(*rest) == [(200, PAGE)] * 20
            assert await _page(door) == (200, PAGE)
            assert len(e.seen) == 1
            await asyncio.sleep(1.2)
            await _page(door)
            assert len(e.seen) == 2

    run(story())


async def _huge(_: StandIn, __: web.Request) -> web.StreamResponse:
    return web.Response(body=b"x" * 100_000)


async def _wrong(_: StandIn, __: web.Request) -> web.StreamResponse:
    return web.Response(status=500, text="a trace")


async def _elsewhere(_: StandIn, __: web.Request) -> web.StreamResponse:
    raise web.HTTPFound("http://127.0.0.1:9/")


@pytest.mark.parametrize(
    ("behaviour", "status"), [(hang, 503), (die, 502), (_huge, 502), (_wrong, 502), (_elsewhere, 502), (None, 503)]
)
def test_an_engine_that_does_not_tell_its_page_is_an_error_in_time(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    behaviour: Callable[[StandIn, web.Request], Awaitable[web.StreamResponse]] | None,
    status: int,
) -> None:
    monkeypatch.setattr(engine_pages, "WITHIN", 0.5)
    monkeypatch.setattr(engine_pages, "LARGEST", 50_000)

    async def story() -> None:
        async with engine(behaviour or hang) as e:
            backend = e.backend if behaviour else Backend(e.name, "http://127.0.0.1:9")
            async with front(Settings(tmp_path, port=0), route(backend)) as door:
                answered, body = await _page(door)
                assert answered == status
                assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}
                assert b"trace" not in body

    run(story())
