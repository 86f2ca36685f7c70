"""Who stays and who goes while the cloud is about to take nodes, what is asked for, and what is told."""

from dataclasses import replace

import pytest

from elastic_deploy.core.drain import LAST_SECONDS
from elastic_deploy.core.explain import reason
from elastic_deploy.core.facts import HANDOVER, Index
from elastic_deploy.core.moving import MOVED, TAKEN, moved, noted, told
from elastic_deploy.core.replica import step
from elastic_deploy.core.rollout import SURPLUS, plain
from elastic_deploy.core.roster import asked_gpus, most_gpus
from elastic_deploy.model.action import EndEngine
from elastic_deploy.model.memory import Move, ReplicaMemory
from elastic_deploy.model.shape import Shape
from elastic_deploy.model.snapshot import GroupSeen, NodeNotice, NodeState, NoticeKind

from .scenes import GROUP, NODES, NOW, SERVING, SPEC, deployment, facts, fresh, group, running, serving, snapshot

AT = NOW + 120
HALF = Move("i-b", AT, 1)  # one of the gang's two GPUs
WHOLE = Move("i-b", AT, 2)
SOON = replace(WHOLE, at=NOW + HANDOVER)
DRAINED = (NODES[0], replace(NODES[1], state=NodeState.DRAINING))
NOTICE = NodeNotice("b", NoticeKind.INTERRUPTION, AT, NOW)
PAIR = replace(SPEC, shape=Shape(2, 1, 2))
ROOMY = replace(SPEC, surge=True)


def old(move: Move | None = WHOLE, number: int = 0, **more: object) -> ReplicaMemory:
    """A replica that serves on a node that is taken."""
    return replace(serving(id=f"r{number}", move=move), **more)  # type: ignore[arg-type]


def new(number: int = 1, *, serves: bool = False) -> ReplicaMemory:
    """A successor."""
    made = serving if serves else running
    return made(id=f"r{number}")


CASES = {
    "a whole replica needs no room": (SPEC, [old()], ["r0"], 1),
    "half a gang needs room for its other half": (SPEC, [old(HALF)], ["r0"], 0),
    "and has it with a surge": (ROOMY, [old(HALF)], ["r0"], 1),
    "a successor that starts is enough": (SPEC, [old(), new()], ["r0", "r1"], 0),
    "when it serves, the old one goes": (SPEC, [old(), new(serves=True)], [f"r0 {MOVED}", "r1"], 0),
    "when it fails meanwhile, the old one stays after all": (
        SPEC,
        [old(leaving=MOVED, draining_since=NOW - 1), new()],
        ["r0", "r1"],
        0,
    ),
    "at the last the old one goes before its successor serves": (SPEC, [old(SOON), new()], [f"r0 {TAKEN}", "r1"], 0),
    "without a successor it stays, its engine is ended": (SPEC, [old(replace(SOON, gpus=1))], ["r0"], 0),
    "of two, one moves": (PAIR, [old(), new(serves=True)], ["r0", "r1"], 1),
    "of two, the later of those taken is kept": (
        PAIR,
        [old(), old(SOON, 1), new(2, serves=True), new(3)],
        ["r0", f"r1 {MOVED}", "r2", "r3"],
        0,
    ),
    "both of two": (PAIR, [old(), old(number=1)], ["r0", "r1"], 2),
    "one that does not serve stays where it is": (SPEC, [running(move=WHOLE)], ["r0"], 0),
    "a surplus one goes": (SPEC, [old(), new(1), new(2)], ["r0", "r1", f"r2 {SURPLUS}"], 0),
}


@pytest.mark.parametrize("case", CASES)
def test_who_stays_and_who_is_missing(case: str) -> None:
    spec, replicas, stays, missing = CASES[case]
    chosen, lacking = moved(spec, spec.fingerprint, replicas, NOW)
    assert sorted(f"{r.id} {r.leaving}".strip() for r in chosen) == stays
    assert lacking == missing


def test_the_outage_belongs_to_the_successor_that_ends_it() -> None:
    chosen, _ = moved(SPEC, SPEC.fingerprint, [old(SOON), new()], NOW)
    heir = next(r for r in chosen if r.id == "r1")
    assert heir.ever_ready
    assert heir.outage is not None
    assert (heir.outage.since, heir.outage.cause, heir.outage.because) == (NOW, "the cloud took node i-b", "node:i-b")
    again, _ = moved(SPEC, SPEC.fingerprint, chosen, NOW + 1)
    assert next(r for r in again if r.id == "r1") == heir


def test_one_whose_engine_was_ended_for_its_node_is_not_taken_back_in_place_of_its_successor() -> None:
    heir = replace(fresh(id="r1", version=SPEC.fingerprint), ever_ready=True)
    for leaving in (old(leaving=TAKEN, engine_ended=True), old(None, leaving=TAKEN, engine_ended=True)):
        chosen, missing = plain(SPEC, SPEC.fingerprint, [leaving, heir])
        assert [(r.id, r.leaving) for r in chosen] == [("r0", TAKEN), ("r1", "")]
        assert moved(SPEC, SPEC.fingerprint, [leaving, heir], NOW) == (chosen, missing) == (chosen, 0)


def test_what_is_asked_for_leaves_out_what_ray_does_not_count() -> None:
    assert asked_gpus(SPEC, deployment(old(), new())) == 2
    assert asked_gpus(ROOMY, deployment(old(HALF), new())) == 3
    assert asked_gpus(SPEC, deployment(old(HALF))) == 2
    # One of two that moved has lost its group meanwhile: its whole need is back, and there is no room for all three.
    assert asked_gpus(PAIR, deployment(old(None), old(HALF, 1), new(2))) == most_gpus(PAIR, moving=True) == 4
    assert most_gpus(ROOMY, moving=True) == 4
    assert most_gpus(SPEC, moving=True) == most_gpus(ROOMY) == 2


@pytest.mark.parametrize(
    ("nodes", "notices", "move"),
    [
        (DRAINED, (NOTICE,), Move("i-b", AT, 1)),
        (NODES, (NOTICE,), None),
        (
            tuple(replace(n, state=s) for n, s in zip(NODES, (NodeState.DRAINING, NodeState.JOINED), strict=True)),
            (NOTICE,),
            None,
        ),
        (DRAINED, (), None),
        (DRAINED, (NodeNotice("b", NoticeKind.REBALANCE, None, NOW),), None),
    ],
    ids=["drained for it", "not drained yet", "another is drained", "drained by somebody", "a recommendation only"],
)
def test_a_replica_moves_once_ray_drains_a_node_that_the_cloud_takes(
    nodes: tuple[object, ...], notices: tuple[NodeNotice, ...], move: Move | None
) -> None:
    seen = snapshot((group(),), nodes=nodes, notices=notices)  # type: ignore[arg-type]
    memory = noted(SPEC, deployment(serving()), Index.of(seen))
    assert memory.replicas[0].move == move


def test_the_earliest_of_several_counts_and_all_their_gpus() -> None:
    nodes = tuple(replace(node, state=NodeState.DRAINING) for node in NODES)
    notices = (NOTICE, replace(NOTICE, node="a", deadline=AT - 30))
    seen = snapshot((GroupSeen(GROUP, "pg1", group().state, ("a", "b")),), nodes=nodes, notices=notices)
    assert noted(SPEC, deployment(serving()), Index.of(seen)).replicas[0].move == Move("i-a", AT - 30, 2)
    gone = snapshot((group(),))
    assert noted(SPEC, deployment(old()), Index.of(gone)).replicas[0].move is None


def test_a_move_is_told_when_it_begins_and_when_it_is_done() -> None:
    before = deployment(serving())
    [moving] = told(SPEC, before, deployment(old(), new()))
    assert (moving.kind, moving.because) == ("replica.moving", "node:i-b")
    assert moving.message == "The cloud takes node i-b of chat/r0 at 00:18:40 UTC: another is made in its place."
    [moving] = told(SPEC, before, deployment(old()))
    assert "no room for another beside it" in moving.message
    [done] = told(SPEC, deployment(old(), new()), deployment(old(leaving=MOVED), new(serves=True)))
    assert (done.kind, done.because) == ("replica.moved", "node:i-b")
    assert told(SPEC, deployment(old(), new()), deployment(old(), new())) == []


def test_the_reason_says_when_the_cloud_takes_the_node_and_what_is_done() -> None:
    seen = snapshot((group(),), nodes=DRAINED, notices=(NOTICE,))

    def said(*replicas: ReplicaMemory) -> str:
        return reason(SPEC, deployment(*replicas), seen, NOW)

    assert "takes node i-b of r0 at 00:18:40 UTC: it serves until r1 does in its place; r1: " in said(old(), new())
    waiting = fresh(id="r1", version=SPEC.fingerprint)
    assert said(old(), waiting).endswith("r1: waiting for its 2 GPUs together.")
    assert "because the cluster has no room for another beside it" in said(old(HALF))
    assert "it finishes what it was asked." in said(old(leaving=MOVED), new(serves=True))
    assert "started anew on another node; requests are held" in said(old(replace(SOON, gpus=1)))


def test_what_ends_for_a_node_that_is_taken_comes_of_its_notice() -> None:
    seen = replace(SERVING, nodes=snapshot(nodes=DRAINED).nodes)
    [draining] = step(facts(serving(move=SOON), seen)).events
    assert (draining.kind, draining.because) == ("engine.draining", "node:i-b")
    overdue = serving(move=replace(SOON, at=NOW + LAST_SECONDS), draining_since=NOW - 15)
    ended = step(facts(overdue, seen))
    assert [(event.kind, event.because) for event in ended.events] == [("engine.ending", "node:i-b")]
    assert ended.memory is not None
    assert ended.memory.outage is not None
    assert ended.memory.outage.cause == "the cloud took node i-b"
    assert [type(action) for action in ended.actions] == [EndEngine]


def test_it_asks_to_be_woken_when_its_node_is_to_be_handed_over() -> None:
    assert step(facts(old(), SERVING)).wake_at == AT - HANDOVER
    assert step(facts(old(None), SERVING)).wake_at is None
