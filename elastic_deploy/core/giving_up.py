"""When a deployment is given up, and with which words.

`core.deployment` asks at the end of a step. A deployment of which something serves, or once served, is never given up
for want of GPUs: recovery has no deadline.
"""

from elastic_deploy.core.classify import Condition
from elastic_deploy.core.facts import Index
from elastic_deploy.core.phase import deadline_passed, replica_phase
from elastic_deploy.core.replica_step import ReplicaStep
from elastic_deploy.core.roster import asked_gpus
from elastic_deploy.core.tally import counted, tally
from elastic_deploy.model.duration import format_duration
from elastic_deploy.model.memory import DeploymentMemory, Failure, FailureKind
from elastic_deploy.model.phase import Phase
from elastic_deploy.model.spec import DeploymentSpec


def failure_of(
    spec: DeploymentSpec, memory: DeploymentMemory, steps: list[ReplicaStep], index: Index, now: float
) -> Failure | None:
    """The end of all attempts, if this step has come to it."""
    if index.blind or any(replica.serves for replica in memory.replicas) or rolls_out(spec):
        return None
    if failure := _engine_failure(spec, steps, now):
        return failure
    return _deadline_failure(spec, memory, index, now) if deadline_passed(spec, memory, now) else None


def _engine_failure(spec: DeploymentSpec, steps: list[ReplicaStep], now: float) -> Failure | None:
    for s in steps:
        if s.memory and s.condition is Condition.EXHAUSTED:
            words = f" Its last words: {s.memory.last_words}" if s.memory.last_words else ""
            times = f"{s.memory.failures} times in a row" if s.memory.failures > 1 else "once"
            how = "refuses its arguments" if s.memory.refused else f"failed {times} with all its nodes well"
            message = f"The engine of {spec.name}/{s.memory.id} {how}.{words}"
            return Failure(FailureKind.ENGINE, message, now)
    return None


def _deadline_failure(spec: DeploymentSpec, memory: DeploymentMemory, index: Index, now: float) -> Failure | None:
    phases = {replica_phase(replica) for replica in memory.staying}
    if Phase.WAITING not in phases or Phase.RECOVERING in phases:
        return None
    return Failure(FailureKind.WAIT_TIMEOUT, _waited(spec, memory, index), now)


def _waited(spec: DeploymentSpec, memory: DeploymentMemory, index: Index) -> str:
    gpus = asked_gpus(spec, memory)
    told = tally(spec, gpus, index.snapshot)
    return f"Waited {format_duration(spec.wait_timeout)} for {counted(gpus, 'GPU')}: {told}."


def rolls_out(spec: DeploymentSpec) -> bool:
    """Whether there is a former version to go back to."""
    return spec.former is not None and not spec.restoring


def refusal_of(
    spec: DeploymentSpec, memory: DeploymentMemory, steps: list[ReplicaStep], index: Index, now: float, version: str
) -> Failure | None:
    """Why a change that is being rolled out is given up, if this step has come to that: what was before goes on."""
    if index.blind or not rolls_out(spec):
        return None
    new = [s for s in steps if s.memory is not None and s.memory.version == version and not s.memory.leaving]
    if failure := _engine_failure(spec, new, now):
        return failure
    waiting = any(replica_phase(s.memory) is Phase.WAITING for s in new if s.memory is not None)
    if waiting and deadline_passed(spec, memory, now):
        return Failure(FailureKind.WAIT_TIMEOUT, _waited(spec, memory, index), now)
    return None
