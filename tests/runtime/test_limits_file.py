"""The limits that the autoscaler has, from the file that Ray left on the head: read when it changes, else not."""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from elastic_deploy.model.shape import Capacity
from elastic_deploy.planning.fit import most_gpus
from elastic_deploy.planning.pools import types_of
from elastic_deploy.runtime.limits_file import LimitsFile, capacity_of, limits_path

CONFIG: dict[str, Any] = {
    "cluster_name": "c",
    "max_workers": 5,
    "head_node_type": "head",
    "available_node_types": {
        "head": {"resources": {"CPU": 4}, "node_config": {}},
        "gpu": {
            "resources": {"CPU": 8, "GPU": 2, "accelerator_type:L4": 1, "memory": 21474836480},
            "min_workers": 1,
            "max_workers": 2,
            "labels": {"pool": "a"},
        },
        "any": {"resources": {"GPU": 1}},
    },
}


def test_what_ray_completed_is_read_as_ray_reads_it() -> None:
    capacity = capacity_of(CONFIG)
    assert (capacity.cluster_name, capacity.max_workers) == ("c", 5)
    assert [(each.name, each.gpus, each.min_workers, each.max_workers) for each in capacity.node_types] == [
        ("head", 0, 0, 0),
        ("gpu", 2, 1, 2),
        ("any", 1, 0, 5),
    ]
    assert [each.name for each in capacity.node_types if each.is_head] == ["head"]
    assert types_of(capacity, "a") == ("gpu",)


def put(path: Path, config: object, at: int) -> None:
    """Write a configuration, as of a time."""
    path.write_text(yaml.safe_dump(config))
    os.utime(path, ns=(at, at))


def most(capacity: Capacity | None) -> int | None:
    """The most GPUs, None where nobody knows."""
    return None if capacity is None else most_gpus(capacity)


def test_it_is_read_again_when_it_has_changed(tmp_path: Path) -> None:
    path, limits = tmp_path / "ray_bootstrap_config.yaml", LimitsFile()
    assert most(limits.look(path)) is None
    put(path, CONFIG, 1)
    first = limits.look(path)
    assert most(first) == 7
    assert limits.look(path) is first
    put(path, CONFIG | {"max_workers": 1}, 2)
    assert most(limits.look(path)) == 2
    path.unlink()
    assert most(limits.look(path)) is None


@pytest.mark.parametrize(
    "half", ["", "cluster_name: [", "[]", "cluster_name: c\nmax_workers: 3\n", "max_workers: many"]
)
def test_half_a_file_says_nothing_until_it_is_whole(tmp_path: Path, half: str) -> None:
    path, limits = tmp_path / "ray_bootstrap_config.yaml", LimitsFile()
    path.write_text(half)
    os.utime(path, ns=(1, 1))
    assert limits.look(path) is None
    put(path, CONFIG, 1)
    assert most(limits.look(path)) == 7


@pytest.mark.parametrize(
    ("command", "path"),
    [
        (("python", "monitor.py", "--autoscaling-config=/root/ray_bootstrap_config.yaml"), "ray_bootstrap_config.yaml"),
        (("python", "monitor.py", "--autoscaling-config="), None),
        (("python", "monitor.py"), None),
        ((), None),
    ],
)
def test_the_monitors_command_line_names_it(command: tuple[str, ...], path: str | None) -> None:
    found = limits_path(command)
    assert (found.name if found else None) == path


def test_a_file_that_stays_unreadable_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    limits = LimitsFile()
    for _ in range(3):
        limits.look(tmp_path / "gone.yaml")
    assert len(caplog.records) == 1
