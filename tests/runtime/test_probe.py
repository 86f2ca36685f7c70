"""Proof of life, against a real HTTP server in an engine's place that comes late, hangs, slows down, lies and dies."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from aiohttp import web

from elastic_deploy.model.names import EngineName
from elastic_deploy.model.snapshot import ProbeSeen
from elastic_deploy.model.spec import Canary
from elastic_deploy.runtime.probe import Prober, Target

from .conversation import run
from .probed_engine import CANARY, KEY, NAME, StandIn, Watch, watched


def test_an_engine_is_proven_by_a_generation_of_one_token_with_its_key() -> None:
    async def story() -> None:
        async with watched() as watch:
            began = time.time()
            seen = await watch.until(lambda seen: seen.proven_at is not None)
            assert seen.proven_at is not None
            assert began <= seen.proven_at <= time.time()
            assert (seen.failures, seen.last_error) == (0, "")
            assert watch.changes[0].proven_at == seen.proven_at
            asked = watch.engine.asked[0]
            assert (asked["model"], asked["max_tokens"], asked["key"]) == ("chat-small", 1, f"Bearer {KEY}")

    run(story())


def test_an_engine_that_comes_up_late_is_neither_proven_nor_failing_until_then() -> None:
    async def story() -> None:
        async with watched(started=False) as watch:
            await asyncio.sleep(0.6)
            assert watch.seen == ProbeSeen(NAME)
            watch.engine.healthy = False
            await watch.engine.start()
            await asyncio.sleep(0.6)
            assert watch.seen == ProbeSeen(NAME)
            assert watch.engine.asked == []
            watch.engine.healthy = True
            await watch.until(lambda seen: seen.proven_at is not None)
            assert watch.changes[0].failures == 0

    run(story())


async def refuse() -> web.Response:
    return web.Response(status=500, text="EngineCore encountered an issue.")


async def unauthorized() -> web.Response:
    return web.json_response({"error": "Unauthorized"}, status=401)


async def choose_nothing() -> web.Response:
    return web.json_response({"choices": []})


async def talk_of_choices() -> web.Response:
    return web.Response(text='there are no "choices" here')


async def send_no_text() -> web.Response:
    return web.Response(body=b"\xff\xfe\x00", headers={"Content-Type": "application/json; charset=utf-8"})


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (refuse, "HTTP 500: EngineCore encountered an issue."),
        (unauthorized, 'HTTP 401: {"error": "Unauthorized"}'),
        (choose_nothing, "an answer without a choice: "),
        (talk_of_choices, "an answer without a choice: "),
        (send_no_text, "an answer without a choice: "),
    ],
)
def test_a_healthy_engine_whose_generation_fails_is_failing(
    answer: Callable[[], Coroutine[Any, Any, web.Response]], error: str
) -> None:
    async def story() -> None:
        async with watched() as watch:
            watch.engine.generate = answer
            seen = await watch.until(lambda seen: seen.failures == 3)
            assert seen.proven_at is None
            assert not seen.progressing
            assert seen.last_error.startswith(error)
            assert [change.failures for change in watch.changes] == [1, 2, 3]

    run(story())


def test_an_engine_that_hangs_after_it_was_proven_fails_each_canary_within_its_timeout() -> None:
    async def story() -> None:
        async with watched() as watch:
            proven = (await watch.until(lambda seen: seen.proven_at is not None)).proven_at
            watch.engine.generate = watch.engine.hang
            began = time.monotonic()
            seen = await watch.until(lambda seen: seen.failures == 3)
            assert time.monotonic() - began < 5
            assert seen.last_error == "no token within 0.3 s"
            assert not seen.progressing
            assert proven is not None
            assert seen.proven_at is not None
            assert seen.proven_at >= proven

    run(story())


def test_the_very_first_generation_is_given_more_time_than_a_canary() -> None:
    async def story() -> None:
        async with watched() as watch:

            async def compile_first() -> web.Response:
                await asyncio.sleep(3 * CANARY.timeout)
                return await watch.engine.answer()

            watch.engine.generate = compile_first
            await watch.until(lambda seen: seen.proven_at is not None)
            assert [change.failures for change in watch.changes] == [0]

    run(story())


def test_an_engine_that_had_generated_before_it_was_found_is_given_no_more_time_than_a_canary() -> None:
    """A new supervisor adopts it: what it counted long ago is no sign of life today."""

    async def story() -> None:
        async with watched(started=False) as watch:
            watch.engine.tokens = 5000.0
            watch.engine.generate = watch.engine.hang
            await watch.engine.start()
            seen = await watch.until(lambda seen: seen.failures == 2)
            assert not any(change.progressing for change in watch.changes)
            assert seen.last_error == "no token within 0.3 s"

    run(story())


def test_a_busy_engine_whose_tokens_still_grow_is_progressing_until_they_stand_still() -> None:
    async def story() -> None:
        async with watched() as watch:
            await watch.until(lambda seen: seen.proven_at is not None)
            watch.engine.generate = watch.engine.hang_while_others_are_served
            seen = await watch.until(lambda seen: seen.failures == 3)
            assert seen.progressing
            watch.engine.generate = watch.engine.hang
            seen = await watch.until(lambda seen: seen.failures == 6)
            assert not seen.progressing

    run(story())


def test_an_engine_whose_count_cannot_be_read_is_not_progressing() -> None:
    async def story() -> None:
        async with watched() as watch:
            await watch.until(lambda seen: seen.proven_at is not None)
            watch.engine.tokens = None
            watch.engine.generate = watch.engine.hang
            seen = await watch.until(lambda seen: seen.failures == 2)
            assert not seen.progressing

    run(story())


def test_an_engine_that_dies_fails_and_one_that_recovers_is_proven_again() -> None:
    async def story() -> None:
        async with watched() as watch:
            first = (await watch.until(lambda seen: seen.proven_at is not None)).proven_at
            await watch.engine.stop()
            seen = await watch.until(lambda seen: seen.failures >= 2)
            assert "Connect" in seen.last_error
            await watch.engine.start()
            seen = await watch.until(lambda seen: seen.failures == 0)
            assert first is not None
            assert seen.proven_at is not None
            assert seen.proven_at > first
            assert seen.last_error == ""

    run(story())


def test_an_engine_that_speaks_no_http_is_not_up() -> None:
    async def babble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example.org ready\r\n")
        await writer.drain()
        writer.close()

    async def story() -> None:
        server = await asyncio.start_server(babble, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        prober = Prober(lambda: None)
        prober.follow([Target(NAME, f"http://127.0.0.1:{port}", "m", KEY, CANARY)])
        await asyncio.sleep(0.6)
        assert prober.seen == (ProbeSeen(NAME),)
        await prober.close()
        server.close()

    run(story())


def test_a_healthy_engine_is_asked_no_more_than_once_a_period() -> None:
    async def story() -> None:
        async with watched(canary=Canary(period=0.4, timeout=1.0)) as watch:
            await watch.until(lambda seen: seen.proven_at is not None)
            await asyncio.sleep(1.0)
            assert 2 <= len(watch.engine.asked) <= 4

    run(story())


def test_a_new_canary_reaches_a_probe_that_runs() -> None:
    async def story() -> None:
        async with watched() as watch:
            seen = await watch.until(lambda seen: seen.proven_at is not None)
            watch.prober.follow([watch.engine.target(Canary(period=0.05, timeout=0.1))])
            assert watch.seen.proven_at == seen.proven_at, "its history goes on"
            watch.engine.generate = watch.engine.hang
            await watch.until(lambda seen: seen.last_error == "no token within 0.1 s")

    run(story())


def test_an_engine_that_is_no_longer_followed_is_asked_no_more_and_forgotten() -> None:
    async def story() -> None:
        async with watched() as watch:
            await watch.until(lambda seen: seen.proven_at is not None)
            watch.prober.follow([])
            assert watch.prober.seen == ()
            asked = len(watch.engine.asked)
            await asyncio.sleep(0.3)
            assert len(watch.engine.asked) <= asked + 1
            watch.prober.follow([watch.engine.target()])
            await watch.until(lambda seen: seen.proven_at is not None)

    run(story())


def test_a_draining_engine_is_asked_how_busy_it_is_and_for_no_generation_any_more() -> None:
    async def story() -> None:
        async with watched() as watch:
            seen = await watch.until(lambda seen: seen.proven_at is not None)
            assert (seen.busy, seen.busy_at) == (None, 0.0), "nobody asks while it serves"
            watch.engine.running, watch.engine.waiting = 2, 3
            began = time.time()
            watch.prober.follow([watch.engine.target(draining=True)])
            seen = await watch.until(lambda seen: seen.busy == 5)
            assert began <= seen.busy_at <= time.time()
            await asyncio.sleep(0.2)  # a canary that was under way may still have been sent
            asked = len(watch.engine.asked)
            watch.engine.running = watch.engine.waiting = 0
            watch.changes.clear()
            await watch.until(lambda seen: seen.busy == 0)
            assert any(change.busy == 0 for change in watch.changes), "whoever waits for it is told"
            assert len(watch.engine.asked) == asked

    run(story())


def test_an_engine_whose_drain_is_called_off_is_asked_for_generations_again() -> None:
    async def story() -> None:
        async with watched() as watch:
            await watch.until(lambda seen: seen.proven_at is not None)
            watch.prober.follow([watch.engine.target(draining=True)])
            counted = await watch.until(lambda seen: seen.busy == 0)
            watch.prober.follow([watch.engine.target()])
            await watch.until(lambda seen: (seen.proven_at or 0.0) > counted.busy_at)
            at = watch.seen.busy_at
            await asyncio.sleep(1.0)
            assert watch.seen.busy_at == at, "nobody asks how busy it is any more"

    run(story())


def test_how_busy_a_draining_engine_is_may_be_unknown() -> None:
    async def story() -> None:
        async with watched() as watch:
            await watch.until(lambda seen: seen.proven_at is not None)
            watch.engine.tokens = None  # its metrics answer with an error
            watch.prober.follow([watch.engine.target(draining=True)])
            seen = await watch.until(lambda seen: seen.busy_at > 0)
            assert seen.busy is None

    run(story())


def test_an_engine_that_hangs_holds_up_no_other() -> None:
    async def story() -> None:
        async with watched() as watch:
            other = StandIn()
            await other.start()
            await watch.until(lambda seen: seen.proven_at is not None)
            watch.engine.generate = watch.engine.hang
            second = EngineName("chat", "r1", 1)
            target = Target(second, f"http://127.0.0.1:{other.port}", "chat-small", KEY, CANARY)
            watch.prober.follow([watch.engine.target(Canary(period=0.05, timeout=60.0)), target])
            while not any(seen.name == second and seen.proven_at for seen in watch.prober.seen):
                await asyncio.sleep(0.01)
            await other.stop()

    run(story())


def test_a_probe_that_meets_a_bug_says_so_and_the_next_look_starts_it_again(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        watch = Watch(StandIn())
        await watch.engine.start()
        bugs = iter([ZeroDivisionError("in the supervisor")])

        def changed() -> None:
            for bug in bugs:
                raise bug

        watch.prober = Prober(changed)
        watch.prober.follow([watch.engine.target()])
        while "in the supervisor" not in caplog.text:
            await asyncio.sleep(0.01)
        asked = len(watch.engine.asked)
        watch.prober.follow([watch.engine.target()])
        while len(watch.engine.asked) < asked + 2:
            await asyncio.sleep(0.01)
        await watch.prober.close()
        await watch.engine.stop()

    with caplog.at_level(logging.ERROR):
        run(story())


def test_the_key_is_in_no_text_of_a_target() -> None:
    assert KEY not in repr(StandIn().target())
