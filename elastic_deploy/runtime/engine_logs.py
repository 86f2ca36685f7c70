"""Engines' logs, fetched from the nodes where they lie, whichever those are; called by the server for `logs`."""

import asyncio
import io
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from elastic_deploy.model.names import EngineName
from elastic_deploy.runtime import engine_record

FOLLOW_PERIOD = 1.0
"""Seconds between looks for new lines."""

FETCH = 30.0
"""Seconds for one look at a log on another node: a worker process may have to be started there first."""

CHUNK = 1 << 20
"""Bytes fetched in one look."""


def _read_log(path: str, offset: int, lines: int) -> tuple[int, bytes]:
    """A log from an offset on (negative: its last `lines` lines), and the offset where that ends."""
    try:
        with open(path, "rb") as log:  # noqa: PTH123
            size = log.seek(0, 2)
            start = max(0, size - CHUNK) if offset < 0 else min(offset, size)
            log.seek(start)
            data = log.read(CHUNK)
    except FileNotFoundError:
        return offset, b""
    end = start + len(data)
    if offset < 0:
        kept = io.BytesIO(data).readlines()
        data = b"".join(kept[max(0, len(kept) - lines) :])
    return end, data


read_log = ray.remote(num_cpus=0, max_retries=0)(_read_log)
"""`_read_log` as a task, to be pinned to a node."""


@dataclass(slots=True)
class _Followed:
    """How far one engine's log has been read: `rest` is a line that is not whole yet."""

    name: EngineName
    node: str
    offset: int
    rest: bytes = b""
    trouble: str = ""

    def line(self, text: str) -> dict[str, Any]:
        """A line as it is told."""
        return {"replica": self.name.replica, "engine": str(self.name), "line": text}


class EngineLogs:
    """Reads logs by tasks pinned to the engines' nodes."""

    async def read(
        self, engines: Callable[[], list[tuple[EngineName, str]]], lines: int, *, follow: bool
    ) -> AsyncGenerator[dict[str, Any], None]:
        """The last lines of each engine's log, then, with `follow`, new ones as they come, of new engines too.

        `engines` gives the engines of the moment with Ray's ids of their nodes, "" for one that has none yet.
        """
        followed: dict[EngineName, _Followed] = {}
        first = -1
        while True:
            current = dict(engines())
            for name, node in current.items():
                log = followed.setdefault(name, _Followed(name, node, first))
                log.node = node or log.node
            for log in list(followed.values()):
                told = False
                async for line in _look(log, lines, whole_only=follow):
                    told = True
                    yield log.line(line)
                if not told and log.name not in current:
                    del followed[log.name]  # it has ended and been replaced, and all of it has been told
            if not follow:
                return
            first = 0
            await asyncio.sleep(FOLLOW_PERIOD)


async def _look(log: _Followed, lines: int, *, whole_only: bool) -> AsyncGenerator[str, None]:
    """The lines of one log that have not been told; where it cannot be read, why not, once."""
    record = await asyncio.to_thread(engine_record.get_engine, log.name)
    if record is None or not log.node:
        return
    strategy = NodeAffinitySchedulingStrategy(log.node, soft=False)
    task = read_log.options(scheduling_strategy=strategy).remote(record.log, log.offset, lines)
    try:
        log.offset, data = await asyncio.wait_for(asyncio.wrap_future(task.future()), FETCH)
    except (ray.exceptions.RayError, TimeoutError) as error:
        trouble = str(error).partition("\n")[0] or f"no answer within {FETCH:g} s"
        if trouble != log.trouble:
            yield f"(its log cannot be read: {trouble})"
        log.trouble = trouble
        return
    log.trouble = ""
    *whole, log.rest = (log.rest + data).split(b"\n")
    if log.rest and not whole_only:
        whole.append(log.rest)
    for line in whole:
        yield line.decode(errors="replace")
