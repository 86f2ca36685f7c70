"""When an engine that is to be ended by a change is let finish, and when that is over."""

from dataclasses import replace

import pytest

from elastic_deploy.core.classify import Condition
from elastic_deploy.core.drain import GRACE, STOPPED_LIMIT, UNCOUNTED_LIMIT, drain, ending_event
from elastic_deploy.core.replica import leave, step
from elastic_deploy.core.replica_step import ReplicaStep
from elastic_deploy.model.action import Backend, EndEngine
from elastic_deploy.model.memory import ReplicaMemory
from elastic_deploy.model.snapshot import GroupState, Snapshot
from elastic_deploy.model.spec import DeploymentSpec

from .scenes import (
    NOW,
    SERVING,
    SPEC,
    STARTING,
    blind,
    ended,
    engine,
    engine_name,
    facts,
    group,
    probe,
    running,
    serving,
    snapshot,
)

WHY = "fewer replicas are wanted"
PATIENT = replace(SPEC, drain_timeout=100.0)
STOPPED = replace(PATIENT, wanted=False)


def busy(requests: int | None, at: float = NOW) -> Snapshot:
    """An engine that serves and said at a time how many requests it has."""
    return snapshot((group(),), (engine(),), (probe(busy=requests, busy_at=at),))


def drained(memory: ReplicaMemory, seen: Snapshot, spec: DeploymentSpec = PATIENT) -> ReplicaStep | None:
    """What a drain comes to."""
    return drain(facts(memory, seen, spec), Condition.ENGINE_LEAVING, WHY)


def since(seconds: float) -> ReplicaMemory:
    """A replica that has been drained for so long."""
    return serving(draining_since=NOW - seconds)


def test_it_begins_out_of_the_routing_table_with_a_word_and_whatever_the_engine_said() -> None:
    for seen in (busy(0), busy(3), busy(None), SERVING):
        result = drained(serving(), seen)
        assert result is not None
        assert (result.memory, result.backend, result.actions) == (since(0), None, ())
        assert result.wake_at == NOW + GRACE
        (event,) = result.events
        message = f"engine/chat/r0/g1 finishes what it was asked, for 1m 40s at the most: {WHY}."
        assert (event.kind, event.message) == ("engine.draining", message)


GOES_ON: dict[str, tuple[float, Snapshot, DeploymentSpec, float]] = {
    "busy": (50.0, busy(1), PATIENT, NOW + 50),
    "idle, and something may be on its way": (GRACE - 0.5, busy(0), PATIENT, NOW + 0.5),
    "idle when it was asked too early": (GRACE + 5, busy(0, NOW - 5.5), PATIENT, NOW + 95 - GRACE),
    "it does not say how busy it is": (UNCOUNTED_LIMIT - 1, busy(None), PATIENT, NOW + 1),
    "it was never asked": (UNCOUNTED_LIMIT - 1, STARTING, PATIENT, NOW + 1),
    "stopped and busy": (STOPPED_LIMIT - 1, busy(1), STOPPED, NOW + 1),
}


@pytest.mark.parametrize("case", GOES_ON)
def test_it_goes_on(case: str) -> None:
    seconds, seen, spec, wake_at = GOES_ON[case]
    memory = since(seconds)
    result = drained(memory, seen, spec)
    assert result is not None
    assert result.memory is memory
    assert (result.actions, result.events, result.backend, result.wake_at) == ((), (), None, wake_at)


IS_OVER: dict[str, tuple[ReplicaMemory, Snapshot, DeploymentSpec]] = {
    "idle": (since(GRACE), busy(0), PATIENT),
    "idle since it was last asked": (since(GRACE + 5), busy(0, NOW - 5), PATIENT),
    "overdue": (since(100), busy(7), PATIENT),
    "it does not say how busy it is": (since(UNCOUNTED_LIMIT), busy(None), PATIENT),
    "it does not say, and has less time anyway": (since(10), busy(None), replace(PATIENT, drain_timeout=10.0)),
    "it was never asked": (since(UNCOUNTED_LIMIT), STARTING, PATIENT),
    "stopped": (since(STOPPED_LIMIT), busy(7), STOPPED),
    "stopped, and less time anyway": (since(5), busy(7), replace(STOPPED, drain_timeout=5.0)),
    "no time at all": (since(0), busy(7), replace(PATIENT, drain_timeout=0.0)),
    "the engine ended": (since(3), snapshot((group(),), (ended(),), (probe(busy=3, busy_at=NOW),)), PATIENT),
    "the engine has vanished": (since(3), snapshot((group(),), (), (probe(busy=3, busy_at=NOW),)), PATIENT),
    "a worker died": (
        since(3),
        snapshot((group(),), (engine(lost_workers=1),), (probe(busy=3, busy_at=NOW),)),
        PATIENT,
    ),
    "its gang broke": (
        since(3),
        snapshot((group(GroupState.RESCHEDULING, ("a", "")),), (engine(),), (probe(busy=3, busy_at=NOW),)),
        PATIENT,
    ),
    "it never served": (running(), busy(3), PATIENT),
}


@pytest.mark.parametrize("case", IS_OVER)
def test_it_is_over(case: str) -> None:
    assert drained(*IS_OVER[case]) is None


def test_what_is_left_unfinished_is_told_as_far_as_it_is_known() -> None:
    told = [
        ending_event(facts(memory, seen, PATIENT), WHY)
        for memory, seen in ((since(100), busy(1)), (since(100), busy(2)), (since(9), busy(0)), (since(30), busy(None)))
    ]
    ends = "engine/chat/r0/g1 is ended: fewer replicas are wanted."
    assert [event.message.removeprefix(ends) for event in told] == [
        " It leaves 1 request unfinished.",
        " It leaves 2 requests unfinished.",
        "",
        "",
    ]
    assert [event.data["unfinished"] for event in told] == [1, 2, 0, 0]


def test_an_engine_that_did_not_serve_leaves_nothing_unfinished() -> None:
    event = ending_event(facts(running(), busy(2)), WHY)
    assert (event.message, event.data) == (f"engine/chat/r0/g1 is ended: {WHY}.", {"unfinished": 0})


def test_one_that_goes_is_drained_then_ended_and_the_blind_wait() -> None:
    first = leave(facts(serving(), busy(2), PATIENT), WHY)
    assert (first.actions, first.memory) == ((), since(0))
    assert leave(facts(since(9), blind(busy(0)), PATIENT), WHY).memory == since(9)
    last = leave(facts(since(9), busy(0), PATIENT), WHY)
    assert last.actions == (EndEngine(engine_name(1), ("a", "b"), WHY),)
    assert [event.kind for event in last.events] == ["engine.ending"]


def test_one_that_is_changed_is_drained_then_ended() -> None:
    changed = replace(PATIENT, engine_arguments=("--seed", "2"))
    first = step(facts(serving(), busy(2), changed))
    assert (first.condition, first.actions, first.backend) == (Condition.REPLACED_BY_USER, (), None)
    assert first.memory == since(0)
    last = step(facts(since(9), busy(0), changed))
    assert [type(action) for action in last.actions] == [EndEngine]
    assert last.memory is not None
    assert last.memory.engine_ended


def test_one_that_is_kept_after_all_serves_again() -> None:
    result = step(facts(since(9), busy(2), PATIENT))
    assert result.memory == serving()
    assert result.backend == Backend(engine_name(1), "http://a:1", SPEC.fingerprint)
    assert (result.actions, result.events) == ((), ())


def test_the_next_engine_is_not_drained_because_the_last_one_was() -> None:
    memory = replace(since(9), engine_ended=True, proven_at=None, ever_ready=False)
    result = step(facts(memory, snapshot((group(),), (ended(),)), PATIENT))
    assert result.memory is not None
    assert (result.memory.generation, result.memory.draining_since) == (2, None)
