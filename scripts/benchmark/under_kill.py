"""One run of a door: a steady load, a kill in the middle of it, and the load goes on until all is well again.

Called by scripts/bench-doors for each contestant alike. It knows neither the doors nor what is killed.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

from elastic_deploy.model.errors import WaitTimeoutError
from scripts.benchmark.disturbance import Disturbance, Texts, disturbance, undisturbed
from scripts.benchmark.streams import QUESTIONS, Stream, Streams
from scripts.benchmark.trickle import Endpoint

CALM = 5.0
"""Seconds of load before the kill, and after the first answer to a request that was sent after it."""

SETTLED = 2.0
"""Seconds after the kill within which an answer may still come from what is being killed."""

RECOVERY_LIMIT = 600.0


@dataclass(frozen=True, slots=True)
class Load:
    """How much is asked: clients at once, requests in all at the least, seconds after the kill at the least."""

    clients: int
    requests: int
    seconds_after: float


@dataclass(frozen=True, slots=True)
class Run:
    """`load` and `load_after` are the machine's, before and after. `seconds` is the whole run."""

    door: str
    killed_at: float
    load: float
    load_after: float
    seconds: float
    found: Disturbance


def reference(door: Endpoint, load: Load) -> Texts:
    """The texts of an undisturbed run of the same load: each question is asked some times, beside the others."""
    with Streams(door, load.clients) as streams:
        streams.until(4 * len(QUESTIONS), RECOVERY_LIMIT)
        return undisturbed(streams.finish())


def run(name: str, door: Endpoint, load: Load, kill: Callable[[], float], expected: Texts) -> Run:
    """Load, kill (which returns when, in seconds since the epoch), and load until an end as told in `Load`."""
    busy, began = os.getloadavg()[0], time.monotonic()
    with Streams(door, load.clients) as streams:
        time.sleep(CALM)
        killed_at = kill()
        time.sleep(load.seconds_after)
        _await_answers(streams, killed_at)
        streams.until(load.requests, RECOVERY_LIMIT)
        told = streams.finish()
    found = disturbance(told, killed_at, expected)
    return Run(name, killed_at, round(busy, 1), round(os.getloadavg()[0], 1), round(time.monotonic() - began, 1), found)


def _await_answers(streams: Streams, killed_at: float) -> None:
    """Wait until a request that was sent after the kill has been answered, and for some calm after that."""
    deadline = time.monotonic() + RECOVERY_LIMIT
    while not any(_answered_after(stream, killed_at + SETTLED) for stream in streams.ended()):
        streams.check()
        if time.monotonic() > deadline:
            raise WaitTimeoutError(f"No request that was sent after the kill was answered in {RECOVERY_LIMIT:g} s.")
        time.sleep(0.2)
    time.sleep(CALM)


def _answered_after(stream: Stream, at: float) -> bool:
    return stream.sent_at > at and not stream.error
