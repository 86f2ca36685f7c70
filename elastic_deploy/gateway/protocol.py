"""HTTP as the door speaks it: aiohttp's server with our bounds on headers and bodies, and errors in OpenAI's form.

Made by `server` and `listen`. What is not HTTP, or is over the bounds, is answered here and never reaches `door`.

A connection is always under some limit of time. aiohttp has one for the pause between two requests, `door` for a body,
`client` for a piece of a stream; those for headers, for answers that are sent whole, and for what is still unsent when
a connection is closed are here.
"""

import asyncio
import traceback
from collections.abc import Awaitable, Callable
from typing import Any, cast

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong

from elastic_deploy.gateway import refusal
from elastic_deploy.gateway.door import error_response
from elastic_deploy.gateway.log import Log
from elastic_deploy.gateway.settings import ClientLimits

MOST_HEADERS = 64
LONGEST_HEADER = 8190
"""Bytes of one header, or of the request line; as much as Apache and aiohttp take by default."""
LINGER = 2.0
"""Seconds for which the rest of a refused body is read, so that the client can read the refusal."""

REFUSING = 2.0
"""Seconds that a connection over the bound has for its headers."""
A_MOMENT = 1.0
"""Seconds by which the limit for an unread answer is longer here than in `client`, which has the words for it."""

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class DoorProtocol(web.RequestHandler):
    """One connection. One that is `full` is over the bound, and only told so; `lost` is called at its end."""

    __slots__ = ("_door_log", "_headers", "_late", "_lost", "_stall", "_stalled", "_wire", "full")

    def __init__(
        self, manager: web.Server, log: Log, limits: ClientLimits, full: bool, lost: Callable[["DoorProtocol"], None]
    ) -> None:
        super().__init__(
            manager,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]  # None is how aiohttp itself says: no access log
            keepalive_timeout=limits.idle,
            lingering_time=LINGER,
            max_line_size=LONGEST_HEADER,
            max_field_size=LONGEST_HEADER,
            max_headers=MOST_HEADERS,
        )
        self._door_log = log
        self._headers = min(limits.headers, REFUSING) if full else limits.headers
        self._stall = limits.stall
        self._lost = lost
        self._wire: asyncio.Transport | None = None
        self._late: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None
        self.full = full

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The first request's headers are due from now on."""
        super().connection_made(transport)
        self._wire = cast(asyncio.Transport, transport)
        self._late = self._loop.call_later(self._headers, self.force_close)

    def connection_lost(self, exc: BaseException | None) -> None:
        """It is over, whoever ended it."""
        self._wire = None
        for timer in (self._late, self._stalled):
            if timer is not None:
                timer.cancel()
        self._late = self._stalled = None
        super().connection_lost(exc)
        self._lost(self)

    def data_received(self, data: bytes) -> None:
        """Headers that have begun are due; those that are whole are not any more."""
        super().data_received(data)
        if self._messages:
            if self._late is not None:
                self._late.cancel()
                self._late = None
        elif self._late is None and self._waiter is not None and not self._waiter.done():
            self._late = self._loop.call_later(self._headers, self.force_close)

    def pause_writing(self) -> None:
        """The client does not take what it is sent."""
        super().pause_writing()
        if self._stalled is None:
            self._stalled = self._loop.call_later(self._stall + A_MOMENT, self._abort)

    def resume_writing(self) -> None:
        """It does again."""
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    async def start(self) -> None:
        """Serve the connection. What is unsent when it is closed may not stay so for ever."""
        try:
            await super().start()
        finally:
            if self._wire is not None and self._stalled is None:
                self._stalled = self._loop.call_later(self._stall, self._abort)

    def log_exception(self, *args: Any, **kwargs: Any) -> None:
        """What went wrong around a request. The unread rest of a refused body may be anything: that is no bug."""
        error = kwargs.get("exc_info")
        if not isinstance(error, web.RequestPayloadError):
            self._log_bug(error if isinstance(error, BaseException) else None, None, *args)

    def _log_bug(self, error: BaseException | None, status: int | None, *said: str) -> None:
        trace = "".join(traceback.format_exception(error)) if error else " ".join(said)
        self._door_log.event("internal_error", status=status, trace=trace)

    def _abort(self) -> None:
        if self._wire is not None:
            self._wire.abort()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - aiohttp's text quotes what was sent, which may be a key
    ) -> web.StreamResponse:
        """The answer to what is no HTTP, and to what a bug of ours left without one; none to a client that is gone."""
        if isinstance(exc, ConnectionError):
            raise exc
        if isinstance(exc, LineTooLong):
            refused = refusal.large_headers()
        elif status < 500:
            refused = refusal.malformed("This is not a valid HTTP request.")
        else:
            self._log_bug(exc, status)
            refused = refusal.own_fault()
        if request.writer.output_size > 0:
            raise ConnectionError("part of an answer was sent already")
        response = error_response(refused)
        response.force_close()
        return response


async def _refuse() -> web.StreamResponse:
    response = error_response(refusal.too_many_connections())
    response.force_close()
    return response


class DoorServer(web.Server):
    """Makes a `DoorProtocol` for every connection; a request whose client goes away is cancelled."""

    def __init__(self, handler: Handler, log: Log, limits: ClientLimits) -> None:
        super().__init__(self._handle, request_factory=self._bounded_request, handler_cancellation=True)
        self._handler = handler
        self._log = log
        self._limits = limits

    def protocol(self, full: bool, lost: Callable[[DoorProtocol], None]) -> DoorProtocol:
        """The protocol of a new connection, over the bound or not."""
        return DoorProtocol(self, self._log, self._limits, full, lost)

    def _handle(self, request: web.BaseRequest) -> Awaitable[web.StreamResponse]:
        over = isinstance(request.protocol, DoorProtocol) and request.protocol.full
        return _refuse() if over else self._handler(request)

    def _bounded_request(
        self, message: Any, payload: Any, protocol: web.RequestHandler, writer: Any, task: "asyncio.Task[None]"
    ) -> web.BaseRequest:
        return web.BaseRequest(message, payload, protocol, writer, task, self._loop, client_max_size=self._limits.body)
