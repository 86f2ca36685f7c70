"""Ways to wait for GPUs, as settings of our own spec, and the fleet that waits: 100 nodes in 14 replicas."""

from collections.abc import Iterable
from dataclasses import replace

from elastic_deploy.model.pool import Pool
from elastic_deploy.model.rung import Rung
from elastic_deploy.model.shape import Shape
from elastic_deploy.model.spec import ClusterSpec, DeploymentSpec
from elastic_deploy.planning.request import PARTIAL_TIMEOUT

from .capacity_histories import KINDS

POOLS = tuple(Pool(kind.name, (f"gpu-{kind.name}",), kind.slots) for kind in KINDS)
GANGS = {"huge": Shape(1, 16, 1), "large": Shape(1, 12, 2), "medium": Shape(1, 8, 4), "small": Shape(1, 4, 7)}
"""Each deployment's shape: 100 GPUs in all, one a node. Pipeline stages are nodes here."""

PLAIN, REFUSALS, POOLED, LADDER = "first pool only", "pools, by refusals", "ours", "ours, --min-gpus"
"""The plain policy waits in the first pool for as long as it takes. The next leaves a pool for the next only when the
cloud refuses all of a gang there. Ours are the defaults of `up` with several pools; the last also serves on half."""

STEP_TIMEOUT = 900.0
"""Seconds: the default of `--step-timeout`."""

POOL_TIMEOUT = 600.0
"""Seconds: the default of `--pool-timeout`."""

POLICIES = (PLAIN, REFUSALS, POOLED, LADDER)


def fleet(policy: str) -> ClusterSpec:
    """What is wanted, waited for in a policy's way."""
    return ClusterSpec(tuple(_deployments(policy)))


def _deployments(policy: str) -> Iterable[DeploymentSpec]:
    prices = tuple((f"gpu-{kind.name}", kind.usd_per_hour) for kind in KINDS)
    for name, shape in GANGS.items():
        plain = DeploymentSpec(name, "model", name, shape, wait_timeout=None, pools=POOLS[:1], prices=prices)
        if policy == PLAIN:
            yield plain
        elif policy == REFUSALS:
            yield replace(plain, pools=POOLS)
        else:
            rungs = tuple(
                Rung(Shape(1, n, 1)) for n in range(shape.gpus_per_replica - 1, shape.gpus_per_replica // 2 - 1, -1)
            )
            yield replace(
                plain,
                pools=POOLS,
                pool_timeout=POOL_TIMEOUT,
                partial_timeout=PARTIAL_TIMEOUT,
                step_timeout=STEP_TIMEOUT,
                rungs=rungs if policy == LADDER else (),
            )
