"""Where each replica lives: in the best pool that does not rest, until it turns out that nothing comes from there.

`core.deployment` calls `pooled` at every step, before the replicas' own steps. A replica whose gang is whole stays
where it is. One that waits leaves its pool when the cloud refuses it there, when its nodes came only in part for too
long, or when nothing comes at all; the pool then rests, for longer each time, and the next is tried. Its group is
removed before it gets another pool (`core.classify`), and nothing is asked for while all pools rest.
"""

from dataclasses import dataclass, replace

from elastic_deploy.core.facts import Index
from elastic_deploy.core.gathering import is_waiting
from elastic_deploy.core.partial import NOTHING_GATHERED, Gathered, ends_at, gathered, is_enough, measured, usd_per_hour
from elastic_deploy.core.step_limits import STEP_WORDS, overdue_in
from elastic_deploy.core.tally import counted
from elastic_deploy.model.action import Action, DrainNode
from elastic_deploy.model.duration import clock, format_duration
from elastic_deploy.model.event import EventDraft
from elastic_deploy.model.memory import DeploymentMemory, ReplicaMemory, Rest
from elastic_deploy.model.pool import Pool
from elastic_deploy.model.snapshot import GroupState, LaunchFailure, LaunchOutcome, NodeState
from elastic_deploy.model.spec import DeploymentSpec

FIRST_REST = 60.0
"""Seconds for which a pool rests after its first failure: capacity that is gone seldom comes back sooner."""

LONGEST_REST = 600.0
"""Seconds at the most: asking where there is nothing costs nothing, and capacity comes back for minutes only."""

PART_SEEN = 5.0
"""Seconds within which a node is seen to be launched that the cloud gave while it refused others: the autoscaler says
so one turn later."""

LATE = 1800.0
"""Seconds after a pool was left in which nodes may still come that had been asked for there: the autoscaler launches
what it has queued though nobody asks for it any more, and a large instance boots for minutes."""


STRIKES = 2
"""Nodes of a pool that were given up, after which it rests: one may be a single bad machine, two are the place."""


@dataclass(frozen=True, slots=True)
class Pooled:
    """The memory with a pool for each replica, what to do for it, what to say, and when to look again."""

    memory: DeploymentMemory
    actions: tuple[Action, ...] = ()
    events: tuple[EventDraft, ...] = ()
    wake_at: float | None = None


def rest_after(failures: int) -> float:
    """Seconds for which a pool rests after so many failures in a row (at least one): 60, 120, ... 600."""
    return float(min(LONGEST_REST, FIRST_REST * 2 ** min(failures - 1, 10)))


def bounds_waits(spec: DeploymentSpec) -> bool:
    """Whether there is anything to decide about where replicas wait."""
    return bool(spec.pools) or spec.partial_timeout is not None or spec.partial_budget is not None


def pooled(spec: DeploymentSpec, memory: DeploymentMemory, index: Index, now: float) -> Pooled:
    """One step of every replica's place. The blind decide nothing: what they do not see may have come."""
    if index.blind or not (bounds_waits(spec) or any(replica.pool != "" for replica in memory.replicas)):
        return Pooled(memory)
    return _Step(spec, memory, index, now).taken()


class _Step:
    """One step: the replicas one after the other, each seeing where those before it went."""

    def __init__(self, spec: DeploymentSpec, memory: DeploymentMemory, index: Index, now: float) -> None:
        self._spec, self._memory, self._index, self._now = spec, memory, index, now
        self._rests = {rest.pool: rest for rest in memory.rests}
        self._wasted = memory.wasted
        self._replicas = {replica.id: replica for replica in memory.replicas}
        self._actions: list[Action] = []
        self._events: list[EventDraft] = []
        self._wakes: list[float] = []

    def taken(self) -> Pooled:
        """The step's outcome."""
        staying = self._memory.staying
        waiting = [replica for replica in staying if is_waiting(replica, self._index, self._spec.name)]
        there = gathered(self._spec, waiting, self._index) if waiting else {}
        late = {replica.id for replica in waiting}
        for replica in staying:
            after = self._waits(replica, there) if replica.id in late else self._is_whole(replica)
            self._replicas[replica.id] = after
        self._send_away()
        replicas = tuple(self._replicas[replica.id] for replica in self._memory.replicas)
        rests = tuple(sorted(self._rests.values(), key=lambda rest: rest.pool))
        memory = self._memory
        if replicas != memory.replicas or rests != memory.rests or self._wasted != memory.wasted:
            memory = replace(memory, replicas=replicas, rests=rests, wasted=self._wasted)
        wakes = [at for at in self._wakes if at > self._now]
        return Pooled(memory, tuple(self._actions), tuple(self._events), min(wakes, default=None))

    def _is_whole(self, replica: ReplicaMemory) -> ReplicaMemory:
        """A replica that has its nodes: its pool is well, and it is known by its nodes where it was forgotten."""
        pool = self._spec.place(replica.pool)
        if pool is None:
            pool = self._found(replica)
        rest = self._rests.get(pool.name) if pool else None
        if rest is not None and replica.whole_since is not None and replica.whole_since > rest.since:
            del self._rests[rest.pool]
        if (name := pool.name if pool else replica.pool) == replica.pool and replica.pool_since is None:
            return replica if replica.partial is None else replace(replica, partial=None)
        return replace(replica, pool=name, pool_since=None, partial=None)

    def _found(self, replica: ReplicaMemory) -> Pool | None:
        """The pool on whose nodes a replica is. None where it is on none of them: it stays there as long as it can."""
        group = self._index.of_deployment(self._spec.name).groups.get(replica.id)
        types = {node.ray_id: node.type for node in self._index.snapshot.nodes.value or ()}
        on = {types.get(ray_id, "") for ray_id in (group.bundle_nodes if group else ())}
        return next((pool for pool in self._spec.places if on and all(pool.has(each) for each in on)), None)

    def _waits(self, replica: ReplicaMemory, there: dict[str, Gathered]) -> ReplicaMemory:
        pool = self._spec.place(replica.pool)
        if pool is None:
            return self._choose(replica)
        if replica.pool_since is None:
            replica = replace(replica, pool_since=self._now)
        mine = there.get(replica.id, NOTHING_GATHERED)
        if (narrow := self._is_narrow(replica, pool)) is not None:
            self._release(replica, pool, mine, replica.partial.cost if replica.partial else 0.0)
            return self._leave(replica, pool, narrow)
        if (hangs := self._hangs(replica, pool, mine)) is not None:
            why, because = hangs
            cost = replica.partial.cost if replica.partial else 0.0
            self._release(replica, pool, mine, cost)
            return self._leave(replica, pool, why, because)
        partial = measured(self._spec, replica, mine, self._now)
        if partial is not None:
            why = is_enough(self._spec, partial, self._now)
            if why:
                self._release(replica, pool, mine, partial.cost)
                came = f"{partial.gpus} of {counted(self._spec.shape.gpus_per_replica, 'GPU')} came, and {why}"
                return self._leave(replace(replica, partial=partial), pool, came)
            end = ends_at(self._spec, partial, usd_per_hour(self._spec, mine.nodes))
            self._wakes += [] if end is None else [end]
            return replace(replica, partial=partial)
        if replica.partial is not None:
            replica = replace(replica, partial=None)
        if mine.gpus or len(self._spec.places) == 1:
            return replica
        refused = self._refusal(pool, replica.pool_since or self._now)
        seen_by = (replica.pool_since or self._now) + PART_SEEN
        if refused is not None and self._now < seen_by:
            self._wakes.append(seen_by)
        elif refused is not None and not self._is_launching(pool):
            words = ": ".join(part for part in (refused.code, refused.message.rstrip(".")) if part)
            return self._leave(replica, pool, f"the cloud refused it with {words}", f"launch:{refused.node_type}")
        limit = self._spec.pool_timeout
        if limit is None:
            return replica
        end = (replica.pool_since or self._now) + limit
        if self._now < end:
            self._wakes.append(end)
            return replica
        if self._is_launching(pool) or self._best(replica, without=pool.name) is None:
            # Something is coming, which Ray gives up by its own limits; or no other pool is better.
            return replica
        return self._leave(replica, pool, f"nothing came from it within {format_duration(limit)}")

    def _is_narrow(self, replica: ReplicaMemory, pool: Pool) -> str | None:
        """Why a pool is left that can hold no replica any more, as a clause; None where no other could."""
        most, size = self._index.room(pool), self._spec.shape.gpus_per_replica
        if most is None or most >= size or self._best(replica, without=pool.name) is None:
            return None
        return f"by the limits that the cluster has now it can never have more than {counted(most, 'GPU')}"

    def _hangs(self, replica: ReplicaMemory, pool: Pool, there: Gathered) -> tuple[str, str] | None:
        """Why a pool is left in which nodes hang, as a clause, and the subject that led to it."""
        other = self._best(replica, without=pool.name)
        if other is None:
            return None  # the nodes that are well are kept, and those that are not are replaced one by one
        strikes = sum(each.strikes for each in self._memory.staying if each.pool == pool.name)
        if replica.strikes and strikes >= STRIKES:
            return f"{strikes} of its nodes were given up", ""
        stuck = overdue_in(self._memory, pool)
        if stuck is None or there.gpus >= self._spec.shape.gpus_per_replica:
            return None  # nothing hangs, or nothing is missing
        if overdue_in(self._memory, other) is not None:
            return None  # only Ray can end a node that has not joined, there as here
        told = format_duration(max(0.0, self._now - stuck.since))
        return f"its node {stuck.node} has hung for {told} ({STEP_WORDS[stuck.step]})", f"node:{stuck.node}"

    def _refusal(self, pool: Pool, since: float) -> LaunchFailure | None:
        """The last refusal of a launch in a pool since then."""
        found = [
            failure
            for failure in self._index.snapshot.launch_failures
            if failure.outcome is LaunchOutcome.REFUSED and pool.has(failure.node_type) and failure.at > since
        ]
        return max(found, key=lambda failure: failure.at, default=None)

    def _is_launching(self, pool: Pool) -> bool:
        """Whether the cloud has given nodes of a pool that have not joined yet."""
        nodes = self._index.snapshot.nodes.value or ()
        return any(node.state is NodeState.LAUNCHING and pool.has(node.type) for node in nodes)

    def _release(self, replica: ReplicaMemory, pool: Pool, there: Gathered, cost: float) -> None:
        """Let go of nodes that serve nothing at once, rather than when they have been idle long enough."""
        self._wasted += cost
        if pool.standing:
            return
        groups = self._index.snapshot.groups.value or ()
        held = {
            ray_id
            for group in groups
            if group.state is not GroupState.REMOVED
            and (group.name.deployment, group.name.replica) != self._key(replica)
            for ray_id in group.bundle_nodes
        }
        why = f"it waited in pool {pool.name or 'any'} for others that did not come"
        for node in there.nodes:
            if node.ray_id not in held:
                self._actions.append(DrainNode(node.ray_id, self._now, why))

    def _send_away(self) -> None:
        """Let go of nodes that come to a pool after it was left, as long as nobody waits for any there.

        Else they would use up `max_workers`, which the pools share, until they have been idle for minutes.
        """
        lived_in = {replica.pool for replica in self._replicas.values()}
        left = [
            (rest, pool)
            for rest in self._rests.values()
            if (pool := self._spec.place(rest.pool)) and pool.name not in lived_in and not pool.standing
            if pool.name and self._now < rest.since + LATE
        ]
        groups = [each for each in self._index.snapshot.groups.value or () if each.state is not GroupState.REMOVED]
        if not left or any(group.name.deployment != self._spec.name and "" in group.bundle_nodes for group in groups):
            return  # another deployment may wait for what has come
        held = {ray_id for group in groups for ray_id in group.bundle_nodes}
        for node in self._index.snapshot.nodes.value or ():
            if node.state is not NodeState.JOINED or not node.gpus or node.is_head or node.ray_id in held:
                continue
            for rest, pool in left:
                if pool.has(node.type) and node.joined_at > rest.since:
                    why = f"it came to pool {pool.name} when nobody waited there any more"
                    self._actions.append(DrainNode(node.ray_id, self._now, why, if_idle=True))

    def _key(self, replica: ReplicaMemory) -> tuple[str, str]:
        return self._spec.name, replica.id

    def _leave(self, replica: ReplicaMemory, pool: Pool, why: str, because: str = "") -> ReplicaMemory:
        former = self._rests.get(pool.name)
        failures = former.failures if former else 0
        if former is None or (replica.pool_since or self._now) > former.since:
            failures += 1  # one that waited there already when it last failed was refused with the others
        rest = Rest(pool.name, failures, self._now, self._now + rest_after(failures), why)
        self._rests[pool.name] = rest
        name, where = f"{self._spec.name}/{replica.id}", f"pool {pool.name}" if pool.name else "the cluster"
        self._wakes.append(rest.until)
        message = f"{name} asks no more of {where}: {why}. It rests until {clock(rest.until)}."
        data = {"pool": pool.name, "why": why, "rests_until": rest.until, "failures": failures}
        if replica.partial is not None:
            data["cost_usd"] = round(replica.partial.cost, 4)
        self._events.append(
            EventDraft("pool.left", message, self._spec.name, replica.id, subject=name, because=because, data=data)
        )
        return replace(replica, pool=None, pool_since=None, partial=None, group_asked_at=0.0, strikes=0)

    def _choose(self, replica: ReplicaMemory) -> ReplicaMemory:
        """A pool for a replica without one, once its former group is gone."""
        parts = self._index.of_deployment(self._spec.name)
        if replica.id in parts.groups:
            return replica if replica.pool is None else replace(replica, pool=None, pool_since=None, partial=None)
        pool = self._best(replica)
        if pool is None:
            self._wakes += [rest.until for rest in self._rests.values()]
            return replica if replica.pool is None else replace(replica, pool=None, pool_since=None, partial=None)
        if pool.name:
            name = f"{self._spec.name}/{replica.id}"
            message = f"{name} is asked for in pool {pool.name}{self._instead_of(pool)}."
            data = {"pool": pool.name}
            self._events.append(
                EventDraft("pool.chosen", message, self._spec.name, replica.id, subject=name, because=name, data=data)
            )
        chosen = replace(replica, pool=pool.name, pool_since=self._now, partial=None)
        self._replicas[replica.id] = chosen
        return chosen

    def _instead_of(self, pool: Pool) -> str:
        """Why it is not a better one, as the end of a sentence."""
        better = self._spec.places[: self._spec.places.index(pool)]
        told = []
        for one in better:
            rest = self._rests.get(one.name)
            if rest is not None and rest.until > self._now:
                told.append(f"{one.name} rests until {clock(rest.until)}, because {rest.why}")
            elif (stuck := overdue_in(self._memory, one)) is not None:
                told.append(f"in {one.name} hangs node {stuck.node}")
            elif rest is not None and self._room(one) >= self._spec.shape.gpus_per_replica:
                told.append(f"{one.name} was tried before it, and {rest.why}")
            else:
                told.append(f"{one.name} has no room for another")
        return f": {'; '.join(told)}" if told else ""

    def _best(self, replica: ReplicaMemory, without: str | None = None) -> Pool | None:
        """The best pool that does not rest and has room for a replica.

        One in which a node hangs comes last: the autoscaler takes it for one that is coming, and launches no other.
        Of those that have failed since its wait began, the one that did so first: else two pools that give a part of a
        gang in turns, for longer than the other rests, would keep it from ever trying a third.
        """
        since = replica.outage.since if replica.outage else self._memory.waiting_since
        failed = {rest.pool: rest.since for rest in self._rests.values() if rest.since >= since}
        stuck = {pool.name for pool in self._spec.places if overdue_in(self._memory, pool) is not None}
        for pool in sorted(self._spec.places, key=lambda each: (each.name in stuck, failed.get(each.name, 0.0))):
            rest = self._rests.get(pool.name)
            rested = rest is None or rest.until <= self._now
            if pool.name != without and rested and self._room(pool) >= self._spec.shape.gpus_per_replica:
                return pool
        return None

    def _room(self, pool: Pool) -> float:
        gpus = self._index.room(pool)
        if gpus is None:
            return float("inf")
        inside = sum(1 for replica in self._replicas.values() if replica.pool == pool.name)
        return gpus - inside * self._spec.shape.gpus_per_replica
