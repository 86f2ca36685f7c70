"""What a step of a replica comes to in every condition: actions, memory and events, compared as values."""

from dataclasses import replace

import pytest

from elastic_deploy.core.classify import Condition
from elastic_deploy.core.replica import leave, step
from elastic_deploy.model.action import (
    Action,
    Backend,
    CreatePlacementGroup,
    EndEngine,
    RemovePlacementGroup,
    StartEngine,
)
from elastic_deploy.model.memory import Outage, Recovery
from elastic_deploy.model.snapshot import GroupState, NodeState

from .scenes import (
    GROUP,
    NODES,
    NOW,
    SERVING,
    SPEC,
    STARTING,
    WHOLE,
    blind,
    ended,
    engine,
    engine_name,
    facts,
    failed,
    fresh,
    group,
    probe,
    running,
    serving,
    snapshot,
)

B_LOST = (NODES[0], replace(NODES[1], state=NodeState.DEAD))
RESCHEDULING = group(GroupState.RESCHEDULING, ("a", ""))


def ending(nodes: tuple[str, ...], why: str, generation: int = 1) -> tuple[Action, ...]:
    """The one action that ends an engine."""
    return (EndEngine(engine_name(generation), nodes, why),)


def test_an_absent_group_is_asked_for_once_and_again_after_five_seconds() -> None:
    result = step(facts(fresh(), snapshot()))
    assert result.actions == (CreatePlacementGroup(GROUP, ({"GPU": 1.0}, {"GPU": 1.0})),)
    assert result.memory == fresh(group_asked_at=NOW)
    assert [event.kind for event in result.events] == ["group.asked"]
    waiting = step(facts(fresh(group_asked_at=NOW - 4), snapshot()))
    assert (waiting.actions, waiting.wake_at) == ((), NOW + 1)
    assert len(step(facts(fresh(group_asked_at=NOW - 5), snapshot())).actions) == 1


def test_an_unfit_group_is_removed() -> None:
    result = step(facts(fresh(whole_since=NOW - 9, group_asked_at=NOW - 20), snapshot((group(nodes=("a",)),))))
    assert result.actions == (RemovePlacementGroup(GROUP),)
    assert result.memory == fresh()
    assert result.events == ()
    assert step(facts(fresh(), snapshot((group(nodes=("a",)),)))).events == (), "a group of another size is not ready"


def test_an_incomplete_gang_is_waited_for() -> None:
    memory = fresh(group_asked_at=NOW - 3)
    result = step(facts(memory, snapshot((group(GroupState.PENDING, ("", "")),))))
    assert (result.actions, result.events) == ((), ())
    assert result.memory is memory


def test_a_whole_gang_is_noted_once_and_its_engine_started() -> None:
    result = step(facts(fresh(), WHOLE))
    assert result.actions == (StartEngine(engine_name(1), SPEC.fingerprint),)
    assert result.memory == fresh(
        generation=1,
        revision=1,
        fingerprint=SPEC.fingerprint,
        started_at=NOW,
        whole_since=NOW,
        members=("a", "b"),
    )
    assert [event.kind for event in result.events] == ["group.ready", "engine.starting"]
    assert result.events[1].because == result.events[0].subject == "group/chat/r0"


def test_an_engine_that_starts_is_waited_for_until_its_deadline() -> None:
    memory = running()
    result = step(facts(memory, STARTING))
    assert (result.actions, result.events, result.wake_at) == ((), (), memory.started_at + 120)
    assert result.memory is memory


def test_a_first_generation_makes_it_ready() -> None:
    result = step(facts(running(), SERVING))
    assert result.memory == serving(proven_at=NOW - 5)
    assert result.backend == Backend(engine_name(1), "http://a:1", SPEC.fingerprint)
    assert [(event.kind, event.data) for event in result.events] == [("engine.ready", {"seconds": 15.0})]
    assert result.recovery is None


def test_an_engine_that_was_found_running_gives_no_seconds_to_learn_from() -> None:
    result = step(facts(running(adopted=True), SERVING))
    assert [(event.kind, event.data) for event in result.events] == [("engine.ready", {})]


def test_serving_changes_nothing() -> None:
    memory = serving()
    result = step(facts(memory, SERVING))
    assert result.memory is memory
    assert (result.actions, result.events, result.wake_at) == ((), (), None)


def test_an_engine_without_an_address_is_no_backend() -> None:
    result = step(facts(serving(), snapshot((group(),), (replace(engine(), address=""),))))
    assert result.backend is None


def test_a_recovery_has_its_cause_and_seconds_and_their_parts() -> None:
    outage = Outage(NOW - 60, "node i-b was lost", "node:i-b", whole_at=NOW - 50, started_at=NOW - 45)
    memory = running(generation=2, started_at=NOW - 45, ever_ready=True, outage=outage)
    result = step(facts(memory, snapshot((group(),), (engine(2),), (probe(2, NOW - 1),))))
    assert result.recovery == Recovery("r0", NOW - 60, "node i-b was lost", 59.0)
    assert result.memory is not None
    assert result.memory.outage is None
    recovered = result.events[1]
    assert (recovered.kind, recovered.because) == ("recovered", "node:i-b")
    assert recovered.data == {
        "seconds": 59.0,
        "parts": {"gang_seconds": 10.0, "sweep_seconds": 5.0, "engine_seconds": 44.0},
    }


def test_a_broken_gang_ends_the_engine_and_names_the_node() -> None:
    result = step(facts(serving(failures=2), snapshot((RESCHEDULING,), (engine(),), nodes=B_LOST)))
    assert result.actions == ending(("a",), "node i-b was lost")
    assert result.memory == serving(
        engine_ended=True, whole_since=None, outage=Outage(NOW, "node i-b was lost", "node:i-b")
    )
    assert [(event.kind, event.because) for event in result.events] == [("engine.ending", "node:i-b")]


def test_a_gang_that_breaks_before_it_served_is_no_outage() -> None:
    result = step(facts(running(), snapshot((RESCHEDULING,), (engine(),))))
    assert result.memory == running(engine_ended=True, whole_since=None)
    assert result.actions == ending(("a", "b"), "a node of its placement group was lost")


@pytest.mark.parametrize(
    ("memory", "failures", "pause"),
    [
        (running(), 1, 1.0),
        (running(failures=1), 2, 2.0),
        (running(failures=2), 3, 4.0),
        (running(failures=20), 21, 60.0),
        (serving(failures=2), 3, 4.0),
        (serving(failures=2, proven_at=NOW - 60), 1, 1.0),
    ],
    ids=["first", "second", "third", "long row", "served for ten seconds", "served well"],
)
def test_an_engine_that_ended_is_counted_and_put_off(memory: object, failures: int, pause: float) -> None:
    words = "ValueError: no"
    seen = snapshot((group(),), (ended(swept=False, last_words=words),))
    result = step(facts(memory, seen))  # type: ignore[arg-type]
    assert result.condition is Condition.ENGINE_ENDED
    assert result.actions == ending(("a", "b"), "the engine ended")
    assert result.memory is not None
    assert (result.memory.failures, result.memory.retry_at) == (failures, NOW + pause)
    assert (result.memory.engine_ended, result.memory.last_words, result.memory.suspected_at) == (True, words, NOW)
    assert result.wake_at == NOW + pause


def test_refused_arguments_exhaust_all_attempts_at_once() -> None:
    seen = snapshot((group(),), (ended(refused_arguments=True),))
    result = step(facts(running(), seen))
    assert result.memory is not None
    assert (result.memory.failures, result.memory.retry_at, result.actions) == (1, NOW + 1, ())
    assert step(facts(result.memory, seen)).condition is Condition.EXHAUSTED
    once_ready = step(facts(serving(), seen)).memory
    assert once_ready is not None
    assert once_ready.failures == 1, "arguments that have worked are not what is wrong"


@pytest.mark.parametrize(
    ("memory", "seen", "cause"),
    [
        (serving(), WHOLE, "the engine has vanished from Ray's actors"),
        (
            serving(),
            snapshot((group(),), (replace(engine(), lost_workers=1),)),
            "1 worker process of the engine died",
        ),
        (
            serving(),
            snapshot((group(),), (engine(),), (probe(failures=3, last_error="timed out"),)),
            "the engine is wedged: 3 canary generations in a row failed",
        ),
        (running(started_at=NOW - 120), STARTING, "the engine has not generated within 2m of its start"),
    ],
    ids=["vanished", "maimed", "wedged", "silent"],
)
def test_an_engine_that_is_not_seen_to_end_is_ended(memory: object, seen: object, cause: str) -> None:
    result = step(facts(memory, seen))  # type: ignore[arg-type]
    assert result.actions == ending(("a", "b"), cause)
    assert result.memory is not None
    assert (result.memory.failures, result.memory.engine_ended) == (1, True)
    assert [event.kind for event in result.events] == ["engine.failed"]


def test_what_is_given_up_is_ended_until_nothing_is_left() -> None:
    memory = failed()
    result = step(facts(memory, STARTING))
    assert result.actions == ending(("a", "b"), "the engine is given up, but something of it may still run")
    assert result.memory is memory
    assert result.events == ()


def test_older_engines_are_ended_before_a_new_one_is_started() -> None:
    seen = snapshot((group(),), (engine(1), ended(2, swept=False)))
    result = step(facts(failed(generation=2), seen))
    assert [a.name.generation for a in result.actions if isinstance(a, EndEngine)] == [1, 2]


def test_an_engine_that_serves_goes_on_while_an_older_one_beside_it_is_ended() -> None:
    seen = snapshot((group(),), (engine(1), engine(2)), (probe(2),))
    result = step(facts(serving(generation=2), seen))
    assert result.condition is Condition.SERVING
    assert result.actions == ending(("a", "b"), "an engine of a later generation runs in its place")


def test_the_remains_of_an_older_engine_are_left_alone_while_a_newer_one_serves() -> None:
    seen = snapshot((group(),), (ended(1, swept=False), engine(2)), (probe(2),))
    assert step(facts(serving(generation=2), seen)).actions == ()


def test_a_late_verdict_turns_a_failure_into_a_loss() -> None:
    outage = Outage(NOW - 3, "the engine ended", "engine/chat/r0/g1")
    memory = serving(engine_ended=True, failures=3, retry_at=NOW + 9, suspected_at=NOW - 3, outage=outage)
    result = step(facts(memory, snapshot((RESCHEDULING,), (ended(),), nodes=B_LOST)))
    assert result.memory == replace(
        memory,
        failures=0,
        retry_at=0.0,
        suspected_at=None,
        whole_since=None,
        outage=Outage(NOW - 3, "node i-b was lost", "node:i-b"),
    )
    assert [event.kind for event in result.events] == ["gang.broken"]


def test_a_verdict_is_awaited_for_as_long_as_it_can_take() -> None:
    suspect = snapshot((group(),), nodes=(NODES[0], replace(NODES[1], suspect=True)))
    result = step(facts(failed(), suspect))
    assert (result.actions, result.wake_at) == ((), NOW - 3 + 75)


def test_backing_off_wakes_when_the_next_start_is_due() -> None:
    result = step(facts(failed(retry_at=NOW + 7), WHOLE))
    assert (result.actions, result.wake_at) == ((), NOW + 7)


def test_a_changed_engine_is_ended_without_an_outage() -> None:
    changed = replace(SPEC, model="large", revision=2)
    first = step(facts(serving(failures=1), SERVING, changed))
    assert (first.actions, first.memory) == ((), serving(failures=1, draining_since=NOW))
    result = step(facts(serving(failures=1, draining_since=NOW - 30), SERVING, changed))
    assert result.actions == ending(("a", "b"), "the user changed what this engine was started for")
    assert result.memory == running(engine_ended=True, ever_ready=False, draining_since=NOW - 30)
    assert [event.kind for event in result.events] == ["engine.ending"]


def test_blindness_keeps_everything_as_it_is() -> None:
    memory = serving()
    result = step(facts(memory, blind(SERVING)))
    assert result.memory is memory
    assert (result.actions, result.events) == ((), ())


class TestLeaving:
    """`leave`: the engine first, then the group, then the memory."""

    def test_a_running_engine_is_ended_and_told_of_once(self) -> None:
        result = leave(facts(running(), STARTING), "it is no longer wanted")
        assert result.actions == ending(("a", "b"), "it is no longer wanted")
        assert result.memory == running(engine_ended=True)
        assert [event.kind for event in result.events] == ["engine.ending"]
        assert result.memory is not None
        again = leave(facts(result.memory, STARTING), "it is no longer wanted")
        assert (again.actions, again.events) == (result.actions, ())

    def test_an_engine_that_has_not_appeared_yet_is_ended_by_its_name(self) -> None:
        result = leave(facts(running(started_at=NOW), WHOLE), "it is no longer wanted")
        assert result.actions == ending(("a", "b"), "it is no longer wanted")

    def test_then_the_group_is_removed(self) -> None:
        result = leave(facts(failed(), snapshot((group(),), (ended(),))), "it is no longer wanted")
        assert result.actions == (RemovePlacementGroup(GROUP),)
        assert result.memory is not None

    def test_then_it_is_forgotten(self) -> None:
        assert leave(facts(failed(), snapshot((), (ended(),))), "it is no longer wanted").memory is None

    def test_a_kept_group_stays_with_its_memory(self) -> None:
        memory = failed()
        result = leave(facts(memory, snapshot((group(),), (ended(),))), "it has failed", keep_group=True)
        assert (result.actions, result.memory) == ((), memory)

    def test_nothing_leaves_unseen(self) -> None:
        memory = serving()
        result = leave(facts(memory, blind(SERVING)), "it is no longer wanted")
        assert (result.condition, result.actions, result.memory) == (Condition.BLIND, (), memory)


def test_an_engine_is_swept_everywhere_where_nobody_knows_on_which_nodes_it_ran() -> None:
    seen = snapshot((), (engine(),), nodes=(*NODES, replace(NODES[0], id="i-c", ray_id="c")))
    result = leave(facts(fresh(generation=1, adopted=True), seen), "it is no longer wanted")
    assert result.actions == ending(("a", "b", "c"), "it is no longer wanted")
