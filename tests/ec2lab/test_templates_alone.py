"""The shipped templates for EC2 with Ray's own commands alone, as their headers say: `ray up` to `ray down`.

`generate` fills each with the arguments of its header and the account's own values. What is run then stands in the
file's comments, and is taken from there.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.ec2lab.account import generate, prepare_account
from tests.ec2lab.asking import until
from tests.ec2lab.commands import Done
from tests.ec2lab.lab import Lab, Timing

pytestmark = [pytest.mark.lab, pytest.mark.long, pytest.mark.timeout(600)]

TEMPLATES = Path(__file__).parents[2] / "cluster-templates"
ASK_FOR_A_GPU = (
    "import ray; ray.init(log_to_driver=False); "
    "from ray.autoscaler.sdk import request_resources; request_resources(bundles=[{'GPU': 1}])"
)


@dataclass(frozen=True)
class Header:
    """What a file's comments tell its user to run, word for word. `arguments` are those of `generate aws`."""

    arguments: tuple[str, ...]
    token: str
    up: str
    status: str
    down: str

    @classmethod
    def of(cls, text: str) -> "Header":
        """Read the comments of a file that `generate aws` wrote."""
        said = "\n".join(line.removeprefix("#").removeprefix(" ") for line in text.splitlines() if line[:1] == "#")
        written = re.search(r"^ *elastic-deploy generate aws ((?:.*\\\n)*.*)$", said, re.MULTILINE)
        token = re.search(r"For `ray up` alone, make it once:\n((?:  .*\n)+)", said)
        alone = re.search(r"^ *(ray up .*?) {2,}(ray exec .*?) {2,}(ray down .*)$", said, re.MULTILINE)
        assert written
        assert token
        assert alone
        return cls(tuple(shlex.split(written[1].replace("\\\n", " "))), token[1], alone[1], alone[2], alone[3])


@dataclass(frozen=True)
class User:
    """Somebody at the laptop with a template filled in, and nothing but Ray to use it with."""

    lab: Lab
    header: Header
    config: dict[str, Any]

    def sh(self, command: str, limit: float) -> Done:
        """What a shell in the file's directory says to the command."""
        return self.lab.run(["bash", "-c", command], limit)

    def exec(self, command: str, limit: float = 90.0) -> Done:
        """What `ray exec` says to another command than the header's."""
        file = shlex.split(self.header.status)[2]
        return self.sh(shlex.join(["ray", "exec", file, command]), limit)

    def workers(self) -> list[dict[str, Any]]:
        """The instances that are no head, as the API lists them."""
        head = self.config["available_node_types"]["head"]["node_config"]["InstanceType"]
        return [one for one in self.lab.instances() if one["InstanceType"] != head]

    def up(self) -> None:
        """Make the token and launch the head, as the file says."""
        self.sh(self.header.token, 20).check()
        print(f"ray up: {self.sh(self.header.up, 300).check().seconds:.0f} s")
        assert self.workers() == []
        assert [one["State"]["Name"] for one in self.lab.instances()] == ["running"]

    def worker(self) -> dict[str, Any]:
        """Ask Ray for a GPU, and wait until a node with one has joined."""
        self.exec(f"python -c {shlex.quote(ASK_FOR_A_GPU)}").check()
        until(lambda: len(self.workers()) == 1, limit=90)
        (worker,) = self.workers()
        until(lambda: re.search(r"/\d+\.0 GPU", self.sh(self.header.status, 90).check().stdout), limit=180)
        return worker

    def down(self) -> None:
        """End the cluster, and see that nothing runs."""
        print(f"ray down: {self.sh(self.header.down, 120).check().seconds:.0f} s")
        until(lambda: not self.lab.instances() and not self.lab.hosts(), limit=60)


@pytest.fixture(scope="module")
def alone(able: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One lab for the whole module."""
    assert able is None
    with Lab(Timing(), tmp_path_factory.mktemp("logs")) as lab:
        yield lab


def filled(lab: Lab, name: str, *left_out: str) -> User:
    """The template with its own arguments, but for those left out, and the account's values."""
    shipped = Header.of((TEMPLATES / f"{name}.yaml").read_text())
    prepare_account(lab, name)
    asked = " ".join(shipped.arguments)
    for words in ("--offline", *left_out):
        assert words in asked
        asked = asked.replace(words, "")
    path = Path(generate(lab, name, *asked.split()))
    text = path.read_text()
    config = yaml.safe_load(text)
    for node_type in config["available_node_types"].values():
        assert all(type(number) is int for number in node_type["resources"].values())
    return User(lab, Header.of(text), config)


def test_the_small_template(alone: Lab) -> None:
    user = filled(alone, "aws-small")
    user.up()
    assert re.search(r"^ 1 head$", user.sh(user.header.status, 90).check().stdout, re.MULTILINE)
    wrong = user.exec("RAY_AUTH_TOKEN=0123456789abcdef0123456789abcdef ray status")
    assert wrong.returncode
    assert "InvalidAuthToken" in wrong.stdout
    user.down()


def test_the_spot_template_gets_its_preferred_pool(alone: Lab) -> None:
    user = filled(alone, "aws-spot")
    user.up()
    worker = user.worker()
    assert worker["InstanceLifecycle"] == "spot"
    assert worker["Placement"]["AvailabilityZone"] == "us-west-2a"
    assert worker["InstanceType"] == "g6e.12xlarge"
    tags = {tag["Key"]: tag["Value"] for tag in worker["Tags"]}
    assert tags["ray-user-node-type"] == "gpu-spot-us-west-2a"
    assert tags["elastic-deploy:cluster"] == "aws-spot"
    said = user.sh(user.header.status, 90).check().stdout
    assert re.search(r"/4\.0 GPU", said)
    assert re.search(r"^ 1 gpu-spot-us-west-2a$", said, re.MULTILINE)
    user.down()


def test_the_efa_template_but_for_its_placement_group(alone: Lab) -> None:
    """moto has no placement groups, keeps the interfaces of one network card, and shows none of them as EFA's."""
    user = filled(alone, "aws-p5-efa", "--placement-group aws-p5-efa")
    asked = user.config["available_node_types"]["gpu"]["node_config"]["NetworkInterfaces"]
    assert [one["InterfaceType"] for one in asked] == ["interface", *["efa-only"] * 32]
    user.up()
    worker = user.worker()
    assert worker["InstanceType"] == "p5.48xlarge"
    assert "InstanceLifecycle" not in worker
    assert {(one["Attachment"]["DeviceIndex"], one["SubnetId"]) for one in worker["NetworkInterfaces"]} == {
        (0, worker["SubnetId"]),
        (1, worker["SubnetId"]),
    }
    assert re.search(r"/8\.0 GPU", user.sh(user.header.status, 90).check().stdout)
    user.down()
