"""Streams that wait: comments keep them alive, and what goes wrong after the first of these is told as an event."""

import asyncio
import io
import json
import time
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from elastic_deploy.gateway.log import Log
from elastic_deploy.gateway.refusal import seconds_left
from elastic_deploy.gateway.server import Gateway
from elastic_deploy.gateway.settings import HoldLimits, Settings
from elastic_deploy.gateway.table import RoutingTable, dump_table, load_table
from elastic_deploy.model.home import write_private

from .stand_in import CLIENT_KEY, StandIn, answer, engine, event, front, route, run, stream, write_keys, write_routes

ASK = {"model": "tiny", "messages": [{"role": "user", "content": "hello"}], "stream": True}
COMMENT = b": waiting: tiny is recovering\n\n"


def quick(directory: Path, seconds: float = 10.0) -> Settings:
    return Settings(directory, port=0, hold=HoldLimits(seconds=seconds, comment=0.1))


def test_a_held_stream_gets_its_head_and_comments_and_then_its_answer(tmp_path: Path) -> None:
    async def story() -> None:
        async with engine(stream) as e, front(quick(tmp_path), route()) as door, door.post(ASK) as response:
            assert response.status == 200
            assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
            assert response.headers["X-Request-Id"]
            for _ in range(2):
                assert await response.content.readuntil(b"\n\n") == COMMENT
            for _ in range(3):
                e.step.release()
            write_routes(tmp_path, route(e.backend))
            rest = (await response.read()).replace(COMMENT, b"")
            assert rest == event("0") + event("1") + event("2") + b"data: [DONE]\n\n"

    run(story())


def test_a_held_request_that_is_no_stream_gets_nothing_before_its_answer(tmp_path: Path) -> None:
    async def story() -> None:
        async with engine(answer) as e, front(quick(tmp_path), route()) as door:
            asking = asyncio.ensure_future(door.post(ASK | {"stream": False}).__aenter__())
            await asyncio.sleep(0.4)
            assert not asking.done()
            write_routes(tmp_path, route(e.backend))
            assert (await asking).content_type == "application/json"

    run(story())


def test_a_short_wait_that_ends_badly_has_a_status_of_its_own(tmp_path: Path) -> None:
    async def story() -> None:
        settings = Settings(tmp_path, port=0, hold=HoldLimits(seconds=0.2))
        async with front(settings, route()) as door, door.post(ASK) as response:
            assert response.status == 503

    run(story())


def test_a_wait_that_ends_badly_after_a_comment_ends_with_an_error_event(tmp_path: Path) -> None:
    async def story() -> None:
        async with front(quick(tmp_path, seconds=0.35), route()) as door:
            async with door.post(ASK) as response:
                assert response.status == 200
                *comments, last = (await response.read()).removesuffix(b"\n\n").split(b"\n\n")
                assert len(comments) in (2, 3)
                error = json.loads(last.removeprefix(b"data: "))["error"]
                assert (error["code"], "tiny is recovering" in error["message"]) == ("model_unavailable", True)
            await asyncio.sleep(0.05)
            assert (door.log[-1]["status"], door.log[-1]["outcome"]) == (200, "refused")
            assert "first_byte_seconds" in door.log[-1]

    run(story())


def test_an_engines_own_refusal_after_a_comment_is_an_error_event(tmp_path: Path) -> None:
    async def refuse(_: StandIn, __: web.Request) -> web.StreamResponse:
        return web.json_response({"error": {"message": "too long", "code": 400}}, status=400)

    async def story() -> None:
        async with engine(refuse) as e, front(quick(tmp_path), route()) as door, door.post(ASK) as response:
            await response.content.readuntil(b"\n\n")
            write_routes(tmp_path, route(e.backend))
            last = (await response.read()).removesuffix(b"\n\n").split(b"\n\n")[-1]
            assert json.loads(last.removeprefix(b"data: ")) == {"error": {"message": "too long", "code": 400}}

    run(story())


def test_a_client_that_goes_away_between_comments_leaves_the_waiting_room(tmp_path: Path) -> None:
    async def story() -> None:
        async with front(quick(tmp_path), route()) as door:
            async with door.post(ASK) as response:
                await response.content.readuntil(b"\n\n")
                response.close()
            await asyncio.sleep(0.3)
            assert (await door.metrics())['elastic_deploy_gateway_waiting{deployment="tiny"}'] == 0
            assert door.log[-1]["outcome"] == "client_gone"

    run(story())


def test_a_gateway_that_stops_tells_streams_that_wait(tmp_path: Path) -> None:
    async def story() -> bytes:
        write_keys(tmp_path)
        write_routes(tmp_path, route())
        headers = {"Authorization": f"Bearer {CLIENT_KEY}"}
        async with aiohttp.ClientSession(headers=headers) as client:
            async with Gateway(replace(quick(tmp_path), drain=0.5), Log(io.StringIO())) as gateway:
                url = f"http://127.0.0.1:{gateway.port}/v1/chat/completions"
                response = await client.post(url, json=ASK)
                assert await response.content.readuntil(b"\n\n") == COMMENT
            return await response.content.read()

    assert b"gateway_stopping" in run(story())


def test_a_refusal_tells_when_the_supervisor_expects_an_engine(tmp_path: Path) -> None:
    async def story() -> None:
        table = RoutingTable((route(),), {"tiny": time.time() + 40})
        settings = Settings(tmp_path, port=0, hold=HoldLimits(seconds=0))
        async with front(settings, route()) as door:
            write_private(tmp_path / "routes.json", dump_table(table))
            await asyncio.sleep(0.5)
            async with door.post(ASK) as response:
                assert response.status == 503
                left = int(response.headers["Retry-After"])
                assert 10 < left <= 40
                said = f"tiny is recovering, expected in about {left}s."
                assert said in (await response.json())["error"]["message"]

    run(story())


def test_a_held_stream_is_told_when_its_model_is_expected(tmp_path: Path) -> None:
    async def story() -> None:
        table = RoutingTable((route(),), {"tiny": time.time() + 40})
        async with front(quick(tmp_path), route()) as door:
            write_private(tmp_path / "routes.json", dump_table(table))
            await asyncio.sleep(0.5)
            async with door.post(ASK) as response:
                assert b"recovering, expected in about " in await response.content.readuntil(b"\n\n")

    run(story())


@pytest.mark.parametrize("guess", ["soon", None, True, -1, 0, float("nan"), float("inf"), 10**12, [1]])
def test_a_guess_that_makes_no_sense_is_passed_over(guess: object) -> None:
    entry = {"model": "m", "deployment": "d", "reason": "", "backends": [], "expected_at": guess}
    assert load_table(json.dumps({"entries": [entry]})).expected_at == {}


def test_an_expectation_comes_back_from_disk() -> None:
    table = RoutingTable((route(),), {"tiny": 1_700_000_041.5})
    assert load_table(dump_table(table)) == table


@pytest.mark.parametrize(
    ("expected_at", "left"),
    [(None, None), (100.0, None), (99.0, None), (100.2, 1), (140.0, 40), (139.1, 40), (100.0 + 90_000, None)],
)
def test_what_is_left_is_told_in_whole_seconds(expected_at: float | None, left: int | None) -> None:
    assert seconds_left(expected_at, 100.0) == left
