"""What was measured at each door, and the table that a person reads. Pure.

Rounds of all doors alternate, and what is compared is compared within a round: what else the machine does hits all
alike. Over the rounds the median counts.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from scripts.doors.fast_engine import EVENTS
from scripts.doors.load import Timings

DIRECT = "direct"
GOAL_ADDED_MS, GOAL_RATE, GOAL_HELD_KB = 1.0, 2000.0, 10.0


@dataclass(frozen=True)
class Round:
    """One target's part of one round: one request at a time, many at a time, and the same with streams.

    `cpu` and `stream_cpu` are seconds of the door's own, for the many; 0 without a door.
    """

    single: Timings
    crowd: Timings
    stream: Timings
    streams: Timings
    cpu: float
    stream_cpu: float


@dataclass(frozen=True)
class Cost:
    """One target's numbers over all rounds: milliseconds, requests a second, microseconds of CPU."""

    median_ms: float
    p99_ms: float
    added_ms: float
    added_first_byte_ms: float
    rate: float
    streams_rate: float
    request_us: float
    event_us: float

    @property
    def rate_per_core(self) -> float:
        """Requests a second that one core would do; 0 where nobody counts."""
        return 1_000_000 / self.request_us if self.request_us else 0.0


@dataclass(frozen=True)
class Found:
    """Everything. `busy` is how many processes wanted each core in the minute before, and in that after."""

    costs: dict[str, Cost]
    connection_kb: float
    held_kb: float
    busy: tuple[float, float]

    def missed(self, ours: str) -> bool:
        """Whether our door missed a goal."""
        cost = self.costs[ours]
        return cost.added_ms > GOAL_ADDED_MS or cost.rate_per_core < GOAL_RATE or self.held_kb > GOAL_HELD_KB


def cost(rounds: Sequence[Round], direct: Sequence[Round]) -> Cost:
    """The numbers of one target, beside those of the engine alone in the same rounds."""
    whole = sorted(time for each in rounds for time in each.single.whole)
    pairs = list(zip(rounds, direct, strict=True))
    crowd, streams = (sum(len(getattr(each, of).whole) for each in rounds) for of in ("crowd", "streams"))
    request_us = 1_000_000 * sum(each.cpu for each in rounds) / crowd
    stream_us = 1_000_000 * sum(each.stream_cpu for each in rounds) / streams
    return Cost(
        median_ms=1000 * statistics.median(whole),
        p99_ms=1000 * whole[int(len(whole) * 0.99)],
        added_ms=_added([(each.single.whole, beside.single.whole) for each, beside in pairs]),
        added_first_byte_ms=_added([(each.stream.first, beside.stream.first) for each, beside in pairs]),
        rate=statistics.median(len(each.crowd.whole) / each.crowd.seconds for each in rounds),
        streams_rate=statistics.median(len(each.streams.whole) / each.streams.seconds for each in rounds),
        request_us=request_us,
        event_us=(stream_us - request_us) / EVENTS,
    )


def _added(rounds: Sequence[tuple[Sequence[float], Sequence[float]]]) -> float:
    return 1000 * statistics.median(
        statistics.median(through) - statistics.median(direct) for through, direct in rounds
    )


def show(found: Found, ours: str) -> None:
    """The table."""
    columns = (
        "median ms",
        "p99 ms",
        "added ms",
        "1st byte +",
        "req/s",
        "streams/s",
        "us CPU",
        "req/s/core",
        "us/event",
    )
    print(f"{'':14}" + "".join(f"{column:>11}" for column in columns))
    for name, cost in found.costs.items():
        line = f"{name:14}{cost.median_ms:11.3f}{cost.p99_ms:11.3f}"
        if name != DIRECT:
            line += f"{cost.added_ms:11.3f}{cost.added_first_byte_ms:11.3f}"
        else:
            line += " " * 22
        line += f"{cost.rate:11.0f}{cost.streams_rate:11.0f}"
        if cost.request_us:
            line += f"{cost.request_us:11.0f}{cost.rate_per_core:11.0f}{cost.event_us:11.1f}"
        print(line)
    mine = found.costs[ours]
    print(f"ours, added at the median: {mine.added_ms:.3f} ms (goal: at most {GOAL_ADDED_MS})")
    print(
        f"ours, on one core by its own CPU time: {mine.rate_per_core:.0f} requests/s (goal: at least {GOAL_RATE:.0f})"
    )
    print(f"ours, memory of a held stream: {found.held_kb:.1f} KB (goal: at most {GOAL_HELD_KB:.0f} beside its body),")
    print(f"    and {found.connection_kb:.1f} KB of its connection")
    print(f"the machine: {found.busy[0]:.1f} and {found.busy[1]:.1f} processes wanted each core, before and after")
