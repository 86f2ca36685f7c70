"""A supervisor in a history of capacity: the clock jumps to the next moment at which there is anything to decide.

That is when the world has changed, when the last decision asked to be woken, and a second after one that did something,
since the supervisor looks every second. Only the request's renewal every few seconds is left out: nobody else writes to
the slot here, and nothing follows from it. Every decision is checked by the invariants.
"""

import math
from dataclasses import dataclass, field, replace

from elastic_deploy.core.decide import Decision, decide
from elastic_deploy.core.distrust import paths_wanted
from elastic_deploy.core.invariants import illegal_turns, violations
from elastic_deploy.model.action import Action, DrainNode
from elastic_deploy.model.event import EventDraft
from elastic_deploy.model.memory import Memory
from elastic_deploy.model.snapshot import Snapshot
from elastic_deploy.model.spec import ClusterSpec

from .capacity_histories import History
from .market import Market
from .tallies import Tallies
from .world import LINGERS, World

BEGAN = 1_000_000.0
START_UP = 240.0
"""Seconds from an engine's start until it generates: the weights of a model that needs a gang of nodes."""

LATER = 1e9
"""Seconds: what is put off for so long does not come in a history."""


@dataclass
class MarketWorld(World):
    """The scripted world, above machines whose clock jumps."""

    machines: Market
    startup: float = START_UP

    def next_change(self) -> float:
        """When something happens next, if nobody does anything."""
        times = [self.machines.next_change(self.now)]
        for engine in self.engines.values():
            ended = max(engine.ends_at, engine.swept_at) + LINGERS
            times += [engine.started + 1.0, engine.generates_at, engine.ends_at, engine.swept_at, ended]
        return min((at for at in times if at > self.now), default=math.inf)

    def carry_out(self, action: Action) -> None:
        """What the edge does with an action."""
        if isinstance(action, DrainNode):
            self.machines.drained(action.name)
        else:
            super().carry_out(action)


@dataclass
class LongPlay:
    """One history under one policy, and what came of it."""

    history: History
    spec: ClusterSpec
    memory: Memory = field(default_factory=Memory)
    decisions: int = 0
    broken: list[str] = field(default_factory=list)
    events: list[tuple[float, EventDraft]] = field(default_factory=list)
    tallies: Tallies = field(default_factory=Tallies)
    wake_at: float = -math.inf
    restless: bool = True

    def __post_init__(self) -> None:
        self.world = MarketWorld(Market(history=self.history, began=BEGAN), now=BEGAN)

    @property
    def now(self) -> float:
        """Seconds since the history's beginning."""
        return self.world.now - BEGAN

    def run(self) -> "LongPlay":
        """The whole history, or as far as nothing is broken."""
        while self.now < self.history.seconds and not self.broken:
            self.step()
        self.tallies.close(self.now)
        return self

    def step(self) -> Decision | None:
        """To the next moment at which there is anything to decide, or at which the world changes unseen."""
        world, machines = self.world, self.world.machines
        soonest = world.now + 1.0
        next_at = soonest if self.restless else max(soonest, min(self.wake_at, world.next_change()))
        next_at = min(math.ceil(next_at), BEGAN + self.history.seconds)
        self.passes(next_at)
        before = self._engines()
        machines.changed = False
        world.advance(next_at - world.now)
        if not (machines.changed or self.restless or before != self._engines() or world.now >= self.wake_at):
            return None
        decision = self.decide()
        self.memory = replace(decision.memory, request_sent_at=world.now + LATER)
        self.spec = decision.spec
        for action in decision.actions:
            world.carry_out(action)
        self.restless = bool(decision.actions or decision.why)
        self.wake_at = math.inf if decision.wake_at is None else decision.wake_at
        return decision

    def passes(self, until: float) -> None:
        """Time passes until then, and nothing changes meanwhile."""
        self.tallies.passed(self.world, self.spec, until - self.world.now)

    def _engines(self) -> list[tuple[object, ...]]:
        """All that an observer sees of the engines."""
        now = self.world.now
        return [(e.name, e.state(now), e.generates(now), now >= e.swept_at) for e in self.world.engines.values()]

    def snapshot(self) -> Snapshot:
        """What an observer sees now."""
        self.world.machines.ask_again(self.world.now)
        return replace(self.world.snapshot(), paths=self.world.paths(paths_wanted(self.memory)))

    def decide(self) -> Decision:
        """A decision, and everything that must hold of it."""
        snapshot, now = self.snapshot(), self.world.now
        decision = decide(self.spec, snapshot, self.memory, now)
        self.decisions += 1
        self.events += [(self.now, event) for event in decision.why]
        self.broken += violations(self.spec, snapshot, self.memory, now, decision)
        self.broken += illegal_turns(self.memory, decision)
        self.broken += self.world.problems
        return decision
