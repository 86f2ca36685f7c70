"""A deployment's step: its deadline, its failures, what it asks for, its route, and what the user changes."""

from dataclasses import replace

import pytest

from elastic_deploy.core.deployment import DeploymentStep, step
from elastic_deploy.core.facts import Index
from elastic_deploy.model.action import (
    Backend,
    CreatePlacementGroup,
    EndEngine,
    RemovePlacementGroup,
    RouteEntry,
    StartEngine,
)
from elastic_deploy.model.memory import DeploymentMemory, Failure, FailureKind, Outage, Recovery
from elastic_deploy.model.phase import Phase
from elastic_deploy.model.shape import Shape
from elastic_deploy.model.snapshot import GroupState, Snapshot
from elastic_deploy.model.spec import DeploymentSpec, OnFailure

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
    failed,
    fresh,
    group,
    probe,
    running,
    serving,
    snapshot,
)

PENDING = snapshot((group(GroupState.PENDING, ("", "")),), nodes=NODES[:1])
TWO = replace(SPEC, shape=Shape(2, 1, 2))
FAILED = Failure(FailureKind.ENGINE, "no", NOW - 5)


def stepped(memory: DeploymentMemory | None, seen: Snapshot, spec: DeploymentSpec = SPEC) -> DeploymentStep:
    """One step of the deployment."""
    return step(spec, memory, Index.of(seen), NOW)


class TestDeadline:
    """A first wait ends at its deadline; nothing else does."""

    def test_the_failure_names_what_is_missing_and_releases_the_gpus(self) -> None:
        result = stepped(deployment(fresh(), waiting_since=NOW - 300, phase="waiting"), PENDING)
        assert result.memory.failure == Failure(
            FailureKind.WAIT_TIMEOUT,
            "Waited 5m for 2 GPUs: 1 of 2 GPUs has come, 1 is missing (no node is on its way).",
            NOW,
        )
        assert (result.memory.phase, result.gpus) == ("failed", 0)
        assert [event.kind for event in result.events] == ["deployment.failed", "phase"]

    def test_it_is_woken_for_its_deadline(self) -> None:
        assert stepped(deployment(fresh(), phase="waiting"), PENDING).wake_at == NOW + 270

    @pytest.mark.parametrize(
        ("memory", "seen", "spec"),
        [
            (deployment(fresh(), waiting_since=NOW - 299), PENDING, SPEC),
            (deployment(fresh(), waiting_since=0.0), PENDING, replace(SPEC, wait_timeout=None)),
            (deployment(serving(engine_ended=True, whole_since=None), waiting_since=0.0), PENDING, SPEC),
            (deployment(running(), waiting_since=0.0, phase="starting"), STARTING, SPEC),
            (deployment(fresh(), waiting_since=0.0), blind(PENDING), SPEC),
            (deployment(serving(), fresh(id="r1"), waiting_since=0.0), SERVING, TWO),
            (deployment(serving(engine_ended=True), fresh(id="r1"), waiting_since=0.0), PENDING, TWO),
        ],
        ids=["too early", "no deadline", "recovering", "starting", "blind", "a part serves", "a part recovers"],
    )
    def test_it_goes_on(self, memory: DeploymentMemory, seen: Snapshot, spec: DeploymentSpec) -> None:
        assert stepped(memory, seen, spec).memory.failure is None

    def test_a_node_lost_while_starting_begins_another_wait(self) -> None:
        memory = deployment(running(), waiting_since=0.0, phase="starting")
        result = stepped(memory, snapshot((group(GroupState.RESCHEDULING, ("a", "")),), (engine(),)))
        assert (result.memory.phase, result.memory.waiting_since, result.memory.failure) == ("waiting", NOW, None)

    def test_more_replicas_begin_another_wait(self) -> None:
        result = stepped(deployment(serving(), waiting_since=0.0, phase="ready"), SERVING, TWO)
        assert (result.memory.phase, result.memory.waiting_since) == ("waiting", NOW)

    def test_a_part_that_serves_goes_on_in_a_smaller_shape(self) -> None:
        memory = deployment(serving(), fresh(id="r1", group_asked_at=NOW), waiting_since=NOW - 300, phase="waiting")
        result = stepped(memory, SERVING, TWO)
        assert (result.memory.phase, result.gpus, result.actions) == ("degraded", 4, ())


class TestFailure:
    """An engine that fails too often in a row."""

    def test_it_fails_with_the_last_words(self) -> None:
        memory = deployment(failed(failures=3, last_words="CUDA error"), phase="starting")
        result = stepped(memory, snapshot((group(),), (ended(),)))
        assert result.memory.failure == Failure(
            FailureKind.ENGINE,
            "The engine of chat/r0 failed 3 times in a row with all its nodes well. Its last words: CUDA error",
            NOW,
        )

    def test_another_that_serves_keeps_it_up(self) -> None:
        memory = deployment(serving(), replace(failed(failures=3), id="r1"), phase="ready")
        result = stepped(memory, SERVING, TWO)
        assert (result.memory.failure, result.memory.phase) == (None, "degraded")

    def test_released_it_ends_everything_and_asks_for_nothing(self) -> None:
        result = stepped(deployment(running(), failure=FAILED, phase="failed"), STARTING)
        assert result.actions == (EndEngine(engine_name(1), ("a", "b"), "its deployment has failed"),)
        after = stepped(result.memory, snapshot((group(),), (ended(),)))
        assert (after.actions, after.gpus) == ((RemovePlacementGroup(GROUP),), 0)
        gone = stepped(after.memory, snapshot((), (ended(),)))
        assert (gone.memory.replicas, gone.memory.generations, gone.memory.phase) == ((), 1, "failed")

    def test_kept_it_holds_its_group_and_its_request(self) -> None:
        spec = replace(SPEC, on_failure=OnFailure.KEEP)
        result = stepped(deployment(failed(), failure=FAILED, phase="failed"), snapshot((group(),), (ended(),)), spec)
        assert (result.actions, result.gpus, result.memory.replicas) == ((), 2, (failed(),))

    def test_applied_again_it_is_forgiven_and_waits_anew(self) -> None:
        memory = deployment(failed(failures=3), failure=FAILED, phase="failed", waiting_since=0.0)
        result = stepped(memory, snapshot((group(),), (ended(),)), replace(SPEC, revision=2))
        assert result.actions == (StartEngine(engine_name(2), SPEC.fingerprint),)
        assert (result.memory.failure, result.memory.waiting_since, result.memory.phase) == (None, NOW, "starting")
        assert result.memory.replicas[0].failures == 0


class TestUser:
    """What the user changes."""

    def test_a_new_deployment_waits_from_now_on(self) -> None:
        result = stepped(None, snapshot())
        first = fresh(group_asked_at=NOW, version=SPEC.fingerprint)
        assert result.memory == deployment(first, waiting_since=NOW, phase="waiting")
        assert result.gpus == 2

    def test_fewer_replicas_end_the_last_ones_only(self) -> None:
        memory = deployment(serving(), replace(serving(), id="r1"), phase="ready")
        two = (group(), replace(group(), name=replace(GROUP, replica="r1")))
        second = replace(engine(), name=replace(engine_name(1), replica="r1"))
        seen = snapshot(two, (engine(), second), (probe(),))
        first = stepped(memory, seen)
        assert first.actions == (), "an engine that serves is ended before it could finish"
        assert [backend.engine.replica for backend in first.routes[0].backends] == ["r0"]
        assert (first.memory.phase, first.gpus) == ("ready", 2)
        drained = tuple(replace(r, draining_since=NOW - 30 if r.leaving else None) for r in first.memory.replicas)
        result = stepped(replace(first.memory, replicas=drained), seen)
        assert [a.name.replica for a in result.actions if isinstance(a, EndEngine)] == ["r1"]
        assert (result.memory.phase, result.gpus) == ("ready", 2)

    def test_a_replica_that_comes_back_uses_no_name_twice(self) -> None:
        memory = deployment(serving(), phase="ready", generations=4)
        result = stepped(memory, SERVING, TWO)
        assert result.memory.replicas[1] == fresh(
            id="r1", generation=4, engine_ended=True, group_asked_at=NOW, version=SPEC.fingerprint
        )

    def test_what_the_user_changes_is_taken_up_even_by_the_blind(self) -> None:
        memory = deployment(failed(), failure=FAILED, phase="failed")
        result = stepped(memory, blind(STARTING), replace(SPEC, revision=2))
        assert (result.memory.phase, result.memory.failure) == ("starting", None)

    def test_stopped_it_ends_everything_asks_for_nothing_and_has_no_route(self) -> None:
        spec = replace(SPEC, wanted=False)
        result = stepped(deployment(serving(), phase="ready"), SERVING, spec)
        assert (result.actions, result.memory.replicas) == ((), (serving(draining_since=NOW),))
        assert (result.memory.phase, result.gpus, result.routes) == ("stopped", 0, ())
        drained = stepped(deployment(serving(draining_since=NOW - 30), phase="stopped"), SERVING, spec)
        assert drained.actions == (EndEngine(engine_name(1), ("a", "b"), "it is no longer wanted"),)
        assert (drained.memory.phase, drained.gpus, drained.routes) == ("stopped", 0, ())

    def test_applied_again_after_a_stop_it_waits_anew_even_in_the_same_revision(self) -> None:
        result = stepped(deployment(phase="stopped", waiting_since=0.0, generations=2), snapshot())
        assert (result.memory.phase, result.memory.waiting_since) == ("waiting", NOW)
        assert result.actions == (CreatePlacementGroup(GROUP, ({"GPU": 1.0}, {"GPU": 1.0})),)

    def test_applied_again_while_it_is_still_being_stopped_it_begins_anew(self) -> None:
        outage = Outage(NOW - 9, "the engine ended", "")
        memory = deployment(serving(engine_ended=True, failures=2, outage=outage), phase="stopped")
        result = stepped(memory, snapshot((group(),), (ended(),)))
        assert result.memory.phase == "starting"
        assert (result.memory.replicas[0].failures, result.memory.replicas[0].outage) == (0, None)

    def test_an_outage_that_the_user_changes_away_is_no_recovery(self) -> None:
        outage = Outage(NOW - 9, "the engine ended", "")
        memory = deployment(serving(engine_ended=True, outage=outage), phase="recovering")
        changed = stepped(memory, snapshot((group(),), (ended(),)), replace(SPEC, model="large", revision=2))
        assert (changed.memory.phase, changed.memory.replicas[0].outage) == ("starting", None)
        kept = stepped(memory, snapshot((group(),), (ended(),)), replace(SPEC, wait_timeout=9.0, revision=2))
        assert kept.memory.replicas[0].outage == replace(outage, started_at=NOW)


class TestAdoption:
    """A supervisor that comes back, with its memory and without."""

    def test_without_memory_a_serving_engine_is_taken_over(self) -> None:
        result = stepped(None, snapshot((group(),), (engine(3),), (probe(3),)))
        assert result.actions == ()
        assert (result.memory.phase, result.memory.replicas[0].generation) == ("ready", 3)
        kinds = [event.kind for event in result.events]
        assert kinds == ["engine.adopted", "group.ready", "engine.ready", "phase"]

    def test_without_memory_an_engine_that_starts_has_all_its_time_again(self) -> None:
        result = stepped(None, STARTING)
        assert (result.actions, result.memory.phase, result.memory.replicas[0].started_at) == ((), "starting", NOW)

    def test_without_memory_an_engine_that_has_ended_is_no_failure(self) -> None:
        result = stepped(None, snapshot((group(),), (ended(4),)))
        assert result.actions == (StartEngine(engine_name(5), SPEC.fingerprint),)
        assert result.memory.replicas[0].failures == 0

    def test_without_memory_an_engine_in_a_group_of_another_size_is_replaced(self) -> None:
        result = stepped(None, snapshot((group(nodes=("a",)),), (engine(),)))
        assert [type(action) for action in result.actions] == [EndEngine]

    def test_the_blind_adopt_nothing(self) -> None:
        result = stepped(None, blind(SERVING))
        assert (result.actions, result.memory.replicas) == ((), (fresh(),))

    def test_with_memory_nothing_happens_at_all(self) -> None:
        memory = deployment(serving(), phase="ready")
        result = stepped(memory, SERVING)
        assert result.memory is memory
        assert (result.actions, result.events, result.wake_at) == ((), (), None)


def test_a_route_leads_to_every_engine_that_serves_and_says_why_there_is_none() -> None:
    served = stepped(deployment(serving(), phase="ready"), SERVING).routes
    backend = Backend(engine_name(1), "http://a:1", SPEC.fingerprint)
    assert served == (RouteEntry("tiny", "chat", (backend,), "chat is ready"),)
    waits = stepped(deployment(fresh(), phase="waiting"), PENDING).routes
    assert waits == (RouteEntry("tiny", "chat", (), "chat is waiting"),)


def test_a_recovery_is_remembered_and_only_the_last_hundred_are() -> None:
    old = tuple(Recovery("r0", float(index), "x", 1.0) for index in range(100))
    memory = deployment(running(ever_ready=True, outage=Outage(NOW - 9, "y", "")), recoveries=old, phase="recovering")
    result = stepped(memory, SERVING)
    assert result.memory.recoveries == (*old[1:], Recovery("r0", NOW - 9, "y", 4.0))


def test_a_change_of_phase_is_told_with_what_led_to_it() -> None:
    result = stepped(deployment(fresh(), phase="waiting"), WHOLE)
    event = result.events[-1]
    assert (event.kind, event.message, event.because) == (
        "phase",
        "chat is starting (was waiting).",
        "engine/chat/r0/g1",
    )
    assert event.data == {"from": "waiting", "to": Phase.STARTING.value}
