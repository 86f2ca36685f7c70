"""The waiting room: requests whose model has no engine just now, in the order in which they came.

`forward` sends requests here; `server` calls `wake` whenever the routing table has changed. Bounded in number, in
bytes and in time. A client that goes away is cancelled where it waits, and leaves at once.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field

from elastic_deploy.gateway.balance import able, lost
from elastic_deploy.gateway.refusal import RefusalError, closing, crowded
from elastic_deploy.gateway.settings import HoldLimits
from elastic_deploy.gateway.table import RoutingTable
from elastic_deploy.model.action import Backend
from elastic_deploy.model.names import EngineName

Reassure = Callable[[], Awaitable[None]]


@dataclass(slots=True, eq=False)
class Guest:
    """One request. `ticket` orders guests by when they first came; `avoid` holds engines that cannot help it.

    `version` is what an engine must serve that goes on with a told answer; None: any will do.
    """

    ticket: int
    model: str
    size: int
    avoid: Collection[EngineName] = ()
    version: str | None = None
    called: asyncio.Future[None] = field(init=False)
    verdict: bool | RefusalError | None = None


class WaitingRoom:
    """Holds guests until the routing table has an engine for them."""

    def __init__(self, limits: HoldLimits) -> None:
        self._limits = limits
        self._guests: set[Guest] = set()
        self._size = 0
        self._closed = False
        self._tickets = 0

    def ticket(self) -> int:
        """A place in the order of arrival: a request that comes back here keeps the one that it had."""
        self._tickets += 1
        return self._tickets

    def waiting(self, model: str) -> int:
        """How many wait for a model."""
        return sum(guest.model == model for guest in self._guests)

    async def wait(
        self,
        guest: Guest,
        seconds: float,
        reason: str,
        left: int | None = None,
        reassure: Reassure | None = None,
    ) -> bool:
        """Wait for at most `seconds`; whether there is an engine now. `reassure` is called now and then meanwhile.

        `reason` and `left`, the seconds until an engine is expected, are for those who may not wait.

        Raises RefusalError (503) where no more may wait, and when the gateway stops.
        """
        if self._closed:
            raise RefusalError(closing())
        if len(self._guests) >= self._limits.requests or self._size + guest.size > self._limits.size:
            raise RefusalError(crowded(reason, left))
        loop = asyncio.get_running_loop()
        guest.verdict, guest.called = None, loop.create_future()
        # Bare timers: asyncio.timeout or asyncio.wait would take as much memory as the guest.
        end = loop.call_later(seconds, _call, guest, False)
        comment = loop.call_later(self._limits.comment, _call, guest, None) if reassure else None
        self._guests.add(guest)
        self._size += guest.size
        try:
            await guest.called
            while guest.verdict is None and reassure is not None:
                # Made before the client is written to: who calls meanwhile finds it.
                guest.called = loop.create_future()
                await reassure()
                comment = loop.call_later(self._limits.comment, _call, guest, None)
                await guest.called
        finally:
            end.cancel()
            if comment is not None:
                comment.cancel()
            self._guests.discard(guest)
            self._size -= guest.size
        if isinstance(guest.verdict, RefusalError):
            raise guest.verdict
        return guest.verdict is True

    def wake(self, table: RoutingTable) -> None:
        """Call everyone whom `table` can help (or whom nothing can help any more), first come first."""
        for guest in sorted(self._guests, key=lambda guest: guest.ticket):
            route = table.route(guest.model)
            if route is None or _concerns(route.backends, guest):
                _call(guest, True)

    def close(self) -> None:
        """Send everyone away, and let nobody in: the gateway stops."""
        self._closed = True
        for guest in self._guests:
            _call(guest, RefusalError(closing()))


def _concerns(backends: Sequence[Backend], guest: Guest) -> bool:
    """Whether one of them can help the guest, or all together show that none ever will."""
    helps = any(backend.engine not in guest.avoid for backend in able(backends, guest.version))
    return helps or lost(backends, guest.version)


def _call(guest: Guest, verdict: bool | RefusalError | None) -> None:
    """Wake a guest: with a verdict, of which the first counts, or with None to have its client reassured."""
    if guest.verdict is None:
        guest.verdict = verdict
    if not guest.called.done():
        guest.called.set_result(None)
