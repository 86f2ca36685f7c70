"""Ray Serve LLM with replicas to lose, on the same kind of local nodes as ours: started, killed a part of, ended.

Called by scripts/bench-doors. Everything of it runs in the environment that `peers.ray_serve` has made, the cluster's
Ray included.
"""

import os
import shlex
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from elastic_deploy.cluster.local import state
from elastic_deploy.cluster.local.processes import find
from elastic_deploy.model.errors import RefusedError
from elastic_deploy.rehearsal.engine_arguments import TINY_MODEL
from scripts.benchmark.cluster import BenchCluster, fresh_cluster, lines
from scripts.benchmark.replicas import HOST, UP_LIMIT, free_port
from scripts.benchmark.start import HEAD_LIMIT
from scripts.benchmark.trickle import Endpoint

_REPLICA = "ray::ServeRepli"
"""A replica's process, by the part of its title that proc(5) keeps."""


@dataclass(frozen=True, slots=True)
class ServeCluster:
    """An application that runs. Its door demands no key."""

    cluster: BenchCluster
    door: Endpoint

    def kill_one(self) -> float:
        """Kill the raylet of a node with a replica of the model; the time when, seconds since the epoch."""
        for node in state.live_nodes(self.cluster.name):
            running = find(node.mark, node.sessions)
            raylets = [process for process, name in running.items() if name == "raylet"]
            if not node.is_head and _REPLICA in running.values() and raylets:
                os.kill(raylets[0].pid, signal.SIGKILL)
                return time.time()
        raise RefusedError(f"No node of {self.cluster.name} has a replica: it has died by itself.")


@contextmanager
def serving(directory: Path, name: str, binaries: Path, count: int) -> Iterator[ServeCluster]:
    """Ray Serve LLM with `count` replicas; nothing of it runs afterwards."""
    with fresh_cluster(directory, name, bare=True) as cluster:
        up = cluster.ray("up", "--no-config-cache")
        lines([str(binaries / "ray") if word.endswith("/ray") else word for word in up], HEAD_LIMIT)
        driver, port = Path(__file__).with_name("serve_driver.py"), free_port()
        # As with bare Ray: a client sends its request to the autoscaler that it is told of.
        told = f"RAY_enable_autoscaler_v2=1 exec python {shlex.quote(str(driver))} {port} {count}"
        lines(cluster.on_head(told), UP_LIMIT)
        yield ServeCluster(cluster, Endpoint(f"http://{HOST}:{port}/v1", TINY_MODEL, "none"))
