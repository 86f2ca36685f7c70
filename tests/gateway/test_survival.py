"""What the gateway lives through, as a process of its own: crowds, engines that die or hang, clients that do not read.

Seconds are printed, never judged but by generous limits: the machine may be busy.
"""

import asyncio
import json
import re
import resource
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from elastic_deploy.model.action import Backend, RouteEntry
from elastic_deploy.model.names import EngineName

from .gateway_process import LIMIT, Process, eventually, gateway_process
from .raw_http import read_answer
from .slow_engine import ANSWER, SlowEngine, slow_engine
from .stand_in import CLIENT_KEY, StandIn, engine, event, route, write_keys, write_routes

CROWD = 1000
MOST = 240.0
"""Seconds for one of these stories."""


@pytest.fixture(autouse=True)
def _many_descriptors() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def run(story: Any) -> None:
    async def limited() -> None:
        async with asyncio.timeout(MOST):
            await story

    asyncio.run(limited())


@dataclass
class Told:
    """What one client has got: the text so far (`begun` at its first), and whether the stream has come to its end."""

    text: str = ""
    ended: bool = False
    error: str = ""
    begun: asyncio.Event = field(default_factory=asyncio.Event)


def request(document: dict[str, Any], path: str = "/v1/chat/completions") -> bytes:
    body = json.dumps(document).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {CLIENT_KEY}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def chat(number: int) -> bytes:
    """A chat of its own, of one length with all others: the stand-in holds every prompt to be the same."""
    messages = [{"role": "user", "content": "hello"}]
    return request(
        {
            "model": "tiny",
            "messages": messages,
            "stream": True,
            "temperature": 0,
            "user": str(number),
            "max_tokens": 200,
        }
    )


async def listen(port: int, sent: bytes, told: Told) -> None:
    """One client: reads a stream to its end. Without a library: a thousand of these share one core with the rest."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(sent)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head + await reader.read(500)
        while line := await reader.readline():
            if line == b"data: [DONE]\n":
                told.ended = True
            elif line.startswith(b'data: {"error"'):
                told.error = line.decode()
            elif line.startswith(b"data: "):
                for choice in json.loads(line[6:])["choices"]:
                    told.text += choice["delta"].get("content") or ""
                    if told.text:
                        told.begun.set()
            elif line == b"0\r\n":
                return
    finally:
        writer.close()


async def metrics(port: int) -> Counter[str]:
    """The gateway's numbers by name, all labels added up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    page = await read_answer(reader)
    writer.close()
    assert page is not None
    found: Counter[str] = Counter()
    for name, value in re.findall(
        r"^elastic_deploy_gateway_([a-z_]+)(?:\{.*\})? (\S+)$", page.body.decode(), re.MULTILINE
    ):
        found[name] += int(float(value))
    return found


async def outstanding(port: int, engine: SlowEngine) -> int:
    """How many requests an engine works on."""
    async with aiohttp.ClientSession() as client, client.get(f"http://127.0.0.1:{port}/metrics") as page:
        label = f'outstanding{{deployment="tiny",replica="{engine.backend.engine.replica}"}} '
        return int(float((await page.text()).partition(label)[2].partition("\n")[0]))


@asynccontextmanager
async def crowd(port: int, count: int) -> AsyncIterator[list[Told]]:
    """So many streams at once, all in their middle; at the end all are over: let the engine go on before."""
    stories = [Told() for _ in range(count)]
    async with asyncio.TaskGroup() as group:
        for number, told in enumerate(stories):
            group.create_task(listen(port, chat(number), told))
        for told in stories:
            await told.begun.wait()
        yield stories


def whole(told: Told) -> bool:
    return told.text == ANSWER and told.ended and not told.error


@pytest.mark.parametrize("dies", [False, True], ids=["all well", "an engine is killed"])
def test_a_thousand_streams_at_once_end_whole(tmp_path: Path, dies: bool) -> None:
    async def story(first: SlowEngine, second: SlowEngine, gateway: Process) -> None:
        before = gateway.memory
        async with crowd(gateway.port, CROWD) as stories:
            assert not any(told.ended for told in stories), "all of them run at once"
            assert (await metrics(gateway.port))["outstanding"] == CROWD
            print(f"{(gateway.memory - before) / CROWD / 1000:.1f} KB each")
            if dies:
                busier = await outstanding(gateway.port, first) >= CROWD // 2
                (first if busier else second).kill()
            for each in (first, second):
                if each.process.poll() is None:
                    each.go_on()
        assert [told for told in stories if not whole(told)] == []
        counted = await metrics(gateway.port)
        print(f"{counted['continued_total']} continued")
        assert counted["continued_total"] >= CROWD // 3 if dies else counted["continued_total"] == 0
        assert (counted["outstanding"], counted["waiting"]) == (0, 0)

    with slow_engine("r0") as first, slow_engine("r1") as second:
        write_keys(tmp_path)
        write_routes(tmp_path, route(first.backend, second.backend))
        with gateway_process(tmp_path) as gateway:
            run(story(first, second, gateway))


def test_a_client_that_never_reads_is_cut_off_and_harms_nobody(tmp_path: Path) -> None:
    async def flood(_: StandIn, asked: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(asked)
        while True:
            await response.write(event("x" * 60_000))

    async def story(slow: SlowEngine) -> None:
        async with engine(flood, deployment="flood") as endless:
            write_keys(tmp_path)
            write_keys(tmp_path, "flood")
            write_routes(tmp_path, route(slow.backend), route(endless.backend, model="flood", deployment="flood"))
            with gateway_process(tmp_path, "--client-stall-timeout", "2s") as gateway:
                async with crowd(gateway.port, 50) as stories:
                    before = gateway.memory
                    deaf = socket.create_connection(("127.0.0.1", gateway.port))
                    deaf.sendall(request({"model": "flood", "prompt": "x", "stream": True}, "/v1/completions"))
                    most = 0
                    while not endless.gone.is_set():
                        most = max(most, gateway.memory - before)
                        await asyncio.sleep(0.05)
                    slow.go_on()
                print(f"{most / 1e6:.1f} MB for a client that reads nothing")
                assert most < 16 * 1024 * 1024
                assert all(map(whole, stories))
                assert await eventually(lambda: any(line.get("outcome") == "client_stalled" for line in gateway.log))
                deaf.close()

    with slow_engine("r0") as slow:
        run(story(slow))


SOME_EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n" + (
    b"%x\r\n%b\r\n" % (len(event("a")), event("a"))
)


@asynccontextmanager
async def hung_engine(says: bytes | None) -> AsyncIterator[str]:
    """One that says so much to each client and no more. None: it does not even accept; the kernel does it for it."""

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert says is not None
        writer.write(says)
        while await reader.read(1000):
            pass
        writer.close()

    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        server = await asyncio.start_server(say, sock=listener) if says is not None else None
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        if server is not None:
            server.close()


def code_of(answer: str) -> str:
    """The code of an error, in an answer's body or in a stream's last event."""
    return str(json.loads(answer.strip().split("\n\n")[-1].removeprefix("data: "))["error"]["code"])


@pytest.mark.parametrize(
    ("says", "status"),
    [(None, 504), (b"", 504), (b"HTTP/1.1 200 OK\r\nContent-Ty", 504), (SOME_EVENTS, 200)],
    ids=["accepts nothing", "says nothing", "half a head", "some events"],
)
def test_an_engine_that_hangs_is_given_up_and_harms_nobody(tmp_path: Path, says: bytes | None, status: int) -> None:
    async def ask(client: aiohttp.ClientSession) -> tuple[int, str]:
        async with client.post("/v1/completions", json={"model": "hung", "prompt": "x", "stream": True}) as response:
            return response.status, code_of(await response.text())

    async def story(slow: SlowEngine, address: str) -> None:
        hung = Backend(EngineName("hung", "r0", 1), address)
        write_keys(tmp_path)
        write_keys(tmp_path, "hung")
        write_routes(tmp_path, route(slow.backend), route(hung, model="hung", deployment="hung"))
        with gateway_process(tmp_path, "--engine-silence-timeout", "2s") as gateway:
            url, headers = f"http://127.0.0.1:{gateway.port}", {"Authorization": f"Bearer {CLIENT_KEY}"}
            async with aiohttp.ClientSession(url, headers=headers) as client, crowd(gateway.port, 50) as stories:
                slow.go_on()  # or they would count as hung, too
                answers = await asyncio.gather(*(ask(client) for _ in range(20)))
                assert set(answers) == {(status, "engine_silent")}
            assert all(map(whole, stories))
            assert (await metrics(gateway.port))["outstanding"] == 0

    async def both(slow: SlowEngine) -> None:
        async with hung_engine(says) as address:
            await story(slow, address)

    with slow_engine("r0") as slow:
        run(both(slow))


@pytest.mark.parametrize("left", [None, "", "{", '{"entries": [{}]}', "\x00" * 5000])
def test_without_a_routing_table_the_last_one_is_kept(tmp_path: Path, left: str | None) -> None:
    """What the supervisor leaves: nothing, or half of something. Streams go on, and new ones begin."""

    async def story(slow: SlowEngine, gateway: Process) -> None:
        async with crowd(gateway.port, 20) as first:
            if left is None:
                (tmp_path / "routes.json").unlink()
            else:
                (tmp_path / "routes.json").write_text(left)
                assert await eventually(lambda: any(line["event"] == "table_refused" for line in gateway.log))
            async with crowd(gateway.port, 20) as later:
                slow.go_on()
        assert all(map(whole, [*first, *later]))
        named = RouteEntry("renamed", "tiny", (slow.backend,), "")
        write_routes(tmp_path, named)
        assert await eventually(
            lambda: [line for line in gateway.log if line["event"] == "table"][-1]["backends"] == {"renamed": 1}
        )

    with slow_engine("r0") as slow:
        write_keys(tmp_path)
        write_routes(tmp_path, route(slow.backend))
        with gateway_process(tmp_path) as gateway:
            run(story(slow, gateway))


def test_a_gateway_killed_under_load_is_followed_at_once_by_one_on_its_port(tmp_path: Path) -> None:
    async def story(slow: SlowEngine) -> None:
        with gateway_process(tmp_path) as first:
            stories = [Told() for _ in range(200)]
            listening = [asyncio.create_task(listen(first.port, chat(n), told)) for n, told in enumerate(stories)]
            for told in stories:
                await told.begun.wait()
            began = time.monotonic()
            first.kill()
            with gateway_process(tmp_path, "--port", str(first.port)) as second:
                seconds = time.monotonic() - began
                print(f"listens again {seconds:.2f} s after the kill")
                ends = await asyncio.gather(*listening, return_exceptions=True)
                assert not any(told.ended for told in stories)
                slow.go_on()
                assert not [end for end in ends if isinstance(end, AssertionError)]
                async with crowd(second.port, 200) as again:
                    pass
                assert all(map(whole, again))
                assert seconds < LIMIT

    with slow_engine("r0") as slow:
        write_keys(tmp_path)
        write_routes(tmp_path, route(slow.backend))
        run(story(slow))
