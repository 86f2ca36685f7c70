"""A real cluster through the command line, without an engine: launched, waited for, interrupted, taken down."""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from elastic_deploy.cluster.config import load_cluster
from elastic_deploy.cluster.orphan import end_orphans
from elastic_deploy.cluster.teardown import left_of, standing
from tests.cli.conftest import CLUSTER, Finished, command_line

pytestmark = pytest.mark.cluster

LIMIT_S = 240


def run(*arguments: object) -> Finished:
    done = subprocess.run(
        command_line(*arguments), capture_output=True, text=True, timeout=LIMIT_S, stdin=subprocess.DEVNULL
    )
    return Finished(done.returncode, done.stdout, done.stderr)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def scarce(cluster_yaml: Path) -> Iterator[Path]:
    """A cluster that never has a second GPU, so that no engine starts; taken down at the end whatever happens."""
    text = cluster_yaml.read_text()
    assert "  rehearsal: true\n" in text
    cluster_yaml.write_text(
        text.replace("  rehearsal: true\n", "  rehearsal: true\n  rehearsal_script: {max_nodes: 1}\n")
    )
    yield cluster_yaml
    run("down", cluster_yaml, "-y")


@pytest.mark.timeout(900)
def test_a_cluster_from_nothing_to_nothing(scarce: Path, home: Path) -> None:
    up = ("up", scarce, "--model", "tiny", "--gpus", 2, "--tensor-parallel-size", 2, "--port", free_port())

    # Broken off in the middle of the launch: it says what stands, and the next one goes on from there.
    with subprocess.Popen(command_line(*up), stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "Ray is being started" in line:
                break
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
        assert process.wait(60) == 130
    assert "is not finished: node head-" in rest
    assert f"elastic-deploy down {scarce}\n" in rest
    assert run("status", scarce).code == 0

    began = time.monotonic()
    waited = run(*up, "--wait-timeout", "10s", "-o", "json")
    assert waited.code == 5, waited.err
    assert time.monotonic() - began < LIMIT_S
    result = waited.json_lines[-1]
    assert (result["exit_code"], result["status"]["phase"]) == (5, "failed")
    assert "missing" in waited.err
    assert f"To remove it: elastic-deploy down {scarce}" in waited.err
    key_file = Path(result["status"]["api_key_file"])
    assert key_file.read_text().strip()

    document = json.loads(run("status", scarce, "-o", "json").out)
    assert document["cluster"]["name"] == CLUSTER
    assert document["cluster"]["provider"] == "local"
    assert document["deployments"][0]["phase"] == "failed"
    events = json.loads(run("events", scarce, "-o", "json").out)
    refusals = [each for each in events if "InsufficientInstanceCapacity" in each["message"]]
    assert refusals
    assert all({"time", "kind", "deployment", "replica", "node", "cause", "message"} <= set(each) for each in events)

    # A cluster that was there before is not taken down by an `up` that gives up: only what that `up` began is.
    again = run(*up, "--wait-timeout", "5s", "-y")
    assert again.code == 5, again.err
    assert "cluster stand-in stays as it was before" in again.err

    before = standing(load_cluster(scarce))
    assert len(before.nodes) >= 1
    down = run("down", scarce)
    assert down.code == 0, down.err
    assert left_of(before) == []
    assert not key_file.exists()
    assert not (home / CLUSTER / "ray-token").exists()
    assert sorted(os.listdir(home / CLUSTER)) == ["journal.jsonl", "logs"]  # noqa: PTH208 (names are what counts)
    kept = json.loads(run("events", scarce, "-o", "json").out)
    assert kept[: len(events)] == events

    twice = run("down", scarce)
    assert (twice.code, twice.err) == (0, f"Nothing to do: cluster {CLUSTER} does not run.\n")


@pytest.mark.timeout(300)
def test_a_head_that_cannot_be_set_up_is_exit_7_with_the_reason_and_the_log(cluster_yaml: Path, home: Path) -> None:
    text = cluster_yaml.read_text()
    assert "\nsetup_commands: []" in text
    failing = "\nsetup_commands: ['echo error: this disk is full >&2; exit 9']"
    cluster_yaml.write_text(text.replace("\nsetup_commands: []", failing))
    try:
        done = run("up", cluster_yaml, "--model", "tiny", "--gpus", 1, "--port", free_port())
        assert done.code == 7
        assert "this disk is full" in done.err
        log = home / CLUSTER / "logs" / "ray-up.log"
        assert str(log) in done.err
        assert log.exists()
        assert "Traceback" not in done.err
        assert f"elastic-deploy down {cluster_yaml}" in done.err
    finally:
        assert run("down", cluster_yaml, "-y").code == 0
    assert standing(load_cluster(cluster_yaml)).nodes == ()


@pytest.mark.timeout(400)
@pytest.mark.parametrize("said", ["is being launched", "The head node is there", "Ray is being started"])
def test_down_finishes_what_a_killed_up_has_begun(scarce: Path, home: Path, said: str) -> None:
    up = ("up", scarce, "--model", "tiny", "--gpus", 1, "--port", free_port())
    with subprocess.Popen(command_line(*up), stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True) as process:
        assert process.stderr is not None
        assert any(said in line for line in process.stderr)
        process.kill()
        process.wait(60)
    down = run("down", scarce)
    assert down.code == 0, down.err
    time.sleep(2)  # a launcher that went on would have made something by now
    assert standing(load_cluster(scarce)).nodes == ()
    assert end_orphans(load_cluster(scarce)) == []
    assert not (home / CLUSTER / "ray-token").exists()
