"""Which backend takes a request: the one with the least outstanding work, among those that may be asked.

`choose` is pure; `Load` remembers what it needs. Used by `forward`, and by `metrics` for its gauges. Prefix affinity
will find its place in `choose`.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

from elastic_deploy.model.action import Backend
from elastic_deploy.model.names import EngineName

SHUN = 5.0
"""Seconds for which an engine that refused a connection is asked last. A dead engine has no work outstanding, so it
would draw every request until the supervisor takes it out of the table."""


def choose(
    backends: Collection[Backend],
    outstanding: Mapping[EngineName, int],
    shunned: Collection[EngineName],
    avoid: Collection[EngineName],
    turn: int,
) -> Backend | None:
    """The backend to ask, None if all are to be avoided. Among equals the `turn`-th, so that they take turns."""
    fit = [backend for backend in backends if backend.engine not in avoid]
    if len(fit) < 2:
        return fit[0] if fit else None
    ranks = [(backend.engine in shunned, outstanding.get(backend.engine, 0)) for backend in fit]
    best = min(ranks)
    equals = [backend for backend, rank in zip(fit, ranks, strict=True) if rank == best]
    return equals[turn % len(equals)]


class Load:
    """What every engine is doing for us, and which one lately refused. `now` is monotonic seconds."""

    def __init__(self) -> None:
        self._outstanding: Counter[EngineName] = Counter()
        self._refused_at: dict[EngineName, float] = {}
        self._turn = 0

    def choose(self, backends: Collection[Backend], avoid: Collection[EngineName], now: float) -> Backend | None:
        """The backend to ask now."""
        self._turn += 1
        if self._refused_at:
            self._refused_at = {name: at for name, at in self._refused_at.items() if now - at < SHUN}
        return choose(backends, self._outstanding, self._refused_at, avoid, self._turn)

    def refused(self, engine: EngineName, now: float) -> None:
        """It refused a connection."""
        self._refused_at[engine] = now

    def outstanding(self, engine: EngineName) -> int:
        """Requests that it works on for us."""
        return self._outstanding.get(engine, 0)

    def busy(self, backends: Collection[Backend]) -> set[EngineName]:
        """The engines of `backends`, and those gone from the table that still finish something."""
        return {backend.engine for backend in backends} | set(self._outstanding)

    @contextmanager
    def one_more(self, engine: EngineName) -> Iterator[None]:
        """Count a request while it is with the engine."""
        self._outstanding[engine] += 1
        try:
            yield
        finally:
            self._outstanding[engine] -= 1
            if not self._outstanding[engine]:
                del self._outstanding[engine]
