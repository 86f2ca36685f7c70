"""Histories in which a replica lives in a worse pool than it could: it goes back, in a quiet way, or stays."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elastic_deploy.model.event import EventDraft
from elastic_deploy.model.phase import Phase
from elastic_deploy.model.shape import Shape
from elastic_deploy.model.spec import ClusterSpec, DeploymentSpec

from .faults import ACCIDENTS, Fault, befall, end_faults
from .machines import Machines
from .play import Play
from .test_pool_stories import POOLED, living
from .test_properties import EXAMPLES, PROFILE, settled
from .world import World

BACK = replace(POOLED, prefer_return=True, surge=True, drain_timeout=20.0)
QUIET = BACK.return_after
SOON = int(QUIET) + 30


def displaced(spec: DeploymentSpec = BACK, **machines: object) -> Play:
    """A history in which a deployment serves in pool b, because pool a had nothing."""
    made = Machines(max_nodes=12, **{"stock": {"a": 0}, **machines})  # type: ignore[arg-type]
    play = Play(World(made), ClusterSpec((spec,)))
    play.run(20)
    assert (play.phase("chat"), set(living(play).values())) == (Phase.READY, {"b"}), play.story(["not in b"])
    return play


def kinds(play: Play) -> list[str]:
    """What was told of going back."""
    return [e.kind for e in play.events if e.kind.startswith(("replica.return", "return."))]


def serves_all_the_while(play: Play, seconds: int) -> None:
    for _ in range(seconds):
        play.run(1)
        assert len(play.serving()) >= 1, play.story(["nobody serves"])
        assert play.phase("chat") is Phase.READY, play.story(["not ready all the while"])


def test_it_goes_back_when_the_better_pool_can_be_asked_again_and_clients_notice_nothing() -> None:
    play = displaced()
    play.world.machines.stock = {}
    serves_all_the_while(play, SOON + 60)
    assert living(play) == {"r1": "a"}
    assert kinds(play) == ["replica.returning", "replica.returned"]
    assert play.world.machines.requests == {"a": 2}, "the old pool is asked for nothing any more"
    (engine,) = play.serving()
    assert engine.name.replica == "r1"


@pytest.mark.parametrize("changes", [{"prefer_return": False}, {"surge": False}])
def test_it_stays_where_it_is_not_wanted_to_or_has_no_room(changes: dict[str, bool]) -> None:
    play = displaced(replace(BACK, **changes))  # type: ignore[arg-type]
    play.world.machines.stock = {}
    play.run(SOON + 60)
    assert (living(play), kinds(play)) == ({"r0": "b"}, [])


def test_not_before_it_has_served_for_a_while() -> None:
    play = displaced()
    play.world.machines.stock = {}
    play.run(int(QUIET) - 30)
    assert kinds(play) == []


def test_a_better_pool_that_refuses_costs_nothing_and_is_tried_less_and_less_often() -> None:
    play = displaced()
    serves_all_the_while(play, int(8 * QUIET))
    assert living(play) == {"r0": "b"}
    tries = [kind for kind in kinds(play) if kind == "replica.returning"]
    assert kinds(play).count("return.given_up") == len(tries) == 3
    play.world.machines.stock = {}
    serves_all_the_while(play, int(8 * QUIET) + 120)
    assert living(play) == {"r1": "a"}


def test_half_a_gang_in_the_better_pool_is_given_up() -> None:
    play = displaced()
    play.world.machines.stock = {"a": 1}
    serves_all_the_while(play, SOON + 60)
    assert (living(play), kinds(play)) == ({"r0": "b"}, ["replica.returning", "return.given_up"])
    assert {node.pool for node in play.world.machines.nodes.values() if not node.draining} == {"b"}


def test_a_successor_whose_engine_fails_is_given_up() -> None:
    play = displaced()
    play.world.machines.stock = {}
    while "replica.returning" not in kinds(play):
        play.run(1)
    play.world.failing_starts = 2
    serves_all_the_while(play, 120)
    assert (living(play), kinds(play)) == ({"r0": "b"}, ["replica.returning", "return.given_up"])


def test_of_two_replicas_one_goes_after_the_other() -> None:
    play = displaced(replace(BACK, shape=Shape(2, 1, 2)))
    play.world.machines.stock = {}
    serves_all_the_while(play, 2 * SOON + 200)
    assert set(living(play).values()) == {"a"}
    began = [at for at, what in play.log if isinstance(what, EventDraft) and what.kind == "replica.returning"]
    assert len(began) == 2
    assert all(later - earlier >= QUIET for earlier, later in pairwise(began))


def test_a_node_lost_meanwhile_ends_the_attempt_and_all_is_well_again() -> None:
    play = displaced()
    play.world.machines.stock = {}
    while "replica.returning" not in kinds(play):
        play.run(1)
    victim = next(n for n, node in enumerate(play.world.machines.nodes.values()) if node.pool == "b")
    play.world.machines.kill(victim, play.now, detected_after=2)
    play.run(120)
    assert play.phase("chat") is Phase.READY, play.story(["not ready"])
    assert len(living(play)) == 1


@pytest.mark.timeout(3600)
@settings(PROFILE, max_examples=max(1, EXAMPLES // 20))  # long histories: it is quiet for a quarter of an hour
@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 3), st.integers(1, 400)), max_size=6),
    st.lists(ACCIDENTS, max_size=4),
)
def test_whatever_happens_it_is_whole_again_and_flaps_never(
    stocks: list[tuple[str, int, int]], faults: list[Fault]
) -> None:
    play = displaced()
    for number, (pool, stock, seconds) in enumerate(stocks):
        play.world.machines.stock[pool] = stock
        play.run(seconds)
        if number < len(faults):
            befall(play, faults[number])
    end_faults(play)
    play.world.machines.stock = {}
    play.run(SOON)
    assert settled(play), play.story(["not well again"])
    began = [at for at, what in play.log if isinstance(what, EventDraft) and what.kind == "replica.returning"]
    assert all(later - earlier >= QUIET for earlier, later in pairwise(began))
