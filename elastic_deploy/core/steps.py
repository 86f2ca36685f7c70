"""The steps that every node and every replica went through, from a journal's events: what, since when, until when.

Pure; the fold behind `status`'s ledger (`core.waiting`), `explain` (`core.outlook`) and the timeline
(`core.timeline`). It reads journals of older versions too, which tell of fewer steps.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

Event = Mapping[str, Any]


class Kind(StrEnum):
    """What a track is about."""

    NODE = "node"
    REPLICA = "replica"


AT_REST = ("placed", "ready")
"""Steps in which nothing is waited for."""

ON_THE_WAY = ("asked", "launching", "ssh", "files", "setup")
"""The steps of a node before it has joined, in their order."""

STARTING = ("starting", "weights", "engine")
"""The steps of a replica from its engine's start until it generates: its processes, its weights, making it ready. An
engine of which nobody knows how far it is stays in the first."""


@dataclass(frozen=True, slots=True)
class Step:
    """A node or a replica was in this step since a time; `until` is None as long as it is.

    `passed`: the next step followed. One that was cut short tells nothing of how long it takes.
    """

    name: str
    since: float
    until: float | None = None
    passed: bool = False


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that befell it at a time."""

    at: float
    kind: str
    message: str


@dataclass(frozen=True, slots=True)
class Refusals:
    """The cloud's refusals of what was asked: how many were told, and the latest, `at`, with its code and words."""

    at: float
    code: str
    message: str
    times: int


@dataclass(frozen=True, slots=True)
class Track:
    """One node or replica (`deployment/replica`). `over`: nothing more will come of it.

    `replicas` are those of which a node has held bundles.
    """

    kind: Kind
    name: str
    node_type: str
    steps: tuple[Step, ...]
    marks: tuple[Mark, ...] = ()
    replicas: tuple[str, ...] = ()
    refusals: Refusals | None = None
    over: bool = False

    @property
    def since(self) -> float:
        """When its first step began."""
        return self.steps[0].since


@dataclass(slots=True)
class _Open:
    """A track that grows."""

    kind: Kind
    name: str
    node_type: str
    steps: list[Step]
    marks: list[Mark] = field(default_factory=list)
    replicas: list[str] = field(default_factory=list)
    refusals: Refusals | None = None
    over: bool = False

    @property
    def step(self) -> str:
        return self.steps[-1].name

    def enter(self, name: str, at: float) -> None:
        last = self.steps[-1]
        if last.name == name and last.until is None:
            return
        if last.until is None:
            self.steps[-1] = Step(last.name, last.since, max(last.since, at), passed=_is_further(last.name, name))
        self.steps.append(Step(name, at))
        self.over = False

    def end(self, at: float, *, over: bool = True) -> None:
        last = self.steps[-1]
        if last.until is None:
            self.steps[-1] = Step(last.name, last.since, max(last.since, at))
        self.over = over

    def closed(self) -> Track:
        steps, marks = tuple(self.steps), tuple(self.marks)
        return Track(self.kind, self.name, self.node_type, steps, marks, tuple(self.replicas), self.refusals, self.over)


_NODE_STEPS = {
    "node.asked": "asked",
    "node.launching": "launching",
    "node.ssh": "ssh",
    "node.files": "files",
    "node.setup": "setup",
    "node.joined": "joined",
    "node.placed": "placed",
    "node.draining": "draining",
}
_NODE_ENDS = ("node.lost", "node.withdrawn", "node.given_up")
_NODE_MARKS = (
    "node.lost",
    "node.notice",
    "node.given_up",
    "node.setup_failed",
    "node.unreachable",
    "node.distrusted",
    "node.overdue",
)
_REPLICA_STEPS = {
    "pool.left": "resting",
    "group.asked": "gathering",
    "group.rescheduling": "gathering",
    "gang.broken": "gathering",
    "group.ready": "clearing",
    "engine.starting": "starting",
    "engine.weights": "weights",
    "engine.warming": "engine",
    "engine.adopted": "adopted",
    "engine.ready": "ready",
    "engine.draining": "draining",
    "engine.ending": "ending",
    "engine.failed": "pausing",
}
_STAGES = ("engine.weights", "engine.warming")
_ORDERS = (
    (*ON_THE_WAY, "joined", "placed"),
    ("pausing", "gathering", "clearing", *STARTING, "ready"),
)
"""The steps in the order in which all goes well. An engine that was found running is in none of them: when it was
started is not known."""
_REFUSALS = ("launch.failed", "launch.partial", "autoscaler.refused")
_REPLICA_MARKS = ("engine.failed", "recovered", "replica.moving", "group.rescheduling")
_TYPE = re.compile(r"^Node \S+ \((?P<type>[^,)]+)[,)]")
_PROVISIONAL = re.compile(r"^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$|-asked-\d+$")
"""What a node is called before the cloud has named it: by the autoscaler, or by us for one that was asked for."""


class Fold:
    """The fold, as far as events were read: a journal only grows, and need not be read from its beginning each time."""

    def __init__(self) -> None:
        self.all: list[_Open] = []
        self.nodes: dict[str, _Open] = {}
        self.replicas: dict[str, _Open] = {}
        self.refusals: dict[str, Refusals] = {}
        self.at = 0.0
        self.number = 0

    def read(self, events: Iterable[Event]) -> None:
        """Take in the next events; what is none is passed over."""
        for event in events:
            if str(event.get("id", "")).isdecimal() and "time" in event and "kind" in event:
                self._read(event)

    def tracks(self) -> tuple[Track, ...]:
        """What became of every node and replica that was told of, oldest first."""
        return tuple(track.closed() for track in self.all)

    def _read(self, event: Event) -> None:
        kind, at, number = str(event["kind"]), float(event["time"]), int(event["id"])
        if number <= self.number:  # the cluster was launched again: of its former life nothing is left
            self._end_all(self.at)
        self.number = number
        if kind in _NODE_STEPS or kind in _NODE_ENDS or kind in _NODE_MARKS:
            self._node(event, kind, at)
        elif kind in _REFUSALS:
            self._refused(event, at)
        elif kind == "request" and event.get("bundles") == []:
            self._cleared(at)
        elif event.get("deployment"):
            self._replica(event, kind, at)
        self.at = at

    def _end_all(self, at: float) -> None:
        for track in (*self.nodes.values(), *self.replicas.values()):
            track.end(at)
        self.nodes, self.replicas, self.refusals = {}, {}, {}

    def _node(self, event: Event, kind: str, at: float) -> None:
        name = str(event.get("node") or "")
        if not name:
            return
        track = self.nodes.get(name)
        step = _NODE_STEPS.get(kind)
        if step:
            track = self._entered(event, name, step, at)
        if track is None:
            return
        if kind in _NODE_MARKS:
            track.marks.append(Mark(at, kind, str(event["message"])))
        if kind == "node.placed":
            replica = f"{event.get('deployment')}/{event.get('replica')}"
            track.replicas += [replica] if replica not in track.replicas else []
        if kind in _NODE_ENDS:
            track.end(at)
            del self.nodes[name]

    def _entered(self, event: Event, name: str, step: str, at: float) -> _Open:
        """The node's track, in its step; a node on its way is known by other names before the cloud names it."""
        type_ = _node_type(event)
        track = self.nodes.get(name)
        if track is None and step not in ("asked", "draining"):
            track = next(
                (
                    open_
                    for open_ in self.nodes.values()
                    if open_.node_type == type_
                    and _PROVISIONAL.search(open_.name)
                    and _comes_before(open_.step, step, name)
                ),
                None,
            )
            if track is not None:
                self._rename(track, name)
        elif track is not None and step == "asked":
            track.end(at)  # the place in the line is the same, the node that is asked for another
            track = None
        if track is None:
            track = _Open(Kind.NODE, name, type_, [Step(step, at)], refusals=self._refusals_of(type_, step))
            self.nodes[name] = track
            self.all.append(track)
        else:
            # A node that holds bundles of another replica beside has not come further.
            track.enter(step, at)
            if step != "asked":
                self.refusals.pop(type_, None)
        return track

    def _rename(self, track: _Open, name: str) -> None:
        """Give a track the node's own name. Those that are asked for are numbered anew for each look: they move up."""
        line = [t for t in self.nodes.values() if t.node_type == track.node_type and t.step == "asked"]
        behind = line[line.index(track) :] if track in line else [track]
        names = [open_.name for open_ in behind]
        for open_, new in zip(behind, (name, *names), strict=False):
            open_.name = new
        del self.nodes[names[-1]]
        for open_ in behind:
            self.nodes[open_.name] = open_

    def _refusals_of(self, node_type: str, step: str) -> Refusals | None:
        """What was refused of a type since the last node of it was given."""
        return self.refusals.get(node_type) if step == "asked" else self.refusals.pop(node_type, None)

    def _refused(self, event: Event, at: float) -> None:
        type_ = str(event.get("node_type") or "")
        before = self.refusals.get(type_)
        told = Refusals(at, str(event.get("code") or ""), str(event["message"]), before.times + 1 if before else 1)
        self.refusals[type_] = told
        for track in self.nodes.values():
            if track.node_type == type_ and track.step == "asked":
                track.refusals = told
                track.marks.append(Mark(at, str(event["kind"]), told.message))

    def _cleared(self, at: float) -> None:
        """Nothing is asked for any more, so nothing that was will come."""
        self.refusals = {}
        for name, track in list(self.nodes.items()):
            if track.step == "asked":
                track.end(at)
                del self.nodes[name]

    def _replica(self, event: Event, kind: str, at: float) -> None:
        deployment = str(event["deployment"])
        if kind == "phase" and event.get("to") in ("stopped", "failed"):
            for name, track in self.replicas.items():
                if name.startswith(f"{deployment}/") and track.step not in ("draining", "ending"):
                    track.end(at)
            return
        if not event.get("replica"):
            return
        name = f"{deployment}/{event['replica']}"
        known = self.replicas.get(name)
        step = _REPLICA_STEPS.get(kind)
        if kind in _STAGES and (known is None or known.step not in STARTING):
            step = None  # it serves already, or is about to go
        if kind == "engine.ending" and known is not None and known.step == "gathering":
            step = None  # it has lost a node: the engine's end is a part of that wait
        if step and known is None:
            known = _Open(Kind.REPLICA, name, "", [Step(step, at)])
            self.replicas[name] = known
            self.all.append(known)
        elif step and known is not None:
            known.enter(step, at)
        if known is None:
            return
        if kind in _REPLICA_MARKS:
            known.marks.append(Mark(at, kind, str(event["message"])))


def _is_further(step: str, other: str) -> bool:
    """Whether a step was passed, and not cut short, when another began."""
    return any(step in order and other in order and order.index(step) < order.index(other) for order in _ORDERS)


def _comes_before(step: str, other: str, name: str) -> bool:
    """Whether a node in one step may be the one that another name says is in the other."""
    if step not in ON_THE_WAY:
        return False
    if _PROVISIONAL.search(name):
        return step == "asked"
    return other not in ON_THE_WAY or ON_THE_WAY.index(step) <= ON_THE_WAY.index(other)


def _node_type(event: Event) -> str:
    """The node's type; journals of older versions have it in the message alone."""
    if "node_type" in event:
        return str(event["node_type"])
    match = _TYPE.match(str(event.get("message", "")))
    return match["type"] if match else ""


def tracks_of(events: Iterable[Event]) -> tuple[Track, ...]:
    """What became of every node and replica that a journal's events, in their order, tell of; oldest first."""
    fold = Fold()
    fold.read(events)
    return fold.tracks()
