"""Nodes that hang in a step of their way, and nodes on which no engine speaks: when each is given up, and what then."""

from dataclasses import replace
from typing import Any

import pytest

from elastic_deploy.core.distrust import least_trusted
from elastic_deploy.core.explain import reason
from elastic_deploy.core.facts import Index
from elastic_deploy.core.pools import pooled
from elastic_deploy.core.silence import note_silent_nodes, spoken
from elastic_deploy.core.step_limits import PLACING, Limited, limited
from elastic_deploy.model.memory import DeploymentMemory, ReplicaMemory, Stay
from elastic_deploy.model.pool import Pool
from elastic_deploy.model.shape import Shape
from elastic_deploy.model.snapshot import GroupSeen, GroupState, NodeSeen, NodeState, SetupStep, Snapshot, Usual
from elastic_deploy.model.spec import DeploymentSpec

from .scenes import NOW, SPEC, blind, deployment, ended, facts, failed, fresh, group, serving, snapshot

A, B = Pool("a", ("gpu-a",), 4), Pool("b", ("gpu-b",), 4)
ONE = replace(SPEC, step_timeout=100.0)
TWO = replace(ONE, pools=(A, B))
PENDING = group(GroupState.PENDING, ("", ""))


def node(name: str, state: NodeState = NodeState.JOINED, pool: str = "a", **more: Any) -> NodeSeen:
    """A node of a pool."""
    ray_id = name if state is NodeState.JOINED else ""
    return replace(NodeSeen(f"i-{name}", f"gpu-{pool}", state, 1, ray_id), **more)


def coming(name: str = "x", step: SetupStep | None = SetupStep.SSH, pool: str = "a") -> NodeSeen:
    """A node that has not joined."""
    return node(name, NodeState.LAUNCHING, pool, step=step)


def waiting(**more: Any) -> ReplicaMemory:
    """A replica that waits in pool a."""
    return fresh(pool="a", pool_since=NOW - 500, **more)


def seen(*nodes: NodeSeen, groups: tuple[GroupSeen, ...] = (PENDING,), **more: Any) -> Snapshot:
    """A snapshot with just these nodes."""
    return snapshot(groups, nodes=nodes, **more)


def stay(step: str = "ssh", ago: float = 100.0, name: str = "i-x", node_type: str = "gpu-a", **more: Any) -> Stay:
    """A stay that began so long ago."""
    return Stay(name, node_type, step, NOW - ago, **more)


def placing(ago: float = 100.0) -> Stay:
    """A gang that is there and not placed."""
    return stay(PLACING, ago, "r0", "")


def run(world: Snapshot, *stays: Stay, spec: DeploymentSpec = TWO, replica: ReplicaMemory | None = None) -> Limited:
    """One step."""
    return limited(spec, deployment(replica or waiting(), stays=stays), Index.of(world), NOW)


X, Y = node("x", joined_at=10.0), node("y", joined_at=20.0)

CASES: dict[str, tuple[Snapshot, tuple[Stay, ...], tuple[Stay, ...], list[str]]] = {
    "the first look begins its time": (seen(coming()), (), (stay(ago=0),), []),
    "it stays": (seen(coming()), (stay(ago=99),), (stay(ago=99),), []),
    "SSH": (seen(coming()), (stay(),), (stay(overdue=True),), ["i-x"]),
    "booting": (seen(coming(step=None)), (stay("launching"),), (stay("launching", overdue=True),), ["i-x"]),
    "files": (seen(coming(step=SetupStep.FILES)), (stay("files"),), (stay("files", overdue=True),), ["i-x"]),
    "set-up": (seen(coming(step=SetupStep.SETUP)), (stay("setup"),), (stay("setup", overdue=True),), ["i-x"]),
    "said once": (seen(coming()), (stay(ago=150, overdue=True),), (stay(ago=150, overdue=True),), []),
    "the next step has a time of its own": (
        seen(coming(step=SetupStep.SETUP)),
        (stay(overdue=True),),
        (stay("setup", 0),),
        [],
    ),
    "one that is gone is forgotten": (seen(), (stay(),), (), []),
    "one that has joined is forgotten": (seen(X), (stay(),), (), []),
    "one of another pool is not waited for": (seen(coming(pool="b")), (stay(node_type="gpu-b"),), (), []),
    "but that one hangs there is not forgotten": (
        seen(coming(pool="b")),
        (stay(node_type="gpu-b", overdue=True),),
        (stay(node_type="gpu-b", overdue=True),),
        [],
    ),
    "one that is asked for is the cloud's": (seen(node("x", NodeState.ASKED)), (stay(),), (), []),
    "all there begins the placing": (seen(X, Y), (), (placing(0),), []),
    "a part waits for the others, and does not hang": (seen(X), (placing(),), (), []),
    "never placed: the last that joined": (seen(X, Y), (placing(),), (placing(0),), ["i-y"]),
    "never the one that holds a bundle": (
        seen(X, Y, groups=(group(GroupState.RESCHEDULING, ("", "y")),)),
        (placing(),),
        (placing(0),),
        ["i-x"],
    ),
    "none where all hold one": (seen(X, Y, groups=(group(GroupState.PREPARED, ("x", "y")),)), (placing(),), (), []),
    "the blind judge nothing": (blind(seen(coming())), (stay(),), (stay(),), []),
}


@pytest.mark.parametrize("name", CASES)
def test_stays_and_what_is_overdue(name: str) -> None:
    world, before, after, given_up = CASES[name]
    result = run(world, *before)
    assert result.memory.stays == after
    assert [event.node for event in result.events] == given_up
    assert {event.kind for event in result.events} <= {"node.overdue"}


def test_nothing_is_timed_without_a_limit_or_without_anyone_who_waits() -> None:
    assert run(seen(coming()), stay(), spec=replace(TWO, step_timeout=None)).memory.stays == ()
    whole = limited(TWO, deployment(serving(pool="a"), stays=(stay(),)), Index.of(snapshot((group(),))), NOW)
    assert whole.memory.stays == ()
    assert whole.events == ()


def test_an_event_says_the_node_the_step_the_seconds_and_what_comes_next() -> None:
    (event,) = run(seen(coming(), usual=Usual(40.0)), stay(ago=150)).events
    assert event.data["step"] == "ssh"
    assert event.data["seconds"] == 150
    assert "does not answer SSH" in event.message
    assert "its replica tries another pool" in event.message
    assert "usually come within 40s" in event.message
    (event,) = run(seen(coming()), stay(), spec=ONE, replica=fresh()).events
    assert "Ray's autoscaler ends it by its own limits" in event.message


def test_the_next_look_is_when_the_first_is_overdue() -> None:
    assert run(seen(coming()), stay(ago=40)).wake_at == NOW + 60
    assert run(seen(coming()), stay(ago=140, overdue=True)).wake_at is None


def test_a_node_never_placed_is_drained_and_counted() -> None:
    result = run(seen(X, Y), placing())
    (drain,) = result.actions
    assert drain.name == "y"
    assert result.memory.replicas[0].strikes == 1


def moves(world: Snapshot, stays: tuple[Stay, ...], replica: ReplicaMemory, spec: DeploymentSpec) -> bool:
    """Whether a replica leaves its pool."""
    result = pooled(spec, deployment(replica, stays=stays), Index.of(world), NOW)
    return result.memory.replicas[0].pool is None


LATE = (stay(overdue=True),)


@pytest.mark.parametrize(
    ("world", "stays", "replica", "spec", "expected"),
    [
        (seen(coming()), LATE, waiting(), TWO, True),
        (seen(coming(), Y), LATE, waiting(), TWO, True),
        (seen(coming(), X, Y), LATE, waiting(), TWO, False),
        (seen(coming()), (stay(ago=10),), waiting(), TWO, False),
        (seen(coming()), (*LATE, stay(name="i-z", node_type="gpu-b", overdue=True)), waiting(), TWO, False),
        (seen(coming(pool="b")), (stay(node_type="gpu-b", overdue=True),), waiting(), TWO, False),
        (seen(coming()), LATE, fresh(pool_since=NOW - 500), ONE, False),
        (seen(coming()), LATE, waiting(), replace(TWO, pools=(A, replace(B, gpus=1))), False),
        (seen(X), (), waiting(strikes=1), TWO, False),
        (seen(X), (), waiting(strikes=2), TWO, True),
        (seen(X), (), fresh(pool_since=NOW - 500, strikes=2), ONE, False),
    ],
    ids=[
        "overdue",
        "with a part of the gang",
        "all is there without it",
        "not overdue",
        "in both",
        "another pool's",
        "no other pool",
        "no room elsewhere",
        "one given up",
        "two given up",
        "two given up, no other pool",
    ],
)
def test_when_a_hanging_node_moves_its_replica(
    world: Snapshot, stays: tuple[Stay, ...], replica: ReplicaMemory, spec: DeploymentSpec, expected: bool
) -> None:
    assert moves(world, stays, replica, spec) is expected


def test_a_pool_in_which_a_node_hangs_is_the_last_to_be_chosen() -> None:
    def chosen(*stays: Stay) -> str | None:
        result = pooled(TWO, deployment(fresh(pool=None), stays=stays), Index.of(seen(groups=())), NOW)
        return result.memory.replicas[0].pool

    assert chosen() == "a"
    assert chosen(stay(overdue=True)) == "b"
    assert chosen(stay(overdue=True), stay(name="i-z", node_type="gpu-b", overdue=True)) == "a"


def test_two_replicas_of_a_pool_count_together_and_a_pool_that_was_left_is_forgiven() -> None:
    pair = replace(TWO, shape=Shape(2, 1, 2), pools=(A, B))
    both = deployment(waiting(strikes=1), waiting(id="r1", strikes=1))
    result = pooled(pair, both, Index.of(seen()), NOW)
    assert [replica.pool for replica in result.memory.replicas] == [None, None]
    assert [replica.strikes for replica in result.memory.replicas] == [0, 0]
    assert [(rest.pool, rest.failures) for rest in result.memory.rests] == [("a", 1)]
    assert "2 of its nodes were given up" in result.events[0].message


def test_a_replica_of_which_no_node_was_given_up_stays() -> None:
    pair = replace(TWO, shape=Shape(2, 1, 2))
    result = pooled(pair, deployment(waiting(strikes=2), waiting(id="r1")), Index.of(seen()), NOW)
    assert [replica.pool for replica in result.memory.replicas] == [None, "a"]


def test_the_head_is_never_the_least_trusted() -> None:
    assert least_trusted([X, replace(Y, is_head=True)]) == X
    assert least_trusted([replace(Y, is_head=True)]) is None


def test_the_reason_says_which_node_hangs_where_only_ray_can_end_it() -> None:
    stuck = deployment(fresh(), stays=(stay(ago=150, overdue=True),))
    told = reason(ONE, stuck, seen(coming()), NOW)
    assert "Node i-x (gpu-a) hangs for 2m 30s: it does not answer SSH" in told


def test_a_node_given_up_for_its_silence_counts_for_its_pool_until_an_engine_speaks() -> None:
    replica = failed(silent=("a", "b", "b"))
    after, (event,) = note_silent_nodes(facts(replica, snapshot((group(),), (ended(),)), ONE))
    assert event.kind == "node.distrusted"
    assert after.memory.strikes == 1
    assert spoken(after.memory).strikes == 0
    assert spoken(fresh(strikes=1)).strikes == 0


def test_a_memory_without_stays_stays_the_same_object() -> None:
    quiet: DeploymentMemory = deployment(waiting())
    assert limited(TWO, quiet, Index.of(seen()), NOW).memory is quiet
