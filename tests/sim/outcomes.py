"""What a policy made of histories of capacity, in figures that can be compared: for the tests and `bench-waiting`."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from .capacity_histories import DAY, HOUR, history
from .long_play import LongPlay
from .policies import LADDER, POOLED, fleet
from .tallies import SERVING, WAITING
from .waiting_rules import RuledPlay


@dataclass(frozen=True, slots=True)
class Outcome:
    """One history under one policy. `first` has each deployment's seconds until it served, None where it never did.

    `full` and `degraded` are the deployments' seconds, `gpus_wanted` and `gpus_served` GPU-seconds, `usd` by what nodes
    did. `moves` are the pools that were left, `broken` says which rules were.
    """

    seed: int
    seconds: float
    first: dict[str, float | None]
    full: float
    degraded: float
    gpus_wanted: float
    gpus_served: float
    usd: dict[str, float]
    moves: int
    decisions: int
    broken: tuple[str, ...]


def outcome(seed: int, days: float, policy: str) -> Outcome:
    """Play a seed's history under a policy. The rules of waiting are those of ours; the invariants are everybody's."""
    ruled = policy in (POOLED, LADDER)
    play = (RuledPlay if ruled else LongPlay)(history(seed, days), fleet(policy)).run()
    told = play.tallies
    return Outcome(
        seed,
        told.seconds,
        {spec.name: told.first.get(spec.name) for spec in play.spec.deployments},
        told.full,
        told.degraded,
        told.wanted,
        told.served,
        dict(told.usd),
        sum(event.kind == "pool.left" for _, event in play.events),
        play.decisions,
        tuple(dict.fromkeys(play.broken)),
    )


@dataclass(frozen=True)
class Summary:
    """A policy over many histories."""

    outcomes: Sequence[Outcome]

    @property
    def firsts(self) -> list[float]:
        """Seconds until each deployment of each history served, in order; the history's length where it never did."""
        return sorted(o.seconds if at is None else at for o in self.outcomes for at in o.first.values())

    @property
    def never(self) -> int:
        """Deployments that never served in their history."""
        return sum(at is None for o in self.outcomes for at in o.first.values())

    @property
    def median(self) -> float:
        """The median of the seconds until a deployment served."""
        return statistics.median(self.firsts)

    @property
    def p90(self) -> float:
        """Seconds within which nine of ten deployments served."""
        return self.firsts[int(0.9 * len(self.firsts))]

    @property
    def _deployment_seconds(self) -> float:
        return sum(o.seconds * len(o.first) for o in self.outcomes)

    @property
    def full(self) -> float:
        """The share of the time in which a deployment has a replica in its full shape that serves."""
        return sum(o.full for o in self.outcomes) / self._deployment_seconds

    @property
    def degraded(self) -> float:
        """The share of the time in which it serves in a smaller shape only."""
        return sum(o.degraded for o in self.outcomes) / self._deployment_seconds

    @property
    def gpus(self) -> float:
        """The share of the GPUs that are wanted that serves, over the time."""
        return sum(o.gpus_served for o in self.outcomes) / sum(o.gpus_wanted for o in self.outcomes)

    @property
    def usd_per_gpu_hour(self) -> float:
        """US dollars paid in all for an hour of a GPU that serves."""
        hours = sum(o.gpus_served for o in self.outcomes) / HOUR
        return sum(sum(o.usd.values()) for o in self.outcomes) / hours if hours else float("inf")

    @property
    def usd_waiting(self) -> float:
        """US dollars a day for nodes that had joined and waited for others of their gang, or idled out."""
        return sum(o.usd.get(WAITING, 0.0) for o in self.outcomes) / self._days

    @property
    def usd_serving(self) -> float:
        """US dollars a day for nodes that served."""
        return sum(o.usd.get(SERVING, 0.0) for o in self.outcomes) / self._days

    @property
    def moves(self) -> float:
        """Pools left in a day."""
        return sum(o.moves for o in self.outcomes) / self._days

    @property
    def decisions(self) -> float:
        """Decisions in a day at which anything had changed."""
        return sum(o.decisions for o in self.outcomes) / self._days

    @property
    def _days(self) -> float:
        return sum(o.seconds for o in self.outcomes) / DAY

    @property
    def broken(self) -> list[str]:
        """Every rule that was broken, with the seed of its history."""
        return [f"history {o.seed}: {what}" for o in self.outcomes for what in o.broken]
