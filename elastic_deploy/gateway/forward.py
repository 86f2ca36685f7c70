"""A request's way to an engine: choose one, wait for one, try another.

Called by `door` with a request that may pass. As long as nothing of an answer has been sent, an engine that breaks
costs the client time and nothing else: generating is without side effects, so a request can be run again. Not for
ever: one that engines keep ending on may be what ends them.
"""

import time
from dataclasses import dataclass

from aiohttp import web

from elastic_deploy.gateway.ask import Ask
from elastic_deploy.gateway.balance import Load
from elastic_deploy.gateway.files import Files
from elastic_deploy.gateway.hold import Guest, WaitingRoom
from elastic_deploy.gateway.metrics import Metrics
from elastic_deploy.gateway.record import Record
from elastic_deploy.gateway.refusal import (
    RefusalError,
    engine_breaker,
    engine_broke,
    engine_silent,
    unavailable,
    unknown_model,
)
from elastic_deploy.gateway.relay import relay
from elastic_deploy.gateway.settings import Settings
from elastic_deploy.gateway.upstream import EngineBrokeError, EngineRefusedError, Engines, EngineSilentError
from elastic_deploy.model.action import Backend, RouteEntry
from elastic_deploy.model.names import EngineName

MOST_BROKEN = 2
"""Engines that may end on one request: a second may be chance (their node had both), a third would be a weapon."""


@dataclass(slots=True)
class _Attempt:
    """What was tried for one request. `avoid` holds the engines that cannot help it any more."""

    guest: Guest
    avoid: set[EngineName]
    broken: int = 0


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
        """The answer of an engine, sent or to be sent. Raises RefusalError where there is none."""
        avoid: set[EngineName] = set()
        guest = Guest(self._room.ticket(), ask.model, len(ask.body), avoid)
        attempt = _Attempt(guest, avoid)
        while True:
            route = self._files.table.route(ask.model) if self._files.table else None
            if route is None:
                raise RefusalError(unknown_model(ask.model))
            backend = self._load.choose(route.backends, attempt.avoid, time.monotonic())
            if backend is None:
                await self._wait(attempt, route, record)
                continue
            record.engine = backend.engine
            record.attempts += 1
            with self._load.one_more(backend.engine):
                try:
                    return await self._try(request, ask, record, backend)
                except EngineRefusedError as error:
                    self._metrics.trouble(backend.engine, error.kind)
                    self._load.refused(backend.engine, time.monotonic())
                    attempt.avoid.add(backend.engine)
                except EngineBrokeError as error:
                    self._metrics.trouble(backend.engine, error.kind)
                    attempt.avoid.add(backend.engine)
                    attempt.broken += 1
                    if attempt.broken >= MOST_BROKEN:
                        raise RefusalError(engine_breaker(attempt.broken)) from error
                except EngineSilentError as error:
                    # Not tried again: the next engine would be kept busy for as long.
                    self._metrics.trouble(backend.engine, error.kind)
                    raise RefusalError(engine_silent(self._settings.engine.silence)) from error

    async def _try(self, request: web.BaseRequest, ask: Ask, record: Record, backend: Backend) -> web.StreamResponse:
        key = self._files.engine_key(backend.engine.deployment)
        async with self._engines.ask(backend, ask, key, record.id) as answer:
            return await relay(request, answer, record, self._settings.client.stall)

    async def _wait(self, attempt: _Attempt, route: RouteEntry, record: Record) -> None:
        """Wait for an engine that can help. Raises RefusalError when there is none in time."""
        began = time.monotonic()
        left = self._settings.hold.seconds - record.held
        if left > 0:
            try:
                if await self._room.wait(attempt.guest, left, route.reason):
                    return
            finally:
                record.held += time.monotonic() - began
        raise RefusalError(engine_broke() if attempt.broken else unavailable(route.reason))
