"""The phase of a deployment, derived from its replicas' memories."""

from dataclasses import replace

import pytest

from elastic_deploy.core.phase import phase_of
from elastic_deploy.model.memory import Failure, FailureKind, ReplicaMemory
from elastic_deploy.model.phase import TRANSITIONS, Phase
from elastic_deploy.model.shape import Shape

from .scenes import NOW, SPEC, deployment, fresh, running, serving

WAITS, STARTS, SERVES = fresh(), running(), serving()
RECOVERS = serving(engine_ended=True)
EXHAUSTED = running(engine_ended=True, failures=3)


@pytest.mark.parametrize(
    ("replicas", "waited", "expected"),
    [
        ((), 0, Phase.WAITING),
        ((WAITS,), 0, Phase.WAITING),
        ((STARTS,), 0, Phase.STARTING),
        ((SERVES,), 0, Phase.READY),
        ((replace(SERVES, draining_since=NOW),), 0, Phase.STARTING),
        ((RECOVERS,), 0, Phase.RECOVERING),
        ((RECOVERS,), 9999, Phase.RECOVERING),
        ((replace(RECOVERS, whole_since=None),), 9999, Phase.RECOVERING),
        ((SERVES, SERVES), 0, Phase.READY),
        ((SERVES, WAITS), 299, Phase.WAITING),
        ((SERVES, WAITS), 300, Phase.DEGRADED),
        ((SERVES, STARTS), 9999, Phase.STARTING),
        ((SERVES, EXHAUSTED), 0, Phase.DEGRADED),
        ((SERVES, RECOVERS), 9999, Phase.RECOVERING),
        ((SERVES, replace(RECOVERS, failures=3)), 0, Phase.RECOVERING),
        ((SERVES, RECOVERS, WAITS), 300, Phase.DEGRADED),
        ((RECOVERS, WAITS), 300, Phase.RECOVERING),
        ((STARTS, WAITS), 0, Phase.WAITING),
        ((SERVES, STARTS, WAITS), 0, Phase.WAITING),
    ],
)
def test_phase(replicas: tuple[ReplicaMemory, ...], waited: float, expected: Phase) -> None:
    spec = replace(SPEC, shape=Shape(2, 1, max(1, len(replicas))))
    named = [replace(replica, id=f"r{index}") for index, replica in enumerate(replicas)]
    assert phase_of(spec, deployment(*named, waiting_since=NOW - waited), NOW) is expected


def test_a_replica_that_is_no_longer_wanted_does_not_count() -> None:
    assert phase_of(SPEC, deployment(SERVES, replace(WAITS, id="r1", leaving="fewer")), NOW) is Phase.READY


def test_a_failure_beats_what_runs_and_being_stopped_beats_a_failure() -> None:
    memory = deployment(SERVES, failure=Failure(FailureKind.ENGINE, "no", NOW))
    assert phase_of(SPEC, memory, NOW) is Phase.FAILED
    assert phase_of(replace(SPEC, wanted=False), memory, NOW) is Phase.STOPPED


def test_no_wait_without_a_deadline_is_ever_overdue() -> None:
    spec = replace(SPEC, shape=Shape(2, 1, 2), wait_timeout=None)
    memory = deployment(SERVES, replace(WAITS, id="r1"), waiting_since=0.0)
    assert phase_of(spec, memory, NOW) is Phase.WAITING


def test_every_phase_can_be_left_and_stopped_and_every_edge_says_why() -> None:
    assert {old for old, _ in TRANSITIONS} == set(Phase)
    assert all((phase, Phase.STOPPED) in TRANSITIONS for phase in Phase if phase is not Phase.STOPPED)
    assert all(old is not new and why for (old, new), why in TRANSITIONS.items())
