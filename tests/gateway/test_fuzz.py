"""Thousands of hostile requests against a real gateway process, in front of an engine that notes all that reaches it.

The same requests in every run: hypothesis derives them from the tests' own source (`derandomize`). To run more of them
set GATEWAY_FUZZ_FACTOR.
"""

import asyncio
import contextlib
import json
import os
import re
import socket
import struct
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count, filterfalse, islice
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis import strategies as st

from elastic_deploy.gateway.paths import FORWARDED
from elastic_deploy.model.action import Backend
from elastic_deploy.model.names import EngineName

from . import hostile_requests as hostile
from .gateway_process import LIMIT, Process, eventually, gateway_process
from .hostile_requests import KEYLESS, NONCE, RIGHT_KEY, Batch, Hostile
from .raw_http import Answer, read_answer
from .stand_in import CLIENT_KEY, ENGINE_KEY, event, route, write_keys, write_routes

T = TypeVar("T")
FACTOR = float(os.environ.get("GATEWAY_FUZZ_FACTOR", "1"))
BATCH = 16
"""Connections of one example, all at once: that is what makes thousands of requests quick."""
QUIET = 0.1
"""Seconds for which an answer is awaited that need not come."""
MORE_MEMORY = 32 * 1024 * 1024
MORE_DESCRIPTORS = 4
NONCES = re.compile(rb"n-[0-9]{10}")
PASSED = {b"host", b"accept-encoding", b"content-type", b"content-length", b"x-request-id", b"authorization"}


@dataclass
class Witness:
    """The engine: answers at once, with the nonce that it was sent, and notes what it should never have seen."""

    wrong: list[str] = field(default_factory=list)
    asked: int = 0

    def look(self, head: bytes, body: bytes) -> None:
        """Note everything that is not as the gateway promises."""
        self.asked += 1
        line, *headers = head.split(b"\r\n")
        method, path, version = line.decode().split(" ")
        if method != "POST" or path not in FORWARDED or version != "HTTP/1.1":
            self.wrong.append(f"the line {line!r}")
        names = [header.partition(b": ")[0].lower() for header in headers]
        if len(names) != len(set(names)) or not PASSED.issuperset(names):
            self.wrong.append(f"the headers {names}")
        if f"Authorization: Bearer {ENGINE_KEY}".encode() not in headers or CLIENT_KEY.encode() in head:
            self.wrong.append("not the engine's key")
        asked = json.loads(body)
        if KEYLESS in json.dumps(asked).encode():
            self.wrong.append(f"a request without a key: {body[:300]!r}")
        if asked["model"] != "tiny":
            self.wrong.append(f"another's model: {body[:300]!r}")


class Engine(asyncio.Protocol):
    """One connection of the gateway's to the witness. What it cannot read is wrong, too."""

    def __init__(self, witness: Witness) -> None:
        self.witness, self.data = witness, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.data += data
        while True:
            head, end, rest = self.data.partition(b"\r\n\r\n")
            length = re.search(rb"\r\nContent-Length: ([0-9]+)(\r\n|$)", head)
            if end and not length:
                self.witness.wrong.append(f"a request without a length: {head!r}")
            if not end or not length or len(rest) < int(length[1]):
                return
            body, self.data = rest[: int(length[1])], rest[int(length[1]) :]
            try:
                self.witness.look(head, body)
                self.transport.write(self.answer(body))
            except (ValueError, KeyError, TypeError) as error:
                self.witness.wrong.append(f"{error!r} in {head!r} {body[:300]!r}")
                self.transport.abort()

    def answer(self, body: bytes) -> bytes:
        """What an engine says, its nonce in it."""
        nonce = (NONCES.findall(body) or [b"none"])[-1].decode()
        asked = json.loads(body)
        told = event(nonce) + event("more") + b"data: [DONE]\n\n"
        if asked.get("stream") is True:
            head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
            return head + hostile.chunked(told, 37)
        wanted = asked.get("answer_with")
        status = wanted if wanted in (400, 500, 204) else 200
        document = b"plain " + nonce.encode() if wanted == "text" else json.dumps({"from": nonce}).encode()
        kind = b"text/plain" if wanted == "text" else b"application/json"
        head = b"HTTP/1.1 %d X\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n"
        return head % (status, kind, 0 if status == 204 else len(document)) + (b"" if status == 204 else document)


@dataclass
class Storm:
    """A gateway under fire, and what was seen of it.

    `before` is its memory and descriptors when it was warm, `read` how much of its log was looked at.
    """

    gateway: Process
    witness: Witness
    loop: asyncio.AbstractEventLoop
    numbers: Iterator[int] = field(default_factory=partial(count, 1))
    sent: int = 0
    statuses: dict[int, int] = field(default_factory=dict)
    before: tuple[int, int] = (0, 0)
    read: int = 0

    def run(self, story: Coroutine[Any, Any, T]) -> T:
        """Run in the engine's loop, within a limit."""

        async def limited() -> T:
            async with asyncio.timeout(2 * LIMIT):
                return await story

        return self.loop.run_until_complete(limited())

    async def all_at_once(self, batch: Sequence[Hostile]) -> None:
        """Send a batch, and look at every answer."""
        for each, fault in zip(batch, await asyncio.gather(*map(self.one, batch), return_exceptions=True), strict=True):
            if fault is not None:
                raise AssertionError(f"{fault!r} on {each.data[:700]!r}") from fault
        assert not self.witness.wrong

    async def one(self, sent: Hostile) -> None:
        """One connection: send, read what comes, and judge it."""
        self.sent += max(1, len(sent.methods))
        nonces = [f"n-{next(self.numbers):010}".encode() for _ in range(sent.data.count(NONCE))]
        data = NONCE.join(sent.data.split(NONCE))
        for nonce in nonces:
            data = data.replace(NONCE, nonce, 1)
        reader, writer = await asyncio.open_connection("127.0.0.1", self.gateway.port, limit=2**20)
        try:
            if sent.leaves is not None:
                writer.write(data[: sent.leaves])
                if sent.leaves % 2:
                    linger = struct.pack("ii", 1, 0)
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                return
            for begin, end in zip((0, *sent.cuts), (*sent.cuts, len(data)), strict=True):
                writer.write(data[begin:end])
                await asyncio.sleep(0)
            answers = await self.answers(reader, sent)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        for answer in answers:
            judge(answer, sent)
            self.statuses[answer.status] = self.statuses.get(answer.status, 0) + 1
        # One that no nonce was put into, since its characters were of another encoding, tells nothing.
        told = [nonce for answer in answers for nonce in NONCES.findall(answer.body) if nonce != NONCE]
        in_order = iter(nonces)
        assert all(nonce in in_order for nonce in told), f"answers {told} to {nonces}"

    async def answers(self, reader: asyncio.StreamReader, sent: Hostile) -> list[Answer]:
        """All that come. The first of a whole request must."""
        answers: list[Answer] = []
        for method in sent.methods:
            must = sent.whole and not answers
            try:
                async with asyncio.timeout(LIMIT if must else QUIET):
                    answer = await read_answer(reader, method)
            except TimeoutError:
                assert not must, f"no answer to {sent.data[:500]!r}"
                break
            except (ConnectionError, asyncio.IncompleteReadError):
                # A connection that is closed while we still send is reset, its last answer with it.
                break
            if answer is None:
                break
            answers.append(answer)
        return answers

    async def settled(self) -> None:
        """After a storm: alive, idle, and no larger than before."""
        health = await self.ask(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (health.status, health.document) == (200, {"status": "ok"})
        assert await eventually(lambda: self.gateway.descriptors <= self.before[1] + MORE_DESCRIPTORS)
        page = await self.ask(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        gauges = re.findall(rb"^elastic_deploy_gateway_(outstanding|waiting)\{.*\} (.*)$", page.body, re.MULTILINE)
        assert {name for name, _ in gauges} == {b"outstanding", b"waiting"}
        assert {float(value) for _, value in gauges} == {0.0}
        grown = self.gateway.memory - self.before[0]
        assert grown < MORE_MEMORY, f"{grown} bytes more than before"
        text = (self.gateway.directory / "stderr").read_text()[self.read :]
        self.read += len(text)
        assert not list(islice(filterfalse(is_quiet, text.splitlines()), 30))
        assert CLIENT_KEY not in text
        assert NONCE[:2].decode() + "0" not in text

    async def ask(self, request: bytes) -> Answer:
        """One honest request."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.gateway.port)
        writer.write(request)
        try:
            async with asyncio.timeout(LIMIT):
                answer = await read_answer(reader)
        finally:
            writer.close()
            await writer.wait_closed()
        assert answer is not None
        return answer


def is_quiet(line: str) -> bool:
    """Whether a line of the log says nothing bad of the gateway: a traceback is many lines, and none of them JSON."""
    with contextlib.suppress(ValueError):
        return json.loads(line)["event"] in ("listening", "table", "request")
    return False


def judge(answer: Answer, sent: Hostile) -> None:
    """No fault of the gateway's own, and every error in OpenAI's form."""
    story = f"{answer} to {sent.data[:700]!r}"
    assert CLIENT_KEY.encode() not in answer.body, story
    assert ENGINE_KEY.encode() not in answer.body, story
    if answer.status < 400 or "HEAD" in sent.methods or answer.body.startswith(b'{"from"'):
        return
    if b"/ready" in sent.data and answer.status == 503 and answer.document.get("status") == "not ready":
        return
    error = answer.document["error"]
    assert set(error) == {"message", "type", "param", "code"}, story
    assert answer.headers["content-type"].startswith("application/json"), story
    if answer.status >= 500:
        assert (answer.status, error["code"]) == (503, "model_unavailable"), story
        assert "it waits here" in error["message"], story


@pytest.fixture(scope="module")
def storm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storm]:
    directory: Path = tmp_path_factory.mktemp("storm")
    loop, witness = asyncio.new_event_loop(), Witness()
    server = loop.run_until_complete(loop.create_server(lambda: Engine(witness), "127.0.0.1", 0, backlog=1024))
    backend = Backend(EngineName("tiny", "r0", 1), f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    write_keys(directory)
    write_routes(directory, route(backend), route_that_waits())
    flags = ("--hold-timeout", "0.2s", "--max-body-bytes", str(hostile.LARGEST))
    with gateway_process(directory, *flags) as gateway:
        made = Storm(gateway, witness, loop)
        warm_up(made)
        yield made
        print(f"{made.sent} requests, {witness.asked} reached the engine, answers: {sorted(made.statuses.items())}")
        server.close()
    loop.run_until_complete(asyncio.sleep(0.1))
    loop.close()


def route_that_waits() -> Any:
    entry = route(model="waiting")
    return type(entry)(entry.model, entry.deployment, (), "it waits here")


def warm_up(storm: Storm) -> None:
    """Large and small, many at once, until the process is as large as honest use makes it."""
    body = json.dumps({"model": "tiny", "prompt": "x" * (hostile.LARGEST - 100), "stream": True}).encode()
    head = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\n" + RIGHT_KEY + b"\r\nContent-Length: %d\r\n\r\n"
    large = Hostile(head % len(body) + body, whole=True)
    for _ in range(20):
        storm.run(storm.all_at_once([large] * BATCH))
    assert storm.statuses == {200: 20 * BATCH}
    storm.run(asyncio.sleep(2.5))  # the idle connections to the engine are closed after two seconds
    storm.before = (storm.gateway.memory, storm.gateway.descriptors)


def fire(storm: Storm, requests: st.SearchStrategy[Hostile], batches: int, *, some_pass: bool = True) -> None:
    """So many batches, and then the look at what is left."""

    @settings(
        max_examples=int(batches * FACTOR),
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        verbosity=Verbosity.quiet,
        suppress_health_check=list(HealthCheck),
    )
    @given(batch=st.lists(requests, min_size=BATCH, max_size=BATCH).map(Batch))
    def batch_of(batch: Sequence[Hostile]) -> None:
        storm.run(storm.all_at_once(batch))

    began, asked = storm.sent, storm.witness.asked
    batch_of()
    assert storm.sent - began >= batches * BATCH * min(FACTOR, 1)
    if some_pass:
        assert storm.witness.asked > asked, "some of it is honest enough to be passed on"
    storm.run(storm.settled())


def test_targets_that_are_nearly_allowed(storm: Storm) -> None:
    fire(storm, hostile.requests(strange="target"), 80)


def test_headers_that_are_nearly_right(storm: Storm) -> None:
    fire(storm, hostile.requests(strange="headers"), 90)


def test_bodies_that_are_nearly_right(storm: Storm) -> None:
    fire(storm, hostile.requests(strange="body"), 90)


def test_several_requests_in_one_breath(storm: Storm) -> None:
    fire(storm, hostile.pipelines(), 30)


def test_bytes_that_are_no_http(storm: Storm) -> None:
    fire(storm, hostile.raw_bytes(), 40, some_pass=False)
