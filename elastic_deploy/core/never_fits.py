"""What can never be had any more: the cluster's limits as Ray's autoscaler has them now, against what is wanted.

`up` refuses what never fits before anything is started (`planning.fit`). The limits can change under a deployment that
runs or waits: somebody lowers a `max_workers` or takes a node type away with `ray up --no-restart`. Then it is said,
once in the journal and in `status` as long as it lasts, and no more is asked for than can come. Nothing is ended for
it: the limits may be raised again. Pure.
"""

from dataclasses import replace

from elastic_deploy.core.scaling import at_scale
from elastic_deploy.core.tally import counted
from elastic_deploy.model.errors import NeverFitsError
from elastic_deploy.model.event import EventDraft
from elastic_deploy.model.memory import DeploymentMemory
from elastic_deploy.model.pool import POOL_LABEL, Pool
from elastic_deploy.model.shape import Bundle, Capacity
from elastic_deploy.model.spec import DeploymentSpec
from elastic_deploy.planning.fit import gpus_in, most_gpus, require_fit
from elastic_deploy.planning.pools import most_in, types_of

_MEND = "`up` brings the mended YAML to the cluster."


def never_fits(spec: DeploymentSpec, others: int, capacity: Capacity) -> str:
    """Why a deployment's GPUs, beside `others` of other deployments, can never be had, in sentences; empty if they can.

    Of its pools some may have no room: they are not asked then. It never fits where all together cannot hold it.
    """
    try:
        require_fit(capacity, spec.shape.gpus, others)
    except NeverFitsError as error:
        return f"{error} {_MEND}"
    size, replicas = spec.shape.gpus_per_replica, spec.shape.replicas
    rooms = {pool.name: most_in(capacity, pool) for pool in spec.pools}
    if not rooms or sum(room // size for room in rooms.values()) >= replicas:
        return ""
    held = ", ".join(f"{name} {counted(room, 'GPU')}" for name, room in rooms.items())
    return (
        f"{counted(replicas, 'replica')} of {counted(size, 'GPU')} can never be had in {capacity.cluster_name}: its"
        f" pools can have {held} at the most, and a replica's GPUs are all in one. Raise the max_workers of their node"
        f" types, or ask for fewer or smaller replicas. {_MEND}"
    )


def with_never_fits(
    spec: DeploymentSpec, memory: DeploymentMemory, others: int, capacity: Capacity | None
) -> tuple[DeploymentMemory, tuple[EventDraft, ...]]:
    """The memory that knows whether it fits, and the event that says so where that has changed."""
    if capacity is None or not spec.wanted or not spec.shape.gpus or memory.failure is not None:
        return memory, ()
    why = never_fits(spec, others, capacity)
    if why == memory.never_fits:
        return memory, ()
    after = replace(memory, never_fits=why)
    subject, gpus = f"deployment:{spec.name}", counted(spec.shape.gpus, "GPU")
    if why:
        message = f"{spec.name}: by the limits that the cluster has now, {why} What can be had is asked for further."
        data = {"gpus": spec.shape.gpus, "most": most_gpus(capacity)}
        return after, (EventDraft("wait.never_fits", message, spec.name, subject=subject, data=data),)
    message = f"{spec.name}: its {gpus} can be had again, by the limits that the cluster has now."
    return after, (EventDraft("wait.fits", message, spec.name, subject=subject, because=subject),)


def within_limits(bundles: tuple[Bundle, ...], capacity: Capacity | None) -> tuple[Bundle, ...]:
    """As much of a request as the cluster can ever hold.

    Ray's autoscaler launches no node at all for a request of which one bundle can never fit, and lets the nodes that
    are there idle out (v2 of Ray 2.60): so the whole of it would cost also what can be had.
    """
    if capacity is None:
        return bundles
    left = most_gpus(capacity)
    if gpus_in(bundles) <= left and all(not bundle.labels for bundle in bundles):
        return bundles
    held = []
    for bundle in bundles:
        count = min(bundle.count, left, _most(bundle, capacity))
        left -= count
        held.append(bundle if count == bundle.count else replace(bundle, count=count))
    return tuple(bundle for bundle in held if bundle.count)


def _most(bundle: Bundle, capacity: Capacity) -> int:
    """The most of one-GPU bundles with these labels that the cluster can hold."""
    name = bundle.labels.get(POOL_LABEL)
    return most_gpus(capacity) if name is None else most_in(capacity, Pool(name, types_of(capacity, name)))


def wanted_gpus(spec: DeploymentSpec, memory: DeploymentMemory | None) -> int:
    """GPUs that a deployment is to have at the moment: as its load wants it, and none where it has failed."""
    if not spec.wanted or (memory is not None and memory.failure is not None):
        return 0
    return at_scale(spec, memory).shape.gpus
