"""The commands of a generated file, run by a shell on this machine with stand-ins for what changes machines."""

import subprocess
import sys
from pathlib import Path

import pytest
import ray

from elastic_deploy.cluster.generate.commented import plain
from elastic_deploy.cluster.generate.node_setup import (
    head_setup_commands,
    head_start_commands,
    setup_commands,
    worker_setup_commands,
    worker_start_commands,
)
from elastic_deploy.cluster.generate.release import Release, installed_release

RELEASE = Release(ray="2.60.0", vllm="0.32.0", python="3.11")


class Machine:
    """A home, and programs that write down how they were called."""

    def __init__(self, root: Path) -> None:
        self.home, self.bin, self.calls_file = root / "node", root / "bin", root / "calls"
        self.disk = root / "nvme"
        for each in (self.home, self.bin):
            each.mkdir()
        self.program("sudo", f'echo "sudo $*" >> {self.calls_file}; exec "$@"')
        for name in ("uv", "ray", "curl"):
            self.program(name, f'echo "{name} $*" >> {self.calls_file}')
        self.mounted(False)

    def program(self, name: str, script: str) -> None:
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def mounted(self, there: bool) -> None:
        self.program("mountpoint", f'[ "$2" = {self.disk} ] && exit {0 if there else 1}')

    def run(self, command: str, **variables: str) -> str:
        """As Ray does: in a login shell."""
        environment = {"HOME": str(self.home), "PATH": f"{self.bin}:/usr/bin:/bin", "RAY_HEAD_IP": "10.0.0.1"}
        done = subprocess.run(
            ["bash", "--login", "-c", command],
            env={**environment, **variables},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return done.stdout

    @property
    def calls(self) -> list[str]:
        return self.calls_file.read_text().splitlines() if self.calls_file.exists() else []


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    # /etc/profile of some systems sets PATH anew, and would hide the stand-ins.
    made = Machine(tmp_path)
    (made.home / ".profile").write_text(f'export PATH="{made.bin}:$PATH"\n')
    return made


def variables_of(machine: Machine) -> dict[str, str]:
    lines = machine.run("env").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


@pytest.mark.parametrize("there", [True, False], ids=["NVMe", "no NVMe"])
def test_every_login_shell_knows_python_token_and_the_fastest_disk(machine: Machine, there: bool) -> None:
    machine.mounted(there)
    if there:
        machine.disk.mkdir()
    environment, _ = plain(setup_commands(RELEASE, str(machine.disk)))
    machine.run(environment)
    machine.run(environment)
    seen = variables_of(machine)
    disk = f"{machine.disk}/elastic-deploy" if there else f"{machine.home}/.cache"
    assert seen["HF_HOME"] == f"{disk}/huggingface"
    assert seen["VLLM_CACHE_ROOT"] == f"{disk}/vllm"
    assert seen["TORCHINDUCTOR_CACHE_DIR"].startswith(disk)
    assert seen["RAY_AUTH_MODE"] == "token"
    assert seen["RAY_AUTH_TOKEN_PATH"] == f"{machine.home}/.elastic-deploy/node/ray-token"
    assert seen["PATH"].startswith(f"{machine.home}/.elastic-deploy/node/venv/bin:")
    assert "/usr/bin" in seen["PATH"].split(":")
    profile = (machine.home / ".profile").read_text()
    assert profile.count("profile.sh") == 1
    if there:
        assert (machine.disk / "elastic-deploy").is_dir()


def test_a_disk_that_cannot_be_used_ends_the_setup(machine: Machine) -> None:
    machine.mounted(True)
    machine.program("sudo", "exit 1")
    environment, _ = plain(setup_commands(RELEASE, str(machine.disk)))
    with pytest.raises(subprocess.CalledProcessError):
        machine.run(environment)


def test_the_nodes_get_the_launchers_versions(machine: Machine) -> None:
    environment, python = plain(setup_commands(RELEASE, None))
    machine.run(environment)
    machine.run(python)
    head, worker = head_setup_commands(RELEASE, boto3=True), worker_setup_commands(RELEASE)
    for command in (*plain(head), *plain(worker)):
        machine.run(command)
    venv = f"{machine.home}/.elastic-deploy/node/venv"
    assert machine.calls == [
        f"uv venv --quiet --allow-existing --python 3.11 {venv}",
        "uv pip install --quiet ray[default]==2.60.0 boto3>=1.35",
        "uv pip install --quiet --torch-backend=auto vllm==0.32.0 ray[default]==2.60.0",
    ]


def test_ray_is_started_with_its_settings(machine: Machine) -> None:
    machine.program("ray", f'echo "ray $*" >> {machine.calls_file}; env | grep "^RAY_\\|^FI_\\|^LD_" | sort')
    for command in plain(head_start_commands()):
        settings = machine.run(command)
    assert "RAY_AUTOSCALER_RECONCILE_REQUEST_STATUS_TIMEOUT_S=60" in settings.split()
    for commands in (head_start_commands(), worker_start_commands(efa=False)):
        settings = machine.run(plain(commands)[1])
        assert "RAY_worker_niceness=0" in settings.split()
        assert "RAY_health_check_failure_threshold=3" in settings.split()
        assert "FI_PROVIDER" not in settings
    settings = machine.run(plain(worker_start_commands(efa=True))[1])
    assert "FI_PROVIDER=efa" in settings.split()
    assert "LD_LIBRARY_PATH=/opt/amazon/efa/lib:/opt/amazon/ofi-nccl/lib:" in settings
    assert machine.calls[:2] == [
        "ray stop",
        "ray start --head --port=6379 --object-manager-port=8076 --dashboard-host=127.0.0.1"
        " --autoscaling-config=~/ray_bootstrap_config.yaml --disable-usage-stats",
    ]
    assert machine.calls[-1] == "ray start --address=10.0.0.1:6379 --object-manager-port=8076"


def test_a_launcher_without_vllm_asks_for_the_version() -> None:
    bare = Release(ray="2.60.0", vllm=None, python="3.11")
    note = worker_setup_commands(bare)
    assert "vllm>=0.32" in plain(note)[0]
    assert "vllm==0.32.x" in note.question


def test_the_versions_are_those_installed_here() -> None:
    release = installed_release()
    assert release.ray == ray.__version__
    assert release.python == f"{sys.version_info.major}.{sys.version_info.minor}"
