"""One request to one engine. What can go wrong there has three names, whatever aiohttp calls it.

Used by `forward` and `relay`. Knows nothing of clients: it never sees their headers or keys.
"""

import asyncio
import io
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import lru_cache
from typing import Any

import aiohttp
from yarl import URL

from elastic_deploy.gateway.ask import Ask
from elastic_deploy.gateway.settings import EngineLimits
from elastic_deploy.model.action import Backend

KEEP_ALIVE = 2.0
"""Seconds for which an idle connection is used again: under the 5 after which vLLM closes it
(VLLM_HTTP_TIMEOUT_KEEP_ALIVE), so that no request is sent into a connection that is being closed."""

KEEPALIVE_PROBES = ((socket.TCP_KEEPIDLE, 10), (socket.TCP_KEEPINTVL, 5), (socket.TCP_KEEPCNT, 3))
"""TCP's own probes find a host that has gone without a word within 25 s; an engine that thinks answers them."""

LARGE = 1024 * 1024
"""Bytes from which aiohttp wants a body as a file, to send it piece by piece."""

_SKIPPED = ("Accept", "Accept-Encoding", "User-Agent")


class EngineTroubleError(Exception):
    """The engine did not answer. `kind` is the word for it in the metrics."""

    kind = ""


class EngineRefusedError(EngineTroubleError):
    """It took no connection: nothing of the request has reached it."""

    kind = "refused"


class EngineBrokeError(EngineTroubleError):
    """The connection ended before the answer did."""

    kind = "broke"


class EngineSilentError(EngineTroubleError):
    """It sent nothing for as long as it may."""

    kind = "silent"


@contextmanager
def engine_errors() -> Iterator[None]:
    """Names what goes wrong within. Only what reads from an engine, or writes to one, may stand in it."""
    try:
        yield
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
        raise EngineRefusedError(str(error)) from error
    except TimeoutError as error:
        raise EngineSilentError(str(error)) from error
    except (aiohttp.ClientError, OSError) as error:
        raise EngineBrokeError(str(error)) from error


class Engines:
    """The connections to all engines. To be made within a running event loop, and closed."""

    def __init__(self, limits: EngineLimits) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0, keepalive_timeout=KEEP_ALIVE, socket_factory=_socket, happy_eyeballs_delay=None
            ),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=limits.connect, sock_read=limits.silence),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )

    async def close(self) -> None:
        """Close all connections; an engine stops working on what was asked over them."""
        await self._session.close()

    @asynccontextmanager
    async def ask(self, backend: Backend, ask: Ask, key: str, request_id: str) -> AsyncIterator[aiohttp.ClientResponse]:
        """The engine's answer, its body still to be read; leaving before its end tells the engine to stop.

        Raises EngineTroubleError.
        """
        headers = {"Content-Type": ask.content_type, "X-Request-Id": request_id}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        with engine_errors():
            answer = await self._session.post(
                _url(backend.address, ask.path),
                data=ask.body if len(ask.body) < LARGE else io.BytesIO(ask.body),
                headers=headers,
                skip_auto_headers=_SKIPPED,
                allow_redirects=False,
            )
        try:
            yield answer
        finally:
            # Closes the connection unless the answer was read to its end: the sign on which vLLM stops generating.
            answer.close()

    async def read(self, backend: Backend, path: str, key: str, most: int, seconds: float) -> bytes:
        """What the engine has at `path`, whole. Raises EngineTroubleError, also where it is over `most` bytes."""
        body = bytearray()
        with engine_errors():
            async with (
                asyncio.timeout(seconds),
                self._session.get(
                    _url(backend.address, path),
                    headers={"Authorization": f"Bearer {key}"} if key else {},
                    skip_auto_headers=_SKIPPED,
                    allow_redirects=False,
                ) as answer,
            ):
                if answer.status != 200:
                    raise EngineBrokeError(f"it answered {answer.status}")
                async for piece in answer.content.iter_any():
                    body += piece
                    if len(body) > most:
                        raise EngineBrokeError(f"it answered with more than {most} bytes")
        return bytes(body)


@lru_cache(maxsize=1024)
def _url(address: str, path: str) -> URL:
    return URL(address + path, encoded=True)


def _socket(address: tuple[Any, ...]) -> socket.socket:
    family, kind, protocol = address[:3]
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in KEEPALIVE_PROBES:
        made.setsockopt(socket.IPPROTO_TCP, option, value)
    return made
