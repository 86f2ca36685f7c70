"""The clients of scripts/bench-gateway: as many as are asked for, each with one request after another."""

import asyncio
import json
import time
from dataclasses import dataclass
from functools import partial

from scripts.doors.fast_engine import MODEL, length_of

KEY = "bench"
LIMIT = 180.0
"""Seconds for one run."""
_TEXT = "Tell me about foxes. " * 20
BODY = {"model": MODEL, "messages": [{"role": "user", "content": _TEXT}], "max_tokens": 16}


class Client(asyncio.Protocol):
    """Sends `left` requests one after another over one connection, and notes seconds to first byte and to the end."""

    def __init__(self, left: int, stream: bool) -> None:
        body = json.dumps(BODY | ({"stream": True} if stream else {})).encode()
        self.request = (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {KEY}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode() + body
        self.left, self.stream = left, stream
        self.first: list[float] = []
        self.whole: list[float] = []
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.send()

    def send(self) -> None:
        self.data, self.began = b"", time.perf_counter()
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter() - self.began
        if not self.data:
            self.first.append(now)
        self.data += data
        if not self.is_whole():
            return
        if not self.data.startswith(b"HTTP/1.1 200"):
            self.done.set_exception(RuntimeError(self.data.decode(errors="replace")))
            self.transport.close()
            return
        self.whole.append(now)
        self.left -= 1
        if self.left:
            self.send()
        else:
            self.transport.close()
            self.done.set_result(None)

    def is_whole(self) -> bool:
        if self.stream and self.data.startswith(b"HTTP/1.1 200"):
            return self.data.endswith(b"0\r\n\r\n")
        head, end, rest = self.data.partition(b"\r\n\r\n")
        return bool(end) and len(rest) >= length_of(head)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(error or ConnectionResetError("the connection was closed"))


@dataclass(frozen=True)
class Timings:
    """What one run of clients has seen; `whole` and `first` in seconds, one for each request; `seconds` in all."""

    whole: tuple[float, ...]
    first: tuple[float, ...]
    seconds: float


def _same(client: Client) -> Client:
    return client


async def measure(port: int, requests: int, clients: int, stream: bool = False) -> Timings:
    """`requests` by `clients` at once against one port of this machine."""
    loop = asyncio.get_running_loop()
    made = [Client(requests // clients, stream) for _ in range(clients)]
    began = time.perf_counter()
    for client in made:
        await loop.create_connection(partial(_same, client), "127.0.0.1", port)
    async with asyncio.timeout(LIMIT):
        await asyncio.gather(*(client.done for client in made))
    seconds = time.perf_counter() - began
    whole = tuple(time for client in made for time in client.whole)
    return Timings(whole, tuple(time for client in made for time in client.first), seconds)
