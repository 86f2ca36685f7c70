"""A cluster for one measurement: made from cluster-templates/local.yaml, ended whatever happens.

Used by `ours` and `bare` alike, so that both have the same node types and the same settings of Ray. It knows commands
and processes, and nothing of what is measured.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from elastic_deploy.cluster.agent_process import AgentProcess, SilentError
from elastic_deploy.cluster.local import nodes, state
from elastic_deploy.cluster.local.environment import ray_executable
from elastic_deploy.cluster.local.processes import find
from elastic_deploy.model.errors import RefusedError, WaitTimeoutError

TEMPLATE = Path(__file__).parents[2] / "cluster-templates" / "local.yaml"

QUESTION_LIMIT = 60.0
"""Seconds for a command that only asks, on a machine where everything else runs as well."""

DOWN_LIMIT = 180.0


@dataclass(frozen=True, slots=True)
class BenchCluster:
    """One cluster, by its YAML and its name. ELASTIC_DEPLOY_HOME is this process's own."""

    path: Path
    name: str

    def command(self, verb: str, *arguments: str) -> list[str]:
        """One of our commands on this cluster, as arguments."""
        return [sys.executable, "-m", "elastic_deploy", verb, str(self.path), *arguments]

    def ray(self, verb: str, *arguments: str) -> list[str]:
        """One of `ray`'s own commands on this cluster, as arguments; it leaves its caches beside the YAML."""
        settings = (f"TMPDIR={self.path.parent}", "RAY_UP_enable_autoscaler_v2=1", "RAY_USAGE_STATS_ENABLED=0")
        return ["env", *settings, str(ray_executable()), verb, "--yes", *arguments, str(self.path)]

    def document(self, verb: str) -> Any:
        """What `status` or `events` prints as JSON. Raises as `lines` does."""
        return json.loads("\n".join(lines(self.command(verb, "-o", "json"), QUESTION_LIMIT)))

    def on_head(self, shell_command: str) -> list[str]:
        """A shell command on the head, as arguments. Raises RefusedError where no head lives."""
        head = state.head_node_id(self.name)
        if head is None:
            raise RefusedError(f"The head of {self.name} does not run: it has died by itself.")
        return [*state.shell_command(self.name, head), shell_command]

    def kill_raylet(self, node_id: str) -> float:
        """SIGKILL a node's raylet, as when its machine loses its power; the time when, seconds since the epoch.

        Raises RefusedError where the node has none.
        """
        for node in state.live_nodes(self.name):
            for process, name in find(node.mark, node.sessions).items():
                if node.id == node_id and name == "raylet":
                    os.kill(process.pid, signal.SIGKILL)
                    return time.time()
        raise RefusedError(f"Node {node_id} of {self.name} has no raylet to kill: it has died by itself.")


@contextmanager
def fresh_cluster(directory: Path, name: str, *, bare: bool = False) -> Iterator[BenchCluster]:
    """A cluster that does not run yet, and of which nothing runs afterwards.

    A `bare` one is launched and ended by `ray up` and `ray down`; nothing of ours runs on its head.
    """
    config = yaml.safe_load(TEMPLATE.read_text())
    path = directory / f"{name}.yaml"
    path.write_text(yaml.safe_dump(config | {"cluster_name": name}, sort_keys=False))
    cluster = BenchCluster(path, name)
    try:
        yield cluster
    finally:
        _end(cluster, cluster.ray("down") if bare else cluster.command("down", "--yes"))


def _end(cluster: BenchCluster, down: Sequence[str]) -> None:
    """End it by a command; whatever that leaves is ended by the ids of its nodes."""
    try:
        lines(down, DOWN_LIMIT)
    finally:
        left = state.read(cluster.name)
        for node_id in left.nodes if left else ():
            nodes.end(cluster.name, node_id, grace_s=0.0)


def lines(arguments: Sequence[str], limit: float) -> list[str]:
    """All that a command prints. Raises WaitTimeoutError after `limit` seconds, RefusedError where it fails."""
    with AgentProcess(arguments, {}) as process:
        try:
            printed = list(process.lines(None, limit))
        except SilentError:
            raise WaitTimeoutError(f"`{_shown(arguments)}` did not end within {limit:g} s.") from None
        status = process.exit_status()
        if status != 0:
            raise RefusedError(f"`{_shown(arguments)}` ended with status {status}: {process.last_words()}")
    return printed


def _shown(arguments: Sequence[str]) -> str:
    return " ".join(Path(word).name if "/" in word else word for word in arguments[:8])
