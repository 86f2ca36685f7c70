"""The invariants find what they are there to find: each is shown a decision that breaks it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from elastic_deploy.core.decide import Decision
from elastic_deploy.core.invariants import illegal_turns, violations
from elastic_deploy.core.moving import MOVED, TAKEN
from elastic_deploy.model.action import (
    Action,
    CreatePlacementGroup,
    EndEngine,
    RemovePlacementGroup,
    RequestResources,
    StartEngine,
)
from elastic_deploy.model.memory import Failure, FailureKind, Memory, Move, ReplicaMemory
from elastic_deploy.model.shape import Bundle
from elastic_deploy.model.snapshot import GroupState, NodeState, Snapshot
from elastic_deploy.model.spec import ClusterSpec

from .scenes import (
    GROUP,
    NODES,
    NOW,
    SERVING,
    SPEC,
    STARTING,
    WHOLE,
    blind,
    deployment,
    ended,
    engine,
    engine_name,
    fresh,
    group,
    memory,
    probe,
    running,
    serving,
    snapshot,
)

CLUSTER = ClusterSpec((SPEC,))
END = EndEngine(engine_name(1), ("a", "b"), "no reason")
START = StartEngine(engine_name(2), SPEC.fingerprint)
OTHER = replace(SPEC, model="large").fingerprint
WELL = memory(deployment(serving()))
NO_ENGINE = memory(deployment(fresh()))


def broken(
    actions: Sequence[Action], seen: Snapshot = SERVING, before: Memory = WELL, spec: ClusterSpec = CLUSTER
) -> list[str]:
    """What a decision to do this would break."""
    return violations(spec, seen, before, NOW, Decision(tuple(actions), before, None, (), spec))


def test_asking_for_more_than_the_specs() -> None:
    assert broken([RequestResources((Bundle({"GPU": 1.0}, 3),))]) == ["asks for 3 GPUs where the specs allow 2"]
    assert broken([RequestResources((Bundle({"GPU": 1.0}, 2),))]) == []


def test_asking_for_anything_for_a_stopped_deployment() -> None:
    stopped = ClusterSpec((replace(SPEC, wanted=False),))
    assert broken([RequestResources((Bundle({"GPU": 1.0}, 1),))], spec=stopped)


def test_ending_an_engine_that_is_well() -> None:
    assert broken([END]) == ["ends engine/chat/r0/g1, which is well and whose group is whole"]


@pytest.mark.parametrize("why", [{"version": OTHER}, {"leaving": "it goes"}], ids=["changed", "removed"])
def test_ending_an_engine_by_a_change_before_it_could_finish(why: dict[str, Any]) -> None:
    before = memory(deployment(serving(**why)))
    assert broken([END], before=before) == ["ends engine/chat/r0/g1, which serves, before it could finish"]


@pytest.mark.parametrize(
    ("seen", "before", "spec"),
    [
        (snapshot((group(GroupState.RESCHEDULING, ("a", "")),), (engine(),)), WELL, CLUSTER),
        (replace(SERVING, nodes=snapshot(nodes=(replace(NODES[0], state=NodeState.DEAD),)).nodes), WELL, CLUSTER),
        (snapshot((group(nodes=("a", "c")),), (engine(),)), WELL, CLUSTER),
        (snapshot((group(),), (ended(),)), WELL, CLUSTER),
        (snapshot((group(),), (engine(),), (probe(failures=3),)), WELL, CLUSTER),
        (STARTING, memory(deployment(running())), CLUSTER),
        (SERVING, memory(deployment(serving(version=OTHER, draining_since=NOW - 9))), CLUSTER),
        (SERVING, memory(deployment(serving(leaving="it goes", draining_since=NOW - 9))), CLUSTER),
        (SERVING, WELL, ClusterSpec((replace(SPEC, wanted=False),))),
        (SERVING, WELL, ClusterSpec()),
        (SERVING, memory(deployment(serving(), failure=Failure(FailureKind.ENGINE, "no", NOW))), CLUSTER),
        (SERVING, memory(deployment(serving(generation=2))), CLUSTER),
    ],
    ids=[
        "gang broken",
        "node dead",
        "gang moved",
        "ended",
        "wedged",
        "never proven",
        "changed",
        "removed",
        "stopped",
        "unknown",
        "given up",
        "older",
    ],
)
def test_ending_an_engine_with_a_reason_is_right(seen: Snapshot, before: Memory, spec: ClusterSpec) -> None:
    assert broken([END], seen, before, spec) == []


FAR, NEAR = Move("i-b", NOW + 90, 2), Move("i-b", NOW + 15, 2)
OTHER_SERVES, OTHER_STARTS = serving(id="r1"), running(id="r1")


@pytest.mark.parametrize(
    ("replica", "other", "expected"),
    [
        (serving(move=FAR, draining_since=NOW - 9), OTHER_SERVES, "which is well"),
        (serving(move=FAR, leaving=MOVED, draining_since=NOW - 9), OTHER_STARTS, "in whose place no other serves yet"),
        (serving(move=FAR, leaving=TAKEN, draining_since=NOW - 9), OTHER_STARTS, "in whose place no other serves yet"),
        (serving(move=FAR, leaving=MOVED), OTHER_SERVES, "before it could finish"),
        (serving(move=NEAR), OTHER_STARTS, "which is well"),
        (serving(move=FAR, leaving=MOVED, draining_since=NOW - 9), OTHER_SERVES, ""),
        (serving(move=NEAR, leaving=TAKEN, draining_since=NOW - 9), OTHER_STARTS, ""),
        (serving(move=NEAR, draining_since=NOW - 9), OTHER_STARTS, ""),
    ],
)
def test_an_engine_whose_node_is_taken_ends_when_another_serves_or_when_the_time_is_near(
    replica: ReplicaMemory, other: ReplicaMemory, expected: str
) -> None:
    told = broken([END], before=memory(deployment(replica, other)))
    assert [expected in one for one in told] == [True] if expected else told == []


def test_more_is_asked_for_only_while_a_replica_moves_and_where_there_is_room() -> None:
    asking = [RequestResources((Bundle({"GPU": 1.0}, 4),))]
    moving, roomy = memory(deployment(serving(move=FAR))), ClusterSpec((replace(SPEC, surge=True),))
    assert broken(asking, before=moving, spec=roomy) == []
    assert broken(asking, before=moving) == broken(asking, spec=roomy) != []


def test_an_engine_that_is_busy_is_well() -> None:
    seen = snapshot((group(),), (engine(),), (probe(failures=9, progressing=True),))
    assert broken([END], seen)


def test_starting_in_a_group_that_is_not_whole() -> None:
    for seen in (snapshot(), snapshot((group(GroupState.PENDING, ("", "")),))):
        assert broken([START], seen, NO_ENGINE) == ["starts engine/chat/r0/g2 though its group is not whole"]
    assert broken([START], WHOLE, NO_ENGINE) == []


def test_starting_beside_what_is_left_of_an_older_engine() -> None:
    for left in (engine(), ended(swept=False)):
        seen = snapshot((group(),), (left,))
        assert broken([START], seen) == ["starts engine/chat/r0/g2 though an older engine may still run"]


def test_starting_two_engines_in_one_group() -> None:
    assert broken([START, StartEngine(engine_name(3), OTHER)], WHOLE, NO_ENGINE) == ["starts two engines in one group"]


def test_removing_a_group_in_which_an_engine_may_run() -> None:
    expected = ["removes group/chat/r0 though an engine may still run in it"]
    assert broken([RemovePlacementGroup(GROUP)], STARTING) == expected
    assert broken([RemovePlacementGroup(GROUP)], WHOLE) == []


@pytest.mark.parametrize("part", ["nodes", "groups", "engines"])
@pytest.mark.parametrize("action", [END, START, RemovePlacementGroup(GROUP), CreatePlacementGroup(GROUP, ())])
def test_acting_blind(part: str, action: Action) -> None:
    assert any("not everything is known" in told for told in broken([action], blind(SERVING, part)))


def test_a_wait_that_is_over() -> None:
    decision = Decision((), WELL, NOW, (), CLUSTER)
    assert violations(CLUSTER, SERVING, WELL, NOW, decision) == [f"asks to be woken in the past ({NOW})"]


def test_a_turn_that_the_state_diagram_does_not_have() -> None:
    before, after = memory(deployment(phase="stopped")), memory(deployment(phase="failed"))
    assert illegal_turns(before, Decision((), after, None, (), CLUSTER)) == ["chat went from stopped to failed"]
    assert illegal_turns(memory(), Decision((), after, None, (), CLUSTER)) == []
