"""What has changed in the world, told as events: the fold of one snapshot after another.

Pure; called by the supervisor before each decision, so that a decision's event can name what led to it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from elastic_deploy.core.engine_stage import stage_news
from elastic_deploy.core.launches import launch_kind, launch_next, launch_said, setup_kind, setup_next, setup_said
from elastic_deploy.model.duration import clock
from elastic_deploy.model.event import EventDraft
from elastic_deploy.model.names import EngineName, GroupName
from elastic_deploy.model.snapshot import (
    EngineStage,
    GroupSeen,
    GroupState,
    LaunchFailure,
    NodeNotice,
    NodeSeen,
    NodeState,
    SetupStep,
    SetupTrouble,
    Snapshot,
)

DEAD_NODES_SHOWN = 600.0
"""Seconds for which `status` goes on naming a dead node: long enough to look after an alarm."""

REFUSAL_TOLD_AGAIN = 60.0
"""Seconds between events of one kind of refused launch, which the autoscaler tries again every few seconds."""

WITHDRAWN_AFTER = 60.0
"""Seconds for which a node on its way may not be seen before nothing more is expected of it."""


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """A node, and since when it has been in its state. `holds` are the groups of which it has bundles."""

    node: NodeSeen
    since: float
    holds: tuple[GroupName, ...] = ()


@dataclass(frozen=True, slots=True)
class GroupRecord:
    """A placement group's state, and since when."""

    name: GroupName
    id: str
    state: GroupState
    since: float


@dataclass(frozen=True, slots=True)
class Ledger:
    """What was last known of every node and group, of launches and set-ups in trouble, and of the autoscaler's monitor.

    `launch_failures` are the latest told of each kind; `refused_at` is when the latest was, told or not. `notices` are
    the cloud's that were told of; `setup_troubles` are those told, as long as the snapshot has them. `vanished`
    are nodes on their way that are seen no more, and since when.
    """

    nodes: tuple[NodeRecord, ...] = ()
    groups: tuple[GroupRecord, ...] = ()
    launch_failures: tuple[LaunchFailure, ...] = ()
    monitor_alive: bool | None = None
    refused_at: float = 0.0
    notices: tuple[NodeNotice, ...] = ()
    setup_troubles: tuple[SetupTrouble, ...] = ()
    vanished: tuple[NodeRecord, ...] = ()
    stages: tuple[tuple[EngineName, EngineStage], ...] = ()
    """How far the starts of the engines that run have come."""


_COMING = (NodeState.ASKED, NodeState.LAUNCHING)
_WORDS = {
    NodeState.ASKED: ("node.asked", "was asked of the cloud"),
    NodeState.LAUNCHING: ("node.launching", "is being launched"),
    NodeState.JOINED: ("node.joined", "has joined the cluster"),
    NodeState.DRAINING: ("node.draining", "is being drained"),
    NodeState.DEAD: ("node.lost", "is lost"),
}

_CURRENT = {
    NodeState.DEAD: 0,
    NodeState.ASKED: 1,
    NodeState.LAUNCHING: 2,
    NodeState.DRAINING: 3,
    NodeState.JOINED: 3,
}
"""Which of several sightings of one node holds: the autoscaler's are some seconds old, and Ray lists the dead too."""


def _node_event(node: NodeSeen) -> EventDraft | None:
    """What is told of a node that has come into its state; nothing of the head, on which all this runs."""
    if node.is_head:
        return None
    kind, words = _WORDS[node.state]
    gpus = f", {node.gpus} GPU{'s' if node.gpus != 1 else ''}" if node.gpus else ""
    detail = f": {node.detail}" if node.detail else "."
    return EventDraft(
        kind,
        f"Node {node.id} ({node.type or 'type unknown'}{gpus}) {words}{detail}",
        node=node.id,
        subject=f"node:{node.id}",
        because="request" if node.state in (NodeState.ASKED, NodeState.LAUNCHING) else "",
        data={"node_type": node.type, "gpus": node.gpus},
    )


_STEP_WORDS = {
    SetupStep.SSH: "runs, and its SSH is awaited",
    SetupStep.FILES: "answers SSH, and gets its files",
    SetupStep.SETUP: "is being set up",
}


def _step_event(node: NodeSeen, before: NodeSeen | None) -> list[EventDraft]:
    """What is told of a launching node whose set-up has come further."""
    if node.step is None or node.state is not NodeState.LAUNCHING or (before is not None and before.step is node.step):
        return []
    message = f"Node {node.id} ({node.type or 'type unknown'}) {_STEP_WORDS[node.step]}."
    subject = f"node:{node.id}"
    data = {"node_type": node.type}
    return [EventDraft(f"node.{node.step}", message, node=node.id, subject=subject, because=subject, data=data)]


def _vanished(
    before: tuple[NodeRecord, ...], gone: Iterable[NodeRecord], come: Iterable[NodeSeen], now: float
) -> tuple[tuple[NodeRecord, ...], list[EventDraft]]:
    """The nodes that were on their way and are seen no more, and an event for each that nothing has come of.

    What the autoscaler asks for has no id of the cloud's yet: one that has vanished while another of its type has come
    is that one. And between the cloud's giving a node and its joining it may not be seen for a while.
    """
    missing = [*before, *(replace(r, since=now) for r in gone if r.node.state in _COMING)]
    for node in come:
        same = next((r for r in missing if r.node.id == node.id), None)
        if same is None and node.state is not NodeState.ASKED:
            same = next((r for r in missing if r.node.type == node.type), None)
        if same is not None:
            missing.remove(same)
    late = [record.node for record in missing if now - record.since >= WITHDRAWN_AFTER]
    events = [
        EventDraft(
            "node.withdrawn",
            f"Node {node.id} ({node.type or 'type unknown'}) is on its way no more.",
            node=node.id,
            subject=f"node:{node.id}",
            because=f"node:{node.id}",
            data={"node_type": node.type},
        )
        for node in late
    ]
    return tuple(record for record in missing if now - record.since < WITHDRAWN_AFTER), events


def _placed(nodes: tuple[NodeRecord, ...], snapshot: Snapshot) -> tuple[tuple[NodeRecord, ...], list[EventDraft]]:
    """The nodes with the groups of which they hold bundles, and an event for each that has got one."""
    if snapshot.groups.value is None:
        return nodes, []
    held: dict[str, dict[GroupName, int]] = {}
    for group in snapshot.groups.value:
        for ray_id in group.bundle_nodes if group.state is not GroupState.REMOVED else ():
            bundles = held.setdefault(ray_id, {})
            bundles[group.name] = bundles.get(group.name, 0) + 1
    records, events = [], []
    for record in nodes:
        bundles = held.get(record.node.ray_id, {}) if record.node.ray_id and _is_up(record.node) else {}
        for name in sorted(bundles.keys() - set(record.holds)):
            events.append(_placed_event(record.node, name, bundles[name]))
        holds = tuple(sorted(bundles))
        records.append(record if holds == record.holds else replace(record, holds=holds))
    return tuple(records), events


def _placed_event(node: NodeSeen, name: GroupName, bundles: int) -> EventDraft:
    count = f"{bundles} bundle{'s' if bundles != 1 else ''}"
    message = f"Node {node.id} ({node.type or 'type unknown'}) holds {count} of {name.deployment}/{name.replica}."
    # A subject of its own: what becomes of the node later comes of other things than of this.
    return EventDraft(
        "node.placed",
        message,
        name.deployment,
        name.replica,
        node=node.id,
        subject=f"placed:{node.id}",
        because=f"node:{node.id}",
        data={"node_type": node.type, "bundles": bundles},
    )


def _sightings(ledger: Ledger, nodes: Iterable[NodeSeen]) -> dict[str, NodeSeen]:
    """The nodes by id. Machines that keep their id when their raylet is started again are seen more than once."""
    known = {record.node.id: record.node.ray_id for record in ledger.nodes}
    found: dict[str, NodeSeen] = {}
    for node in nodes:
        other = found.get(node.id)
        if other is None or _currency(node, known) > _currency(other, known):
            found[node.id] = node
    return found


def _currency(node: NodeSeen, known: dict[str, str]) -> tuple[int, bool]:
    return _CURRENT[node.state], node.ray_id == known.get(node.id)


def _nodes(
    ledger: Ledger, snapshot: Snapshot
) -> tuple[tuple[NodeRecord, ...], tuple[NodeRecord, ...], list[EventDraft]]:
    if snapshot.nodes.value is None:
        return ledger.nodes, ledger.vanished, []
    old = {record.node.id: record for record in ledger.nodes}
    records: list[NodeRecord] = []
    events: list[EventDraft | None] = []
    come: list[NodeSeen] = []
    for node in _sightings(ledger, snapshot.nodes.value).values():
        before = old.pop(node.id, None)
        reborn = before is not None and _is_up(before.node) and _is_up(node) and before.node.ray_id != node.ray_id
        if before is not None and before.node.state is node.state and not reborn:
            records.append(before if before.node == node else replace(before, node=node))
            events += _step_event(node, before.node)
            continue
        if before is None and node.state is NodeState.DEAD:
            continue  # it died before anyone looked: nothing was lost that this journal knew of
        records.append(NodeRecord(node, snapshot.at))
        if before is not None and reborn:
            events.append(_node_event(_dead(before.node, "its raylet ended, and another has been started on it")))
        events.append(_node_event(node))
        events += _step_event(node, None)
        if before is None:
            come.append(node)
    vanished, withdrawn = _vanished(ledger.vanished, old.values(), come, snapshot.at)
    for record in old.values():
        if _is_up(record.node):
            gone = _dead(record.node, "it has left Ray's list of nodes")
            records.append(NodeRecord(gone, snapshot.at))
            events.append(_node_event(gone))
        elif record.node.state is NodeState.DEAD:
            records.append(record)
    shown = [r for r in records if r.node.state is not NodeState.DEAD or snapshot.at - r.since < DEAD_NODES_SHOWN]
    return tuple(shown), vanished, [*(event for event in events if event is not None), *withdrawn]


def _is_up(node: NodeSeen) -> bool:
    return node.state in (NodeState.JOINED, NodeState.DRAINING)


def _dead(node: NodeSeen, detail: str) -> NodeSeen:
    return replace(node, state=NodeState.DEAD, detail=detail, suspect=False)


def _groups(
    ledger: Ledger, snapshot: Snapshot, nodes: tuple[NodeRecord, ...]
) -> tuple[tuple[GroupRecord, ...], list[EventDraft]]:
    if snapshot.groups.value is None:
        return ledger.groups, []
    old = {record.id: record for record in ledger.groups}
    dead = {record.node.ray_id: record.node.id for record in nodes if record.node.state is NodeState.DEAD}
    records, events = [], []
    for group in snapshot.groups.value:
        if group.state is GroupState.REMOVED:
            continue
        before = old.get(group.id)
        if before is not None and before.state is group.state:
            records.append(before)
            continue
        records.append(GroupRecord(group.name, group.id, group.state, snapshot.at))
        if before is not None and group.state is GroupState.RESCHEDULING:
            events.append(_group_event(group, dead))
    return tuple(records), events


def _group_event(group: GroupSeen, dead: dict[str, str]) -> EventDraft:
    name = group.name
    lost = next((dead[ray_id] for ray_id in group.bundle_nodes if ray_id in dead), "")
    return EventDraft(
        "group.rescheduling",
        f"The placement group of {name.deployment}/{name.replica} has lost a node: Ray places it anew.",
        name.deployment,
        name.replica,
        subject=str(name),
        because=f"node:{lost}" if lost else "",
    )


def _launches(ledger: Ledger, snapshot: Snapshot) -> tuple[tuple[LaunchFailure, ...], float, list[EventDraft]]:
    """The refusals told of late, when the latest was, and an event for each that has to be told now.

    One kind is a node type, a code and an outcome: in the words that come with it the cloud may number its answers.
    """
    fresh = sorted((f for f in snapshot.launch_failures if f.at > ledger.refused_at), key=lambda f: f.at)
    told = {_kind(f): f for f in ledger.launch_failures if snapshot.at - f.at < REFUSAL_TOLD_AGAIN}
    events = []
    for failure in fresh:
        before = told.get(_kind(failure))
        if before is None or failure.at - before.at >= REFUSAL_TOLD_AGAIN:
            told[_kind(failure)] = failure
            events.append(_launch_event(failure))
    return tuple(told.values()), fresh[-1].at if fresh else ledger.refused_at, events


def _kind(failure: LaunchFailure) -> tuple[str, str, str]:
    return failure.node_type, failure.code, failure.outcome.value


def _launch_event(failure: LaunchFailure) -> EventDraft:
    return EventDraft(
        launch_kind(failure),
        f"{launch_said(failure)}. {launch_next(failure)}",
        subject=f"launch:{failure.node_type}",
        because="request",
        data={
            "code": failure.code,
            "node_type": failure.node_type,
            "count": failure.count,
            "came": failure.came,
            "zones": list(failure.zones),
        },
    )


def _setups(ledger: Ledger, snapshot: Snapshot) -> tuple[tuple[SetupTrouble, ...], list[EventDraft]]:
    """The set-ups in trouble that were told, and an event for each new one.

    A node that fails again as it failed before is not told of again until it is given up.
    """
    told = {_trouble_kind(trouble) for trouble in ledger.setup_troubles}
    kept, events = [], []
    for trouble in sorted(snapshot.setup_troubles, key=lambda trouble: trouble.at):
        kept.append(trouble)
        if _trouble_kind(trouble) not in told:
            told.add(_trouble_kind(trouble))
            events.append(_setup_event(trouble, snapshot.at))
    return tuple(kept), events


def _trouble_kind(trouble: SetupTrouble) -> tuple[str, str, str, str]:
    # SSH's own words come later than the first sight of a node that does not answer, and are no news.
    words = "" if trouble.step == "SSH" else trouble.message
    return trouble.node, trouble.state.value, trouble.step, words


def _setup_event(trouble: SetupTrouble, now: float) -> EventDraft:
    return EventDraft(
        setup_kind(trouble),
        f"{setup_said(trouble, now)}. {setup_next(trouble)}",
        node=trouble.node,
        subject=f"node:{trouble.node}",
        because=f"node:{trouble.node}",
        data={"node_type": trouble.node_type, "address": trouble.address, "step": trouble.step},
    )


def _notices(ledger: Ledger, notices: tuple[NodeNotice, ...], nodes: tuple[NodeRecord, ...]) -> list[EventDraft]:
    """An event for each notice that was not told of."""
    names = {record.node.ray_id: record.node.id for record in nodes if record.node.ray_id}
    known = {(one.node, one.kind) for one in ledger.notices}
    fresh = [one for one in notices if (one.node, one.kind) not in known]
    return [_notice_event(notice, names.get(notice.node, notice.node)) for notice in fresh]


def _notice_event(notice: NodeNotice, node: str) -> EventDraft:
    if notice.deadline is None:
        message = f"The cloud says that node {node} is likelier than usual to be taken ({notice.kind.value})."
    else:
        message = f"The cloud takes node {node} at {clock(notice.deadline)} ({notice.kind.value})."
    data = {"notice": notice.kind.value, "deadline": notice.deadline}
    return EventDraft("node.notice", message, node=node, subject=f"node:{node}", data=data)


def _monitor(ledger: Ledger, snapshot: Snapshot) -> tuple[bool | None, list[EventDraft]]:
    alive = snapshot.monitor_alive.value
    if alive is None or alive is ledger.monitor_alive:
        return ledger.monitor_alive, []
    if not alive:
        message = (
            "Ray's autoscaler (its monitor process on the head) has died; no node is launched until it runs again."
        )
        return alive, [EventDraft("autoscaler.lost", message, subject="autoscaler")]
    if ledger.monitor_alive is False:
        message = "Ray's autoscaler runs again."
        return alive, [EventDraft("autoscaler.back", message, subject="autoscaler", because="autoscaler")]
    return alive, []


def advance(ledger: Ledger, snapshot: Snapshot) -> tuple[Ledger, tuple[EventDraft, ...]]:
    """The ledger after a snapshot, and what has changed since the one before. What is unknown has not changed."""
    nodes, vanished, node_events = _nodes(ledger, snapshot)
    nodes, placed = _placed(nodes, snapshot)
    groups, group_events = _groups(ledger, snapshot, nodes)
    failures, refused_at, launch_events = _launches(ledger, snapshot)
    setups, setup_events = _setups(ledger, snapshot)
    monitor_alive, monitor_events = _monitor(ledger, snapshot)
    stages, started = stage_news(ledger.stages, snapshot)
    after = Ledger(nodes, groups, failures, monitor_alive, refused_at, snapshot.notices, setups, vanished, stages)
    told = _notices(ledger, snapshot.notices, nodes)
    # What becomes of a node after its notice comes of that.
    noticed = {
        f"node:{record.node.id}" for record in nodes for one in snapshot.notices if one.node == record.node.ray_id
    }
    node_events = [replace(e, because=e.subject) if e.subject in noticed else e for e in node_events]
    changed = (*launch_events, *setup_events, *monitor_events, *told, *node_events, *placed, *group_events)
    return after, (*changed, *started)
