"""What Ray's control store (GCS) knows, read raw: nodes, actors, placement groups, the autoscaler's state.

The one place that uses Ray's private interfaces, because the public ones drop what is needed (a node's provider id,
an actor's placement group, pending launches). `tests/runtime/test_ray_tables.py` notices when one of them changes.
Every call blocks, for seconds at the most; the observer runs them in threads.
"""

from collections import Counter
from dataclasses import dataclass

import ray
from ray._private import state as ray_state
from ray._raylet import GcsClient  # type: ignore[attr-defined]  # a compiled module, without stubs for it
from ray.core.generated import autoscaler_pb2, gcs_pb2
from ray.util.placement_group import placement_group_table

TIMEOUT = 10.0
"""Seconds for one read of the GCS; it answers in milliseconds where it answers at all."""


@dataclass(frozen=True, slots=True)
class RayNode:
    """One node that is or was in the cluster. `port` is its raylet's, `started_at` when that was started, in ms."""

    id: str
    instance_id: str
    type: str
    alive: bool
    draining: bool
    address: str
    port: int
    gpus: int
    is_head: bool
    death: str
    started_at: int = 0


@dataclass(frozen=True, slots=True)
class PendingNode:
    """A node that the autoscaler has asked for (`launched` False) or got and has not seen join."""

    id: str
    type: str
    launched: bool
    detail: str


@dataclass(frozen=True, slots=True)
class RayActor:
    """One actor, dead ones among them. `group_id` is its placement group's, "" for none; `started_at` is in ms."""

    name: str
    namespace: str
    state: str
    node: str
    pid: int
    group_id: str
    started_at: int
    death: str


@dataclass(frozen=True, slots=True)
class RayGroup:
    """One placement group; `nodes` has a node id for each bundle, "" where it is not placed."""

    id: str
    name: str
    state: str
    nodes: tuple[str, ...]


def gcs_client() -> GcsClient:
    """A client of this cluster's GCS; cheap to keep, and safe to use from several threads."""
    return GcsClient(address=ray.get_runtime_context().gcs_address)


def session_name() -> str:
    """The name of Ray's session: another one means that another head has been started."""
    return str(ray._private.worker.global_worker.node.session_name)


def nodes(client: GcsClient) -> list[RayNode]:
    """All nodes, dead ones among them as long as the GCS remembers them."""
    found = []
    for info in client.get_all_node_info(timeout=TIMEOUT).values():
        death = info.death_info
        found.append(
            RayNode(
                id=info.node_id.hex(),
                instance_id=info.instance_id,
                type=info.node_type_name,
                alive=info.state == gcs_pb2.GcsNodeInfo.ALIVE,
                draining=info.state_snapshot.state == gcs_pb2.NodeSnapshot.DRAINING,
                address=info.node_manager_address,
                port=info.node_manager_port,
                gpus=int(info.resources_total.get("GPU", 0)),
                is_head=info.is_head_node,
                death=death.reason_message,
                started_at=info.start_time_ms,
            )
        )
    return found


def drain(client: GcsClient, node: str, deadline: float, why: str, *, if_idle: bool = False) -> None:
    """Have Ray drain a node that is taken at `deadline`. Raises RuntimeError where Ray refuses.

    Nothing is placed on it any more and the autoscaler counts it no more; groups and actors on it stay as they are, and
    Ray ends nothing at the deadline, which it only tells those who ask. `if_idle`: Ray may refuse it for a node that is
    used, and that is no error.
    """
    reasons = autoscaler_pb2.DrainNodeReason
    reason = reasons.DRAIN_NODE_REASON_IDLE_TERMINATION if if_idle else reasons.DRAIN_NODE_REASON_PREEMPTION
    accepted, words = client.drain_node(node, reason, why, int(deadline * 1000), timeout=TIMEOUT)
    if not accepted and not if_idle:
        raise RuntimeError(f"Ray does not drain node {node}: {words}")


def pending_nodes(client: GcsClient) -> list[PendingNode]:
    """The nodes on their way, as the autoscaler last told the GCS."""
    reply = autoscaler_pb2.GetClusterStatusReply.FromString(client.get_cluster_status(timeout_s=TIMEOUT))
    state = reply.autoscaling_state
    found = [
        PendingNode(item.instance_id, item.ray_node_type_name, True, item.details) for item in state.pending_instances
    ]
    asked: Counter[str] = Counter()
    for item in state.pending_instance_requests:  # one for each call to the cloud, so several may be of one type
        for _ in range(item.count):
            asked[item.ray_node_type_name] += 1
            number = asked[item.ray_node_type_name]
            found.append(PendingNode(f"{item.ray_node_type_name}-asked-{number}", item.ray_node_type_name, False, ""))
    return found


def actors() -> list[RayActor]:
    """All actors of the cluster, dead ones among them as long as the GCS remembers them."""
    accessor = ray_state.state._connect_and_get_accessor()
    found = []
    for raw in accessor.get_actor_table(None, None):
        data = gcs_pb2.ActorTableData.FromString(raw)
        state = gcs_pb2.ActorTableData.ActorState.Name(data.state)
        which = data.death_cause.WhichOneof("context") if state == "DEAD" else None
        found.append(
            RayActor(
                name=data.name,
                namespace=data.ray_namespace,
                state=state,
                node=(data.node_id or data.address.node_id).hex(),
                pid=data.pid,
                group_id=data.placement_group_id.hex() if data.placement_group_id.strip(b"\xff") else "",
                started_at=data.start_time,
                death=getattr(getattr(data.death_cause, which), "error_message", "") if which else "",
            )
        )
    return found


def groups() -> list[RayGroup]:
    """All placement groups, removed ones among them as long as the GCS remembers them."""
    return [
        RayGroup(
            id=table["placement_group_id"],
            name=table["name"],
            state=table["state"],
            nodes=tuple(node for _, node in sorted(table["bundles_to_node_id"].items())),
        )
        for table in placement_group_table().values()
    ]
