"""What the user wants: the desired state that the CLI hands to the supervisor, and that `decide` works towards."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum

from elastic_deploy.model.pool import ANYWHERE, Pool
from elastic_deploy.model.rung import Rung
from elastic_deploy.model.scaling import Scaling
from elastic_deploy.model.shape import Bundle, Shape

GPU_BUNDLE: dict[str, float] = {"GPU": 1.0}
"""One bundle a GPU, alike in the request and in the group: else Ray's autoscaler counts them twice. No CPU in it, so
that nothing else that runs on a node's CPUs can keep a gang from being placed."""


class OnFailure(StrEnum):
    """What becomes of the GPUs of a deployment that has failed for good."""

    RELEASE = "release"
    KEEP = "keep"


@dataclass(frozen=True, slots=True)
class Canary:
    """How life is proven while an engine serves: one generated token every `period`.

    `period` and `timeout` are seconds; `failures` is how many in a row make a silent engine a dead one.
    """

    period: float = 10.0
    timeout: float = 15.0
    failures: int = 3


@dataclass(frozen=True, slots=True)
class DeploymentSpec:
    """One model to be served, in one shape. All durations are seconds; None waits without a deadline.

    `revision` grows with every explicit change by the user, and when a failed or stopped deployment is applied again:
    former failures are then forgiven and the wait begins anew. Engines are ended for it where `fingerprint` differs.
    """

    name: str
    model: str
    served_model_name: str
    shape: Shape
    revision: int = 1
    engine_arguments: tuple[str, ...] = ()
    wait_timeout: float | None = 1800.0
    engine_start_timeout: float | None = 1800.0
    canary: Canary = field(default_factory=Canary)
    max_engine_failures: int = 3
    on_failure: OnFailure = OnFailure.RELEASE
    wanted: bool = True
    """False once the user has stopped it: nothing of it may go on, and nothing is asked for."""
    drain_timeout: float = 300.0
    """How long an engine that serves may finish what it was asked before it is ended by a change."""
    surge: bool = False
    """Whether the cluster has room for one replica more while a change is rolled out; else replicas are replaced where
    they stand."""
    former: "DeploymentSpec | None" = None
    """What it was before a change that is being rolled out: its engines serve until those of this spec are proven, and
    it is gone back to where they do not come up. Its own `former` is a version between the two that still serves."""
    restoring: bool = False
    """`former` is a change that did not come up, and this is what was before it."""
    pools: tuple[Pool, ...] = ()
    """Where its replicas may live, the best first; empty: anywhere."""
    pool_timeout: float | None = None
    """How long a replica waits in a pool from which nothing comes, before it tries another."""
    partial_timeout: float | None = None
    """How long some of a replica's nodes may be there without the others, before they are released."""
    partial_budget: float | None = None
    """What such nodes may cost, in US dollars, before they are released."""
    prices: tuple[tuple[str, float], ...] = ()
    """US dollars an hour by node type, as the user names them."""
    found_prices: tuple[tuple[str, float], ...] = ()
    """The same as found out for the types that the user names no price for; a finding, which is no part of the wish."""
    prefer_return: bool = False
    """Whether replicas that serve go back to a better pool when that can be asked again."""
    return_after: float = 900.0
    """How long a replica has to have served before that, and between two attempts."""
    step_timeout: float | None = None
    """How long a node may stay in one step on its way to serving, before it is given up."""
    lease: float | None = 600.0
    """How long GPUs are asked for and kept when nobody supervises the cluster any more; None keeps them for ever."""
    idle_timeout: float | None = None
    """After so long without a request its GPUs are released, until the next one comes; None keeps them."""
    rungs: tuple[Rung, ...] = ()
    """The smaller shapes in which it may serve while all of its GPUs cannot be had, the best first."""
    degrade_after: float | None = 600.0
    """How long all of them are waited for before that; None: it never serves smaller."""
    full: Shape | None = None
    """What is wanted, where `shape` is a smaller one in which it serves meanwhile."""
    rung_arguments: tuple[str, ...] = ()
    """What vLLM is given beside, where `shape` is such a one."""
    scaling: Scaling | None = None
    """How the load decides how many replicas there are, up to the shape's; None: always the shape's."""

    @property
    def fingerprint(self) -> str:
        """What an engine of this spec is, in a few characters: engines are replaced when it changes, and only then.

        Replicas, deadlines and canaries are not in it: changing them must not end an engine that serves.
        """
        shape = (self.shape.tensor_parallel, self.shape.pipeline_parallel)
        engine = (self.model, self.served_model_name, shape, self.arguments)
        return hashlib.sha256(json.dumps(engine).encode()).hexdigest()[:16]

    @property
    def arguments(self) -> tuple[str, ...]:
        """All that vLLM is given of the user's arguments."""
        return (*self.engine_arguments, *self.rung_arguments)

    def on(self, rung: Rung) -> "DeploymentSpec":
        """This spec on a rung of its ladder."""
        return replace(self, shape=rung.shape, full=self.shape, rung_arguments=rung.arguments)

    @property
    def bundles_per_replica(self) -> tuple[dict[str, float], ...]:
        """The bundles of one replica's placement group."""
        return (GPU_BUNDLE,) * self.shape.gpus_per_replica

    @property
    def places(self) -> tuple[Pool, ...]:
        """Where its replicas may live, the best first."""
        return self.pools or (ANYWHERE,)

    def place(self, name: str | None) -> Pool | None:
        """The pool of a name; None where it is none of this deployment's."""
        return next((pool for pool in self.places if pool.name == name), None)


@dataclass(frozen=True, slots=True)
class ClusterSpec:
    """All that one cluster's supervisor is asked to keep up."""

    deployments: tuple[DeploymentSpec, ...] = ()


def merged(bundles: Iterable[Bundle]) -> tuple[Bundle, ...]:
    """Equal bundles counted together, in a fixed order, so that equal requests are equal values."""
    counts: Counter[tuple[tuple[tuple[str, float], ...], tuple[tuple[str, str], ...]]] = Counter()
    for bundle in bundles:
        counts[tuple(sorted(bundle.resources.items())), tuple(sorted(bundle.labels.items()))] += bundle.count
    return tuple(
        Bundle(dict(resources), count, dict(labels)) for (resources, labels), count in sorted(counts.items()) if count
    )
