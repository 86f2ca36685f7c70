"""Proof of life: real generations, asked of every running engine by the supervisor.

`/health` and `/v1/models` have answered 200 on dead engines; one generated token does not lie. An engine that fails
its canary while its own count of generated tokens still grows is busy, not dead, and is told apart here.
"""

import asyncio
import json
import logging
import re
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace

import aiohttp

from elastic_deploy.model.names import EngineName
from elastic_deploy.model.snapshot import ProbeSeen
from elastic_deploy.model.spec import Canary

log = logging.getLogger(__name__)

KNOCK_PERIOD = 0.25
"""Seconds between looks at an engine that does not answer yet: what a look costs is a refused connection."""

RETRY_PERIOD = 1.0
"""Seconds after a failed canary before the next, if its period is not shorter: enough for a hiccup to pass."""

FIRST_GENERATION = 120.0
"""Seconds for an engine's very first generation: kernels may still be compiled in it."""

LOOK = 5.0
"""Seconds for `/health` and `/metrics`, which an engine answers without generating."""

UNREACHED = (aiohttp.ClientError, TimeoutError, OSError, ValueError)
"""What a request to a dying engine may raise; ValueError where what it sends is no HTTP, no text or no JSON."""

DRAIN_PERIOD = 0.5
"""Seconds between looks at how busy a draining engine is."""

_TOKENS = re.compile(r"^vllm:generation_tokens(?:_total)?(?:\{[^}]*\})?\s+(?P<count>[0-9.eE+]+)$", re.MULTILINE)
_BUSY = re.compile(r"^vllm:num_requests_(?:running|waiting)(?:\{[^}]*\})?\s+(?P<count>[0-9.eE+]+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Target:
    """An engine to be probed. `api_key` is the engine's own."""

    name: EngineName
    address: str
    model: str
    api_key: str = field(repr=False)
    canary: Canary
    draining: bool = False
    """Whether it only finishes what it was asked: it is asked how busy it is, and for no generation any more."""


class Prober:
    """One task an engine, from its first knock to its end. All methods belong to the supervisor's event loop."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._probes: dict[EngineName, asyncio.Task[None]] = {}
        self._drains: dict[EngineName, asyncio.Task[None]] = {}
        self._canaries: dict[EngineName, Canary] = {}
        self._seen: dict[EngineName, ProbeSeen] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._session: aiohttp.ClientSession | None = None

    @property
    def seen(self) -> tuple[ProbeSeen, ...]:
        """What the probes have shown, for the next snapshot."""
        return tuple(self._seen.values())

    def follow(self, targets: list[Target]) -> None:
        """Probe these engines, and no others. Of an engine that is probed already only the canary may change, and
        whether it drains.
        """
        wanted = {target.name: target for target in targets}
        for name in [name for name in self._seen if name not in wanted]:
            del self._seen[name]
            if name in self._probes:
                self._probes.pop(name).cancel()
        self._canaries = {target.name: target.canary for target in targets}
        for name in [name for name in self._drains if name not in wanted or not wanted[name].draining]:
            self._drains.pop(name).cancel()
        for name, target in wanted.items():
            if name not in self._probes:
                self._seen.setdefault(name, ProbeSeen(name))
                self._probes[name] = self._begin(self._probe(target))
            if target.draining and name not in self._drains:
                self._drains[name] = self._begin(self._count(target))

    def _begin(self, probing: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(probing)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    async def close(self) -> None:
        """End all probes."""
        self.follow([])
        await asyncio.gather(*self._running, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if task.cancelled():
            return
        # Probes go on until they are cancelled: this one met a bug, and the next `follow` starts it again.
        self._probes = {name: other for name, other in self._probes.items() if other is not task}
        self._drains = {name: other for name, other in self._drains.items() if other is not task}
        log.error("a probe ended", exc_info=task.exception())

    def _note(self, seen: ProbeSeen) -> None:
        before = self._seen.get(seen.name)
        self._seen[seen.name] = seen
        if before is None or (before.proven_at is None) != (seen.proven_at is None) or before.failures != seen.failures:
            self._changed()

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            # Probes never share a connection with one that hangs.
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True, limit=0))
        return self._session

    async def _count(self, target: Target) -> None:
        """Ask a draining engine again and again how much it has left to do."""
        while True:
            asked_at = time.time()
            busy = await _sum_of(_BUSY, self._opened(), target)
            left = None if busy is None else int(busy)
            self._seen[target.name] = replace(self._seen[target.name], busy=left, busy_at=asked_at)
            if left == 0:
                self._changed()
            await asyncio.sleep(DRAIN_PERIOD)

    async def _probe(self, target: Target) -> None:
        session = self._opened()
        while not await _is_up(session, target):
            await asyncio.sleep(KNOCK_PERIOD)
        tokens = await _tokens(session, target)
        # An engine that has generated before was found running by a new supervisor: nothing is left to be compiled.
        is_first = not tokens
        while True:
            canary = self._canaries[target.name]
            if target.name in self._drains:
                await asyncio.sleep(canary.period)
                continue
            error = await _generate(session, target, FIRST_GENERATION if is_first else canary.timeout)
            counted = await _tokens(session, target)
            seen = self._seen[target.name]
            if not error:
                is_first = False
                self._note(replace(seen, proven_at=time.time(), failures=0, progressing=False, last_error=""))
            else:
                progressing = tokens is not None and counted is not None and counted > tokens
                self._note(replace(seen, failures=seen.failures + 1, progressing=progressing, last_error=error))
            tokens = tokens if counted is None else counted
            await asyncio.sleep(min(RETRY_PERIOD, canary.period) if error else canary.period)


async def _is_up(session: aiohttp.ClientSession, target: Target) -> bool:
    try:
        async with session.get(f"{target.address}/health", timeout=aiohttp.ClientTimeout(total=LOOK)) as answer:
            return answer.status == 200
    except UNREACHED:
        return False


async def _generate(session: aiohttp.ClientSession, target: Target, timeout: float) -> str:
    """Ask for one token: "" if it came, else what went wrong."""
    try:
        async with session.post(
            f"{target.address}/v1/completions",
            json={"model": target.model, "prompt": "1", "max_tokens": 1, "temperature": 0},
            headers={"Authorization": f"Bearer {target.api_key}"},
            timeout=aiohttp.ClientTimeout(total=timeout),
        ) as answer:
            text = (await answer.read()).decode(errors="replace")
            if answer.status != 200:
                return f"HTTP {answer.status}: {text[:200]}"
            return "" if _has_choice(text) else f"an answer without a choice: {text[:200]}"
    except TimeoutError:
        return f"no token within {timeout:g} s"
    except UNREACHED as error:
        return f"{type(error).__name__}: {error}"


def _has_choice(text: str) -> bool:
    try:
        answer = json.loads(text)
    except ValueError:
        return False
    return isinstance(answer, dict) and bool(answer.get("choices"))


async def _tokens(session: aiohttp.ClientSession, target: Target) -> float | None:
    """The engine's own count of tokens that it has generated; None where it cannot be read."""
    return await _sum_of(_TOKENS, session, target)


async def _sum_of(metric: re.Pattern[str], session: aiohttp.ClientSession, target: Target) -> float | None:
    """A metric of the engine's, summed over its labels; None where it cannot be read."""
    try:
        async with session.get(f"{target.address}/metrics", timeout=aiohttp.ClientTimeout(total=LOOK)) as answer:
            counts = [float(match["count"]) for match in metric.finditer(await answer.text())]
            return sum(counts) if counts else None
    except UNREACHED:
        return None
