"""Asks the nodes of a replica whose engine failed whether they reach each other, and wakes the supervisor.

A task on each of the nodes connects to the raylets of the others: a port that every node of a cluster has open to
every other. It takes no resource, and is asked for once a failed engine; what is made of it is `core.distrust`'s.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from elastic_deploy.model.names import EngineName
from elastic_deploy.model.snapshot import BrokenPath, PathsSeen
from elastic_deploy.runtime import ray_tables
from elastic_deploy.runtime.node_checks.wire import reach
from elastic_deploy.runtime.ray_tables import RayNode

log = logging.getLogger(__name__)

LIMIT = 20.0
"""Seconds for a node's answer: a connection has three, the rest is for the start of a worker process."""


def _unreached(peers: tuple[tuple[str, str, int], ...]) -> tuple[tuple[str, str], ...]:
    """Of `peers`, an id, an address and a port each, those that this node cannot connect to, and why."""
    with ThreadPoolExecutor(max(1, len(peers))) as threads:
        whys = threads.map(lambda peer: reach(peer[1], peer[2]), peers)
    return tuple((peer[0], why) for peer, why in zip(peers, whys, strict=True) if why)


unreached = ray.remote(num_cpus=0, max_retries=0)(_unreached)
"""`_unreached` as a task, to be pinned to a node."""


class PathLook:
    """One look for each failed engine. All methods belong to the supervisor's event loop."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._seen: dict[EngineName, PathsSeen] = {}
        self._tasks: dict[EngineName, asyncio.Task[None]] = {}

    @property
    def seen(self) -> tuple[PathsSeen, ...]:
        """What was said, or is being asked, for the engines that are followed."""
        return tuple(self._seen.values())

    def follow(self, wanted: Mapping[EngineName, tuple[str, ...]]) -> None:
        """Have the nodes of these engines asked, Ray's ids of them, each engine's once; forget all others."""
        for name in self._seen.keys() - wanted.keys():
            del self._seen[name]
            self._tasks.pop(name).cancel()
        for name in wanted.keys() - self._seen.keys():
            self._seen[name] = PathsSeen(name)
            self._tasks[name] = asyncio.create_task(self._look(name, wanted[name]))

    async def _look(self, name: EngineName, members: tuple[str, ...]) -> None:
        broken: tuple[BrokenPath, ...] = ()
        try:
            nodes = await asyncio.to_thread(ray_tables.nodes, ray_tables.gcs_client())
            asked = [node for node in nodes if node.alive and not node.draining and node.id in members]
            answers = await asyncio.gather(*(_ask(node, asked) for node in asked))
            broken = tuple(path for answer in answers for path in answer)
        except Exception as error:  # noqa: BLE001 (whatever failed: nothing is known then, and nobody is distrusted)
            log.warning("the nodes of %s could not be asked whether they reach each other: %s", name, error)
        self._seen[name] = PathsSeen(name, time.time(), broken)
        self._changed()


async def _ask(node: RayNode, all_nodes: Iterable[RayNode]) -> tuple[BrokenPath, ...]:
    """What one node says of the others; nothing where it does not answer in time."""
    peers = tuple((peer.id, peer.address, peer.port) for peer in all_nodes if peer.id != node.id)
    strategy = NodeAffinitySchedulingStrategy(node.id, soft=False)
    task = unreached.options(scheduling_strategy=strategy).remote(peers)
    try:
        found = await asyncio.wait_for(asyncio.wrap_future(task.future()), LIMIT)
    except (ray.exceptions.RayError, TimeoutError) as error:
        log.warning("node %s does not say whether it reaches the others: %s", node.id, error or f"{LIMIT:g} s are over")
        with suppress(ray.exceptions.RayError):
            ray.cancel(task, force=True)
        return ()
    return tuple(BrokenPath(node.id, peer, why) for peer, why in found)
