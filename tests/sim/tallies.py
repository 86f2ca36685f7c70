"""What came of waiting: when each deployment served, and what every node cost in which state."""

from collections import defaultdict
from dataclasses import dataclass, field

from elastic_deploy.model.snapshot import GroupState
from elastic_deploy.model.spec import ClusterSpec

from .market import Bought
from .world import World

BOOTING, WAITING, STARTING, SERVING = "booting", "waiting", "starting", "serving"


@dataclass
class Tallies:
    """Sums over the time that has passed: the deployments' seconds, GPU-seconds, US dollars by the nodes' state.

    `first` is when each deployment first served. `full` and `degraded` are of those that did, in which shape.

    WAITING are nodes that have joined and are in no whole group: parts of a gang, and what idles out after one.
    """

    first: dict[str, float] = field(default_factory=dict)
    full: float = 0.0
    degraded: float = 0.0
    wanted: float = 0.0
    served: float = 0.0
    usd: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    seconds: float = 0.0

    def passed(self, world: World, spec: ClusterSpec, seconds: float) -> None:
        """So much time passes from the world's present on, and nothing changes meanwhile."""
        whole = {d.name: d.shape.gpus_per_replica for d in spec.deployments}
        full: set[str] = set()
        smaller: set[str] = set()
        serving: set[str] = set()
        for entry in world.routes:
            for backend in entry.backends:
                engine = world.engines.get(backend.engine)
                if engine is None or not engine.generates(world.now):
                    continue
                serving |= engine.hosts
                self.served += len(engine.hosts) * seconds
                (full if len(engine.hosts) >= whole[entry.deployment] else smaller).add(entry.deployment)
        for name in full | smaller:
            self.first.setdefault(name, self.seconds)
        self.full += len(full) * seconds
        self.degraded += len(smaller - full) * seconds
        self.wanted += sum(d.shape.gpus for d in spec.deployments) * seconds
        self._paid(world, serving, seconds)
        self.seconds += seconds

    def _paid(self, world: World, serving: set[str], seconds: float) -> None:
        groups = (group for group in world.machines.groups.values() if group.state is GroupState.CREATED)
        placed = {ray_id for group in groups for ray_id in group.nodes}
        rates: defaultdict[str, float] = defaultdict(float)
        for node in world.machines.nodes.values():
            assert isinstance(node, Bought)
            if world.now >= node.dies_at:
                continue
            state = (
                BOOTING
                if world.now < node.joins_at
                else SERVING
                if node.id in serving
                else STARTING
                if node.id in placed
                else WAITING
            )
            rates[state] += node.usd_per_hour
        for state, rate in rates.items():
            self.usd[state] += rate * seconds / 3600

    def close(self, seconds: float) -> None:
        """The history is over."""
        self.seconds = seconds
