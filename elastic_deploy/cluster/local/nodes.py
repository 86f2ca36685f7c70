"""The life of local nodes: launched, started, looked at, ended, forgotten.

Called by the node provider and by a node's `ray` (`ray_command`). Joins what is on disk (`state`) with what runs
(`processes`); the order of the two is the point of this module. Knows nothing of Ray's interfaces.

A node is dead when one of its vital processes is gone, as a cloud's machine is when it has lost its power: what is
left of it is killed, and it is forgotten, so that the autoscaler replaces it. Whoever looks first does this; where a
process dies in the middle of ending a node, the next one who looks ends it.
"""

import os
import random
import shutil
import signal
import socket
import tempfile
import time
import uuid
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from elastic_deploy.cluster.local import processes, shared_memory
from elastic_deploy.cluster.local.environment import ensure_token, furnish, token_path
from elastic_deploy.cluster.local.processes import ProcessId
from elastic_deploy.cluster.local.script import Refusal, Script, Verdict, is_due_to_die, judge
from elastic_deploy.cluster.local.start_hook import LOOPBACK
from elastic_deploy.cluster.local.state import Node, Ports, State, own_node, read, transaction
from elastic_deploy.model.home import private_dir

GRACE_S = 3.0
"""How long the processes of a node that is terminated have for an orderly end."""

_PORTS = range(20_000, 32_768)  # below those that Linux gives to outgoing connections (ip_local_port_range)
_TEMP_ROOT_LENGTH = 12  # of the 107 bytes of a socket's path (unix(7)) Ray's session takes 66, our own part 29


@dataclass(frozen=True, slots=True)
class Launch:
    """What came of a launch: the nodes made, and why not all of them were, if so."""

    nodes: tuple[Node, ...]
    refusal: Refusal | None = None


def launch(
    cluster_name: str,
    node_type: str,
    *,
    is_head: bool,
    tags: Mapping[str, str],
    count: int,
    script: Script,
    rehearsal: bool,
) -> Launch:
    """Make `count` nodes, or as many as the rehearsal script allows (of a head: one, whatever it says).

    A node is there at once; commands can be run on it after the script's launch delay.
    """
    with transaction(cluster_name) as draft:
        state = draft.state or State(ports=_free_ports(), temp_dir=_new_temp_dir())
        if not draft.state:
            ensure_token(cluster_name)
        if is_head:
            verdict, delay = Verdict(granted=1), 0.0
        else:
            verdict, delay = _judge(state, script, node_type, count), script.rules_for(node_type).launch_delay or 0.0
        if verdict.counted:
            state = replace(state, refused=(script.digest(), _refused(state, script) + 1))
        made = tuple(_new_node(state, cluster_name, node_type, is_head, tags, delay) for _ in range(verdict.granted))
        for node in made:
            furnish(state, node, rehearsal)
            state = state.with_node(node)
        draft.state = state
    return Launch(made, verdict.refusal)


def change(cluster_name: str, node_id: str, how: Callable[[Node], Node]) -> bool:
    """Change a node on disk; False, and no change, where it is gone or being ended."""
    if read(cluster_name) is None:
        return False
    with transaction(cluster_name) as draft:
        node = draft.state.nodes.get(node_id) if draft.state else None
        if draft.state is None or node is None or node.ended_by is not None:
            return False
        draft.state = draft.state.with_node(how(node))
    return True


def look(cluster_name: str, script: Script) -> dict[str, Node]:
    """The nodes that live, by id, after the dead ones and those whose time is over have been cleared away.

    Only the node that the looking process runs on is left as it is: to look is not to end oneself.
    """
    state = read(cluster_name)
    for node in state.nodes.values() if state else ():
        is_abandoned = node.ended_by is not None and not node.ended_by.is_alive()
        is_dead = node.ended_by is None and not node.is_live()
        is_due = not node.is_head and is_due_to_die(script, node.type, node.up_since, time.time())
        if (is_abandoned or is_dead or is_due) and own_node() != (cluster_name, node.id):
            end(cluster_name, node.id, grace_s=0.0)
    after = read(cluster_name)
    return {key: node for key, node in after.nodes.items() if node.ended_by is None} if after else {}


def end(cluster_name: str, node_id: str, grace_s: float = GRACE_S) -> None:
    """End every process of a node and remove all of it but its logs; with the last node, all of the cluster.

    A process that ends the node it runs on goes itself when all is done, as on a machine that is switched off: Ray's
    autoscaler does so when the head's raylet has died. Returns at once where the node is gone, or where a living
    process is ending it. Raises TimeoutError where a killed process does not go; the node then stays, to be ended
    again.
    """
    node = _claim(cluster_name, node_id)
    if node is None:
        return
    try:
        mapped = _end_processes(node, node.mark, grace_s, spare={os.getpid()})
        _archive_logs(node)
        shutil.rmtree(node.temp_dir, ignore_errors=True)
        shutil.rmtree(node.home, ignore_errors=True)
    except BaseException:
        _release(node)
        raise
    _forget(node, mapped)
    if own_node() == (cluster_name, node_id):
        os.kill(os.getpid(), signal.SIGKILL)


def stop_ray(cluster_name: str, node_id: str, grace_s: float = GRACE_S) -> None:
    """End what `ray start` started on a node, and no other process of it; the node stays, ready for another start."""
    state = read(cluster_name)
    node = state.nodes.get(node_id) if state else None
    if node is None:
        return
    # Before the processes go, so that nobody who looks takes the node for dead.
    change(cluster_name, node_id, lambda now: replace(now, vital=(), up_since=None))
    if node.sessions:
        mapped = _end_processes(node, None, grace_s, spare=processes.ancestors(os.getpid()))
        shared_memory.remove_unused(mapped)
    change(cluster_name, node_id, lambda now: replace(now, sessions=()))


def _judge(state: State, script: Script, node_type: str, count: int) -> Verdict:
    workers = [node for node in state.nodes.values() if not node.is_head and not node.ended_by]
    of_type = sum(node.type == node_type for node in workers)
    return judge(script, node_type, count, of_type, len(workers), _refused(state, script))


def _refused(state: State, script: Script) -> int:
    digest, count = state.refused
    return count if digest == script.digest() else 0


def _new_node(
    state: State, cluster_name: str, node_type: str, is_head: bool, tags: Mapping[str, str], delay: float
) -> Node:
    unique = uuid.uuid4().hex[:12]
    now = time.time()
    return Node(
        id=f"{node_type}-{unique}",
        cluster=cluster_name,
        type=node_type,
        is_head=is_head,
        tags=dict(tags),
        temp_dir=str(Path(state.temp_dir) / unique),
        created_at=now,
        ready_at=now + delay,
    )


def _claim(cluster_name: str, node_id: str) -> Node | None:
    if read(cluster_name) is None:
        return None
    with transaction(cluster_name) as draft:
        node = draft.state.nodes.get(node_id) if draft.state else None
        if draft.state is None or node is None or (node.ended_by is not None and node.ended_by.is_alive()):
            return None
        draft.state = draft.state.with_node(replace(node, ended_by=processes.this_process()))
    return node


def _release(node: Node) -> None:
    with transaction(node.cluster) as draft:
        if draft.state is not None and node.id in draft.state.nodes:
            draft.state = draft.state.with_node(replace(node, ended_by=None))


def _forget(node: Node, mapped: Collection[str]) -> None:
    with transaction(node.cluster) as draft:
        if draft.state is None:
            return
        state = draft.state.without_node(node.id)
        left = shared_memory.remove_unused({*state.shared_memory, *mapped})
        draft.state = replace(state, shared_memory=tuple(sorted(left)))
        if not state.nodes:
            shutil.rmtree(state.temp_dir, ignore_errors=True)
            token_path(node.cluster).unlink(missing_ok=True)
            draft.state = None


def _end_processes(node: Node, mark: str | None, grace_s: float, spare: Collection[int]) -> frozenset[str]:
    """End the node's processes; return the shared-memory files that they used."""

    def search() -> dict[ProcessId, str]:
        found = processes.find(mark, node.sessions)
        return {process: name for process, name in found.items() if process.pid not in spare}

    mapped = shared_memory.mapped_by(process.pid for process in search())
    processes.end(search, grace_s, last={"gcs_server"})  # a raylet takes its leave from it
    return mapped


def _archive_logs(node: Node) -> None:
    """Move the logs of Ray from the node's temporary directory to its log directory, in place of the link there."""
    sessions = Path(node.temp_dir) / "ray"
    latest = (sessions / "session_latest").resolve()
    for session in sorted(sessions.glob("session_2*")):
        target = node.log_dir / ("ray" if session == latest else f"ray-{session.name}")
        if target.is_symlink():
            target.unlink()
        if (session / "logs").is_dir() and not target.exists():
            shutil.move(session / "logs", target)


def _new_temp_dir() -> str:
    usual = tempfile.gettempdir()
    root = Path(usual if len(usual) <= _TEMP_ROOT_LENGTH else "/tmp")
    return str(private_dir(root / f"ed-{uuid.uuid4().hex[:8]}"))


def _free_ports() -> Ports:
    free: list[int] = []
    while len(free) < 3:
        port = random.choice(_PORTS)
        with socket.socket() as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
        if port not in free:
            free.append(port)
    return Ports(*free)
