"""The scripted world in which `decide` runs: machines, engines that start, fail and wedge, and their processes.

It has a clock of its own. `problems` collects what must never happen in it, whatever the supervisor believed.
"""

from dataclasses import dataclass, field, replace

from elastic_deploy.model.action import (
    Action,
    CreatePlacementGroup,
    DrainNode,
    EndEngine,
    RemovePlacementGroup,
    RequestResources,
    Route,
    RouteEntry,
    StartEngine,
)
from elastic_deploy.model.names import EngineName
from elastic_deploy.model.snapshot import (
    BrokenPath,
    EngineSeen,
    EngineStage,
    EngineState,
    GroupState,
    LoadSeen,
    PathsSeen,
    ProbeSeen,
    Reading,
    Snapshot,
    Usual,
)

from .machines import Machines

NEVER = float("inf")
LINGERS = 40.0
"""Seconds for which an ended engine stays in Ray's table."""


@dataclass
class Engine:
    """One engine actor. `hosts` are the nodes on which processes of it run or are left."""

    name: EngineName
    hosts: set[str]
    home: str
    started: float
    generates_at: float
    ends_at: float = NEVER
    wedges_at: float = NEVER
    swept_at: float = NEVER
    words: str = ""
    hopeless: bool = False
    forgotten: bool = False
    version: str = ""
    busy_until: float = 0.0

    def state(self, now: float) -> EngineState:
        """As Ray's table has it."""
        if now >= self.ends_at:
            return EngineState.ENDED
        return EngineState.PENDING if now < self.started + 1 else EngineState.RUNNING

    def stage(self, now: float) -> EngineStage | None:
        """How far its start has come: half of it goes by before its weights, which take half of the rest."""
        start = self.generates_at - self.started
        if self.state(now) is not EngineState.RUNNING or now < self.started + start / 2:
            return None
        return EngineStage.WEIGHTS if now < self.started + 3 * start / 4 else EngineStage.ENGINE

    def generates(self, now: float) -> bool:
        """Whether a request would be answered."""
        return self.generates_at <= now < min(self.ends_at, self.wedges_at)


@dataclass
class World:
    """All of it, at `now`."""

    machines: Machines
    now: float = 1000.0
    startup: float = 6.0
    sweep: float = 1.0
    notice: float = 2.0
    engines: dict[EngineName, Engine] = field(default_factory=dict)
    routes: tuple[RouteEntry, ...] = ()
    blind_until: dict[str, float] = field(default_factory=dict)
    failing_starts: int = 0
    hopeless_starts: int = 0
    wedging_deaths: bool = False
    bad_versions: set[str] = field(default_factory=set)
    mute: set[str] = field(default_factory=set)  # nodes on which no engine ever speaks
    problems: list[str] = field(default_factory=list)
    loads: tuple[LoadSeen, ...] = ()
    usual: Usual = field(default_factory=Usual)

    def advance(self, seconds: float = 1.0) -> None:
        """Let time pass."""
        self.now += seconds
        self.machines.advance(self.now)
        for engine in self.engines.values():
            self._suffer(engine)
            if self.now >= engine.swept_at:
                engine.hosts.clear()
        gone = [n for n, e in self.engines.items() if e.forgotten or self.now >= max(e.ends_at, e.swept_at) + LINGERS]
        for name in gone:
            del self.engines[name]

    def _suffer(self, engine: Engine) -> None:
        """A member's death ends an engine some seconds later, mostly before Ray knows; its own host's at once."""
        if self.machines.is_cut(engine.hosts):
            engine.wedges_at = min(engine.wedges_at, self.now)
        dead = {host for host in engine.hosts if not self.machines.nodes[host].runs(self.now)}
        if not dead:
            return
        engine.hosts -= dead
        if engine.home in dead:
            engine.ends_at = min(engine.ends_at, self.now)
        elif self.wedging_deaths:
            engine.wedges_at = min(engine.wedges_at, self.now)
        else:
            engine.ends_at = min(engine.ends_at, self.now + self.notice)

    def is_well(self, engine: Engine) -> bool:
        """Whether nothing at all is wrong with an engine, nor with a node of it."""
        group = self.machines.groups.get(engine.name.group)
        return (
            self.now < min(engine.ends_at, engine.wedges_at)
            and not engine.hosts & self.mute
            and group is not None
            and group.state is GroupState.CREATED
            and set(group.nodes) == engine.hosts
            and all(self.machines.nodes[host].runs(self.now) for host in engine.hosts)
        )

    def paths(self, wanted: dict[EngineName, tuple[str, ...]]) -> tuple[PathsSeen, ...]:
        """What the nodes of failed engines say of each other, at once or a second later."""
        if int(self.now) % 2:
            return tuple(PathsSeen(name) for name in wanted)
        found = []
        for name, nodes in wanted.items():
            alive = [node for node in nodes if node in self.machines.nodes and self.machines.nodes[node].runs(self.now)]
            pairs = [(one, other) for one in alive for other in nodes if one != other]
            broken = [pair for pair in pairs if self.machines.is_cut(pair) or pair[1] not in alive]
            found.append(PathsSeen(name, self.now, tuple(BrokenPath(*pair, "no answer") for pair in broken)))
        return tuple(found)

    def snapshot(self) -> Snapshot:
        """What an observer sees now."""
        table = [engine for engine in self.engines.values() if not engine.forgotten]
        engines = tuple(
            EngineSeen(
                e.name,
                e.state(self.now),
                e.home,
                f"http://{e.home}:8000/{e.name.generation}" if self.now >= e.started + 1 else "",
                swept=self.now >= max(e.ends_at, e.swept_at),
                last_words=e.words,
                refused_arguments=e.hopeless,
                version=e.version,
                stage=e.stage(self.now),
            )
            for e in table
        )
        return Snapshot(
            at=self.now,
            nodes=self._reading("nodes", self.machines.seen_nodes(self.now, lambda n: self.now - n.dies_at >= 1)),
            groups=self._reading("groups", self.machines.seen_groups()),
            engines=self._reading("engines", engines),
            probes=tuple(self._probe(e) for e in table if self.now >= e.generates_at),
            launch_failures=tuple(self.machines.refusals),
            monitor_alive=Reading(self.now, self.now >= self.machines.monitor_dead_until),
            notices=self.machines.notices(self.now),
            loads=tuple(replace(load, at=self.now) for load in self.loads),
            usual=self.usual,
        )

    def _reading(self, what: str, value: tuple) -> Reading:  # type: ignore[type-arg]
        if self.now < self.blind_until.get(what, 0.0):
            return Reading(self.now, error="no answer within 15 s")
        return Reading(self.now, value)

    def _probe(self, engine: Engine) -> ProbeSeen:
        silent = max(0.0, self.now - min(engine.wedges_at, engine.ends_at))
        first = min(engine.wedges_at, engine.ends_at) > engine.generates_at
        counts = first and not silent
        return ProbeSeen(
            engine.name,
            self.now - silent if first else None,
            failures=int(silent // 3),
            busy=int(self.now < engine.busy_until) if counts else None,
            busy_at=self.now if counts else 0.0,
        )

    def carry_out(self, action: Action) -> None:
        """What the edge does with an action. Doing it twice does no harm."""
        match action:
            case RequestResources(bundles):
                self.machines.requests = {bundle.labels.get("pool", ""): bundle.count for bundle in bundles}
            case CreatePlacementGroup(name, bundles, labels):
                self.machines.create(name, len(bundles), dict(labels).get("pool", ""))
            case RemovePlacementGroup(name):
                self.machines.groups.pop(name, None)
                for engine in self.engines.values():
                    if engine.name.group == name:
                        engine.ends_at = min(engine.ends_at, self.now)
            case StartEngine(name, version):
                self._start(name, version)
            case EndEngine(name):
                self._end(name, frozenset(action.nodes))
            case DrainNode(node, if_idle=only):
                used = any(node in group.nodes for group in self.machines.groups.values())
                self.machines.nodes[node].draining |= not (only and used)
            case Route(entries):
                self.routes = entries

    def _start(self, name: EngineName, version: str) -> None:
        group = self.machines.groups.get(name.group)
        if name in self.engines or group is None or group.state is not GroupState.CREATED:
            return
        rivals = [e for e in self.engines.values() if e.name.group == name.group and e.hosts]
        if rivals:
            self.problems.append(f"{name} was started beside what is left of {rivals[0].name}")
        generates_at = self.now + self.startup
        engine = Engine(name, set(group.nodes), group.nodes[0], self.now, generates_at, version=version)
        if engine.hosts & self.mute:
            engine.generates_at = float("inf")
        elif self.machines.is_cut(engine.hosts):
            engine.ends_at, engine.words = self.now + self.startup / 2, "ConnectionError: a peer does not answer"
        elif version in self.bad_versions:
            engine.ends_at, engine.words = self.now + self.startup / 2, "ValueError: this version is broken"
        elif self.failing_starts:
            self.failing_starts -= 1
            engine.ends_at, engine.words = self.now + self.startup / 2, "ValueError: no"
        elif self.hopeless_starts:
            self.hopeless_starts -= 1
            engine.ends_at, engine.words, engine.hopeless = self.now + 2, "error: unrecognized arguments", True
        self.engines[name] = engine

    def _end(self, name: EngineName, nodes: frozenset[str]) -> None:
        engine = self.engines.get(name)
        if engine is None:
            return
        engine.ends_at = min(engine.ends_at, self.now)
        missed = {h for h in engine.hosts if self.machines.nodes[h].runs(self.now)} - nodes
        if missed:
            self.problems.append(f"{name} was swept, but not on {sorted(missed)}")
        engine.swept_at = min(engine.swept_at, self.now + self.sweep)
