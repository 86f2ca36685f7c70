"""Decisions carried out: the one place that changes anything in Ray.

Called by the supervisor with each decision's actions. Nothing here decides; everything may be done twice without
harm, and what fails is told in the next snapshot. Actions that take time run as tasks of their own.
"""

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import ray
from ray.autoscaler.v2.sdk import request_cluster_resources
from ray.util.placement_group import get_placement_group, placement_group, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy

from elastic_deploy.core.roster import spec_for
from elastic_deploy.gateway.table import RoutingTable, dump_table
from elastic_deploy.model.action import (
    Action,
    CreatePlacementGroup,
    DrainNode,
    EndEngine,
    RemovePlacementGroup,
    RequestResources,
    Route,
    StartEngine,
)
from elastic_deploy.model.home import write_private
from elastic_deploy.model.names import ENGINE_MARK, NAMESPACE, EngineName
from elastic_deploy.model.snapshot import ActionFailure
from elastic_deploy.model.spec import ClusterSpec
from elastic_deploy.rehearsal import REHEARSAL_VARIABLE
from elastic_deploy.rehearsal.engine_arguments import rehearsal_environment
from elastic_deploy.runtime import engine_record, ray_tables
from elastic_deploy.runtime.engine import Engine, EngineOrder
from elastic_deploy.runtime.engine_record import SweepRecord
from elastic_deploy.runtime.sweep import sweep

SWEEP = 45.0
"""Seconds for the sweep of one node: a worker process that has to be started first, and the processes' end."""


class Applier:
    """Carries out actions. `key_of` gives a deployment's engine key, `expected` when each is expected to serve."""

    def __init__(
        self,
        directory: Path,
        key_of: Callable[[str], str],
        expected: Callable[[], Mapping[str, float]],
        changed: Callable[[], None],
    ) -> None:
        self._directory = directory
        self._key_of = key_of
        self._expected = expected
        self._changed = changed
        self._gcs_address = ray.get_runtime_context().gcs_address
        self._busy: dict[str, asyncio.Task[None]] = {}
        self._next: dict[str, Action] = {}
        self._failures: list[ActionFailure] = []

    @property
    def busy(self) -> bool:
        """Whether any action is still under way."""
        return bool(self._busy)

    def take_failures(self) -> tuple[ActionFailure, ...]:
        """What has failed since the last look."""
        failures, self._failures = tuple(self._failures), []
        return failures

    def carry_out(self, actions: tuple[Action, ...], spec: ClusterSpec) -> None:
        """Begin every action; one that is still under way is not begun again.

        A request or a routing table that comes while the former one is being sent follows it: the latest wins.
        """
        for action in actions:
            key = f"{type(action).__name__} {getattr(action, 'name', '')}".strip()
            if key not in self._busy:
                self._busy[key] = asyncio.create_task(self._one(key, action, spec))
            elif isinstance(action, RequestResources | Route):
                self._next[key] = action

    async def _one(self, key: str, action: Action, spec: ClusterSpec) -> None:
        try:
            if isinstance(action, EndEngine):
                await self._end_engine(action)
            else:
                await asyncio.to_thread(self._do, action, spec)
        except Exception as error:  # noqa: BLE001 (whatever failed is told in the next snapshot)
            self._failures.append(ActionFailure(type(action).__name__, str(getattr(action, "name", "")), str(error)))
        finally:
            del self._busy[key]
            if follower := self._next.pop(key, None):
                self.carry_out((follower,), spec)
            self._changed()

    def _do(self, action: Action, spec: ClusterSpec) -> None:
        match action:
            case RequestResources(bundles):
                wanted = [
                    {"resources": dict(b.resources), "label_selector": dict(b.labels)}
                    for b in bundles
                    for _ in range(b.count)
                ]
                request_cluster_resources(self._gcs_address, wanted)
            case CreatePlacementGroup(name, bundles, labels):
                if all(group.name != str(name) or group.state == "REMOVED" for group in ray_tables.groups()):
                    placement_group(
                        [dict(b) for b in bundles],
                        strategy="PACK",
                        name=str(name),
                        lifetime="detached",
                        # Alike in the request and in the group: else Ray's autoscaler counts the bundles twice.
                        bundle_label_selector=[dict(labels) for _ in bundles] if labels else None,
                    )
            case RemovePlacementGroup(name):
                remove_placement_group(get_placement_group(str(name)))
            case StartEngine(name, version):
                self._start_engine(name, version, spec)
            case Route(entries):
                times = self._expected()
                expected_at = {each.model: times[each.deployment] for each in entries if each.deployment in times}
                table = RoutingTable(entries, expected_at=expected_at)
                write_private(self._directory / "routes.json", dump_table(table))
            case DrainNode(node, deadline, why, if_idle):
                ray_tables.drain(ray_tables.gcs_client(), node, deadline, why, if_idle=if_idle)
            case EndEngine():
                raise TypeError("engines are ended by _end_engine")

    def _start_engine(self, name: EngineName, version: str, spec: ClusterSpec) -> None:
        wanted = spec_for(next(d for d in spec.deployments if d.name == name.deployment), version)
        group = get_placement_group(str(name.group))
        strategy = PlacementGroupSchedulingStrategy(
            group, placement_group_bundle_index=0, placement_group_capture_child_tasks=True
        )
        # Without SPT_NOENV a process that sets its title overwrites the environment that /proc shows, and the mark.
        environment = {ENGINE_MARK: str(name), "SPT_NOENV": "1"}
        if os.environ.get(REHEARSAL_VARIABLE) == "1":
            environment |= rehearsal_environment()
        engine = Engine.options(  # type: ignore[attr-defined]
            name=str(name),
            namespace=NAMESPACE,
            lifetime="detached",
            scheduling_strategy=strategy,
            runtime_env={"env_vars": environment},
        ).remote()
        engine.serve.remote(
            EngineOrder(
                name=name,
                model=wanted.model,
                served_model_name=wanted.served_model_name,
                tensor_parallel=wanted.shape.tensor_parallel,
                pipeline_parallel=wanted.shape.pipeline_parallel,
                arguments=wanted.arguments,
                api_key=self._key_of(wanted.name),
                version=version,
            )
        )

    async def _end_engine(self, action: EndEngine) -> None:
        """Kill the actor, then whatever is left of it on every node that lives; only then is it recorded as swept."""
        name = action.name
        actors = await asyncio.to_thread(ray_tables.actors)
        ours = [a for a in actors if a.namespace == NAMESPACE and EngineName.parse(a.name)]
        engine = next((a for a in ours if a.name == str(name)), None)
        swept_before = await asyncio.to_thread(engine_record.get_sweep, name)
        if swept_before and (engine is None or engine.state == "DEAD"):
            return  # done before; what runs in the group now is another engine's
        record = await asyncio.to_thread(engine_record.get_engine, name)
        if engine is not None and engine.state != "DEAD":
            await asyncio.to_thread(_kill, name)
        nodes = await asyncio.to_thread(ray_tables.nodes, ray_tables.gcs_client())
        # Ray runs no task on a node that it drains, and places nothing there any more: what may be left of an engine on
        # it is in nobody's way, and goes with the node.
        alive = [
            node.id
            for node in nodes
            if node.alive and not node.draining and node.id in {*action.nodes, *([engine.node] if engine else [])}
        ]
        # By pid only while no other engine's workers can be among the group's actors; by the mark always.
        group = engine.group_id if engine else ""
        alone = not any(a.group_id == group and a.state != "DEAD" and a is not engine for a in ours)
        members = [a for a in actors if alone and group and a.group_id == group and a.pid and a.state != "DEAD"]
        log = record.log if record else ""
        since = engine.started_at / 1000 if engine and engine.started_at else time.time()
        sweeps = [_sweep(node, name, frozenset(a.pid for a in members if a.node == node), log, since) for node in alive]
        done = await asyncio.gather(*sweeps)
        words = next(
            (words for node, (_, words) in zip(alive, done, strict=True) if engine and node == engine.node), ""
        )
        swept = SweepRecord(sum(count for count, _ in done), words)
        await asyncio.to_thread(engine_record.put_sweep, name, swept)


def _kill(name: EngineName) -> None:
    try:
        handle = ray.get_actor(str(name), namespace=NAMESPACE)
    except ValueError:
        return  # it has ended meanwhile
    ray.kill(handle, no_restart=True)


async def _sweep(node: str, name: EngineName, pids: frozenset[int], log: str, since: float) -> tuple[int, str]:
    strategy = NodeAffinitySchedulingStrategy(node, soft=False)
    task = sweep.options(scheduling_strategy=strategy).remote(str(name), pids, log, since)
    try:
        count, words = await asyncio.wait_for(asyncio.wrap_future(task.future()), SWEEP)
    except (ray.exceptions.RayError, TimeoutError):
        nodes = await asyncio.to_thread(ray_tables.nodes, ray_tables.gcs_client())
        if node in {one.id for one in nodes if one.alive and not one.draining}:
            raise
        return 0, ""  # the node died meanwhile, or is about to, and with it all that was to be swept
    return int(count), str(words)
