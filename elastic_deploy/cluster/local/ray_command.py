"""`ray start` and `ray stop` on a local node: `python -m elastic_deploy.cluster.local.ray_command start|stop ...`.

Called by the `ray` that stands first in the PATH of everything on a node (`environment`), so that the commands of a
cluster YAML are those of any other cluster. Imports no Ray: the real `ray start` is another process.

`start` runs the real one in a session of its own, so that no terminal's Ctrl-C reaches it, with its output in the
node's log. It returns when Ray is up: with `--block` that process stays, without it, it has ended well. `stop` ends
the Ray of this node; the real one would end every Ray of the machine.
"""

import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from elastic_deploy.cluster.local import nodes, processes
from elastic_deploy.cluster.local.environment import ray_executable
from elastic_deploy.cluster.local.processes import ProcessId
from elastic_deploy.cluster.local.state import Node, own_node, read

START_TIMEOUT_S = 90.0
"""How long Ray may take to be up. `ray start` waits 30 s for its raylet by itself, after its imports."""

_UP = b"Ray runtime started."  # what `ray start` prints when its node is registered (scripts/scripts.py, `start`)
_VITAL = {"raylet", "gcs_server"}
_LAST_LINES = 20
_POLL_S = 0.1


def main(arguments: Sequence[str]) -> int:
    """Run `ray start ...` or `ray stop ...`; the exit status."""
    here = own_node()
    state = read(here[0]) if here else None
    node = state.nodes.get(here[1]) if here and state else None
    if node is None or node.ended_by is not None:
        print("This node is gone: nothing can be started on it.", file=sys.stderr)
        return 1
    if arguments[0] == "stop":
        nodes.stop_ray(node.cluster, node.id)
        return 0
    return _start(node, arguments)


def _start(node: Node, arguments: Sequence[str]) -> int:
    began = time.monotonic()
    log = node.log_dir / "node.log"
    with log.open("ab") as output:
        offset = output.tell()
        starter = subprocess.Popen(
            [str(ray_executable()), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    session = processes.identify(starter.pid)
    sessions = (*node.sessions, session) if session else node.sessions
    # On disk before anything is waited for: whoever ends the node meanwhile then finds this session.
    if not nodes.change(node.cluster, node.id, lambda now: replace(now, sessions=sessions)):
        processes.end(lambda: processes.find(None, sessions), grace_s=0.0)
        return 1
    _link_logs(node)
    failure = _wait(starter, "--block" in arguments, log, offset)
    found = processes.find(None, (session,)) if session else {}
    vital = tuple(process for process, name in found.items() if name in _VITAL)
    if failure is None and not any(name == "raylet" for name in found.values()):
        failure = "its raylet is not there"
    if failure is None and nodes.change(
        node.cluster, node.id, lambda now: replace(now, vital=vital, up_since=time.time())
    ):
        print(f"Ray is up on node {node.id} after {time.monotonic() - began:.1f} s; log: {log}")
        return 0
    processes.end(lambda: _of(session), grace_s=0.0)
    print(f"Ray does not start on node {node.id}: {failure or 'the node was ended'}. Log {log}:", file=sys.stderr)
    print("\n".join(_since(log, offset).decode(errors="replace").splitlines()[-_LAST_LINES:]), file=sys.stderr)
    return 1


def _wait(starter: "subprocess.Popen[bytes]", stays: bool, log: Path, offset: int) -> str | None:
    """Wait until Ray is up; the reason as half a sentence where it is not."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        status = starter.poll()
        if status is not None:
            return None if status == 0 and not stays else f"`ray start` ended with status {status}"
        if stays and _UP in _since(log, offset):
            return None
        time.sleep(_POLL_S)
    return f"it was not up after {START_TIMEOUT_S:.0f} s"


def _of(session: ProcessId | None) -> dict[ProcessId, str]:
    return processes.find(None, (session,)) if session else {}


def _since(log: Path, offset: int) -> bytes:
    with log.open("rb") as file:
        file.seek(offset)
        return file.read()


def _link_logs(node: Node) -> None:
    """Show the logs of Ray under the node's log directory while it lives; `nodes.end` moves them there."""
    link = node.log_dir / "ray"
    if not link.is_symlink():
        link.symlink_to(Path(node.temp_dir) / "ray" / "session_latest" / "logs")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
