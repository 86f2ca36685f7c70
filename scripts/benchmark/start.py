"""What is measured of a start, by us and without us, on clusters that are alike.

Called by scripts/bench. Both sides end with the same: a token from vLLM, tensor parallel over two nodes of one GPU.
"""

import json
import os
import shlex
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elastic_deploy.model.errors import RefusedError
from elastic_deploy.rehearsal.engine_arguments import TINY_MODEL
from scripts.benchmark.cluster import BenchCluster, lines

HEAD_LIMIT = 300.0
"""Seconds for `ray up` of a head on this machine; it takes about 10."""

UP_LIMIT = 900.0
"""Seconds for a head, two nodes and one engine on a machine that may be busy; all of it takes about 70."""

OUR_MARKS = {
    "request": "request",
    "node.joined": "nodes joined",
    "group.ready": "group ready",
    "engine.starting": "engine ordered",
    "engine.ready": "first token",
}
"""Our journal's kinds of event, and what each marks; of nodes that join it is the last that counts."""


@dataclass(frozen=True, slots=True)
class Start:
    """One start. `marks` are seconds since the GPUs were asked for; `load` is the machine's load before it."""

    load: float
    marks: dict[str, float]

    @property
    def group_seconds(self) -> float:
        """From the request to the placement group."""
        return self.marks["group ready"] - self.marks["request"]

    @property
    def engine_seconds(self) -> float:
        """From the placement group to the first token."""
        return self.marks["first token"] - self.marks["group ready"]


def start_ours(cluster: BenchCluster) -> Start:
    """`elastic-deploy up`; the marks are those of the journal."""
    load = os.getloadavg()[0]
    sizes = ("--gpus", "2", "--tensor-parallel-size", "2", "--port", str(_free_port()))
    lines(cluster.command("up", "--model", TINY_MODEL, *sizes, "--yes", "-o", "json"), UP_LIMIT)
    events: list[dict[str, Any]] = cluster.document("events")
    times = {OUR_MARKS[event["kind"]]: event["time"] for event in events if event["kind"] in OUR_MARKS}
    return Start(load, _since_request(times, cluster.name))


def start_bare(cluster: BenchCluster) -> Start:
    """`ray up`, then a plain driver on the head; the marks are its own."""
    load = os.getloadavg()[0]
    lines(cluster.ray("up", "--no-config-cache"), HEAD_LIMIT)
    driver = shlex.quote(str(Path(__file__).with_name("bare_driver.py")))
    # The client sends its request where the head's autoscaler looks for it only if it is told which one runs there.
    printed = lines(cluster.on_head(f"RAY_enable_autoscaler_v2=1 exec python {driver}"), UP_LIMIT)
    return Start(load, _since_request(json.loads(printed[-1]), cluster.name))


def _since_request(times: dict[str, float], cluster: str) -> dict[str, float]:
    missing = {"request", "group ready", "first token"} - times.keys()
    if missing:
        raise RefusedError(f"{cluster} came up and never told of: {', '.join(sorted(missing))}.")
    return {mark: round(at - times["request"], 3) for mark, at in times.items()}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
