"""The way to one client: the head of the answer, its pieces, and the comments that keep a held stream alive.

Made by `forward` for each request, written to by `relay` and while a request waits. Knows nothing of engines.
"""

import asyncio

from aiohttp import web

from elastic_deploy.gateway.record import Outcome, Record
from elastic_deploy.gateway.sse import CONTENT_TYPE, comment

PASSED_HEADERS = ("Content-Type", "Content-Encoding", "Cache-Control", "Retry-After")
"""What of an engine's head a client sees."""


class Client:
    """One request's answer on its way. A client that takes nothing for `stall` seconds is cut off.

    `send` and `reassure` raise ConnectionError if the client is gone.
    """

    def __init__(self, request: web.BaseRequest, record: Record, stall: float) -> None:
        self._request = request
        self.record = record
        self._stall = stall
        self._response: web.StreamResponse | None = None
        self.told = False
        """Whether a piece of an answer is on its way: from then on it cannot be another answer."""

    @property
    def begun(self) -> bool:
        """Whether status and headers are out."""
        return self._response is not None and self._response.prepared

    @property
    def response(self) -> web.StreamResponse:
        """The answer; there is one from the first `head` on."""
        assert self._response is not None
        return self._response

    def head(self, status: int, headers: dict[str, str]) -> None:
        """The head that goes out with the first piece, unless one is out already."""
        if not self.begun:
            self._response = web.StreamResponse(status=status, headers={**headers, "X-Request-Id": self.record.id})

    async def send(self, piece: bytes) -> None:
        """One piece of the answer."""
        self.told = True
        self.record.sent(len(piece))
        await self._write(piece)

    async def reassure(self, reason: str) -> None:
        """Tell a client whose stream has to wait that it is not forgotten, and why it waits."""
        self.head(200, {"Content-Type": CONTENT_TYPE})
        await self._write(comment(f"waiting: {reason}"))

    async def _write(self, piece: bytes) -> None:
        try:
            async with asyncio.timeout(self._stall):
                if not self.begun:
                    await self.response.prepare(self._request)
                    self.record.status = self.response.status
                await self.response.write(piece)
        except TimeoutError as error:
            self.record.outcome = Outcome.CLIENT_STALLED
            self.cut()
            raise ConnectionError("the client takes nothing") from error

    def cut(self) -> None:
        """End the connection so that nobody can take what was sent for a whole answer."""
        if self._request.transport is not None:
            self._request.transport.abort()
