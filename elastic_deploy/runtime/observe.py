"""From Ray to a snapshot: one look at everything that a decision may know of.

Called by the supervisor at every tick. Every part is read by itself: one that fails is unknown, and the others stand.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from elastic_deploy.core.launches import setup_said
from elastic_deploy.model.names import NAMESPACE, EngineName, GroupName
from elastic_deploy.model.snapshot import (
    ActionFailure,
    EngineSeen,
    EngineStage,
    EngineState,
    GroupSeen,
    GroupState,
    LaunchFailure,
    NodeSeen,
    NodeState,
    ProbeSeen,
    Reading,
    SetupTrouble,
    Snapshot,
)
from elastic_deploy.runtime import engine_record, ray_tables
from elastic_deploy.runtime.launch_log import LaunchLog
from elastic_deploy.runtime.monitor_log import MonitorLog
from elastic_deploy.runtime.ray_tables import PendingNode, RayActor, RayGroup, RayNode
from elastic_deploy.runtime.setup_log import SetupLog

T = TypeVar("T")

LOOK = 15.0
"""Seconds after which a part of a look is unknown; longer than the GCS client's own limit."""

KNOCK = 0.5
"""Seconds for a connection to a raylet on the cluster's own network: a living one accepts in a millisecond."""

LAUNCH_FAILURES_KEPT = 300.0
"""Seconds for which a refused launch and a failed set-up stay in the snapshot."""


def node_seen(node: RayNode) -> NodeSeen:
    """One of Ray's nodes as the core sees it."""
    state = NodeState.DEAD if not node.alive else NodeState.DRAINING if node.draining else NodeState.JOINED
    return NodeSeen(
        id=node.instance_id or node.id[:12],
        type=node.type,
        state=state,
        gpus=node.gpus,
        ray_id=node.id,
        address=node.address,
        detail=node.death if state is NodeState.DEAD else "",
        is_head=node.is_head,
        joined_at=node.started_at / 1000,
    )


def pending_seen(node: PendingNode) -> NodeSeen:
    """A node on its way as the core sees it."""
    return NodeSeen(node.id, node.type, NodeState.LAUNCHING if node.launched else NodeState.ASKED, detail=node.detail)


def group_seen(group: RayGroup) -> GroupSeen | None:
    """A placement group as the core sees it, None where it is not ours."""
    name = GroupName.parse(group.name)
    return GroupSeen(name, group.id, GroupState(group.state), group.nodes) if name else None


class Observer:
    """Looks, and remembers between looks only what cannot change any more."""

    def __init__(self, logs: Path, monitor_alive: Callable[[], bool]) -> None:
        self._client = ray_tables.gcs_client()
        self._monitor_log = MonitorLog(logs)
        self._launches, self._setups = LaunchLog(), SetupLog()
        self._refused: list[LaunchFailure] = []
        self._ill: list[SetupTrouble] = []
        self._monitor_alive = monitor_alive
        self._finished: dict[EngineName, EngineSeen] = {}
        self._loaded: set[EngineName] = set()
        self._raylets: dict[str, tuple[str, int]] = {}

    async def look(
        self, probes: tuple[ProbeSeen, ...], failures: tuple[ActionFailure, ...], watched: Iterable[str]
    ) -> Snapshot:
        """One snapshot. `watched` are Ray's ids of nodes whose raylets are knocked at."""
        at = time.time()
        nodes, groups, engines, _, monitor = await asyncio.gather(
            self._read(at, self._nodes),
            self._read(at, self._groups),
            self._read(at, self._engines),
            self._read(at, lambda: self._read_monitor_log(at)),
            self._read(at, self._monitor_alive),
        )
        if nodes.value is not None:
            nodes = replace(nodes, value=await self._knock(nodes.value, frozenset(watched)))
        troubles = (*self._ill, *self._setups.waiting(at))
        if nodes.value is not None:
            nodes = replace(nodes, value=tuple(self._told(node, troubles, at) for node in nodes.value))
        return Snapshot(
            at=at,
            nodes=nodes,
            groups=groups,
            engines=engines,
            probes=probes,
            launch_failures=tuple(self._refused),
            monitor_alive=monitor,
            action_failures=failures,
            setup_troubles=troubles,
        )

    def _read_monitor_log(self, at: float) -> bool:
        lines = self._monitor_log.poll(at)
        refused = (*self._refused, *self._launches.read(lines, at))
        ill = (*self._ill, *self._setups.read(lines, at))
        self._refused = [failure for failure in refused if at - failure.at < LAUNCH_FAILURES_KEPT]
        self._ill = [trouble for trouble in ill if at - trouble.at < LAUNCH_FAILURES_KEPT]
        return True

    def _told(self, node: NodeSeen, troubles: tuple[SetupTrouble, ...], at: float) -> NodeSeen:
        """A node on its way under the cloud's name for it, with what is wrong with its set-up."""
        if node.state not in (NodeState.ASKED, NodeState.LAUNCHING):
            return node
        id_ = self._setups.cloud_id(node.id)
        trouble = next((trouble for trouble in reversed(troubles) if trouble.node == id_), None)
        detail = setup_said(trouble, at) if trouble else node.detail
        return replace(node, id=id_, detail=detail, step=self._setups.step(id_))

    async def _read(self, at: float, look: Callable[[], T]) -> Reading[T]:
        try:
            return Reading(at, await asyncio.wait_for(asyncio.to_thread(look), LOOK))
        except TimeoutError:
            return Reading(at, error=f"no answer within {LOOK:g} s")
        except Exception as error:  # noqa: BLE001 (any failure to look means unknown, and says why)
            return Reading(at, error=f"{type(error).__name__}: {error}")

    def _nodes(self) -> tuple[NodeSeen, ...]:
        joined = ray_tables.nodes(self._client)
        self._raylets = {node.id: (node.address, node.port) for node in joined}
        return (*map(node_seen, joined), *(pending_seen(node) for node in ray_tables.pending_nodes(self._client)))

    def _groups(self) -> tuple[GroupSeen, ...]:
        return tuple(seen for seen in map(group_seen, ray_tables.groups()) if seen)

    def _engines(self) -> tuple[EngineSeen, ...]:
        found = []
        actors = ray_tables.actors()
        fallen: dict[str, list[int]] = defaultdict(list)
        for actor in actors:
            if actor.group_id and actor.state == "DEAD" and EngineName.parse(actor.name) is None:
                fallen[actor.group_id].append(actor.started_at)
        for actor in actors:
            name = EngineName.parse(actor.name) if actor.namespace == NAMESPACE else None
            if name is not None:
                # What died in the group before this engine started belonged to an older one.
                lost = sum(1 for started_at in fallen[actor.group_id] if started_at > actor.started_at)
                found.append(self._finished.get(name) or self._engine(name, actor, lost))
        return tuple(found)

    def _engine(self, name: EngineName, actor: RayActor, lost_workers: int) -> EngineSeen:
        record = engine_record.get_engine(name)
        address, version = (record.address, record.version) if record else ("", "")
        if actor.state != "DEAD":
            state = EngineState.RUNNING if record else EngineState.PENDING
            if record and record.ended:
                state = EngineState.ENDED
            stage = self._stage(name)
            return EngineSeen(name, state, actor.node, address, lost_workers=lost_workers, version=version, stage=stage)
        self._loaded.discard(name)
        swept = engine_record.get_sweep(name)
        words = (record.last_words if record else "") or (swept.last_words if swept else "") or actor.death
        seen = EngineSeen(
            name,
            EngineState.ENDED,
            actor.node,
            address,
            swept=swept is not None,
            last_words=words,
            refused_arguments=bool(record and record.refused_arguments),
            version=version,
        )
        if seen.swept:
            self._finished[name] = seen
        return seen

    def _stage(self, name: EngineName) -> EngineStage | None:
        """How far an engine's start has come; after its last stage it is not asked again."""
        if name in self._loaded:
            return EngineStage.ENGINE
        stage = engine_record.get_stage(name)
        if stage is EngineStage.ENGINE:
            self._loaded.add(name)
        return stage

    async def _knock(self, nodes: tuple[NodeSeen, ...], watched: frozenset[str]) -> tuple[NodeSeen, ...]:
        """Mark as suspect those watched nodes that Ray believes alive and whose raylet does not accept."""

        async def look(node: NodeSeen) -> NodeSeen:
            if node.ray_id not in watched or node.state is not NodeState.JOINED or node.ray_id not in self._raylets:
                return node
            with suppress(OSError, TimeoutError):
                address, port = self._raylets[node.ray_id]
                _, writer = await asyncio.wait_for(asyncio.open_connection(address, port), KNOCK)
                writer.close()
                return node
            return replace(node, suspect=True)

        return tuple(await asyncio.gather(*(look(node) for node in nodes)))
