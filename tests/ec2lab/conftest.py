"""The lab that most tests of this directory share."""

import os
from collections.abc import Iterator
from dataclasses import asdict

import pytest

from tests.ec2lab.asking import until
from tests.ec2lab.lab import Lab, Timing
from tests.ec2lab.requirements import absent_is_failure

QUICK = Timing(pending=0.5, shutting_down=0.5, stopping=0.5, checks=0.5)


@pytest.fixture(scope="session")
def able() -> None:
    """This machine can carry a lab. Where it cannot, the test is skipped; in CI, which has to carry one, it fails."""
    if missing := Lab.missing():
        if absent_is_failure(os.environ):
            pytest.fail(" ".join(missing))
        pytest.skip(" ".join(missing))


@pytest.fixture(scope="package")
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One lab for all tests that leave it as it was. Its logs stay in pytest's directory."""
    request.getfixturevalue("able")
    with Lab(QUICK, tmp_path_factory.mktemp("lab")) as lab:
        yield lab


@pytest.fixture
def lab(shared: Lab) -> Iterator[Lab]:
    """The shared lab, without instances or trouble before the test, and after it again. States take half a second."""
    yield shared
    shared.forgive()
    shared.set_timing(**asdict(QUICK))
    if left := [one["InstanceId"] for one in shared.instances()]:
        shared.client("ec2").terminate_instances(InstanceIds=left)
    until(lambda: not shared.hosts() and not shared.instances())
