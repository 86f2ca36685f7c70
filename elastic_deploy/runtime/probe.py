"""Proof of life: real generations, asked of every running engine by the supervisor.

`/health` and `/v1/models` have answered 200 on dead engines; one generated token does not lie. An engine that fails
its canary while its own count of generated tokens still grows is busy, not dead, and is told apart here.
"""

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import aiohttp

from elastic_deploy.model.names import EngineName
from elastic_deploy.model.snapshot import ProbeSeen
from elastic_deploy.model.spec import Canary

KNOCK_PERIOD = 0.25
"""Seconds between looks at an engine that does not answer yet: what a look costs is a refused connection."""

RETRY_PERIOD = 1.0
"""Seconds after a failed canary before the next: enough for a hiccup to pass."""

FIRST_GENERATION = 120.0
"""Seconds for the first generation: kernels may still be compiled in it."""

_TOKENS = re.compile(r"^vllm:generation_tokens(?:_total)?(?:\{[^}]*\})?\s+(?P<count>[0-9.eE+]+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Target:
    """An engine to be probed. `api_key` is the engine's own."""

    name: EngineName
    address: str
    model: str
    api_key: str = field(repr=False)
    canary: Canary


class Prober:
    """One task an engine, from its first knock to its end. All methods belong to the supervisor's event loop."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._tasks: dict[EngineName, asyncio.Task[None]] = {}
        self._seen: dict[EngineName, ProbeSeen] = {}
        self._session: aiohttp.ClientSession | None = None

    @property
    def seen(self) -> tuple[ProbeSeen, ...]:
        """What the probes have shown, for the next snapshot."""
        return tuple(self._seen.values())

    def follow(self, targets: list[Target]) -> None:
        """Probe these engines, and no others."""
        wanted = {target.name: target for target in targets}
        for name in [name for name in self._tasks if name not in wanted]:
            self._tasks.pop(name).cancel()
            self._seen.pop(name, None)
        for name, target in wanted.items():
            if name not in self._tasks:
                self._seen[name] = ProbeSeen(name)
                self._tasks[name] = asyncio.create_task(self._probe(target))

    async def close(self) -> None:
        """End all probes."""
        self.follow([])
        if self._session is not None:
            await self._session.close()

    def _note(self, seen: ProbeSeen) -> None:
        before = self._seen.get(seen.name)
        self._seen[seen.name] = seen
        if before is None or (before.proven_at is None) != (seen.proven_at is None) or before.failures != seen.failures:
            self._changed()

    async def _probe(self, target: Target) -> None:
        if self._session is None:
            # Probes never share a connection with one that hangs.
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True, limit=0))
        error = ""
        while not await self._is_up(target):
            await asyncio.sleep(KNOCK_PERIOD)
        timeout, tokens = FIRST_GENERATION, 0.0
        while True:
            seen = self._seen[target.name]
            error = await self._generate(target, timeout)
            if not error:
                self._note(replace(seen, proven_at=time.time(), failures=0, progressing=False, last_error=""))
                timeout = target.canary.timeout
                tokens = await self._tokens(target)
                await asyncio.sleep(target.canary.period)
            else:
                grown = await self._tokens(target)
                self._note(replace(seen, failures=seen.failures + 1, progressing=grown > tokens, last_error=error))
                tokens = max(tokens, grown)
                await asyncio.sleep(RETRY_PERIOD)

    async def _is_up(self, target: Target) -> bool:
        assert self._session is not None
        try:
            limit = aiohttp.ClientTimeout(total=5)
            async with self._session.get(f"{target.address}/health", timeout=limit) as answer:
                return answer.status == 200
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False

    async def _generate(self, target: Target, timeout: float) -> str:
        """Ask for one token: "" if it came, else what went wrong."""
        assert self._session is not None
        body = {"model": target.model, "prompt": "1", "max_tokens": 1, "temperature": 0}
        try:
            async with self._session.post(
                f"{target.address}/v1/completions",
                json=body,
                headers={"Authorization": f"Bearer {target.api_key}"},
                timeout=aiohttp.ClientTimeout(total=timeout),
            ) as answer:
                text = await answer.text()
                if answer.status != 200:
                    return f"HTTP {answer.status}: {text[:200]}"
                return "" if '"choices"' in text else f"an answer without choices: {text[:200]}"
        except TimeoutError:
            return f"no token within {timeout:g} s"
        except (aiohttp.ClientError, OSError) as error:
            return f"{type(error).__name__}: {error}"

    async def _tokens(self, target: Target) -> float:
        """The engine's own count of tokens that it has generated; 0 where it cannot be read."""
        assert self._session is not None
        try:
            async with self._session.get(f"{target.address}/metrics", timeout=aiohttp.ClientTimeout(total=5)) as answer:
                return sum(float(match["count"]) for match in _TOKENS.finditer(await answer.text()))
        except (aiohttp.ClientError, TimeoutError, OSError):
            return 0.0
