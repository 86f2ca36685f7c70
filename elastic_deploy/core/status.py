"""The status document of the contract, from values alone; called by the supervisor, printed by `cli.render`.

A deployment has keys more than the contract names, for the `up` that waits for it and for `status`'s page: `failure`
(`{"kind", "message"}`, or null), `rollout` (how a change fares, or null), `deadline` (when its wait is over, or null),
`model_source` (where its weights come from), `pools` and `wasted_usd` (what nodes cost that waited in vain), and
`scale` where its load decides over its replicas. `api_key_file` is left empty: only the user's machine knows it.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from elastic_deploy.core.explain import reason
from elastic_deploy.core.ladder import at_rung
from elastic_deploy.core.ledger import Ledger, NodeRecord
from elastic_deploy.core.past import Past, expect_gang, expect_start
from elastic_deploy.core.phase import phase_of, replica_phase
from elastic_deploy.core.pool_words import pool_documents
from elastic_deploy.core.roster import asked_bundles, asked_gpus, is_moving, proven
from elastic_deploy.core.scaling import at_scale, is_scaled
from elastic_deploy.core.steps import Track
from elastic_deploy.core.tally import tally
from elastic_deploy.core.waiting import ledger_document
from elastic_deploy.core.waiting_cost import prices_of
from elastic_deploy.model.duration import clock
from elastic_deploy.model.memory import DeploymentMemory, Failure, Memory, ReplicaMemory
from elastic_deploy.model.names import GroupName
from elastic_deploy.model.phase import Phase
from elastic_deploy.model.shape import Capacity, Shape, bundle_document
from elastic_deploy.model.snapshot import GroupSeen, GroupState, NodeNotice, NodeState, Snapshot
from elastic_deploy.model.spec import ClusterSpec, DeploymentSpec, OnFailure

ABSENT = "ABSENT"
"""The state of a placement group that does not exist: the one word here that is not Ray's."""


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """What the status says of the cluster itself. `endpoint` is the front door's base URL."""

    name: str
    provider: str
    head_address: str
    endpoint: str


@dataclass(frozen=True, slots=True)
class _World:
    """What was observed, as the document needs it. `names` has the ids that people know by Ray's."""

    facts: ClusterFacts
    snapshot: Snapshot
    groups: dict[GroupName, GroupSeen]
    names: dict[str, str]
    past: Past
    now: float


def status_document(
    spec: ClusterSpec,
    memory: Memory,
    ledger: Ledger,
    snapshot: Snapshot,
    facts: ClusterFacts,
    now: float,
    past: Past | None = None,
    tracks: Sequence[Track] = (),
) -> dict[str, Any]:
    """The document that `elastic-deploy status -o json` prints. Times are seconds since the epoch.

    `tracks` are what the journal tells of nodes and replicas.
    """
    # Ray's table keeps groups that were removed, beside those of the same name that took their place.
    groups = {group.name: group for group in snapshot.groups.value or () if group.state is not GroupState.REMOVED}
    names = {record.node.ray_id: record.node.id for record in ledger.nodes if record.node.ray_id}
    world = _World(facts, snapshot, groups, names, past or Past(), now)
    remembered = {deployment.name: deployment for deployment in memory.deployments}
    bundles = _bundles(groups)
    # Of several notices about one node, the one that says when it goes.
    notices = {one.node: one for one in sorted(snapshot.notices, key=lambda one: one.deadline is not None)}
    return {
        "cluster": {
            "name": facts.name,
            "provider": facts.provider,
            "head_address": facts.head_address,
            "nodes": [
                _node(record, bundles.get(record.node.ray_id, {}), notices.get(record.node.ray_id))
                for record in ledger.nodes
            ],
            "limits": _limits(snapshot.capacity),
        },
        "request": {
            "bundles": [bundle_document(bundle) for bundle in memory.request or ()],
            "sent_at": memory.request_sent_at or None,
        },
        "deployments": [_deployment(d, remembered.get(d.name), world) for d in spec.deployments],
        "ledger": ledger_document(tracks, ledger, memory, snapshot, prices_of(spec), now),
    }


def _limits(capacity: Capacity | None) -> dict[str, Any] | None:
    """How many workers the cluster may have, in all and of each type; None where nobody knows."""
    if capacity is None:
        return None
    workers = {each.name: each.max_workers for each in capacity.node_types if not each.is_head}
    return {"max_workers": capacity.max_workers, "node_types": workers}


def _bundles(groups: dict[GroupName, GroupSeen]) -> dict[str, dict[str, int]]:
    """How many bundles of which replica each node holds, by Ray's id."""
    held: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for name, group in groups.items():
        for ray_id in filter(None, group.bundle_nodes):  # a node on its way has no id of Ray's, nor has such a bundle
            held[ray_id][f"{name.deployment}/{name.replica}"] += 1
    return held


def _node(record: NodeRecord, bundles: dict[str, int], notice: NodeNotice | None) -> dict[str, Any]:
    node = record.node
    detail = node.detail
    if node.is_head:
        detail = "head"
    elif node.suspect:
        detail = "refuses connections; Ray has not declared it dead"
    elif notice is not None and notice.deadline is not None and node.state is not NodeState.DEAD:
        detail = f"the cloud takes it at {clock(notice.deadline)} ({notice.kind.value})"
    elif bundles and node.state is not NodeState.DEAD:
        detail = "bundles: " + ", ".join(f"{count} of {owner}" for owner, count in sorted(bundles.items()))
    return {
        "id": node.id,
        "type": node.type,
        "state": node.state.value,
        "gpus": node.gpus,
        "since": record.since,
        "detail": detail,
    }


def _deployment(spec: DeploymentSpec, memory: DeploymentMemory | None, world: _World) -> dict[str, Any]:
    most, scaled = spec.shape.replicas, at_scale(spec, memory)
    spec = at_rung(scaled, memory)
    phase = phase_of(spec, memory, world.now) if memory else Phase.WAITING
    ended = phase if phase in (Phase.STOPPED, Phase.FAILED) else None
    asks = ended is None or (ended is Phase.FAILED and spec.on_failure is OnFailure.KEEP)
    failure = memory.failure if memory else None
    gpus = asked_gpus(spec, memory) if memory and (spec.former is not None or is_moving(memory)) else scaled.shape.gpus
    return {
        "name": spec.name,
        "model": spec.served_model_name,
        "phase": phase.value,
        "reason": " ".join([reason(spec, memory, world.snapshot, world.now), *_expected(phase, memory, world.past)]),
        "endpoint": world.facts.endpoint,
        "api_key_file": "",
        "gpus": {
            "requested": _requested(spec, memory, gpus) if asks else 0,
            "placed": tally(spec, gpus, world.snapshot).placed,
        },
        "shape": _shape(spec.shape),
        "full_shape": _shape(spec.full or spec.shape),
        "rung_arguments": list(spec.rung_arguments),
        "replicas": [
            _replica(spec.name, replica, ended or replica_phase(replica), world)
            for replica in (memory.replicas if memory else ())
        ],
        "recoveries": [
            {"started_at": recovery.started_at, "cause": recovery.cause, "seconds": round(recovery.seconds, 3)}
            for recovery in (memory.recoveries if memory else ())
        ],
        "failure": _failure(failure),
        "rollout": _rollout(spec, memory),
        "since": world.past.phase_since.get(spec.name),
        "deadline": _deadline(spec, memory) if phase is Phase.WAITING and spec.shape.replicas else None,
        "model_source": spec.model,
        "pools": pool_documents(spec, memory),
        "wasted_usd": round(memory.wasted, 4) if memory else 0.0,
        **({"scale": _scale(spec, most)} if is_scaled(spec) else {}),
    }


def _shape(shape: Shape) -> dict[str, int]:
    return {
        "tensor_parallel": shape.tensor_parallel,
        "pipeline_parallel": shape.pipeline_parallel,
        "replicas": shape.replicas,
    }


def _requested(spec: DeploymentSpec, memory: DeploymentMemory | None, gpus: int) -> int:
    """What is asked for: less than is wanted while a replica has no pool to be asked."""
    if memory is None or all(replica.pool is not None for replica in memory.staying):
        return gpus
    return sum(bundle.count for bundle in asked_bundles(spec, memory))


def _scale(spec: DeploymentSpec, most: int) -> dict[str, Any]:
    """Between which numbers of replicas the load decides, and when it decides for none."""
    least = most if spec.scaling is None else spec.scaling.least
    return {"min": least, "max": most, "idle_timeout": spec.idle_timeout}


def _failure(failure: Failure | None) -> dict[str, str] | None:
    return {"kind": failure.kind.value, "message": failure.message} if failure else None


def _rollout(spec: DeploymentSpec, memory: DeploymentMemory | None) -> dict[str, Any] | None:
    """How a change fares: `rolling`, `restoring` what was before, or `given_up` for good; None where there is none."""
    refused = memory.refused if memory else None
    if spec.former is None and refused is None:
        return None
    state = "given_up" if spec.former is None else "restoring" if spec.restoring else "rolling"
    return {
        "state": state,
        "proven": proven(spec, memory) if memory else 0,
        "replicas": spec.shape.replicas,
        "failure": _failure(refused),
    }


def _expected(phase: Phase, memory: DeploymentMemory | None, past: Past) -> tuple[str, ...]:
    """What this cluster's past lets one expect of what the deployment waits for now."""
    if phase not in (Phase.WAITING, Phase.STARTING, Phase.RECOVERING) or (memory is not None and not memory.staying):
        return ()
    gathering = memory is None or any(r.whole_since is None for r in memory.replicas if not r.serves)
    return (expect_gang(past) if gathering else expect_start(past),)


def _deadline(spec: DeploymentSpec, memory: DeploymentMemory | None) -> float | None:
    if memory is None or spec.wait_timeout is None:
        return None
    return memory.waiting_since + spec.wait_timeout


def _replica(deployment: str, replica: ReplicaMemory, phase: Phase, world: _World) -> dict[str, Any]:
    group = world.groups.get(GroupName(deployment, replica.id))
    return {
        "id": replica.id,
        "phase": phase.value,
        "generation": replica.generation,
        "placement_group": {"id": group.id, "state": group.state.value} if group else {"id": "", "state": ABSENT},
        "nodes": sorted({world.names.get(ray_id, ray_id) for ray_id in group.bundle_nodes if ray_id}) if group else [],
    }
