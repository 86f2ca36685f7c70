"""What Ray is given in place of the user's YAML: the same, and our wheel on every node."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from elastic_deploy.cluster.carried import completed, install_command
from elastic_deploy.cluster.config import load_cluster
from elastic_deploy.cluster.config_schema import ray_defaults
from elastic_deploy.cluster.own_wheel import own_wheel

WHEEL = "/home/me/.elastic-deploy/packages/elastic_deploy-9-py3-none-any.whl"
PLACE = "~/.elastic-deploy/node/elastic_deploy-9-py3-none-any.whl"
INSTALL = install_command(PLACE)
TEMPLATES = Path(__file__).parents[2] / "cluster-templates"

MINIMAL: dict[str, Any] = {
    "cluster_name": "c",
    "max_workers": 1,
    "provider": {"type": "aws", "region": "us-west-2"},
    "auth": {"ssh_user": "ubuntu"},
    "available_node_types": {
        "head": {"resources": {"CPU": 2}, "node_config": {"InstanceType": "m5.large"}},
        "gpu": {"resources": {"GPU": 1}, "node_config": {"InstanceType": "g6.xlarge"}},
    },
    "head_node_type": "head",
}


def complete(tmp_path: Path, raw: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    path = tmp_path / "cluster.yaml"
    path.write_text(yaml.safe_dump(raw))
    config = load_cluster(path)
    before = yaml.safe_dump(config.raw)
    made = completed(config, WHEEL)
    assert yaml.safe_dump(config.raw) == before
    return config.raw, made


def test_what_is_not_written_keeps_rays_own_default(tmp_path: Path) -> None:
    _, made = complete(tmp_path, MINIMAL)
    defaults = ray_defaults("aws")
    assert defaults["head_setup_commands"]
    assert made["head_setup_commands"] == [*defaults["head_setup_commands"], INSTALL]
    assert made["worker_setup_commands"] == [*defaults["worker_setup_commands"], INSTALL]
    assert made["file_mounts"] == {PLACE: WHEEL}
    assert {key for key in made if key not in MINIMAL} == {
        "head_setup_commands",
        "worker_setup_commands",
        "file_mounts",
    }


def test_what_is_written_comes_first(tmp_path: Path) -> None:
    written = {"head_setup_commands": ["one"], "worker_setup_commands": ["two"], "file_mounts": {"~/a": "/b"}}
    _, made = complete(tmp_path, MINIMAL | written)
    assert made["head_setup_commands"] == ["one", INSTALL]
    assert made["worker_setup_commands"] == ["two", INSTALL]
    assert made["file_mounts"] == {"~/a": "/b", PLACE: WHEEL}


def test_a_types_own_commands_get_it_too(tmp_path: Path) -> None:
    types = MINIMAL["available_node_types"]
    own = {**types, "gpu": {**types["gpu"], "worker_setup_commands": ["mine"]}}
    raw, made = complete(tmp_path, MINIMAL | {"available_node_types": own})
    assert made["available_node_types"]["gpu"]["worker_setup_commands"] == ["mine", INSTALL]
    assert made["available_node_types"]["head"] == raw["available_node_types"]["head"]


@pytest.mark.parametrize("name", ["aws-small", "aws-p5-efa", "aws-spot"])
def test_ray_accepts_a_completed_template(name: str) -> None:
    config = load_cluster(TEMPLATES / f"{name}.yaml")
    made = prepare_config(completed(config, WHEEL))
    validate_config(made)
    assert made["head_setup_commands"][-1] == made["worker_setup_commands"][-1] == INSTALL


@pytest.mark.parametrize("pip", ["pip", "uv"])
def test_the_command_installs_it_over_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pip: str) -> None:
    """Run by a shell, as on a node: into an environment that has all packages that we need, with pip or only uv."""
    monkeypatch.setenv("ELASTIC_DEPLOY_HOME", str(tmp_path / "mine"))
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True, timeout=60)
    (site,) = (venv / "lib").glob("python*/site-packages")
    (here,) = {path for path in sys.path if path.endswith("site-packages") and (Path(path) / "ray").is_dir()}
    (site / "here.pth").write_text(here)  # where, with what we need, an editable install of us may lie
    if pip == "uv":
        # No pip in this environment: `python -m pip` fails, and uv is asked, here one that passes it on.
        (site / "pip.py").write_text("raise ModuleNotFoundError('pip')")
        uv = venv / "bin" / "uv"
        uv.write_text(f'#!/bin/sh\nshift 2\nexec {sys.executable} -m pip --python {venv}/bin/python install "$@"\n')
        uv.chmod(0o755)
    home = tmp_path / "home"
    node = home / ".elastic-deploy" / "node"
    node.mkdir(parents=True)
    wheel = own_wheel()
    (node / wheel.name).write_bytes(wheel.read_bytes())
    environment = {"HOME": str(home), "PATH": f"{venv}/bin:{os.environ['PATH']}", "PIP_NO_INDEX": "1"}
    old = site / "elastic_deploy"
    for _ in range(2):
        command = ["bash", "-c", install_command(f"~/.elastic-deploy/node/{wheel.name}")]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert (old / "cli" / "main.py").is_file()
        (old / "cli" / "main.py").unlink()
