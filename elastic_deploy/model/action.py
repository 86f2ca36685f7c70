"""What a decision asks the edge to do: plain values, carried out by `runtime.apply`, compared as lists in tests.

Every action may be given twice without harm: the edge finds things by name before it makes or ends them.
"""

from dataclasses import dataclass

from elastic_deploy.model.names import EngineName, GroupName
from elastic_deploy.model.shape import Bundle


@dataclass(frozen=True, slots=True)
class RequestResources:
    """Make `bundles` the cluster's one standing request to the autoscaler; empty clears it."""

    bundles: tuple[Bundle, ...]


@dataclass(frozen=True, slots=True)
class CreatePlacementGroup:
    """Make the detached group of a replica."""

    name: GroupName
    bundles: tuple[dict[str, float], ...]
    labels: tuple[tuple[str, str], ...] = ()
    """Those that the node of each bundle must have."""


@dataclass(frozen=True, slots=True)
class RemovePlacementGroup:
    """Remove a group, and with it every Ray actor that still runs in it."""

    name: GroupName


@dataclass(frozen=True, slots=True)
class StartEngine:
    """Start a replica's next engine in its group, to serve what the spec of the fingerprint `version` says."""

    name: EngineName
    version: str


@dataclass(frozen=True, slots=True)
class EndEngine:
    """End an engine for sure: its actor, and every process that it left on the nodes in `nodes` (Ray node ids)."""

    name: EngineName
    nodes: tuple[str, ...]
    why: str


@dataclass(frozen=True, slots=True)
class Backend:
    """One proven engine behind the front door.

    `version` says what it serves, as a spec's fingerprint does: only an engine of the same one may go on in the middle
    of another's answer. "" is one like all others of its kind.
    """

    engine: EngineName
    address: str
    version: str = ""


@dataclass(frozen=True, slots=True)
class RouteEntry:
    """Where requests for one served model name go. Without backends they wait, or are refused with `reason`."""

    model: str
    deployment: str
    backends: tuple[Backend, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Route:
    """Make `entries` the front door's routing table."""

    entries: tuple[RouteEntry, ...]


@dataclass(frozen=True, slots=True)
class DrainNode:
    """Tell Ray that a node (`name`, Ray's id) goes at `deadline`: nothing new is placed on it, what runs goes on.

    The autoscaler counts it no more, so that a standing request brings its replacement at once. `if_idle`: only where
    nothing runs on it or is placed there; who else uses it keeps it.
    """

    name: str
    deadline: float
    why: str
    if_idle: bool = False


Action = RequestResources | CreatePlacementGroup | RemovePlacementGroup | StartEngine | EndEngine | Route | DrainNode
