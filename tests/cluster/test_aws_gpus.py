"""Our table of EC2's GPU instances against EC2's own answers, as moto has recorded them."""

import gzip
import importlib.util
import json
from pathlib import Path

import pytest

from elastic_deploy.cluster.aws_gpus import InstanceGpus, instance_gpus


def recorded() -> dict[str, InstanceGpus]:
    spec = importlib.util.find_spec("moto")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("moto, whose records these are, is not installed")
    path = Path(spec.submodule_search_locations[0]) / "ec2" / "resources" / "instance_types.json.gz"
    types = json.loads(gzip.decompress(path.read_bytes()))
    found = {}
    for name, facts in types.items():
        gpus = facts.get("GpuInfo", {}).get("Gpus", [{}])[0]
        count = gpus.get("Count", 0)
        found[name] = InstanceGpus(count, gpus["MemoryInfo"]["SizeInMiB"] * 2**20 if count else 0)
    return found


def test_every_instance_type_has_the_gpus_that_ec2_says() -> None:
    assert {name: instance_gpus(name) for name in recorded()} == recorded()


@pytest.mark.parametrize("name", ["p9.48xlarge", "g5.96xlarge", "p6e-gb200.36xlarge", "g9z.xlarge"])
def test_what_is_not_in_the_table_is_unknown(name: str) -> None:
    assert instance_gpus(name) is None


@pytest.mark.parametrize("name", ["m5.large", "trn1.32xlarge", "inf2.xlarge", "c7g.large", ""])
def test_other_families_have_none(name: str) -> None:
    assert instance_gpus(name) == InstanceGpus(0, 0)
