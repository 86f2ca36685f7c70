"""The files that make a directory a node: a shell with the node's environment, and a `ray` that knows its node.

Called by `nodes` when it creates one. The environment is written down once, in the shell, and everything that runs on
the node comes through it: Ray's own commands, ours, and a person's.
"""

import os
import secrets
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from elastic_deploy.cluster.local.processes import MARK
from elastic_deploy.cluster.local.start_hook import LOOPBACK
from elastic_deploy.cluster.local.state import Node, State
from elastic_deploy.model.home import cluster_dir, home, private_dir, write_private

_SHELL = """\
#!/usr/bin/env bash
# Runs its argument as a shell command on node {node}, or an interactive shell without one.
for name in ${{!RAY_@}}; do unset "$name"; done  # as on a machine of its own: none of the caller's Ray settings
{exports}
cd "$HOME" || exit
if (( $# )); then exec bash -c "$*"; fi
exec bash
"""

_RAY = """\
#!/usr/bin/env bash
# `ray` on node {node}. Only the start of its Ray is watched and logged; `stop` ends this node's Ray and no other.
case "${{1-}}" in
  start | stop) exec {python} -m elastic_deploy.cluster.local.ray_command "$@" ;;
  *) exec {ray} "$@" ;;
esac
"""


def token_path(cluster_name: str) -> Path:
    """The file with the token that Ray demands of everyone who connects to the cluster."""
    return cluster_dir(cluster_name) / "ray-token"


def ensure_token(cluster_name: str) -> None:
    """Make the cluster's Ray token, of 256 random bits, where there is none."""
    path = token_path(cluster_name)
    if not path.exists():
        write_private(path, secrets.token_hex(32))


def ray_executable() -> Path:
    """The `ray` of the Python that runs us."""
    return _bin_dir() / "ray"


def gcs_address(state: State) -> str:
    """Where clients and workers reach the cluster's head.

    The loopback address is written as IPv6 has it, because Ray takes a literal 127.0.0.1 for "this machine" and puts
    the machine's outside address in its place, where nothing listens (`_private/services.py`,
    `canonicalize_bootstrap_address`).
    """
    return f"[::ffff:{LOOPBACK}]:{state.ports.gcs}"


def variables(state: State, node: Node, rehearsal: bool, caller: Mapping[str, str]) -> dict[str, str]:
    """The environment of a node's processes, beyond what the caller has and does not begin with RAY_.

    `caller` is the environment of the process that creates the node. No value is a secret: they are seen by whoever
    reads the node's files.
    """
    cache = caller.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return {
        MARK: node.mark,
        "ELASTIC_DEPLOY_HOME": str(home()),
        **({"ELASTIC_DEPLOY_REHEARSAL": "1"} if rehearsal else {}),
        "ELASTIC_DEPLOY_GCS_PORT": str(state.ports.gcs),
        "HOME": str(node.home),
        "PATH": os.pathsep.join([str(node.home / "bin"), str(_bin_dir()), caller.get("PATH", os.defpath)]),
        # Weights and compiled kernels are the machine's, not each node's.
        "XDG_CACHE_HOME": cache,
        "TMPDIR": str(Path(node.temp_dir) / "tmp"),
        "RAY_TMPDIR": node.temp_dir,
        "RAY_ADDRESS": gcs_address(state),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token_path(node.cluster)),
        "RAY_START_HOOK": "elastic_deploy.cluster.local.start_hook.apply",
        "RAY_CLOUD_INSTANCE_ID": node.id,
        "RAY_NODE_TYPE_NAME": node.type,
        "RAY_USAGE_STATS_ENABLED": "0",
        # Ray runs workers at nice 15; an engine then gets next to nothing of a machine on which anything else runs.
        "RAY_worker_niceness": "0",
        # vLLM's and gloo's own connections between workers: else they would listen on the machine's outside address.
        "VLLM_HOST_IP": LOOPBACK,
        "GLOO_SOCKET_IFNAME": "lo",
        "AUTOSCALER_METRIC_PORT": str(state.ports.autoscaler_metrics),
        "DASHBOARD_METRIC_PORT": str(state.ports.dashboard_metrics),
    }


def furnish(state: State, node: Node, rehearsal: bool) -> None:
    """Make the node's directories, its shell and its `ray`."""
    for directory in (node.home / "bin", Path(node.temp_dir) / "tmp", node.log_dir):
        private_dir(directory)
    settings = variables(state, node, rehearsal, os.environ)
    exports = "\n".join(f"export {name}={shlex.quote(value)}" for name, value in settings.items())
    _write_executable(node.shell, _SHELL.format(node=node.id, exports=exports))
    python, ray = shlex.quote(sys.executable), shlex.quote(str(ray_executable()))
    _write_executable(node.home / "bin" / "ray", _RAY.format(node=node.id, python=python, ray=ray))


def _bin_dir() -> Path:
    return Path(sys.executable).parent


def _write_executable(path: Path, text: str) -> None:
    write_private(path, text)
    path.chmod(0o700)
