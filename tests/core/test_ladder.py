"""When a smaller shape is gone down to, and when the full one is gone up to: by what is there, and where."""

from dataclasses import replace
from typing import Any

import pytest

from elastic_deploy.core.facts import Index
from elastic_deploy.core.ladder import laddered
from elastic_deploy.model.memory import Lowered
from elastic_deploy.model.pool import Pool
from elastic_deploy.model.shape import Shape
from elastic_deploy.model.snapshot import NodeSeen, NodeState
from elastic_deploy.model.spec import DeploymentSpec

from .scenes import NOW, SPEC, deployment, fresh, snapshot

RUNG = Shape(2, 1, 1)
ONE = replace(SPEC, shape=Shape(4, 1, 1), rungs=(RUNG,), degrade_after=20.0)
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
