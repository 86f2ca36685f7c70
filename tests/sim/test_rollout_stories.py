"""Single histories of changes in the scripted world: what clients and the user see while one is rolled out."""

from dataclasses import replace

import pytest

from elastic_deploy.model.action import EndEngine
from elastic_deploy.model.memory import FailureKind
from elastic_deploy.model.names import EngineName
from elastic_deploy.model.phase import Phase
from elastic_deploy.model.shape import Shape
from elastic_deploy.model.spec import ClusterSpec, DeploymentSpec

from .clients import Clients
from .machines import Machines
from .play import Play
from .test_stories import CHAT, phases
from .world import World

TWO = replace(CHAT, shape=Shape(1, 1, 2), drain_timeout=20.0, surge=True)
OTHER = ("--seed", "2")
BROKEN = ("--broken",)


def asked(spec: DeploymentSpec, stay: float = 0.0, **machines: object) -> Clients:
    """Clients of a deployment that has come to serving."""
    clients = Clients(Play(World(Machines(**machines)), ClusterSpec((spec,))), stay)  # type: ignore[arg-type]
    clients.run(15)
    assert clients.play.phase("chat") is Phase.READY
    return clients


def broken(clients: Clients) -> None:
    """The user applies arguments with which no engine comes up."""
    clients.change(engine_arguments=BROKEN)
    clients.play.world.bad_versions.add(clients.play.spec.deployments[0].fingerprint)


def ended(play: Play) -> list[EngineName]:
    """The engines that were ended, in that order, each once."""
    return list(dict.fromkeys(action.name for _, action in play.log if isinstance(action, EndEngine)))


def told(play: Play, kind: str) -> list[str]:
    """The messages of one kind of event."""
    return [event.message for event in play.events if event.kind == kind]


def answering(play: Play) -> list[EngineName]:
    """The engines that answer clients."""
    return sorted(engine.name for engine in play.serving())


def test_with_a_surge_a_new_replica_serves_before_each_old_one_goes() -> None:
    clients = asked(TWO, max_nodes=3)
    play = clients.play
    clients.change(engine_arguments=OTHER)
    clients.run(40)
    assert answering(play) == [EngineName("chat", "r1", 2), EngineName("chat", "r2", 1)]
    assert ended(play) == [EngineName("chat", "r1", 1), EngineName("chat", "r0", 1)]
    assert play.spec.deployments[0].former is None
    assert told(play, "rollout.done") == ["chat serves nothing but its new version."]
    assert phases(play) == ["waiting", "starting", "ready"], "clients noticed the change"
    assert len(play.world.machines.nodes) == 3, "more nodes than the one for the surge"
    assert play.world.machines.requested == 2


def test_in_place_the_replicas_are_changed_one_after_the_other() -> None:
    clients = asked(replace(TWO, surge=False), max_nodes=2)
    play = clients.play
    clients.change(engine_arguments=OTHER)
    clients.run(40)
    assert answering(play) == [EngineName("chat", "r0", 2), EngineName("chat", "r1", 2)]
    assert phases(play) == ["waiting", "starting", "ready", "degraded", "ready", "degraded", "ready"]
    assert play.spec.deployments[0].former is None
    assert len(play.world.machines.nodes) == 2


def test_with_a_surge_a_broken_version_costs_clients_nothing() -> None:
    clients = asked(TWO)
    play = clients.play
    broken(clients)
    clients.run(90)
    assert answering(play) == [EngineName("chat", "r0", 1), EngineName("chat", "r1", 1)]
    assert {name.replica for name in ended(play)} == {"r2"}, "an engine that served was ended for a broken version"
    assert play.world.machines.requested == 2
    memory, spec = play.remembered("chat"), play.spec.deployments[0]
    assert memory is not None
    assert memory.refused is not None
    assert memory.refused.kind is FailureKind.ENGINE
    assert memory.refused.message == (
        "The engine of chat/r2 failed 3 times in a row with all its nodes well. "
        "Its last words: ValueError: this version is broken"
    )
    assert (spec.engine_arguments, spec.former, spec.restoring) == ((), None, False)
    assert phases(play) == ["waiting", "starting", "ready"]


def test_in_place_a_single_replica_serves_the_old_version_again() -> None:
    clients = asked(replace(TWO, shape=Shape(1, 1, 1), surge=False), max_nodes=1)
    play = clients.play
    broken(clients)
    clients.run(90)
    assert [play.started_for[name] for name in answering(play)] == [play.spec.deployments[0].fingerprint]
    assert play.spec.deployments[0].engine_arguments == ()
    assert told(play, "rollout.done") == ["chat serves what was before its change again."]
    assert play.phase("chat") is Phase.READY
    assert len(play.world.machines.nodes) == 1


def test_gpus_that_do_not_come_end_the_change_and_not_the_deployment() -> None:
    clients = asked(TWO, max_nodes=2)
    play = clients.play
    play.world.machines.refusing_until = play.now + 1e6
    clients.change(engine_arguments=OTHER)
    clients.run(90)
    memory = play.remembered("chat")
    assert memory is not None
    assert memory.refused is not None
    assert memory.refused.kind is FailureKind.WAIT_TIMEOUT
    assert answering(play) == [EngineName("chat", "r0", 1), EngineName("chat", "r1", 1)]


@pytest.mark.parametrize(("stay", "seconds"), [(0.0, 2), (8.0, 7), (60.0, 20)], ids=["idle", "short", "too long"])
def test_a_replica_too_many_goes_when_it_is_idle_and_at_last_when_its_time_is_over(stay: float, seconds: int) -> None:
    clients = asked(TWO, stay)
    play = clients.play
    clients.change(shape=Shape(1, 1, 1))
    clients.run(seconds)
    assert ended(play) == []
    clients.run(3)
    assert ended(play) == [EngineName("chat", "r1", 1)]
    assert answering(play) == [EngineName("chat", "r0", 1)]
    (message,) = told(play, "engine.ending")
    assert message.endswith("It leaves 1 request unfinished.") == (stay > 20)


def test_growing_disturbs_nobody() -> None:
    clients = asked(TWO, stay=60.0)
    clients.change(shape=Shape(1, 1, 4))
    clients.run(20)
    assert answering(clients.play) == [EngineName("chat", f"r{n}", 1) for n in range(4)]
    assert ended(clients.play) == []


def test_a_replica_that_is_wanted_again_while_it_drains_serves_on() -> None:
    clients = asked(TWO, stay=60.0)
    play = clients.play
    clients.change(shape=Shape(1, 1, 1))
    clients.run(10)
    assert answering(play) == [EngineName("chat", "r0", 1)]
    clients.change(shape=Shape(1, 1, 2))
    clients.run(30)
    assert answering(play) == [EngineName("chat", "r0", 1), EngineName("chat", "r1", 1)]
    assert ended(play) == []


def test_going_back_in_the_middle_keeps_what_serves() -> None:
    clients = asked(TWO, stay=60.0)
    play = clients.play
    clients.change(engine_arguments=OTHER)
    clients.run(15)
    assert len(answering(play)) == 2
    clients.change(engine_arguments=())
    clients.run(40)
    assert answering(play) == [EngineName("chat", "r0", 1), EngineName("chat", "r1", 1)]
    assert play.spec.deployments[0].former is None


def test_a_third_version_in_the_middle_takes_no_engine_away() -> None:
    """`Clients` count at every second: what has come up of the second version serves until the third does."""
    clients = asked(TWO)
    play = clients.play
    clients.change(engine_arguments=OTHER)
    clients.run(14)
    assert len({play.started_for[name] for name in answering(play)}) == 2, "the change is not in its middle"
    clients.change(engine_arguments=("--seed", "3"))
    clients.run(60)
    assert {play.started_for[name] for name in answering(play)} == {play.spec.deployments[0].fingerprint}
    assert clients.settled


def test_another_size_is_rolled_out_in_place() -> None:
    clients = asked(replace(TWO, surge=False), max_nodes=4)
    play = clients.play
    clients.change(shape=Shape(2, 1, 2))
    clients.run(60)
    assert len(answering(play)) == 2
    assert [len(group.nodes) for group in play.world.machines.groups.values()] == [2, 2]
    assert clients.settled


def test_a_deployment_that_is_stopped_waits_for_its_clients_no_longer_than_half_a_minute() -> None:
    clients = asked(replace(TWO, drain_timeout=300.0), stay=500.0)
    clients.play.stop("chat")
    clients.floor = 0
    clients.run(30)
    assert ended(clients.play) == []
    clients.run(3)
    assert ended(clients.play) == [EngineName("chat", "r0", 1), EngineName("chat", "r1", 1)]


def test_a_node_lost_in_the_middle_of_a_change_is_made_up_for() -> None:
    for which in range(3):
        play = asked(TWO).play
        play.change("chat", engine_arguments=OTHER)
        play.run(8)
        play.world.machines.kill(which, play.now, detected_after=3)
        play.run(90)
        assert len(answering(play)) == 2
        assert {play.started_for[name] for name in answering(play)} == {play.spec.deployments[0].fingerprint}
        assert play.spec.deployments[0].former is None
