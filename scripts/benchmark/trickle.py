"""A client that sends one small request every quarter of a second, whatever becomes of the ones before.

Used by `ours` while a node is killed. It knows an OpenAI endpoint and nothing else, as a client does.
"""

import asyncio
import threading
import time
from dataclasses import dataclass
from types import TracebackType

import aiohttp

PERIOD = 0.25
"""Seconds from one request to the next."""

SLOW = 1.0
"""Seconds after which an answer had to wait: the tiny model takes a tenth of that for one token."""

REQUEST_LIMIT = 300.0
"""Seconds after which the client gives up; the front door holds requests for less."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to ask, for which model, with which key."""

    url: str
    model: str
    key: str


@dataclass(frozen=True, slots=True)
class Answer:
    """One request's end. `error` is "" where a token came; `sent_at` is seconds since the epoch."""

    sent_at: float
    seconds: float
    error: str

    @property
    def suffered(self) -> bool:
        """Whether the client noticed anything."""
        return bool(self.error) or self.seconds >= SLOW


class Trickle:
    """Sends while the context is open."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._over = threading.Event()
        self._answers: list[Answer] = []
        self._thread = threading.Thread(target=self._run, name="trickle", daemon=True)

    def __enter__(self) -> "Trickle":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()

    def answers(self) -> list[Answer]:
        """Send no more, wait for the answers that are still due, and return all, in the order of their requests."""
        self._over.set()
        self._thread.join(REQUEST_LIMIT + 10)
        return self._answers

    def _run(self) -> None:
        self._answers = asyncio.run(self._send())

    async def _send(self) -> list[Answer]:
        limits = aiohttp.ClientTimeout(total=REQUEST_LIMIT)
        headers = {"Authorization": f"Bearer {self._endpoint.key}"}
        connector = aiohttp.TCPConnector(limit=0)
        async with (
            aiohttp.ClientSession(headers=headers, timeout=limits, connector=connector) as session,
            asyncio.TaskGroup() as tasks,
        ):
            sent = []
            while not self._over.is_set():
                sent.append(tasks.create_task(_ask(session, self._endpoint)))
                await asyncio.sleep(PERIOD)
        return [task.result() for task in sent]


async def _ask(session: aiohttp.ClientSession, endpoint: Endpoint) -> Answer:
    sent_at, began = time.time(), time.perf_counter()
    body = {"model": endpoint.model, "prompt": "A node", "max_tokens": 1, "temperature": 0}
    try:
        async with session.post(f"{endpoint.url}/completions", json=body) as answer:
            await answer.read()
            error = "" if answer.status == 200 else f"HTTP {answer.status}"
    except (aiohttp.ClientError, TimeoutError) as failure:
        error = type(failure).__name__
    return Answer(sent_at, time.perf_counter() - began, error)
