"""Single histories of nodes that the cloud announces to take: who serves meanwhile, what is asked for, what is told."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from elastic_deploy.core.drain import LAST_SECONDS
from elastic_deploy.core.facts import HANDOVER
from elastic_deploy.model.action import DrainNode, RequestResources
from elastic_deploy.model.names import EngineName
from elastic_deploy.model.phase import Phase
from elastic_deploy.model.shape import Shape

from .faults import Fault, befall
from .play import Play
from .test_properties import EXAMPLES, OTHER, PROFILE, begun, settle
from .test_rollout_stories import answering, asked, ended, told
from .test_stories import CHAT

LONE = replace(CHAT, shape=Shape(1, 1, 1), drain_timeout=20.0)
GANG = replace(CHAT, shape=Shape(2, 1, 1), drain_timeout=20.0)
PAIR = replace(CHAT, shape=Shape(1, 1, 2), drain_timeout=20.0)


def requests(play: Play) -> set[int]:
    """How many GPUs were asked for, each number once."""
    sent = [action for _, action in play.log if isinstance(action, RequestResources)]
    return {sum(bundle.count for bundle in action.bundles) for action in sent}


def test_a_lone_replica_moves_before_its_node_goes_and_its_clients_notice_nothing() -> None:
    clients = asked(LONE, max_nodes=1)
    play = clients.play
    play.world.machines.take(0, play.now, within=120.0)
    for _ in range(140):
        clients.tick()
        assert answering(play), play.story(["nobody serves"])
        assert play.phase("chat") is Phase.READY
    assert answering(play) == [EngineName("chat", "r1", 1)]
    assert requests(play) == {1}, "Ray does not count a node that it drains: its replacement comes by itself"
    assert [action.name for _, action in play.log if isinstance(action, DrainNode)] == ["n1"]
    assert len(told(play, "replica.moving")) == len(told(play, "replica.moved")) == 1
    assert play.remembered("chat").recoveries == ()  # type: ignore[union-attr]


def test_with_two_replicas_the_other_serves_meanwhile_and_both_do_again_before_the_deadline() -> None:
    clients = asked(PAIR, max_nodes=2)
    play = clients.play
    play.world.machines.take(0, play.now, within=60.0)
    clients.run(40)
    assert len(answering(play)) == 2
    assert play.world.machines.nodes["n1"].declared_at < play.now, "the drained node is let go once it is empty"
    assert requests(play) == {2}


def test_a_gang_across_two_nodes_moves_as_a_whole_where_there_is_room() -> None:
    clients = asked(replace(GANG, surge=True), max_nodes=4)
    play = clients.play
    play.world.machines.take(0, play.now, within=120.0)
    for _ in range(140):
        clients.tick()
        assert answering(play), play.story(["nobody serves"])
    assert answering(play) == [EngineName("chat", "r1", 1)]
    assert requests(play) == {2, 3}, "the node that stays is held by the old gang until the new one serves"


def test_a_gang_without_room_serves_until_shortly_before_the_deadline_and_recovers() -> None:
    clients = asked(GANG, max_nodes=2)
    play = clients.play
    play.world.machines.take(0, play.now, within=60.0)
    clients.run(60 - HANDOVER - 2)
    assert answering(play) == [EngineName("chat", "r0", 1)]
    assert "no room" in told(play, "replica.moving")[0]
    clients.run(HANDOVER + 40)
    assert answering(play) == [EngineName("chat", "r0", 2)]
    assert requests(play) == {2}
    recovery = play.remembered("chat").recoveries[0]  # type: ignore[union-attr]
    assert recovery.cause == "the cloud took node i-n1"


def test_a_successor_that_is_not_ready_in_time_takes_over_the_outage() -> None:
    clients = asked(LONE, max_nodes=1, launch_delay=3.0)
    play = clients.play
    play.world.startup = 55.0
    play.world.machines.take(0, play.now, within=60.0)
    clients.run(60 - HANDOVER - 2)
    assert answering(play) == [EngineName("chat", "r0", 1)]
    clients.run(HANDOVER)
    assert answering(play) == []
    assert play.phase("chat") is Phase.RECOVERING
    clients.run(20)
    assert answering(play) == [EngineName("chat", "r1", 1)]
    recovery = play.remembered("chat").recoveries[0]  # type: ignore[union-attr]
    assert recovery.seconds < 60, "the successor began long before"
    assert ended(play) == [EngineName("chat", "r0", 1)]


def test_streams_that_do_not_end_in_time_do_not_keep_an_engine_on_a_host_that_vanishes() -> None:
    clients = asked(replace(GANG, drain_timeout=300.0), stay=200.0, max_nodes=2)
    play = clients.play
    play.world.machines.take(0, play.now, within=60.0)
    end = play.now + 60.0
    while not ended(play):
        play.tick()
        assert play.now < end, play.story(["its engine was left to its host's end"])
    assert play.now >= end - LAST_SECONDS
    drained = [event.message for event in play.events if event.kind == "engine.draining"]
    assert "for 15s at the most" in drained[0]


def test_a_supervisor_that_comes_back_in_the_middle_of_a_move_goes_on_with_it() -> None:
    clients = asked(LONE, max_nodes=1)
    play = clients.play
    play.world.machines.take(0, play.now, within=120.0)
    for _ in range(4):
        clients.run(3)
        play.restart()
    clients.run(60)
    assert answering(play) == [EngineName("chat", "r1", 1)]
    assert {name.replica for name in ended(play)} == {"r0"}


@settings(PROFILE, max_examples=max(1, EXAMPLES // 20))
@given(
    st.integers(1, 2),
    st.integers(1, 3),
    st.booleans(),
    st.lists(st.tuples(st.integers(0, 90), st.integers(0, 5)), min_size=1, max_size=5),
)
def test_notices_that_leave_time_cost_no_client_anything(
    size: int, replicas: int, packed: bool, notices: list[tuple[int, int]]
) -> None:
    """Whole replicas on a node each, or gangs of one-GPU nodes in a cluster with room for all to be there twice."""
    spec = replace(CHAT, shape=Shape(size, 1, replicas), drain_timeout=20.0, surge=True)
    per_node = size if packed else 1
    clients = asked(spec, gpus_per_node=per_node, max_nodes=24)
    play = clients.play
    for gap, which in notices:
        play.world.machines.take(which, play.now, within=120.0)
        for _ in range(gap if packed else 130):
            clients.tick()
            assert len(answering(play)) >= replicas, play.story(["fewer serve than are wanted"])
    for _ in range(130):
        clients.tick()
        assert len(answering(play)) >= replicas, play.story(["fewer serve than are wanted"])
    assert play.world.machines.requested == spec.shape.gpus
    assert all(node.declared_at <= play.now for node in play.world.machines.nodes.values() if node.taken_at)


def test_a_mover_that_loses_its_group_is_asked_for_within_the_room_that_there_is() -> None:
    """Found by a random history: its whole need came back beside its neighbour's and the successor's."""
    spec = replace(CHAT, shape=Shape(2, 1, 2), max_engine_failures=1, drain_timeout=20.0)
    play = begun(spec, OTHER)
    for fault in (
        Fault(5, "a node gets notice", 1),
        Fault(0, "a node gets notice", 3),
        Fault(7, "a group is removed by hand", 1),
    ):
        befall(play, fault)
    settle(play)
    assert max(requests(play)) == spec.shape.gpus + OTHER.shape.gpus
