"""The YAML's limits on the number of nodes beside those that a running cluster has: what differs.

`up` asks before it uses a cluster that runs: its autoscaler goes by the YAML of its launch until another is brought.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from elastic_deploy.model.shape import Capacity


@dataclass(frozen=True, slots=True)
class LimitsChange:
    """What the YAML changes of a cluster's limits, a line each. `lowers`: nodes may be ended for it."""

    lines: tuple[str, ...] = ()
    lowers: bool = False


def limits_change(document: Mapping[str, Any], capacity: Capacity) -> LimitsChange:
    """What differs, by a status document; nothing where it does not tell the limits that the cluster has."""
    told = document["cluster"].get("limits")
    if not told:
        return LimitsChange()
    before: dict[str, int] = {"the cluster": told["max_workers"], **told["node_types"]}
    workers = {each.name: each.max_workers for each in capacity.node_types if not each.is_head}
    after = {"the cluster": capacity.max_workers, **workers}
    lines, lowers = [], False
    for name in {**before, **after}:
        old, new = before.get(name, 0), after.get(name, 0)
        if old != new:
            lines.append(f"max_workers of {name}: {old} -> {new}")
            lowers = lowers or new < old
    return LimitsChange(tuple(lines), lowers)
