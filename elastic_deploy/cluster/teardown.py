"""What stands of a cluster, and the proof that nothing does after it was taken down.

Called by `down`, and by `up` when it is given up. For nodes on this machine it looks at their processes and
directories; for a cloud's it takes Ray's word, which waits until the provider lists none. Does not import Ray.
"""

from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree

from elastic_deploy.cluster.config import ClusterConfig
from elastic_deploy.cluster.local import processes, state
from elastic_deploy.model.home import cluster_dir

KEYS = "keys"
TOKEN = "ray-token"
"""The cluster's secrets below its directory; they are worth nothing once it is gone."""


@dataclass(frozen=True, slots=True)
class Standing:
    """The nodes of this machine that a cluster has at one moment: their ids, marks and directories."""

    nodes: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    directories: tuple[Path, ...] = ()


def standing(config: ClusterConfig) -> Standing:
    """What stands now; of a cloud's cluster nothing is known without asking it."""
    found = state.read(config.name) if config.provider_kind == "local" else None
    if found is None:
        return Standing()
    nodes = sorted(found.nodes.values(), key=lambda node: (not node.is_head, node.created_at))
    return Standing(
        nodes=tuple(node.id for node in nodes),
        marks=tuple(node.mark for node in nodes),
        directories=(Path(found.temp_dir), state.state_dir(config.name) / "nodes"),
    )


def left_of(before: Standing) -> list[str]:
    """What is still there of `before`, in words for a person; empty is the proof that nothing is."""
    left = [
        f"process {process.pid} ({name})" for mark in before.marks for process, name in processes.find(mark).items()
    ]
    return left + [f"directory {path}" for path in before.directories if path.exists()]


def forget_secrets(cluster_name: str) -> None:
    """Remove the keys and the Ray token of a cluster that is gone. Logs and the journal stay."""
    directory = cluster_dir(cluster_name)
    rmtree(directory / KEYS, ignore_errors=True)
    (directory / TOKEN).unlink(missing_ok=True)
