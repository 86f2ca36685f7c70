"""How much of what a deployment asks for has come: counted from a snapshot, told as a clause.

Called by `core.giving_up` when a wait is over and by `core.explain` while it lasts. It counts GPUs that are placed in
the deployment's own groups or free on nodes that have joined; what other deployments hold has not come for this one.
"""

from dataclasses import dataclass

from elastic_deploy.model.snapshot import GroupState, NodeState, Snapshot
from elastic_deploy.model.spec import DeploymentSpec


@dataclass(frozen=True, slots=True)
class Tally:
    """GPUs `asked` for, `placed` in the deployment's groups, `free` to be placed; nodes `launching` and `requested`."""

    asked: int
    placed: int
    free: int
    launching: int
    requested: int

    @property
    def come(self) -> int:
        """GPUs that are there for the deployment to have."""
        return min(self.asked, self.placed + self.free)

    @property
    def missing(self) -> int:
        """GPUs that have not come."""
        return self.asked - self.come

    def __str__(self) -> str:
        if not self.missing:
            return f"all {counted(self.asked, 'GPU')} have come, {self.placed} of them placed by Ray so far"
        come = f"{self.come} of {counted(self.asked, 'GPU')} {'has' if self.come == 1 else 'have'} come"
        under_way = [f"{counted(n, 'node')} {what}" for n, what in self._nodes if n] or ["no node is on its way"]
        return f"{come}, {self.missing} {'is' if self.missing == 1 else 'are'} missing ({', '.join(under_way)})"

    @property
    def _nodes(self) -> tuple[tuple[int, str], tuple[int, str]]:
        return (self.launching, "launching"), (self.requested, "asked for")


def counted(number: int, noun: str) -> str:
    """A number with its noun, in the plural where one says so."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def tally(spec: DeploymentSpec, gpus: int, snapshot: Snapshot) -> Tally:
    """Count what has come of the `gpus` that a deployment asks for. Readings that failed count as nothing."""
    nodes = snapshot.nodes.value or ()
    alive = {node.ray_id for node in nodes if node.ray_id and node.state in (NodeState.JOINED, NodeState.DRAINING)}
    placed = taken = 0
    for group in snapshot.groups.value or ():
        if group.state is GroupState.REMOVED:
            continue
        bundles = sum(1 for ray_id in group.bundle_nodes if ray_id in alive)
        taken += bundles
        if group.name.deployment == spec.name:
            placed += bundles
    joined = sum(node.gpus for node in nodes if node.state is NodeState.JOINED)
    return Tally(
        asked=gpus,
        placed=placed,
        free=max(0, joined - taken),
        launching=sum(1 for node in nodes if node.state is NodeState.LAUNCHING),
        requested=sum(1 for node in nodes if node.state is NodeState.ASKED),
    )
