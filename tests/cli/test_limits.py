"""What a YAML changes of the limits of a cluster that runs."""

from typing import Any

import pytest

from elastic_deploy.cli.limits import LimitsChange, limits_change
from elastic_deploy.model.shape import Capacity, NodeType


def capacity(most: int, **types: int) -> Capacity:
    """A YAML's limits: a head, and workers of these types."""
    workers = (NodeType(name, {"GPU": 1.0}, 0, count) for name, count in types.items())
    return Capacity("c", (NodeType("head", {}, 0, 0, is_head=True), *workers), most)


def limits(most: int, **types: int) -> dict[str, Any]:
    """A status document of a cluster with these."""
    return {"cluster": {"limits": {"max_workers": most, "node_types": types}}}


@pytest.mark.parametrize(
    ("document", "yaml", "expected"),
    [
        (limits(4, gpu=4), capacity(4, gpu=4), LimitsChange()),
        (
            limits(2, gpu=2),
            capacity(4, gpu=4),
            LimitsChange(("max_workers of the cluster: 2 -> 4", "max_workers of gpu: 2 -> 4")),
        ),
        (limits(4, gpu=4), capacity(4, gpu=1), LimitsChange(("max_workers of gpu: 4 -> 1",), lowers=True)),
        (limits(4, gpu=4), capacity(4, gpu=4, big=2), LimitsChange(("max_workers of big: 0 -> 2",))),
        (limits(4, gpu=4, big=2), capacity(4, gpu=4), LimitsChange(("max_workers of big: 2 -> 0",), lowers=True)),
        ({"cluster": {"limits": None}}, capacity(4, gpu=4), LimitsChange()),
        ({"cluster": {}}, capacity(4, gpu=4), LimitsChange()),
    ],
)
def test_what_changes(document: dict[str, Any], yaml: Capacity, expected: LimitsChange) -> None:
    assert limits_change(document, yaml) == expected
