"""The waiting room: order, bounds, and who is called when."""

import asyncio

import pytest

from elastic_deploy.gateway.hold import Guest, WaitingRoom
from elastic_deploy.gateway.refusal import RefusalError
from elastic_deploy.gateway.settings import HoldLimits
from elastic_deploy.gateway.table import RoutingTable
from elastic_deploy.model.action import Backend, RouteEntry
from elastic_deploy.model.names import EngineName

from .stand_in import run

R0 = Backend(EngineName("tiny", "r0", 1), "http://127.0.0.1:1")
R1 = Backend(EngineName("tiny", "r0", 2), "http://127.0.0.1:2")


def table(*backends: Backend) -> RoutingTable:
    return RoutingTable((RouteEntry("tiny", "tiny", backends, "tiny is recovering"),))


def test_guests_are_called_in_the_order_in_which_they_came() -> None:
    async def story() -> list[int]:
        room = WaitingRoom(HoldLimits())
        called: list[int] = []

        async def wait(ticket: int) -> None:
            await room.wait(Guest(ticket, "tiny", 1), 5.0, "")
            called.append(ticket)

        async with asyncio.TaskGroup() as group:
            for ticket in (3, 1, 2):
                group.create_task(wait(ticket))
            await asyncio.sleep(0)
            assert room.waiting("tiny") == 3
            room.wake(table())
            await asyncio.sleep(0)
            assert not called
            room.wake(table(R0))
        assert room.waiting("tiny") == 0
        return called

    assert run(story()) == [1, 2, 3]


def test_a_guest_is_not_called_for_an_engine_that_it_avoids() -> None:
    async def story() -> bool:
        room = WaitingRoom(HoldLimits())
        waiting = asyncio.create_task(room.wait(Guest(1, "tiny", 1, {R0.engine}), 5.0, ""))
        await asyncio.sleep(0)
        room.wake(table(R0))
        await asyncio.sleep(0)
        assert not waiting.done()
        room.wake(table(R0, R1))
        return await waiting

    assert run(story())


def test_a_guest_whose_model_is_gone_is_called_to_be_told() -> None:
    async def story() -> bool:
        room = WaitingRoom(HoldLimits())
        waiting = asyncio.create_task(room.wait(Guest(1, "tiny", 1), 5.0, ""))
        await asyncio.sleep(0)
        room.wake(RoutingTable())
        return await waiting

    assert run(story())


def test_nobody_waits_longer_than_allowed() -> None:
    room = WaitingRoom(HoldLimits())
    assert run(room.wait(Guest(1, "tiny", 1), 0.05, "")) is False


@pytest.mark.parametrize("limits", [HoldLimits(requests=2), HoldLimits(size=25)])
def test_a_full_room_lets_nobody_in_until_somebody_leaves(limits: HoldLimits) -> None:
    async def story() -> None:
        room = WaitingRoom(limits)
        waiting = [asyncio.create_task(room.wait(Guest(n, "tiny", 10), 5.0, "")) for n in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(RefusalError) as refused:
            await room.wait(Guest(3, "tiny", 10), 5.0, "tiny is recovering")
        assert refused.value.refusal.status == 503
        assert "tiny is recovering" in refused.value.refusal.message
        waiting[0].cancel()
        await asyncio.wait(waiting[:1])
        assert room.waiting("tiny") == 1
        assert await room.wait(Guest(4, "tiny", 10), 0.05, "") is False
        room.wake(table(R0))
        assert await waiting[1]

    run(story())


def test_closing_sends_everyone_away_and_lets_nobody_in() -> None:
    async def story() -> None:
        room = WaitingRoom(HoldLimits())
        waiting = asyncio.create_task(room.wait(Guest(1, "tiny", 1), 5.0, ""))
        await asyncio.sleep(0)
        room.close()
        with pytest.raises(RefusalError, match="stopping"):
            await waiting
        with pytest.raises(RefusalError, match="stopping"):
            await room.wait(Guest(2, "tiny", 1), 5.0, "")

    run(story())
