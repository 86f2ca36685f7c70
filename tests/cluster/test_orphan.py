"""Launchers that a killed `up` leaves behind: which `down` ends, and which it must leave alone."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from elastic_deploy.cluster.config import ClusterConfig, load_cluster
from elastic_deploy.cluster.orphan import end_orphans

TEMPLATE = Path(__file__).parents[2] / "cluster-templates" / "aws-small.yaml"


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ClusterConfig:
    """A cluster of a user whose home this test's directory is."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("ELASTIC_DEPLOY_HOME", raising=False)
    return load_cluster(Path(shutil.copy(TEMPLATE, tmp_path / "cluster.yaml")))


LAUNCHER = "import time; print('up', flush=True); time.sleep(60)"


def start(arguments: list[str], cwd: Path) -> "subprocess.Popen[bytes]":
    """A process whose command line is a launcher's, and whose parent is no command of ours."""
    process = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, "elastic_deploy.cluster.launcher", *arguments],
        stdout=subprocess.PIPE,
        start_new_session=True,
        cwd=cwd,
    )
    assert process.stdout
    process.stdout.readline()
    return process


@pytest.mark.parametrize(
    ("arguments", "ended"),
    [
        (["up", "cluster.yaml"], True),
        (["up", ".elastic-deploy/aws-small/launched.yaml"], True),
        (["up", "other.yaml"], False),
        (["up", ".elastic-deploy/aws-small-2/launched.yaml"], False),
        (["head", "cluster.yaml"], False),
    ],
)
def test_the_launcher_of_a_killed_up_is_ended(
    config: ClusterConfig, tmp_path: Path, arguments: list[str], ended: bool
) -> None:
    process = start(arguments, tmp_path)
    try:
        assert end_orphans(config) == ([process.pid] if ended else [])
        assert (process.poll() is not None) == ended
    finally:
        process.kill()
        process.wait(10)
        assert process.stdout
        process.stdout.close()


def test_a_launcher_that_is_waited_for_is_left_alone(config: ClusterConfig, tmp_path: Path) -> None:
    waits = (
        "import subprocess, sys\n"
        f"launcher = [sys.executable, '-c', {LAUNCHER!r}, 'elastic_deploy.cluster.launcher', 'up', 'cluster.yaml']\n"
        "child = subprocess.Popen(launcher, start_new_session=True)\n"
        "sys.stdin.read()\n"
        "child.kill()\n"
        "child.wait()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", waits, "elastic_deploy.cli"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=tmp_path,
    ) as parent:
        assert parent.stdin
        assert parent.stdout
        parent.stdout.readline()
        assert end_orphans(config) == []
        parent.stdin.close()
        assert parent.wait(20) == 0
