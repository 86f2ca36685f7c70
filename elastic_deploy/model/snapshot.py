"""What was observed, each part with the time when; a probe that failed is *unknown*, never *lost*.

Made by `runtime.observe`, read by `core`. Times are seconds since the epoch, as everywhere.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, TypeVar

from elastic_deploy.model.names import EngineName, GroupName
from elastic_deploy.model.shape import Capacity

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Reading(Generic[T]):
    """One observation: a value, or why there is none. `at` is when it was made."""

    at: float
    value: T | None = None
    error: str = ""

    @property
    def known(self) -> bool:
        """Whether the observation succeeded."""
        return self.value is not None


class NodeState(StrEnum):
    """How far a node has come, as the autoscaler and Ray tell it."""

    ASKED = "asked"
    LAUNCHING = "launching"
    JOINED = "joined"
    DRAINING = "draining"
    DEAD = "dead"


class SetupStep(StrEnum):
    """How far Ray's updater is with a node that the cloud has given: its own tags, `ray-node-status`, in our words."""

    SSH = "ssh"
    FILES = "files"
    SETUP = "setup"


@dataclass(frozen=True, slots=True)
class NodeSeen:
    """One node. `id` is the provider's id where it is known, else Ray's; `ray_id` is set once it has joined.

    `suspect`: its raylet refuses connections though Ray has not declared it dead yet. `joined_at` is when its raylet
    was started, 0 where that is not known. `step` is how far the set-up of a launching node is, as far as it is seen.
    """

    id: str
    type: str
    state: NodeState
    gpus: int = 0
    ray_id: str = ""
    address: str = ""
    detail: str = ""
    is_head: bool = False
    suspect: bool = False
    joined_at: float = 0.0
    step: SetupStep | None = None


class NoticeKind(StrEnum):
    """What a cloud says of a node ahead of time."""

    INTERRUPTION = "spot interruption"
    REBALANCE = "rebalance recommendation"


@dataclass(frozen=True, slots=True)
class NodeNotice:
    """The cloud's notice about one node, by Ray's id. `deadline` is when it takes the node, None where it does not say.

    A rebalance recommendation says that an interruption is more likely than usual, and may never be followed by one.
    """

    node: str
    kind: NoticeKind
    deadline: float | None
    seen_at: float


class GroupState(StrEnum):
    """Ray's states of a placement group."""

    PENDING = "PENDING"
    PREPARED = "PREPARED"
    CREATED = "CREATED"
    RESCHEDULING = "RESCHEDULING"
    REMOVED = "REMOVED"


@dataclass(frozen=True, slots=True)
class GroupSeen:
    """One placement group of ours. `bundle_nodes` holds a Ray node id for each bundle, "" where it is not placed."""

    name: GroupName
    id: str
    state: GroupState
    bundle_nodes: tuple[str, ...] = ()


class EngineState(StrEnum):
    """An engine actor's life. ENDED is ended, whatever it returned."""

    PENDING = "pending"
    RUNNING = "running"
    ENDED = "ended"


class EngineStage(StrEnum):
    """How far the start of an engine is, after its processes: its weights are being loaded, then it is made ready.

    WEIGHTS lasts until the last of its workers has them; ENGINE is memory for the cache, compiling, warming up.
    """

    WEIGHTS = "weights"
    ENGINE = "engine"


@dataclass(frozen=True, slots=True)
class EngineSeen:
    """One engine actor. `address` is the base URL of its server once it has chosen one.

    `swept`: after its end, every node that it used was searched and no process of it is left.
    """

    name: EngineName
    state: EngineState
    node: str = ""
    address: str = ""
    swept: bool = False
    last_words: str = ""
    refused_arguments: bool = False
    """vLLM refused its command line: starting it again cannot help."""
    lost_workers: int = 0
    """How many of vLLM's own worker processes have died though the engine still runs."""
    version: str = ""
    """The fingerprint of the spec that it was started for, "" where nobody knows."""
    stage: EngineStage | None = None
    """How far its start has come; None before its weights, and where vLLM does not tell."""


@dataclass(frozen=True, slots=True)
class ProbeSeen:
    """What generation canaries of one engine have shown.

    `proven_at` is when a real generation last came back, None if none ever did. `failures` counts canaries that have
    failed since; `progressing` says that the engine's own count of generated tokens still grew meanwhile, which is
    an engine that is busy, not one that is dead. `busy` is how many requests it was working on or kept waiting at
    `busy_at`, None where that was not asked or not answered.
    """

    name: EngineName
    proven_at: float | None = None
    failures: int = 0
    progressing: bool = False
    last_error: str = ""
    busy: int | None = None
    busy_at: float = 0.0


class LaunchOutcome(StrEnum):
    """What came of a launch that did not go as asked.

    REFUSED: nothing came. RETRYING: one try was refused, and the next is under way. ELSEWHERE: all came, after one zone
    or more had refused. PARTIAL: fewer came than were asked for. BLIND: none was made, because the autoscaler could not
    even ask what runs.
    """

    REFUSED = "refused"
    RETRYING = "retrying"
    ELSEWHERE = "elsewhere"
    PARTIAL = "partial"
    BLIND = "blind"


@dataclass(frozen=True, slots=True)
class LaunchFailure:
    """A launch that did not go as asked, in the cloud's own words. `at` orders them; equal ones repeat with a new `at`.

    `count` were asked for, `came` came. `zones` are those that the cloud named when it refused, in the order in which
    they were tried. `code` and `message` are empty where it refused nothing, and yet fewer came.
    """

    node_type: str
    count: int
    code: str
    message: str
    at: float
    outcome: LaunchOutcome = LaunchOutcome.REFUSED
    came: int = 0
    zones: tuple[str, ...] = ()


class SetupState(StrEnum):
    """How a node's set-up that is in trouble goes on.

    WAITING: SSH does not answer, and is tried further. RETRYING: a step failed and the set-up is run again. GAVE_UP:
    the node is terminated, and another is asked for.
    """

    WAITING = "waiting"
    RETRYING = "retrying"
    GAVE_UP = "gave_up"


@dataclass(frozen=True, slots=True)
class SetupTrouble:
    """A node that is not being set up as it should. `node` is the cloud's id of it.

    `step` names what fails, for a person; `message` is the last that the failing command said, never the command.
    `since` is when this attempt, the `attempt`-th, began.
    """

    node: str
    node_type: str
    address: str
    step: str
    message: str
    state: SetupState
    attempt: int
    since: float
    at: float


@dataclass(frozen=True, slots=True)
class BrokenPath:
    """What one node of a replica says of another: it cannot connect to it, and why. Both by Ray's id."""

    one: str
    other: str
    why: str


@dataclass(frozen=True, slots=True)
class PathsSeen:
    """What the nodes of a replica said, after its engine failed, when they were asked whether they reach each other.

    `at` is None as long as they are being asked. Of a node that did not answer nothing is known.
    """

    engine: EngineName
    at: float | None = None
    broken: tuple[BrokenPath, ...] = ()


@dataclass(frozen=True, slots=True)
class LoadSeen:
    """What clients ask of a deployment, as the front door counts it, at `at`.

    `running` requests are with an engine, `waiting` ones are held for one. `quiet_for` is how many seconds nobody has
    asked anything, as far as the front door can know: no longer than it has watched. `last_request_ago` is how long
    ago it saw the last request, None where it has seen none. Neither is taken from the wall's clock.
    """

    deployment: str
    at: float
    running: int
    waiting: int
    quiet_for: float
    last_request_ago: float | None = None


@dataclass(frozen=True, slots=True)
class Usual:
    """What took how long here before, in the middle, in seconds; None where nobody knows.

    `gang`: from asking for a gang's nodes, or losing one of them, until all were there. `start`: from an engine's start
    until it generated.
    """

    gang: float | None = None
    start: float | None = None


@dataclass(frozen=True, slots=True)
class ActionFailure:
    """An action of the last decision that could not be carried out: the name of its class, of what, and the error."""

    action: str
    subject: str
    message: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that one decision may know of the world."""

    at: float
    nodes: Reading[tuple[NodeSeen, ...]]
    groups: Reading[tuple[GroupSeen, ...]]
    engines: Reading[tuple[EngineSeen, ...]]
    probes: tuple[ProbeSeen, ...] = ()
    launch_failures: tuple[LaunchFailure, ...] = ()
    monitor_alive: Reading[bool] = field(default_factory=lambda: Reading(0.0))
    action_failures: tuple[ActionFailure, ...] = ()
    notices: tuple[NodeNotice, ...] = ()
    setup_troubles: tuple[SetupTrouble, ...] = ()
    paths: tuple[PathsSeen, ...] = ()
    loads: tuple[LoadSeen, ...] = ()
    """Of the deployments of which the front door has said something; of any other nothing is known."""
    usual: Usual = Usual()
    capacity: Capacity | None = None
    """The cluster's limits as the autoscaler has them now; None where they cannot be read."""
