"""HTTP as bytes: answers are read from a socket without a client library, which would hide what a bad server sends."""

import asyncio
import json
import re
from dataclasses import dataclass
from typing import Any

LONGEST = 8 * 1024 * 1024


@dataclass(frozen=True)
class Answer:
    """One answer. `headers` by their names in small letters."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)


class BadAnswerError(AssertionError):
    """What came back is no HTTP."""


async def read_answer(reader: asyncio.StreamReader, method: str = "GET") -> Answer | None:
    """The next answer, None where the connection ends before one. 100 Continue is passed over.

    Raises BadAnswerError; IncompleteReadError where it ends in the middle of one.
    """
    while True:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            if error.partial:
                raise
            return None
        first, *lines = head[:-4].decode("latin-1").split("\r\n")
        version, _, rest = first.partition(" ")
        status = rest[:3]
        # aiohttp answers in the version that it was asked in, whatever that is.
        if not re.fullmatch("HTTP/[0-9][.][0-9]", version) or not status.isdecimal():
            raise BadAnswerError(f"no status line: {first!r}")
        if any(": " not in line for line in lines):
            raise BadAnswerError(f"no header: {lines!r}")
        if status != "100":
            break
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return Answer(int(status), headers, await _body(reader, headers, method, int(status)))


async def _body(reader: asyncio.StreamReader, headers: dict[str, str], method: str, status: int) -> bytes:
    if method == "HEAD" or status in (204, 304):
        return b""
    if headers.get("transfer-encoding") == "chunked":
        return await _chunks(reader)
    if "content-length" in headers:
        return await reader.readexactly(int(headers["content-length"]))
    return await reader.read(LONGEST)


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while True:
        size = int(await reader.readuntil(b"\r\n"), 16)
        piece = await reader.readexactly(size + 2)
        if piece[-2:] != b"\r\n":
            raise BadAnswerError("a chunk without its end")
        if size == 0:
            return body
        body += piece[:-2]
