"""The phase of a replica and of a deployment, derived from what is remembered; called by `core` and `status`."""

from elastic_deploy.model.memory import DeploymentMemory, ReplicaMemory
from elastic_deploy.model.phase import Phase
from elastic_deploy.model.spec import DeploymentSpec


def replica_phase(memory: ReplicaMemory) -> Phase:
    """Where one replica stands that is meant to serve."""
    if memory.serves:
        # One that is drained to be changed takes no requests any more.
        return Phase.READY if memory.draining_since is None else Phase.STARTING
    if memory.ever_ready:
        return Phase.RECOVERING
    return Phase.WAITING if memory.whole_since is None else Phase.STARTING


def deadline_passed(spec: DeploymentSpec, memory: DeploymentMemory, now: float) -> bool:
    """Whether the wait for the deployment's GPUs has lasted as long as it may."""
    return spec.wait_timeout is not None and now - memory.waiting_since >= spec.wait_timeout


def is_overdue(spec: DeploymentSpec, memory: DeploymentMemory, replica: ReplicaMemory, now: float) -> bool:
    """Whether a replica that has never served can no longer be said to be on its way, though it is still tried."""
    if replica.ever_ready:
        return False
    if replica.refused or replica.failures >= spec.max_engine_failures:
        return True
    return replica_phase(replica) is Phase.WAITING and deadline_passed(spec, memory, now)


def phase_of(spec: DeploymentSpec, memory: DeploymentMemory, now: float) -> Phase:
    """Where a deployment stands: ready when all its replicas are, else where the one stands that is furthest back.

    It is degraded where some serve and others are overdue: nobody should wait for those any longer.
    """
    if not spec.wanted:
        return Phase.STOPPED
    if memory.failure is not None:
        return Phase.FAILED
    replicas = memory.staying
    phases = {replica_phase(replica) for replica in replicas}
    if spec.full is not None and Phase.READY in phases:
        return Phase.DEGRADED
    if phases == {Phase.READY}:
        return Phase.READY
    if spec.former is None and sum(1 for r in replicas if replica_phase(r) is Phase.READY) >= spec.shape.replicas > 0:
        return Phase.READY  # one more is on its way, in the place of one that the cloud is about to take
    if spec.former is None and Phase.RECOVERING not in phases and _has_least(spec, replicas):
        return Phase.READY
    if spec.former is not None and Phase.READY in phases:
        return _changing(spec, spec.former, replicas)
    if Phase.READY in phases and any(is_overdue(spec, memory, replica, now) for replica in replicas):
        return Phase.DEGRADED
    if Phase.RECOVERING in phases:
        return Phase.RECOVERING
    return Phase.WAITING if Phase.WAITING in phases or not phases else Phase.STARTING


def _has_least(spec: DeploymentSpec, replicas: tuple[ReplicaMemory, ...]) -> bool:
    """Whether as many serve as its range promises: more are on their way because there is more to do than usual."""
    serving = sum(1 for replica in replicas if replica_phase(replica) is Phase.READY)
    return spec.scaling is not None and serving >= max(1, spec.scaling.least)


def _changing(spec: DeploymentSpec, former: DeploymentSpec, replicas: tuple[ReplicaMemory, ...]) -> Phase:
    """Where a deployment stands that serves while a change is rolled out: clients count replicas, not versions."""
    serving = sum(1 for replica in replicas if replica_phase(replica) is Phase.READY)
    if serving >= min(former.shape.replicas, spec.shape.replicas):
        return Phase.READY
    lost = any(replica_phase(replica) is Phase.RECOVERING for replica in replicas)
    return Phase.RECOVERING if lost else Phase.DEGRADED
