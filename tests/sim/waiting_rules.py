"""What must hold of every wait in a history of capacity, whatever the pools have; `problems` says what did not.

- A pool that rests is chosen by nobody, and nothing is asked for where no replica lives or waits.
- Each failure of a pool in a row doubles its rest, up to the longest; replicas that fail together are one failure.
- What could serve comes to serve: a replica does not wait on while a pool has all that it needs (`PATIENCE`).
- No livelock: so many decisions an hour at the most (`BUSIEST`).
"""

from collections import Counter
from dataclasses import dataclass, field

from elastic_deploy.core.decide import Decision
from elastic_deploy.core.pools import LONGEST_REST, rest_after
from elastic_deploy.model.action import RequestResources
from elastic_deploy.model.event import EventDraft
from elastic_deploy.model.memory import DeploymentMemory
from elastic_deploy.model.snapshot import GroupState
from elastic_deploy.model.spec import DeploymentSpec
from elastic_deploy.planning.request import PARTIAL_TIMEOUT

from .capacity_histories import HANG_ENDS, HOUR
from .long_play import LongPlay
from .policies import POOLS

PATIENCE = LONGEST_REST + len(POOLS) * (HANG_ENDS + PARTIAL_TIMEOUT)
"""Seconds for which a pool may have a whole gang's nodes before they are that gang's: the pool may have just begun its
longest rest, and meanwhile each pool may hold the replica once, with a node that hangs and then with a part of it."""

BUSIEST = 1200
"""Decisions an hour that anything changed or was woken for: four deployments may each try five pools every minute at
first, in four decisions each, beside a hundred nodes that come and go."""


@dataclass
class Rules:
    """The rules over one history."""

    problems: list[str] = field(default_factory=list)
    rests: dict[tuple[str, str], tuple[float, int, float]] = field(default_factory=dict)
    """Until when each deployment's pools rest, their failures in a row, and when they last failed."""
    open_since: dict[tuple[str, int], float] = field(default_factory=dict)
    waits_since: dict[tuple[str, str], float] = field(default_factory=dict)
    longest: float = 0.0
    hours: Counter[int] = field(default_factory=Counter)

    def decided(self, play: LongPlay, decision: Decision) -> None:
        """A decision was made."""
        hour = int(play.now // HOUR)
        self.hours[hour] += 1
        if self.hours[hour] == BUSIEST:
            self.problems.append(f"{BUSIEST} decisions in hour {hour}")
        for memory in play.memory.deployments:
            self._gave(memory)
        replicas = [(d.name, replica) for d in play.memory.deployments for replica in d.replicas]
        began = {(name, replica.id): replica.pool_since for name, replica in replicas if replica.pool_since is not None}
        for event in decision.why:
            self._told(event, play.world.now, began)
        for action in decision.actions:
            if isinstance(action, RequestResources):
                self._asked(action, decision.memory.deployments)

    def _gave(self, memory: DeploymentMemory) -> None:
        """What a pool gave a gang to since it failed needs no rest."""
        for replica in memory.replicas:
            row = memory.name, replica.pool or ""
            if replica.whole_since and row in self.rests and self.rests[row][2] < replica.whole_since:
                del self.rests[row]

    def _told(self, event: EventDraft, now: float, began: dict[tuple[str, str], float]) -> None:
        name, replica = event.deployment, event.replica
        if event.kind == "pool.chosen":
            pool = event.data["pool"]
            until, _, _ = self.rests.get((name, pool), (0.0, 0, 0.0))
            if now < until:
                self.problems.append(f"{name} asked {pool} {until - now:g} s before it had rested")
        elif event.kind == "pool.left":
            pool = event.data["pool"]
            _, failures, failed = self.rests.get((name, pool), (0.0, 0, 0.0))
            failures += 1 if began.get((name, replica), now) > failed else 0
            rests = event.data["rests_until"] - now
            if rests != rest_after(failures):
                self.problems.append(f"{pool} rests {rests:g} s after failure {failures} of {name}")
            self.rests[name, pool] = event.data["rests_until"], failures, now

    def _asked(self, action: RequestResources, deployments: tuple[DeploymentMemory, ...]) -> None:
        living = {replica.pool for deployment in deployments for replica in deployment.replicas}
        asked = {bundle.labels.get("pool", "") for bundle in action.bundles if bundle.count}
        self.problems += [f"{pool} is asked, where no replica lives" for pool in sorted(asked - living)]

    def passes(self, play: LongPlay, until: float) -> None:
        """So much time passes without a change, from the world's present on."""
        now, machines = play.world.now, play.world.machines
        has = {pool.name: machines.obtainable(pool.name, now, until) for pool in POOLS}
        for spec in play.spec.deployments:
            memory = next((each for each in play.memory.deployments if each.name == spec.name), None)
            for pool in spec.pools:
                key = pool.name, spec.shape.gpus_per_replica
                if has[pool.name] < key[1]:
                    self.open_since.pop(key, None)
                else:
                    self.open_since.setdefault(key, now)
            if memory is not None:
                self._waits(play, spec, memory, until)
        there = {(memory.name, replica.id) for memory in play.memory.deployments for replica in memory.replicas}
        self.waits_since = {key: since for key, since in self.waits_since.items() if key in there}

    def _waits(self, play: LongPlay, spec: DeploymentSpec, memory: DeploymentMemory, until: float) -> None:
        groups = play.world.machines.groups
        whole = {name.replica for name, g in groups.items() if name.deployment == spec.name and _is_whole(g.state)}
        for replica in memory.replicas:
            if replica.id in whole or replica.leaving or (replica.generation and not replica.engine_ended):
                self.waits_since.pop((spec.name, replica.id), None)
                continue
            since = self.waits_since.setdefault((spec.name, replica.id), play.world.now)
            for pool in spec.pools:
                opened = self.open_since.get((pool.name, spec.shape.gpus_per_replica))
                if opened is None:
                    continue
                waited = until - max(opened, since)
                if waited > PATIENCE >= self.longest:
                    who = f"{spec.name}/{replica.id}"
                    self.problems.append(f"{who} waits in {replica.pool} though {pool.name} has had its GPUs for long")
                self.longest = max(self.longest, waited)


def _is_whole(state: GroupState) -> bool:
    return state is GroupState.CREATED


@dataclass
class RuledPlay(LongPlay):
    """A history in which the rules are looked after."""

    rules: Rules = field(default_factory=Rules)

    def passes(self, until: float) -> None:
        """So much time passes without a change."""
        super().passes(until)
        self.rules.passes(self, until)

    def decide(self) -> Decision:
        """A decision, and everything that must hold of it."""
        decision = super().decide()
        self.rules.decided(self, decision)
        self.broken += self.rules.problems
        return decision
