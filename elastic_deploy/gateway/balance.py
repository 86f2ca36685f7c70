"""Which backend takes a request: one that has its beginning in the cache, else the one with the least work.

`choose` is pure; `Load` remembers what it needs. Used by `forward`, and by `metrics` for its gauges.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

from elastic_deploy.gateway.affinity import Affinity
from elastic_deploy.model.action import Backend
from elastic_deploy.model.names import EngineName

SHUN = 5.0
"""Seconds for which an engine that refused a connection is asked last. A dead engine has no work outstanding, so it
would draw every request until the supervisor takes it out of the table."""

MARGIN = 8
"""Requests by which an engine may be ahead of the least busy one and still get a prompt that it has seen in whole; for
one that it has seen in part, that part of it. Decoding waits for memory, so that eight more sequences in a batch hardly
slow it, while the prompt's computation, which the cache saves, holds up the whole batch. A bound in absolute numbers:
whatever clients send, no engine is kept idle by more than this."""


def able(backends: Sequence[Backend], version: str | None) -> Sequence[Backend]:
    """Those that may go on with an answer that `version` began; all for None, when nothing of one was told."""
    return backends if version is None else [backend for backend in backends if backend.version == version]


def lost(backends: Sequence[Backend], version: str | None) -> bool:
    """Whether the model was changed under an answer that `version` began: only other versions are left."""
    return bool(backends) and not able(backends, version)


def choose(
    backends: Collection[Backend],
    outstanding: Mapping[EngineName, int],
    shunned: Collection[EngineName],
    avoid: Collection[EngineName],
    turn: int,
    favoured: Collection[EngineName] = (),
    margin: int = 0,
) -> Backend | None:
    """The backend to ask, None if all are to be avoided. Among equals the `turn`-th, so that they take turns.

    One of the `favoured` is preferred while its work is at most `margin` above the least of all that may be asked.
    """
    fit = [backend for backend in backends if backend.engine not in avoid]
    if len(fit) < 2:
        return fit[0] if fit else None
    ranked = [((each.engine in shunned, outstanding.get(each.engine, 0)), each) for each in fit]
    if favoured:
        shun, least = min(rank for rank, _ in ranked)
        near = [one for one in ranked if one[1].engine in favoured and one[0] <= (shun, least + margin)]
        ranked = near or ranked
    best = min(rank for rank, _ in ranked)
    equals = [backend for rank, backend in ranked if rank == best]
    return equals[turn % len(equals)]


class Load:
    """What every engine is doing for us, and which one lately refused. `now` is monotonic seconds."""

    def __init__(self) -> None:
        self._outstanding: Counter[EngineName] = Counter()
        self._refused_at: dict[EngineName, float] = {}
        self._affinity = Affinity()
        self._turn = 0

    def choose(
        self, backends: Collection[Backend], avoid: Collection[EngineName], now: float, prefix: Sequence[int] = ()
    ) -> Backend | None:
        """The backend to ask now, for a prompt that begins with `prefix`, which it will have seen from then on."""
        self._turn += 1
        if self._refused_at:
            self._refused_at = {name: at for name, at in self._refused_at.items() if now - at < SHUN}
        known = 0
        favoured: Collection[EngineName] = ()
        if prefix and len(backends) > 1:
            among = [backend.engine for backend in backends if backend.engine not in avoid]
            known, favoured = self._affinity.favoured(prefix, among)
        # A part of the margin, rounded up: a tie, or nearly one, always goes to the engine that knows something.
        margin = -(-MARGIN * known // len(prefix)) if known else 0
        chosen = choose(backends, self._outstanding, self._refused_at, avoid, self._turn, favoured, margin)
        if prefix and chosen is not None:
            self._affinity.note(prefix, chosen.engine)
        return chosen

    def keep(self, engines: Collection[EngineName]) -> None:
        """These are in the table now: what was seen by others is forgotten."""
        self._affinity.keep(engines)

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
