"""Histories of what a cloud has: seeded, drawn beforehand, the same whatever a policy asks for.

A pool has numbered slots. A node can be launched in a slot while the pool's level is above its number; on spot it is
taken, with notice, when the level sinks to it. What befalls a node depends on its pool, its slot and its launch's time
alone, so two policies that ask alike get alike.

The distributions are ours: no cloud publishes its own. Lengths are log-normal (most short, some of a day), a third of
what comes is less than all, a dry pool may give a few nodes that help nobody, and a zone's outage takes all its pools
at once. What is compared on these histories are policies, not clouds.
"""

import math
import random
from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0

NOTICE = 120.0
"""Seconds between a spot notice and the node's end, as EC2 gives."""

HANG_ENDS = 900.0
"""Seconds after which Ray gives a node up that does not come through its set-up (its `NODE_START_WAIT_S`)."""

LOOK = 5.0
"""Seconds between two looks of Ray's autoscaler: what the cloud does is seen at these times only."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What a pool is, in every history: its zone, its market, its size in nodes, its price in USD an hour and node."""

    name: str
    zone: str
    spot: bool
    slots: int
    usd_per_hour: float
    code: str = "InsufficientInstanceCapacity"


KINDS = (
    Kind("a-h100", "a", False, 100, 6.9),
    Kind("b-h100", "b", False, 100, 6.9),
    Kind("a-h100-spot", "a", True, 60, 3.0, "UnfulfillableCapacity"),
    Kind("b-h100-spot", "b", True, 60, 3.0, "UnfulfillableCapacity"),
    Kind("c-l40s", "c", False, 48, 1.9, "VcpuLimitExceeded"),
)
"""The pools, the best first. Nodes have one GPU; prices are of the order of EC2's p5.4xlarge and g6e.xlarge."""


@dataclass(frozen=True, slots=True)
class Life:
    """What becomes of a node, from its launch on; times in seconds since the history's beginning.

    It never joins where its set-up hangs, and is given up at `dies`. `noticed` is when the cloud announces its end.
    """

    joins: float
    dies: float
    declared: float
    noticed: float = math.inf

    @property
    def hangs(self) -> bool:
        """Whether its set-up never ends."""
        return math.isinf(self.joins)


@dataclass(frozen=True)
class PoolHistory:
    """What one pool has over time: from `times[i]` on `levels[i]` slots are open. `deaths` are those of each slot."""

    kind: Kind
    seed: int
    times: tuple[float, ...]
    levels: tuple[int, ...]
    deaths: tuple[tuple[float, ...], ...]

    def level(self, now: float) -> int:
        """How many slots are open."""
        return self.levels[bisect_right(self.times, now) - 1]

    def least(self, now: float, until: float) -> int:
        """How many are open all the time between the two."""
        return min(self.levels[bisect_right(self.times, now) - 1 : bisect_right(self.times, until)])

    def next_change(self, now: float) -> float:
        """When that changes next."""
        index = bisect_right(self.times, now)
        return self.times[index] if index < len(self.times) else math.inf

    def life(self, slot: int, launched: float) -> Life:
        """What becomes of a node that is launched in a slot."""
        draw = random.Random(f"{self.seed} {self.kind.name} {slot} {launched // HANG_ENDS}")
        died = next((at for at in self.deaths[slot] if at > launched), math.inf)
        taken = self._closes(slot, launched) if self.kind.spot else math.inf
        luck = draw.random()
        if luck < 0.01:
            end = launched + HANG_ENDS
            return Life(math.inf, end, end)
        boot = draw.uniform(60.0, 180.0) if luck < 0.9 else draw.uniform(180.0, 480.0)
        joins = launched + LOOK * math.ceil(boot / LOOK)
        dies = max(joins + 1.0, min(died, taken + NOTICE))
        noticed = max(joins + 1.0, taken) if taken + NOTICE < died else math.inf
        return Life(joins, dies, dies + draw.randint(2, 20), noticed)

    def _closes(self, slot: int, after: float) -> float:
        start = bisect_right(self.times, after)
        closing = (at for at, level in zip(self.times[start:], self.levels[start:], strict=True) if level <= slot)
        return next(closing, math.inf)


@dataclass(frozen=True)
class History:
    """All pools over `seconds`."""

    seed: int
    seconds: float
    pools: tuple[PoolHistory, ...]

    @cached_property
    def by_name(self) -> dict[str, PoolHistory]:
        """The pools by name."""
        return {pool.kind.name: pool for pool in self.pools}


def history(seed: int, days: float) -> History:
    """The history of a seed."""
    draw = random.Random(seed)
    seconds = days * DAY
    outages = {zone: _outages(draw, seconds) for zone in sorted({kind.zone for kind in KINDS})}
    return History(seed, seconds, tuple(_pool(draw, kind, seed, seconds, outages[kind.zone]) for kind in KINDS))


def _outages(draw: random.Random, seconds: float) -> list[tuple[float, float]]:
    """From when until when a zone gives nothing at all: once in four days, for half an hour in the median."""
    found, now = [], draw.expovariate(1 / (4 * DAY))
    while now < seconds:
        end = now + draw.lognormvariate(math.log(0.5 * HOUR), 1.0)
        found.append((now, end))
        now = end + draw.expovariate(1 / (4 * DAY))
    return found


def _pool(
    draw: random.Random, kind: Kind, seed: int, seconds: float, outages: list[tuple[float, float]]
) -> PoolHistory:
    steps: list[tuple[float, int]] = []
    now, has = 0.0, draw.random() < 0.4
    while now < seconds:
        steps.append((now, _plenty(draw, kind.slots) if has else _dry(draw)))
        now += min(DAY, draw.lognormvariate(math.log(2 * HOUR), 1.2))
        has = draw.random() < 0.35 if has else draw.random() < 0.75
    deaths = tuple(tuple(_deaths(draw, seconds, outages)) for _ in range(kind.slots))
    times, levels = zip(*_within(steps, outages), strict=True)
    return PoolHistory(kind, seed, times, levels, deaths)


def _plenty(draw: random.Random, slots: int) -> int:
    return slots if draw.random() < 0.65 else draw.randint(slots // 8, slots)


def _dry(draw: random.Random) -> int:
    return 0 if draw.random() < 0.5 else draw.randint(1, 7)


def _deaths(draw: random.Random, seconds: float, outages: list[tuple[float, float]]) -> list[float]:
    """When a node in a slot dies: once in ten days by itself, and at every third outage of its zone."""
    found = [begins for begins, _ in outages if draw.random() < 0.3]
    now = draw.expovariate(1 / (10 * DAY))
    while now < seconds:
        found.append(now)
        now += draw.expovariate(1 / (10 * DAY))
    return sorted(found)


def _within(steps: list[tuple[float, int]], outages: list[tuple[float, float]]) -> list[tuple[float, int]]:
    """The steps with nothing in the zone's outages, at times at which Ray's autoscaler looks."""
    times = sorted({at for at, _ in steps} | {at for outage in outages for at in outage})
    found: list[tuple[float, int]] = []
    for at in times:
        index = bisect_right(steps, at, key=lambda step: step[0]) - 1
        level = 0 if any(begins <= at < ends for begins, ends in outages) else steps[index][1]
        seen = LOOK * math.ceil(at / LOOK)
        if found and found[-1][0] == seen:
            found.pop()
        if not found or found[-1][1] != level:
            found.append((seen, level))
    return found
