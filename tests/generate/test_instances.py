"""Our table of instance types against EC2's own answers, as moto has recorded them; and what is chosen from it."""

import gzip
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from elastic_deploy.cluster.aws.instances import (
    counts_of,
    known_instance,
    known_instances,
    read_instance,
    smallest_with,
)


def recorded() -> dict[str, dict[str, Any]]:
    spec = importlib.util.find_spec("moto")
    assert spec is not None
    assert spec.submodule_search_locations
    path = Path(spec.submodule_search_locations[0]) / "ec2" / "resources" / "instance_types.json.gz"
    types: dict[str, dict[str, Any]] = json.loads(gzip.decompress(path.read_bytes()))
    return types


def test_every_type_with_gpus_is_as_ec2_says() -> None:
    facts = recorded()
    theirs = {name: read_instance(each) for name, each in facts.items() if "GpuInfo" in each}
    ours = {each.type: each for each in known_instances()}
    # Recorded types whose GPUs are not NVIDIA's have none for us, and are not listed.
    assert ours == {name: each for name, each in theirs.items() if each.gpu}


def test_a_type_without_gpus_has_none() -> None:
    assert read_instance(recorded()["m5.large"]).gpus == 0
    assert known_instance("m5.large") is None


@pytest.mark.parametrize(
    ("gpu", "count", "chosen"),
    [
        ("L4", 1, "g6.2xlarge"),
        ("l4", 8, "g6.48xlarge"),
        ("H100", 1, "p5.4xlarge"),
        ("NVIDIA H100", 8, "p5.48xlarge"),
        ("A100", 8, "p4d.24xlarge"),
        ("T4", 1, "g4dn.xlarge"),
        ("rtx-pro-server-6000", 2, "g7e.12xlarge"),
        ("L40S", 4, "g6e.12xlarge"),
    ],
)
def test_the_smallest_type_is_taken_whose_memory_holds_what_its_gpus_hold(gpu: str, count: int, chosen: str) -> None:
    found = smallest_with(gpu, count, known_instances())
    assert found is not None
    assert found.type == chosen
    assert found.memory_gib >= found.all_gpu_memory_gib


def test_what_no_type_has_is_not_found() -> None:
    assert smallest_with("H100", 3, known_instances()) is None
    assert counts_of("H100", known_instances()) == [1, 8]
    assert counts_of("X1", known_instances()) == []
