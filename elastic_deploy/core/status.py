"""The status document of the contract, from values alone; called by the supervisor, printed by `cli.render`."""

from dataclasses import dataclass
from typing import Any

from elastic_deploy.core.explain import reason
from elastic_deploy.core.ledger import Ledger, NodeRecord
from elastic_deploy.core.phase import replica_phase
from elastic_deploy.model.memory import DeploymentMemory, Memory, ReplicaMemory
from elastic_deploy.model.names import GroupName
from elastic_deploy.model.phase import Phase
from elastic_deploy.model.snapshot import GroupSeen, NodeState, Snapshot
from elastic_deploy.model.spec import ClusterSpec, DeploymentSpec


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """What the status says of the cluster itself. `endpoint` is the front door's base URL."""

    name: str
    provider: str
    head_address: str
    endpoint: str


def _placed(snapshot: Snapshot) -> dict[GroupName, GroupSeen]:
    return {group.name: group for group in snapshot.groups.value or ()}


def _node(record: NodeRecord, bundles: dict[str, list[str]]) -> dict[str, Any]:
    node = record.node
    placed = bundles.get(node.ray_id, []) if node.state is NodeState.JOINED else []
    counts = ", ".join(f"{placed.count(owner)} of {owner}" for owner in sorted(set(placed)))
    detail = "head" if node.is_head else f"bundles: {counts}" if counts else node.detail
    return {
        "id": node.id,
        "type": node.type,
        "state": node.state.value,
        "gpus": node.gpus,
        "since": record.since,
        "detail": detail,
    }


def _replica(
    deployment: str, replica: ReplicaMemory, phase: Phase, groups: dict[GroupName, GroupSeen], names: dict[str, str]
) -> dict[str, Any]:
    group = groups.get(GroupName(deployment, replica.id))
    return {
        "id": replica.id,
        "phase": phase.value,
        "generation": replica.generation,
        "placement_group": {"id": group.id, "state": group.state.value} if group else {"id": "", "state": "ABSENT"},
        "nodes": sorted({names.get(ray_id, ray_id) for ray_id in group.bundle_nodes if ray_id}) if group else [],
    }


def _deployment(
    spec: DeploymentSpec,
    memory: DeploymentMemory | None,
    snapshot: Snapshot,
    facts: ClusterFacts,
    names: dict[str, str],
    now: float,
) -> dict[str, Any]:
    groups = _placed(snapshot)
    phase = Phase(memory.phase) if memory and memory.phase else Phase.WAITING
    replicas = memory.replicas if memory else ()
    ended = phase if phase in (Phase.STOPPED, Phase.FAILED) else None
    own = [group for name, group in groups.items() if name.deployment == spec.name]
    waiting = memory is not None and phase is Phase.WAITING and spec.wait_timeout is not None
    return {
        "name": spec.name,
        "model": spec.served_model_name,
        "phase": phase.value,
        "reason": reason(spec, memory, snapshot, now),
        "endpoint": facts.endpoint,
        "api_key_file": "",
        "gpus": {
            "requested": spec.shape.gpus if ended is None else 0,
            "placed": sum(1 for group in own for ray_id in group.bundle_nodes if ray_id),
        },
        "shape": {
            "tensor_parallel": spec.shape.tensor_parallel,
            "pipeline_parallel": spec.shape.pipeline_parallel,
            "replicas": spec.shape.replicas,
        },
        "replicas": [_replica(spec.name, r, ended or replica_phase(r), groups, names) for r in replicas],
        "recoveries": [
            {"started_at": r.started_at, "cause": r.cause, "seconds": round(r.seconds, 3)}
            for r in (memory.recoveries if memory else ())
        ],
        "failure": {"kind": memory.failure.kind.value, "message": memory.failure.message}
        if memory and memory.failure
        else None,
        "deadline": memory.waiting_since + spec.wait_timeout if memory and waiting and spec.wait_timeout else None,
        "model_source": spec.model,
    }


def status_document(
    spec: ClusterSpec, memory: Memory, ledger: Ledger, snapshot: Snapshot, facts: ClusterFacts, now: float
) -> dict[str, Any]:
    """The document that `elastic-deploy status -o json` prints, but for what only the user's machine knows."""
    names = {record.node.ray_id: record.node.id for record in ledger.nodes if record.node.ray_id}
    bundles: dict[str, list[str]] = {}
    for name, group in _placed(snapshot).items():
        for ray_id in group.bundle_nodes:
            bundles.setdefault(ray_id, []).append(f"{name.deployment}/{name.replica}")
    remembered = {deployment.name: deployment for deployment in memory.deployments}
    return {
        "cluster": {
            "name": facts.name,
            "provider": facts.provider,
            "head_address": facts.head_address,
            "nodes": [_node(record, bundles) for record in ledger.nodes],
        },
        "request": {
            "bundles": [{"resources": dict(b.resources), "count": b.count} for b in memory.request or ()],
            "sent_at": memory.request_sent_at or None,
        },
        "deployments": [_deployment(d, remembered.get(d.name), snapshot, facts, names, now) for d in spec.deployments],
    }
