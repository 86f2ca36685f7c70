"""The metrics that the engines themselves tell, passed on so that Prometheus needs to reach only the front door.

Used by `door`. Open like the gateway's own, so an engine is asked once a second at most, whoever asks here, and never
waited for long. vLLM's labels are names, ids of ranks, reasons and settings; no prompt and no answer stands in them.
"""

import asyncio
import time

from elastic_deploy.gateway.files import Files
from elastic_deploy.gateway.refusal import Refusal, RefusalError, engine_page_failed, unknown_engine
from elastic_deploy.gateway.upstream import EngineBrokeError, Engines, EngineTroubleError
from elastic_deploy.model.action import Backend
from elastic_deploy.model.names import EngineName

PATH = "/metrics"
LARGEST = 4 * 1024 * 1024
"""Bytes of a page: vLLM's has some hundred KiB."""
WITHIN = 5.0
"""Seconds for a page; Prometheus itself waits for 10 by default."""
FRESH = 1.0
"""Seconds for which a page is told again."""

_Asked = tuple[float, "asyncio.Task[bytes | Refusal]"]


class EnginePages:
    """The engines' pages, each asked for when somebody wants it."""

    def __init__(self, engines: Engines, files: Files) -> None:
        self._engines = engines
        self._files = files
        self._asked: dict[EngineName, _Asked] = {}

    async def page(self, deployment: str, replica: str) -> bytes:
        """The page of a replica's engine, the newest if it has two. Raises RefusalError."""
        table = self._files.table
        found = {
            each.engine: each
            for each in (table.backends if table else ())
            if (each.engine.deployment, each.engine.replica) == (deployment, replica)
        }
        if not found:
            raise RefusalError(unknown_engine(deployment, replica))
        page = await asyncio.shield(self._ask(found[max(found)]))
        if isinstance(page, Refusal):
            raise RefusalError(page)
        return page

    def _ask(self, backend: Backend) -> "asyncio.Task[bytes | Refusal]":
        now = time.monotonic()
        self._asked = {name: asked for name, asked in self._asked.items() if now - asked[0] < WITHIN}
        began, task = self._asked.get(backend.engine, (0.0, None))
        if task is None or (task.done() and now - began >= FRESH):
            task = asyncio.create_task(self._read(backend))
            self._asked[backend.engine] = (now, task)
        return task

    async def _read(self, backend: Backend) -> bytes | Refusal:
        key = self._files.engine_key(backend.engine.deployment)
        try:
            return await self._engines.read(backend, PATH, key, LARGEST, WITHIN)
        except EngineTroubleError as error:
            return engine_page_failed(str(error), answered=isinstance(error, EngineBrokeError))
