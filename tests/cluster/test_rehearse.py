"""A user's cluster as one of local nodes: accepted by our own reader, and planned in the same shape."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from elastic_deploy.cluster.config import ClusterConfig, load_cluster
from elastic_deploy.cluster.rehearse import rehearsal_of
from elastic_deploy.model.errors import InvalidConfigError
from elastic_deploy.planning.plan import plan
from elastic_deploy.planning.request import merge
from elastic_deploy.planning.settings import Settings

TEMPLATE = load_cluster(Path(__file__).parents[2] / "cluster-templates" / "local.yaml")
AWS: dict[str, Any] = {
    "cluster_name": "prod",
    "max_workers": 6,
    "provider": {"type": "aws", "region": "eu-central-1"},
    "available_node_types": {
        "ray.head.default": {"node_config": {"InstanceType": "m5.2xlarge"}},
        "l4": {"node_config": {"InstanceType": "g6.12xlarge"}, "labels": {"zone": "a"}, "max_workers": 4},
        "spot": {
            "node_config": {"InstanceType": "g6.xlarge"},
            "resources": {"CPU": 96, "GPU": 1, "spot": 3},
            "min_workers": 1,
            "priority": 2,
        },
    },
    "setup_commands": ["pip install vllm"],
    "file_mounts": {"~/weights": "/nowhere"},
    "metadata": {"elastic_deploy": {"model": "org/huge", "gpus": 8}},
}


def loaded(tmp_path: Path, raw: dict[str, Any]) -> ClusterConfig:
    path = tmp_path / f"{raw['cluster_name']}.yaml"
    path.write_text(yaml.safe_dump(raw, sort_keys=False))
    return load_cluster(path)


def test_the_node_types_are_the_users_and_the_rest_is_the_templates(tmp_path: Path) -> None:
    prod = loaded(tmp_path, AWS)
    made = rehearsal_of(prod, TEMPLATE, "prod-rehearsal")
    rehearsal = loaded(tmp_path, made)
    assert (rehearsal.name, rehearsal.provider_kind) == ("prod-rehearsal", "local")
    assert rehearsal.capacity.max_workers == 6
    kept = [
        (each.name, each.gpus, each.min_workers, each.max_workers, each.is_head, each.priority)
        for each in rehearsal.capacity.node_types
    ]
    assert kept == [
        ("ray.head.default", 0, 0, 0, True, 0),
        ("l4", 4, 0, 4, False, 0),
        ("spot", 1, 1, 6, False, 2),
    ]
    types = made["available_node_types"]
    assert types["l4"]["labels"] == {"zone": "a"}
    assert (types["spot"]["resources"]["CPU"], types["spot"]["resources"]["spot"]) == (2, 3)
    for key in ("setup_commands", "file_mounts", "head_start_ray_commands", "worker_start_ray_commands", "provider"):
        assert made[key] == TEMPLATE.raw[key]
    assert "metadata" not in made


def test_a_rehearsal_has_the_shape_of_what_it_rehearses(tmp_path: Path) -> None:
    prod = loaded(tmp_path, AWS)
    rehearsal = loaded(tmp_path, rehearsal_of(prod, TEMPLATE, "again"))
    request = merge(prod.settings, Settings())
    assert plan(rehearsal.capacity, request).shape == plan(prod.capacity, request).shape


def test_the_template_is_left_as_it_was(tmp_path: Path) -> None:
    before = yaml.safe_dump(TEMPLATE.raw)
    made = rehearsal_of(loaded(tmp_path, AWS), TEMPLATE, "again")
    made["provider"]["type"] = "changed"
    assert yaml.safe_dump(TEMPLATE.raw) == before


def test_gpus_that_nobody_knows_cannot_be_rehearsed(tmp_path: Path) -> None:
    raw = {
        **AWS,
        "available_node_types": {**AWS["available_node_types"], "new": {"node_config": {"InstanceType": "p9.x"}}},
    }
    with pytest.raises(InvalidConfigError, match=r"available_node_types\.new: how many GPUs it has is not known here"):
        rehearsal_of(loaded(tmp_path, raw), TEMPLATE, "again")
