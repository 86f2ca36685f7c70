"""Which node is given up when engines start on it one after the other and never speak."""

from dataclasses import replace

import pytest

from elastic_deploy.core.silence import note_silent_nodes, spoken, with_silence
from elastic_deploy.model.memory import Distrust, ReplicaMemory
from elastic_deploy.model.snapshot import NodeSeen, NodeState, PathsSeen, Snapshot

from .scenes import NOW, blind, ended, engine_name, facts, failed, group, snapshot

A, B = (
    NodeSeen("i-a", "gpu", NodeState.JOINED, 1, "a", "10.0.0.1", joined_at=100.0),
    NodeSeen("i-b", "gpu", NodeState.JOINED, 1, "b", "10.0.0.2", joined_at=200.0),
)
TWICE = failed(failures=2, silent=("a", "b", "a", "b"))


def seen(*nodes: NodeSeen, **more: object) -> Snapshot:
    """A whole group whose engine has ended."""
    return replace(snapshot((group(),), (ended(),), (), nodes or (A, B)), **more)  # type: ignore[arg-type]


CASES: dict[str, tuple[ReplicaMemory, Snapshot, str | None]] = {
    "the newest of equals": (TWICE, seen(), "b"),
    "the one that saw most": (replace(TWICE, silent=("a", "a", "b", "a", "b")), seen(), "a"),
    "never the head": (TWICE, seen(A, replace(B, is_head=True)), "a"),
    "not one that Ray is about to judge": (TWICE, seen(A, replace(B, suspect=True)), "a"),
    "not one that is going": (TWICE, seen(A, replace(B, state=NodeState.DRAINING)), "a"),
    "not one that the replica has left": (replace(TWICE, members=("a", "c")), seen(), "a"),
    "none after one silent engine": (failed(failures=1, silent=("a", "b")), seen(), None),
    "none while an engine runs": (replace(TWICE, engine_ended=False), seen(), None),
    "none while something of the last one is left": (
        TWICE,
        replace(seen(), engines=replace(seen().engines, value=(ended(swept=False),))),
        None,
    ),
    "none while the nodes are asked for each other": (TWICE, seen(paths=(PathsSeen(engine_name(1)),)), None),
    "once they have been asked": (TWICE, seen(paths=(PathsSeen(engine_name(1), NOW),)), "b"),
    "none beside another one": (replace(TWICE, distrust=Distrust("a", "i-a", "", NOW)), seen(), None),
    "none when as many as it has were given up": (replace(TWICE, given_up=2), seen(), None),
    "the blind judge nobody": (TWICE, blind(seen(), "nodes"), None),
}


@pytest.mark.parametrize(("replica", "shot", "expected"), CASES.values(), ids=list(CASES))
def test_who_is_given_up(replica: ReplicaMemory, shot: Snapshot, expected: str | None) -> None:
    after, events = note_silent_nodes(facts(replica, shot))
    memory = after.memory
    if expected is None:
        assert (memory, events) == (replica, ())
        return
    assert memory.distrust is not None
    assert memory.distrust.node == expected
    assert (memory.failures, memory.given_up) == (0, 1)
    assert expected not in memory.silent
    (event,) = events
    assert (event.kind, event.node, event.because) == ("node.distrusted", f"i-{expected}", str(engine_name(1)))
    assert event.data["starts"] == replica.silent.count(expected)
    again, nothing = note_silent_nodes(after)
    assert (again, nothing) == (after, ())


def test_silent_engines_are_counted_by_node_until_one_speaks() -> None:
    counted = with_silence(with_silence(failed(members=("a", "a", "b"))))
    assert counted.silent == ("a", "b", "a", "b")
    assert (spoken(replace(counted, given_up=1)).silent, spoken(replace(counted, given_up=1)).given_up) == ((), 0)
    assert spoken(failed()) == failed()
