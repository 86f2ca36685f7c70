"""What is on disk of a cluster whose nodes are local processes: `<home>/<cluster name>/local/nodes.json`.

Read and changed by everything in this package: the node provider in `ray up`, `ray down` and the autoscaler, and by
`status` and `down`, which read it without Ray. So it imports no Ray, survives every process that uses it, and is safe
between threads and between processes: readers see one whole version, writers take turns by a lock on a file.
"""

import fcntl
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from elastic_deploy.cluster.local.processes import MARK, ProcessId
from elastic_deploy.model.errors import InvalidConfigError
from elastic_deploy.model.home import cluster_dir, private_dir, write_private

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")  # a directory's name, and part of a variable's value


@dataclass(frozen=True, slots=True)
class Node:
    """One node. It is in the state from its creation until everything of it is gone; ids are never used again.

    Times are seconds since the epoch. `ready_at`: when commands can be run on it. `sessions`: the process sessions
    made for its Ray. `vital`: the processes without which it is dead, empty until its Ray runs, since `up_since`.
    `ended_by`: the process that is ending it.
    """

    id: str
    cluster: str
    type: str
    is_head: bool
    tags: dict[str, str]
    temp_dir: str
    created_at: float
    ready_at: float
    sessions: tuple[ProcessId, ...] = ()
    vital: tuple[ProcessId, ...] = ()
    up_since: float | None = None
    ended_by: ProcessId | None = None

    @property
    def home(self) -> Path:
        """HOME of all its processes."""
        return state_dir(self.cluster) / "nodes" / self.id

    @property
    def shell(self) -> Path:
        """The executable that runs its argument on the node."""
        return self.home / "shell"

    @property
    def log_dir(self) -> Path:
        """Its logs: `node.log`, what its `ray start` said, and `ray/`, those of Ray. They outlive the node."""
        return cluster_dir(self.cluster) / "logs" / self.id

    @property
    def mark(self) -> str:
        """The value of `processes.MARK` in the environment of its processes."""
        return f"{self.cluster}/{self.id}"

    def is_live(self) -> bool:
        """Whether it is neither being ended nor dead by itself; looks at this machine's processes."""
        return self.ended_by is None and all(process.is_alive() for process in self.vital)


@dataclass(frozen=True, slots=True)
class Ports:
    """Ports of 127.0.0.1 that the head of a cluster listens on, chosen free when the cluster is made."""

    gcs: int
    autoscaler_metrics: int
    dashboard_metrics: int


@dataclass(frozen=True, slots=True)
class State:
    """A cluster's nodes, and what they share.

    `temp_dir`: short, for the sockets of Ray. `refused`: how many launches the rehearsal script of this digest has
    refused. `shared_memory`: files in /dev/shm that an ended node left and another node still used.
    """

    ports: Ports
    temp_dir: str
    nodes: dict[str, Node] = field(default_factory=dict)
    refused: tuple[str, int] = ("", 0)
    shared_memory: tuple[str, ...] = ()

    def with_node(self, node: Node) -> "State":
        """The state with `node` in it, new or in place of its former self."""
        return replace(self, nodes={**self.nodes, node.id: node})

    def without_node(self, node_id: str) -> "State":
        """The state without the node."""
        return replace(self, nodes={key: node for key, node in self.nodes.items() if key != node_id})


@dataclass(slots=True)
class Draft:
    """What a transaction works on: `state` is None where the cluster does not exist."""

    state: State | None


def state_dir(cluster_name: str) -> Path:
    """The directory of a cluster's local state (it need not exist). Raises InvalidConfigError for an unfit name."""
    if not _NAME.fullmatch(cluster_name):
        raise InvalidConfigError(
            f"Cluster name {cluster_name!r} cannot be used for local nodes, because it names a directory: "
            "use up to 63 letters, digits, '-', '_' and '.', the first a letter or a digit."
        )
    return cluster_dir(cluster_name) / "local"


def read(cluster_name: str) -> State | None:
    """The state as last written, or None where the cluster does not exist. Creates nothing, waits for nobody."""
    try:
        text = (state_dir(cluster_name) / "nodes.json").read_text()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return _from_json(json.loads(text))


@contextmanager
def transaction(cluster_name: str) -> Iterator[Draft]:
    """Change the state with nobody else changing it meanwhile: what is in the draft at the end is written.

    An exception writes nothing. A draft emptied (`state = None`) removes the directory with everything in it.
    Do not nest two of the same cluster in one thread: the second waits for the first for ever.
    """
    with _locked(state_dir(cluster_name)) as directory:
        before = read(cluster_name)
        draft = Draft(before)
        yield draft
        if draft.state is None:
            # Out of the way in one step, so that nobody makes a lock in a directory that is half removed.
            removed = directory.rename(directory.with_name(f".local-{uuid.uuid4().hex}"))
            shutil.rmtree(removed)
        elif draft.state != before:
            write_private(directory / "nodes.json", json.dumps(asdict(draft.state), indent=1))


def live_nodes(cluster_name: str) -> tuple[Node, ...]:
    """The nodes that live now, the head first, then the oldest first; looks at this machine's processes."""
    state = read(cluster_name)
    nodes = [node for node in state.nodes.values() if node.is_live()] if state else []
    return tuple(sorted(nodes, key=lambda node: (not node.is_head, node.created_at, node.id)))


def head_node_id(cluster_name: str) -> str | None:
    """The id of the head, or None where none lives."""
    return next((node.id for node in live_nodes(cluster_name) if node.is_head), None)


def shell_command(cluster_name: str, node_id: str) -> list[str]:
    """The command (argv) that runs on a node, in its environment, the shell command appended as one more argument.

    Standard input, output and error are the caller's own, untouched; the exit status is the command's.
    """
    return [str(state_dir(cluster_name) / "nodes" / node_id / "shell")]


def own_node() -> tuple[str, str] | None:
    """Cluster name and node id of the node that the asking process runs on, or None outside of any."""
    cluster_name, _, node_id = os.environ.get(MARK, "").rpartition("/")
    return (cluster_name, node_id) if cluster_name else None


@contextmanager
def _locked(directory: Path) -> Iterator[Path]:
    # Each turn opens the file anew: flock(2) locks the open file, so this holds between threads too.
    while True:
        with suppress(FileExistsError):
            private_dir(directory.parent)
            directory.mkdir(mode=0o700)
        try:
            descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except FileNotFoundError:  # the directory went with the cluster's last node, this very moment
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _is_same_file(descriptor, directory / "lock"):
                yield directory
                return
        finally:
            os.close(descriptor)


def _is_same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _from_json(data: dict[str, Any]) -> State:
    digest, count = data["refused"]
    return State(
        ports=Ports(**data["ports"]),
        temp_dir=data["temp_dir"],
        nodes={key: _node(node) for key, node in data["nodes"].items()},
        refused=(digest, count),
        shared_memory=tuple(data["shared_memory"]),
    )


def _node(data: dict[str, Any]) -> Node:
    ended_by = data["ended_by"]
    return Node(
        **{
            **data,
            "sessions": tuple(ProcessId(**one) for one in data["sessions"]),
            "vital": tuple(ProcessId(**one) for one in data["vital"]),
            "ended_by": ProcessId(**ended_by) if ended_by else None,
        }
    )
