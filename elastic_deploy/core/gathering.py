"""Whether a replica waits for its gang: it has no engine, and no group that is whole to start one in."""

from elastic_deploy.core.facts import Index
from elastic_deploy.model.memory import ReplicaMemory
from elastic_deploy.model.snapshot import GroupSeen, GroupState


def is_waiting(replica: ReplicaMemory, index: Index, deployment: str) -> bool:
    """Whether a replica has no engine, and no group that is whole to start one in."""
    if replica.generation and not replica.engine_ended:
        return False
    return not _is_placed(index.of_deployment(deployment).groups.get(replica.id), index)


def _is_placed(group: GroupSeen | None, index: Index) -> bool:
    return (
        group is not None
        and group.state is GroupState.CREATED
        and not any(ray_id in index.dead for ray_id in group.bundle_nodes)
    )
