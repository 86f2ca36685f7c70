"""An engine's answer, passed to the client as it comes.

Called by `forward`. Nothing is sent before the first piece of the answer is here, so until then another engine can
still be asked. Raises EngineTroubleError up to that moment, and never after it.
"""

import asyncio

import aiohttp
from aiohttp import web

from elastic_deploy.gateway.record import Outcome, Record
from elastic_deploy.gateway.refusal import stream_broke
from elastic_deploy.gateway.sse import WholeEvents, error_event, is_event_stream
from elastic_deploy.gateway.upstream import EngineBrokeError, EngineTroubleError, engine_errors

WHOLE = 1024 * 1024
"""Bytes up to which an answer of known length is read whole before it is sent: one write, and one that can still be
asked for elsewhere if the engine breaks."""

DEAD_ENGINE = b"EngineCore encountered an issue"
"""How vLLM's server says that the engine behind it has died (`EngineDeadError`), just before it ends itself."""

_ERROR_EVENT = b'data: {"error"'
"""How an error begins in a stream of vLLM's. No text of a model can hold it: its quotes would be escaped."""

_PASSED_HEADERS = ("Content-Type", "Content-Encoding", "Cache-Control", "Retry-After")


async def relay(
    request: web.BaseRequest, answer: aiohttp.ClientResponse, record: Record, stall: float
) -> web.StreamResponse:
    """Send `answer` to the client. A client that takes nothing for `stall` seconds is cut off.

    Raises EngineTroubleError if the engine broke before anything was sent, ConnectionError if the client is gone.
    """
    headers = {name: answer.headers[name] for name in _PASSED_HEADERS if name in answer.headers}
    headers["X-Request-Id"] = record.id
    if answer.content_length is not None and answer.content_length <= WHOLE:
        with engine_errors():
            body = await answer.read()
        if answer.status == 500 and DEAD_ENGINE in body:
            raise EngineBrokeError("its server says that the engine has died")
        record.sent(len(body))
        return web.Response(status=answer.status, body=body, headers=headers)
    if is_event_stream(headers.get("Content-Type", "")):
        return await _events(_Client(request, answer.status, headers, record, stall), answer, record)
    return await _bytes(_Client(request, answer.status, headers, record, stall), answer, record)


class _Client:
    """The way to the client. The answer's status and headers go out with its first piece."""

    def __init__(
        self, request: web.BaseRequest, status: int, headers: dict[str, str], record: Record, stall: float
    ) -> None:
        self._request = request
        self._record = record
        self._stall = stall
        self.response = web.StreamResponse(status=status, headers=headers)

    async def send(self, piece: bytes) -> None:
        self._record.sent(len(piece))
        try:
            async with asyncio.timeout(self._stall):
                if not self.response.prepared:
                    await self.response.prepare(self._request)
                    self._record.status = self.response.status
                await self.response.write(piece)
        except TimeoutError as error:
            self._record.outcome = Outcome.CLIENT_STALLED
            self.cut()
            raise ConnectionError("the client takes nothing") from error

    def cut(self) -> None:
        """End the connection so that nobody can take what was sent for a whole answer."""
        if self._request.transport is not None:
            self._request.transport.abort()


async def _next(answer: aiohttp.ClientResponse) -> bytes:
    """The next piece, b"" at the end."""
    with engine_errors():
        return await answer.content.readany()


async def _events(client: _Client, answer: aiohttp.ClientResponse, record: Record) -> web.StreamResponse:
    events = WholeEvents()
    try:
        while piece := await _next(answer):
            whole = events.feed(piece)
            if not whole:
                continue
            death = whole.find(_ERROR_EVENT)
            if death >= 0 and DEAD_ENGINE in whole[death:]:
                if death:
                    await client.send(whole[:death])
                raise EngineBrokeError("its server says that the engine has died")
            await client.send(whole)
        await client.send(events.rest())
    except EngineTroubleError:
        if not client.response.prepared:
            raise
        record.outcome = Outcome.BROKEN
        await client.send(error_event(stream_broke()))
    return client.response


async def _bytes(client: _Client, answer: aiohttp.ClientResponse, record: Record) -> web.StreamResponse:
    try:
        while piece := await _next(answer):
            await client.send(piece)
        await client.send(b"")
    except EngineTroubleError as error:
        if not client.response.prepared:
            raise
        record.outcome = Outcome.BROKEN
        client.cut()
        raise ConnectionError("the engine ended in the middle of an answer") from error
    return client.response
