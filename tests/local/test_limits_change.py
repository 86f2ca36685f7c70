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


def ray_up(user: User, max_workers: int) -> None:
    """What a person does who changes a limit: edit the YAML, and run `ray up --no-restart`."""
    config = yaml.safe_load(user.path.read_text())
    config["available_node_types"]["gpu"]["max_workers"] = max_workers
    user.path.write_text(yaml.safe_dump(config, sort_keys=False))
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

    ray_up(user, 1)
    user.until("what can be had is asked for", lambda: asked(user) == 1, 60)
    (said,) = of(user, "wait.never_fits")
    assert (said["gpus"], said["most"]) == (2, 1)
    deployment = user.deployment()
    assert deployment["phase"] == "waiting"
    assert "raise available_node_types.gpu.max_workers from 1 to 2" in deployment["reason"]

    ray_up(user, 4)
    user.until("all of it is asked for again", lambda: asked(user) == 2, 60)
    assert len(of(user, "wait.fits")) == 1
    assert "can never be had" not in user.deployment()["reason"]
