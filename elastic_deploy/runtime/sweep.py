"""End every process that an engine has left on one node, and clear the shared memory that nobody else maps.

Run by `runtime.apply` as a task on each node of the engine's group. An engine's processes carry its name in their
environment; those that Ray started for it are also known by pid, and whatever descends from either belongs to it.
"""

import os
import re
import time
from contextlib import suppress
from pathlib import Path

import psutil
import ray

from elastic_deploy.cluster.local.shared_memory import DIRECTORY, mapped_by, remove_unused
from elastic_deploy.core.last_words import last_words
from elastic_deploy.model.names import ENGINE_MARK
from elastic_deploy.runtime.engine import read_tail

GONE_WITHIN = 10.0
"""Seconds within which a killed process goes; one that stays longer hangs in the kernel, and that is an error."""

GLANCE = 0.02
"""Seconds between looks whether the killed have gone."""

SETTLED = 5.0
"""Seconds after which shared memory that no process maps will not be mapped any more: its maker maps it at once."""

_PYTHONS = re.compile(r"psm_[0-9a-f]{8,}|sem\.mp-\w{8}")
"""What Python's multiprocessing calls its shared memory and its semaphores."""


def find(engine: str, pids: frozenset[int]) -> set[psutil.Process]:
    """The living processes of an engine on this machine, this one and its parents left out.

    psutil knows a process by its pid and its start, so a pid that is used again is never taken for the old one.
    """
    found: set[psutil.Process] = set()
    for process in psutil.process_iter():
        try:
            if process.pid in pids or process.environ().get(ENGINE_MARK) == engine:
                found |= {process, *process.children(recursive=True)}
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    here = psutil.Process()
    return {one for one in found - {here, *here.parents()} if _lives(one)}


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def end(engine: str, pids: frozenset[int]) -> int:
    """Kill an engine's processes on this machine until none is left; how many there were.

    Killed at once, without SIGTERM: what is swept has been given up already, every second more is one without service,
    and vLLM's own shutdown can hang on a peer that is dead. Raises TimeoutError where a process does not go.
    """
    running = find(engine, pids)
    memory: frozenset[str] = frozenset()
    count = 0
    while running:
        count += len(running)
        memory |= mapped_by(process.pid for process in running)
        _kill(engine, running)
        # Once more by the mark alone: a process may have been born while the others died.
        running = find(engine, frozenset())
    remove_unused(memory)
    return count


def _kill(engine: str, running: set[psutil.Process]) -> None:
    for process in running:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    deadline = time.monotonic() + GONE_WITHIN
    # Not psutil's own wait: to that a zombie lives, and where nobody reaps orphans they stay zombies.
    while left := [process.pid for process in running if _lives(process)]:
        if time.monotonic() >= deadline:
            raise TimeoutError(f"processes {left} of {engine} do not end, though killed")
        time.sleep(GLANCE)


def orphaned_memory(since: float, directory: Path = Path(DIRECTORY)) -> list[str]:
    """Shared memory that Python programs of this user have made since a time, and not touched of late.

    A process of vLLM that is killed leaves its message queue behind, and nothing tells afterwards whose it was: so it
    is looked for by the names that Python gives, and removed only if no process on this machine maps it.
    """
    found = []
    for path in directory.iterdir():
        with suppress(FileNotFoundError):
            made = path.stat()
            is_ours = made.st_uid == os.getuid() and _PYTHONS.fullmatch(path.name) is not None
            if is_ours and since <= made.st_mtime < time.time() - SETTLED:
                found.append(str(path))
    return found


def _sweep(engine: str, pids: frozenset[int], log: str, since: float) -> tuple[int, str]:
    """`end` on this node: how many processes there were, and the last words in the engine's log if that is here.

    `since` is when the engine was started, in seconds since the epoch.
    """
    count = end(engine, pids)
    remove_unused(orphaned_memory(since))
    return count, last_words(read_tail(log))


sweep = ray.remote(num_cpus=0, max_retries=0)(_sweep)
"""`_sweep` as a task, to be pinned to a node."""
