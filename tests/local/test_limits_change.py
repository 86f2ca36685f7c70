"""Limits of the cluster that are lowered and raised while a deployment waits, on a real Ray: said, and asked within.

No engine runs: no node comes.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.conftest import user_of
from tests.e2e.user import User

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

RAY = Path(sys.executable).parent / "ray"


@pytest.fixture
def user() -> Iterator[User]:
    """A user of a cluster to which no node comes."""
    with (
        tempfile.TemporaryDirectory(prefix="ed-limits-") as directory,
        user_of(Path(directory), "limits", rehearsal_script={"max_nodes": 0}) as one,
    ):
        yield one


def edit(user: User, max_workers: int) -> None:
    """Write another limit into the YAML."""
    config = yaml.safe_load(user.path.read_text())
    config["available_node_types"]["gpu"]["max_workers"] = max_workers
    user.path.write_text(yaml.safe_dump(config, sort_keys=False))


def ray_up(user: User) -> None:
    """One of the two ways in which a person brings a changed limit to a cluster."""
    told = subprocess.run(
        [str(RAY), "up", str(user.path), "--yes", "--no-restart"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "ELASTIC_DEPLOY_HOME": str(user.home)},
    )
    assert told.returncode == 0, told.stdout + told.stderr


def of(user: User, kind: str) -> list[dict[str, Any]]:
    """The events of a kind."""
    return [event for event in user.events() if event["kind"] == kind]


def asked(user: User) -> int:
    """How many GPUs are asked for now."""
    return sum(bundle["count"] for bundle in user.status()["request"]["bundles"])


def test_limits_that_are_lowered_and_raised_while_it_waits(user: User) -> None:
    told = user.up("--detach", limit=180)
    assert told.returncode == 0, told.stderr
    user.until("both GPUs are asked for", lambda: asked(user) == 2, 30)
    assert not of(user, "wait.never_fits")

    edit(user, 1)
    ray_up(user)
    user.until("what can be had is asked for", lambda: asked(user) == 1, 60)
    (said,) = of(user, "wait.never_fits")
    assert (said["gpus"], said["most"]) == (2, 1)
    deployment = user.deployment()
    assert deployment["phase"] == "waiting"
    assert "raise available_node_types.gpu.max_workers from 1 to 2" in deployment["reason"]

    edit(user, 4)
    told = user.up("--detach", limit=180)
    assert told.returncode == 0, told.stderr
    assert "max_workers of gpu: 1 -> 4" in told.stderr
    user.until("all of it is asked for again", lambda: asked(user) == 2, 60)
    assert len(of(user, "wait.fits")) == 1
    assert "can never be had" not in user.deployment()["reason"]
    again = user.up("--detach", limit=180)
    assert (again.returncode, "max_workers" in again.stderr) == (0, False), again.stderr

    edit(user, 2)
    left = user.up("--detach", limit=180)
    assert (left.returncode, "left as they are" in left.stderr) == (0, True), left.stderr
    assert user.status()["cluster"]["limits"]["node_types"] == {"gpu": 4}
