"""A deployment of ours with replicas to lose: started, asked for its engines, killed a part of, awaited.

Called by scripts/bench-doors. The engines are asked for as an operator of the head could: in the head's directory are
the routing table and the engines' key, which clients never see.
"""

import json
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elastic_deploy.cluster.local import state
from elastic_deploy.model.errors import EngineFailedError, RefusedError, WaitTimeoutError
from elastic_deploy.rehearsal.engine_arguments import TINY_MODEL
from scripts.benchmark.cluster import BenchCluster, lines
from scripts.benchmark.trickle import Endpoint

UP_LIMIT = 900.0
"""Seconds for a head, the nodes and the engines on a machine that may be busy; two of them take about 90."""

HOST = "127.0.0.1"
NOTICES = frozenset({"engine.failed", "engine.ended", "node.lost", "gang.broken"})
"""Kinds of event by which the supervisor says that a replica has lost a part."""


@dataclass(frozen=True, slots=True)
class Kill:
    """A raylet that was killed: whose, and when, in seconds since the epoch."""

    replica: str
    node: str
    at: float


@dataclass(frozen=True, slots=True)
class Replicas:
    """A deployment that has served. `door` is the front door, with a client's key."""

    cluster: BenchCluster
    count: int
    door: Endpoint

    def engines(self) -> tuple[str, ...]:
        """The addresses of the engines that serve, as the front door knows them at this moment."""
        table = json.loads((self._head / "routes.json").read_text())
        return tuple(backend["address"] for entry in table["entries"] for backend in entry["backends"])

    def engine_key(self) -> str:
        """The key that the engines demand."""
        return next((self._head / "keys").glob("*.engine")).read_text().strip()

    def kill_one(self) -> Kill:
        """Kill the raylet of the first replica's last node; what ran on the node dies with it."""
        replica = self._status()["replicas"][0]
        node = replica["nodes"][-1]
        return Kill(replica["id"], node, self.cluster.kill_raylet(node))

    def noticed(self, kill: Kill) -> float | None:
        """Seconds from the kill to the first event by which the supervisor says so; None if there is none."""
        times = [
            event["time"]
            for event in self.cluster.document("events")
            if event["time"] >= kill.at
            and event["kind"] in NOTICES
            and (event.get("replica") == kill.replica or event.get("node") == kill.node)
        ]
        return round(min(times) - kill.at, 3) if times else None

    def await_whole(self, limit_s: float) -> None:
        """Wait until every replica serves, and the front door knows it."""
        deadline = time.monotonic() + limit_s
        while not self._is_whole():
            if time.monotonic() > deadline:
                raise WaitTimeoutError(f"Not all of {self.count} replicas serve again after {limit_s:g} s.")
            time.sleep(1.0)

    def _is_whole(self) -> bool:
        status = self._status()
        if status["phase"] == "failed":
            raise EngineFailedError(f"The deployment failed instead of recovering: {status['reason']}")
        ready = [replica for replica in status["replicas"] if replica["phase"] == "ready"]
        return len(ready) == self.count == len(self.engines())

    def _status(self) -> dict[str, Any]:
        deployment: dict[str, Any] = self.cluster.document("status")["deployments"][0]
        return deployment

    @property
    def _head(self) -> Path:
        for node in state.live_nodes(self.cluster.name):
            if node.is_head:
                return node.home / ".elastic-deploy" / "head"
        raise RefusedError(f"The head of {self.cluster.name} does not run: it has died by itself.")


def deploy(cluster: BenchCluster, count: int) -> Replicas:
    """`elastic-deploy up` of the tiny model, one GPU and one node for each replica."""
    sizes = ("--gpus", str(count), "--replicas", str(count), "--tensor-parallel-size", "1", "--port", str(free_port()))
    lines(cluster.command("up", "--model", TINY_MODEL, *sizes, "--yes", "-o", "json"), UP_LIMIT)
    deployment = cluster.document("status")["deployments"][0]
    key = Path(deployment["api_key_file"]).read_text().strip()
    replicas = Replicas(cluster, count, Endpoint(deployment["endpoint"], deployment["model"], key))
    replicas.await_whole(UP_LIMIT)
    return replicas


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
