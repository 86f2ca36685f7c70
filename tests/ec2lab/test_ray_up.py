"""Ray's own launcher, AWS provider and autoscaler on the lab, unchanged: `ray up` to `ray down`, over SSH."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from tests.ec2lab.asking import until
from tests.ec2lab.lab import Lab, Timing

pytestmark = [pytest.mark.lab, pytest.mark.usefixtures("able"), pytest.mark.timeout(900)]

HEAD = "ulimit -n 65536; AUTOSCALER_UPDATE_INTERVAL_S=1 ray start --head --port=6379 --num-cpus=1"
WORKER = "ulimit -n 65536; ray start --address=$RAY_HEAD_IP:6379 --num-cpus=1"
SMALL = "--object-store-memory=100000000 --disable-usage-stats"


def cluster(lab: Lab) -> dict[str, object]:
    """The least that `ray up` needs to be told: role, security group, key pair and subnets Ray finds or makes."""
    instance = {"InstanceType": "m5.large", "ImageId": lab.image}
    return {
        "cluster_name": "lab",
        "max_workers": 2,
        "upscaling_speed": 10,
        "idle_timeout_minutes": 5,
        "provider": {
            "type": "aws",
            "region": lab.region,
            "availability_zone": ",".join(lab.zones),
            "cache_stopped_nodes": False,
        },
        "auth": {"ssh_user": "ubuntu"},
        "available_node_types": {
            "head": {"resources": {"CPU": 1}, "node_config": dict(instance), "max_workers": 0},
            "worker": {"resources": {"CPU": 1, "seat": 1}, "node_config": dict(instance), "max_workers": 2},
        },
        "head_node_type": "head",
        "setup_commands": [],
        "head_setup_commands": [],
        "worker_setup_commands": [],
        "initialization_commands": [],
        "head_start_ray_commands": [
            f"{HEAD} --autoscaling-config=~/ray_bootstrap_config.yaml --include-dashboard=false {SMALL}"
        ],
        "worker_start_ray_commands": [f"{WORKER} {SMALL}"],
    }


@contextmanager
def step(name: str) -> Iterator[None]:
    """Say how long a step took."""
    began = time.monotonic()
    yield
    print(f"{name}: {time.monotonic() - began:.1f} s")


def test_a_cluster_is_launched_grows_and_is_taken_down(tmp_path: Path) -> None:
    with Lab(Timing(), tmp_path / "logs") as lab:
        config = lab.home / "cluster.yaml"
        config.write_text(yaml.safe_dump(cluster(lab), sort_keys=False))
        with step("ray up"):
            lab.run(["ray", "up", "--yes", "--no-config-cache", str(config)], limit=400).check()
        assert [one["State"]["Name"] for one in lab.instances()] == ["running"]

        with step("ray exec"):
            count = "python -c \"import ray; ray.init(log_to_driver=False); print('nodes', len(ray.nodes()))\""
            said = lab.run(["ray", "exec", "--no-config-cache", str(config), count], limit=200).check()
        assert "nodes 1" in said.stdout

        with step("request to worker joined"):
            ask = "from ray.autoscaler.sdk import request_resources; request_resources(bundles=[{'seat': 1}])"
            code = f"import ray; ray.init(log_to_driver=False); {ask}"
            lab.run(["ray", "exec", "--no-config-cache", str(config), f'python -c "{code}"'], limit=200).check()
            seats = (
                "python -c \"import ray; ray.init(log_to_driver=False); print(ray.cluster_resources().get('seat'))\""
            )
            exec_seats = ["ray", "exec", "--no-config-cache", str(config), seats]
            until(lambda: "1.0" in lab.run(exec_seats, limit=200).stdout, limit=300)
        assert len(lab.hosts()) == 2

        with step("ray down"):
            lab.run(["ray", "down", "--yes", str(config)], limit=200).check()
            until(lambda: not lab.instances() and not lab.hosts(), limit=60)
