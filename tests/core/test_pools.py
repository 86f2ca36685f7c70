"""Where replicas live: which pool is chosen, when one is left and for how long it rests, and what is asked for."""

from dataclasses import replace
from typing import Any

import pytest

from elastic_deploy.core.explain import reason
from elastic_deploy.core.facts import Index
from elastic_deploy.core.pools import FIRST_REST, LATE, LONGEST_REST, Pooled, pooled, rest_after
from elastic_deploy.core.roster import asked_bundles
from elastic_deploy.model.action import DrainNode
from elastic_deploy.model.memory import DeploymentMemory, Partial, ReplicaMemory, Rest
from elastic_deploy.model.names import GroupName
from elastic_deploy.model.pool import Pool
from elastic_deploy.model.shape import Bundle, Shape
from elastic_deploy.model.snapshot import (
    GroupSeen,
    GroupState,
    LaunchFailure,
    LaunchOutcome,
    NodeSeen,
    NodeState,
    Snapshot,
)

from .scenes import NOW, SPEC, blind, deployment, fresh, group, serving, snapshot

A, B = Pool("a", ("gpu-a",), 4), Pool("b", ("gpu-b",), 4)
POOLS = replace(SPEC, pools=(A, B), pool_timeout=100.0, partial_timeout=60.0, prices=(("gpu-a", 36.0), ("gpu-b", 72.0)))
PAIR = replace(POOLS, shape=Shape(2, 1, 2))
NO_NODES: tuple[NodeSeen, ...] = ()


def node(name: str, pool: str, gpus: int = 1, **more: Any) -> NodeSeen:
    """A node of a pool that has joined."""
    return replace(NodeSeen(f"i-{name}", f"gpu-{pool}", NodeState.JOINED, gpus, name), **more)


def waiting(pool: str | None = "a", since: float = NOW - 10, **more: Any) -> ReplicaMemory:
    """A replica that waits in a pool."""
    return fresh(pool=pool, pool_since=None if pool is None else since, **more)


def refusal(pool: str = "a", at: float = NOW - 1, outcome: LaunchOutcome = LaunchOutcome.REFUSED) -> LaunchFailure:
    """A launch in a pool that was refused."""
    return LaunchFailure(f"gpu-{pool}", 2, "InsufficientInstanceCapacity", "None left.", at, outcome)


def rest(pool: str, until: float, failures: int = 1, since: float = NOW - 5) -> Rest:
    """A pool that rests."""
    return Rest(pool, failures, since, until, "nothing came from it")


def seen(*nodes: NodeSeen, groups: tuple[GroupSeen, ...] = (), **more: Any) -> Snapshot:
    """A snapshot with just these nodes."""
    return snapshot(groups, nodes=nodes, **more)


def step(memory: DeploymentMemory, world: Snapshot, spec: Any = POOLS) -> Pooled:
    """One step."""
    return pooled(spec, memory, Index.of(world), NOW)


def pools(result: Pooled) -> list[str | None]:
    """The pool of each replica."""
    return [replica.pool for replica in result.memory.replicas]


PENDING = group(GroupState.PENDING, ("", ""))
HALF = seen(node("x", "a"), groups=(PENDING,))
LONG = Partial(NOW - 60, NOW - 1, 1, 0.5)

CASES = {
    "the first of all": (POOLS, [fresh()], seen(), (), ["a"]),
    "not one that rests": (POOLS, [fresh()], seen(), (rest("a", NOW + 1),), ["b"]),
    "again when all have rested": (POOLS, [fresh()], seen(), (rest("a", NOW), rest("b", NOW)), ["a"]),
    "one that has not failed before one that has": (POOLS, [fresh()], seen(), (rest("a", NOW),), ["b"]),
    "of those that have failed the one that did so first": (
        POOLS,
        [fresh()],
        seen(),
        (rest("a", NOW), rest("b", NOW, since=NOW - 6)),
        ["b"],
    ),
    "a failure before its wait counts no more": (POOLS, [fresh()], seen(), (rest("a", NOW, since=NOW - 999),), ["a"]),
    "none while all rest": (POOLS, [fresh()], seen(), (rest("a", NOW + 1), rest("b", NOW + 9)), [None]),
    "none before the former group is gone": (POOLS, [waiting(None)], seen(groups=(PENDING,)), (), [None]),
    "two where there is room": (PAIR, [fresh(), fresh(id="r1")], seen(), (), ["a", "a"]),
    "the second elsewhere where there is not": (
        replace(PAIR, pools=(replace(A, gpus=3), B)),
        [fresh(), fresh(id="r1")],
        seen(),
        (),
        ["a", "b"],
    ),
    "it stays where it waits": (POOLS, [waiting("b")], seen(), (), ["b"]),
    "a refusal moves it": (POOLS, [waiting()], seen(launch_failures=(refusal(),)), (), [None]),
    "not at once, since a part may have come": (
        POOLS,
        [waiting(since=NOW - 4)],
        seen(launch_failures=(refusal(),)),
        (),
        ["a"],
    ),
    "nor while a part of it is being launched": (
        POOLS,
        [waiting()],
        seen(node("x", "a", state=NodeState.LAUNCHING), launch_failures=(refusal(),)),
        (),
        ["a"],
    ),
    "one of another pool does not": (POOLS, [waiting()], seen(launch_failures=(refusal("b"),)), (), ["a"]),
    "one from before its wait does not": (
        POOLS,
        [waiting(since=NOW - 10)],
        seen(launch_failures=(refusal(at=NOW - 11),)),
        (),
        ["a"],
    ),
    "one that is tried again now does not": (
        POOLS,
        [waiting()],
        seen(launch_failures=(refusal(outcome=LaunchOutcome.RETRYING),)),
        (),
        ["a"],
    ),
    "a refusal of the rest does not": (
        POOLS,
        [waiting()],
        replace(HALF, launch_failures=(refusal(),)),
        (),
        ["a"],
    ),
    "a refusal where there is no other pool does not": (
        replace(POOLS, pools=(A,)),
        [waiting()],
        seen(launch_failures=(refusal(),)),
        (),
        ["a"],
    ),
    "nothing for too long moves it": (POOLS, [waiting(since=NOW - 100)], seen(), (), [None]),
    "nothing for a while does not": (POOLS, [waiting(since=NOW - 99)], seen(), (), ["a"]),
    "nor where the others rest": (POOLS, [waiting(since=NOW - 100)], seen(), (rest("b", NOW + 9),), ["a"]),
    "nor while a node of it is being launched": (
        POOLS,
        [waiting(since=NOW - 900)],
        seen(node("x", "a", state=NodeState.LAUNCHING)),
        (),
        ["a"],
    ),
    "half of it for too long moves it": (POOLS, [waiting(partial=LONG)], HALF, (), [None]),
    "half of it for a while does not": (
        POOLS,
        [waiting(partial=Partial(NOW - 59, NOW - 1, 1))],
        HALF,
        (),
        ["a"],
    ),
    "half of another pool is none of its": (POOLS, [waiting("b", partial=LONG)], HALF, (), ["b"]),
    "all of it is about to be placed": (
        POOLS,
        [waiting(partial=LONG)],
        seen(node("x", "a"), node("y", "a"), groups=(PENDING,)),
        (),
        ["a"],
    ),
    "what another holds is not there for it": (
        POOLS,
        [waiting(since=NOW - 1, partial=LONG)],
        seen(node("x", "a"), groups=(PENDING, GroupSeen(GroupName("z", "r0"), "pg9", GroupState.CREATED, ("x",)))),
        (),
        ["a"],
    ),
    "the head's GPUs cannot be released": (
        POOLS,
        [waiting(since=NOW - 1, partial=LONG)],
        seen(node("x", "a", is_head=True)),
        (),
        ["a"],
    ),
    "half a gang costs too much": (
        replace(POOLS, partial_timeout=None, partial_budget=0.5),
        [waiting(partial=Partial(NOW - 30, NOW - 1, 1, 0.495))],
        HALF,
        (),
        [None],
    ),
    "and not yet": (
        replace(POOLS, partial_timeout=None, partial_budget=0.6),
        [waiting(partial=Partial(NOW - 30, NOW - 1, 1, 0.495))],
        HALF,
        (),
        ["a"],
    ),
    "a pool that is wanted no more": (POOLS, [waiting("c")], seen(), (), ["a"]),
    "one that serves stays where it is": (
        POOLS,
        [serving(pool="c")],
        seen(node("a", "c"), node("b", "c"), groups=(group(),)),
        (),
        ["c"],
    ),
    "one that was found is where its nodes are": (
        POOLS,
        [serving(pool="")],
        seen(node("a", "b"), node("b", "b"), groups=(group(),)),
        (),
        ["b"],
    ),
    "without pools, half a gang is released as well": (
        replace(POOLS, pools=()),
        [waiting("", partial=LONG)],
        HALF,
        (),
        [None],
    ),
    "one that rested when pools and limits were taken back": (SPEC, [waiting(None)], seen(), (), [""]),
    "the blind move nobody": (POOLS, [waiting(partial=LONG)], blind(HALF, "nodes"), (), ["a"]),
}


@pytest.mark.parametrize(("spec", "replicas", "world", "rests", "expected"), CASES.values(), ids=list(CASES))
def test_where_it_lives(
    spec: Any, replicas: list[ReplicaMemory], world: Snapshot, rests: tuple[Rest, ...], expected: list[str | None]
) -> None:
    result = step(deployment(*replicas, rests=rests), world, spec)
    assert pools(result) == expected
    again = step(result.memory, world, spec)
    if expected == pools(again):
        assert not again.events, "the same is not said twice"


def test_without_pools_and_limits_nothing_is_decided() -> None:
    memory = deployment(fresh())
    assert pooled(SPEC, memory, Index.of(HALF), NOW).memory is memory


def test_a_pool_that_failed_rests_and_says_why() -> None:
    result = step(deployment(waiting()), seen(launch_failures=(refusal(),)))
    (found,) = result.memory.rests
    assert (found.pool, found.failures, found.until) == ("a", 1, NOW + FIRST_REST)
    (event,) = result.events
    assert event.kind == "pool.left"
    assert "InsufficientInstanceCapacity: None left" in event.message
    assert event.data["rests_until"] == NOW + FIRST_REST
    assert result.wake_at == NOW + FIRST_REST


def test_each_failure_in_a_row_makes_it_rest_longer() -> None:
    assert [rest_after(n) for n in (1, 2, 3, 4, 5, 50)] == [60, 120, 240, 480, LONGEST_REST, LONGEST_REST]
    memory = deployment(waiting(), rests=(rest("a", NOW - 11, failures=2, since=NOW - 70),))
    (found,) = step(memory, seen(launch_failures=(refusal(),))).memory.rests
    assert (found.failures, found.until) == (3, NOW + 240)


def test_replicas_that_are_refused_together_count_as_one_failure() -> None:
    memory = deployment(waiting(), waiting(id="r1"), waiting(id="r2"))
    (found,) = step(memory, seen(launch_failures=(refusal(),)), replace(POOLS, shape=Shape(2, 1, 3))).memory.rests
    assert (found.failures, found.until) == (1, NOW + FIRST_REST)


def test_why_a_pool_that_was_tried_is_passed_over_is_said() -> None:
    (event,) = step(deployment(fresh(), rests=(rest("a", NOW),)), seen()).events
    assert "in pool b: a was tried before it, and nothing came from it." in event.message


def test_a_whole_gang_ends_the_row() -> None:
    world = seen(node("a", "a"), node("b", "a"), groups=(group(),))
    memory = deployment(serving(pool="a", pool_since=NOW - 50, whole_since=NOW), rests=(rest("a", NOW - 1, 5),))
    result = step(memory, world)
    assert result.memory.rests == ()
    assert result.memory.replicas[0].pool_since is None
    assert step(result.memory, world).memory is result.memory


def test_half_a_gang_is_measured_in_dollars() -> None:
    first = step(deployment(waiting()), HALF).memory
    assert first.replicas[0].partial == Partial(NOW, NOW, 1)
    later = pooled(POOLS, first, Index.of(HALF), NOW + 50).memory
    assert later.replicas[0].partial == Partial(NOW, NOW + 50, 1, 0.5)


def test_the_nodes_of_a_released_gang_are_let_go_at_once_and_their_cost_is_kept() -> None:
    result = step(deployment(waiting(partial=LONG)), HALF)
    (drain,) = result.actions
    assert isinstance(drain, DrainNode)
    assert (drain.name, drain.deadline) == ("x", NOW)
    assert result.memory.wasted == pytest.approx(0.51)
    (event,) = result.events
    assert "1 of 2 GPUs came" in event.message
    assert event.data["cost_usd"] == pytest.approx(0.51)


def test_a_node_that_holds_anothers_gpus_is_not_let_go() -> None:
    other = GroupSeen(GroupName("z", "r0"), "pg9", GroupState.CREATED, ("x",))
    world = seen(node("x", "a", gpus=2), groups=(PENDING, other))
    result = step(deployment(waiting(partial=LONG)), world)
    assert pools(result) == [None]
    assert result.actions == ()


WAKES = {
    "when half of it was there long enough": (POOLS, waiting(), HALF, NOW + 60),
    "when it cost enough": (replace(POOLS, partial_timeout=None, partial_budget=1.0), waiting(), HALF, NOW + 100),
    "when a part would have been seen": (POOLS, waiting(since=NOW - 2), seen(launch_failures=(refusal(),)), NOW + 3),
    "when nothing came for too long": (POOLS, waiting(since=NOW - 10), seen(), NOW + 90),
}


@pytest.mark.parametrize(("spec", "replica", "world", "at"), WAKES.values(), ids=list(WAKES))
def test_it_looks_again(spec: Any, replica: ReplicaMemory, world: Snapshot, at: float) -> None:
    assert step(deployment(replica), world, spec).wake_at == pytest.approx(at)


def test_it_looks_again_when_the_first_pool_has_rested() -> None:
    memory = deployment(fresh(), rests=(rest("a", NOW + 9), rest("b", NOW + 4)))
    assert step(memory, seen()).wake_at == NOW + 4


def test_each_replica_is_asked_for_where_it_lives() -> None:
    memory = deployment(serving(pool="b"), waiting("a", id="r1"))
    expected = (Bundle({"GPU": 1.0}, 2, {"pool": "a"}), Bundle({"GPU": 1.0}, 2, {"pool": "b"}))
    assert asked_bundles(PAIR, memory) == expected


def test_nothing_is_asked_for_while_all_pools_rest() -> None:
    assert asked_bundles(POOLS, deployment(waiting(None))) == ()


def test_of_a_place_that_is_wanted_no_more_it_asks_for_what_it_has_there() -> None:
    assert asked_bundles(POOLS, deployment(serving(pool="c"))) == (Bundle({"GPU": 1.0}, 2, {"pool": "c"}),)
    assert asked_bundles(POOLS, deployment(serving(pool=""))) == (Bundle({"GPU": 1.0}, 2),)
    assert asked_bundles(POOLS, deployment(waiting("c"))) == ()


def test_the_blind_who_remember_nothing_ask_for_nothing_outside_the_pools() -> None:
    assert asked_bundles(POOLS, deployment()) == ()
    assert asked_bundles(POOLS, deployment(fresh())) == ()


def test_without_pools_the_request_is_what_it_was() -> None:
    assert asked_bundles(SPEC, deployment(fresh())) == (Bundle({"GPU": 1.0}, 2),)


def test_the_refusals_of_a_pool_that_rests_are_not_told_twice() -> None:
    refusals = seen(launch_failures=(refusal("a"), refusal("b")))
    memory = deployment(waiting("b"), rests=(rest("a", NOW + 50),), phase="waiting")
    told = reason(POOLS, memory, refusals, NOW)
    assert "Pool a rests until 00:17:30 UTC: nothing came from it." in told
    assert "2 gpu-b nodes" in told
    assert "2 gpu-a nodes" not in told
    assert "2 gpu-a nodes" in reason(POOLS, replace(memory, rests=(rest("a", NOW - 1),)), refusals, NOW)


LATE_ONE = node("x", "a", joined_at=NOW - 1)
LEFT = rest("a", NOW + 1)
ELSEWHERE = GroupSeen(GroupName("z", "r0"), "pg9", GroupState.PENDING, ("",))
HELD = GroupSeen(GroupName("z", "r0"), "pg9", GroupState.CREATED, ("x",))
LATE_COMERS: dict[str, tuple[Any, ReplicaMemory, Rest, Snapshot, bool]] = {
    "it came after the pool was left": (POOLS, waiting("b"), LEFT, seen(LATE_ONE), True),
    "though the pool has rested": (POOLS, waiting("b"), rest("a", NOW - 1), seen(LATE_ONE), True),
    "it was there before": (POOLS, waiting("b"), LEFT, seen(replace(LATE_ONE, joined_at=NOW - 9)), False),
    "nobody knows when it came": (POOLS, waiting("b"), LEFT, seen(replace(LATE_ONE, joined_at=0.0)), False),
    "the pool is lived in again": (POOLS, waiting("a"), rest("a", NOW - 1), seen(LATE_ONE), False),
    "it is of another pool": (POOLS, waiting("b"), LEFT, seen(node("x", "c", joined_at=NOW - 1)), False),
    "it has not joined": (POOLS, waiting("b"), LEFT, seen(replace(LATE_ONE, state=NodeState.LAUNCHING)), False),
    "it is the head": (POOLS, waiting("b"), LEFT, seen(replace(LATE_ONE, is_head=True)), False),
    "it has no GPU": (POOLS, waiting("b"), LEFT, seen(replace(LATE_ONE, gpus=0)), False),
    "another deployment holds it": (POOLS, waiting("b"), LEFT, seen(LATE_ONE, groups=(HELD,)), False),
    "another deployment may wait for it": (POOLS, waiting("b"), LEFT, seen(LATE_ONE, groups=(ELSEWHERE,)), False),
    "too long ago to be what was ordered": (
        POOLS,
        waiting("b"),
        rest("a", NOW, since=NOW - LATE),
        seen(LATE_ONE),
        False,
    ),
    "the cluster keeps nodes there in any case": (
        replace(POOLS, pools=(replace(A, standing=True), B)),
        waiting("b"),
        LEFT,
        seen(LATE_ONE),
        False,
    ),
}


@pytest.mark.parametrize(("spec", "replica", "left", "world", "goes"), LATE_COMERS.values(), ids=list(LATE_COMERS))
def test_a_node_that_comes_when_its_pool_has_been_left_is_let_go(
    spec: Any, replica: ReplicaMemory, left: Rest, world: Snapshot, goes: bool
) -> None:
    drains = list(step(deployment(replica, rests=(left,)), world, spec).actions)
    why = "it came to pool a when nobody waited there any more"
    assert drains == ([DrainNode("x", NOW, why, if_idle=True)] if goes else [])


def test_nodes_that_the_cluster_keeps_are_not_let_go() -> None:
    spec = replace(POOLS, pools=(replace(A, standing=True), B))
    result = step(deployment(waiting(partial=LONG)), HALF, spec)
    assert (pools(result), result.actions) == ([None], ())
    assert result.memory.wasted > 0
