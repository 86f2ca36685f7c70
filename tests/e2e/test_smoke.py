"""`smoke` rehearses somebody's cluster for EC2 on this machine, in the shape that it will have there."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.e2e.conftest import make_user

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]

EC2 = """
cluster_name: theirs
max_workers: 2
upscaling_speed: 4
provider: {type: aws, region: us-west-2}
auth: {ssh_user: ubuntu}
available_node_types:
  head.node:
    node_config: {InstanceType: m7i.large}
    resources: {CPU: 2}
  gpu.node:
    node_config: {InstanceType: g6.xlarge}
    resources: {CPU: 4, GPU: 1}
    max_workers: 2
head_node_type: head.node
"""


def test_a_cluster_for_ec2_is_rehearsed_with_two_pipeline_stages(directory: Path) -> None:
    path, junit = directory / "theirs.yaml", directory / "junit.xml"
    path.write_text(EC2)
    user = make_user(directory, "unused")
    sizes = ("--gpus", "2", "--pipeline-parallel-size", "2", "--tensor-parallel-size", "1")
    result = user.run("smoke", str(path), *sizes, "--junit", str(junit), "-o", "json", limit=800)
    assert result.returncode == 0, result.stderr
    steps = json.loads(result.stdout)["steps"]
    assert [step["name"] for step in steps if step["failure"] or step["skipped"]] == []
    assert {"up", "node killed and replaced", "nothing left"} <= {step["name"] for step in steps}
    suite = ElementTree.parse(junit).getroot()
    assert (suite.get("tests"), suite.get("failures")) == (str(len(steps)), "0")
    assert not [entry for entry in user.home.iterdir() if entry.name.startswith("theirs-smoke")]
