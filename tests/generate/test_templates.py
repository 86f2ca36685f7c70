"""The shipped templates are what `generate` writes with the arguments in their headers, byte for byte."""

import re
import shlex
from pathlib import Path

import pytest
import yaml
from ray._private.label_utils import validate_node_labels  # the labels that `ray start` would take
from ray.autoscaler._private.util import prepare_config, validate_config

from elastic_deploy.cluster.aws.order import Order, arguments
from elastic_deploy.cluster.aws.prices import CAPTURED, WHERE
from elastic_deploy.cluster.config import load_cluster

from .conftest import Generate

TEMPLATES = Path(__file__).parents[2] / "cluster-templates"
AWS = ["aws-small", "aws-p5-efa", "aws-spot"]


def header_of(name: str) -> str:
    lines = (TEMPLATES / f"{name}.yaml").read_text().splitlines()
    return "\n".join(line.removeprefix("#").strip() for line in lines[: lines.index(f"cluster_name: {name}")])


@pytest.mark.parametrize("name", [*AWS, "onprem-ssh"])
def test_a_template_is_what_its_header_says(name: str, generate: Generate) -> None:
    text = (TEMPLATES / f"{name}.yaml").read_text()
    found = re.search(r"^elastic-deploy generate ((?:.*\\\n)*.*)$", header_of(name), re.MULTILINE)
    assert found
    written = generate(*shlex.split(found[1].replace("\\\n", " ")))
    assert written.code == 0, written.err
    # To bring a template up to date, run the command in its header with --output and --force.
    assert written.out == text


def test_the_local_template_is_what_generate_local_writes(generate: Generate) -> None:
    assert generate("local").out == (TEMPLATES / "local.yaml").read_text()


@pytest.mark.parametrize("name", AWS)
def test_a_template_is_valid_here_and_for_ray(name: str) -> None:
    loaded = load_cluster(TEMPLATES / f"{name}.yaml")
    prepared = prepare_config(yaml.safe_load((TEMPLATES / f"{name}.yaml").read_text()))
    validate_config(prepared)
    assert loaded.capacity.max_workers == prepared["max_workers"]
    for node_type in loaded.capacity.node_types:
        theirs = prepared["available_node_types"][node_type.name]
        assert node_type.resources == theirs["resources"]
        assert (node_type.min_workers, node_type.max_workers) == (theirs["min_workers"], theirs["max_workers"])
        assert validate_node_labels(theirs.get("labels", {})) is None
    assert prepared["upscaling_speed"] >= loaded.capacity.max_workers
    assert prepared["provider"]["cache_stopped_nodes"] is False


def test_the_machines_template_is_valid_for_ray() -> None:
    prepared = prepare_config(yaml.safe_load((TEMPLATES / "onprem-ssh.yaml").read_text()))
    validate_config(prepared)
    assert prepared["available_node_types"]["local.cluster.node"]["max_workers"] == 2


@pytest.mark.parametrize("name", [*AWS, "onprem-ssh"])
def test_the_header_says_cost_change_and_start(name: str) -> None:
    header = header_of(name)
    for part in ("What it costs", "What to change", "How to start it", f"ray up -y {name}.yaml", f"ray down -y {name}"):
        assert part in header
    if name in AWS:
        assert WHERE in header
        assert CAPTURED in " ".join(header.split())


def test_the_pools_of_the_spot_template_are_in_the_order_of_preference() -> None:
    types = yaml.safe_load((TEMPLATES / "aws-spot.yaml").read_text())["available_node_types"]
    del types["head"]
    assert list(types) == [
        "gpu-spot-us-west-2a",
        "gpu-spot-us-west-2b",
        "gpu-on-demand-us-west-2a",
        "gpu-on-demand-us-west-2b",
    ]
    priorities = [each["priority"] for each in types.values()]
    assert priorities == sorted(priorities, reverse=True)
    assert len(set(priorities)) == len(priorities)
    for name, each in types.items():
        assert each["labels"]["pool"] == name


def test_every_flag_that_was_given_stands_in_the_header() -> None:
    """A field of Order that `arguments` forgets would make a header that writes another file."""
    said = Order(
        cluster_name="n",
        region="r",
        zones=("a", "b"),
        instance_type="t",
        gpu="g",
        gpus_per_node=3,
        nodes=4,
        mix_zones=True,
        efa=True,
        placement_group="p",
        image="i",
        ssh_user="u",
        key_name="k",
        private_key="f",
        subnets=("s",),
        security_group="sg",
        internal_ips=True,
        disk=5,
        idle_timeout=6,
        ssh_from="c",
        head_instance_type="h",
        offline=True,
    )
    words = shlex.split(arguments(said))
    for name in Order.__slots__:
        if name != "market":
            assert f"--{name.replace('_', '-')}" in words, name
