"""A cluster YAML completed with what `elastic-deploy` needs on the nodes: our wheel, and the command that installs it.

Ray is given the completed copy; the user's own file stays as it is, and `ray exec` or `ray down` work with it. Pure;
called by `cluster.launch`.
"""

import copy
import shlex
from collections.abc import Iterable
from typing import Any

from elastic_deploy.cluster.config import ClusterConfig
from elastic_deploy.cluster.config_schema import ray_defaults

NODE_DIR = "~/.elastic-deploy/node"
"""All that the nodes have of ours."""


def completed(config: ClusterConfig, wheel: str) -> dict[str, Any]:
    """What Ray is to read in place of `config.raw`: the same, and `wheel` (a path here) installed on every node.

    Ray fills in a provider's default commands only where a key is not written at all, so those are written out.
    """
    raw = copy.deepcopy(config.raw)
    defaults = ray_defaults(config.provider_type)
    name = wheel.rpartition("/")[2]
    place = f"{NODE_DIR}/{name}"
    raw["file_mounts"] = {**(_written(raw, defaults, "file_mounts") or {}), place: wheel}
    install = install_command(place)
    for key in ("head_setup_commands", "worker_setup_commands"):
        raw[key] = [*(_written(raw, defaults, key) or []), install]
    for node_type in raw.get("available_node_types", {}).values():
        # A type's own commands stand in the place of those for all workers.
        if node_type.get("worker_setup_commands") is not None:
            node_type["worker_setup_commands"] = [*node_type["worker_setup_commands"], install]
    return raw


def install_command(wheel: str) -> str:
    """Install our wheel into the Python that runs Ray; again, it puts the wheel in the place of what was there.

    The packages that it needs come with Ray, so no registry is asked unless one is missing. An environment that uv has
    made has no pip of its own.
    """
    return (
        'PIP="python -m pip"; $PIP --version > /dev/null 2>&1 || PIP="uv pip";'
        f" $PIP install --quiet --no-deps --force-reinstall {_quoted(wheel)}"
        f" && {{ python -m elastic_deploy.runtime.requirements || $PIP install --quiet {_quoted(wheel)}; }}"
    )


def sources(raw: dict[str, Any]) -> Iterable[str]:
    """The paths on this machine that the YAML's file mounts name."""
    return [str(source) for source in (raw.get("file_mounts") or {}).values()]


def _quoted(path: str) -> str:
    """Quoted, but for the `~` at its beginning, which the shell must see."""
    return f"~/{shlex.quote(path[2:])}" if path.startswith("~/") else shlex.quote(path)


def _written(raw: dict[str, Any], defaults: dict[str, Any], key: str) -> Any:
    return raw[key] if key in raw else defaults.get(key)
