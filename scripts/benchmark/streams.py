"""A steady load: clients that each ask for one streamed answer after another, and note what they saw of it.

Used by scripts/bench-doors and by the end-to-end tests while a node is killed. It knows an OpenAI endpoint and nothing
else, as a client does; what the notes amount to is judged by `disturbance`.
"""

import asyncio
import json
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from types import TracebackType
from typing import Any

import aiohttp

from scripts.benchmark.trickle import Endpoint

TOKENS = 128
"""Tokens of an answer: about a second of the tiny model's, so that every client is within an answer at nearly any
moment."""

PATIENCE = 300.0
"""Seconds after which a client gives up on an answer. OpenAI's own client waits for 600."""

PAUSE_AFTER_FAILURE = 1.0
"""Seconds until a client whose request failed sends the next: else a door that refuses at once would be asked, and
would fail, thousands of times."""

SLACK = 10.0


@dataclass(frozen=True, slots=True)
class Question:
    """Where it is asked, below `/v1`, and the fields that make it this question."""

    path: str
    fields: Mapping[str, Any]


def completion(prompt: str) -> Question:
    """A text to go on with."""
    return Question("/completions", {"prompt": prompt})


def chat(message: str) -> Question:
    """One message of a user's."""
    return Question("/chat/completions", {"messages": [{"role": "user", "content": message}]})


QUESTIONS = (
    completion("A node"),
    chat("Tell me a story."),
    completion("The fox"),
    chat("What are you?"),
    completion("We wait"),
    chat("Why do nodes die?"),
    completion("In the forest"),
    chat("Tell me about the weather."),
)


@dataclass(frozen=True, slots=True)
class Stream:
    """One request's story. `sent_at` and `ended_at` are seconds since the epoch, the others seconds.

    `question` is its number. `error` is "" where the answer ended as it should. `first_text` is the wait for the first
    text, None where none came; `stall` the longest silence after it, up to the next text or the end.
    """

    question: int
    sent_at: float
    ended_at: float
    seconds: float
    first_text: float | None
    stall: float
    text: str
    error: str


class Streams:
    """Clients that ask while the context is open.

    `questions` are asked in turn, by all clients together. With `pause_s`, a client waits that long after each answer.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        clients: int = 8,
        questions: Sequence[Question] = QUESTIONS,
        *,
        tokens: int = TOKENS,
        patience_s: float = PATIENCE,
        pause_s: float = 0.0,
    ) -> None:
        self._endpoint, self._clients, self._questions = endpoint, clients, questions
        self._tokens, self._patience, self._pause = tokens, patience_s, pause_s
        self._over = threading.Event()
        self._ended: list[Stream] = []
        self._well = False
        self._thread = threading.Thread(target=self._run, name="streams", daemon=True)

    def __enter__(self) -> "Streams":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()

    def ended(self) -> list[Stream]:
        """The requests that have ended so far, in the order of their ends."""
        return self._ended.copy()

    def until(self, requests: int, limit_s: float) -> list[Stream]:
        """Wait until so many requests have ended, and return all. Raises as `check` does, TimeoutError at the limit."""
        deadline = time.monotonic() + limit_s
        while len(self._ended) < requests:
            self.check()
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(self._ended)} of {requests} requests had ended after {limit_s:g} s.")
            time.sleep(0.1)
        return self.ended()

    def check(self) -> None:
        """Raise RuntimeError if the clients ask no more though they should: an error of the clients themselves."""
        if not (self._thread.is_alive() or self._well):
            raise RuntimeError("The clients have ended by an error of their own; its traceback is on stderr.")

    def finish(self) -> list[Stream]:
        """Ask no more, wait for the answers that are still due, and return all."""
        self._over.set()
        self._thread.join(self._patience + SLACK)
        if self._thread.is_alive():
            raise TimeoutError(f"Clients that give up after {self._patience:g} s have not come to an end.")
        self.check()
        return self.ended()

    def _run(self) -> None:
        asyncio.run(self._ask_on())
        self._well = True

    async def _ask_on(self) -> None:
        headers = {"Authorization": f"Bearer {self._endpoint.key}"}
        timeout = aiohttp.ClientTimeout(total=self._patience)
        connector = aiohttp.TCPConnector(limit=0)
        turns = count()
        async with (
            aiohttp.ClientSession(headers=headers, timeout=timeout, connector=connector) as session,
            asyncio.TaskGroup() as tasks,
        ):
            for _ in range(self._clients):
                tasks.create_task(self._client(session, turns))

    async def _client(self, session: aiohttp.ClientSession, turns: "count[int]") -> None:
        while not self._over.is_set():
            number = next(turns) % len(self._questions)
            stream = await _ask(session, self._endpoint, number, self._questions[number], self._tokens)
            self._ended.append(stream)
            pause = PAUSE_AFTER_FAILURE if stream.error else self._pause
            if pause:
                await asyncio.sleep(pause)


class _Notes:
    """What is noted while an answer comes."""

    def __init__(self) -> None:
        self.began = self.last = time.perf_counter()
        self.text = ""
        self.first_text: float | None = None
        self.stall = 0.0
        self.finished = False

    def told(self, text: str) -> None:
        """Some text came."""
        now = time.perf_counter()
        if self.first_text is None:
            self.first_text = now - self.began
        else:
            self.stall = max(self.stall, now - self.last)
        self.last, self.text = now, self.text + text

    def over(self) -> float:
        """The end came; the seconds that it all took."""
        now = time.perf_counter()
        if self.first_text is not None:
            self.stall = max(self.stall, now - self.last)
        return now - self.began


async def _ask(
    session: aiohttp.ClientSession, endpoint: Endpoint, number: int, question: Question, tokens: int
) -> Stream:
    settings = {"max_tokens": tokens, "ignore_eos": True, "temperature": 0, "stream": True}
    body = {"model": endpoint.model, **question.fields, **settings}
    notes, sent_at = _Notes(), time.time()
    try:
        async with session.post(endpoint.url + question.path, json=body) as answer:
            error = await _read(answer, notes)
    except (aiohttp.ClientError, TimeoutError, OSError) as failure:
        error = type(failure).__name__
    seconds = notes.over()
    return Stream(number, sent_at, time.time(), seconds, notes.first_text, notes.stall, notes.text, error)


async def _read(answer: aiohttp.ClientResponse, notes: _Notes) -> str:
    """Read an answer to its end; what was wrong with it, "" if nothing."""
    if answer.status != 200:
        await answer.read()
        return f"HTTP {answer.status}"
    async for line in answer.content:
        if not line.startswith(b"data:"):
            continue
        data = line[5:].strip()
        if data == b"[DONE]":
            return "" if notes.finished else "[DONE] without a finish_reason"
        try:
            document = json.loads(data)
        except ValueError:
            return "an event that is not JSON"
        if not isinstance(document, dict) or "choices" not in document:
            return "an error event"
        for choice in document["choices"]:
            text = choice.get("text") or choice.get("delta", {}).get("content")
            if text:
                notes.told(text)
            notes.finished |= bool(choice.get("finish_reason"))
    return "the stream ended without [DONE]"
