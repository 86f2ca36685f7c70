"""When a deployment is expected to serve, by what its cluster's past tells: what Retry-After is made of."""

from dataclasses import replace

import pytest

from elastic_deploy.core.past import Past, expected_at
from elastic_deploy.model.memory import Outage, ReplicaMemory

from .scenes import NOW, deployment, failed, fresh, running, serving

PAST = Past(waits=(20.0, 30.0, 100.0), starts=(40.0, 50.0, 60.0))
"""Middle ones: 30 s for a gang, 50 s for a start."""

LOST = running(engine_ended=True, whole_since=None, ever_ready=True, outage=Outage(NOW - 10, "a node was lost", ""))


@pytest.mark.parametrize(
    ("replicas", "past", "expected"),
    [
        pytest.param((fresh(),), PAST, NOW + 50, id="waited for as long as ever: it may come now"),
        pytest.param((running(),), PAST, NOW + 30, id="started 20 s ago"),
        pytest.param((running(started_at=NOW - 200),), PAST, NOW - 150, id="overdue: that is said as it is"),
        pytest.param((LOST,), PAST, NOW - 10 + 30 + 50, id="a node lost 10 s ago"),
        pytest.param((failed(retry_at=NOW + 4),), PAST, NOW + 54, id="backing off for 4 s"),
        pytest.param((failed(),), PAST, NOW + 50, id="about to be started"),
        pytest.param((fresh(), running(id="r1")), PAST, NOW + 30, id="the first to serve counts"),
        pytest.param((fresh(), serving(id="r1")), PAST, None, id="one serves"),
        pytest.param((serving(leaving="fewer replicas are wanted"), running(id="r1")), PAST, NOW + 30, id="one leaves"),
        pytest.param((fresh(),), replace(PAST, starts=()), None, id="no start is known"),
        pytest.param((fresh(),), replace(PAST, waits=()), None, id="no wait is known"),
        pytest.param((running(),), replace(PAST, waits=()), NOW + 30, id="no wait is known, and none is due"),
        pytest.param((), PAST, None, id="no replica yet"),
    ],
)
def test_when_it_is_expected(replicas: tuple[ReplicaMemory, ...], past: Past, expected: float | None) -> None:
    found = expected_at([deployment(*replicas)], past, NOW)
    assert found == ({} if expected is None else {"chat": expected})
