"""An engine's answer, passed to the client as it comes.

Called by `forward`, once for every engine that is asked. Raises EngineTroubleError where the engine breaks; what has
been sent by then stands in `client` and, for streams of tokens, in `telling`.
"""

import json

import aiohttp
from aiohttp import web

from elastic_deploy.gateway.client import PASSED_HEADERS, Client
from elastic_deploy.gateway.record import Outcome, Record
from elastic_deploy.gateway.refusal import RefusalError, engine_failed, stream_broke
from elastic_deploy.gateway.sse import LONGEST_CHUNK, WholeEvents, data_event, is_event_stream
from elastic_deploy.gateway.telling import Telling
from elastic_deploy.gateway.upstream import EngineBrokeError, EngineTroubleError, engine_errors
from elastic_deploy.gateway.usage import of_answer

WHOLE = 1024 * 1024
"""Bytes up to which an answer of known length is read whole before it is sent: one write, and one that can still be
asked for elsewhere if the engine breaks."""

DEAD_ENGINE = b"EngineCore encountered an issue"
"""How vLLM's server says that the engine behind it has died (`EngineDeadError`), just before it ends itself."""

_ERROR_EVENT = b'data: {"error"'
"""How an error begins in a stream of vLLM's. No text of a model can hold it: its quotes would be escaped."""


async def relay(client: Client, answer: aiohttp.ClientResponse, telling: Telling | None) -> web.StreamResponse:
    """Send `answer` to the client; `telling` is what a stream of tokens has told so far.

    Raises EngineTroubleError if the engine broke, ConnectionError if the client is gone, RefusalError if the answer
    is none to a stream that has begun.
    """
    streams = is_event_stream(answer.headers.get("Content-Type", ""))
    headers = {name: answer.headers[name] for name in PASSED_HEADERS if name in answer.headers}
    if client.begun and not streams:
        return await _error(client, await _whole(answer), answer.status)
    if answer.content_length is not None and answer.content_length <= WHOLE:
        body = await _whole(answer)
        client.record.sent(len(body))
        if answer.status == 200:
            _count(client.record, of_answer(body))
        headers["X-Request-Id"] = client.record.id
        return web.Response(status=answer.status, body=body, headers=headers)
    client.head(answer.status, headers)
    return await (_events(client, answer, telling) if streams else _bytes(client, answer))


def _count(record: Record, tokens: tuple[int, int] | None) -> None:
    record.counted(tokens)
    if tokens is not None and tokens[1]:
        record.told_token()


async def _whole(answer: aiohttp.ClientResponse) -> bytes:
    with engine_errors():
        body = await answer.read()
    if answer.status == 500 and DEAD_ENGINE in body:
        raise EngineBrokeError("its server says that the engine has died")
    return body


async def _error(client: Client, body: bytes, status: int) -> web.StreamResponse:
    """An engine's error, to a client that has been given the head of a stream already."""
    if client.told:
        raise RefusalError(stream_broke(f"the next engine answered {status}"))
    try:
        error = json.loads(body)
    except ValueError:
        raise RefusalError(engine_failed(status)) from None
    client.record.outcome = Outcome.REFUSED
    await client.send(data_event(error))
    return client.response


async def _next(answer: aiohttp.ClientResponse) -> bytes:
    """The next piece, b"" at the end."""
    with engine_errors():
        return await answer.content.readany()


async def _events(client: Client, answer: aiohttp.ClientResponse, telling: Telling | None) -> web.StreamResponse:
    events = WholeEvents() if telling is None else WholeEvents(LONGEST_CHUNK)
    try:
        while piece := await _next(answer):
            whole = events.feed(piece)
            death = whole.find(_ERROR_EVENT)
            died = death >= 0 and DEAD_ENGINE in whole[death:]
            told = whole[:death] if died else whole
            if telling is not None:
                told = telling.tell(told)
            if told:
                await client.send(told)
                if telling is not None and telling.said and not telling.failed:
                    client.record.told_token()
            if died or (telling is not None and telling.aborted):
                raise EngineBrokeError("its server says that the engine has ended, or is ending")
            if telling is not None and telling.stopped_here:
                return client.response
        if telling is None:
            await client.send(events.rest())
        elif not telling.ended:
            raise EngineBrokeError("the stream ended without its last event")
    except EngineTroubleError:
        if telling is None or not telling.ended:
            raise
    return client.response


async def _bytes(client: Client, answer: aiohttp.ClientResponse) -> web.StreamResponse:
    try:
        while piece := await _next(answer):
            await client.send(piece)
        await client.send(b"")
    except EngineTroubleError as error:
        if not client.begun:
            raise
        client.record.outcome = Outcome.BROKEN
        client.cut()
        raise ConnectionError("the engine ended in the middle of an answer") from error
    return client.response
