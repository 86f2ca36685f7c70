"""What has changed in the world, told as events: the fold of one snapshot after another.

Pure; called by the supervisor before each decision, so that a decision's event can name what led to it.
"""

from dataclasses import dataclass, replace

from elastic_deploy.model.event import EventDraft
from elastic_deploy.model.names import GroupName
from elastic_deploy.model.snapshot import GroupState, LaunchFailure, NodeSeen, NodeState, Snapshot

DEAD_NODES_SHOWN = 600.0
"""Seconds for which `status` goes on naming a dead node: long enough to look after an alarm."""


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """A node, and since when it has been in its state."""

    node: NodeSeen
    since: float


@dataclass(frozen=True, slots=True)
class GroupRecord:
    """A placement group's state, and since when."""

    name: GroupName
    id: str
    state: GroupState
    since: float


@dataclass(frozen=True, slots=True)
class Ledger:
    """What was last known of every node and group, of refused launches, and of the autoscaler's monitor."""

    nodes: tuple[NodeRecord, ...] = ()
    groups: tuple[GroupRecord, ...] = ()
    launch_failures: tuple[LaunchFailure, ...] = ()
    monitor_alive: bool | None = None


_WORDS = {
    NodeState.ASKED: ("node.asked", "was asked of the cloud"),
    NodeState.LAUNCHING: ("node.launching", "is being launched"),
    NodeState.JOINED: ("node.joined", "has joined the cluster"),
    NodeState.DRAINING: ("node.draining", "is being drained"),
    NodeState.DEAD: ("node.lost", "is lost"),
}


def _node_event(node: NodeSeen) -> EventDraft:
    kind, words = _WORDS[node.state]
    gpus = f", {node.gpus} GPU{'s' if node.gpus != 1 else ''}" if node.gpus else ""
    detail = f": {node.detail}" if node.detail else "."
    return EventDraft(
        kind,
        f"Node {node.id} ({node.type or 'type unknown'}{gpus}) {words}{detail}",
        node=node.id,
        subject=f"node:{node.id}",
        because="request" if node.state in (NodeState.ASKED, NodeState.LAUNCHING) else "",
    )


def _nodes(ledger: Ledger, snapshot: Snapshot) -> tuple[tuple[NodeRecord, ...], list[EventDraft]]:
    if snapshot.nodes.value is None:
        return ledger.nodes, []
    old = {record.node.id: record for record in ledger.nodes}
    records, events = [], []
    for node in snapshot.nodes.value:
        before = old.pop(node.id, None)
        if before is not None and before.node.state is node.state:
            records.append(before if before.node == node else replace(before, node=node))
            continue
        if before is None and node.state is NodeState.DEAD:
            continue  # it died before anyone looked: nothing was lost that this journal knew of
        records.append(NodeRecord(node, snapshot.at))
        if not node.is_head:
            events.append(_node_event(node))
    for record in old.values():
        if record.node.state in (NodeState.JOINED, NodeState.DRAINING):
            gone = replace(record.node, state=NodeState.DEAD, detail="it has left Ray's list of nodes")
            records.append(NodeRecord(gone, snapshot.at))
            events.append(_node_event(gone))
        elif record.node.state is NodeState.DEAD:
            records.append(record)
    shown = [r for r in records if r.node.state is not NodeState.DEAD or snapshot.at - r.since < DEAD_NODES_SHOWN]
    return tuple(shown), events


def _groups(ledger: Ledger, snapshot: Snapshot) -> tuple[tuple[GroupRecord, ...], list[EventDraft]]:
    if snapshot.groups.value is None:
        return ledger.groups, []
    old = {record.id: record for record in ledger.groups}
    records, events = [], []
    for group in snapshot.groups.value:
        before = old.get(group.id)
        if before is not None and before.state is group.state:
            records.append(before)
            continue
        if group.state is not GroupState.REMOVED:
            records.append(GroupRecord(group.name, group.id, group.state, snapshot.at))
        if before is not None and group.state is GroupState.RESCHEDULING:
            message = f"The placement group of {group.name.deployment}/{group.name.replica} has lost a node: Ray places it anew."
            names = (group.name.deployment, group.name.replica)
            events.append(EventDraft("group.rescheduling", message, *names, subject=str(group.name)))
    return tuple(records), events


def _launches(ledger: Ledger, snapshot: Snapshot) -> tuple[tuple[LaunchFailure, ...], list[EventDraft]]:
    latest = max((failure.at for failure in ledger.launch_failures), default=0.0)
    fresh = [failure for failure in snapshot.launch_failures if failure.at > latest]
    events = []
    told = {(f.node_type, f.code, f.message) for f in ledger.launch_failures if snapshot.at - f.at < 60}
    for failure in fresh:
        if (failure.node_type, failure.code, failure.message) in told:
            continue  # the autoscaler tries again every few seconds: one event a minute tells as much
        told.add((failure.node_type, failure.code, failure.message))
        message = (
            f"The launch of {failure.count} {failure.node_type} was refused with {failure.code}: {failure.message}"
        )
        data = {"code": failure.code, "node_type": failure.node_type, "count": failure.count}
        events.append(
            EventDraft("launch.failed", message, subject=f"launch:{failure.node_type}", because="request", data=data)
        )
    kept = [f for f in (*ledger.launch_failures, *fresh) if snapshot.at - f.at < DEAD_NODES_SHOWN]
    return tuple(kept[-50:]), events


def _monitor(ledger: Ledger, snapshot: Snapshot) -> tuple[bool | None, list[EventDraft]]:
    alive = snapshot.monitor_alive.value
    if alive is None or alive is ledger.monitor_alive:
        return ledger.monitor_alive, []
    if not alive:
        message = "Ray's autoscaler (its monitor process on the head) has died: it is started again."
        return alive, [EventDraft("autoscaler.lost", message, subject="autoscaler")]
    if ledger.monitor_alive is False:
        message = "Ray's autoscaler runs again."
        return alive, [EventDraft("autoscaler.back", message, subject="autoscaler", because="autoscaler")]
    return alive, []


def advance(ledger: Ledger, snapshot: Snapshot) -> tuple[Ledger, tuple[EventDraft, ...]]:
    """The ledger after a snapshot, and what has changed since the one before. What is unknown has not changed."""
    nodes, node_events = _nodes(ledger, snapshot)
    groups, group_events = _groups(ledger, snapshot)
    failures, launch_events = _launches(ledger, snapshot)
    monitor_alive, monitor_events = _monitor(ledger, snapshot)
    after = Ledger(nodes, groups, failures, monitor_alive)
    return after, (*launch_events, *monitor_events, *node_events, *group_events)
