"""Requests through a real gateway to real servers in engines' places: answers, streams, holds and deaths."""

import asyncio
import io
import json
import time
from pathlib import Path

import aiohttp
import pytest

from elastic_deploy.gateway.settings import EngineLimits, HoldLimits, Settings
from elastic_deploy.model.action import Backend

from .stand_in import (
    CLIENT_KEY,
    ENGINE_KEY,
    Behaviour,
    StandIn,
    answer,
    die,
    die_after_headers,
    die_in_stream,
    engine,
    event,
    front,
    hang,
    route,
    run,
    say_dead,
    say_dead_in_stream,
    stream,
    write_routes,
)

ASK = {"model": "tiny", "messages": [{"role": "user", "content": "a secret prompt"}]}
NO_HOLD = HoldLimits(seconds=0)


def gone(backend: Backend) -> Backend:
    """The same engine at an address where nobody listens."""
    return Backend(backend.engine, "http://127.0.0.1:9")


def test_an_answer_passes_with_the_engines_key_in_place_of_the_clients(tmp_path: Path) -> None:
    async def story() -> None:
        async with engine() as e, front(Settings(tmp_path, port=0), route(e.backend)) as door:
            async with door.post(ASK) as response:
                assert response.status == 200
                assert (await response.json())["asked"] == ASK
                request_id = response.headers["X-Request-Id"]
            ((path, headers, body),) = e.seen
            assert (path, json.loads(body)) == ("/v1/chat/completions", ASK)
            assert headers["Authorization"] == f"Bearer {ENGINE_KEY}"
            assert headers["X-Request-Id"] == request_id
            assert CLIENT_KEY not in str(headers)

    run(story())


def test_a_request_of_several_megabytes_passes_unchanged(tmp_path: Path) -> None:
    async def story() -> None:
        async with engine() as e, front(Settings(tmp_path, port=0), route(e.backend)) as door:
            large = ASK | {"padding": "x" * 5_000_000}
            body = io.BytesIO(json.dumps(large).encode())
            headers = {"Authorization": f"Bearer {CLIENT_KEY}"}
            async with door.client.post("/v1/completions", data=body, headers=headers) as response:
                assert (await response.json())["asked"] == large

    run(story())


def test_a_stream_passes_event_by_event_as_it_comes(tmp_path: Path) -> None:
    async def story() -> None:
        async with engine(stream) as e, front(Settings(tmp_path, port=0), route(e.backend)) as door:
            e.step.release()
            async with door.post(ASK | {"stream": True}) as response:
                assert response.headers["Content-Type"].startswith("text/event-stream")
                for number in range(3):
                    assert await response.content.readuntil(b"\n\n") == event(str(number))
                    e.step.release()
                assert await response.content.read() == b"data: [DONE]\n\n"

    run(story())


def test_an_engines_own_error_passes_unchanged(tmp_path: Path) -> None:
    async def refuse(_: object, __: aiohttp.web.Request) -> aiohttp.web.StreamResponse:
        return aiohttp.web.json_response({"error": {"message": "too long", "code": 400}}, status=400)

    async def story() -> None:
        async with engine(refuse) as e, front(Settings(tmp_path, port=0), route(e.backend)) as door:
            async with door.post(ASK) as response:
                assert (response.status, (await response.json())["error"]["message"]) == (400, "too long")
            assert len(e.seen) == 1

    run(story())


def test_a_client_that_goes_away_stops_the_engine(tmp_path: Path) -> None:
    async def story() -> None:
        async with engine(stream) as e, front(Settings(tmp_path, port=0), route(e.backend)) as door:
            e.step.release()
            async with door.post(ASK | {"stream": True}) as response:
                await response.content.readuntil(b"\n\n")
                response.close()
                await asyncio.wait_for(e.gone.wait(), 5)
            await asyncio.sleep(0.05)
            assert door.log[-1]["outcome"] == "client_gone"

    run(story())


def test_a_client_that_goes_away_before_the_answer_stops_the_engine(tmp_path: Path) -> None:
    async def story() -> None:
        async with engine(hang) as e, front(Settings(tmp_path, port=0), route(e.backend)) as door:
            asking = asyncio.ensure_future(door.post(ASK).__aenter__())
            await asyncio.wait_for(e.arrived.wait(), 5)
            asking.cancel()
            await asyncio.wait_for(e.gone.wait(), 5)

    run(story())


def test_work_goes_to_the_engine_that_has_less(tmp_path: Path) -> None:
    async def story() -> None:
        async with (
            engine(hang) as busy,
            engine(answer, "r1") as idle,
            front(Settings(tmp_path, port=0), route(busy.backend)) as door,
        ):
            stuck = asyncio.ensure_future(door.post(ASK).__aenter__())
            await asyncio.wait_for(busy.arrived.wait(), 5)
            write_routes(tmp_path, route(busy.backend, idle.backend))
            await asyncio.sleep(0.5)
            for _ in range(4):
                async with door.post(ASK) as response:
                    assert (await response.json())["from"] == str(idle.name)
            numbers = await door.metrics()
            assert numbers['elastic_deploy_gateway_outstanding{deployment="tiny",replica="r0"}'] == 1
            stuck.cancel()

    run(story())


@pytest.mark.parametrize("death", [die, die_after_headers, say_dead])
def test_another_engine_answers_when_one_breaks_before_its_answer(tmp_path: Path, death: Behaviour) -> None:
    async def story() -> None:
        async with engine(death) as bad, engine(answer, "r1") as good:
            settings = Settings(tmp_path, port=0, hold=NO_HOLD)
            async with front(settings, route(bad.backend, good.backend)) as door:
                for _ in range(4):
                    async with door.post(ASK) as response:
                        assert (response.status, (await response.json())["from"]) == (200, str(good.name))
                assert bad.seen

    run(story())


def test_another_engine_answers_when_one_refuses_and_it_is_asked_last_thereafter(tmp_path: Path) -> None:
    async def story() -> None:
        async with engine() as dead, engine(answer, "r1") as good:
            settings = Settings(tmp_path, port=0, hold=NO_HOLD)
            async with front(settings, route(gone(dead.backend), good.backend)) as door:
                for _ in range(6):
                    async with door.post(ASK) as response:
                        assert (await response.json())["from"] == str(good.name)
                refused = 'elastic_deploy_gateway_engine_errors_total{deployment="tiny",kind="refused",replica="r0"}'
                assert (await door.metrics())[refused] == 1

    run(story())


@pytest.mark.parametrize("death", [die, die_after_headers, say_dead])
def test_an_engine_that_breaks_before_its_answer_and_has_no_other_is_a_502(tmp_path: Path, death: Behaviour) -> None:
    async def story() -> None:
        settings = Settings(tmp_path, port=0, hold=NO_HOLD)
        async with engine(death) as e, front(settings, route(e.backend)) as door, door.post(ASK) as response:
            assert response.status == 502
            assert (await response.json())["error"]["code"] == "engine_broke"

    run(story())


def test_a_request_that_ends_two_engines_is_not_tried_on_a_third(tmp_path: Path) -> None:
    async def story() -> None:
        async with engine(die) as a, engine(die, "r1") as b, engine(die, "r2") as c:
            backends = (a.backend, b.backend, c.backend)
            async with front(Settings(tmp_path, port=0), route(*backends)) as door, door.post(ASK) as response:
                assert response.status == 502
                assert "2 engines ended" in (await response.json())["error"]["message"]
            assert len(a.seen) + len(b.seen) + len(c.seen) == 2

    run(story())


@pytest.mark.parametrize("death", [die_in_stream, say_dead_in_stream])
def test_a_stream_that_breaks_ends_with_an_error_event_after_whole_events(tmp_path: Path, death: Behaviour) -> None:
    async def story() -> None:
        async with engine(death) as e, front(Settings(tmp_path, port=0), route(e.backend)) as door:
            async with door.post(ASK | {"stream": True}) as response:
                first, last = (await response.read()).removesuffix(b"\n\n").split(b"\n\n")
                assert first + b"\n\n" == event("0")
                assert json.loads(last.removeprefix(b"data: "))["error"]["code"] == "engine_broke"
            assert door.log[-1]["outcome"] == "broken"

    run(story())


@pytest.mark.parametrize("length_known", [False, True])
def test_a_large_answer_passes_whole(tmp_path: Path, length_known: bool) -> None:
    async def large(_: object, request: aiohttp.web.Request) -> aiohttp.web.StreamResponse:
        response = aiohttp.web.StreamResponse(headers={"Content-Type": "application/json"})
        if length_known:
            response.content_length = 3_000_000
        await response.prepare(request)
        for _number in range(30):
            await response.write(b"7" * 100_000)
        return response

    async def story() -> None:
        async with engine(large) as e, front(Settings(tmp_path, port=0), route(e.backend)) as door:
            async with door.post(ASK) as response:
                assert response.content_type == "application/json"
                assert await response.read() == b"7" * 3_000_000
            assert door.log[-1]["response_bytes"] == 3_000_000

    run(story())


def test_an_answer_without_events_that_breaks_is_cut_and_never_looks_whole(tmp_path: Path) -> None:
    async def half(stand_in: StandIn, request: aiohttp.web.Request) -> aiohttp.web.StreamResponse:
        response = aiohttp.web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        await response.write(b'{"half": ')
        await asyncio.sleep(0.05)
        return await die(stand_in, request)

    async def story() -> None:
        async with engine(half) as e, front(Settings(tmp_path, port=0), route(e.backend)) as door:
            async with door.post(ASK) as response:
                with pytest.raises(aiohttp.ClientError):
                    await response.read()
            await asyncio.sleep(0.1)
            assert (door.log[-1]["status"], door.log[-1]["outcome"]) == (200, "broken")

    run(story())


def test_an_engine_that_never_answers_is_a_504_in_time(tmp_path: Path) -> None:
    async def story() -> None:
        settings = Settings(tmp_path, port=0, engine=EngineLimits(silence=0.3))
        async with engine(hang) as e, front(settings, route(e.backend)) as door, door.post(ASK) as response:
            assert response.status == 504
            assert (await response.json())["error"]["code"] == "engine_silent"

    run(story())


def test_a_model_without_an_engine_is_a_503_with_the_reason_and_when_to_ask_again(tmp_path: Path) -> None:
    async def story() -> None:
        async with front(Settings(tmp_path, port=0, hold=NO_HOLD), route()) as door, door.post(ASK) as response:
            assert response.status == 503
            assert int(response.headers["Retry-After"]) > 0
            assert "tiny is recovering" in (await response.json())["error"]["message"]

    run(story())


def test_a_request_is_held_until_its_model_has_an_engine(tmp_path: Path) -> None:
    async def story() -> None:
        async with engine() as e, front(Settings(tmp_path, port=0), route()) as door:
            asking = [asyncio.ensure_future(door.post(ASK).__aenter__()) for _ in range(5)]
            await asyncio.sleep(0.5)
            assert (await door.metrics())['elastic_deploy_gateway_waiting{deployment="tiny"}'] == 5
            write_routes(tmp_path, route(e.backend))
            assert [response.status for response in await asyncio.gather(*asking)] == [200] * 5
            assert door.log[-1]["held_seconds"] > 0.3

    run(story())


def test_a_held_request_ends_with_a_503_when_its_time_is_over(tmp_path: Path) -> None:
    async def story() -> None:
        settings = Settings(tmp_path, port=0, hold=HoldLimits(seconds=0.3))
        async with front(settings, route()) as door:
            began = time.monotonic()
            async with door.post(ASK) as response:
                assert response.status == 503
            assert 0.3 <= time.monotonic() - began < 2

    run(story())


def test_a_request_that_outlived_its_engine_is_held_for_the_next_one(tmp_path: Path) -> None:
    async def story() -> None:
        async with (
            engine(die) as dying,
            engine(generation=2) as next_one,
            front(Settings(tmp_path, port=0), route(dying.backend)) as door,
        ):
            asking = asyncio.ensure_future(door.post(ASK).__aenter__())
            await asyncio.wait_for(dying.arrived.wait(), 5)
            await asyncio.sleep(0.3)
            assert not asking.done()
            write_routes(tmp_path, route(next_one.backend))
            assert (await (await asking).json())["from"] == str(next_one.name)

    run(story())


def test_a_client_that_goes_away_leaves_the_waiting_room(tmp_path: Path) -> None:
    async def story() -> None:
        async with front(Settings(tmp_path, port=0), route()) as door:
            asking = asyncio.ensure_future(door.post(ASK).__aenter__())
            await asyncio.sleep(0.2)
            asking.cancel()
            await asyncio.sleep(0.2)
            assert (await door.metrics())['elastic_deploy_gateway_waiting{deployment="tiny"}'] == 0

    run(story())
