"""How a replica moves off a node that the cloud is about to take: a successor beside it, and when the old one goes.

`core.deployment` notes which replicas have to move, `core.roster` asks who stays and how many are to come. Ray moves
no bundle off a node that it drains, and counts the node's GPUs no more: so a successor gets a group of its own, and
needs room only for those GPUs that the old one holds on other nodes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from elastic_deploy.core.facts import HANDOVER, Index
from elastic_deploy.core.rollout import SURPLUS, best_first, going, staying
from elastic_deploy.model.duration import clock
from elastic_deploy.model.event import EventDraft
from elastic_deploy.model.memory import DeploymentMemory, Move, Outage, ReplicaMemory
from elastic_deploy.model.spec import DeploymentSpec

MOVED = "another serves in its place, and the cloud is about to take a node of it"
TAKEN = "the cloud is about to take a node of it"


def noted(spec: DeploymentSpec, memory: DeploymentMemory, index: Index) -> DeploymentMemory:
    """The memory in which every replica knows whether the cloud is about to take a node of it.

    Only once Ray drains the node: before that, a successor could be placed on the very same.
    """
    if index.blind or not (index.draining or any(replica.move for replica in memory.replicas)):
        return memory
    groups = index.of_deployment(spec.name).groups
    replicas = []
    for replica in memory.replicas:
        group = groups.get(replica.id)
        move = _move(index, group.bundle_nodes if group else ())
        replicas.append(replica if move == replica.move else replace(replica, move=move))
    return replace(memory, replicas=tuple(replicas))


def _move(index: Index, bundle_nodes: Iterable[str]) -> Move | None:
    taken = [ray_id for ray_id in bundle_nodes if ray_id in index.draining and ray_id in index.notices]
    times = [(index.notices[ray_id].deadline, ray_id) for ray_id in taken]
    known = sorted((at, ray_id) for at, ray_id in times if at is not None)
    if not known:
        return None
    at, first = known[0]
    return Move(index.draining[first].id, at, len(taken))


def gpus_to_stay(spec: DeploymentSpec, replicas: Iterable[ReplicaMemory]) -> int:
    """GPUs that these replicas need on nodes that stay: Ray counts no others."""
    size = spec.shape.gpus_per_replica
    return sum(size - (replica.move.gpus if replica.move else 0) for replica in replicas)


def most_gpus_moving(spec: DeploymentSpec) -> int:
    """The most that a deployment may ask for while replicas move: one replica more, where the cluster has the room."""
    return spec.shape.gpus + (spec.shape.gpus_per_replica if spec.surge else 0)


def moved(
    spec: DeploymentSpec, version: str, replicas: Sequence[ReplicaMemory], now: float
) -> tuple[list[ReplicaMemory], int]:
    """Who stays and who goes while the cloud is about to take nodes, and how many successors are missing.

    A replica that serves there stays until enough others serve; at the latest shortly before the cloud's deadline it
    goes, if another is on its way in its place, which is then what the outage belongs to. One without a successor, for
    want of room, stays where it is: `core.engine` ends its engine in time, and it recovers as from any loss.
    """
    wanted = spec.shape.replicas
    movers = [replica for replica in replicas if replica.move and replica.serves and replica.version == version]
    movers.sort(key=lambda replica: -(replica.move.at if replica.move else 0.0))
    moving = {replica.id for replica in movers}
    stays = best_first(replica for replica in replicas if replica.id not in moving)[:wanted]
    serving = sum(1 for replica in stays if replica.serves)
    spared = movers[: max(0, wanted - serving)]
    due = [replica for replica in spared if _is_due(replica, now)]
    late = due[: max(0, len(stays) + len(spared) - wanted)]
    kept = [replica for replica in spared if replica not in late]
    why = {replica.id: MOVED for replica in movers} | {replica.id: TAKEN for replica in late}
    chosen = {r.id: going(r, why.get(r.id, SURPLUS)) for r in replicas}
    chosen |= {r.id: staying(r, version) for r in (*stays, *kept)}
    for replica in late:
        if not replica.leaving:
            _bequeath(replica, chosen, [one.id for one in stays], now)
    room = (most_gpus_moving(spec) - gpus_to_stay(spec, (*stays, *kept))) // spec.shape.gpus_per_replica
    missing = wanted - len(stays)
    return list(chosen.values()), max(wanted - len(stays) - len(kept), min(missing, max(0, room)))


def _is_due(replica: ReplicaMemory, now: float) -> bool:
    return replica.move is not None and now >= replica.move.at - HANDOVER


def _bequeath(old: ReplicaMemory, chosen: dict[str, ReplicaMemory], heirs: Sequence[str], now: float) -> None:
    """Give the outage that begins with the old one's end to the successor that ends it."""
    heir = next((chosen[one] for one in heirs if not chosen[one].serves and not chosen[one].ever_ready), None)
    if heir is None or old.move is None:
        return
    begun = now if heir.generation and not heir.engine_ended else None
    whole = None if heir.whole_since is None else now
    outage = Outage(now, f"the cloud took node {old.move.node}", f"node:{old.move.node}", whole, begun)
    chosen[heir.id] = replace(heir, ever_ready=True, outage=outage)


def told(spec: DeploymentSpec, before: DeploymentMemory, after: DeploymentMemory) -> list[EventDraft]:
    """What has changed for replicas that move, once each."""
    old = {replica.id: replica for replica in before.replicas}
    coming = any(replica.id not in old for replica in after.replicas)
    events = []
    for replica in after.replicas:
        former, move = old.get(replica.id), replica.move
        if former is None or move is None or not replica.serves:
            continue
        name, node = f"{spec.name}/{replica.id}", f"node:{move.node}"
        if former.move is None:
            then = "another is made in its place" if coming or replica.leaving else _without_successor(after)
            message = f"The cloud takes node {move.node} of {name} at {clock(move.at)}: {then}."
            events.append(EventDraft("replica.moving", message, spec.name, replica.id, subject=name, because=node))
        if replica.leaving == MOVED and not former.leaving:
            message = f"{name} has moved: {MOVED}."
            events.append(EventDraft("replica.moved", message, spec.name, replica.id, subject=name, because=node))
    return events


def _without_successor(memory: DeploymentMemory) -> str:
    if any(not replica.serves and not replica.leaving for replica in memory.replicas):
        return "another is on its way in its place"
    return "the cluster has no room for another beside it, so it serves until then and recovers afterwards"
