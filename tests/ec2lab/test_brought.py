"""A cluster that `ray up` launched, without anything of ours: `elastic-deploy up` brings itself there, and serves."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ec2lab.account import generate, prepare_account
from tests.ec2lab.lab import Lab, Timing
from tests.ec2lab.test_templates_alone import Header
from tests.ec2lab.user import User

pytestmark = [
    pytest.mark.lab,
    pytest.mark.long,
    pytest.mark.engine,
    pytest.mark.usefixtures("able"),
    pytest.mark.timeout(900),
]

CLUSTER = "brought"


@pytest.fixture(scope="module")
def lab(able: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab with an account made ready."""
    assert able is None
    with Lab(Timing(), tmp_path_factory.mktemp("logs")) as one:
        prepare_account(one, CLUSTER)
        yield one


def test_up_brings_itself_to_a_head_that_ray_up_launched(lab: Lab) -> None:
    path = generate(lab, CLUSTER, "--zones", "a", "--instance-type", "g6.xlarge", "--nodes", "1")
    header = Header.of(Path(path).read_text())
    for command, limit in ((header.token, 20), (header.up, 300)):
        lab.run(["bash", "-c", command], limit).check()
    (head,) = lab.instances("running")
    user = User(lab, lab.home, path, CLUSTER)
    told = user.run("status", path)
    assert told.returncode == 7
    assert "runs without elastic-deploy: `elastic-deploy up` brings it there." in told.stderr
    done = user.up("--gpus", "1")
    assert done.returncode == 0, done.stderr[-4000:]
    assert "which is brought there now" in done.stderr
    assert user.ask()
    assert head["InstanceId"] in {one["InstanceId"] for one in lab.instances("running")}, "it is the same head"
    done = user.run("down", path, "--yes", limit=300)
    assert done.returncode == 0, done.stderr[-4000:]
    assert lab.instances() == []
