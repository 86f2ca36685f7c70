"""What the checks on a running cluster find out, before anybody judges it. Values only."""

from dataclasses import dataclass, field
from enum import StrEnum


class Answer(StrEnum):
    """What a port gives a stranger, who has no token and no key."""

    REFUSED = "refused"
    OPEN = "open"
    METRICS = "metrics"
    """It shows its metrics to anybody, as Ray's exporters do with a token too, and nothing else."""
    UNSPOKEN = "unspoken"
    """It takes connections, but speaks neither HTTP nor a gRPC service that we know."""
    UNREACHED = "unreached"


@dataclass(frozen=True, slots=True)
class Listener:
    """A TCP port of one of the cluster's processes that is not on loopback."""

    address: str
    port: int
    process: str


@dataclass(frozen=True, slots=True)
class Knock:
    """What a stranger got at a node's port; `detail` in the protocol's own words."""

    node: str
    listener: Listener
    answer: Answer
    detail: str


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What a node says of itself. Sizes in bytes; None where it could not be found out."""

    node: str
    host_name: str
    resolved: str
    """What the host's own name resolves to, "" for nothing."""
    versions: dict[str, str]
    """Of ray, vllm, elastic-deploy and Python; "" for what is not installed."""
    driver: str
    """NVIDIA's driver, "" without nvidia-smi."""
    cuda: str
    smi_gpus: int | None
    ray_gpus: int
    free_disk: dict[str, int]
    shared_memory: int | None
    open_files: int
    token_auth: bool = True
    """Whether Ray on this node asks for its token."""
    listeners: tuple[Listener, ...] = ()


@dataclass(frozen=True, slots=True)
class Path:
    """A connection from one node to another's port; `error` is "" where it was made."""

    source: str
    target: str
    what: str
    port: int
    error: str = ""


@dataclass(frozen=True, slots=True)
class Link:
    """How fast one node reaches another: seconds there and back, and bytes a second."""

    source: str
    target: str
    latency: float
    bandwidth: float


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """All that was found. `addresses` has every node that Ray takes for alive; `clocks` seconds ahead of the head."""

    addresses: dict[str, str]
    nodes: tuple[NodeFacts, ...] = ()
    dead: dict[str, str] = field(default_factory=dict)
    silent: dict[str, str] = field(default_factory=dict)
    """Nodes that are alive to Ray and did not answer, with why."""
    paths: tuple[Path, ...] = ()
    links: tuple[Link, ...] = ()
    clocks: dict[str, float] = field(default_factory=dict)
    knocks: tuple[Knock, ...] = ()
