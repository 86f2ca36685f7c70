"""The whole cluster YAML for EC2: a tree of values, comments and questions, and its header. Pure.

`cluster.generate.commented` writes it.
"""

from typing import Any

from elastic_deploy.cluster.aws.choose import Choice
from elastic_deploy.cluster.aws.node_types import node_types
from elastic_deploy.cluster.aws.order import Market, arguments
from elastic_deploy.cluster.aws.prices import SPOT_WHERE, cost
from elastic_deploy.cluster.aws.steps import first_steps
from elastic_deploy.cluster.generate.commented import Note, wrapped_command
from elastic_deploy.cluster.generate.node_setup import (
    INSTANCE_STORE,
    file_mounts,
    head_setup_commands,
    head_start_commands,
    setup_commands,
    worker_setup_commands,
    worker_start_commands,
)
from elastic_deploy.cluster.generate.release import LocalFiles, Release

_UPSCALING = 100


def document(choice: Choice, release: Release, files: LocalFiles) -> dict[str, Any]:
    """The file's contents, in its order."""
    order = choice.order
    return {
        "cluster_name": order.cluster_name,
        "max_workers": Note(
            order.nodes,
            "GPU nodes, of all types together: the most that this cluster can cost. What is asked beyond is refused"
            " before anything starts.",
        ),
        "upscaling_speed": Note(
            max(_UPSCALING, order.nodes),
            "How many nodes may be launched at once, as a multiple of those there are. At Ray's own 1.0 a cluster grows"
            " from nothing by one node at a time, and a replica's nodes never come together.",
        ),
        "idle_timeout_minutes": Note(
            order.idle_timeout,
            "A node with nothing on it, and not asked for, is terminated after this. Nodes of a deployment are asked"
            " for as long as it runs.",
        ),
        **_metadata(choice),
        "provider": _provider(choice),
        "auth": _auth(choice),
        "available_node_types": Note(
            node_types(choice),
            "What stands under node_config is RunInstances' own; `*name` repeats what `&name` holds.",
        ),
        "head_node_type": "head",
        "file_mounts": file_mounts(files, order.cluster_name),
        "initialization_commands": Note(
            ["timeout 300 cloud-init status --wait > /dev/null 2>&1 || true"],
            "SSH answers before the machine has booted: its disks may not be mounted yet.",
        ),
        "setup_commands": setup_commands(release, INSTANCE_STORE),
        "head_setup_commands": head_setup_commands(release, boto3=True),
        "worker_setup_commands": worker_setup_commands(release),
        "head_start_ray_commands": head_start_commands(),
        "worker_start_ray_commands": worker_start_commands(efa=order.efa),
    }


def _metadata(choice: Choice) -> dict[str, Any]:
    if len(choice.pools) == 1:
        return {}
    settings = Note(
        {"elastic_deploy": {"pools": [pool.name for pool in choice.pools]}},
        "Where a replica may live, the best first: all of its nodes in one pool. One in which EC2 has no capacity, or"
        " only for a part of the nodes, is left for the next, and asked again later. `ray up` reads nothing of this.",
    )
    return {"metadata": settings}


def _provider(choice: Choice) -> Note:
    order, account = choice.order, choice.account
    region: Any = choice.region
    if not (account.region or order.region):
        region = Note(region, question="is this the region?")
    provider: dict[str, Any] = {"type": "aws", "region": region}
    if len(choice.pools) == 1 and not choice.pools[0].subnets and not order.efa:
        if choice.zones:
            provider["availability_zone"] = Note(
                ",".join(choice.zones), "Ray takes public subnets of these zones, of one VPC, in this order."
            )
        else:
            provider["availability_zone"] = Note(
                f"{choice.region}a", question=f"in which zones shall the nodes stand ({choice.region}a, ...)?"
            )
    provider["cache_stopped_nodes"] = Note(
        False, "Terminate nodes. By default Ray only stops them: their disks cost on, and a broken node comes back."
    )
    if order.internal_ips:
        provider["use_internal_ips"] = Note(
            True, "The nodes are reached at their private addresses: from inside the VPC, or through a VPN."
        )
    return Note(provider, "Ray asks this region for nodes, with the credentials that boto3 finds.")


def _auth(choice: Choice) -> Note:
    order = choice.order
    auth: dict[str, Any] = {"ssh_user": order.ssh_user}
    if order.key_name is None:
        return Note(
            auth,
            f"Without a key Ray makes the pair ray-autoscaler_{choice.region} and keeps it in ~/.ssh. To use one of"
            " yours, write `ssh_private_key: ~/.ssh/FILE` here and `KeyName: NAME` into every node_config.",
        )
    auth["ssh_private_key"] = (
        order.private_key
        if order.private_key
        else Note(
            f"~/.ssh/{order.key_name}.pem", question=f"is this the file with the private key of {order.key_name}?"
        )
    )
    return Note(auth, "The head gets a copy of the key, to reach the other nodes with.")


def header(choice: Choice, release: Release) -> str:
    """What the file is, what it costs, what to change, and how to start it."""
    order, instance = choice.order, choice.instance
    what = f"{instance.type} ({instance.gpus} x {instance.gpu})" if instance.gpu else instance.type
    bought = {
        Market.ON_DEMAND: "on demand",
        Market.SPOT: "spot",
        Market.SPOT_FALLBACK: "spot, with on-demand to fall back on",
    }[order.market]
    where = f" in {', '.join(choice.zones)}" if choice.zones else f" in {choice.region}"
    spot = f" Spot prices change all the time: {SPOT_WHERE}" if order.market is not Market.ON_DEMAND else ""
    file, gpus = f"{order.cluster_name}.yaml", order.nodes * instance.gpus
    nodes = "one node" if order.nodes == 1 else f"{order.nodes} nodes"
    steps = first_steps(choice)
    first = f"\n\nBefore the first start, once:\n{steps}" if steps else ""
    return (
        f"A Ray cluster on EC2, up to {nodes} of {what}{where}, {bought}, and a head without GPUs. Written by\n"
        f"{wrapped_command(f'elastic-deploy generate aws {arguments(order)}')}\n"
        "\n"
        f"{cost(instance.type, order.nodes, choice.head.type)}{spot}\n"
        "\n"
        f"What to change: what is marked TODO(you), then the limits right below. Everything else"
        " has its reason beside it.\n"
        "\n"
        "How to start it, and to end it:\n"
        f"  elastic-deploy up {file} --model M --gpus {gpus}        elastic-deploy down {file}\n"
        "With Ray alone, of the same version as on the nodes:\n"
        f'  pip install "ray[default]=={release.ray}" boto3\n'
        f"  ray up -y {file}        ray exec {file} 'ray status'        ray down -y {file}"
        f"{first}"
    )
