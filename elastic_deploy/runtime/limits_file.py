"""The cluster's limits as Ray's autoscaler has them: the file that `ray up` left on the head, read when it changes.

Ray's monitor reads that file again and again (`FileConfigReader` of Ray 2.60), so that `ray up --no-restart` with
another `max_workers` holds at once. Read by the supervisor for each snapshot.
"""

import logging
from pathlib import Path
from typing import Any

import yaml

from elastic_deploy.model.shape import Capacity, NodeType

log = logging.getLogger(__name__)

_OPTION = "--autoscaling-config="


def limits_path(monitor_command: tuple[str, ...]) -> Path | None:
    """The file that a monitor's command line names; None where it names none."""
    named = [part.removeprefix(_OPTION) for part in monitor_command if part.startswith(_OPTION)]
    return Path(named[-1]).expanduser() if named and named[-1] else None


class LimitsFile:
    """The limits, read anew only when the file has changed."""

    def __init__(self) -> None:
        self._read: tuple[Path, int, int] | None = None
        self._capacity: Capacity | None = None
        self._trouble = ""  # what has been said of it, once: it is looked at every second

    def look(self, path: Path | None) -> Capacity | None:
        """What the file says; None where there is none, or it says nothing that can be read."""
        if path is None:
            return None
        try:
            found = path.stat()
            state = (path, found.st_mtime_ns, found.st_size)
            if state != self._read:
                self._capacity = capacity_of(yaml.safe_load(path.read_text(encoding="utf-8")))
                self._read = state
        except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
            # Ray writes it in place: what was read of a half-written one is read again at the next look.
            if str(error) != self._trouble:
                log.warning("the autoscaler's limits cannot be read from %s: %s", path, error)
            self._read, self._capacity, self._trouble = None, None, str(error)
        else:
            self._trouble = ""
        return self._capacity


def capacity_of(config: dict[str, Any]) -> Capacity:
    """The limits in a configuration that Ray has completed: every node type has its resources and its numbers.

    Raises KeyError, TypeError, ValueError or AttributeError for what is none.
    """
    most, head = int(config["max_workers"]), config["head_node_type"]
    types = tuple(
        NodeType(
            name=name,
            resources={key: float(amount) for key, amount in (written.get("resources") or {}).items()},
            min_workers=int(written.get("min_workers", 0)),
            max_workers=int(written.get("max_workers", 0 if name == head else most)),
            is_head=name == head,
            labels=tuple(sorted((written.get("labels") or {}).items())),
        )
        for name, written in config["available_node_types"].items()
    )
    return Capacity(str(config["cluster_name"]), types, most)
