"""Histories in which not all GPUs can be had: serving smaller meanwhile, and growing back."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastic_deploy.core.ladder import FIRST_RETRY
from elastic_deploy.model.phase import Phase
from elastic_deploy.model.pool import Pool
from elastic_deploy.model.rung import Rung
from elastic_deploy.model.shape import Shape
from elastic_deploy.model.snapshot import Usual
from elastic_deploy.model.spec import ClusterSpec, DeploymentSpec

from .faults import ACCIDENTS, Fault, befall
from .machines import IDLE_TIMEOUT, Machines, Node
from .play import Play
from .test_properties import PROFILE, settle
from .test_stories import CHAT, phases, played, ready
from .world import World

TWO, ONE = Rung(Shape(2, 1, 1), ("--max-model-len", "512")), Rung(Shape(1, 1, 1))
LADDER = replace(CHAT, shape=Shape(4, 1, 1), rungs=(TWO, ONE), degrade_after=20.0, wait_timeout=600.0)


def kinds(play: Play) -> list[str]:
    """What was told of the ladder."""
    prefix = "deployment."
    return [event.kind.removeprefix(prefix) for event in play.events if event.kind.startswith(prefix)]


def served(play: Play) -> list[int]:
    """On how many GPUs each engine that serves does."""
    return sorted(len(engine.hosts) for engine in play.serving())


def lowered(**machines: object) -> Play:
    """A history in which two of four GPUs have come, and are served on."""
    play = played(LADDER, **{"stock": {"": 2}, **machines})
    play.run(20)
    assert (play.phase("chat"), served(play)) == (Phase.WAITING, [])
    play.run(15)
    assert (play.phase("chat"), served(play)) == (Phase.DEGRADED, [2]), play.story(["not lowered"])
    return play


def test_it_serves_on_what_has_come_after_a_while_and_asks_for_the_rest_further() -> None:
    play = lowered()
    assert play.world.machines.requested == 4
    assert kinds(play) == ["lowered"]
    assert phases(play) == ["waiting", "starting", "degraded"]


def test_when_the_rest_comes_the_full_shape_takes_over() -> None:
    play = lowered()
    play.world.machines.stock = {}
    play.run(25)
    assert (play.phase("chat"), served(play)) == (Phase.READY, [4]), play.story(["not raised"])
    assert kinds(play) == ["lowered", "raising", "raised"]
    assert play.world.machines.requested == 4


def test_all_that_have_come_are_kept_while_several_replicas_take_over_one_by_one() -> None:
    """They take longer than nodes idle: what the last ones need is asked for from the beginning."""
    spec = replace(LADDER, shape=Shape(4, 1, 4))
    play = Play(World(Machines(max_nodes=16, stock={"": 2}), startup=IDLE_TIMEOUT), ClusterSpec((spec,)))
    play.run(70)
    assert (play.phase("chat"), served(play)) == (Phase.DEGRADED, [2]), play.story(["not lowered"])
    play.world.machines.stock = {}
    play.run(5 * IDLE_TIMEOUT + 40)
    assert (play.phase("chat"), served(play)) == (Phase.READY, [4] * 4), play.story(["not raised"])
    assert kinds(play) == ["lowered", "raising", "raised"]
    assert play.world.machines.counter == 16, "none of those that had come idled out"


def test_all_that_come_in_time_are_waited_for() -> None:
    play = played(LADDER, stock={"": 2})
    play.run(10)
    play.world.machines.stock = {}
    play.run(15)
    assert (play.phase("chat"), kinds(play)) == (Phase.READY, [])


def test_without_enough_for_the_lowest_rung_it_waits_on() -> None:
    play = played(replace(LADDER, rungs=(TWO,)), stock={"": 1})
    play.run(60)
    assert (play.phase("chat"), kinds(play)) == (Phase.WAITING, [])
    play.world.machines.stock = {"": 2}
    play.run(20)
    assert (play.phase("chat"), served(play)) == (Phase.DEGRADED, [2])


def test_a_node_lost_on_a_rung_lowers_it_further() -> None:
    play = lowered()
    play.world.machines.stock = {"": 1}
    play.world.machines.kill(0, play.now, detected_after=2)
    play.run(50)
    assert (play.phase("chat"), served(play)) == (Phase.DEGRADED, [1]), play.story(["not lowered further"])
    play.world.machines.stock = {}
    play.run(40)
    assert (play.phase("chat"), served(play)) == (Phase.READY, [4]), play.story(["not raised"])


def test_a_node_that_is_lost_and_not_replaced_lowers_what_was_full() -> None:
    play = ready(LADDER)
    play.world.machines.stock = {"": 3}
    play.world.machines.kill(0, play.now, detected_after=2)
    play.run(40)
    assert (play.phase("chat"), served(play)) == (Phase.DEGRADED, [2]), play.story(["not lowered"])


def test_a_node_whose_like_took_long_before_lowers_what_was_full_at_once() -> None:
    play = ready(replace(LADDER, degrade_after=600.0))
    play.world.usual = Usual(gang=400.0, start=10.0)
    play.world.machines.stock = {"": 3}
    play.world.machines.kill(0, play.now, detected_after=2)
    play.run(25)
    assert (play.phase("chat"), served(play)) == (Phase.DEGRADED, [2]), play.story(["not lowered"])
    play.world.machines.stock = {}
    play.run(40)
    assert (play.phase("chat"), served(play)) == (Phase.READY, [4]), play.story(["not raised"])


def test_a_node_that_is_replaced_in_time_lowers_nothing() -> None:
    play = ready(LADDER)
    play.world.machines.kill(0, play.now, detected_after=2)
    play.run(30)
    assert (play.phase("chat"), served(play), kinds(play)) == (Phase.READY, [4], [])


def test_a_full_shape_that_does_not_come_up_is_given_up_for_the_rung_and_tried_again_later() -> None:
    play = lowered()
    play.world.bad_versions = {LADDER.fingerprint}
    play.world.machines.stock = {}
    play.run(100)
    assert (play.phase("chat"), served(play)) == (Phase.DEGRADED, [2]), play.story(["not back on the rung"])
    assert kinds(play).count("raising") == 1
    play.world.bad_versions = set()
    play.run(FIRST_RETRY + 60)
    assert (play.phase("chat"), served(play)) == (Phase.READY, [4]), play.story(["not raised"])


@pytest.mark.parametrize("forget", [False, True])
def test_a_restarted_supervisor_stays_on_its_rung(forget: bool) -> None:
    play = lowered()
    started = len(play.started_for)
    play.restart(forget=forget)
    play.run(30)
    assert (play.phase("chat"), served(play), len(play.started_for)) == (Phase.DEGRADED, [2], started)


def test_half_a_gang_is_kept_to_serve_on_rather_than_released() -> None:
    play = played(replace(LADDER, partial_timeout=5.0), stock={"": 2})
    play.run(40)
    assert (play.phase("chat"), served(play)) == (Phase.DEGRADED, [2]), play.story(["not lowered"])
    assert "pool.left" not in [event.kind for event in play.events]


def test_a_rung_lies_in_one_pool() -> None:
    pools = (Pool("a", ("gpu-a",)), Pool("b", ("gpu-b",)))
    play = played(replace(LADDER, pools=pools, pool_timeout=600.0), stock={"a": 2, "b": 0})
    play.run(40)
    assert (play.phase("chat"), served(play)) == (Phase.DEGRADED, [2]), play.story(["not lowered"])
    assert play.world.machines.requests == {"a": 4}


@pytest.mark.parametrize("elsewhere", [2, 4])
def test_what_has_come_in_another_pool_does_not_make_a_full_shape(elsewhere: int) -> None:
    pools = (Pool("a", ("gpu-a",)), Pool("b", ("gpu-b",)))
    play = played(replace(LADDER, pools=pools, pool_timeout=600.0), stock={"a": 3, "b": 0})
    for _ in range(elsewhere):  # they idle out in time
        play.world.machines.counter += 1
        name = f"n{play.world.machines.counter}"
        play.world.machines.nodes[name] = Node(name, 1, play.now, pool="b")
    play.run(29)
    assert (play.phase("chat"), served(play)) == (Phase.DEGRADED, [2]), play.story(["not lowered"])
    assert kinds(play) == ["lowered"]


def test_a_stopped_one_leaves_nothing_and_comes_back_full() -> None:
    play = lowered()
    play.stop("chat")
    play.run(15)
    assert (play.world.machines.requested, play.world.machines.groups, play.serving()) == (0, {}, [])


def test_a_change_on_a_rung_is_rolled_out_there() -> None:
    play = lowered()
    play.change("chat", engine_arguments=("--seed", "1"))
    play.run(40)
    assert (play.phase("chat"), served(play)) == (Phase.DEGRADED, [2]), play.story(["not changed"])
    (engine,) = play.serving()
    assert engine.version == replace(LADDER, engine_arguments=("--seed", "1")).on(TWO).fingerprint
    play.world.machines.stock = {}
    play.run(30)
    assert (play.phase("chat"), served(play)) == (Phase.READY, [4]), play.story(["not raised"])


def test_a_change_on_a_rung_that_does_not_come_up_is_given_up_there() -> None:
    play = lowered()
    changed = replace(LADDER, engine_arguments=("--seed", "1"))
    play.world.bad_versions = {changed.fingerprint, *(changed.on(rung).fingerprint for rung in LADDER.rungs)}
    play.change("chat", engine_arguments=("--seed", "1"))
    play.run(120)
    assert (play.phase("chat"), served(play)) == (Phase.DEGRADED, [2]), play.story(["not restored"])
    assert play.serving()[0].version == LADDER.on(TWO).fingerprint
    play.world.machines.stock = {}
    play.run(40)
    assert (play.phase("chat"), served(play)) == (Phase.READY, [4]), play.story(["not raised"])


def test_a_rung_is_served_with_its_own_arguments_and_the_full_shape_without_them() -> None:
    play = lowered()
    assert play.started_for[play.serving()[0].name] == LADDER.on(TWO).fingerprint
    assert LADDER.on(TWO).arguments == (*LADDER.engine_arguments, "--max-model-len", "512")
    play.world.machines.stock = {}
    play.run(25)
    assert play.started_for[play.serving()[0].name] == LADDER.fingerprint
    assert LADDER.arguments == LADDER.engine_arguments


def test_other_arguments_for_the_rung_that_is_served_cost_its_clients_nothing_until_all_gpus_have_come() -> None:
    play = lowered()
    play.change("chat", rungs=(Rung(TWO.shape, ("--max-model-len", "1024")), ONE))
    for _ in range(300):
        play.run(1)
        assert served(play) == [2], play.story(["not served"])
    play.world.machines.stock = {}
    play.run(60)
    assert (play.phase("chat"), served(play)) == (Phase.READY, [4]), play.story(["not raised"])


def test_a_rung_that_is_allowed_no_more_is_not_started_again() -> None:
    play = lowered()
    play.change("chat", rungs=())
    play.run(60)
    assert served(play) == [2], play.story(["not served"])
    play.world.machines.kill(0, play.now, detected_after=3)
    play.run(120)
    assert served(play) == [], play.story(["started again"])
    play.world.machines.stock = {}
    play.run(60)
    assert (play.phase("chat"), served(play)) == (Phase.READY, [4]), play.story(["not full"])


SPECS = st.builds(
    lambda replicas, after, surge, failures: replace(
        LADDER,
        shape=Shape(4, 1, replicas),
        degrade_after=after,
        surge=surge,
        max_engine_failures=failures,
        drain_timeout=20.0,
        wait_timeout=None,
    ),
    st.integers(1, 2),
    st.sampled_from((5.0, 30.0)),
    st.booleans(),
    st.sampled_from((3, 9)),
)


@pytest.mark.timeout(7200)
@PROFILE
@given(
    SPECS,
    st.lists(st.tuples(st.integers(0, 9), st.integers(1, 120)), max_size=6),
    st.lists(ACCIDENTS, max_size=6),
    st.sampled_from((Usual(), Usual(60.0, 8.0), Usual(5.0, 8.0))),
)
def test_whatever_happens_it_is_whole_again_once_it_can_be(
    spec: DeploymentSpec, stocks: list[tuple[int, int]], faults: list[Fault], usual: Usual
) -> None:
    play = Play(World(Machines(max_nodes=24), usual=usual), ClusterSpec((spec,)))
    for number, (stock, seconds) in enumerate(stocks):
        play.world.machines.stock[""] = stock
        play.run(seconds)
        for fault in faults[number : number + 1]:
            befall(play, fault)
    play.world.machines.stock = {}
    retry = max((d.lowered.retry_at for d in play.memory.deployments if d.lowered), default=0.0)
    play.run(max(0.0, retry - play.now))
    settle(play)
