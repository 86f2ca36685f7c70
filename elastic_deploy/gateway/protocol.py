"""HTTP as the door speaks it: aiohttp's server with our bounds on headers and bodies, and errors in OpenAI's form.

Made by `server`. What is not HTTP, or is over the bounds, is answered here and never reaches `door`.
"""

import asyncio
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

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

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class DoorProtocol(web.RequestHandler):
    """One connection."""

    __slots__ = ("_door_log",)

    def __init__(self, manager: web.Server, log: Log, limits: ClientLimits) -> None:
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
            trace = "".join(traceback.format_exception(exc)) if exc else ""
            self._door_log.event("internal_error", status=status, trace=trace)
            refused = refusal.own_fault()
        if request.writer.output_size > 0:
            raise ConnectionError("part of an answer was sent already")
        response = error_response(refused)
        response.force_close()
        return response


class DoorServer(web.Server):
    """Makes a `DoorProtocol` for every connection; a request whose client goes away is cancelled."""

    def __init__(self, handler: Handler, log: Log, limits: ClientLimits) -> None:
        super().__init__(handler, request_factory=self._bounded_request, handler_cancellation=True)
        self._log = log
        self._limits = limits

    def __call__(self) -> web.RequestHandler:
        return DoorProtocol(self, self._log, self._limits)

    def _bounded_request(
        self, message: Any, payload: Any, protocol: web.RequestHandler, writer: Any, task: "asyncio.Task[None]"
    ) -> web.BaseRequest:
        return web.BaseRequest(message, payload, protocol, writer, task, self._loop, client_max_size=self._limits.body)
