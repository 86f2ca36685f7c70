"""`generate onprem`: machines that already run, reached over SSH, under Ray's `local` provider. Pure.

That provider launches nothing: it takes the machines that it is given, and works with Ray's first autoscaler only
(`autoscaler/_private/local`). What this means is said in the file's header.
"""

import shlex
from dataclasses import dataclass
from typing import Any

from elastic_deploy.cluster.generate.commented import Note, wrapped_command
from elastic_deploy.cluster.generate.node_setup import (
    file_mounts,
    head_setup_commands,
    head_start_commands,
    setup_commands,
    worker_setup_commands,
    worker_start_commands,
)
from elastic_deploy.cluster.generate.release import LocalFiles, Release
from elastic_deploy.model.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Machines:
    """What the user said. The first host is the head; `gpus` is what each of the others has, if it was said."""

    cluster_name: str
    hosts: tuple[str, ...]
    ssh_user: str
    private_key: str | None
    gpus: int | None


def check_machines(machines: Machines) -> None:
    """Raise UsageError (exit 2) for hosts that cannot be a cluster."""
    if len(machines.hosts) < 2:
        raise UsageError("--hosts needs two at least: the head first, then the machines with GPUs.")
    if len(set(machines.hosts)) < len(machines.hosts):
        raise UsageError("--hosts names a machine twice.")


def onprem_document(machines: Machines, release: Release, files: LocalFiles) -> dict[str, Any]:
    """The file's contents, in its order."""
    head, *workers = machines.hosts
    key: Any = machines.private_key or Note("~/.ssh/id_ed25519", question="which private key opens the machines?")
    return {
        "cluster_name": machines.cluster_name,
        "max_workers": Note(
            len(workers),
            "All of them, always: Ray connects every machine at the start. With a smaller `min_workers` it connects"
            " them as they are asked for.",
        ),
        "min_workers": len(workers),
        "upscaling_speed": Note(100, "Connect them all at once. At Ray's own 1.0 they come one by one."),
        "idle_timeout_minutes": Note(
            5, "An idle machine leaves the cluster after this, down to `min_workers`, and goes on running."
        ),
        "provider": Note(
            {"type": "local", "head_ip": head, "worker_ips": workers},
            "Addresses at which the machines reach each other, and this machine reaches them. What each has, Ray finds"
            " out on the machine.",
        ),
        "auth": {"ssh_user": machines.ssh_user, "ssh_private_key": key},
        "file_mounts": file_mounts(files, machines.cluster_name, ours=False),
        "setup_commands": setup_commands(release, None),
        "head_setup_commands": head_setup_commands(release, boto3=False),
        "worker_setup_commands": worker_setup_commands(release),
        "head_start_ray_commands": head_start_commands(),
        "worker_start_ray_commands": worker_start_commands(efa=False),
    }


def onprem_header(machines: Machines, release: Release) -> str:
    """What the file is, what it cannot do, and how to start it."""
    file, workers = f"{machines.cluster_name}.yaml", len(machines.hosts) - 1
    has = f" with {machines.gpus} GPU{'s' if machines.gpus > 1 else ''} each" if machines.gpus else ""
    nodes = "one machine" if workers == 1 else f"{workers} machines"
    return (
        f"A Ray cluster on machines that already run: a head, and {nodes}{has}. Written by\n"
        f"{wrapped_command(f'elastic-deploy generate onprem {_arguments(machines)}')}\n"
        "\n"
        "What it costs: nothing that Ray could save. No machine is launched and none is turned off.\n"
        "\n"
        "What it means: `up`, `plan`, `doctor` and `status` do not take this file. elastic-deploy asks an autoscaler"
        " for GPUs and replaces nodes that die; here there is nothing to ask, and a machine that dies is gone until"
        " somebody mends it. Use it with Ray alone, to find out whether the machines can serve, or start from it for"
        " a provider of your own. Ray's `local` provider knows its first autoscaler only, hence the variable below.\n"
        "\n"
        "What to change: what is marked TODO(you), and the addresses. The machines need Ubuntu or its like, NVIDIA's"
        " driver, SSH with the key below, and every port open among each other and closed to everybody else.\n"
        "\n"
        "How to start it, and to end it, with Ray of the same version as on the machines:\n"
        f'  pip install "ray[default]=={release.ray}"\n'
        f"  RAY_UP_enable_autoscaler_v2=0 ray up -y {file}\n"
        f"  ray exec {file} 'ray status'        ray down -y {file}"
    )


def _arguments(machines: Machines) -> str:
    words = ["--cluster-name", machines.cluster_name, "--hosts", ",".join(machines.hosts)]
    words += ["--ssh-user", machines.ssh_user]
    if machines.private_key:
        words += ["--private-key", machines.private_key]
    if machines.gpus:
        words += ["--gpus-per-node", str(machines.gpus)]
    return shlex.join(words)
