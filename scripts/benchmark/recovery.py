"""What is measured of a recovery: a worker's raylet is killed under a client, and the journal tells the parts.

Called by scripts/bench on a cluster of ours that serves.
"""

import json
import os
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elastic_deploy.cluster.agent_process import AgentProcess, SilentError
from elastic_deploy.model.errors import EngineFailedError, RefusedError, WaitTimeoutError
from scripts.benchmark.cluster import BenchCluster
from scripts.benchmark.trickle import Answer, Endpoint, Trickle

RECOVERY_LIMIT = 900.0
"""Seconds from the kill to the recovery, which is one start of the engine on a machine that may be busy."""

CALM = 3.0
"""Seconds that the client asks before the kill and after the recovery, so that it is seen where the trouble ends."""

PARTS = (
    ("killed → noticed", "node.lost"),
    ("noticed → group whole again", "group.ready"),
    ("group whole → engine ordered", "engine.starting"),
    ("engine ordered → first generation", "engine.ready"),
)
"""Each part, and the kind of event that ends it."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """One recovery; all times are seconds.

    `suffered` is from when the first request was sent that failed or had to wait, to when the last of these ended.
    """

    load: float
    seconds: float
    parts: dict[str, float]
    requests: int
    failed: dict[str, int]
    waited: int
    longest_wait: float
    suffered: float


def kill_and_recover(cluster: BenchCluster) -> Recovery:
    """Kill the node of the gang's last bundle; vLLM's server runs in the first."""
    load = os.getloadavg()[0]
    deployment = cluster.document("status")["deployments"][0]
    victim = deployment["replicas"][0]["nodes"][-1]
    key = Path(deployment["api_key_file"]).read_text().strip()
    with Trickle(Endpoint(deployment["endpoint"], deployment["model"], key)) as client:
        time.sleep(CALM)
        killed_at = cluster.kill_raylet(victim)
        events = _until_recovered(cluster, killed_at)
        time.sleep(CALM)
        answers = client.answers()
    return _told(load, killed_at, events, answers)


def _until_recovered(cluster: BenchCluster, killed_at: float) -> list[dict[str, Any]]:
    """The events from the kill to the recovery."""
    events: list[dict[str, Any]] = []
    with AgentProcess(cluster.command("events", "--follow", "-o", "json"), {}) as following:
        try:
            for line in following.lines(None, RECOVERY_LIMIT):
                event = json.loads(line)
                if event["time"] < killed_at:
                    continue
                events.append(event)
                if event["kind"] == "deployment.failed":
                    raise EngineFailedError(f"The deployment failed instead of recovering: {event['message']}")
                if event["kind"] == "recovered":
                    return events
        except SilentError:
            raise WaitTimeoutError(f"Nothing serves {RECOVERY_LIMIT:g} s after a node was killed.") from None
        raise RefusedError(f"The events of {cluster.name} ended before the recovery: {following.last_words()}")


def _told(load: float, killed_at: float, events: list[dict[str, Any]], answers: list[Answer]) -> Recovery:
    parts: dict[str, float] = {}
    since = killed_at
    for part, kind in PARTS:
        at = next((event["time"] for event in events if event["kind"] == kind and event["time"] >= since), None)
        if at is None:
            raise RefusedError(f"The recovery has no event {kind}, with which the part {part!r} would end.")
        parts[part] = round(at - since, 3)
        since = at
    suffering = [answer for answer in answers if answer.suffered]
    waits = [answer.seconds for answer in suffering if not answer.error]
    began = min((answer.sent_at for answer in suffering), default=0.0)
    ended = max((answer.sent_at + answer.seconds for answer in suffering), default=0.0)
    return Recovery(
        load=load,
        seconds=round(since - killed_at, 3),
        parts=parts,
        requests=len(answers),
        failed=dict(Counter(answer.error for answer in answers if answer.error)),
        waited=len(waits),
        longest_wait=round(max(waits, default=0.0), 3),
        suffered=round(ended - began, 3),
    )
