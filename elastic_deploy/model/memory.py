"""What `decide` remembers from one step to the next: the little that cannot be observed again.

The supervisor writes it to disk whenever it changes, so that one that is killed comes back to where it was.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from elastic_deploy.model.action import RouteEntry
from elastic_deploy.model.shape import Bundle, Shape


class FailureKind(StrEnum):
    """Why a deployment is given up: decides the exit code of the `up` that waits for it."""

    WAIT_TIMEOUT = "wait_timeout"
    ENGINE = "engine"


@dataclass(frozen=True, slots=True)
class Failure:
    """The end of the attempts, in a sentence for a person."""

    kind: FailureKind
    message: str
    at: float


@dataclass(frozen=True, slots=True)
class Outage:
    """A replica is not serving though it once did. `since` is when it was noticed.

    `whole_at` is when its placement group was whole again, `started_at` when the engine that ended it was started.
    """

    since: float
    cause: str
    because: str
    whole_at: float | None = None
    started_at: float | None = None


@dataclass(frozen=True, slots=True)
class Recovery:
    """An outage that ended with a real generation. `seconds` is its whole length."""

    replica: str
    started_at: float
    cause: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Move:
    """The cloud takes `node` (its provider's id), on which a replica has bundles, at `at`; Ray drains it already.

    `gpus` is how many of the replica's bundles are on this and other such nodes.
    """

    node: str
    at: float
    gpus: int


@dataclass(frozen=True, slots=True)
class Distrust:
    """A node on which nothing of a replica is started again: `node` by Ray's id, `name` is its provider's."""

    node: str
    name: str
    why: str
    at: float


@dataclass(frozen=True, slots=True)
class Partial:
    """Some of a replica's nodes are there without the others since `since`; what that has cost until `until`, in USD.

    `gpus` is how many of its GPUs are there.
    """

    since: float
    until: float
    gpus: int
    cost: float = 0.0


@dataclass(frozen=True, slots=True)
class Stay:
    """A node is in one step of its way since `since`, as far as it was seen; `node` is its provider's id.

    `overdue`: it has been there for longer than it may, and that has been said.
    """

    node: str
    node_type: str
    step: str
    since: float
    overdue: bool = False


@dataclass(frozen=True, slots=True)
class Rest:
    """A pool that is not asked before `until`, after `failures` in a row, the last at `since`; `why` is a clause."""

    pool: str
    failures: int
    since: float
    until: float
    why: str


@dataclass(frozen=True, slots=True)
class Returning:
    """An attempt to bring the replica `old` back to the better pool `pool`, begun at `since`; none where `successor`
    is "". The next one is not made before `until`, after `failures` in a row.
    """

    old: str = ""
    successor: str = ""
    pool: str = ""
    since: float = 0.0
    failures: int = 0
    until: float = 0.0


@dataclass(frozen=True, slots=True)
class ReplicaMemory:
    """One replica. `generation` is that of the latest engine asked for (0: none yet).

    `engine_ended`: the end of that engine has been noticed and counted. `failures` counts engines in a row that ended,
    stayed silent or wedged with all nodes well; no engine is started before `retry_at`. `proven_at` is when this
    generation's engine first generated. `members` holds, for each bundle, Ray's id of the node that it was on when
    the group was last whole. `suspected_at` is when an engine ended whose reason may yet turn out to be a node's
    death. `fingerprint` is the spec's that the engine was started for. `adopted`: the engine was found running, and
    when it started is not known; `started_at` is then when it was found.

    `refused`: vLLM refused the arguments of its latest engine, which are not tried again.
    `version` is the fingerprint of the spec that it is to serve, "" where that was not decided yet. `leaving` says why
    it is to go, "" where it is to stay. `draining_since` is when it was taken out of the routing table to finish what
    it had been asked. `pool` is the name of the one in which it lives or waits, "" anywhere, None as long as there is
    none for it; `pool_since` is when its wait there began, None once its gang is whole. `partial` is set while some of
    its nodes are there without the others. `move` is set while a node of its group is about to be taken by the cloud.
    `distrust` is set from when its nodes were found not to reach each other until its next engine is started. `silent`
    has Ray's id of each node once for each engine in a row that was started on it and never spoke; `given_up` is how
    many nodes were drained for that since an engine last spoke. `strikes` is how many nodes of its pool were given up,
    for that or because nothing was placed on them, since an engine last spoke or the replica came to the pool.
    """

    id: str
    generation: int = 0
    revision: int = 0
    started_at: float = 0.0
    engine_ended: bool = False
    proven_at: float | None = None
    ever_ready: bool = False
    failures: int = 0
    retry_at: float = 0.0
    last_words: str = ""
    group_asked_at: float = 0.0
    whole_since: float | None = None
    members: tuple[str, ...] = ()
    suspected_at: float | None = None
    outage: Outage | None = None
    fingerprint: str = ""
    adopted: bool = False
    refused: bool = False
    version: str = ""
    leaving: str = ""
    draining_since: float | None = None
    move: Move | None = None
    distrust: Distrust | None = None
    pool: str | None = ""
    pool_since: float | None = None
    partial: Partial | None = None
    silent: tuple[str, ...] = ()
    given_up: int = 0
    strikes: int = 0

    @property
    def forgiven(self) -> "ReplicaMemory":
        """The replica without its row of failures: what caused them is over, or was another's."""
        return replace(self, failures=0, refused=False, retry_at=0.0)

    @property
    def serves(self) -> bool:
        """Whether its engine has generated and has not been given up since."""
        return self.proven_at is not None and not self.engine_ended


@dataclass(frozen=True, slots=True)
class Scale:
    """How many replicas are wanted by a deployment's load, since when; 0: it sleeps.

    `over_since` is since when there has been more to do than they are meant for, `under_since` since when fewer would
    have been enough, and `peak` how many of those at the most. `woken`: it slept before.
    """

    replicas: int
    since: float
    over_since: float | None = None
    under_since: float | None = None
    peak: int = 0
    woken: bool = False


@dataclass(frozen=True, slots=True)
class Lowered:
    """A deployment that serves, or is to serve, in a smaller shape than is wanted, since `since`.

    While a change between the two shapes is rolled out, `shape` is the one that comes, `former` the one that goes;
    `restoring` is as in a spec. The full shape is not tried again before `retry_at`, after `failures` in a row.
    """

    shape: Shape
    since: float
    former: Shape | None = None
    restoring: bool = False
    failures: int = 0
    retry_at: float = 0.0
    arguments: tuple[str, ...] = ()
    """What vLLM is given beside in the smaller of the shapes."""


@dataclass(frozen=True, slots=True)
class DeploymentMemory:
    """One deployment, as far as `revision` of its spec has been taken up.

    `waiting_since` is when the wait for its GPUs began. `generations` is the highest generation of the engines of
    replicas that are gone: theirs go on from there, so that no two engines ever have the same name. `refused` is why
    the change of this revision was given up, if it was. `rests` are the pools that failed last, `wasted` is what
    nodes cost that were released because the others of their gang did not come, in US dollars. `stays` are the nodes
    whose steps are timed, while a replica waits for them.
    """

    name: str
    revision: int
    waiting_since: float
    replicas: tuple[ReplicaMemory, ...] = ()
    failure: Failure | None = None
    recoveries: tuple[Recovery, ...] = ()
    phase: str = ""
    generations: int = 0
    refused: Failure | None = None
    rests: tuple[Rest, ...] = ()
    wasted: float = 0.0
    lowered: Lowered | None = None
    scale: Scale | None = None
    """How many replicas its load wants, where the load decides; None: as many as its shape has."""
    returning: Returning | None = None
    """How an attempt to go back to a better pool stands, and when the next one may be made."""
    stays: tuple[Stay, ...] = ()
    exhausted: bool = False
    """It has been said that no pool gives anything."""
    never_fits: str = ""
    """Why its GPUs can never be had by the limits that the cluster has now; empty if they can."""

    @property
    def staying(self) -> tuple[ReplicaMemory, ...]:
        """The replicas that are not to go."""
        return tuple(replica for replica in self.replicas if not replica.leaving)


@dataclass(frozen=True, slots=True)
class Memory:
    """All of it: the deployments, and what was last sent to the autoscaler and to the front door."""

    deployments: tuple[DeploymentMemory, ...] = ()
    request: tuple[Bundle, ...] | None = None
    request_sent_at: float = 0.0
    routes: tuple[RouteEntry, ...] | None = None
