"""When a smaller shape is gone down to, and when the full one is gone up to: by what is there, and where."""

from dataclasses import replace
from typing import Any

import pytest

from elastic_deploy.core.facts import Index
from elastic_deploy.core.ladder import laddered
from elastic_deploy.model.memory import Lowered, Outage
from elastic_deploy.model.pool import Pool
from elastic_deploy.model.rung import Rung
from elastic_deploy.model.shape import Shape
from elastic_deploy.model.snapshot import NodeSeen, NodeState, Usual
from elastic_deploy.model.spec import DeploymentSpec

from .scenes import NOW, SPEC, deployment, fresh, snapshot

RUNG = Shape(2, 1, 1)
ONE = replace(SPEC, shape=Shape(4, 1, 1), rungs=(Rung(RUNG),), degrade_after=20.0)
POOLED = replace(ONE, pools=(Pool("a", ("gpu-a",)), Pool("b", ("gpu-b",))))
HERE = fresh(pool="a")
LOW = Lowered(RUNG, NOW - 60)


def there(**gpus: int) -> tuple[NodeSeen, ...]:
    """So many nodes of one GPU each in each pool, which nobody's group is on."""
    return tuple(
        NodeSeen(f"i-{pool}{n}", f"gpu-{pool}", NodeState.JOINED, 1, f"{pool}{n}")
        for pool, count in gpus.items()
        for n in range(count)
    )


CASES: dict[str, tuple[DeploymentSpec, Lowered | None, dict[str, int], Shape | None]] = {
    "down to what a part holds": (POOLED, None, {"a": 3}, RUNG),
    "not while there is too little for it": (POOLED, None, {"a": 1}, None),
    "not when all of a replica is there, and about to be placed": (POOLED, None, {"a": 4}, None),
    "up when all is there": (POOLED, LOW, {"a": 4}, None),
    "not up by what is in another pool": (POOLED, LOW, {"a": 3, "b": 1}, RUNG),
    "not up by all of it in a pool where it does not live": (POOLED, LOW, {"a": 3, "b": 4}, RUNG),
    "up by what is anywhere without pools": (ONE, LOW, {"a": 3, "b": 1}, None),
}


@pytest.mark.parametrize(("spec", "low", "gpus", "expected"), CASES.values(), ids=list(CASES))
def test_where_it_stands(
    spec: DeploymentSpec, low: Lowered | None, gpus: dict[str, int], expected: Shape | None
) -> None:
    replica: Any = HERE if spec.pools else fresh()
    seen = Index.of(snapshot(nodes=there(**gpus)))
    after = laddered(spec, deployment(replica, lowered=low), seen, NOW).memory
    assert after is not None
    assert (after.lowered.shape if after.lowered else None) == expected


LOSSES: dict[str, tuple[float | None, Usual, bool]] = {
    "at once, where the nodes take longer than a start": (NOW - 1, Usual(gang=15, start=10), True),
    "not where they come sooner than it would start": (NOW - 1, Usual(gang=10, start=10), False),
    "not where most of the wait is over": (NOW - 8, Usual(gang=15, start=10), False),
    "not where no wait is known": (NOW - 1, Usual(start=10), False),
    "not where no start is known": (NOW - 1, Usual(gang=15), False),
    "not at the first wait, in which nobody is served yet": (None, Usual(gang=15, start=10), False),
    "after its time whatever is usual": (NOW - 21, Usual(gang=5, start=10), True),
}


@pytest.mark.parametrize(("lost_at", "usual", "lowered"), LOSSES.values(), ids=list(LOSSES))
def test_a_loss_is_served_through_smaller_where_that_is_sooner(
    lost_at: float | None, usual: Usual, lowered: bool
) -> None:
    outage = None if lost_at is None else Outage(lost_at, "node i-1 was lost", "node:i-1")
    seen = Index.of(snapshot(nodes=there(a=3), usual=usual))
    footing = laddered(ONE, deployment(fresh(outage=outage), waiting_since=NOW - 5), seen, NOW)
    assert footing.memory is not None
    assert (footing.memory.lowered is not None) is lowered
    if lowered and lost_at == NOW - 1:
        (event,) = footing.events
        assert "not expected for 14s, by what such waits took here, and a start takes 10s" in event.message
    assert footing.holds_partial is not lowered, "what is there is kept for it meanwhile"
