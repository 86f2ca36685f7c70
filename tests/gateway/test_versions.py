"""What happens when the engines behind a model serve another version: a told answer never goes on at one of these."""

import asyncio
from pathlib import Path

import aiohttp
import pytest

from elastic_deploy.gateway.balance import able, lost
from elastic_deploy.gateway.hold import Guest, WaitingRoom
from elastic_deploy.gateway.settings import HoldLimits, Settings
from elastic_deploy.gateway.table import RoutingTable
from elastic_deploy.model.action import Backend, RouteEntry
from elastic_deploy.model.names import EngineName

from .stand_in import answer, die, engine, front, route, run, write_routes
from .test_continue import CHAT, TEXT, told
from .token_engine import Script

WAITING = b": waiting: "
QUICK = HoldLimits(comment=0.1)


def backend(replica: str, version: str) -> Backend:
    return Backend(EngineName("tiny", replica, 1), "http://127.0.0.1:9", version)


A, B = backend("r0", "a"), backend("r1", "b")


@pytest.mark.parametrize(
    ("backends", "version", "fit", "is_lost"),
    [
        ((A, B), None, (A, B), False),
        ((A, B), "a", (A,), False),
        ((B,), "a", (), True),
        ((), "a", (), False),
        ((), None, (), False),
        ((A,), "", (), True),
    ],
)
def test_only_the_version_that_began_may_go_on(
    backends: tuple[Backend, ...], version: str | None, fit: tuple[Backend, ...], is_lost: bool
) -> None:
    assert tuple(able(backends, version)) == fit
    assert lost(backends, version) is is_lost


def many(one: Backend) -> tuple[Backend, ...]:
    """So many engines of one's version that a careless choice would fall on them."""
    return tuple(Backend(EngineName("tiny", f"other{n}", 1), one.address, one.version) for n in range(20))


async def _until_it_waits(response: aiohttp.ClientResponse) -> bytes:
    seen = b""
    while WAITING not in (event := await response.content.readuntil(b"\n\n")):
        seen += event
    return seen


def test_of_two_engines_the_one_of_the_same_version_goes_on(tmp_path: Path) -> None:
    async def story() -> None:
        script = Script(TEXT, breaks=[5])
        async with (
            engine(script.behave, version="a") as first,
            engine(script.behave, "r1", version="b") as other,
            engine(script.behave, "r2", version="a") as same,
            front(Settings(tmp_path, port=0), route(first.backend)) as door,
        ):
            async with door.post(CHAT) as response:
                await response.content.readuntil(b"\n\n")
                write_routes(tmp_path, route(first.backend, *many(other.backend), same.backend))
                seen = told(await response.read())
            assert (TEXT.endswith(seen.text), seen.done, seen.error) == (True, True, "")
            assert not other.seen

    run(story())


def test_a_stream_waits_while_its_version_may_come_back_and_goes_on_there(tmp_path: Path) -> None:
    async def story() -> None:
        script = Script(TEXT, breaks=[5])
        async with (
            engine(script.behave, version="a") as first,
            engine(script.behave, "r1", version="b") as other,
            engine(script.behave, generation=2, version="a") as same,
            front(Settings(tmp_path, port=0, hold=QUICK), route(first.backend)) as door,
            door.post(CHAT) as response,
        ):
            before = await _until_it_waits(response)
            # The broken engine is still in the table: its version is not gone yet.
            write_routes(tmp_path, route(first.backend, other.backend))
            for _ in range(5):
                assert WAITING in await response.content.readuntil(b"\n\n")
            write_routes(tmp_path, route(*many(other.backend), same.backend))
            seen = told(before + await response.read())
            assert (seen.text, seen.done) == (TEXT, True)
            assert not other.seen

    run(story())


def test_a_stream_whose_version_is_gone_ends_and_says_so(tmp_path: Path) -> None:
    async def story() -> None:
        script = Script(TEXT, breaks=[5])
        async with (
            engine(script.behave, version="a") as first,
            engine(script.behave, "r1", version="b") as other,
            front(Settings(tmp_path, port=0, hold=QUICK), route(first.backend)) as door,
            door.post(CHAT) as response,
        ):
            before = await _until_it_waits(response)
            write_routes(tmp_path, route())
            assert WAITING in await response.content.readuntil(b"\n\n")
            write_routes(tmp_path, route(other.backend))
            seen = told(before + await response.read())
            assert "the model was changed meanwhile" in seen.error
            assert (TEXT.startswith(seen.text), seen.done) == (True, False)
            await asyncio.sleep(0.05)
            assert (door.log[-1]["outcome"], other.seen) == ("broken", [])

    run(story())


def test_what_was_not_told_yet_is_run_again_at_any_version(tmp_path: Path) -> None:
    async def story() -> None:
        script = Script(TEXT, breaks=[0])
        async with (
            engine(script.behave, version="a") as first,
            engine(script.behave, "r1", version="b") as other,
            front(Settings(tmp_path, port=0, hold=QUICK), route(first.backend)) as door,
            door.post(CHAT) as response,
        ):
            before = await _until_it_waits(response)
            write_routes(tmp_path, route(other.backend))
            seen = told(before + await response.read())
            assert (seen.text, seen.done, seen.roles) == (TEXT, True, ["assistant"])

    run(story())


def test_a_whole_answer_is_asked_for_at_any_version(tmp_path: Path) -> None:
    async def story() -> None:
        async with engine(die, version="a") as bad, engine(answer, "r1", version="b") as good:
            async with front(Settings(tmp_path, port=0), route(bad.backend, good.backend)) as door:
                for _ in range(2):
                    async with door.post(CHAT | {"stream": False}) as response:
                        assert (await response.json())["from"] == str(good.name)
            assert bad.seen

    run(story())


@pytest.mark.parametrize(
    ("backends", "called"), [((), False), ((A,), False), ((A, B), False), ((B,), True), ((backend("r2", "a"),), True)]
)
def test_who_waits_for_a_version_is_called_for_it_or_when_it_is_gone(
    backends: tuple[Backend, ...], called: bool
) -> None:
    async def story() -> bool:
        room = WaitingRoom(HoldLimits())
        waiting = asyncio.create_task(room.wait(Guest(1, "tiny", 1, {A.engine}, "a"), 0.05, ""))
        await asyncio.sleep(0)
        room.wake(RoutingTable((RouteEntry("tiny", "tiny", backends, ""),)))
        return await waiting

    assert run(story()) is called
