"""The door itself: who asks, whether they may, and for what. Answers what the gateway knows by itself.

`protocol` calls `handle` for every request that is HTTP at all. A key is asked for before a body is read, and before
anything is said about models.
"""

import asyncio
import json

from aiohttp import web
from aiohttp.http import HttpVersion11

from elastic_deploy.gateway import keys, paths, refusal
from elastic_deploy.gateway.ask import parse_ask
from elastic_deploy.gateway.balance import Load
from elastic_deploy.gateway.demand import Demand
from elastic_deploy.gateway.engine_pages import EnginePages
from elastic_deploy.gateway.files import Files
from elastic_deploy.gateway.forward import Forwarder
from elastic_deploy.gateway.hold import WaitingRoom
from elastic_deploy.gateway.log import Log
from elastic_deploy.gateway.metrics import CONTENT_TYPE, Metrics
from elastic_deploy.gateway.paths import Use
from elastic_deploy.gateway.record import Outcome, Record
from elastic_deploy.gateway.refusal import Refusal, RefusalError
from elastic_deploy.gateway.settings import ClientLimits

CLIENT_GONE = 499
"""nginx's number for a request that ended before its answer began: only in the log and the metrics."""


def error_response(refused: Refusal) -> web.Response:
    """The answer that says `refused`."""
    response = web.Response(status=refused.status, body=refused.body(), content_type="application/json")
    response.headers.extend(refused.headers)
    return response


class Door:
    """Answers requests. Its parts are made by `server`, which also keeps `files` and `room` up to date."""

    def __init__(
        self,
        limits: ClientLimits,
        files: Files,
        forwarder: Forwarder,
        pages: EnginePages,
        load: Load,
        room: WaitingRoom,
        metrics: Metrics,
        demand: Demand,
        log: Log,
    ) -> None:
        self._limits = limits
        self._files = files
        self._forwarder = forwarder
        self._pages = pages
        self._load = load
        self._room = room
        self._metrics = metrics
        self._demand = demand
        self._log = log
        self.busy = 0
        """Requests that are being answered."""
        self.cutting_off = False
        """Whether requests that end now are ended by the gateway."""

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """The answer to one request."""
        path = request.rel_url.raw_path
        use = paths.use_of(path)
        if use in (Use.HEALTH, Use.READY, Use.METRICS):
            return self._probe(request, use)
        if use is Use.ENGINE_METRICS:
            return await self._engine_page(request, path)
        record = Record(request.remote or "", request.method[:16], path[:128])
        self.busy += 1
        try:
            return await self._recorded(request, use, record)
        finally:
            self.busy -= 1
            record.end()
            self._log.access(record)
            self._metrics.count(record)

    async def _recorded(self, request: web.BaseRequest, use: Use | None, record: Record) -> web.StreamResponse:
        try:
            response = await self._answer(request, use, record)
        except RefusalError as refused:
            record.outcome = Outcome.REFUSED
            response = error_response(refused.refusal)
            response.headers["X-Request-Id"] = record.id
            if not request.content.is_eof():
                response.force_close()
        except (asyncio.CancelledError, ConnectionError):
            if record.outcome is Outcome.ANSWERED:
                record.outcome = Outcome.CUT_OFF if self.cutting_off else Outcome.CLIENT_GONE
            record.status = record.status or CLIENT_GONE
            raise
        record.status = response.status
        return response

    async def _answer(self, request: web.BaseRequest, use: Use | None, record: Record) -> web.StreamResponse:
        path = request.rel_url.raw_path
        if use is None:
            raise RefusalError(refusal.unknown_path(request.method, path))
        if request.method not in (methods := paths.methods_of(use)):
            raise RefusalError(refusal.wrong_method(request.method, methods))
        key = keys.bearer(request.headers.get("Authorization", ""))
        opens = keys.opened(key, self._files.accepted())
        if not opens:
            no_table = self._files.table is None
            raise RefusalError(refusal.unavailable("it has no routing table yet") if no_table else refusal.no_key())
        if use is Use.MODELS:
            return self._models(paths.model_of(request.rel_url.path))
        ask = parse_ask(path, await self._body(request, record), request.headers.get("Content-Type", ""))
        record.stream = ask.stream
        route = self._files.table.route(ask.model) if self._files.table else None
        if route is None:
            raise RefusalError(refusal.unknown_model(ask.model))
        record.deployment = route.deployment
        if route.deployment not in opens:
            raise RefusalError(refusal.other_key(ask.model))
        with self._demand.one_more(route.deployment):
            return await self._forwarder.forward(request, ask, record)

    async def _body(self, request: web.BaseRequest, record: Record) -> bytes:
        """The whole body. Raises RefusalError where it is too large, too slow, or not what its headers say."""
        length = request.content_length
        if length is not None and length > self._limits.body:
            raise RefusalError(refusal.large_body(self._limits.body))
        if request.headers.get("Expect", "").lower() == "100-continue" and request.version >= HttpVersion11:
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0
        try:
            async with asyncio.timeout(self._limits.body_time):
                body = await request.read()
        except TimeoutError:
            raise RefusalError(refusal.slow_body(self._limits.body_time)) from None
        except web.HTTPRequestEntityTooLarge:
            raise RefusalError(refusal.large_body(self._limits.body)) from None
        except web.RequestPayloadError:
            raise RefusalError(refusal.malformed("The body is not what the headers say it is.")) from None
        record.request_size = len(body)
        return body

    def _models(self, model: str) -> web.Response:
        table = self._files.table
        entries = {entry.model: entry for entry in reversed(table.entries)} if table else {}
        cards = [
            {"id": name, "object": "model", "created": 0, "owned_by": entry.deployment}
            for name, entry in sorted(entries.items())
        ]
        if not model:
            return _json({"object": "list", "data": cards})
        for card in cards:
            if card["id"] == model:
                return _json(card)
        raise RefusalError(refusal.unknown_model(model))

    async def _engine_page(self, request: web.BaseRequest, path: str) -> web.Response:
        """An engine's own metrics, open like the gateway's."""
        if request.method not in (methods := paths.methods_of(Use.ENGINE_METRICS)):
            return error_response(refusal.wrong_method(request.method, methods))
        try:
            page = await self._pages.page(*paths.replica_of(path))
        except RefusalError as refused:
            return error_response(refused.refusal)
        return web.Response(body=page, headers={"Content-Type": CONTENT_TYPE})

    def _probe(self, request: web.BaseRequest, use: Use) -> web.Response:
        """What machines ask. Without a key: a load balancer and Prometheus have none, and it tells no content."""
        if request.method not in (methods := paths.methods_of(use)):
            return error_response(refusal.wrong_method(request.method, methods))
        if use is Use.METRICS:
            page = self._metrics.page(self._files.table, self._load, self._room)
            return web.Response(body=page, headers={"Content-Type": CONTENT_TYPE})
        if use is Use.HEALTH:
            return _json({"status": "ok"})
        table = self._files.table
        if table is None:
            return _json({"status": "not ready", "reason": "there is no routing table yet"}, 503)
        if table.backends:
            return _json({"status": "ready"})
        reason = "; ".join(entry.reason for entry in table.entries) or "nothing is deployed"
        return _json({"status": "not ready", "reason": reason}, 503)


def _json(document: object, status: int = 200) -> web.Response:
    return web.Response(status=status, body=json.dumps(document).encode(), content_type="application/json")
