"""The processes of this machine, read from /proc: which of them belong to a node, and how they are ended.

Called by `nodes` and by the launcher of a node's Ray (`ray_command`). Knows nothing of Ray, of clusters or of the disk.

A process belongs to a node by any of three signs, because none holds alone:
- its environment carries the node's mark; but a process that sets its title (Ray's workers, vLLM's engine) overwrites
  the memory that /proc/<pid>/environ shows;
- it is in a session that was made for the node; but a process may make a session of its own;
- it descends from one of these; but a process whose parent died has lost its descent.
"""

import os
import signal
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

MARK = "ELASTIC_DEPLOY_NODE"
"""The environment variable that marks a node's processes: `<cluster name>/<node id>`."""

_PROC = Path("/proc")
_KILL_TIMEOUT_S = 10.0  # a killed process that is still there after this hangs in the kernel
_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class ProcessId:
    """One process for ever: a pid alone is used again. `started` is in clock ticks since boot, as proc(5) has it."""

    pid: int
    started: int

    def is_alive(self) -> bool:
        """Whether this very process still runs; a zombie does not."""
        found = _stat(self.pid)
        return found is not None and found.id == self


@dataclass(frozen=True, slots=True)
class _Stat:
    id: ProcessId
    name: str
    parent: int
    session: int


def identify(pid: int) -> ProcessId | None:
    """The process that has `pid` now, or None where none runs."""
    found = _stat(pid)
    return found.id if found else None


def this_process() -> ProcessId:
    """The process that asks."""
    found = identify(os.getpid())
    assert found is not None, "/proc shows every process itself"
    return found


def ancestors(pid: int) -> frozenset[int]:
    """`pid` and the pids of its parents, up to init."""
    seen: set[int] = set()
    while pid > 0 and pid not in seen:
        seen.add(pid)
        found = _stat(pid)
        pid = found.parent if found else 0
    return frozenset(seen)


def find(mark: str | None, sessions: Collection[ProcessId] = ()) -> dict[ProcessId, str]:
    """The running processes of a node, each with its name as proc(5) has it (15 characters).

    `mark` is the value of `MARK` to look for (None: by session and descent alone); `sessions` are the leaders of the
    sessions that were made for the node, whether or not they still run.
    """
    everyone = [found for found in map(_stat, _pids()) if found]
    own_sessions = _unbroken(sessions)
    needle = f"{MARK}={mark}".encode() if mark else None
    mine = {
        one.id.pid
        for one in everyone
        if one.session in own_sessions or (needle is not None and needle in _environment(one.id.pid))
    }
    children = [one for one in everyone if one.id.pid not in mine]
    grown = True
    while grown:
        born = {one.id.pid for one in children if one.parent in mine}
        mine |= born
        children = [one for one in children if one.id.pid not in born]
        grown = bool(born)
    return {one.id: one.name for one in everyone if one.id.pid in mine}


def end(search: Callable[[], Mapping[ProcessId, str]], grace_s: float, last: Collection[str] = ()) -> None:
    """End every process that `search` finds (each with its name), and those it finds while the first ones go.

    SIGTERM first, to those named in `last` when only they are left; SIGKILL after `grace_s` seconds. With 0, SIGKILL
    at once, as when a machine loses its power. Raises TimeoutError where a killed process does not go.
    """
    gentle_until = time.monotonic() + grace_s
    deadline = gentle_until + _KILL_TIMEOUT_S
    asked: set[ProcessId] = set()
    while running := search():
        now = time.monotonic()
        if now > deadline:
            raise TimeoutError(f"processes {sorted(one.pid for one in running)} do not end, though killed")
        if now >= gentle_until:
            for one in running:
                _send(one, signal.SIGKILL)
        else:
            first = {one for one, name in running.items() if name not in last} or set(running)
            for one in first - asked:
                _send(one, signal.SIGTERM)
            asked |= first
        time.sleep(_POLL_S)


def _send(process: ProcessId, number: signal.Signals) -> None:
    if process.is_alive():
        try:
            os.kill(process.pid, number)
        except ProcessLookupError:
            return


def _unbroken(sessions: Collection[ProcessId]) -> frozenset[int]:
    """The ids of those sessions whose id has not gone to another process since (it cannot while a member runs)."""
    return frozenset(leader.pid for leader in sessions if identify(leader.pid) in (None, leader))


def _pids() -> list[int]:
    return [int(entry) for entry in os.listdir(_PROC) if entry.isdigit()]  # noqa: PTH208 (four times faster)


def _stat(pid: int) -> _Stat | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name stands in parentheses and may hold any character, parentheses and spaces among them.
    name = text[text.index("(") + 1 : text.rindex(")")]
    state, parent, _group, session, *rest = text[text.rindex(")") + 2 :].split()
    if state in "ZX":
        return None
    return _Stat(ProcessId(pid, int(rest[15])), name, int(parent), int(session))


def _environment(pid: int) -> list[bytes]:
    try:
        return (_PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:  # gone, or another user's
        return []
