"""The checks on two real Ray nodes: everything is found, and a node that has died is named."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import ray

from elastic_deploy.model.check import Verdict
from elastic_deploy.model.names import NAMESPACE
from elastic_deploy.runtime.node_checks.facts import Answer, ClusterFacts
from elastic_deploy.runtime.node_checks.gather import gather
from elastic_deploy.runtime.node_checks.judge import judge

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

RAY = Path(sys.executable).parent / "ray"


def start(*arguments: str, instance: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [str(RAY), "start", "--block", "--object-store-memory=80000000", "--num-cpus=1", *arguments],
        env=os.environ | {"RAY_CLOUD_INSTANCE_ID": instance},
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def end(started: "subprocess.Popen[bytes]") -> None:
    """Kill every process of the session that was started here."""
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == started.pid:
                process.kill()
        except (psutil.Error, ProcessLookupError):
            continue
    started.wait(10)


def wait_for_nodes(count: int) -> None:
    deadline = time.monotonic() + 90
    while sum(node["Alive"] for node in ray.nodes()) != count:
        assert time.monotonic() < deadline, f"there were never {count} nodes"
        time.sleep(0.2)


@pytest.fixture(scope="module")
def worker() -> Iterator["subprocess.Popen[bytes]"]:
    """Two nodes without token authentication, this process connected to them; the worker's process."""
    directory = Path(tempfile.mkdtemp(prefix="ed-test-"))
    started = []
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("RAY_")]:
            patch.delenv(name)
        patch.setenv("HOME", str(directory))
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_health_check_initial_delay_ms", "1000")
        patch.setenv("RAY_health_check_period_ms", "1000")
        patch.setenv("RAY_health_check_failure_threshold", "3")
        port = free_port()
        address = f"{ray.util.get_node_ip_address()}:{port}"
        try:
            head = ["--head", f"--port={port}", "--include-dashboard=false", f"--temp-dir={directory / 'ray'}"]
            started.append(start(*head, f"--ray-client-server-port={free_port()}", instance="head-1"))
            deadline = time.monotonic() + 90
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    assert time.monotonic() < deadline
                    assert started[0].poll() is None
                    time.sleep(0.2)
            started.append(start(f"--address={address}", instance="worker-1"))
            ray.init(address=address, namespace=NAMESPACE, log_to_driver=False, logging_level="ERROR")
            wait_for_nodes(2)
            yield started[1]
        finally:
            ray.shutdown()
            for one in started:
                end(one)
            shutil.rmtree(directory, ignore_errors=True)


def verdicts(facts: ClusterFacts) -> dict[str, Verdict]:
    return {check.name: check.verdict for check in judge(facts)}


def test_two_nodes_are_measured_and_their_open_ports_named(worker: object) -> None:  # noqa: ARG001
    facts = gather()

    assert set(facts.addresses) == {"head-1", "worker-1"} == {node.node for node in facts.nodes}
    assert facts.silent == {}
    assert {path.what for path in facts.paths} == {"raylet", "object manager", "ephemeral ports"}
    assert [path for path in facts.paths if path.error] == []
    assert {(link.source, link.target) for link in facts.links} == {("head-1", "worker-1"), ("worker-1", "head-1")}
    assert set(facts.clocks) == {"head-1", "worker-1"}
    assert all(node.versions["ray"] == ray.__version__ for node in facts.nodes)
    found = verdicts(facts)
    assert found["nodes"] is found["network"] is found["versions"] is found["clocks"] is Verdict.PASS
    # No token is asked for: the control store and the raylet let a stranger in, and are named.
    assert found["strangers"] is Verdict.FAILURE
    opened = {knock.listener.process for knock in facts.knocks if knock.answer is Answer.OPEN}
    assert {"gcs_server", "raylet"} <= opened


def test_a_node_that_has_died_is_a_failure_with_its_name(worker: "subprocess.Popen[bytes]") -> None:
    end(worker)
    wait_for_nodes(1)
    facts = gather()
    assert list(facts.dead) == ["worker-1"]
    (nodes,) = (check for check in judge(facts) if check.name == "nodes")
    assert nodes.verdict is Verdict.FAILURE
    assert "worker-1 is dead" in nodes.sentence
