"""A change that is rolled out at the level of its deployment: done, given up and restored, and what clients may ask."""

from dataclasses import replace

import pytest

from elastic_deploy.core.decide import decide
from elastic_deploy.core.deployment import DeploymentStep, step
from elastic_deploy.core.facts import Index
from elastic_deploy.core.invariants import violations
from elastic_deploy.model.action import Backend, StartEngine
from elastic_deploy.model.memory import DeploymentMemory, Failure, FailureKind, ReplicaMemory
from elastic_deploy.model.names import EngineName
from elastic_deploy.model.phase import Phase
from elastic_deploy.model.shape import Shape
from elastic_deploy.model.snapshot import Snapshot
from elastic_deploy.model.spec import ClusterSpec, DeploymentSpec

from .scenes import (
    NOW,
    SPEC,
    blind,
    deployment,
    ended,
    engine,
    failed,
    fresh,
    group,
    memory,
    probe,
    running,
    serving,
    snapshot,
)

OLD = replace(SPEC, engine_arguments=("--seed", "1"))
NEW = replace(SPEC, engine_arguments=("--seed", "2"), revision=2, former=OLD, surge=True)
IN_PLACE = replace(NEW, surge=False)
RESTORING = replace(OLD, revision=2, surge=True, former=replace(NEW, former=None), restoring=True)
EXHAUSTED = {"engine_ended": True, "failures": 3, "retry_at": NOW - 1, "last_words": "no such layer"}


def of(made: ReplicaMemory, spec: DeploymentSpec, replica_id: str = "r0") -> ReplicaMemory:
    """A replica of a version."""
    return replace(made, id=replica_id, fingerprint=spec.fingerprint, version=spec.fingerprint)


def seen(*ends: str, there: tuple[str, ...] = ("r0", "r1")) -> Snapshot:
    """Replicas in whole groups; those in `ends` have an engine that has ended, the others one that generates."""
    groups, engines, probes = [], [], []
    for replica_id in there:
        name = EngineName("chat", replica_id, 1)
        groups.append(replace(group(), name=name.group, id=f"pg-{replica_id}"))
        if replica_id in ends:
            engines.append(replace(ended(), name=name))
        else:
            engines.append(replace(engine(), name=name, address=f"http://{replica_id}"))
            probes.append(replace(probe(), name=name))
    return snapshot(tuple(groups), tuple(engines), tuple(probes))


def stepped(spec: DeploymentSpec, before: DeploymentMemory, observed: Snapshot) -> DeploymentStep:
    """A step of the deployment that breaks no invariant."""
    decision = decide(ClusterSpec((spec,)), observed, memory(before), NOW)
    assert violations(ClusterSpec((spec,)), observed, memory(before), NOW, decision) == []
    result = step(spec, before, Index.of(observed), NOW)
    assert decision.spec.deployments == (result.spec,)
    return result


def rolling(*replicas: ReplicaMemory, **more: object) -> DeploymentMemory:
    """The memory in the middle of a change."""
    values = {"revision": 2, "phase": "ready", **more}
    return replace(deployment(*replicas), **values)  # type: ignore[arg-type]


class TestGivenUp:
    """A new version that does not come up is given up, and the old one goes on."""

    def test_an_engine_that_failed_too_often(self) -> None:
        before = rolling(of(serving(), OLD), of(failed(**EXHAUSTED), NEW, "r1"))
        result = stepped(NEW, before, seen("r1"))
        refused = Failure(
            FailureKind.ENGINE,
            "The engine of chat/r1 failed 3 times in a row with all its nodes well. Its last words: no such layer",
            NOW,
        )
        assert result.memory.refused == refused
        assert result.spec == RESTORING
        assert (result.memory.failure, result.memory.phase, result.actions) == (None, "ready", ())
        assert result.memory.replicas[1].failures == 0, "they are the change's, and count no more"
        event = result.events[0]
        said = f"The change of chat is given up, and what was before goes on. {refused.message}"
        assert (event.kind, event.message) == ("rollout.failed", said)
        assert result.routes[0].backends == (Backend(EngineName("chat", "r0", 1), "http://r0", OLD.fingerprint),)

    def test_refused_arguments_are_tried_once(self) -> None:
        observed = seen("r1")
        engines = tuple(replace(e, refused_arguments=e.name.replica == "r1") for e in observed.engines.value or ())
        observed = replace(observed, engines=replace(observed.engines, value=engines))
        first = stepped(NEW, rolling(of(serving(), OLD), of(running(), NEW, "r1")), observed)
        assert first.spec is NEW
        second = stepped(NEW, first.memory, observed)
        assert second.spec.restoring
        assert second.memory.refused is not None
        assert second.memory.refused.message.startswith("The engine of chat/r1 refuses its arguments.")

    def test_gpus_that_do_not_come_within_the_wait(self) -> None:
        waits = of(fresh(group_asked_at=NOW - 1), NEW, "r1")
        before = rolling(of(serving(), OLD), waits, waiting_since=NOW - 300)
        result = stepped(NEW, before, snapshot((group(),), (engine(),), (probe(),)))
        assert result.memory.refused == Failure(
            FailureKind.WAIT_TIMEOUT,
            "Waited 5m for 4 GPUs: 2 of 4 GPUs have come, 2 are missing (no node is on its way).",
            NOW,
        )
        assert (result.spec, result.memory.waiting_since) == (RESTORING, NOW)

    def test_the_next_step_restores_what_was_before(self) -> None:
        before = rolling(of(serving(), OLD), of(failed(failures=0), NEW, "r1"))
        result = stepped(RESTORING, before, seen("r1"))
        assert [(r.id, bool(r.leaving)) for r in result.memory.replicas] == [("r0", False), ("r1", True)]
        assert result.spec is RESTORING

    def test_in_place_what_was_before_is_started_again(self) -> None:
        before = rolling(of(failed(**EXHAUSTED), NEW), phase="starting")
        given_up = stepped(IN_PLACE, before, snapshot((group(),), (ended(),)))
        assert given_up.spec == replace(RESTORING, surge=False, former=replace(IN_PLACE, former=None))
        restored = stepped(given_up.spec, given_up.memory, snapshot((group(),), (ended(),)))
        assert restored.actions == (StartEngine(EngineName("chat", "r0", 2), OLD.fingerprint),)
        assert restored.memory.replicas[0].failures == 0

    def test_what_was_before_and_fails_as_well_fails_the_deployment(self) -> None:
        spec = replace(RESTORING, surge=False)
        before = rolling(of(failed(**EXHAUSTED), OLD), phase="starting")
        result = stepped(spec, before, snapshot((group(),), (ended(),)))
        assert result.memory.failure is not None
        assert (result.memory.failure.kind, result.memory.phase) == (FailureKind.ENGINE, "failed")

    def test_versions_between_are_kept_to_be_spared(self) -> None:
        between = replace(OLD, engine_arguments=("--seed", "9"))
        spec = replace(NEW, former=replace(OLD, former=between))
        result = stepped(spec, rolling(of(serving(), OLD), of(failed(**EXHAUSTED), NEW, "r1")), seen("r1"))
        assert result.spec == replace(RESTORING, former=replace(NEW, former=between))


class TestGoesOn:
    """What is no reason to give a change up."""

    @pytest.mark.parametrize(
        ("before", "observed"),
        [
            (rolling(of(serving(), OLD), of(failed(failures=2), NEW, "r1")), seen("r1")),
            (rolling(of(serving(), OLD), of(failed(**EXHAUSTED), NEW, "r1")), blind(seen("r1"))),
            (
                rolling(of(serving(), OLD), of(fresh(), NEW, "r1"), waiting_since=0.0),
                blind(snapshot((group(),), (engine(),), (probe(),))),
            ),
            (rolling(of(failed(**EXHAUSTED), OLD), of(running(), NEW, "r1")), seen("r0")),
            (
                rolling(of(serving(), OLD), of(fresh(group_asked_at=NOW - 1), NEW, "r1"), waiting_since=NOW - 299),
                snapshot((group(),), (engine(),), (probe(),)),
            ),
            (rolling(of(serving(), OLD), of(running(), NEW, "r1"), waiting_since=0.0), seen()),
        ],
        ids=[
            "too few failures",
            "blind",
            "blind at the deadline",
            "the old version fails",
            "too early",
            "its gpus have come",
        ],
    )
    def test_it_is_rolled_out_further(self, before: DeploymentMemory, observed: Snapshot) -> None:
        result = stepped(NEW, before, observed)
        assert (result.spec, result.memory.refused, result.memory.failure) == (NEW, None, None)

    def test_failures_of_the_old_version_do_not_count_against_the_new(self) -> None:
        before = rolling(of(serving(ever_ready=True, **EXHAUSTED), OLD), of(serving(), OLD, "r1"))
        spec = replace(IN_PLACE, shape=Shape(2, 1, 2), former=replace(OLD, shape=Shape(2, 1, 2)))
        result = stepped(spec, before, seen("r0"))
        assert result.actions == (StartEngine(EngineName("chat", "r0", 2), NEW.fingerprint),)
        assert result.memory.replicas[0].failures == 0
        assert result.memory.refused is None

    def test_it_is_woken_for_the_deadline_of_its_wait_though_it_serves(self) -> None:
        waits = of(fresh(group_asked_at=NOW), NEW, "r1")
        before = rolling(of(serving(), OLD), waits, waiting_since=NOW - 298)
        assert stepped(NEW, before, snapshot((group(),), (engine(),), (probe(),))).wake_at == NOW + 2


def test_a_change_is_done_when_only_the_new_version_serves() -> None:
    result = stepped(NEW, rolling(of(serving(), NEW, "r1")), seen(there=("r1",)))
    assert result.spec == replace(NEW, former=None)
    assert [(e.kind, e.message) for e in result.events] == [
        ("rollout.done", "chat serves nothing but its new version.")
    ]
    back = stepped(RESTORING, rolling(of(serving(), OLD)), snapshot((group(),), (engine(),), (probe(),)))
    assert back.spec == replace(RESTORING, former=None, restoring=False)
    assert back.events[0].message == "chat serves what was before its change again."


def test_one_that_is_still_drained_to_be_changed_has_not_come_up() -> None:
    drains = replace(of(serving(draining_since=NOW - 1), OLD), version=NEW.fingerprint)
    result = stepped(IN_PLACE, rolling(drains), snapshot((group(),), (engine(),), (probe(),)))
    assert result.spec is IN_PLACE


def test_two_are_not_drained_at_the_same_time() -> None:
    spec = replace(IN_PLACE, shape=Shape(2, 1, 2), former=replace(OLD, shape=Shape(2, 1, 2)))
    first = stepped(spec, rolling(of(serving(), OLD), of(serving(), OLD, "r1")), seen())
    again = stepped(spec, first.memory, seen())
    assert [r.draining_since for r in again.memory.replicas] == [None, NOW]
    assert [backend.engine.replica for backend in again.routes[0].backends] == ["r0"]


class TestRoutes:
    """Each served model name leads to the engines that answer to it, as long as both serve."""

    RENAMED = replace(NEW, served_model_name="large")

    def ways(self, spec: DeploymentSpec, before: DeploymentMemory, *there: str) -> dict[str, list[str]]:
        """The replicas that each name leads to."""
        routes = stepped(spec, before, seen(there=there or ("r0", "r1"))).routes
        return {route.model: [b.engine.replica for b in route.backends] for route in routes}

    def test_both_names_while_both_serve(self) -> None:
        spec = replace(self.RENAMED, shape=Shape(2, 1, 2), former=replace(OLD, shape=Shape(2, 1, 2)))
        before = rolling(of(serving(), OLD), of(serving(), spec, "r1"))
        assert self.ways(spec, before) == {"large": ["r1"], "tiny": ["r0"]}

    def test_the_new_name_waits_while_only_the_old_one_serves(self) -> None:
        before = rolling(of(serving(), OLD), of(fresh(), self.RENAMED, "r1"))
        assert self.ways(self.RENAMED, before, "r0") == {"large": [], "tiny": ["r0"]}

    def test_the_same_name_leads_to_both(self) -> None:
        spec = replace(NEW, shape=Shape(2, 1, 2), former=replace(OLD, shape=Shape(2, 1, 2)))
        before = rolling(of(serving(), OLD), of(serving(), NEW, "r1"))
        assert self.ways(spec, before) == {"tiny": ["r0", "r1"]}

    def test_a_version_between_the_two_answers_to_its_own_name(self) -> None:
        between = replace(OLD, served_model_name="medium", shape=Shape(2, 1, 2))
        spec = replace(NEW, shape=Shape(2, 1, 2), former=replace(OLD, shape=Shape(2, 1, 2), former=between))
        before = rolling(of(serving(), OLD), of(serving(), between, "r1"))
        assert self.ways(spec, before) == {"tiny": ["r0"], "medium": ["r1"]}

    def test_when_the_change_is_done_the_old_name_is_gone(self) -> None:
        result = stepped(self.RENAMED, rolling(of(serving(), self.RENAMED, "r1")), seen(there=("r1",)))
        assert [route.model for route in result.routes] == ["large"]


def test_clients_count_replicas_and_not_versions() -> None:
    waits = of(fresh(), NEW, "r1")
    assert stepped(NEW, rolling(of(serving(), OLD), waits), seen(there=("r0",))).memory.phase == Phase.READY
    two = replace(IN_PLACE, shape=Shape(2, 1, 2), former=replace(OLD, shape=Shape(2, 1, 2)))
    before = rolling(of(serving(), OLD), of(running(), NEW, "r1"))
    starting = tuple(e for e in seen().probes if e.name.replica == "r0")
    assert stepped(two, before, replace(seen(), probes=starting)).memory.phase == Phase.DEGRADED
