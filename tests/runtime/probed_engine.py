"""A real HTTP server in an engine's place, as far as probes ask, and a prober that watches it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from elastic_deploy.model.names import EngineName
from elastic_deploy.model.snapshot import ProbeSeen
from elastic_deploy.model.spec import Canary
from elastic_deploy.runtime.probe import Prober, Target

NAME = EngineName("chat", "r0", 1)
KEY = "sk-engine"
CANARY = Canary(period=0.05, timeout=0.3, failures=3)


class StandIn:
    """Answers what the probe asks of vLLM. `generate` is what a completion does; `tokens` is what is counted."""

    def __init__(self) -> None:
        self.healthy = True
        self.tokens: float | None = 0.0
        self.running, self.waiting = 0, 0
        self.generate: Callable[[], Coroutine[Any, Any, web.Response]] = self.answer
        self.asked: list[dict[str, Any]] = []
        self._runner: web.AppRunner | None = None
        self._ending = asyncio.Event()
        self.port = 0

    async def start(self) -> None:
        """Listen, on the same port each time."""
        self._ending.clear()
        app = web.Application()
        app.router.add_get("/health", self._health)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_post("/v1/completions", self._completions)
        self._runner = web.AppRunner(app, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = site.port

    async def stop(self) -> None:
        """Die."""
        self._ending.set()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def answer(self) -> web.Response:
        self.tokens = (self.tokens or 0) + 1
        return web.json_response({"choices": [{"text": "2"}]})

    async def hang(self) -> web.Response:
        await self._ending.wait()
        return web.Response()

    async def hang_while_others_are_served(self) -> web.Response:
        self.tokens = (self.tokens or 0) + 100
        return await self.hang()

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response(status=200 if self.healthy else 503)

    async def _metrics(self, _: web.Request) -> web.Response:
        if self.tokens is None:
            return web.Response(status=500)
        half = self.tokens / 2
        text = "".join(f'vllm:generation_tokens_total{{engine="{rank}",model_name="m"}} {half}\n' for rank in (0, 1))
        return web.Response(
            text="# HELP vllm:generation_tokens_total tokens\n"
            + text
            + "vllm:prompt_tokens_total 9.0\n"
            + f'vllm:num_requests_running{{engine="0",model_name="m"}} {float(self.running)}\n'
            + f'vllm:num_requests_waiting{{engine="0",model_name="m"}} {float(self.waiting)}\n'
            + 'vllm:num_requests_waiting_by_reason{engine="0",reason="capacity"} 100.0\n'
        )

    async def _completions(self, request: web.Request) -> web.Response:
        self.asked.append(await request.json() | {"key": request.headers.get("Authorization")})
        return await self.generate()

    def target(self, canary: Canary = CANARY, *, draining: bool = False) -> Target:
        return Target(NAME, f"http://127.0.0.1:{self.port}", "chat-small", KEY, canary, draining)


class Watch:
    """A prober on one stand-in, and every state that it has called `changed` for."""

    def __init__(self, engine: StandIn) -> None:
        self.engine = engine
        self.changes: list[ProbeSeen] = []
        self.prober = Prober(self._changed)

    def _changed(self) -> None:
        self.changes += self.prober.seen

    @property
    def seen(self) -> ProbeSeen:
        [seen] = self.prober.seen
        return seen

    async def until(self, condition: Callable[[ProbeSeen], bool]) -> ProbeSeen:
        """The first state for which the condition holds."""
        while not condition(self.seen):
            await asyncio.sleep(0.01)
        return self.seen


@asynccontextmanager
async def watched(*, started: bool = True, canary: Canary = CANARY) -> AsyncIterator[Watch]:
    """A probed stand-in. At the end nothing of the prober may be left."""
    before = asyncio.all_tasks()
    engine = StandIn()
    await engine.start()
    if not started:
        await engine.stop()
    watch = Watch(engine)
    watch.prober.follow([engine.target(canary)])
    try:
        yield watch
    finally:
        await watch.prober.close()
        await engine.stop()
        assert watch.prober.seen == ()
        left = {task for task in asyncio.all_tasks() - before if not task.done()}
        assert not left, f"left behind: {left}"
