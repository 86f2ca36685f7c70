"""Replicas by load, and none for an idle deployment, in the scripted world."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from elastic_deploy.core.ledger import Ledger
from elastic_deploy.core.status import ClusterFacts, status_document
from elastic_deploy.model.phase import Phase
from elastic_deploy.model.scaling import Scaling
from elastic_deploy.model.shape import Shape
from elastic_deploy.model.spec import ClusterSpec, DeploymentSpec

from .demand import UNKNOWN, Demand
from .machines import Machines
from .play import Play
from .world import World

RULE = Scaling(1, requests_per_replica=4, grow_after=10.0, shrink_after=60.0)
CHAT = DeploymentSpec(
    "chat", "tiny", "tiny", Shape(1, 1, 3), wait_timeout=60.0, engine_start_timeout=60.0, drain_timeout=20.0
)
SCALED = replace(CHAT, scaling=RULE)
IDLE = replace(CHAT, shape=Shape(2, 1, 1), idle_timeout=120.0)
FROM_ZERO = replace(CHAT, scaling=replace(RULE, least=0), idle_timeout=120.0)


def served(spec: DeploymentSpec, **machines: object) -> tuple[Play, Demand]:
    """A deployment that serves, and its clients."""
    play = Play(World(Machines(**machines)), ClusterSpec((spec,)))  # type: ignore[arg-type]
    demand = Demand(play)
    demand.run(30)
    assert play.phase("chat") is Phase.READY, play.story(["not ready"])
    return play, demand


def kinds(play: Play, prefix: str = "deployment.") -> list[str]:
    return [event.kind.removeprefix(prefix) for event in play.events if event.kind.startswith(prefix)]


def test_an_idle_deployment_releases_its_gpus_and_the_next_request_has_them_asked_for_again() -> None:
    play, demand = served(IDLE)
    demand.run(60, 3)
    demand.run(115)
    assert len(play.serving()) == 1, play.story(["it slept too early"])
    demand.run(30)
    assert (play.world.machines.requested, play.world.machines.groups, play.serving()) == (0, {}, [])
    assert play.phase("chat") is Phase.WAITING
    document = status_document(
        play.spec, play.memory, Ledger(), play.world.snapshot(), ClusterFacts("c", "local", "", ""), play.now
    )
    [told] = document["deployments"]
    assert told["reason"].startswith("It sleeps since ")
    assert told["gpus"]["requested"] == 0
    demand.run(3600)
    assert play.phase("chat") is Phase.WAITING, "sleeping is no wait that could time out"
    demand.run(40, 1)
    assert len(play.serving()) == 1
    assert play.phase("chat") is Phase.READY
    assert kinds(play) == ["sleeping", "woken"]


def test_what_is_not_known_is_never_idle() -> None:
    play, demand = served(IDLE)
    demand.run(600, UNKNOWN)
    assert len(play.serving()) == 1
    play.world.loads = ()
    play.restart(forget=True)
    demand.run(600, UNKNOWN)
    assert len(play.serving()) == 1


def test_a_request_that_comes_while_it_falls_asleep_is_answered_by_the_engine_that_runs() -> None:
    play, demand = served(IDLE)
    while demand.replicas:
        demand.run(1)
    demand.run(30, 1)
    assert len(play.serving()) == 1
    assert play.phase("chat") is Phase.READY


def test_a_deployment_that_was_woken_waits_for_its_gpus_as_long_as_somebody_asks() -> None:
    play, demand = served(IDLE)
    demand.run(200)
    assert demand.replicas == 0
    play.world.machines.max_nodes = 0
    for index in range(len(play.world.machines.nodes)):
        play.world.machines.kill(index, play.now, detected_after=1)
    demand.run(300, 1)
    assert play.phase("chat") is Phase.WAITING, "it is not given up after its first wait's deadline"
    assert play.world.machines.requested == 2
    demand.run(200)
    assert demand.replicas == 0, "nobody asks any more"
    assert play.world.machines.requested == 0


def test_a_supervisor_that_comes_back_leaves_a_sleeper_asleep() -> None:
    play, demand = served(IDLE)
    demand.run(200)
    play.restart()
    demand.run(100)
    assert (demand.replicas, play.world.machines.requested) == (0, 0)


def test_replicas_grow_and_shrink_with_the_load() -> None:
    play, demand = served(SCALED)
    assert (demand.replicas, play.world.machines.requested) == (1, 1)
    demand.run(40, 12)
    assert len(play.serving()) == 3
    assert play.phase("chat") is Phase.READY
    demand.run(55, 1)
    assert len(play.serving()) == 3
    demand.run(60, 1)
    assert len(play.serving()) == 1
    assert play.world.machines.requested == 1
    demand.run(300, 0)
    assert len(play.serving()) == 1, "it never sleeps by itself"
    assert kinds(play) == ["scaled", "scaled"]


def test_what_the_cloud_does_not_give_leaves_what_serves_alone() -> None:
    play, demand = served(SCALED, max_nodes=1)
    demand.run(300, 12)
    assert len(play.serving()) == 1
    assert play.phase("chat") is Phase.READY
    assert play.world.machines.requested == 3


def test_from_zero_to_all_and_back() -> None:
    play, demand = served(FROM_ZERO)
    demand.run(150)
    assert (demand.replicas, play.serving()) == (0, [])
    demand.run(60, 12)
    assert len(play.serving()) == 3
    demand.run(400)
    assert (demand.replicas, play.serving(), play.world.machines.requested) == (0, [], 0)


def test_a_change_of_arguments_rolls_out_in_the_present_scale() -> None:
    play, demand = served(replace(SCALED, surge=True))
    play.change("chat", engine_arguments=("--seed", "1"))
    demand.run(60, 2)
    assert play.spec.deployments[0].former is None
    assert play.spec.deployments[0].shape.replicas == 3, "what the user allows is not forgotten"
    assert len(play.serving()) == 1
    assert [engine.version for engine in play.serving()] == [play.spec.deployments[0].fingerprint]


def test_a_supervisor_without_memory_keeps_the_replicas_that_run() -> None:
    play, demand = served(SCALED)
    demand.run(40, 12)
    assert len(play.serving()) == 3
    play.restart(forget=True)
    demand.run(20, 12)
    assert (demand.replicas, len(play.serving())) == (3, 3)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    loads=st.lists(
        st.tuples(st.sampled_from([UNKNOWN, 0, 1, 3, 4, 5, 7, 8, 9, 12, 40]), st.integers(1, 90)), max_size=12
    ),
    least=st.integers(0, 2),
)
def test_no_load_makes_it_flap(loads: list[tuple[int, int]], least: int) -> None:
    spec = replace(SCALED, scaling=replace(RULE, least=least), idle_timeout=None if least else 120.0)
    play, demand = served(spec)
    for requests, seconds in loads:
        demand.run(seconds, requests)
    turns = [(at, e) for at, e in play.log if getattr(e, "kind", "") == "deployment.scaled"]
    ways = [(at, e.data["to"] > e.data["from"]) for at, e in turns]  # type: ignore[attr-defined]
    for (before, _), (at, grows) in itertools.pairwise(ways):
        pause = RULE.grow_after if grows else RULE.shrink_after
        assert at - before >= pause, play.story([f"turned within {at - before:g} s"])
    assert all(least <= e.data["to"] <= 3 for _, e in turns)  # type: ignore[attr-defined]


@pytest.mark.parametrize("requests", range(14))
def test_a_steady_load_comes_to_rest(requests: int) -> None:
    play, demand = served(SCALED)
    demand.run(200, 12)
    demand.run(300, requests)
    before = kinds(play)
    demand.run(900, requests)
    assert kinds(play) == before
    assert demand.replicas * RULE.requests_per_replica >= min(requests, 12)


def test_a_burst_that_is_soon_over_adds_no_replica() -> None:
    play, demand = served(SCALED)
    for _ in range(20):
        demand.run(int(RULE.grow_after) - 1, 12)
        demand.run(1, 1)
    assert demand.replicas == 1
    assert kinds(play) == []
