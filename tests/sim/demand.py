"""Clients whose number changes: what the front door would say of them, second by second."""

from collections.abc import Callable
from dataclasses import dataclass

from elastic_deploy.model.snapshot import LoadSeen

from .play import Play

UNKNOWN = -1
"""A number of clients for which the front door says nothing."""


@dataclass
class Demand:
    """So many requests of "chat" at once; held while nothing serves. `asked_at` is when there last were any."""

    play: Play
    asked_at: float | None = None
    began: float = 0.0

    def __post_init__(self) -> None:
        self.began = self.play.now

    def run(self, seconds: float, requests: int | Callable[[float], int] = 0) -> None:
        """Let so many be there for so long."""
        for _ in range(int(seconds)):
            self.tick(requests if isinstance(requests, int) else requests(self.play.now))

    def tick(self, requests: int) -> None:
        """One second."""
        play, world = self.play, self.play.world
        if requests > 0:
            self.asked_at = play.now + 1
        if requests == UNKNOWN:
            world.loads = ()
        else:
            served = bool(play.serving())
            ago = None if self.asked_at is None else play.now + 1 - self.asked_at
            quiet = play.now + 1 - (self.began if self.asked_at is None else self.asked_at)
            world.loads = (LoadSeen("chat", 0.0, requests * served, requests * (not served), quiet, ago),)
        for engine in play.serving() if requests > 0 else ():
            engine.busy_until = max(engine.busy_until, play.now + 1)
        play.tick()

    @property
    def replicas(self) -> int:
        """How many are wanted now."""
        memory = self.play.remembered("chat")
        assert memory is not None
        assert memory.scale is not None
        return memory.scale.replicas
