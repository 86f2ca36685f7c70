"""`explain`: a paragraph a deployment, from what the head says."""

import json
from collections.abc import Callable
from pathlib import Path

from tests.cli.conftest import CLUSTER, Finished, Script, deployment, event, status


def test_each_deployment_has_its_paragraph(cli: Callable[..., Finished], cluster_yaml: Path, head: Script) -> None:
    head.answer("status", status(deployment(since=1_000_000.0), deployment("other", "waiting")))
    head.answer("events", [event(1, "It began.")])
    done = cli("explain", cluster_yaml)
    first, second = done.out.strip().split("\n\n")
    assert first.startswith("tiny is serving since 13:46:40 UTC, for ")
    assert second.startswith("other is waiting. other is waiting, the script says.")
    assert "elastic-deploy" not in done.err
    only = json.loads(cli("explain", cluster_yaml, "--deployment", "other", "-o", "json").out)
    assert [(one["deployment"], one["phase"]) for one in only["deployments"]] == [("other", "waiting")]
    assert only["deployments"][0]["text"] == second
    missing = cli("explain", cluster_yaml, "--deployment", "none")
    assert (missing.code, "it has: tiny, other" in missing.err) == (2, True)


def test_a_cluster_that_does_not_run_waits_for_nothing(
    cli: Callable[..., Finished], cluster_yaml: Path, home: Path
) -> None:
    assert "waits for nothing, and holds nothing" in cli("explain", cluster_yaml).out
    assert json.loads(cli("explain", cluster_yaml, "-o", "json").out) == {"cluster": CLUSTER, "deployments": []}
    assert not home.exists()
