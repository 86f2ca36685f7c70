"""Which node is trusted no more when the nodes of a replica do not reach each other, and what comes of it."""

from dataclasses import replace

import pytest

from elastic_deploy.core.decide import decide
from elastic_deploy.core.distrust import distrusted, note_broken_paths, paths_wanted
from elastic_deploy.core.explain import reason
from elastic_deploy.core.facts import ReplicaFacts
from elastic_deploy.model.action import CreatePlacementGroup, DrainNode, EndEngine, RemovePlacementGroup, StartEngine
from elastic_deploy.model.memory import Distrust, Memory, Outage, ReplicaMemory
from elastic_deploy.model.snapshot import BrokenPath, NodeSeen, NodeState, PathsSeen, Snapshot
from elastic_deploy.model.spec import ClusterSpec

from .scenes import NOW, SPEC, deployment, ended, engine_name, facts, failed, group, memory, snapshot

A, B = (
    NodeSeen("i-a", "gpu", NodeState.JOINED, 1, "a", "10.0.0.1", joined_at=100.0),
    NodeSeen("i-b", "gpu", NodeState.JOINED, 1, "b", "10.0.0.2", joined_at=200.0),
)
C = NodeSeen("i-c", "gpu", NodeState.JOINED, 1, "c", "10.0.0.3", joined_at=300.0)
CUT = (BrokenPath("a", "b", "no answer within 3 s"), BrokenPath("b", "a", "no answer within 3 s"))
OUTAGE = Outage(NOW - 60, "the engine is wedged", str(engine_name(1)))
SPECS = ClusterSpec((SPEC,))


def seen(
    broken: tuple[BrokenPath, ...] = CUT, nodes: tuple[NodeSeen, ...] = (A, B), at: float | None = NOW, **more: object
) -> Snapshot:
    """A whole group whose engine has ended, and what its nodes say of each other."""
    made = snapshot((group(),), (ended(),), (), nodes, paths=(PathsSeen(engine_name(1), at, broken),))
    return replace(made, **more)  # type: ignore[arg-type]


def noted(shot: Snapshot, replica: ReplicaMemory | None = None) -> ReplicaMemory:
    """The replica's memory after a look at what its nodes said."""
    after, _ = note_broken_paths(facts(replica or failed(failures=3, outage=OUTAGE), shot))
    assert isinstance(after, ReplicaFacts)
    return after.memory


@pytest.mark.parametrize(
    ("pairs", "nodes", "expected"),
    [
        ("ab", (A, B), "i-b"),
        ("ab bc", (A, B, C), "i-b"),
        ("ab ac", (A, B, C), "i-a"),
        ("bc ca ab", (A, B, C), "i-c"),
        ("ab", (A, replace(B, is_head=True)), "i-a"),
    ],
)
def test_who_is_distrusted(pairs: str, nodes: tuple[NodeSeen, ...], expected: str) -> None:
    """The node that most pairs have in common, among equals the one that joined last, never the head."""
    broken = [BrokenPath(pair[0], pair[1], "") for pair in pairs.split()]
    node = distrusted(broken, {node.ray_id: node for node in nodes})
    assert node is not None
    assert node.id == expected


def test_the_cut_explains_the_engines_failures_and_is_told_once() -> None:
    after, events = note_broken_paths(facts(failed(failures=3, outage=OUTAGE), seen()))
    remembered = after.memory
    assert remembered.distrust is not None
    assert remembered.distrust.node == "b"
    assert remembered.failures == 0
    assert remembered.outage is not None
    assert remembered.outage.cause == "nodes i-a and i-b do not reach each other"
    assert [event.kind for event in events] == ["network.broken", "node.distrusted"]
    assert "i-a (10.0.0.1) and i-b (10.0.0.2)" in events[0].message
    assert events[0].because == str(engine_name(1))
    assert events[1].because == events[0].subject
    assert remembered.outage.because == events[1].subject == "node:i-b"
    assert note_broken_paths(facts(remembered, seen())) == (facts(remembered, seen()), ())


@pytest.mark.parametrize(
    "shot",
    [
        seen(()),
        seen(at=None),
        seen(paths=()),
        seen(paths=(PathsSeen(engine_name(7), NOW, CUT),)),
        seen(nodes=(A, replace(B, suspect=True))),
        seen(nodes=(A, replace(B, state=NodeState.DEAD))),
        seen(nodes=(A, replace(B, state=NodeState.DRAINING))),
        replace(seen(), engines=replace(seen().engines, value=(ended(swept=False),))),
    ],
    ids=["all reached", "being asked", "not asked", "another engine's", "suspect", "dead", "draining", "not swept"],
)
def test_nobody_is_distrusted(shot: Snapshot) -> None:
    """Where nothing is known, where the head does not reach a node either, and while an engine's rest is there."""
    replica = failed(failures=2)
    assert noted(shot, replica) == replica


def test_the_nodes_of_a_failed_engine_are_asked_and_no_others() -> None:
    def wanted(**more: object) -> object:
        return paths_wanted(Memory((deployment(failed(**more)),)))

    assert wanted() == {engine_name(1): ("a", "b")}
    assert wanted(members=("a", "a")) == {}, "one node reaches itself"
    assert wanted(suspected_at=None) == {}, "the reason is known"
    assert wanted(engine_ended=False) == {}
    assert wanted(leaving="surplus") == {}


def acts(replica: ReplicaMemory, shot: Snapshot) -> tuple[list[object], Memory]:
    """What is done in a step, besides what the autoscaler and the front door are told."""
    done = decide(SPECS, shot, memory(deployment(replica)), NOW)
    kinds = (DrainNode, StartEngine, EndEngine, CreatePlacementGroup, RemovePlacementGroup)
    return [action for action in done.actions if isinstance(action, kinds)], done.memory


def test_the_group_is_made_anew_only_when_ray_places_nothing_on_the_node_any_more() -> None:
    drain = DrainNode("b", NOW, "it does not reach the other nodes of a replica")
    actions, after = acts(failed(failures=3, outage=OUTAGE, ever_ready=True), seen())
    assert actions == [drain]
    (replica,) = after.deployments[0].replicas
    told = reason(SPEC, after.deployments[0], seen(), NOW)
    assert "nodes i-a and i-b do not reach each other" in told
    assert "node i-b is trusted no more" in told
    actions, _ = acts(replica, seen(paths=()))
    assert actions == [drain], "it is said again until Ray is seen to do it"
    draining = seen(paths=(), nodes=(A, replace(B, state=NodeState.DRAINING)))
    actions, _ = acts(replica, draining)
    assert actions == [RemovePlacementGroup(group().name)]


def test_while_the_nodes_are_asked_no_engine_is_started_and_nothing_is_given_up() -> None:
    actions, after = acts(failed(failures=3), seen(at=None))
    assert actions == []
    assert after.deployments[0].failure is None
    actions, after = acts(failed(failures=3), seen(()))
    assert after.deployments[0].failure is not None, "the nodes reach each other: it is the engine"


def test_the_next_engine_starts_with_nobody_distrusted_and_where_ray_does_not_drain_it_starts_all_the_same() -> None:
    late = failed(suspected_at=None, distrust=Distrust("b", "i-b", "why", NOW - 60))
    actions, after = acts(late, seen(paths=()))
    assert any(isinstance(action, StartEngine) for action in actions)
    assert after.deployments[0].replicas[0].distrust is None
