"""Histories of scarce capacity: pools that refuse, gangs that come in part, and what a replica does about it."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastic_deploy.core.pools import FIRST_REST, LONGEST_REST, rest_after
from elastic_deploy.model.event import EventDraft
from elastic_deploy.model.phase import Phase
from elastic_deploy.model.pool import Pool
from elastic_deploy.model.shape import Shape
from elastic_deploy.model.spec import ClusterSpec, DeploymentSpec

from .faults import FAULTS, Fault, befall, end_faults
from .machines import Machines
from .play import Play
from .test_properties import PROFILE, settled
from .test_stories import CHAT, played, ready
from .world import World

A, B = Pool("a", ("gpu-a",)), Pool("b", ("gpu-b",))
POOLED = replace(CHAT, pools=(A, B), pool_timeout=40.0, partial_timeout=20.0, wait_timeout=600.0)


def told(play: Play, kind: str) -> list[str]:
    """The pools that events of a kind name."""
    return [event.data["pool"] for event in play.events if event.kind == kind]


def living(play: Play) -> dict[str, str | None]:
    """Where each replica lives."""
    memory = play.remembered("chat")
    assert memory is not None
    return {replica.id: replica.pool for replica in memory.replicas}


def test_the_first_pool_is_taken_where_it_can_be_had() -> None:
    play = ready(POOLED)
    assert living(play) == {"r0": "a"}
    assert {node.pool for node in play.world.machines.nodes.values()} == {"a"}


def test_a_pool_that_refuses_is_left_for_the_next() -> None:
    play = played(POOLED, stock={"a": 0})
    play.run(20)
    assert play.phase("chat") is Phase.READY, play.story(["not ready"])
    assert (told(play, "pool.chosen"), told(play, "pool.left")) == (["a", "b"], ["a"])


def test_nodes_that_boot_for_longer_than_the_pool_is_waited_for_are_not_left() -> None:
    play = played(POOLED, launch_delay=60.0)
    play.run(75)
    assert (play.phase("chat"), told(play, "pool.left")) == (Phase.READY, []), play.story(["not ready"])


def test_half_a_gang_is_released_and_the_next_pool_tried() -> None:
    play = played(POOLED, stock={"a": 1})
    play.run(20 + 20)
    assert play.phase("chat") is Phase.READY, play.story(["not ready"])
    assert living(play) == {"r0": "b"}
    lone = [node for node in play.world.machines.nodes.values() if node.pool == "a"]
    assert [node.runs(play.now) for node in lone] == [False], "it is let go at once, not when it has been idle"


def test_half_a_gang_in_the_only_pool_is_released_and_tried_again_when_it_has_rested() -> None:
    play = played(replace(POOLED, pools=()), stock={"": 1})
    play.run(30)
    assert (play.world.machines.requested, play.world.machines.groups) == (0, {})
    play.world.machines.stock = {}
    play.run(FIRST_REST + 15)
    assert play.phase("chat") is Phase.READY, play.story(["not ready"])


def test_a_lost_node_that_does_not_come_again_moves_the_replica() -> None:
    play = ready(POOLED)
    play.world.machines.stock = {"a": 1}
    play.world.machines.kill(0, play.now, detected_after=2)
    play.run(50)
    assert (play.phase("chat"), living(play)) == (Phase.READY, {"r0": "b"})


def test_when_all_pools_refuse_each_rests_longer_and_longer() -> None:
    play = played(replace(POOLED, wait_timeout=None), stock={"a": 0, "b": 0})
    play.run(1000)
    asked = [at for at, what in play.log if getattr(what, "kind", "") == "pool.chosen" and what.data["pool"] == "a"]  # type: ignore[attr-defined]
    gaps = [later - earlier for earlier, later in pairwise(asked)]
    assert len(gaps) >= 3
    assert all(gap >= rest_after(n) for n, gap in enumerate(gaps, start=1))
    play.world.machines.stock = {}
    play.run(600)
    assert play.phase("chat") is Phase.READY, play.story(["not ready"])


def test_two_replicas_live_in_two_pools() -> None:
    play = played(replace(POOLED, shape=Shape(2, 1, 2), pools=(replace(A, gpus=2), replace(B, gpus=2))))
    play.run(15)
    assert living(play) == {"r0": "a", "r1": "b"}
    assert len(play.serving()) == 2


def test_a_supervisor_without_memory_finds_where_its_replicas_live() -> None:
    play = played(POOLED, stock={"a": 0})
    play.run(20)
    play.restart(forget=True)
    play.run(20)
    assert living(play) == {"r0": "b"}
    assert len(play.started_for) == 1


SPECS = st.builds(
    lambda replicas, partial, surge: replace(
        POOLED,
        shape=Shape(2, 1, replicas),
        partial_timeout=partial,
        surge=surge,
        drain_timeout=20.0,
        max_engine_failures=9,
    ),
    st.integers(1, 3),
    st.sampled_from((None, 5.0, 30.0)),
    st.booleans(),
)


@pytest.mark.timeout(7200)
@PROFILE
@given(
    SPECS,
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 6), st.integers(1, 200)), max_size=6),
    st.lists(FAULTS, max_size=6),
)
def test_whatever_can_be_had_all_is_well_once_it_can(
    spec: DeploymentSpec, stocks: list[tuple[str, int, int]], faults: list[Fault]
) -> None:
    """And no pool is chosen before it has rested."""
    play = Play(World(Machines(max_nodes=24)), ClusterSpec((replace(spec, wait_timeout=None),)))
    for number, (pool, stock, seconds) in enumerate(stocks):
        play.world.machines.stock[pool] = stock
        play.run(seconds)
        for fault in faults[number : number + 1]:
            befall(play, fault)
    play.world.machines.stock = {}
    end_faults(play)
    # What is on its way may fail once more, and a pool that failed often rests for long.
    for _ in range(int(3 * LONGEST_REST)):
        if settled(play) and not play.delayed:
            break
        play.tick()
    else:
        raise AssertionError(play.story([f"not well {3 * LONGEST_REST:g} s after the last fault"]))
    resting: dict[str, float] = {}
    lives: dict[str, str] = {}
    for at, what in play.log:
        if not isinstance(what, EventDraft):
            continue
        if what.kind == "pool.left":
            resting[what.data["pool"]] = what.data["rests_until"]
        elif what.kind == "pool.chosen":
            pool = lives[what.replica] = what.data["pool"]
            assert at >= resting.get(pool, 0.0), play.story([f"{pool} was asked while it rested"])
        elif what.kind == "group.ready" and what.replica in lives:
            resting.pop(lives[what.replica], None)  # what it gave a gang to needs no rest
