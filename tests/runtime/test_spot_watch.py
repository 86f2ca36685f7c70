"""Notices and draining in one small real Ray: who is asked, what is heard, and what Ray does with a drained node."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import ray
from ray._private import state as ray_state
from ray.core.generated import autoscaler_pb2, gcs_pb2
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from elastic_deploy.model.action import Action, DrainNode, EndEngine
from elastic_deploy.model.names import EngineName, GroupName
from elastic_deploy.model.snapshot import NodeNotice, NodeSeen, NodeState, NoticeKind
from elastic_deploy.model.spec import ClusterSpec
from elastic_deploy.runtime import engine_record, ray_tables
from elastic_deploy.runtime.apply import Applier
from elastic_deploy.runtime.interruption_watch import InterruptionWatch, is_watched
from elastic_deploy.runtime.spot_notice import ENDPOINT_VARIABLE

from .test_ray import RayProcess, Sleeper, _second_node, actor_named, gcs, table_of, wait_for
from .test_spot_notice import Service, service

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

__all__ = ["gcs", "service"]


@pytest.fixture(scope="module")
def other(gcs: str) -> Iterator[RayProcess]:
    """A second node with one GPU, and a resource `elsewhere` that the head has not; the last test ends it."""
    del gcs
    process = _second_node()
    try:
        yield process
    finally:
        process.end()


def watches() -> list[str]:
    """The nodes on which a watch runs."""
    accessor = ray_state.state._connect_and_get_accessor()
    found = [gcs_pb2.ActorTableData.FromString(raw) for raw in accessor.get_actor_table(None, None)]
    alive = gcs_pb2.ActorTableData.ALIVE
    return [one.address.node_id.hex() for one in found if one.class_name == "NodeWatch" and one.state == alive]


def status_of(node: str) -> str:
    """What Ray tells its autoscaler of a node."""
    reply = autoscaler_pb2.GetClusterStatusReply.FromString(ray_tables.gcs_client().get_cluster_status(timeout_s=10))
    states = {one.node_id.hex(): one.status for one in reply.cluster_resource_state.node_states}
    return str(autoscaler_pb2.NodeStatus.Name(states[node]))


async def until(look: object, seconds: float = 60.0) -> None:
    """Wait in the event loop."""
    deadline = time.monotonic() + seconds
    assert callable(look)
    while not look():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain"
        await asyncio.sleep(0.1)


def test_who_is_asked() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(ENDPOINT_VARIABLE, raising=False)
        assert is_watched("aws")
        assert not is_watched("local")
        assert not is_watched("external")
        patch.setenv(ENDPOINT_VARIABLE, "http://127.0.0.1:1")
        assert is_watched("external")


def test_a_node_that_holds_bundles_is_asked_until_it_says_that_it_goes_and_then_may_idle(
    other: RayProcess,
    service: Service,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(ENDPOINT_VARIABLE, service.address)
    node = NodeSeen("i-0abc", "gpu", NodeState.JOINED, 1, other.node)
    woken: list[float] = []

    async def story() -> None:
        watch = InterruptionWatch(lambda: woken.append(time.time()))

        def seen() -> tuple[NodeNotice, ...]:
            return watch.seen

        watch.follow([node], [])
        await asyncio.sleep(0.5)
        assert watches() == [], "nothing of ours keeps a node without bundles from idling out"

        watch.follow([node], [other.node])
        await until(lambda: "meta-data/spot/instance-action" in service.asked)
        assert watches() == [other.node]
        assert seen() == ()

        service.documents["meta-data/events/recommendations/rebalance"] = "{}"
        await until(lambda: len(seen()) == 1)
        assert [(one.node, one.kind, one.deadline) for one in seen()] == [(other.node, NoticeKind.REBALANCE, None)]

        service.interrupt("2026-11-23T01:02:03Z")
        await until(lambda: len(seen()) == 2)
        assert (seen()[1].kind, seen()[1].deadline) == (NoticeKind.INTERRUPTION, 1795395723.0)
        assert len(woken) == 2
        watch.follow([node], [other.node])
        await until(lambda: watches() == [])
        await until(lambda: status_of(other.node) == "IDLE")

        watch.follow([replace(node, state=NodeState.DEAD)], [other.node])
        assert seen() == ()
        watch.stop()

    asyncio.run(asyncio.wait_for(story(), 180))


def test_an_instance_on_demand_is_asked_once_and_no_watch_stays(
    other: RayProcess,
    service: Service,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(ENDPOINT_VARIABLE, service.address)
    service.documents["meta-data/instance-life-cycle"] = "on-demand"
    node = NodeSeen("i-0abc", "gpu", NodeState.JOINED, 1, other.node)

    async def story() -> None:
        watch = InterruptionWatch(lambda: None)
        watch.follow([node], [other.node])
        await until(lambda: service.asked)
        await until(lambda: watches() == [])
        watch.follow([node], [other.node])
        await asyncio.sleep(2)
        assert service.asked == ["meta-data/instance-life-cycle"]
        assert watches() == []
        watch.stop()

    asyncio.run(asyncio.wait_for(story(), 120))


def test_ray_keeps_what_runs_on_a_drained_node_places_nothing_there_and_its_engine_can_be_ended(
    other: RayProcess, tmp_path: Path
) -> None:
    engine = EngineName("chat", "r7", 1)
    group = placement_group([{"elsewhere": 0.1}], name=str(GroupName("chat", "r7")), lifetime="detached")
    assert group.wait(60)
    strategy = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=0)
    actor = Sleeper.options(  # type: ignore[attr-defined]
        name=str(engine), lifetime="detached", scheduling_strategy=strategy
    ).remote()
    ray.get(actor.pid.remote(), timeout=60)

    async def carry_out(*actions: Action) -> None:
        applier = Applier(tmp_path, lambda _: "", dict, lambda: None)
        applier.carry_out(actions, ClusterSpec())
        await until(lambda: not applier._busy)
        assert applier.take_failures() == ()

    asyncio.run(carry_out(DrainNode(other.node, time.time() + 3, "the cloud takes it")))
    wait_for(lambda: next(n for n in ray_tables.nodes(ray_tables.gcs_client()) if n.id == other.node).draining)
    asyncio.run(carry_out(DrainNode(other.node, time.time() + 3, "the cloud takes it")))  # twice does no harm
    later = placement_group([{"elsewhere": 0.1}], name=str(GroupName("chat", "r8")), lifetime="detached")
    time.sleep(4)  # past the deadline, which Ray does not keep
    assert table_of(group).state == "CREATED"
    assert status_of(other.node) == "DRAINING"
    assert ray.get(actor.pid.remote(), timeout=10)
    assert table_of(later).nodes == ("",)

    asyncio.run(carry_out(EndEngine(engine, (other.node,), "its node goes")))
    assert engine_record.get_sweep(engine) is not None
    ended = wait_for(lambda: next((one for one in [actor_named(str(engine))] if one and one.state == "DEAD"), None))
    assert ended.node == other.node
    remove_placement_group(group)
    remove_placement_group(later)
    # With nothing left on it, Ray ends a drained node by itself.
    wait_for(lambda: not next(n for n in ray_tables.nodes(ray_tables.gcs_client()) if n.id == other.node).alive, 60)
    engine_record.forget(engine)
