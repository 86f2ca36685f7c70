"""Single histories in the scripted world: what the user sees happen, told by `decide` alone."""

from dataclasses import replace

import pytest

from elastic_deploy.model.memory import FailureKind
from elastic_deploy.model.names import EngineName, GroupName
from elastic_deploy.model.phase import Phase
from elastic_deploy.model.shape import Shape
from elastic_deploy.model.spec import ClusterSpec, DeploymentSpec, OnFailure

from .machines import Machines
from .play import Play
from .world import World

CHAT = DeploymentSpec("chat", "tiny", "tiny", Shape(2, 1, 1), wait_timeout=60.0, engine_start_timeout=60.0)


def played(spec: DeploymentSpec = CHAT, **machines: object) -> Play:
    """A history that has just begun."""
    return Play(World(Machines(**machines)), ClusterSpec((spec,)))  # type: ignore[arg-type]


def ready(spec: DeploymentSpec = CHAT, **machines: object) -> Play:
    """A history that has come to serving."""
    play = played(spec, **machines)
    play.run(15)
    assert play.phase("chat") is Phase.READY, play.story(["not ready"])
    return play


def phases(play: Play) -> list[str]:
    """The phases that a history went through."""
    return [event.data["to"] for event in play.events if event.kind == "phase"]


def test_gpus_are_asked_for_awaited_and_served_with() -> None:
    play = ready()
    assert phases(play) == ["waiting", "starting", "ready"]
    assert [engine.name.generation for engine in play.serving()] == [1]


def test_a_lost_node_is_replaced_and_the_recovery_is_remembered() -> None:
    play = ready()
    play.world.machines.kill(0, play.now, detected_after=3)
    play.run(25)
    assert phases(play) == ["waiting", "starting", "ready", "recovering", "ready"]
    memory = play.remembered("chat")
    assert memory is not None
    (recovery,) = memory.recoveries
    assert recovery.cause == "node i-n1 was lost"
    assert 10 <= recovery.seconds <= 20
    assert [engine.name.generation for engine in play.serving()] == [2]
    assert memory.replicas[0].failures == 0, "a node's death is no failure of the engine"


def test_an_engine_that_ends_before_ray_knows_of_its_nodes_death_waits_for_the_verdict() -> None:
    play = ready()
    play.world.machines.kill(1, play.now, detected_after=20)
    play.run(18)
    assert len(play.started_for) == 1, "a second engine was started in a gang that is about to break"
    play.run(25)
    memory = play.remembered("chat")
    assert memory is not None
    assert [recovery.cause for recovery in memory.recoveries] == ["node i-n2 was lost"]
    assert memory.replicas[0].failures == 0


def test_a_restarted_supervisor_restarts_nothing_that_works() -> None:
    play = ready()
    for forget in (False, True, False):
        play.restart(forget=forget)
        play.run(20)
        assert [engine.name.generation for engine in play.serving()] == [1]
    assert len(play.started_for) == 1


def test_an_engine_that_is_starting_survives_a_supervisor_without_memory() -> None:
    play = played()
    play.run(6)
    assert play.phase("chat") is Phase.STARTING
    play.restart(forget=True)
    play.run(10)
    assert play.phase("chat") is Phase.READY
    assert len(play.started_for) == 1


def test_routes_stay_while_nothing_can_be_seen() -> None:
    play = ready()
    play.world.blind_until["engines"] = play.now + 10
    play.run(5)
    assert len(play.serving()) == 1
    assert play.phase("chat") is Phase.READY


def test_an_engine_that_cannot_start_fails_the_deployment_and_releases_the_gpus() -> None:
    play = played()
    play.world.failing_starts = 99
    play.run(60)
    memory = play.remembered("chat")
    assert memory is not None
    assert memory.failure is not None
    assert memory.failure.kind is FailureKind.ENGINE
    assert memory.failure.message == (
        "The engine of chat/r0 failed 3 times in a row with all its nodes well. Its last words: ValueError: no"
    )
    assert (play.world.machines.requested, play.world.machines.groups) == (0, {})


@pytest.mark.parametrize("sweep", [1.0, 10.0])
def test_failures_are_counted_however_long_a_sweep_takes(sweep: float) -> None:
    play = played()
    play.world.failing_starts, play.world.sweep = 99, sweep
    play.run(90)
    assert len(play.started_for) == 3
    assert play.phase("chat") is Phase.FAILED


def test_refused_arguments_are_not_tried_again() -> None:
    play = played()
    play.world.hopeless_starts = 99
    play.run(20)
    assert len(play.started_for) == 1
    assert play.phase("chat") is Phase.FAILED


def test_a_failed_deployment_that_keeps_its_gpus_starts_in_them_when_applied_again() -> None:
    play = played(replace(CHAT, on_failure=OnFailure.KEEP))
    play.world.failing_starts = 3
    play.run(60)
    assert play.phase("chat") is Phase.FAILED
    assert play.world.machines.requested == 2
    assert list(play.world.machines.groups) == [GroupName("chat", "r0")]
    play.change("chat")
    play.run(12)
    assert phases(play)[-3:] == ["failed", "starting", "ready"]
    assert [engine.name.generation for engine in play.serving()] == [4]


def test_a_wait_ends_at_its_deadline_with_what_is_missing() -> None:
    play = played(max_nodes=2)
    play.world.machines.refusing_until = play.now + 1e6
    play.world.machines.create(GroupName("other", "r0"), 0)
    play.run(62)
    memory = play.remembered("chat")
    assert memory is not None
    assert memory.failure is not None
    assert memory.failure.kind is FailureKind.WAIT_TIMEOUT
    assert memory.failure.message == (
        "Waited 1m for 2 GPUs: 0 of 2 GPUs have come, 2 are missing (no node is on its way)."
    )
    assert play.world.machines.requested == 0


def test_a_deadline_ends_no_replica_that_serves_but_the_wait_for_the_others() -> None:
    play = played(replace(CHAT, shape=Shape(2, 1, 2)), max_nodes=4)
    play.world.machines.requested = 2
    play.run(4)
    play.world.machines.refusing_until = play.now
    play.world.machines.max_nodes = 4
    for node in list(play.world.machines.nodes.values())[2:]:
        node.joins_at = float("inf")
    play.run(100)
    assert phases(play) == ["waiting", "degraded"]
    assert [engine.name.replica for engine in play.serving()] == ["r0"]
    for node in play.world.machines.nodes.values():
        node.joins_at = min(node.joins_at, play.now)
    play.run(12)
    assert phases(play) == ["waiting", "degraded", "starting", "ready"]


def test_more_replicas_end_none_that_serve_and_fewer_end_only_the_last() -> None:
    play = ready()
    play.change("chat", shape=Shape(2, 1, 3))
    play.run(15)
    assert sorted(engine.name for engine in play.serving()) == [EngineName("chat", f"r{i}", 1) for i in range(3)]
    assert phases(play) == ["waiting", "starting", "ready", "waiting", "starting", "ready"]
    play.change("chat", shape=Shape(2, 1, 1))
    play.run(50)
    assert [engine.name for engine in play.serving()] == [EngineName("chat", "r0", 1)]
    assert list(play.world.machines.groups) == [GroupName("chat", "r0")]
    assert play.world.machines.requested == 2


def test_other_arguments_replace_the_engine_in_the_same_group() -> None:
    play = ready()
    group = play.world.machines.groups[GroupName("chat", "r0")].id
    play.change("chat", engine_arguments=("--max-model-len", "512"))
    play.run(15)
    assert [engine.name.generation for engine in play.serving()] == [2]
    assert play.world.machines.groups[GroupName("chat", "r0")].id == group
    memory = play.remembered("chat")
    assert memory is not None
    assert memory.recoveries == ()


def test_another_tensor_parallel_size_replaces_the_group() -> None:
    play = ready()
    play.change("chat", shape=Shape(4, 1, 1))
    play.run(25)
    assert [len(group.nodes) for group in play.world.machines.groups.values()] == [4]
    assert [engine.name.generation for engine in play.serving()] == [2]


def test_a_stopped_deployment_leaves_nothing_and_applied_again_uses_no_name_twice() -> None:
    play = ready()
    play.stop("chat")
    play.run(10)
    assert (play.world.machines.requested, play.world.machines.groups, play.serving()) == (0, {}, [])
    assert play.world.routes == ()
    play.run(100)
    play.change("chat", wanted=True)
    play.run(20)
    assert [engine.name.generation for engine in play.serving()] == [2]
    memory = play.remembered("chat")
    assert memory is not None
    assert memory.replicas[0].failures == 0, "an engine of a former life is no failure of this one"


def test_orphans_are_wound_up() -> None:
    play = ready()
    play.spec = ClusterSpec()
    play.restart(forget=True)
    play.run(10)
    assert (play.world.machines.requested, play.world.machines.groups) == (0, {})
    assert all(engine.swept_at <= play.now for engine in play.world.engines.values())
    assert play.memory.deployments == ()


def test_a_wedged_engine_is_ended_and_replaced() -> None:
    play = ready()
    play.world.engines[EngineName("chat", "r0", 1)].wedges_at = play.now
    play.run(30)
    assert [engine.name.generation for engine in play.serving()] == [2]
    memory = play.remembered("chat")
    assert memory is not None
    assert [recovery.cause for recovery in memory.recoveries] == [
        "the engine is wedged: 3 canary generations in a row failed"
    ]


def test_what_was_decided_but_not_done_before_a_restart_is_done_after_it() -> None:
    play = ready()
    play.stop("chat")
    for _ in range(5):
        play.world.advance()
        play.restart_before_acting()
    play.run(10)
    assert (play.world.machines.requested, play.world.machines.groups, play.world.routes) == (0, {}, ())


def test_a_request_and_a_route_that_failed_to_be_sent_are_sent_again() -> None:
    play = ready()
    play.stop("chat")
    play.failing_until = play.now + 6
    play.run(20)
    assert (play.world.machines.requested, play.world.machines.groups, play.world.routes) == (0, {}, ())


def test_of_two_nodes_that_do_not_reach_each_other_one_is_replaced_and_no_failure_is_counted() -> None:
    play = ready(replace(CHAT, max_engine_failures=1))
    play.world.machines.cut(0, play.now)
    play.run(60)
    assert play.phase("chat") is Phase.READY, play.story(["not healed"])
    (engine,) = play.serving()
    assert engine.hosts == {"n1", "n3"}, "the one that joined last, or was named last, is trusted no more"
    assert not play.world.machines.nodes["n2"].runs(play.now), "it was drained, and has ended"
    memory = play.remembered("chat")
    assert memory is not None
    assert [recovery.cause for recovery in memory.recoveries] == ["nodes i-n1 and i-n2 do not reach each other"]
    assert [e.kind for e in play.events].count("engine.failed") == 1
