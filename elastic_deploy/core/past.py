"""What a cluster's journal tells of its past: how long waits and starts took, and since when each phase lasts.

Pure; called by the supervisor for `status`. Where the journal knows of no wait, nothing is expected of the next.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from elastic_deploy.core.explain import Expectation, eta
from elastic_deploy.model.duration import format_duration
from elastic_deploy.model.memory import DeploymentMemory, ReplicaMemory
from elastic_deploy.model.snapshot import Usual


@dataclass(frozen=True, slots=True)
class Past:
    """`waits`: seconds from asking for a gang (or losing it) until it was whole. `starts`: seconds from an engine's
    start until it generated. `phase_since`: by deployment, when its phase began.
    """

    waits: tuple[float, ...] = ()
    starts: tuple[float, ...] = ()
    phase_since: Mapping[str, float] = field(default_factory=dict)


class PastFold:
    """What a journal tells of the past, as far as its events were read: it only grows."""

    def __init__(self) -> None:
        self._at: dict[str, float] = {}
        self._waits: list[float] = []
        self._starts: list[float] = []
        self._since: dict[str, float] = {}

    def read(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Take in the next events, in their order."""
        for event in events:
            self._at[event["id"]] = event["time"]
            match event["kind"]:
                case "group.ready" if event.get("cause") in self._at:
                    self._waits.append(event["time"] - self._at[event["cause"]])
                case "engine.ready" if "seconds" in event:
                    self._starts.append(event["seconds"])
                case "phase":
                    self._since[event["deployment"]] = event["time"]
                case _:
                    pass

    @property
    def past(self) -> Past:
        """What they have told."""
        return Past(tuple(self._waits), tuple(self._starts), dict(self._since))


def past_of(events: Iterable[Mapping[str, Any]]) -> Past:
    """The past that a journal's events tell, in their order."""
    fold = PastFold()
    fold.read(events)
    return fold.past


def usual(past: Past) -> Usual:
    """What a decision may count on: the middle of what it took before."""
    wait, start = eta(past.waits), eta(past.starts)
    return Usual(wait.median if wait else None, start.median if start else None)


def expected_at(deployments: Iterable[DeploymentMemory], past: Past, now: float) -> dict[str, float]:
    """When each deployment that does not serve is expected to, by the middle of what it took before; seconds since
    the epoch. A deployment of which the past tells nothing is left out.
    """
    wait, start = eta(past.waits), eta(past.starts)
    expected: dict[str, float] = {}
    for deployment in deployments:
        if start is None or any(replica.serves for replica in deployment.staying):
            continue
        at = [
            started + start.median
            for replica in deployment.staying
            if (started := _started(deployment, replica, wait, now)) is not None
        ]
        if at:
            expected[deployment.name] = min(at)
    return expected


def _started(
    deployment: DeploymentMemory, replica: ReplicaMemory, wait: Expectation | None, now: float
) -> float | None:
    """When a replica's engine was started, or is expected to be."""
    if replica.generation and not replica.engine_ended:
        return replica.started_at
    if replica.whole_since is not None:
        return max(now, replica.retry_at)
    if wait is None:
        return None
    since = replica.outage.since if replica.outage else deployment.waiting_since
    return max(now, since + wait.median)


def _told(what: str, expected: Expectation | None) -> str:
    if expected is None:
        return f"How long {what} takes here is not known yet."
    middle, worst = format_duration(expected.median), format_duration(expected.worst)
    if expected.waits == 1:
        return f"The one before took {middle}."
    return f"{expected.waits} before took {middle} in the middle and {worst} at the longest."


def expect_gang(past: Past) -> str:
    """What to expect of a wait for a gang, in a sentence."""
    return _told("such a wait", eta(past.waits))


def expect_start(past: Past) -> str:
    """What to expect of an engine's start, in a sentence."""
    return _told("a start", eta(past.starts))
