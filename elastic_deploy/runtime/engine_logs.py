"""Engines' logs, fetched from the nodes where they lie, whichever those are; called by the server for `logs`."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from elastic_deploy.model.names import EngineName
from elastic_deploy.runtime import engine_record

FOLLOW_PERIOD = 1.0
"""Seconds between looks for new lines."""

CHUNK = 1 << 20
"""Bytes fetched in one look."""


def _read_log(path: str, offset: int, lines: int) -> tuple[int, str]:
    """A log from an offset on (negative: its last `lines` lines), and the offset where that ends."""
    try:
        with open(path, "rb") as log:  # noqa: PTH123
            size = log.seek(0, 2)
            start = max(0, size - CHUNK) if offset < 0 else min(offset, size)
            log.seek(start)
            data = log.read(CHUNK)
    except FileNotFoundError:
        return offset, ""
    text = data.decode(errors="replace")
    if offset < 0:
        text = "".join(text.splitlines(keepends=True)[-lines:])
    return start + len(data), text


read_log = ray.remote(num_cpus=0, max_retries=0)(_read_log)
"""`_read_log` as a task, to be pinned to a node."""


class EngineLogs:
    """Reads logs by tasks pinned to the engines' nodes."""

    async def read(
        self, engines: list[tuple[EngineName, str]], lines: int, *, follow: bool
    ) -> AsyncIterator[dict[str, Any]]:
        """The last lines of each engine's log, then, with `follow`, new ones as they come.

        `engines` are names with Ray's ids of their nodes.
        """
        offsets = dict.fromkeys((name for name, _ in engines), -1)
        nodes = dict(engines)
        rest = dict.fromkeys(offsets, "")
        while True:
            for name, offset in offsets.items():
                record = await asyncio.to_thread(engine_record.get_engine, name)
                if record is None or not nodes[name]:
                    continue
                strategy = NodeAffinitySchedulingStrategy(nodes[name], soft=False)
                task = read_log.options(scheduling_strategy=strategy).remote(record.log, offset, lines)
                try:
                    offsets[name], text = await asyncio.wait_for(asyncio.wrap_future(task.future()), 30)
                except (ray.exceptions.RayError, TimeoutError) as error:
                    yield {"replica": name.replica, "engine": str(name), "line": f"(its log cannot be read: {error})"}
                    continue
                *whole, rest[name] = (rest[name] + text).split("\n")
                for line in whole:
                    yield {"replica": name.replica, "engine": str(name), "line": line}
            if not follow:
                return
            await asyncio.sleep(FOLLOW_PERIOD)
