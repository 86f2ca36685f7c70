"""Learns from every node that holds GPUs of a replica what its cloud says of its end, and wakes the supervisor.

A small actor on each such node asks the instance metadata every few seconds. It takes no resource, but Ray counts a
node on which an actor runs as busy: so there is one only where bundles keep the node busy anyway, and it is ended when
they are gone. It belongs to the supervisor and ends with it; the next supervisor starts its own.
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Iterable

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from elastic_deploy.model.snapshot import NodeNotice, NodeSeen, NodeState, NoticeKind
from elastic_deploy.runtime.spot_notice import (
    ENDPOINT_VARIABLE,
    Metadata,
    NoMetadataError,
    Notice,
    await_notice,
    endpoint,
)

log = logging.getLogger(__name__)

PERIOD = 3.0
"""Seconds between questions; AWS advises five."""

AGAIN = 30.0
"""Seconds after which an actor that was lost is started again."""

CLOUDS = ("aws",)
"""The providers whose nodes have an instance metadata service that tells of interruptions."""


def is_watched(provider: str) -> bool:
    """Whether nodes of this provider are asked: those of a cloud, and all where the service's address is given."""
    return provider in CLOUDS or ENDPOINT_VARIABLE in os.environ


@ray.remote(num_cpus=0, max_restarts=0)
class NodeWatch:
    """Asks the metadata service of the node on which it runs."""

    def __init__(self, address: str) -> None:
        self._metadata = Metadata(os.environ.get(ENDPOINT_VARIABLE) or address)

    def next(self, known: bool) -> Notice | None:
        """The next notice; None where there will be none. `known`: the recommendation to rebalance is."""
        try:
            if self._metadata.life_cycle() == "on-demand":
                return None
            return await_notice(self._metadata, PERIOD, known)
        except NoMetadataError as error:
            log.info("%s", error)
            return None


class InterruptionWatch:
    """One actor a node. All methods belong to the supervisor's event loop. `seen` are the notices, of living nodes."""

    def __init__(self, changed: Callable[[], None], seen: Iterable[NodeNotice] = ()) -> None:
        self._changed = changed
        self._seen = {(one.node, one.kind): one for one in seen}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    @property
    def seen(self) -> tuple[NodeNotice, ...]:
        """What is known of nodes that live, in the order in which it came."""
        return tuple(sorted(self._seen.values(), key=lambda one: (one.seen_at, one.node, one.kind)))

    def follow(self, nodes: Iterable[NodeSeen], held: Iterable[str]) -> None:
        """Watch those of the living `nodes` that are in `held`, Ray's ids of nodes with bundles, and no others."""
        living = {node.ray_id for node in nodes if node.state in (NodeState.JOINED, NodeState.DRAINING)}
        self._seen = {key: one for key, one in self._seen.items() if one.node in living}
        told = {one.node for one in self._seen.values() if one.kind is NoticeKind.INTERRUPTION}
        wanted = (living & set(held)) - told  # who has been told that it goes has nothing more to hear
        for node in self._tasks.keys() - wanted:
            self._tasks.pop(node).cancel()
        for node in wanted - self._tasks.keys():
            self._tasks[node] = asyncio.create_task(self._watch(node))

    def stop(self) -> None:
        """Watch no more."""
        for task in self._tasks.values():
            task.cancel()
        self._tasks.clear()

    async def _watch(self, node: str) -> None:
        """Ask one node until it says that it goes, or that it never will; ends when it is cancelled."""
        while True:
            actor = NodeWatch.options(  # type: ignore[attr-defined]
                scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)
            ).remote(endpoint())
            try:
                await self._listen(node, actor)
                break
            except ray.exceptions.RayError as error:
                log.warning("node %s is not watched for interruptions for a while: %s", node, error)
            finally:
                ray.kill(actor)
            await asyncio.sleep(AGAIN)
        await asyncio.Event().wait()  # there is nothing more to hear: not asked again as long as it is followed

    async def _listen(self, node: str, actor: ray.actor.ActorHandle) -> None:
        """Take down what an actor says, until there is nothing more to come."""
        while True:
            known = (node, NoticeKind.REBALANCE) in self._seen
            said = await asyncio.wrap_future(actor.next.remote(known).future())
            if said is None:
                return
            kind = NoticeKind.INTERRUPTION if said.interruption else NoticeKind.REBALANCE
            self._seen[node, kind] = NodeNotice(node, kind, said.at, time.time())
            self._changed()
            if said.interruption:
                return
