"""A cluster of thousands of nodes and hundreds of replicas, in the same scripted world."""

import random
import sys
from types import FrameType
from typing import Any

from elastic_deploy.core.decide import decide
from elastic_deploy.core.invariants import violations
from elastic_deploy.model.phase import Phase
from elastic_deploy.model.shape import Shape
from elastic_deploy.model.spec import ClusterSpec, DeploymentSpec

from .machines import Machines
from .play import Play
from .world import World


def test_thousands_of_nodes_come_up_lose_a_tenth_and_come_back() -> None:
    nodes, replicas = 2400, 300
    spec = DeploymentSpec("chat", "tiny", "tiny", Shape(8, 1, replicas), wait_timeout=600.0)
    play = Play(World(Machines(max_nodes=nodes + 400)), ClusterSpec((spec,)))
    play.run(16)
    assert play.phase("chat") is Phase.READY
    assert len(play.serving()) == replicas

    chosen = random.Random(7).sample(range(nodes), nodes // 10)
    for which in sorted(chosen, reverse=True):  # from the end, so that a death does not move the others' numbers
        play.world.machines.kill(which, play.now, detected_after=3 + which % 10)
    play.run(3)
    assert play.phase("chat") is Phase.RECOVERING
    play.run(60)
    assert play.phase("chat") is Phase.READY
    assert len(play.serving()) == replicas
    hit = {event.replica for event in play.events if event.kind == "recovered"}
    untouched = [engine for engine in play.serving() if engine.name.replica not in hit]
    assert untouched, "not every replica had a node that died, or the test shows nothing"
    assert all(engine.name.generation == 1 for engine in untouched), "a replica that lost nothing was restarted"

    play.stop("chat")
    play.run(10)
    assert (play.world.machines.groups, play.world.machines.requested, play.serving()) == ({}, 0, [])


def test_hundreds_of_deployments_share_one_request() -> None:
    specs = [DeploymentSpec(f"d{i:03}", "tiny", f"m{i}", Shape(2, 1, 1)) for i in range(300)]
    play = Play(World(Machines(max_nodes=600)), ClusterSpec(tuple(specs)))
    play.run(16)
    assert play.world.machines.requested == 600
    assert all(play.phase(spec.name) is Phase.READY for spec in specs)
    assert len(play.world.routes) == 300


def test_a_decision_takes_steps_in_proportion_to_the_cluster() -> None:
    """Ten times the nodes take at most twelve times the steps: a quadratic part would take a hundred times."""
    assert _steps(1000) < 12 * _steps(100)


def _steps(nodes: int) -> int:
    """The lines of Python that one decision at rest runs through: a measure that a busy machine does not change."""
    spec = ClusterSpec((DeploymentSpec("chat", "tiny", "tiny", Shape(2, 1, nodes // 2)),))
    play = Play(World(Machines(max_nodes=nodes)), spec)
    play.run(14)
    seen = play.world.snapshot()
    steps = 0

    def count(_frame: FrameType, _event: str, _argument: object) -> Any:
        nonlocal steps
        steps += 1
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        decision = decide(spec, seen, play.memory, play.now)
    finally:
        sys.settrace(before)
    assert violations(spec, seen, play.memory, play.now, decision) == []
    return steps
