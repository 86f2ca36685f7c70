"""When a deployment is given up, and with which words.

`core.deployment` asks at the end of a step. A deployment of which something serves, or once served, is never given up
for want of GPUs: recovery has no deadline.
"""

from elastic_deploy.core.classify import Condition
from elastic_deploy.core.facts import Index
from elastic_deploy.core.phase import deadline_passed, replica_phase
from elastic_deploy.core.replica_step import ReplicaStep
from elastic_deploy.core.tally import tally
from elastic_deploy.model.duration import format_duration
from elastic_deploy.model.memory import DeploymentMemory, Failure, FailureKind
from elastic_deploy.model.phase import Phase
from elastic_deploy.model.spec import DeploymentSpec


def failure_of(
    spec: DeploymentSpec, memory: DeploymentMemory, steps: list[ReplicaStep], index: Index, now: float
) -> Failure | None:
    """The end of all attempts, if this step has come to it."""
    if index.blind or any(replica.serves for replica in memory.replicas):
        return None
    if failure := _engine_failure(spec, steps, now):
        return failure
    return _deadline_failure(spec, memory, index, now) if deadline_passed(spec, memory, now) else None


def _engine_failure(spec: DeploymentSpec, steps: list[ReplicaStep], now: float) -> Failure | None:
    for s in steps:
        if s.memory and s.condition is Condition.EXHAUSTED:
            words = f" Its last words: {s.memory.last_words}" if s.memory.last_words else ""
            times = f"{s.memory.failures} times in a row" if s.memory.failures > 1 else "once"
            message = f"The engine of {spec.name}/{s.memory.id} failed {times} with all its nodes well.{words}"
            return Failure(FailureKind.ENGINE, message, now)
    return None


def _deadline_failure(spec: DeploymentSpec, memory: DeploymentMemory, index: Index, now: float) -> Failure | None:
    wanted = frozenset(spec.replica_ids)
    phases = {replica_phase(replica) for replica in memory.replicas if replica.id in wanted}
    if Phase.WAITING not in phases or Phase.RECOVERING in phases:
        return None
    message = f"Waited {format_duration(spec.wait_timeout)} for {spec.shape.gpus} GPUs: {tally(spec, index.snapshot)}."
    return Failure(FailureKind.WAIT_TIMEOUT, message, now)
