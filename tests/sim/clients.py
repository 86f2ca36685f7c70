"""Clients that always ask, in a history in which only the user changes things: what they must never see.

With a surge the engines that answer never become fewer than before and after the change; in place one fewer at the
most. And an engine that works on their requests is not ended before the time it has to finish is over.
"""

from dataclasses import dataclass, field

from elastic_deploy.core.drain import STOPPED_LIMIT
from elastic_deploy.model.action import EndEngine
from elastic_deploy.model.names import EngineName

from .play import Play


@dataclass
class Clients:
    """Clients of "chat" whose requests take `stay` seconds each. `floor` is how many engines have to answer them."""

    play: Play
    stay: float = 0.0
    floor: int = 0
    sizes: set[int] = field(default_factory=set)
    unrouted_at: dict[EngineName, float] = field(default_factory=dict)

    def run(self, seconds: float) -> None:
        """Ask for so long, and look every second."""
        for _ in range(int(seconds)):
            self.tick()

    def change(self, **changes: object) -> None:
        """The user wants something else."""
        self.play.change("chat", **changes)
        shape = self.play.spec.deployments[0].shape
        self.floor = min(self.floor, shape.replicas)
        self.sizes.add(shape.gpus_per_replica)

    @property
    def settled(self) -> bool:
        """Whether the last change is over, one way or the other."""
        spec = self.play.spec.deployments[0]
        return spec.former is None and len(self.play.serving()) == spec.shape.replicas and not self._draining

    def tick(self) -> None:
        """One second of asking."""
        play, world = self.play, self.play.world
        for engine in play.serving():
            engine.busy_until = max(engine.busy_until, play.now + self.stay)
        busy = [e.name for e in world.engines.values() if e.generates(play.now + 1) and e.busy_until > play.now + 1]
        decision = play.tick()
        routed = {backend.engine for entry in world.routes for backend in entry.backends}
        for name in world.engines:
            if name in routed:
                self.unrouted_at.pop(name, None)
            else:
                self.unrouted_at.setdefault(name, play.now)
        for action in decision.actions:
            if isinstance(action, EndEngine) and action.name in busy:
                waited = play.now - self.unrouted_at.get(action.name, play.now)
                assert waited >= self._limit, play.story([f"{action.name} was ended while it was busy"])
        self._count()

    @property
    def _limit(self) -> float:
        spec = self.play.spec.deployments[0]
        return spec.drain_timeout if spec.wanted else min(spec.drain_timeout, STOPPED_LIMIT)

    @property
    def _draining(self) -> bool:
        memory = self.play.remembered("chat")
        return memory is None or any(r.leaving or r.draining_since is not None for r in memory.replicas)

    def _count(self) -> None:
        spec, answering = self.play.spec.deployments[0], len(self.play.serving())
        fewest = self.floor if spec.surge else self.floor - 1
        if not spec.surge and len(self.sizes) > 1:
            fewest = 0  # replicas of another size may need the GPUs of several
        assert answering >= fewest, self.play.story([f"{answering} engines answer where {fewest} did all along"])
        if self.settled:
            self.floor, self.sizes = spec.shape.replicas, {spec.shape.gpus_per_replica}
