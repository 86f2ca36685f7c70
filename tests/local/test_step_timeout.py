"""A node that the cloud gave and that never boots, on a real Ray: it is said, and the next pool is asked.

No engine runs: the next pool refuses.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.conftest import user_of
from tests.e2e.user import User

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]


@pytest.fixture
def user() -> Iterator[User]:
    """A user of a cluster of two pools: nodes of the first boot for ever, the second has none."""
    rules = {"gpu-a": {"launch_delay": 3600}, "gpu-b": {"max_nodes": 0}}
    with (
        tempfile.TemporaryDirectory(prefix="ed-step-") as directory,
        user_of(Path(directory), "step", rehearsal_script={"node_types": rules}) as one,
    ):
        config = yaml.safe_load(one.path.read_text())
        gpu = config["available_node_types"].pop("gpu")
        for pool in ("a", "b"):
            config["available_node_types"][f"gpu-{pool}"] = gpu | {"labels": {"pool": pool}}
        one.path.write_text(yaml.safe_dump(config, sort_keys=False))
        yield one


def of(user: User, kind: str) -> list[dict[str, Any]]:
    """The events of a kind."""
    return [event for event in user.events() if event["kind"] == kind]


def test_a_node_that_never_boots_is_said_and_its_pool_left(user: User) -> None:
    sizes = ("--gpus", "1", "--port", str(user.port), "--pools", "a,b", "--step-timeout", "8s")
    told = user.run("up", str(user.path), "--model", "tiny", *sizes, "--detach", limit=180)
    assert told.returncode == 0, told.stderr
    user.until("the first pool is left", lambda: bool(of(user, "pool.left")), 90)
    (overdue, *_), (left, *_) = of(user, "node.overdue"), of(user, "pool.left")
    assert (overdue["node_type"], overdue["step"]) == ("gpu-a", "launching")
    assert 8 <= overdue["seconds"] < 30
    assert overdue["node"] in left["message"]
    assert left["pool"] == "a"
    user.until("the second is asked, and refuses", lambda: any(e["pool"] == "b" for e in of(user, "pool.left")), 60)
    assert [event["pool"] for event in of(user, "pool.chosen")][:2] == ["a", "b"]
