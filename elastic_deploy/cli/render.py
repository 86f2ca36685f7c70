"""From the status document and from events to what a person reads. Pure; printed by `page`."""

import time
from typing import Any

from elastic_deploy.cli.page import Facts, Heading, Page, Table
from elastic_deploy.core.steps import AT_REST
from elastic_deploy.model.duration import format_duration

RECOVERIES_SHOWN = 5
"""On the page; `-o json` has them all."""


def status_page(document: dict[str, Any], now: float) -> Page:
    """The whole status, one page. `now` is the time in seconds since the epoch, as all times in the document."""
    cluster = document["cluster"]
    page: list[Heading | Facts | Table] = [
        Heading(f"Cluster {cluster['name']}"),
        Facts(
            (
                ("provider", cluster["provider"]),
                ("head", cluster["head_address"]),
                ("asked for", _request(document["request"], now)),
            )
        ),
        nodes_table(cluster["nodes"], now),
        steps_table(document.get("ledger", []), now),
    ]
    for deployment in document["deployments"]:
        page += deployment_page(deployment, now)
    return page


def deployment_page(deployment: dict[str, Any], now: float) -> list[Heading | Facts | Table]:
    """One deployment's part of the page."""
    shape, gpus = deployment["shape"], deployment["gpus"]
    replicas = deployment["replicas"]
    recoveries = deployment["recoveries"][-RECOVERIES_SHOWN:]
    return [
        Heading(f"Deployment {deployment['name']}"),
        Facts(
            (
                ("phase", deployment["phase"]),
                ("reason", deployment["reason"]),
                ("model", deployment["model"]),
                ("endpoint", deployment["endpoint"]),
                ("key file", deployment["api_key_file"]),
                ("GPUs", f"{gpus['placed']} of {gpus['requested']} placed"),
                (
                    "shape",
                    f"tensor parallel {shape['tensor_parallel']} x pipeline parallel {shape['pipeline_parallel']}"
                    f" x replicas {shape['replicas']}",
                ),
            )
        ),
        Table(
            ("REPLICA", "PHASE", "ENGINE", "GROUP", "NODES"),
            tuple(
                (
                    replica["id"],
                    replica["phase"],
                    f"g{replica['generation']}" if replica["generation"] else "none",
                    replica["placement_group"]["state"],
                    " ".join(replica["nodes"]),
                )
                for replica in replicas
            ),
        ),
        Table(
            ("RECOVERED", "TOOK", "CAUSE"),
            tuple(
                (
                    f"{format_duration(max(0.0, now - each['started_at'] - each['seconds']))} ago",
                    format_duration(each["seconds"]),
                    each["cause"],
                )
                for each in recoveries
            ),
        ),
    ]


def nodes_table(nodes: list[dict[str, Any]], now: float) -> Table:
    """The cluster's nodes, and how far each has come."""
    return Table(
        ("NODE", "TYPE", "STATE", "GPUS", "SINCE", "DETAIL"),
        tuple(
            (
                node["id"],
                node["type"],
                node["state"],
                str(node["gpus"]),
                format_duration(max(0.0, round(now - node["since"]))) if node["since"] else "",
                node["detail"],
            )
            for node in nodes
        ),
    )


def steps_table(ledger: list[dict[str, Any]], now: float) -> Table:
    """The nodes and replicas that are on their way: in which step, for how long, and how long it took before."""
    return Table(
        ("ON ITS WAY", "STEP", "SINCE", "EXPECTED"),
        tuple(
            (
                entry["id"] or entry["node_type"],
                _step(entry),
                format_duration(max(0.0, round(now - entry["since"]))),
                expected_words(entry["expected"]),
            )
            for entry in ledger
            if entry["step"] not in AT_REST
        ),
    )


def _step(entry: dict[str, Any]) -> str:
    refused = entry["refused"]
    if not refused or entry["step"] not in ("asked", "refused"):
        return str(entry["step"])
    return f"{entry['step']} ({refused['code'] or 'refused'}, {refused['times']}x)"


def expected_words(expected: dict[str, Any] | None) -> str:
    """What the cluster's journal lets one expect of a step."""
    if expected is None:
        return "unknown"
    middle, worst = format_duration(expected["median"]), format_duration(expected["worst"])
    return middle if expected["times"] == 1 else f"{middle}, at worst {worst}"


def count(number: int, word: str) -> str:
    """`1 GPU`, `2 GPUs`."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def event_line(event: dict[str, Any]) -> str:
    """An event on one line: when, and what."""
    return f"{time.strftime('%H:%M:%S', time.localtime(event['time']))}  {event['message']}"


def journal_line(event: dict[str, Any]) -> str:
    """An event on one line as `events` lists it: when, which, what led to it."""
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(event["time"]))
    cause = f"  (because of {event['cause']})" if event.get("cause") else ""
    return f"{when}  {event['id']}  {event['kind']}  {event['message']}{cause}"


def _request(request: dict[str, Any], now: float) -> str:
    bundles = [
        f"{bundle['count']} x {{{', '.join(f'{name}: {amount:g}' for name, amount in bundle['resources'].items())}}}"
        for bundle in request["bundles"]
    ]
    if not bundles:
        return "nothing"
    sent = f", sent {format_duration(max(0.0, round(now - request['sent_at'])))} ago" if request["sent_at"] else ""
    lease = request.get("lease") or {}
    kept = ""
    if lease.get("ends_at"):
        ago = format_duration(max(0.0, round(now - lease["renewed_at"])))
        left = format_duration(max(0.0, round(lease["ends_at"] - now)))
        kept = f"; lease renewed {ago} ago, ends in {left} if the supervisor is gone"
    return " + ".join(bundles) + sent + kept
