"""A request's way to an engine: choose one, wait for one, try another, go on at another.

Called by `door` with a request that may pass. As long as nothing of an answer has been told, an engine that breaks
costs the client time and nothing else: generating is without side effects, so a request can be run again. A stream
that has been told in part goes on from its last token where it can, and says so where it cannot. Not for ever: a
request that engines keep ending on may be what ends them.
"""

import time
from dataclasses import dataclass

from aiohttp import web

from elastic_deploy.gateway.ask import Ask
from elastic_deploy.gateway.balance import Load, able, lost
from elastic_deploy.gateway.client import Client
from elastic_deploy.gateway.files import Files
from elastic_deploy.gateway.hold import Guest, WaitingRoom
from elastic_deploy.gateway.metrics import Metrics
from elastic_deploy.gateway.record import Outcome, Record
from elastic_deploy.gateway.refusal import (
    RefusalError,
    engine_breaker,
    engine_broke,
    engine_silent,
    expectation,
    seconds_left,
    stream_broke,
    unavailable,
    unknown_model,
)
from elastic_deploy.gateway.relay import relay
from elastic_deploy.gateway.resume import Asker, resume
from elastic_deploy.gateway.settings import Settings
from elastic_deploy.gateway.sse import error_event
from elastic_deploy.gateway.telling import Telling
from elastic_deploy.gateway.upstream import EngineBrokeError, EngineRefusedError, Engines, EngineSilentError
from elastic_deploy.model.action import Backend
from elastic_deploy.model.names import EngineName

MOST_BROKEN = 2
"""Engines that may end on one request: a second may be chance (their node had both), a third would be a weapon."""


@dataclass(slots=True)
class _Attempt:
    """What was tried for one request. `avoid` holds the engines that cannot help it any more."""

    ask: Ask
    client: Client
    guest: Guest
    avoid: set[EngineName]
    telling: Telling | None = None
    broken: int = 0
    began: str = ""
    """The version of the engine that began what is told."""

    def version(self) -> str | None:
        """What an engine must serve to go on, None if any will do because nothing was told."""
        return self.began if self.telling is not None and self.telling.said else None

    def stuck(self) -> str | None:
        """Why another engine cannot take over, None if it can."""
        if self.telling is not None:
            return self.telling.stuck()
        return self.ask.uncovered if self.client.told else None


class Forwarder:
    """Sends requests on. Shares its parts with `door` and `server`, which make them."""

    def __init__(
        self, settings: Settings, files: Files, engines: Engines, load: Load, room: WaitingRoom, metrics: Metrics
    ) -> None:
        self._settings = settings
        self._files = files
        self._engines = engines
        self._load = load
        self._room = room
        self._metrics = metrics

    async def forward(self, request: web.BaseRequest, ask: Ask, record: Record) -> web.StreamResponse:
        """The answer of an engine, sent or to be sent. Raises RefusalError where there is none.

        Where the head of a stream is out already, what would be a refusal is its last event.
        """
        client = Client(request, record, self._settings.client.stall)
        avoid: set[EngineName] = set()
        guest = Guest(self._room.ticket(), ask.model, len(ask.body), avoid)
        attempt = _Attempt(ask, client, guest, avoid)
        try:
            return await self._answered(attempt)
        except RefusalError as refused:
            if not client.begun:
                raise
            record.outcome = Outcome.BROKEN if client.told else Outcome.REFUSED
            await client.send(error_event(refused.refusal))
            return client.response
        finally:
            if attempt.telling is not None:
                record.counted(attempt.telling.counted())

    async def _answered(self, attempt: _Attempt) -> web.StreamResponse:
        ask, record = attempt.ask, attempt.client.record
        while True:
            route = self._files.table.route(ask.model) if self._files.table else None
            if route is None:
                raise RefusalError(unknown_model(ask.model))
            version = attempt.guest.version = attempt.version()
            if lost(route.backends, version):
                raise RefusalError(stream_broke("the model was changed meanwhile"))
            backend = self._load.choose(able(route.backends, version), attempt.avoid, time.monotonic(), ask.prefix)
            if backend is None:
                await self._wait(attempt)
                continue
            record.engine = backend.engine
            record.attempts += 1
            with self._load.one_more(backend.engine):
                try:
                    return await self._try(attempt, backend)
                except EngineRefusedError as error:
                    self._metrics.trouble(backend.engine, error.kind)
                    self._load.refused(backend.engine, time.monotonic())
                    attempt.avoid.add(backend.engine)
                except EngineBrokeError as error:
                    self._metrics.trouble(backend.engine, error.kind)
                    if attempt.telling is not None and attempt.telling.complete:
                        await attempt.client.send(attempt.telling.closing())
                        return attempt.client.response
                    attempt.avoid.add(backend.engine)
                    attempt.broken += 1
                    if (why := attempt.stuck()) is not None:
                        raise RefusalError(stream_broke(why)) from error
                    if attempt.broken >= MOST_BROKEN:
                        raise RefusalError(engine_breaker(attempt.broken)) from error
                except EngineSilentError as error:
                    # Not tried again: the next engine would be kept busy for as long.
                    self._metrics.trouble(backend.engine, error.kind)
                    raise RefusalError(engine_silent(self._settings.engine.silence)) from error

    async def _try(self, attempt: _Attempt, backend: Backend) -> web.StreamResponse:
        record = attempt.client.record
        if attempt.telling is None and attempt.ask.told:
            attempt.telling = Telling(attempt.ask)
        telling = attempt.telling
        key = self._files.engine_key(backend.engine.deployment)
        ask = attempt.ask
        goes_on = telling is not None and telling.said
        if telling is not None and attempt.broken:
            asker = Asker(self._engines, backend, key, ask.model, record.id)
            ask = await resume(telling, asker) if goes_on else telling.again()
        if not goes_on:
            attempt.began = backend.version
        async with self._engines.ask(backend, ask, key, record.id) as answer:
            record.continued += goes_on
            return await relay(attempt.client, answer, telling)

    async def _wait(self, attempt: _Attempt) -> None:
        """Wait for an engine that can help. Raises RefusalError when there is none in time."""
        ask, record = attempt.ask, attempt.client.record
        began = time.monotonic()
        left = self._settings.hold.seconds - record.held
        if left > 0:

            async def reassure() -> None:
                await attempt.client.reassure(expectation(*self._reason(ask.model)))

            try:
                reason, expected = self._reason(ask.model)
                if await self._room.wait(attempt.guest, left, reason, expected, reassure if ask.stream else None):
                    return
            finally:
                record.held += time.monotonic() - began
        raise RefusalError(engine_broke() if attempt.broken else unavailable(*self._reason(ask.model)))

    def _reason(self, model: str) -> tuple[str, int | None]:
        """Why there is no engine, and the seconds until one is expected, as the table has them now."""
        table = self._files.table
        route = table.route(model) if table else None
        if table is None or route is None:
            return "it has no route", None
        return route.reason, seconds_left(table.expected_at.get(model), time.time())
