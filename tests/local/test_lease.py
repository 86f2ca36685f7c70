"""The supervisor is gone for good: the lease ends on a real Ray, and the nodes idle out.

No engine runs: one of the two nodes is refused, so that the placement group stays pending, which by itself would keep
the autoscaler asking for ever.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from elastic_deploy.model.names import NAMESPACE, SUPERVISOR
from tests.e2e.conftest import user_of
from tests.e2e.user import User, live_nodes_of

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

KILL = f"""
import ray
ray.init("auto", namespace="{NAMESPACE}", log_to_driver=False)
ray.kill(ray.get_actor("{SUPERVISOR}", namespace="{NAMESPACE}"), no_restart=True)
"""


@pytest.fixture
def user() -> Iterator[User]:
    """A user of a cluster that has room for one node less than is asked for."""
    with (
        tempfile.TemporaryDirectory(prefix="ed-lease-") as directory,
        user_of(Path(directory), "lease", rehearsal_script={"max_nodes": 1}) as one,
    ):
        text = one.path.read_text()
        one.path.write_text(text.replace("idle_timeout_minutes: 1\n", "idle_timeout_minutes: 0.2\n"))
        yield one


def workers(user: User) -> list[str]:
    """The nodes beside the head."""
    return [node.id for node in live_nodes_of(user) if not node.is_head]


def on_head(user: User, script: str) -> None:
    """Run Python on the head, in its environment."""
    [head] = [node for node in live_nodes_of(user) if node.is_head]
    shell = user.home / user.cluster / "local" / "nodes" / head.id / "shell"
    command = [str(shell), f"{sys.executable} -c '{script}'"]
    subprocess.run(command, check=True, timeout=60, stdout=subprocess.DEVNULL)


def test_nodes_idle_out_when_the_supervisor_is_gone_for_good(user: User) -> None:
    sizes = ("--gpus", "2", "--tensor-parallel-size", "2", "--port", str(user.port))
    told = user.run("up", str(user.path), "--model", "tiny", *sizes, "--lease", "15s", "--detach", limit=180)
    assert told.returncode == 0, told.stderr
    user.until("one of two nodes has come", lambda: len(workers(user)) == 1, 90)
    lease = user.status()["request"]["lease"]
    assert 0 < lease["ends_at"] - lease["renewed_at"] <= 15
    # Ray's own restart of a supervisor that was killed is no end: the lease goes on, and so does the wait.
    on_head(user, KILL.replace("no_restart=True", "no_restart=False"))
    user.until("the supervisor answers again", lambda: user.run("status", str(user.path)).returncode == 0, 60)
    assert not [event for event in user.events() if event["kind"] == "lease.ended"]
    assert len(workers(user)) == 1

    on_head(user, KILL)
    user.until("the node has idled out", lambda: not workers(user), 150)
    refused = user.run("status", str(user.path), limit=60)
    assert "are being released" in refused.stderr

    # Whoever asks again gets GPUs again, and learns what has happened.
    told = user.run("up", str(user.path), "--model", "tiny", *sizes, "--lease", "15s", "--detach", limit=180)
    assert told.returncode == 0, told.stderr
    user.until("a node has come again", lambda: len(workers(user)) == 1, 90)
    [ending] = [event for event in user.events() if event["kind"] == "lease.ended"]
    assert "1 placement groups" in ending["message"]
